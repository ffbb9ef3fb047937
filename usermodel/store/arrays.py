"""``.npy`` files of ours: whatever is wrong with one is an `IntegrityError`."""

from __future__ import annotations

import tokenize
from pathlib import Path
from typing import Literal

import numpy as np
from numpy import ndarray

from usermodel.errors import IntegrityError


def load_array(path: Path, do: str, *, mmap_mode: Literal["r"] | None = "r") -> ndarray:
    """Map an array into memory, or read it; ``do`` says how it is made again.

    Raises:
        IntegrityError: No array of numbers there. numpy parses headers as Python literals, so a damaged one may be no Python.
    """
    try:
        array: ndarray = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, tokenize.TokenError, TypeError, MemoryError) as error:
        raise IntegrityError(str(path), expected="an array", found=f"{error!s:.80}", do=do) from None
    return array
