"""What kinds with inverted lists share: how many lists, how many to look into, whether a file's lists are whole."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import numpy as np

from usermodel.ann.base import Spec
from usermodel.ann.checks import check_flat
from usermodel.ann.library import damaged, faiss

#: Training vectors a list, of which FAISS asks for 39 at least.
_PER_LIST: Final = 64
_FEWEST: Final = 39


def n_lists(spec: Spec) -> int:
    """Four times the root of the number of vectors, fewer where lists would be nearly empty."""
    return max(1, min(round(4 * math.sqrt(spec.n)), spec.n // _FEWEST))


def training_size(spec: Spec) -> int:
    """Vectors to train on."""
    return _PER_LIST * n_lists(spec)


def probes(lists: int) -> list[int]:
    """Numbers of lists to look into, in steps of about the root of two, up to all."""
    steps = {min(lists, round(2 ** (half / 2))) for half in range(2 * lists.bit_length() + 1)}
    return sorted(steps | {lists})


def settle(index: Any, centres: Any, spec: Spec) -> None:
    """Ownership, and clusters drawn from the seed; few vectors are no reason for a warning."""
    # FAISS deletes the centres with the index; Python must not.
    centres.this.disown()
    index.own_fields = True
    index.cp.seed = spec.seed + 1234
    index.cp.min_points_per_centroid = 1
    index.cp.max_points_per_centroid = _PER_LIST


def check_lists(index: Any, spec: Spec, code_size: int, path: Path) -> None:
    """Raise `IntegrityError` unless every vector stands in exactly one list and the centres are whole."""
    module = faiss()
    lists = n_lists(spec)
    inverted = module.downcast_InvertedLists(index.invlists)
    if not isinstance(inverted, module.ArrayInvertedLists):
        raise damaged(path, "inverted lists in the file itself", type(inverted).__name__)
    found = index.nlist, inverted.nlist, index.code_size, inverted.code_size, index.direct_map.type
    expected = lists, lists, code_size, code_size, module.DirectMap.NoMap
    if found != expected:
        raise damaged(path, f"(lists, lists, bytes a code, the same, map) = {expected}", found)
    centres = module.downcast_index(index.quantizer)
    if not isinstance(centres, module.IndexFlat) or centres.ntotal != lists or centres.d != spec.dim:
        raise damaged(path, f"{lists} centres of width {spec.dim}", type(centres).__name__)
    check_flat(centres, lists, spec.dim, path)
    times = np.zeros(spec.n, dtype=np.int64)
    for number in range(lists):
        size = inverted.list_size(number)
        if size == 0:
            continue
        # FAISS gives a list of codes its length from that of the ids.
        ids = module.rev_swig_ptr(inverted.get_ids(number), size)
        if ids.min() < 0 or ids.max() >= spec.n:
            raise damaged(path, f"list {number} to name vectors 0 to {spec.n - 1}", "others")
        np.add.at(times, ids, 1)
    if (times != 1).any():
        raise damaged(path, "every vector in one list", f"{int((times != 1).sum())} in none or several")
