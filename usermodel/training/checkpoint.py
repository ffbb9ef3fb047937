"""Checkpoints: a folder each, written atomically, the two latest kept; damaged ones are skipped by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from usermodel import manifest
from usermodel.encoders.io import load_weights, plain_weights, save_file
from usermodel.errors import IntegrityError, MismatchError, StorageError, UserModelError

KIND: Final = "checkpoint"
KEEP: Final = 2


@dataclass
class State:
    """Where training stands. Data order and dropout are functions of (seed, epoch, step), so no generator state is kept.

    Attributes:
        store: Content hash of the store that is trained on.
        epoch: Epochs finished.
        batch: Batches of the current epoch finished.
        step: Optimiser steps done.
        loss_sum: Sum over the current epoch of loss x targets.
        n_targets: Targets of the current epoch so far.
        part_sums: Like ``loss_sum``, for each named part of the loss.
        metrics: Latest validation.
        best: Best value of the monitored metric.
        best_epoch: Epoch count at which it was reached.
        bad: Validations in a row that did not count as better, or those since the step size was last lowered.
        drops: How often it was lowered (``training.schedule=plateau``).
        seconds: Wall time of training so far, over all attempts.
        history: One row per finished epoch.
    """

    store: str = ""
    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    n_targets: int = 0
    part_sums: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    best: float | None = None
    best_epoch: int = 0
    bad: int = 0
    drops: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def save(
    folder: Path,
    modules: nn.Module,
    optimiser: torch.optim.Optimizer,
    state: State,
    best: dict[str, Tensor],
    average: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write ``step-N``, and only then drop all but the latest `KEEP`.

    Args:
        folder: The run's ``checkpoints`` folder.
        modules: Encoder and objective.
        optimiser: Its moments are saved too.
        state: Where training stands.
        best: Encoder weights of the best validation so far; empty before the first.
        average: Moving average of the encoder's weights, where there is one.

    Raises:
        StorageError: No room, or the disk refused; the earlier checkpoints are as they were.
    """
    target = folder / f"step-{state.step:010d}"
    moments = {
        f"{number}.{name}": value.detach().cpu().contiguous()
        for number, slots in optimiser.state_dict()["state"].items()
        for name, value in slots.items()
    }
    files = {"model": plain_weights(modules), "optimiser": moments, "best": best}
    if average:
        files["average"] = {name: value.cpu() for name, value in average.items()}
    try:
        with manifest.write_directory(target, KIND, overwrite=True) as draft:
            for name, tensors in files.items():
                save_file(tensors, draft.path / f"{name}.safetensors")
            (draft.path / "state.json").write_text(json.dumps(asdict(state)) + "\n", encoding="utf-8")
    except StorageError as error:
        size = sum(value.nbytes for tensors in files.values() for value in tensors.values())
        do = "Free some space, then continue with --resume; the checkpoints before this one are intact."
        expected = f"room for a checkpoint of {size:,} bytes"
        raise StorageError(str(target), expected=expected, found=error.found, do=do) from error
    for old in sorted(folder.glob("step-*"))[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def restore(
    folder: Path,
    modules: nn.Module,
    optimiser: torch.optim.Optimizer,
    store: str,
    average: Mapping[str, Tensor] | None = None,
) -> tuple[State, dict[str, Tensor], list[str]]:
    """Load the latest intact checkpoint, and remove damaged ones and what a killed writer left half done.

    Modules, optimiser and ``average`` are filled in place.

    Returns:
        The state, the best encoder weights, and one sentence per damaged checkpoint that was skipped. A fresh state when
        there is no checkpoint at all.

    Raises:
        MismatchError: The checkpoint was trained on another store than ``store`` (a content hash).
        IntegrityError: There are checkpoints, and all are damaged; nothing was removed.
    """
    skipped: dict[Path, str] = {}
    found = sorted(folder.glob("step-*"), reverse=True)
    for path in found:
        try:
            state, moments, best = _read(path)
            _require_store(path, state, store)
            _load_average(path / "average.safetensors", average or {})
            load_weights(modules, path / "model.safetensors")
            _load_moments(optimiser, moments, path)
        except MismatchError:
            raise
        except UserModelError as error:
            skipped[path] = str(error)
        else:
            # Left in place, a damaged one would count as one of the latest and push an intact one out.
            for useless in [*skipped, *folder.glob(".step-*.tmp-*")]:
                shutil.rmtree(useless, ignore_errors=True)
            return state, best, list(skipped.values())
    if found:
        expected, do = "an intact checkpoint", "Start again with --overwrite."
        raise IntegrityError(str(folder), expected=expected, found=skipped[found[0]], do=do)
    return State(store), {}, []


def _read(path: Path) -> tuple[State, dict[str, Tensor], dict[str, Tensor]]:
    # A flipped bit in a manifest can leave JSON that lacks a key; that is damage like any other.
    try:
        manifest.read(path, KIND, verify=True)
        state = State(**json.loads((path / "state.json").read_text(encoding="utf-8")))
        return state, _load(path / "optimiser.safetensors"), _load(path / "best.safetensors")
    except UserModelError:
        raise
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from None


def _load(path: Path) -> dict[str, Tensor]:
    """Tensors with memory of their own: those of `load_file` live in the file, which a later save removes."""
    return {name: value.clone() for name, value in load_file(path).items()}


def _load_average(path: Path, average: Mapping[str, Tensor]) -> None:
    if not average:
        return
    try:
        saved = _load(path)
        for name, value in average.items():
            value.copy_(saved[name])
    except (SafetensorError, OSError, LookupError, RuntimeError) as error:
        raise _damaged(path, error) from None


def _require_store(path: Path, state: State, store: str) -> None:
    if state.store != store:
        do = "Name the store the run was started with, or start a new run."
        expected = f"to resume on store {state.store[:12]}"
        raise MismatchError(str(path), expected=expected, found=f"store {store[:12]}", do=do)


def _load_moments(optimiser: torch.optim.Optimizer, moments: dict[str, Tensor], path: Path) -> None:
    slots: dict[int, dict[str, Any]] = {}
    try:
        for key, value in moments.items():
            number, _, name = key.partition(".")
            slots.setdefault(int(number), {})[name] = value
        optimiser.load_state_dict({"state": slots, "param_groups": optimiser.state_dict()["param_groups"]})
    except (ValueError, LookupError, TypeError, RuntimeError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> IntegrityError:
    return IntegrityError(
        str(path), expected="a checkpoint", found=f"{error!r:.80}", do="Use an earlier one."
    )
