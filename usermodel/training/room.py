"""Room on disk, looked for before an old run gives way to a new one."""

from __future__ import annotations

import shutil
from pathlib import Path

from torch import nn

from usermodel.errors import StorageError
from usermodel.training.checkpoint import KEEP


def require_room(folder: Path, modules: nn.Module, *, average: bool) -> None:
    """Raise `StorageError` unless a run fits beside nothing but what it replaces.

    Args:
        folder: Of the run; what lies there counts as free.
        modules: Encoder and objective.
        average: Whether checkpoints hold a moving average too.
    """
    weights = sum(value.nbytes for value in modules.state_dict().values())
    # Weights, two moments, and the best weights so far; one generation more than is kept while it is written.
    needed = weights * ((4 + average) * (KEEP + 1) + 1)
    old = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    free = shutil.disk_usage(folder).free + old
    if free < needed:
        do = "Free some space or choose another place; what was there before is untouched."
        raise StorageError(
            str(folder), expected=f"room for a run of up to {needed:,} bytes", found=f"{free:,} bytes", do=do
        )
