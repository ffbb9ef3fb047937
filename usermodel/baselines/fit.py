"""Training of models of user and item ids: minibatches of pairs, negatives from a sampler, Adam or AdaGrad."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from usermodel.baselines.factors import FactorModel, PairBatch, PairLoss
from usermodel.baselines.interactions import Interactions
from usermodel.baselines.pair_batches import BatchMaker, order, order_users
from usermodel.config import Config
from usermodel.encoders.protocol import EncoderModule
from usermodel.errors import ConfigError, DataError, NumericError
from usermodel.loader import step_seed
from usermodel.losses.precision import products_in
from usermodel.negatives.protocol import NegativeSampler
from usermodel.training.lazy_adam import LazyAdam

#: Rows of the tables for each row that a step reads, from which ``auto`` is lazy: a row that is kept in mind costs about as much
#: as so many that are simply updated with all others.
LAZY_RATIO: Final = 32
#: Higher is better.
Validate = Callable[[FactorModel], float]


class FitConfig(Config):
    """How pairs are trained on.

    Attributes:
        epochs: Passes over all pairs.
        batch_pairs: Pairs a step, for losses of single pairs.
        batch_users: Users a step, with all their pairs, for losses that ask for whole users.
        learning_rate: Of the first epoch.
        decay: The learning rate is multiplied by it after each epoch.
        l2: Weight of `FactorModel.penalty`.
        optimiser: ``adam``, or ``adagrad``.
        row_updates: ``lazy`` changes only the rows of a batch, with the same result; ``dense`` all. ``auto``: lazy where the
            model and the loss read rows only, and few of them (`LAZY_RATIO`).
        known_negatives: ``leave-out`` gives a drawn item that the user has taken the weight 0, where each pair has negatives of
            its own; ``keep`` does not look. Negatives that all pairs share are kept: others need them.
        precision: Of the products of losses that have a choice, `usermodel.losses.precision`.
        validate_every: Epochs between two validations.
        patience: Validations without a better value after which training ends; None never ends it.
        seed: Of order, draws and dropout.
    """

    epochs: int = Field(default=100, ge=1)
    batch_pairs: int = Field(default=2048, ge=1)
    batch_users: int = Field(default=1024, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    decay: float = Field(default=1.0, gt=0, le=1)
    l2: float = Field(default=0.0, ge=0)
    optimiser: Literal["adam", "adagrad"] = "adam"
    row_updates: Literal["auto", "lazy", "dense"] = "auto"
    known_negatives: Literal["leave-out", "keep"] = "leave-out"
    precision: Literal["float32", "bfloat16"] = "float32"
    validate_every: int = Field(default=1, ge=1)
    patience: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class EpochReport:
    """An epoch that is done.

    Attributes:
        epoch: Its number, from 1.
        loss: Mean over pairs, with the penalty.
        seconds: Of training alone.
        validation: What `Validate` said; None where it was not asked.
    """

    epoch: int
    loss: float
    seconds: float
    validation: float | None = None


@dataclass
class Fitted:
    """What training has been.

    Attributes:
        epochs: A report each.
        best_epoch: Epoch whose weights the model has: that of the best validation, or the last.
    """

    epochs: list[EpochReport] = field(default_factory=list)
    best_epoch: int = 0

    @property
    def seconds(self) -> float:
        """Of training alone."""
        return sum(one.seconds for one in self.epochs)


def fit(
    model: FactorModel,
    pairs: Interactions,
    loss: PairLoss,
    sampler: NegativeSampler | None,
    config: FitConfig,
    *,
    validate: Validate | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> Fitted:
    """Train a model in place, on the device it is on. Equal seeds and weights give equal results.

    Args:
        model: With its first vectors.
        pairs: Who took what.
        loss: Computed from batches; its parameters are trained too.
        sampler: Draws negatives, and is refreshed before each epoch where the pairs come from a store; None for a loss that
            draws none.
        config: How.
        validate: Asked each ``config.validate_every`` epochs and after the last one. The model ends with the weights of the best
            answer.
        on_epoch: Told after each epoch.

    Raises:
        DataError: No pair, or pairs of other users and items than the model's.
        ConfigError: A loss that needs a sampler has none; lazy row updates that the model cannot have.
        NumericError: The loss is not finite.
    """
    _require_sense(model, pairs, loss, sampler)
    device = next(model.parameters()).device
    optimiser = _optimiser(model, loss.to(device), config)
    sampler = sampler.to(device) if sampler is not None and loss.n_negatives else None
    user, item = (torch.from_numpy(part).to(device) for part in (pairs.user, pairs.item))
    known = user * pairs.n_items + item - 1 if config.known_negatives == "leave-out" else None
    run = _Run(BatchMaker(model, loss, sampler, known), optimiser, config, user, item)
    fitted, best, waited = Fitted(), -math.inf, 0
    weights: dict[str, Tensor] = {}
    for epoch in range(config.epochs):
        begin = time.perf_counter()
        mean = run.epoch(pairs, epoch)
        seconds, value = time.perf_counter() - begin, None
        if validate is not None and ((epoch + 1) % config.validate_every == 0 or epoch + 1 == config.epochs):
            model.eval()
            value = validate(model)
            waited += 1
            if value > best:
                best, waited, weights = value, 0, copy.deepcopy(model.state_dict())
                fitted.best_epoch = epoch + 1
        fitted.epochs.append(EpochReport(epoch + 1, mean, seconds, value))
        if on_epoch is not None:
            on_epoch(fitted.epochs[-1])
        if config.patience is not None and waited >= config.patience:
            break
    if weights:
        model.load_state_dict(weights)
    else:
        fitted.best_epoch = len(fitted.epochs)
    model.users.before_read = model.items.before_read = None
    model.eval()
    return fitted


@dataclass
class _Run:
    """What stays the same from step to step, and the number of steps."""

    maker: BatchMaker
    optimiser: torch.optim.Optimizer
    config: FitConfig
    user: Tensor
    item: Tensor
    steps: int = 0

    def epoch(self, pairs: Interactions, number: int) -> float:
        """Mean of the loss over the pairs."""
        loss, config, sampler = self.maker.loss, self.config, self.maker.sampler
        self.maker.model.train()
        loss.train()
        if sampler is not None and pairs.store is not None:
            sampler.refresh(cast("EncoderModule", self.maker.model), pairs.store)
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * config.decay**number
        make, size = (order_users, config.batch_users) if loss.whole_users else (order, config.batch_pairs)
        total = torch.zeros((), dtype=torch.float64, device=self.user.device)
        for numbers in make(pairs, size, seed=config.seed, epoch=number):
            rows = torch.from_numpy(numbers).to(self.user.device)
            total += self._step(self.user[rows], self.item[rows]) * len(rows)
        mean = float(total) / len(pairs)
        if not math.isfinite(mean):
            do = "Lower the learning rate."
            raise NumericError("loss", expected="a finite loss", found=f"{mean} in epoch {number + 1}", do=do)
        if isinstance(self.optimiser, LazyAdam):
            self.optimiser.settle()
        return mean

    def _step(self, user: Tensor, item: Tensor) -> Tensor:
        model, device = self.maker.model, user.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(step_seed(self.config.seed, self.steps))
            batch = self.maker(user, item)
            with products_in(getattr(torch, self.config.precision)):
                value: Tensor = self.maker.loss(batch)
            if self.config.l2:
                value = value + self.config.l2 * model.penalty(batch)
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(value)
        # AdaGrad builds sparse tensors of rows that are known to be right.
        with torch.sparse.check_sparse_tensor_invariants(enable=False):  # type: ignore[no-untyped-call]
            self.optimiser.step()
        self.steps += 1
        with torch.no_grad():
            model.after_step(*(self._changed(batch) if self._rows_only else (None, None)))
        return value.detach()

    @property
    def _rows_only(self) -> bool:
        """Whether a step has changed the rows of its batch alone."""
        return self.maker.model.users.before_read is not None

    def _changed(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        drawn = batch.item if batch.negatives is None else batch.negatives.ids.flatten()
        return torch.unique(batch.user), torch.unique(torch.cat([batch.item, drawn]))


def _optimiser(model: FactorModel, loss: PairLoss, config: FitConfig) -> torch.optim.Optimizer:
    lazy = _is_lazy(model, loss, config)
    tables = [model.users, model.items]
    weights = [*model.parameters(), *loss.parameters()]
    if config.optimiser == "adagrad":
        if lazy:
            # AdaGrad has no momentum: rows without a gradient stay where they are, and nothing is owed to them.
            model.users.before_read = model.items.before_read = _nothing
        return torch.optim.Adagrad(weights, lr=config.learning_rate)
    if lazy:
        own = {id(table.weight) for table in tables}
        return LazyAdam(tables, [w for w in weights if id(w) not in own], lr=config.learning_rate)
    return torch.optim.Adam(weights, lr=config.learning_rate, fused=True)


def _nothing(rows: Tensor) -> None:
    del rows


def _is_lazy(model: FactorModel, loss: PairLoss, config: FitConfig) -> bool:
    if config.row_updates == "dense":
        return False
    obstacle = ""
    if not model.reads_rows:
        obstacle = "a model whose vectors depend on each other"
    elif loss.whole_catalogue:
        obstacle = "a loss that reads the whole catalogue"
    elif model.projects and config.optimiser == "adam":
        obstacle = "Adam, which moves rows after their batch, and a model that moves them in every step"
    if obstacle and config.row_updates == "lazy":
        do = "Set row_updates=auto."
        expected = "steps that change the rows they read"
        raise ConfigError("row_updates", expected=expected, found=obstacle, do=do)
    read = config.batch_pairs * (2 + loss.n_negatives)
    few = config.row_updates == "lazy" or read * LAZY_RATIO < model.n_users + model.n_items
    return few and not obstacle


def _require_sense(
    model: FactorModel, pairs: Interactions, loss: PairLoss, sampler: NegativeSampler | None
) -> None:
    own, found = (model.n_users, model.n_items), (pairs.n_users, pairs.n_items)
    if own != found or not len(pairs):
        raise DataError(
            "interactions",
            expected=f"pairs of {own[0]:,} users and {own[1]:,} items",
            found=f"{len(pairs):,} pairs of {found[0]:,} and {found[1]:,}",
            do="Build the model for the interactions it is fitted on.",
        )
    if loss.n_negatives and sampler is None:
        do = "Hand one over, such as Uniform(n_items, shared=False)."
        expected = f"a sampler for {type(loss).__name__}"
        raise ConfigError("sampler", expected=expected, found="none", do=do)
