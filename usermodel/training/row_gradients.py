"""Gradients of a few rows of a table: sparse tensors, in which a row may stand more than once until it is coalesced."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from usermodel.errors import ConfigError


def values_of_grad(weight: Tensor) -> Tensor:
    """The numbers of a gradient, to be changed in place: all of a dense one, and of a sparse one each row once."""
    assert weight.grad is not None
    if weight.grad.is_sparse:
        weight.grad = weight.grad.coalesce()
        return weight.grad.values()
    return weight.grad


def rows_of_grad(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Rows that have a gradient, each once and in order, ``[rows]``, and their gradients, ``[rows, dim]``.

    Raises:
        ConfigError: The gradient is that of a whole table.
    """
    grad = _no_rows(weight) if weight.grad is None else weight.grad
    if not grad.is_sparse:
        expected, found = "gradients of the rows that are read", "an encoder that reads the whole item table"
        do = "Set training.row_updates=dense, or read the table by ItemTable.forward and vectors."
        raise ConfigError("training.row_updates", expected=expected, found=found, do=do)
    if not grad.is_coalesced() and not _in_order(grad._indices()[0]):
        grad = grad.coalesce()
    return grad._indices()[0], grad._values()


def _in_order(rows: Tensor) -> bool:
    """Whether each row stands once, in ascending order, as a table that was read once leaves them: then there is nothing to sort."""
    return bool((rows[1:] > rows[:-1]).all())


def sum_rows(weight: Tensor, add_up: Callable[[Tensor], Tensor], rank: int, world: int) -> None:
    """Add up the sparse gradients of all ranks: each fills its place in what is added up, and rows that meet are merged.

    Args:
        weight: The table; its gradient is replaced.
        add_up: Adds up a tensor over all ranks, in place.
        rank: Number of this one.
        world: Number of all.
    """
    rows, values = rows_of_grad(weight)
    sizes = rows.new_zeros(world)
    sizes[rank] = len(rows)
    ends = add_up(sizes).cumsum(0).tolist()
    mine = slice(ends[rank] - len(rows), ends[rank])
    all_rows, all_values = rows.new_zeros(ends[-1]), values.new_zeros(ends[-1], *values.shape[1:])
    all_rows[mine], all_values[mine] = rows, values
    # A few kilobytes more than a gather would send, and every backend can add up.
    rows, values = add_up(all_rows), add_up(all_values)
    weight.grad = torch.sparse_coo_tensor(rows[None], values, weight.shape, check_invariants=False).coalesce()


def _no_rows(weight: Tensor) -> Tensor:
    """A gradient of no row; ``zeros_like`` would make one of no single number, which is another shape."""
    index = torch.zeros(1, 0, dtype=torch.int64, device=weight.device)
    values = weight.new_zeros(0, *weight.shape[1:])
    return torch.sparse_coo_tensor(index, values, weight.shape, check_invariants=False)
