"""Long proofs made of cells, such as one seed of one variant: written after each cell, and going on where they were stopped."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

import usermodel as um

Cell = dict[str, Any]


def before(out: Path, facts: dict[str, Any]) -> list[Cell]:
    """The cells that a result holds already; none where there is no result, or one of another kind.

    Args:
        out: The result.
        facts: What all its cells have in common; another value there stops the proof.
    """
    old = json.loads(out.read_text()) if out.exists() else {}
    if "cells" not in old:
        return []
    for key, value in facts.items():
        if old.get(key) != value:
            raise SystemExit(
                f"{out}: expected {key}={value}, found {old.get(key)}; delete it, or name another --out"
            )
    cells: list[Cell] = old["cells"]
    return cells


def write(out: Path, result: dict[str, Any]) -> None:
    """Write what is known so far, after the command that found it; whole or not at all."""
    command = shlex.join(["python", f"benchmarks/quality/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    draft = out.with_suffix(".draft")
    draft.write_text(json.dumps({"command": command} | result, indent=1) + "\n")
    draft.replace(out)


def each(jobs: int, cell: Callable[..., Cell], asked: Sequence[tuple[Any, ...]]) -> Iterator[Cell]:
    """Run ``cell(*one)`` for each of ``asked``, ``jobs`` at once in processes of one thread; yields them as they end."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_one_thread) as pool:
        yield from (done.result() for done in as_completed([pool.submit(cell, *one) for one in asked]))


def machine(jobs: int) -> dict[str, Any]:
    """Where and with what cells ran."""
    return {
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores, {jobs} runs at once of 1 thread each",
        "versions": {"usermodel": um.__version__, "torch": torch.__version__},
    }


def _one_thread() -> None:
    torch.set_num_threads(1)
    # Runs this short are often warned of: what they are worth is measured.
    warnings.filterwarnings("ignore", message="collapse")
