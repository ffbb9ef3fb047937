"""Training of models of rows, such as CTR and watch time on frozen vectors: minibatches of rows, Adam, the best epoch stays."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Literal

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn

from usermodel.config import Config
from usermodel.errors import DataError, NumericError
from usermodel.loader import generator, step_seed
from usermodel.nn.item_table import ItemTable
from usermodel.nn.mlp import Mlp
from usermodel.training.epochs import BestWeights, EpochReport, Fitted
from usermodel.training.lazy_adam import LazyAdam
from usermodel.training.precision import WIDE, Precision, uses_bf16, without_denormals

#: Rows of tables for each row that a step reads, from which updates of the rows that are read pay.
LAZY_RATIO: Final = 32


class FitRowsConfig(Config):
    """How rows are trained on.

    Attributes:
        epochs: Passes over the rows, at most.
        batch_rows: Rows a step; None takes a hundredth of the rows, but 128 to 2,048.
        learning_rate: Of Adam.
        weight_decay: Decoupled, of all weights.
        patience: Epochs without a better validation after which training ends.
        row_updates: ``lazy`` changes only the rows of tables that a batch reads, with the same result; ``dense`` all. ``auto``:
            lazy where a batch reads few.
        precision: Of products in wide perceptrons: ``fp32``, ``bf16``, or ``auto``: bf16 where the machine is faster with it. Scores are
            always computed in fp32.
        seed: Of weights, order and dropout.
    """

    epochs: int = Field(default=20, ge=1)
    batch_rows: int | None = Field(default=None, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    patience: int = Field(default=3, ge=1)
    row_updates: Literal["auto", "lazy", "dense"] = "auto"
    precision: Precision = "auto"
    seed: int = Field(default=0, ge=0)

    def batch_of(self, n_rows: int) -> int:
        """Rows a step, of so many."""
        return self.batch_rows or min(max(n_rows // 100, 128), 2048)


def fit_rows(
    model: nn.Module,
    loss: Callable[[Int64[Tensor, " batch"]], Float[Tensor, ""]],
    n_rows: int,
    config: FitRowsConfig,
    *,
    validate: Callable[[], float] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> Fitted:
    """Train a model in place. Equal seeds and weights give equal results.

    Args:
        model: With its first weights.
        loss: Mean over the rows at some positions, 0 to ``n_rows`` - 1.
        n_rows: Training rows.
        config: How.
        validate: Asked after each epoch, higher is better; None trains for all epochs.
        on_epoch: Told after each epoch.

    Raises:
        DataError: No row.
        NumericError: The loss is not finite.
    """
    if not n_rows:
        raise DataError("rows", expected="training rows", found="none", do="Use another split.")
    tables = [part for part in model.modules() if isinstance(part, ItemTable)]
    optimiser = _optimiser(model, tables, config, config.batch_of(n_rows))
    fitted, best, steps = Fitted(), BestWeights((model,), validate), 0
    with without_denormals(), _for_training(model, tables, config):
        for epoch in range(1, config.epochs + 1):
            begin, total = time.perf_counter(), 0.0
            model.train()
            for rows in _order(n_rows, config, epoch):
                total += _step(loss, rows, optimiser, step_seed(config.seed, steps)) * len(rows)
                steps += 1
            _finish_epoch(optimiser, total, epoch)
            seconds = time.perf_counter() - begin
            fitted.epochs.append(EpochReport(epoch, total / n_rows, seconds, best.ask(epoch)))
            if on_epoch is not None:
                on_epoch(fitted.epochs[-1])
            if validate is not None and best.waited >= config.patience:
                break
    fitted.best_epoch = best.restore() or len(fitted.epochs)
    model.eval()
    return fitted


@contextmanager
def _for_training(model: nn.Module, tables: Sequence[ItemTable], config: FitRowsConfig) -> Iterator[None]:
    """Parts that behave otherwise in training; afterwards they are as they were."""
    wide = [part for part in model.modules() if isinstance(part, Mlp) and part.widest >= WIDE]
    for part in wide:
        part.bf16 = uses_bf16(config.precision, next(part.parameters()).device)
    try:
        yield
    finally:
        for table in tables:
            table.before_read = None
        for part in wide:
            part.bf16 = False


def _step(
    loss: Callable[[Tensor], Tensor], rows: Tensor, optimiser: torch.optim.Optimizer, seed: int
) -> float:
    with torch.random.fork_rng(devices=[rows.device] if rows.device.type == "cuda" else []):
        torch.manual_seed(seed)
        value = loss(rows)
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(value)
    optimiser.step()
    return float(value.detach())


def _finish_epoch(optimiser: torch.optim.Optimizer, total: float, epoch: int) -> None:
    if not math.isfinite(total):
        found, do = f"{total} in epoch {epoch}", "Lower the learning rate."
        raise NumericError("loss", expected="a finite loss", found=found, do=do)
    if isinstance(optimiser, LazyAdam):
        optimiser.settle()


def _order(n_rows: int, config: FitRowsConfig, epoch: int) -> Sequence[Tensor]:
    """Batches of an epoch: a function of seed and epoch."""
    order = generator(config.seed, "order", epoch).permutation(n_rows)
    return torch.split(torch.from_numpy(order), config.batch_of(n_rows))


def _optimiser(
    model: nn.Module, tables: Sequence[ItemTable], config: FitRowsConfig, batch: int
) -> torch.optim.Optimizer:
    own = {id(table.weight) for table in tables}
    others = [weight for weight in model.parameters() if id(weight) not in own]
    read = batch * LAZY_RATIO
    lazy = config.row_updates == "lazy" or sum(len(table.weight) for table in tables) > read
    if tables and lazy and config.row_updates != "dense":
        return LazyAdam(tables, others, lr=config.learning_rate, decay=config.weight_decay)
    return torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
