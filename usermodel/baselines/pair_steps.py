"""The steps of an epoch on pairs, and the optimiser that takes them: of all rows, or of those that a step reads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import torch
from torch import Tensor

from usermodel.baselines.factors import FactorModel, PairBatch, PairLoss
from usermodel.baselines.interactions import Interactions
from usermodel.baselines.pair_batches import BatchMaker, order, order_users
from usermodel.encoders.protocol import EncoderModule
from usermodel.errors import ConfigError, NumericError
from usermodel.loader import step_seed
from usermodel.losses.precision import products_in
from usermodel.training.lazy_adam import LazyAdam

if TYPE_CHECKING:
    from usermodel.baselines.fit import FitConfig

#: Rows of the tables for each row that a step reads, from which ``auto`` is lazy: a row that is kept in mind costs about as much
#: as so many that are simply updated with all others.
LAZY_RATIO: Final = 32


@dataclass
class PairSteps:
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

    def release(self) -> None:
        """Bring all rows up to date, and let nobody ask the optimiser for them any more."""
        if isinstance(self.optimiser, LazyAdam):
            self.optimiser.settle()
        self.maker.model.users.before_read = self.maker.model.items.before_read = None

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


def optimiser_of(model: FactorModel, loss: PairLoss, config: FitConfig) -> torch.optim.Optimizer:
    """Adam or AdaGrad over the model and the parameters of the loss.

    Raises:
        ConfigError: ``row_updates=lazy`` where a step reads all rows, or all may move.
    """
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
