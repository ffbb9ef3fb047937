"""The FAISS module: found, or missing with the right advice; its GPUs; its limits on damaged files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from usermodel.errors import ConfigError, IntegrityError, MissingError

AGAIN: Final = "Build it again."
#: Elements of the longest loop that a file may ask for; inverted lists are the most.
_LOOPS: Final = 1 << 20
#: Room for what a file holds besides vectors, and for rounding up.
_SLACK: Final = 1 << 20


def faiss() -> ModuleType:
    """The FAISS module, or a message that names the extras.

    Raises:
        MissingError: FAISS is not installed.
    """
    try:
        import faiss as module
    except ImportError:
        do = "Install it with: pip install 'usermodel[cpu]' (or usermodel[gpu]; the two exclude each other)."
        raise MissingError("faiss", expected="the FAISS library", found="no such module", do=do) from None
    found: ModuleType = module
    return found


def has_gpu() -> bool:
    """Whether FAISS was built for GPUs and sees one."""
    module = faiss()
    return hasattr(module, "StandardGpuResources") and module.get_num_gpus() > 0


def require_gpu() -> None:
    """Raise `ConfigError` where FAISS cannot search on a GPU, with what is lacking."""
    if not has_gpu():
        built = hasattr(faiss(), "StandardGpuResources")
        found = "no device" if built else "a FAISS without GPU support"
        do = "Drop --gpu (gpu=True)." if built else "Install usermodel[gpu], or drop --gpu (gpu=True)."
        raise ConfigError("gpu", expected="a GPU that FAISS can use", found=found, do=do)


@contextlib.contextmanager
def _limits(module: ModuleType, n_bytes: int) -> Iterator[None]:
    """A damaged file may claim any size: what FAISS allocates is bounded by the size of the file."""
    if not hasattr(module, "set_deserialization_vector_byte_limit"):
        yield
        return
    before = module.get_deserialization_vector_byte_limit(), module.get_deserialization_loop_limit()
    module.set_deserialization_vector_byte_limit(n_bytes + _SLACK)
    module.set_deserialization_loop_limit(_LOOPS)
    try:
        yield
    finally:
        module.set_deserialization_vector_byte_limit(before[0])
        module.set_deserialization_loop_limit(before[1])


def read(path: Path, fourcc: bytes) -> Any:
    """A FAISS index from a file, of the type that its first four bytes name and of no other.

    FAISS itself notices less than half of all damage: compare the sha256 first, and the structure afterwards.

    Raises:
        IntegrityError: Another type, or a file that FAISS refuses.
    """
    module = faiss()
    with path.open("rb") as file:
        head = file.read(4)
    if head != fourcc:
        raise damaged(path, f"a FAISS index that begins with {fourcc.decode()}", repr(head))
    try:
        with _limits(module, path.stat().st_size):
            index = module.read_index(str(path))
    except (RuntimeError, MemoryError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise damaged(path, "a FAISS index", lines[-1][:80]) from None
    return index


def damaged(path: Path, expected: str, found: object) -> IntegrityError:
    """The error of a file that is not what its manifest says."""
    return IntegrityError(str(path), expected=expected, found=str(found), do=AGAIN)
