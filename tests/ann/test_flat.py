"""The flat index against numpy, and damaged files."""

import sys

import numpy as np
import pytest

from usermodel.ann.flat import FlatIndex
from usermodel.errors import DataError, IntegrityError, MissingError, NumericError


def vectors(n=50, dim=8, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def test_search_is_the_sorted_inner_product():
    items, queries = vectors(), vectors(7, seed=1)
    scores, positions = FlatIndex.build(items).search(queries, 5)
    exact = queries @ items.T
    assert (positions == np.argsort(-exact, axis=1)[:, :5]).all()
    assert scores == pytest.approx(np.take_along_axis(exact, positions, 1), abs=1e-5)


def test_k_is_capped_at_the_number_of_vectors():
    _, positions = FlatIndex.build(vectors(3)).search(vectors(1, seed=1), 10)
    assert sorted(positions[0]) == [0, 1, 2]


def test_save_and_load_keep_every_vector(tmp_path):
    items = vectors()
    FlatIndex.build(items).save(tmp_path / "a.faiss")
    assert (FlatIndex.load(tmp_path / "a.faiss").vectors() == items).all()


@pytest.mark.parametrize("cut", [0, 10, 200])
def test_truncated_files_are_refused(tmp_path, cut):
    path = tmp_path / "a.faiss"
    FlatIndex.build(vectors()).save(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(IntegrityError, match="expected a FAISS index"):
        FlatIndex.load(path)


def test_another_kind_of_index_is_refused(tmp_path):
    import faiss

    index = faiss.IndexFlatL2(4)
    index.add(vectors(5, 4))
    faiss.write_index(index, str(tmp_path / "a.faiss"))
    with pytest.raises(IntegrityError, match="a flat inner-product index; found IndexFlat"):
        FlatIndex.load(tmp_path / "a.faiss")


def test_bad_vectors_are_refused():
    bad = vectors()
    bad[3, 3] = np.nan
    with pytest.raises(NumericError, match="finite vectors"):
        FlatIndex.build(bad)
    with pytest.raises(DataError, match="n > 0"):
        FlatIndex.build(np.zeros((0, 4), np.float32))
    with pytest.raises(DataError, match="width 8; found vectors of width 3"):
        FlatIndex.build(vectors()).search(vectors(1, 3), 2)


def test_without_faiss_the_message_names_the_extras(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingError, match=r"usermodel\[cpu\].*usermodel\[gpu\]"):
        FlatIndex.build(vectors())
