"""Stages: a run that begins with the encoder of the run before it, which lies in its own folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from usermodel import manifest
from usermodel.encoders import io
from usermodel.errors import ConfigError, StorageError
from usermodel.store.sequence_store import SequenceStore
from usermodel.training.recipe import Recipe

#: Folder of the run before, inside the run's own.
BEFORE: Final = "before"
#: What a finished run is known by.
PARTS: Final = ("config.json", "metrics.csv", "encoder", "head", manifest.NAME)


def weights_before(recipe: Recipe, folder: Path) -> dict[str, Tensor] | None:
    """Encoder weights of the finished run before this one; None where nothing runs first.

    Whoever hands over a recipe has imported its classes; to name their modules once more adds no safety.

    Raises:
        MissingError: It has not run.
        IntegrityError: It is damaged.
    """
    first = recipe.before()
    if first is None:
        return None
    module = type(first.encoder).__module__
    saved = io.load(folder / BEFORE, allow_modules=[module])
    return dict(saved.module.state_dict())


def bring(run: Path, place: Path) -> None:
    """Copy what a finished run is known by, its encoder foremost, to where the run before lies; complete or not at all.

    Checkpoints, runs before it and whatever else lies in its folder stay behind: nothing reads them again.

    Raises:
        StorageError: No room, or the disk refused.
    """
    draft = place.with_name(f".{place.name}.tmp-{os.getpid()}")
    for left in place.parent.glob(f".{place.name}.tmp-*"):
        # Of a process that was killed: this one has the folder to itself.
        shutil.rmtree(left, ignore_errors=True)
    try:
        draft.mkdir()
        for part in PARTS:
            if (run / part).is_dir():
                shutil.copytree(run / part, draft / part)
            elif (run / part).is_file():
                shutil.copy2(run / part, draft / part)
        draft.rename(place)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(draft, ignore_errors=True)
        found, do = f"{error!s:.120}", "Free some space, or choose another place."
        raise StorageError(str(place), expected="to copy the run before", found=found, do=do) from error


@torch.no_grad()
def take_over(encoder: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy the weights that have the same name and shape; the others stay as they are.

    Raises:
        ConfigError: The item table is not among them.
    """
    own = encoder.state_dict()
    for name in _shared(own, weights):
        own[name].copy_(weights[name])


def require_fit(encoder: nn.Module, recipe: Recipe, store: SequenceStore) -> None:
    """Ask before anything is trained what `take_over` asks between stages, of all stages.

    Raises:
        ConfigError: An item table would not be taken over.
    """
    first = recipe.before()
    while first is not None:
        # Building draws random weights, soon dropped; the caller's random numbers are not ours to move.
        with torch.random.fork_rng(devices=[]):
            earlier = first.encoder.build_on(store)
        _shared(encoder.state_dict(), earlier.state_dict())
        encoder, first = earlier, first.before()


def _shared(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    shared = [name for name, value in own.items() if name in given and given[name].shape == value.shape]
    if not any(name.startswith("items.") for name in shared):
        expected, do = (
            "the item table of the stage before",
            "Give all stages the same encoder.dim and encoder.items.",
        )
        raise ConfigError("stages", expected=expected, found="one of another shape", do=do)
    return shared
