"""pretrain(store, recipe, out) -> Run."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import usermodel
from usermodel import manifest
from usermodel.encoders import io
from usermodel.errors import ConfigError, DataError, OutputExistsError
from usermodel.events.splits import Split
from usermodel.store.sequence_store import SequenceStore
from usermodel.training.loop import Loop, OnProgress
from usermodel.training.recipe import Recipe
from usermodel.training.run import KIND, Run, read_recipe, write_recipe
from usermodel.training.validation import Validate, next_item_validation


def pretrain(
    store: SequenceStore | str | os.PathLike[str],
    recipe: Recipe | None = None,
    out: str | os.PathLike[str] = "run",
    *,
    resume: bool = False,
    overwrite: bool = False,
    validate: Validate | None = None,
    on_progress: OnProgress | None = None,
) -> Run:
    """Pretrain a user encoder on a store.

    Args:
        store: A store or its path.
        recipe: What to run; None means the defaults of `Recipe` (or, on resume, what the run was started with).
        out: Folder of the run.
        resume: Continue a run that was interrupted; a finished one is returned as it is, and where there is none a new
            one is started.
        overwrite: Replace a run that is already there.
        validate: Metrics of the encoder after an epoch; None means next-item ranks of the validation targets.
        on_progress: Called after each step.

    Returns:
        The finished run; its encoder holds the weights of the best validation.

    Raises:
        DataError: Too little data to learn or to validate.
        OutputExistsError: ``out`` holds something.
        InterruptedRunError: SIGTERM or Ctrl-C; a checkpoint was saved, continue with ``resume``.
    """
    store = store if isinstance(store, SequenceStore) else SequenceStore.open(store)
    folder = Path(out)
    is_old = folder.is_dir() and any(folder.iterdir())
    if is_old and resume:
        recipe = _same_recipe(folder, recipe)
        if (folder / manifest.NAME).is_file():
            return Run.open(folder)
    recipe = recipe or Recipe()
    split = store.split(recipe.data.split)
    _enough(store, split)
    validate = validate or next_item_validation(store, split, recipe.encoder.max_history, recipe.training.monitor)
    if is_old and not resume:
        _refuse(folder, overwrite)
    loop = Loop(store, split, recipe, folder)
    if is_old and not resume:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_recipe(recipe, folder / "config.json")
    if resume:
        loop.restore()
    with _stoppable(loop):
        loop.run(validate, on_progress)
    return _finish(loop)


def _same_recipe(folder: Path, recipe: Recipe | None) -> Recipe | None:
    if not (folder / "config.json").is_file():
        do = "Name the folder of a run, or an empty one."
        raise OutputExistsError(str(folder), expected="a run to resume", found="a folder without config.json", do=do)
    saved = read_recipe(folder / "config.json")
    if recipe is not None and recipe != saved:
        ours, theirs = _flat(recipe.to_dict()), _flat(saved.to_dict())
        key = next(key for key in sorted(ours.keys() | theirs.keys()) if ours.get(key) != theirs.get(key))
        found = f"{key} = {ours.get(key)!r}, where the run has {theirs.get(key)!r}"
        raise ConfigError("--resume", expected="the recipe the run was started with", found=found, do="Drop the option, or start a new run.")
    return saved


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(data, dict):
        return {prefix: data}
    return {key: value for name, part in data.items() for key, value in _flat(part, f"{prefix}.{name}".lstrip(".")).items()}


def _enough(store: SequenceStore, split: Split) -> None:
    learners = int((split.train_stop - split.start >= 2).sum())
    if learners < 2:
        found = f"{learners} of {store.n_users:,} users"
        do = "Ingest more users, or longer histories (three events leave one, because two are held out)."
        raise DataError(str(store.path), expected="at least 2 users with 2 training events each", found=found, do=do)


def _refuse(folder: Path, overwrite: bool) -> None:
    if not overwrite:
        do = "Choose another name, continue it with --resume, or replace it with --overwrite."
        raise OutputExistsError(str(folder), expected="a folder that does not exist yet", found="one that is not empty", do=do)
    if not (folder / "config.json").is_file():
        do = "Move it away, or choose another name."
        raise OutputExistsError(str(folder), expected="a run to replace", found="a folder that is no run", do=do)


@contextlib.contextmanager
def _stoppable(loop: Loop) -> Iterator[None]:
    """The first SIGTERM or Ctrl-C asks the loop to save and stop; the second acts as it always did."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old: dict[int, Any] = {}

    def ask(number: int, frame: Any) -> None:
        del frame
        loop.stop_requested = True
        signal.signal(number, old[number])

    old.update({number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)})
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _finish(loop: Loop) -> Run:
    state, store = loop.state, loop.store
    meta = {
        "store": {"path": str(store.path), "content_hash": store.content_hash},
        "split": loop.split.name,
        "epochs": state.epoch,
        "steps": state.step,
        "seconds": round(state.seconds, 2),
        "best_epoch": state.best_epoch,
        "best": {loop.config.monitor: state.best},
        "parameters": sum(weight.numel() for weight in loop.encoder.parameters()),
        "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads, {loop.fabric.device}",
        "versions": {"usermodel": usermodel.__version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    io.save(loop.folder / "encoder", loop.encoder, loop.recipe.encoder, store.vocabulary, meta={"split": loop.split.name})
    manifest.seal(loop.folder, KIND, meta, parts=("config.json", "metrics.csv", "encoder"))
    return Run.open(loop.folder)
