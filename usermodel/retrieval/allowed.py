"""Which items anybody may get: a list of those that may, a list of those that may not."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32
from numpy import ndarray

from usermodel.errors import DataError
from usermodel.events.vocabulary import Vocabulary


def allowed_by(
    vocabulary: Vocabulary, allow: Iterable[Any] | None, deny: Iterable[Any] | None
) -> Bool[ndarray, " items"] | None:
    """One truth an item; None where there are no lists.

    Raises:
        DataError: ``allow`` names no item of the vocabulary.
    """
    if allow is None and deny is None:
        return None
    mask = np.full(len(vocabulary) + 1, allow is None)
    if allow is not None:
        mask[_rows(vocabulary, allow, "allow")] = True
        if not mask[1:].any():
            do = "Check the ids and their type."
            raise DataError("allow", expected="items of this index", found="none of them", do=do)
    if deny is not None:
        mask[_rows(vocabulary, deny, "deny")] = False
    return np.asarray(mask[1:])


def _rows(vocabulary: Vocabulary, ids: Iterable[Any], where: str) -> Int32[ndarray, " ids"]:
    """Item indices of a list, 0 for ids that the index lacks; lists come from other systems, which are ahead or behind."""
    index = vocabulary.encode(vocabulary.ids_of(ids, where))
    unknown = int(np.count_nonzero(index == 0))
    if unknown and (unknown < len(index) or where == "deny"):
        text = f"{where}: {unknown:,} of {len(index):,} ids are not in the index and are passed over"
        warnings.warn(text, stacklevel=4)
    return index
