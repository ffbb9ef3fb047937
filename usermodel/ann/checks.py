"""Whether what a FAISS file holds can be searched without reading beyond it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Int64, Shaped
from numpy import ndarray

from usermodel.ann.library import damaged, faiss

_BLOCK: Final = 1 << 16


def values(vector: Any) -> Shaped[ndarray, " n"]:
    """The numbers of a C++ vector."""
    found: ndarray = faiss().vector_to_array(vector)
    return found


def check_flat(index: Any, n: int, dim: int, path: Path) -> None:
    """Raise `IntegrityError` unless there are ``n`` finite vectors of width ``dim``."""
    n_bytes, metric = index.codes.size(), index.metric_type
    if n_bytes != 4 * n * dim or index.ntotal != n or index.d != dim:
        raise damaged(path, f"{4 * n * dim} bytes of vectors", n_bytes)
    if metric != faiss().METRIC_INNER_PRODUCT:
        raise damaged(path, "the inner product", f"metric {metric}")
    for start in range(0, n, _BLOCK):
        part = index.reconstruct_n(start, min(_BLOCK, n - start))
        if not np.isfinite(part.sum(dtype=np.float64)):
            raise damaged(path, "finite vectors", "NaN or infinity")


def check_graph(graph: Any, n: int, path: Path) -> None:
    """Raise `IntegrityError` unless every link of an HNSW graph leads to a node that exists on its level."""
    levels, offsets = values(graph.levels).astype(np.int64), values(graph.offsets).astype(np.int64)
    room = values(graph.cum_nneighbor_per_level).astype(np.int64)
    links = values(graph.neighbors)
    top = int(levels.max(initial=0))
    if len(levels) != n or levels.min(initial=1) < 1 or top >= len(room) or graph.max_level != top - 1:
        raise damaged(path, f"levels of {n} nodes", f"{len(levels)}, the highest {top}")
    if room[0] != 0 or (np.diff(room) < 0).any():
        raise damaged(path, "room for links that grows with the level", room[:4])
    if len(offsets) != n + 1 or offsets[0] != 0 or (np.diff(offsets) != room[levels]).any():
        raise damaged(path, "links where the levels say", "other offsets")
    if offsets[-1] != len(links) or links.min(initial=0) < -1 or links.max(initial=-1) >= n:
        raise damaged(path, f"links to nodes 0 to {n - 1}", "others")
    entry = graph.entry_point
    if not 0 <= entry < n or levels[entry] != top:
        raise damaged(path, "an entry point on the highest level", entry)
    for level in range(1, top):
        _check_level(level, levels, offsets, room, links, path)


def _check_level(
    level: int,
    levels: Int64[ndarray, " n"],
    offsets: Int64[ndarray, " n+1"],
    room: Int64[ndarray, " levels"],
    links: Shaped[ndarray, " links"],
    path: Path,
) -> None:
    """On the bottom level every node exists; higher up, a link to a node that ends below would be followed past it."""
    start = offsets[:-1][levels > level] + room[level]
    there = links[start[:, None] + np.arange(room[level + 1] - room[level])]
    if (levels[there[there >= 0]] <= level).any():
        raise damaged(path, f"links on level {level} to nodes of that level", "links to lower ones")
