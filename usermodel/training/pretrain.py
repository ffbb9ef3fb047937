"""pretrain(store, recipe, out) -> Run."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from usermodel import manifest
from usermodel.encoders import io
from usermodel.errors import ConfigError, DataError, InterruptedRunError, MismatchError, OutputExistsError
from usermodel.events.splits import Split
from usermodel.heads import io as heads
from usermodel.store.sequence_store import SequenceStore
from usermodel.training import folders, optimiser
from usermodel.training.card import write_card
from usermodel.training.logs import require_log
from usermodel.training.loop import Loop
from usermodel.training.precision import without_denormals
from usermodel.training.processes import Team
from usermodel.training.progress import OnProgress
from usermodel.training.recipe import Recipe
from usermodel.training.room import require_room
from usermodel.training.run import KIND, Run, leaves, read_recipe, write_recipe
from usermodel.training.schedule import require_effect
from usermodel.training.stages import BEFORE, bring, require_fit, take_over, weights_before
from usermodel.training.validation import Validate, agree, label_facts, require_possible
from usermodel.version import VERSION


def pretrain(
    store: SequenceStore | str | os.PathLike[str],
    recipe: Recipe | None = None,
    out: str | os.PathLike[str] = "run",
    *,
    resume: bool = False,
    overwrite: bool = False,
    validate: Validate | None = None,
    on_progress: OnProgress | None = None,
    allow_modules: Sequence[str] = (),
) -> Run:
    """Pretrain a user encoder on a store.

    Args:
        store: A store or its path.
        recipe: What to run; None means the defaults of `Recipe` (or, on resume, what the run was started with).
        out: Folder of the run.
        resume: Continue a run that was interrupted; a finished one is returned as it is, and where there is none a new
            one is started. A damaged checkpoint is skipped with a warning.
        overwrite: Replace a run that is already there.
        validate: Metrics of the encoder after an epoch, found at rank 0 alone; None means next-item ranks, found at all.
        on_progress: Called after each step; after the last one of an epoch only once it is validated.
        allow_modules: Modules outside usermodel that the recipe of a resumed run may name.

    Returns:
        The finished run; its encoder holds the weights of the best validation.

    Raises:
        DataError: Too little data to learn or to validate.
        ConfigError: A recipe that cannot be, or another one than the resumed run has.
        MismatchError: The resumed run was trained on another store; or the encoder was built for another number of items.
        OutputExistsError: ``out`` holds something, or another process trains there.
        MissingError: The recipe wants a log whose package is not installed.
        InterruptedRunError: SIGTERM or Ctrl-C; a checkpoint was saved, continue with ``resume``.
        LostProcessError: One of several processes is gone or hangs; the last checkpoint is there, continue likewise.
        NumericError: A loss, a gradient or a metric is not finite.
        StorageError: No place for the run, or no room for a checkpoint; those before it are intact.
    """
    store = store if isinstance(store, SequenceStore) else SequenceStore.open(Path(store))
    folder = Path(out)
    if Team.rank_in_environment():
        return _join(store, recipe, folder, resume, allow_modules)
    return begin(store, recipe, folder, How(resume, overwrite, validate, on_progress, tuple(allow_modules)))


@dataclass(frozen=True)
class How:
    """Arguments of `pretrain` that are no part of what is computed; and a finished run to stand for the stages before."""

    resume: bool = False
    overwrite: bool = False
    validate: Validate | None = None
    on_progress: OnProgress | None = None
    allow_modules: tuple[str, ...] = ()
    first: Run | None = None


def begin(store: SequenceStore, recipe: Recipe | None, folder: Path, how: How) -> Run:
    """`pretrain` at rank 0, or in the only process."""
    old = folders.holds_something(folder)
    if old and how.resume:
        recipe = _same_recipe(folder, recipe, how.allow_modules)
        if (folder / manifest.NAME).is_file():
            return _finished(folder, recipe, store)
    elif old:
        folders.refuse(folder, how.overwrite)
    return _lead(store, recipe or Recipe(), folder, how)[0]


def _lead(store: SequenceStore, recipe: Recipe, folder: Path, how: How) -> tuple[Run, Loop]:
    split = _ready(store, recipe, how)
    loop = Loop(store, split, recipe, folder, Team(recipe.training))
    require_fit(loop.encoder, recipe, store)
    # Nothing is touched above: whatever is wrong with the request, an old run is still there.
    folders.make(folder)
    with folders.alone(folder):
        if not how.resume:
            require_room(folder, loop.modules, average=bool(loop.config.ema))
            folders.clear(folder)
        write_recipe(recipe, folder / "config.json")
        _run_before(store, recipe, folder, how)
        return _train(loop, how.validate, how.on_progress), loop


def _ready(store: SequenceStore, recipe: Recipe, how: How) -> Split:
    """The split of a stage, once this stage and those that run before it are known to be possible."""
    require_log(recipe.training)
    require_effect(recipe.training)
    split = store.split(recipe.data.split)
    _require_enough(store, split)
    require_possible(store, split, recipe, how.validate)
    first = recipe.before()
    if first is not None and how.first is None:
        _ready(store, first, How())
    return split


def _run_before(store: SequenceStore, recipe: Recipe, folder: Path, how: How) -> None:
    """Run the stage before this one, or go on with it, or leave it as it is if it is finished, or copy it."""
    first, place = recipe.before(), folder / BEFORE
    if first is None or (place / manifest.NAME).is_file():
        return
    if how.first is not None:
        bring(how.first.path, place)
        return
    _, loop = _lead(store, first, place, How(resume=True, on_progress=how.on_progress))
    if loop.stop_requested:
        # Too late for that stage: it was in its last step.
        found, do = "a request to stop", "Continue with --resume."
        raise InterruptedRunError(str(folder), expected="to run the next stage", found=found, do=do)


def _join(
    store: SequenceStore, recipe: Recipe | None, folder: Path, resume: bool, allow_modules: Sequence[str]
) -> Run:
    """Another rank under torchrun. Rank 0 decides what may be done to the folder, perhaps while this one reads it."""
    if resume and (folder / "config.json").is_file():
        recipe = recipe or read_recipe(folder / "config.json", allow_modules=allow_modules)
        if (folder / manifest.NAME).is_file():
            return _finished(folder, recipe, store)
    recipe = recipe or Recipe()
    first = recipe.before()
    if first is not None:
        _join(store, first, folder / BEFORE, True, allow_modules)
    return follow(store, recipe, folder, Team(recipe.training))


def follow(store: SequenceStore, recipe: Recipe, folder: Path, team: Team) -> Run:
    """Another rank: the same steps, its share of the validation, and nothing written."""
    loop = Loop(store, store.split(recipe.data.split), recipe, folder, team)
    return _train(loop, None, None)


def _train(loop: Loop, validate: Validate | None, on_progress: OnProgress | None) -> Run:
    classes = {value for key, value in leaves(loop.recipe.to_dict()).items() if key.endswith("class")}
    modules = sorted({str(value).partition(":")[0] for value in classes})
    worker = (str(loop.folder), str(loop.store.folder), json.dumps(modules))
    with _stoppable(loop), without_denormals(), loop.team.together(worker):
        weights = weights_before(loop.recipe, loop.folder)
        if weights is not None:
            take_over(loop.encoder, weights)
            loop.ema.restart()
        for sentence in loop.restore():
            warnings.warn(f"skipped a damaged checkpoint: {sentence}", RuntimeWarning, stacklevel=4)
        parts = (loop.team, loop.store, loop.split, loop.recipe, validate, loop.objective)
        loop.run(agree(*parts), on_progress)
        return _finish(loop, own_validation=validate is not None)


def _same_recipe(folder: Path, recipe: Recipe | None, allow_modules: Sequence[str]) -> Recipe:
    path = folder / "config.json"
    if not path.is_file():
        do = "Name the folder of a run, or an empty one."
        found = "a folder without config.json"
        raise OutputExistsError(str(folder), expected="a run to resume", found=found, do=do)
    ours = leaves(recipe.to_dict()) if recipe else {}
    # Whoever hands over a recipe has imported its classes; to name them once more adds no safety.
    known = {value.partition(":")[0] for key, value in ours.items() if key.rpartition(".")[2] == "class"}
    saved = read_recipe(path, allow_modules=[*allow_modules, *known])
    if recipe is None:
        return saved
    theirs = leaves(saved.to_dict())
    odd = [key for key in sorted(ours.keys() | theirs.keys()) if ours.get(key) != theirs.get(key)]
    if odd:
        found = f"{odd[0]} = {ours.get(odd[0])!r}, where the run has {theirs.get(odd[0])!r}"
        do = "Drop the option, or start a new run."
        raise ConfigError("--resume", expected="the recipe the run was started with", found=found, do=do)
    return recipe


def _finished(folder: Path, recipe: Recipe, store: SequenceStore) -> Run:
    run = Run(folder, recipe, manifest.read(folder, KIND).meta)
    trained_on = str(run.meta["store"]["content_hash"])
    if trained_on != store.content_hash:
        expected, found = (
            f"the store it was trained on ({trained_on[:12]})",
            f"store {store.content_hash[:12]}",
        )
        raise MismatchError(str(folder), expected=expected, found=found, do="Start a new run on this store.")
    return run


def _require_enough(store: SequenceStore, split: Split) -> None:
    learners = int((split.train_stop - split.start >= 2).sum())
    if learners < 2:
        found = f"{learners} of {store.n_users:,} users"
        expected = "at least 2 users with 2 training events each"
        do = "Ingest more users, or longer histories (three events leave one, because two are held out)."
        raise DataError(str(store.path), expected=expected, found=found, do=do)


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


def _finish(loop: Loop, *, own_validation: bool) -> Run:
    state, store = loop.state, loop.store
    meta = {
        "store": {"path": str(store.path), "content_hash": store.content_hash},
        "split": loop.split.name,
        "epochs": state.epoch,
        "steps": state.step,
        "seconds": round(state.seconds, 2),
        "best_epoch": state.best_epoch,
        "best": {} if state.best is None else {loop.config.monitor: state.best},
        "parameters": sum(weight.numel() for weight in loop.encoder.parameters()),
        "precision": "bf16" if loop.bf16 else "fp32",
        "processes": loop.team.world,
        "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads, {loop.fabric.device}",
        "versions": {
            "usermodel": VERSION,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    meta |= loop.objective.facts() | optimiser.facts(loop.optimiser)
    meta |= label_facts(store, loop.split, loop.recipe)
    run = Run(loop.folder, loop.recipe, meta)
    if not loop.team.is_main:
        return run
    facts = {"split": loop.split.name}
    io.save(loop.folder / "encoder", loop.encoder, loop.recipe.encoder, store.vocabulary, meta=facts)
    write_card(run, store, loop.encoder, own_validation=own_validation)
    listed = [f"encoder/{name}" for name in io.FILES]
    if loop.objective.head is not None:
        heads.save(loop.folder / "head", loop.objective.head)
        listed += [f"head/{name}" for name in heads.FILES]
    manifest.seal(loop.folder, KIND, meta, parts=("config.json", "metrics.csv", *listed))
    return run
