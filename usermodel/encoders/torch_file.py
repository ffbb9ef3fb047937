"""A program, not a module to import: the tensors of a ``.pt`` file -> safetensors. The one place that calls `torch.load`.

A ``.pt`` file is a pickle, and a pickle can run code. Here it is read by torch's weights-only reader, which knows tensors
and plain containers and nothing else, in a process of its own with limits on memory, time and what it may write. There is
no fall-back. `usermodel.encoders.weights_file` starts it as ``python -I torch_file.py SOURCE TARGET``; it imports nothing
of this package, and ends with 0, or with 1 and one sentence on standard output.
"""

from __future__ import annotations

import re
import resource
import sys
import warnings
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import save_file

#: Beyond what the interpreter holds already: a few copies of the file, and some room.
MEMORY_FACTOR: Final = 8
MEMORY_SPARE: Final = 1 << 30
SECONDS: Final = 600


def main(source: Path, target: Path) -> str:
    """Limit this process, then `convert`."""
    limit(source.stat().st_size)
    # Remarks of torch about old formats are not for the user.
    warnings.simplefilter("ignore")
    return convert(source, target)


def convert(source: Path, target: Path) -> str:
    """Read and write; returns what is wrong with the file, or nothing."""
    try:
        # An open file, because torch takes the suffix of a name for its format.
        with source.open("rb") as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - bytes from anywhere raise anything
        return _reason(error)
    if not isinstance(content, dict):
        return f"an object of type {type(content).__name__}"
    plain = {}
    for name, value in content.items():
        if not isinstance(name, str):
            return f"a key of type {type(name).__name__}"
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_quantized:
            return f"{name!r} of type {type(value).__name__}, which is no plain tensor"
        plain[name] = value
    try:
        # Copies, because tensors may share memory, or be wider than what is stored.
        save_file({name: value.detach().clone().contiguous() for name, value in plain.items()}, target)
    except Exception as error:  # noqa: BLE001 - out of memory and of the size limit, in several types
        return f"tensors that cannot be copied ({type(error).__name__})"
    return ""


def limit(size: int) -> None:
    """Bound memory, time and what can be written, in proportion to a file of ``size`` bytes; for good."""
    held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    limits = {
        resource.RLIMIT_AS: held + MEMORY_FACTOR * size + MEMORY_SPARE,
        resource.RLIMIT_CPU: SECONDS,
        resource.RLIMIT_FSIZE: MEMORY_FACTOR * size + (1 << 20),
        resource.RLIMIT_CORE: 0,
    }
    for what, wanted in limits.items():
        hard = resource.getrlimit(what)[1]
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(what, (most, most))


def _reason(error: Exception) -> str:
    """One clause; torch writes half a page, with advice to switch the safety off."""
    text = str(error)
    code = re.search(r"GLOBAL ([\w.]+)", text)
    if code is not None:
        return f"a pickle that calls {code[1]}, refused without running it"
    if isinstance(error, MemoryError) or "alloc" in text:
        return "more data than the size of the file allows"
    return f"a file that torch cannot read as weights ({type(error).__name__})"


if __name__ == "__main__":
    found = main(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.write(found)
    sys.exit(1 if found else 0)
