"""The optimiser, and what happens to gradients before it sees them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor, nn

from usermodel.encoders.protocol import EncoderModule
from usermodel.errors import ConfigError
from usermodel.nn.item_table import ItemTable
from usermodel.training.lazy_adam import LazyAdam
from usermodel.training.recipe import Recipe
from usermodel.training.row_gradients import values_of_grad

#: Rows of item tables from which ``auto`` updates them lazily. A step of 512 targets and 256 negatives takes as long
#: either way at about 20,000 rows of 64 numbers, and dense 2 times as long at 100,000, 13 times at 1,000,000
#: (benchmarks/results/catalogue-rows.json). Below, there is little to gain.
AUTO_ROWS: Final = 50_000


def build(recipe: Recipe, encoder: EncoderModule, modules: nn.Module) -> torch.optim.Optimizer:
    """Adam or AdamW over all weights, fused; item tables row by row where the recipe says so.

    Raises:
        ConfigError: ``row_updates=lazy`` with something that changes or averages all rows in every step.
    """
    config = recipe.training
    lr, decay = config.learning_rate, config.weight_decay
    tables = _lazy_tables(recipe, encoder)
    if not tables:
        kind = torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam
        return kind(modules.parameters(), lr=lr, weight_decay=decay, fused=True)
    own = {id(table.weight) for table in tables}
    return LazyAdam(tables, [w for w in modules.parameters() if id(w) not in own], lr=lr, decay=decay)


def settle(optimiser: torch.optim.Optimizer) -> None:
    """Bring rows up to date that a lazy optimiser has left alone, so that weights can be read as they are."""
    if isinstance(optimiser, LazyAdam):
        optimiser.settle()


def facts(optimiser: torch.optim.Optimizer) -> dict[str, object]:
    """What was decided about item tables, for the run's manifest."""
    return {"row_updates": "lazy" if isinstance(optimiser, LazyAdam) else "dense"}


def _lazy_tables(recipe: Recipe, encoder: EncoderModule) -> list[ItemTable]:
    config = recipe.training
    if config.row_updates == "dense":
        return []
    # A frozen table stays as it is, weight decay or not.
    tables = [one for one in encoder.modules() if isinstance(one, ItemTable) and one.weight.requires_grad]
    obstacle = _obstacle(recipe, encoder, tables)
    if config.row_updates == "auto":
        rows = sum(len(table.weight) for table in tables)
        return [] if obstacle or rows < AUTO_ROWS else tables
    if obstacle:
        expected, found = obstacle
        do = "Change that, or leave training.row_updates out."
        raise ConfigError("training.row_updates", expected=expected, found=found, do=do)
    return tables


def _obstacle(recipe: Recipe, encoder: EncoderModule, tables: list[ItemTable]) -> tuple[str, str] | None:
    """What is needed for lazy updates and what there is instead, if they are impossible."""
    config = recipe.training
    if not tables:
        return "an encoder with an ItemTable for lazy updates", type(encoder).__name__
    if not recipe.objective.draws_negatives(encoder.n_items):
        found = f"one that reads all {encoder.n_items:,} rows in every step"
        return "a loss that draws negatives for lazy updates, such as objective.loss=sampled-softmax", found
    if config.ema:
        return "no average of all weights after every step with lazy updates", f"ema={config.ema}"
    if config.optimiser == "adam" and config.weight_decay:
        expected = "optimiser=adamw for weight decay with lazy updates"
        return expected, f"optimiser=adam and weight_decay={config.weight_decay}"
    if config.learning_rate * config.weight_decay >= 1.0:
        found = f"{config.learning_rate:g} x {config.weight_decay:g}"
        return "learning_rate x weight_decay less than 1 for lazy updates", found
    return None


@torch.no_grad()
def scale_and_clip(parameters: Iterable[Tensor], scale: Tensor | None, clip_norm: float | None) -> Tensor:
    """Multiply all gradients by ``scale`` (None: by 1), then shorten them together to a length of at most ``clip_norm``.

    Returns:
        Length of the scaled gradient before it was shortened, a scalar; not finite if any gradient is not.
    """
    grads = [values_of_grad(weight) for weight in parameters if weight.grad is not None]
    if not grads:
        return torch.zeros(())
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
    if scale is not None:
        norm = norm * scale
    if clip_norm is not None:
        clip = torch.clamp(clip_norm / norm.clamp(min=1e-12), max=1.0)
        scale = clip if scale is None else clip * scale
    if scale is not None:
        torch._foreach_mul_(grads, scale)
    return norm
