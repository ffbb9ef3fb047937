"""Checkpoints: a folder each, written atomically, the two latest kept; damaged ones are skipped by name."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from usermodel import manifest
from usermodel.encoders.io import load_weights
from usermodel.errors import IntegrityError, UserModelError

KIND: Final = "checkpoint"
KEEP: Final = 2


@dataclass
class State:
    """Where training stands. Data order and dropout are functions of (seed, epoch, step), so no generator state is kept.

    Attributes:
        epoch: Epochs finished.
        batch: Batches of the current epoch finished.
        step: Optimiser steps done.
        loss_sum: Sum over the current epoch of loss x targets.
        n_targets: Targets of the current epoch so far.
        best: Best value of the monitored metric.
        best_epoch: Epoch count at which it was reached.
        bad: Validations since then.
        seconds: Wall time of training so far, over all attempts.
        history: One row per finished epoch.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    n_targets: int = 0
    best: float | None = None
    best_epoch: int = 0
    bad: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def save(folder: Path, modules: nn.Module, optimiser: torch.optim.Optimizer, state: State, best: dict[str, Tensor]) -> Path:
    """Write ``step-N`` and drop all but the latest `KEEP`.

    Args:
        folder: The run's ``checkpoints`` folder.
        modules: Encoder and objective.
        optimiser: Its moments are saved too.
        state: Where training stands.
        best: Encoder weights of the best validation so far; empty before the first.
    """
    target = folder / f"step-{state.step:010d}"
    with manifest.write_directory(target, KIND, overwrite=True) as draft:
        save_file({name: value.detach().cpu().contiguous() for name, value in modules.state_dict().items()}, draft.path / "model.safetensors")
        moments = {
            f"{number}.{name}": value.detach().cpu().contiguous()
            for number, slots in optimiser.state_dict()["state"].items()
            for name, value in slots.items()
        }
        save_file(moments, draft.path / "optimiser.safetensors")
        save_file(best, draft.path / "best.safetensors")
        (draft.path / "state.json").write_text(json.dumps(asdict(state)) + "\n", encoding="utf-8")
    for old in sorted(folder.glob("step-*"))[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def restore(folder: Path, modules: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[State, dict[str, Tensor], list[str]]:
    """Load the latest intact checkpoint.

    Returns:
        The state, the best encoder weights, and one sentence per damaged checkpoint that was skipped. A fresh state when
        there is no checkpoint at all.

    Raises:
        IntegrityError: There are checkpoints, and all are damaged.
    """
    skipped: list[str] = []
    found = sorted(folder.glob("step-*"), reverse=True)
    for path in found:
        try:
            manifest.read(path, KIND, verify=True)
            state, moments, best = _read(path)
            load_weights(modules, path / "model.safetensors")
            _load_moments(optimiser, moments)
        except UserModelError as error:
            skipped.append(str(error))
        else:
            return state, best, skipped
    if found:
        raise IntegrityError(str(folder), expected="an intact checkpoint", found=skipped[0], do="Start again with --overwrite.")
    return State(), {}, skipped


def _read(path: Path) -> tuple[State, dict[str, Tensor], dict[str, Tensor]]:
    try:
        state = State(**json.loads((path / "state.json").read_text(encoding="utf-8")))
        return state, load_file(path / "optimiser.safetensors"), load_file(path / "best.safetensors")
    except (ValueError, TypeError, OSError, SafetensorError) as error:
        raise IntegrityError(str(path), expected="a checkpoint", found=f"{error!s:.80}", do="Use an earlier one.") from None


def _load_moments(optimiser: torch.optim.Optimizer, moments: dict[str, Tensor]) -> None:
    slots: dict[int, dict[str, Any]] = {}
    for key, value in moments.items():
        number, _, name = key.partition(".")
        slots.setdefault(int(number), {})[name] = value
    optimiser.load_state_dict({"state": slots, "param_groups": optimiser.state_dict()["param_groups"]})
