"""An index that is stale or damaged, built again from its vectors, and written back so that the next load is quick."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Final

from usermodel.errors import StorageError, UserModelError
from usermodel.retrieval.vector_index import VectorIndex

#: How an index comes about whose vectors are whole.
KEPT: Final = "from its own table, with the effort that it had"


def tell_and_write(
    path: Path, cause: UserModelError, index: VectorIndex, how: str, write: Callable[[], None]
) -> None:
    """Put a rebuilt index in the place of the old one, in one step, and warn: what was wrong, and what was done.

    Where nothing can be written the index serves all the same, and the warning says so.

    Args:
        path: The old one.
        cause: What was wrong with it.
        index: The new one.
        how: From what it was built and how it was tuned.
        write: Writes it.
    """
    wrong = f"{cause.where}: expected {cause.expected}; found {cause.found}"
    built = f"Rebuilt as {index.index.kind} of {len(index):,} vectors {how}"
    try:
        write()
    except StorageError as error:
        end = f"not written back ({error.found}), so that the next load builds it again"
    else:
        end = f"written back to {path}"
    warnings.warn(f"{wrong}. {built}; {end}.", stacklevel=4)
