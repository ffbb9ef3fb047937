"""Training of models of user and item ids: minibatches of pairs, negatives from a sampler, Adam or AdaGrad."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from pydantic import Field

from usermodel.baselines.factors import FactorModel, PairLoss
from usermodel.baselines.interactions import Interactions
from usermodel.baselines.pair_batches import BatchMaker
from usermodel.baselines.pair_steps import PairSteps, optimiser_of
from usermodel.config import Config
from usermodel.errors import ConfigError, DataError
from usermodel.negatives.protocol import NegativeSampler
from usermodel.training.epochs import BestWeights, EpochReport, Fitted

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
            model and the loss read rows only, and few of them (`usermodel.baselines.pair_steps.LAZY_RATIO`).
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
        validate: Asked each ``config.validate_every`` epochs and after the last; the best answer's weights stay.
        on_epoch: Told after each epoch.

    Raises:
        DataError: No pair, or pairs of other users and items than the model's.
        ConfigError: Model and loss of different geometries; a loss that needs a sampler has none; a sampler that follows the model, and pairs that no store stands
            behind; patience without validation; lazy row updates that the model cannot have.
        NumericError: The loss is not finite.
    """
    _require_sense(model, pairs, loss, sampler)
    if config.patience is not None and validate is None:
        do = "Hand over validate, or leave patience out."
        raise ConfigError("patience", expected="a validation to wait for", found="none", do=do)
    device = next(model.parameters()).device
    optimiser = optimiser_of(model, loss.to(device), config)
    sampler = sampler.to(device) if sampler is not None and loss.n_negatives else None
    user, item = (torch.from_numpy(part).to(device) for part in (pairs.user, pairs.item))
    known = user * pairs.n_items + item - 1 if config.known_negatives == "leave-out" else None
    steps = PairSteps(BatchMaker(model, loss, sampler, known), optimiser, config, user, item)
    ask = None if validate is None else partial(validate, model)
    fitted, best = Fitted(), BestWeights((model, loss), ask)
    try:
        _epochs(steps, pairs, config, fitted, best, on_epoch)
    finally:
        # Whatever ended it: rows are up to date, and whoever reads them next does not ask this optimiser.
        steps.release()
    fitted.best_epoch = best.restore() or len(fitted.epochs)
    model.eval()
    return fitted


def _epochs(
    steps: PairSteps,
    pairs: Interactions,
    config: FitConfig,
    fitted: Fitted,
    best: BestWeights,
    on_epoch: Callable[[EpochReport], None] | None,
) -> None:
    """Train until the epochs or the patience are over; reports are added to ``fitted``."""
    for epoch in range(1, config.epochs + 1):
        begin = time.perf_counter()
        mean = steps.epoch(pairs, epoch - 1)
        seconds, value = time.perf_counter() - begin, None
        if epoch % config.validate_every == 0 or epoch == config.epochs:
            value = best.ask(epoch)
        fitted.epochs.append(EpochReport(epoch, mean, seconds, value))
        if on_epoch is not None:
            on_epoch(fitted.epochs[-1])
        if config.patience is not None and best.waited >= config.patience:
            break


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
    if model.geometry != loss.geometry:
        do = "Choose a model and a loss of one kind, such as MetricLearning with MetricHinge."
        expected = f"a loss by {model.geometry} for {type(model).__name__}"
        found_loss = f"{type(loss).__name__}, which goes by {loss.geometry}"
        raise ConfigError("loss", expected=expected, found=found_loss, do=do)
    if loss.n_negatives and sampler is None:
        do = "Hand one over, such as Uniform(n_items, shared=False)."
        expected = f"a sampler for {type(loss).__name__}"
        raise ConfigError("sampler", expected=expected, found="none", do=do)
    if sampler is not None and sampler.follows and pairs.store is None:
        do = "Make the pairs by Interactions.from_store, or choose another sampler."
        expected = f"pairs from a store, which {type(sampler).__name__} looks into before each epoch"
        raise ConfigError("sampler", expected=expected, found="pairs from arrays", do=do)
