"""Damaged index files: refused or searched, never a crash, never memory much above the size of the file.

The mutants are loaded in a process of their own, so that a crash is seen; every one is past the check of the sha256, as if
somebody had repaired that.
"""

import subprocess
import sys

import numpy as np
import pytest

from usermodel.ann.base import Spec
from usermodel.ann.kinds import kinds
from usermodel.errors import IntegrityError

N, DIM = 300, 8
MUTANTS = 200

CHILD = """
import resource, sys
from pathlib import Path
import numpy as np
from usermodel.ann.base import Spec
from usermodel.ann.kinds import kind_of
from usermodel.errors import UserModelError
import faiss

faiss.omp_set_num_threads(1)
kind, path, n, dim, mutants = kind_of(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:])
whole, rng = path.read_bytes(), np.random.default_rng(1)
queries = rng.normal(size=(5, dim)).astype(np.float32)
kind.load(path, Spec(dim, n)).search(queries, 10)
# What is mapped by now, and 64 MiB more.
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + (64 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
refused = searched = 0
for number in range(mutants):
    data = bytearray(whole)
    how = number % 4
    at = int(rng.integers(0, min(len(data), 400 if number % 3 else len(data))))
    if how == 0:
        data[at] ^= 1 << int(rng.integers(8))
    elif how == 1:
        data[at : at + 8] = int(rng.integers(-(2**62), 2**62)).to_bytes(8, "little", signed=True)
    elif how == 2:
        data[at : at + 4] = [b"\\xff\\xff\\xff\\xff", b"\\x00\\x00\\x00\\x80", b"\\xff\\xff\\xff\\x7f", b"\\x00\\x00\\xc0\\x7f"][number % 16 // 4]
    else:
        data = data[:at] if number % 8 == 3 else data[:at] + bytes(int(rng.integers(1, 64))) + data[at:]
    path.write_bytes(data)
    try:
        index = kind.load(path, Spec(dim, n))
        for effort in (index.efforts()[0], index.efforts()[-1]):
            index.set_effort(effort)
            _, found = index.search(queries, 10)
            assert found.min() >= -1 and found.max() < n
        searched += 1
    except UserModelError as error:
        assert "Build it again" in str(error), error
        refused += 1
print(refused, searched)
"""


@pytest.mark.parametrize("name", list(kinds()))
def test_mutants_are_refused_or_searched(name, tmp_path):
    kinds()[name].build(np.random.default_rng(0).normal(size=(N, DIM)).astype(np.float32)).save(
        tmp_path / "a"
    )
    words = [sys.executable, "-c", CHILD, name, str(tmp_path / "a"), str(N), str(DIM), str(MUTANTS)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    refused, searched = map(int, done.stdout.split())
    assert refused + searched == MUTANTS
    # The others hit vectors, codes or the end of the file, which no structure shows.
    assert refused > MUTANTS // 5


def saved(name, path, change):
    """An index changed through FAISS itself and written whole."""
    index = kinds()[name].build(np.random.default_rng(0).normal(size=(N, DIM)).astype(np.float32))
    change(index._index)
    index.save(path)
    return kinds()[name]


def entry(index):
    index.hnsw.entry_point = N + 5


def link(index):
    import faiss

    links = faiss.vector_to_array(index.hnsw.neighbors)
    links[0] = N
    faiss.copy_array_to_vector(links, index.hnsw.neighbors)


def offsets(index):
    import faiss

    values = faiss.vector_to_array(index.hnsw.offsets)
    values[5] += 1
    faiss.copy_array_to_vector(values, index.hnsw.offsets)


def low_link(index):
    """On the second level, to a node that ends on the first: its links there belong to the next node."""
    import faiss

    levels = faiss.vector_to_array(index.hnsw.levels)
    at = faiss.vector_to_array(index.hnsw.offsets)
    room = faiss.vector_to_array(index.hnsw.cum_nneighbor_per_level)
    links = faiss.vector_to_array(index.hnsw.neighbors)
    links[int(at[np.argmax(levels > 1)]) + room[1]] = int(np.argmin(levels))
    faiss.copy_array_to_vector(links, index.hnsw.neighbors)


def twice(index):
    import faiss

    size = index.invlists.list_size(0)
    ids = faiss.rev_swig_ptr(index.invlists.get_ids(0), size)
    ids[0] = ids[1]


def outside(index):
    import faiss

    faiss.rev_swig_ptr(index.invlists.get_ids(0), index.invlists.list_size(0))[0] = N


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("hnsw", entry, "."),
        ("hnsw", link, "."),
        ("hnsw", offsets, "."),
        ("hnsw", low_link, "links on level 1 to nodes of that level"),
        ("ivf-flat", twice, "every vector in one list; found 2 in none or several"),
        ("ivf-pq", outside, f"to name vectors 0 to {N - 1}"),
    ],
)
def test_structure_is_checked_behind_the_hash(name, change, said, tmp_path):
    kind = saved(name, tmp_path / "a", change)
    with pytest.raises(IntegrityError, match=said):
        kind.load(tmp_path / "a", Spec(DIM, N))
