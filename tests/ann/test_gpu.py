"""The road to a GPU, with a FAISS that pretends to have one: a copy of the index, which counts what it is asked.

No test here has run on a GPU.
"""

import faiss
import numpy as np
import pytest

from usermodel.ann.kinds import kind_of, kinds
from usermodel.ann.library import has_gpu
from usermodel.errors import ConfigError
from usermodel.retrieval.vector_index import VectorIndex, Wish


class Copy:
    """An index on a GPU, so to speak."""

    def __init__(self, resources, device, index):
        assert isinstance(resources, Resources)
        assert device == 0
        self.index, self.resources, self.asked = faiss.clone_index(index), resources, []

    def search_c(self, m, queries, k, scores, positions):
        self.asked.append((m, k, self.nprobe))
        assert k <= 2048
        assert (self.nprobe or 1) <= 2048
        self.index.search_c(m, queries, k, scores, positions)

    @property
    def nprobe(self):
        return getattr(self.index, "nprobe", None)

    @nprobe.setter
    def nprobe(self, value):
        self.index.nprobe = value


class Resources:
    pass


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(faiss, "StandardGpuResources", Resources, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", Copy, raising=False)


def vectors(n=3000, dim=8, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


@pytest.mark.parametrize("kind", ["flat", "ivf-flat", "ivf-pq"])
def test_the_copy_is_asked_and_answers_alike(kind, gpu):
    assert has_gpu()
    items, users = vectors(), vectors(60, seed=1)
    there, here = (VectorIndex.build(items, Wish(kind, gpu=one), users) for one in (True, False))
    copy = there.index._gpu
    assert dict(there.index.effort) == dict(here.index.effort)
    assert copy.nprobe == here.index.effort.get("nprobe")
    assert there.measured == here.measured
    before = len(copy.asked)
    for one, other in zip(there.search(users, 7), here.search(users, 7), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(copy.asked) == before + 1
    assert copy.asked[-1][0] == 60


@pytest.mark.parametrize("kind", ["flat", "ivf-flat"])
def test_what_a_gpu_cannot_do_is_done_here(kind, gpu, monkeypatch):
    index = kind_of(kind).build(vectors())
    index.to_gpu()
    index.search(vectors(2, seed=1), 2049)
    assert index._gpu.asked == []
    index.search(vectors(2, seed=1), 2048)
    assert len(index._gpu.asked) == 1
    if kind == "ivf-flat":
        # More lists than a GPU looks into.
        index.set_effort({"nprobe": 2049})
        index.search(vectors(2, seed=1), 5)
        assert len(index._gpu.asked) == 1


def test_files_hold_the_index_of_the_processor(gpu, tmp_path):
    index = kind_of("ivf-flat").build(vectors())
    index.to_gpu()
    index.save(tmp_path / "a")
    loaded = kind_of("ivf-flat").load(tmp_path / "a", index.spec)
    np.testing.assert_array_equal(
        loaded.search(vectors(5, seed=1), 3)[1], index.search(vectors(5, seed=1), 3)[1]
    )


@pytest.mark.parametrize("kind", sorted({"hnsw", "sq8"} & set(kinds())))
def test_kinds_without_a_gpu_are_refused(kind, gpu):
    with pytest.raises(ConfigError, match=f"a kind that FAISS has for GPUs; found {kind}"):
        VectorIndex.build(vectors(100), Wish(kind, gpu=True))


def test_what_faiss_refuses_is_said(gpu, monkeypatch):
    def refuse(*_):
        raise RuntimeError("Error in void f()\nout of memory on the device")

    monkeypatch.setattr(faiss, "index_cpu_to_gpu", refuse)
    index = kind_of("flat").build(vectors(100))
    with pytest.raises(
        ConfigError, match="gpu: expected an index that FAISS can copy there; found out of memory"
    ):
        index.to_gpu()
    assert len(index.search(vectors(1), 3)[0]) == 1


def test_without_a_device_it_is_said(gpu, monkeypatch):
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    with pytest.raises(ConfigError, match="found no device"):
        VectorIndex.build(vectors(100), Wish("flat", gpu=True))
