"""Weights that other programs saved: safetensors, and ``.pt`` files of both kinds, read without running what is in them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import torch
from jaxtyping import Float32
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from usermodel.encoders import torch_file
from usermodel.errors import DataError, MissingError

_EXPECTED: Final = "a checkpoint: tensors by name, as safetensors or from torch.save"
_DO: Final = "Save the state_dict of the model alone, best as safetensors."
#: What the reader needs to find its libraries; nothing that changes what Python or torch do.
_ENVIRONMENT: Final = ("PATH", "LD_LIBRARY_PATH", "HOME", "TMPDIR")


def read_weights(path: Path) -> dict[str, Float32[Tensor, "..."]]:
    """Read a checkpoint; what kind it is, its bytes tell and not its name.

    Tensors that were saved on a GPU come to the CPU, and all to float32. A pickle is read in a process of its own, by a
    reader that knows nothing but tensors (see `usermodel.encoders.torch_file`).

    Raises:
        MissingError: No such file.
        DataError: Not tensors by name; a pickle that would run code; a value that is not a finite number.
    """
    if not path.is_file():
        raise MissingError(str(path), expected="a checkpoint", found="no such file", do="Check the path.")
    weights = _load(path, path) if _is_safetensors(path) else _read_pickle(path)
    return {name: _plain(path, name, value) for name, value in weights.items()}


def _is_safetensors(path: Path) -> bool:
    """Eight bytes with the length of a header, and then JSON."""
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size


def _load(file: Path, path: Path) -> dict[str, Tensor]:
    try:
        weights: dict[str, Tensor] = load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        found, do = f"a damaged file ({error!s:.80})", "Copy it again."
        raise DataError(str(path), expected=_EXPECTED, found=found, do=do) from None
    return weights


def _read_pickle(path: Path) -> dict[str, Tensor]:
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryDirectory(prefix="usermodel-") as folder:
        target = Path(folder) / "weights.safetensors"
        command = [sys.executable, "-I", torch_file.__file__, str(path.absolute()), str(target)]
        try:
            done = subprocess.run(
                command,
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=2 * torch_file.SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            found = "no end of reading"
        else:
            if done.returncode == 0:
                return _load(target, path)
            # One clause when the reader ended by itself; a limit of the system ends it without.
            found = done.stdout.decode("utf-8", "replace") if done.returncode == 1 else ""
    found = found or "a file whose reader was stopped by a limit on memory or time"
    raise DataError(str(path), expected=_EXPECTED, found=found, do=_DO)


def _plain(path: Path, name: str, value: Tensor) -> Float32[Tensor, "..."]:
    if not value.is_floating_point():
        found, do = (
            f"{str(value.dtype).removeprefix('torch.')} in {name!r}",
            "Check where the file comes from.",
        )
        raise DataError(str(path), expected="floating-point weights", found=found, do=do)
    value = value.to(torch.float32)
    if not bool(torch.isfinite(value).all()):
        found, do = f"NaN or infinity in {name!r}", "Use an earlier checkpoint."
        raise DataError(str(path), expected="finite weights", found=found, do=do)
    return value
