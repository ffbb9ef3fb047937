"""Recommendations against brute force; what an index refuses."""

import shutil

import numpy as np
import pytest
import tiny

from usermodel.embeddings.files import save_tables
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.errors import DataError, IntegrityError, MismatchError, MissingError
from usermodel.retrieval.item_index import ItemIndex


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("index")
    store = tiny.make_store(folder / "store")
    run = tiny.make_run(store, folder / "run")
    return folder, store, run, UserEncoder.load(run)


def brute_force(store, users, items, k, exclude):
    """One user at a time, with sets and sorting."""
    out = []
    for user in users:
        row = int(store.user_rows(users.ids.filter(users.ids == user))[0])
        seen = set(store.items[store.offsets[row] : store.offsets[row + 1]].tolist()) if exclude else set()
        scores = items.to_numpy() @ users[user]
        best = [p for p in np.argsort(-scores, kind="stable") if p + 1 not in seen][:k]
        out += [
            (user, rank, items.ids[int(p)], pytest.approx(float(scores[p]), abs=1e-5))
            for rank, p in enumerate(best, 1)
        ]
    return out


@pytest.mark.parametrize("exclude", [True, False])
@pytest.mark.parametrize("k", [1, 5, 25])
def test_recommendations_equal_brute_force(made, k, exclude):
    _, store, run, encoder = made
    users = encoder.encode(store)
    found = ItemIndex.build(run).recommend(users, k, exclude_seen=store if exclude else None)
    assert found.rows() == brute_force(store, users, encoder.items(), k, exclude)


def test_users_come_back_in_the_order_asked(made):
    _, store, run, encoder = made
    users = encoder.encode(store, users=["u007", "u001"])
    found = ItemIndex.build(run).recommend(users, 2)
    assert found["user_id"].to_list() == ["u007", "u007", "u001", "u001"]


def test_every_way_to_save_gives_the_same_recommendations(made, tmp_path):
    folder, store, run, encoder = made
    users = encoder.encode(store)
    expected = ItemIndex.build(run).recommend(users, 3, exclude_seen=store)
    ItemIndex.build(run).save(folder / "items.faiss")
    ItemIndex.build(run).save(tmp_path / "index")
    save_tables(tmp_path / "emb", users, encoder.items())
    ItemIndex.build(tmp_path / "emb").save(tmp_path / "index2")
    for path in (folder / "items.faiss", tmp_path / "index", tmp_path / "index2"):
        assert ItemIndex.load(path).recommend(users, 3, exclude_seen=store).equals(expected)


def test_a_folder_stands_alone_and_a_file_needs_its_run(made, tmp_path):
    _, store, run, _ = made
    shutil.copytree(run, tmp_path / "run")
    ItemIndex.build(tmp_path / "run").save(tmp_path / "items.faiss")
    ItemIndex.build(tmp_path / "run").save(tmp_path / "index")
    shutil.rmtree(tmp_path / "run")
    assert len(ItemIndex.load(tmp_path / "index")) == store.n_items
    with pytest.raises(MissingError, match="expected its run at"):
        ItemIndex.load(tmp_path / "items.faiss")


def test_a_damaged_index_is_refused(made, tmp_path):
    _, _, run, _ = made
    ItemIndex.build(run).save(tmp_path / "index")
    path = tmp_path / "index/index.faiss"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="sha256"):
        ItemIndex.load(tmp_path / "index")


def test_users_of_another_encoder_are_refused(made, tmp_path):
    _, store, run, encoder = made
    other = tiny.pretrain(store, tiny.RECIPE.override({"training.seed": 1}), tmp_path / "other")
    with pytest.raises(MismatchError, match=f"users of encoder {encoder.content_hash[:12]}"):
        ItemIndex.build(run).recommend(UserEncoder.load(other).encode(store))
    with pytest.raises(DataError, match="at least 1; found 0"):
        ItemIndex.build(run).recommend(encoder.encode(store), 0)


def test_seen_items_of_another_vocabulary_are_refused(made, tmp_path):
    _, store, run, encoder = made
    other = tiny.make_store(tmp_path / "other", n_items=20, seed=5)
    with pytest.raises(MismatchError, match="a vocabulary that starts with"):
        ItemIndex.build(run).recommend(encoder.encode(store), 3, exclude_seen=other)
