"""TensorBoard logs beside metrics.csv, through Fabric's logger; the package tensorboard is an extra."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from usermodel.errors import MissingError
from usermodel.training.recipe import TrainingConfig

FOLDER: Final = "tensorboard"
#: Steps between two points of a curve.
EVERY: Final = 10

#: Scalars by name, and the step they belong to.
Log = Callable[[Mapping[str, float], int], None]


def require_log(config: TrainingConfig) -> None:
    """Raise `MissingError` if the log that the recipe wants needs a package that is not there."""
    if config.log == "tensorboard" and importlib.util.find_spec("tensorboard") is None:
        do = "Run: pip install 'usermodel[track]', or set training.log=csv."
        raise MissingError("training.log", expected="the package tensorboard", found="none installed", do=do)


def open_log(config: TrainingConfig, folder: Path, step: int) -> Log:
    """Where scalars go: nowhere for ``csv``, whose rows are written at the end of each epoch.

    Args:
        config: Its ``log``.
        folder: Of the run; the logs lie in ``tensorboard/``.
        step: Points after this step, left by a process that was killed, are not shown.
    """
    if config.log == "csv":
        return lambda _values, _step: None
    logger = _logger(folder, step + 1)
    return lambda values, at: logger.log_metrics(dict(values), at)


def _logger(folder: Path, purge_step: int) -> Any:
    from lightning_fabric.loggers.tensorboard import TensorBoardLogger

    return TensorBoardLogger(root_dir=folder, name=FOLDER, version="", purge_step=purge_step)
