"""finetune(run, store, recipe, out) -> Run: go on from the encoder of a finished run, usually with labels."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from usermodel.encoders import io
from usermodel.errors import ConfigError, MismatchError
from usermodel.store.sequence_store import SequenceStore
from usermodel.training.place import torchrun
from usermodel.training.pretrain import How, begin
from usermodel.training.progress import OnProgress
from usermodel.training.recipe import Recipe
from usermodel.training.run import Run


def finetune(
    run: Run | str | os.PathLike[str],
    store: SequenceStore | str | os.PathLike[str],
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
    allow_modules: Sequence[str] = (),
) -> Run:
    """Train the last stage of a recipe, whose first stages are a run that is there already.

    The new run is one of the recipe `after` gives: ``config.json`` repeats pretraining and fine-tuning together, and the encoder
    of ``run`` is copied into it, so the old folder is not needed any more.

    Args:
        run: A finished run, or its path.
        store: The store of the run, or another with the same items.
        recipe: The last stage: `after` of a recipe with labels, such as ``um.recipes.user_attribute()``, and ``run``.
        out: Folder of the new run; beside the encoder it holds ``head/``.
        resume: See `pretrain`.
        overwrite: See `pretrain`.
        on_progress: See `pretrain`.
        allow_modules: Modules outside usermodel that the recipe of the run may name.

    Raises:
        MismatchError: Other items than those of the run.
        ConfigError: A recipe that does not go on from the run; an ``out`` that is the run, or holds it; or torchrun, under
            which nothing is fine-tuned.
        UserModelError: Whatever `pretrain` raises.
    """
    first = run if isinstance(run, Run) else Run.open(run, allow_modules=allow_modules)
    store = store if isinstance(store, SequenceStore) else SequenceStore.open(Path(store))
    if torchrun():
        do = "Set training.devices, without torchrun."
        raise ConfigError("finetune", expected="to start its own processes", found="torchrun", do=do)
    if recipe.before() != first.recipe:
        expected, found = f"a recipe whose stages are those of {first.path}", "others"
        raise ConfigError("recipe", expected=expected, found=found, do="Make it with after(run, recipe).")
    _require_apart(first.path, Path(out))
    module = type(first.recipe.encoder).__module__
    known = io.load(first.path, allow_modules=[*allow_modules, module]).vocabulary
    if known.hash != store.vocabulary.hash:
        expected, found = f"the {len(known):,} items of {first.path}", f"{store.n_items:,} others"
        do = "Use the store of the run; where it has grown, pretrain anew."
        raise MismatchError(str(store.path), expected=expected, found=found, do=do)
    how = How(resume, overwrite, None, on_progress, tuple(allow_modules), first)
    return begin(store, recipe, Path(out), how)


def _require_apart(run: Path, out: Path) -> None:
    """Raise `ConfigError` where replacing ``out`` would remove the run that training starts from."""
    first, new = run.resolve(), out.resolve()
    if first == new or new in first.parents:
        do = "Choose another name."
        expected = f"a folder apart from {run}, which training starts from"
        raise ConfigError("out", expected=expected, found=str(out), do=do)


def after(run: Run, recipe: Recipe, changes: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe as the last stage behind a run: with the run's encoder and split, and its recipe as the stages before.

    Args:
        run: What runs first.
        recipe: Sampling, objective and training of the last stage; its encoder, split and stages are not used.
        changes: Values to set in the result, such as ``{"encoder.dropout": 0.5, "sampling.column": "age"}``.

    Raises:
        ConfigError: See `Config.override`.
    """
    before = run.recipe
    stages = (*before.stages, before.model_copy(update={"stages": ()}))
    last = recipe.model_copy(update={"encoder": before.encoder, "data": before.data, "stages": stages})
    return last.override(changes or {})
