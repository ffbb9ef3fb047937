"""User vectors: keyed by external ids, from the encoder folder alone, equal however they are asked for."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tiny

from usermodel.embeddings.files import load_table, save_tables
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.errors import DataError, IntegrityError, MismatchError, MissingError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embeddings")
    store = tiny.make_store(folder / "store")
    return store, tiny.make_run(store, folder / "run")


def test_the_encoder_folder_is_enough(made, tmp_path):
    store, run = made
    shutil.copytree(Path(run) / "encoder", tmp_path / "alone")
    alone, whole = UserEncoder.load(tmp_path / "alone").encode(store), UserEncoder.load(run).encode(store)
    assert (alone.to_numpy() == whole.to_numpy()).all()
    assert alone.ids.to_list() == store.users.ids.to_list()


def test_a_vector_does_not_depend_on_who_else_is_asked_for_or_on_the_batch(made):
    store, run = made
    encoder = UserEncoder.load(run)
    everyone = encoder.encode(store)
    for user in ("u003", "u029"):
        assert encoder.encode(store, users=[user])[user] == pytest.approx(everyone[user], abs=1e-6)
    assert encoder.encode(store, batch_events=1).to_numpy() == pytest.approx(everyone.to_numpy(), abs=1e-6)


def test_n_events_counts_the_whole_history_and_only_the_window_is_read(made, tmp_path):
    store, run = made
    table = UserEncoder.load(run).encode(store)
    assert table.columns["n_events"].to_list() == np.diff(store.offsets).tolist()
    # Events older than the window (6) change nothing.
    frame = tiny.frame()
    short = frame.group_by("user_id", maintain_order=True).tail(6)
    missing = set(frame["item_id"]) - set(short["item_id"])
    assert not missing, "the short log must keep the vocabulary"
    other = tiny.build_store(tiny.read_events(short), tmp_path / "short")
    assert UserEncoder.load(run).encode(other).to_numpy() == pytest.approx(table.to_numpy(), abs=1e-6)


def test_progress_ends_at_the_number_of_users(made):
    store, run = made
    calls = []
    UserEncoder.load(run).encode(
        store, batch_events=20, on_progress=lambda done, total: calls.append((done, total))
    )
    assert calls == sorted(calls)
    assert calls[-1] == (30, 30)


def test_item_vectors_are_the_items_of_the_vocabulary(made):
    store, run = made
    items = UserEncoder.load(run).items()
    assert items.name == "item_id"
    assert items.ids.to_list() == store.vocabulary.ids.to_list()
    assert items.dim == 8


def test_another_vocabulary_and_unknown_users_are_refused(made, tmp_path):
    store, run = made
    encoder = UserEncoder.load(run)
    with pytest.raises(MismatchError, match="a vocabulary that starts with the 25 ids of the encoder"):
        encoder.encode(tiny.make_store(tmp_path / "other", n_items=9))
    with pytest.raises(DataError, match=r"a list of str ids; found 1 of type int"):
        encoder.encode(store, users=[1])
    with pytest.raises(DataError, match=r"a list of str ids; found 'u001' of type str"):
        encoder.encode(store, users="u001")
    with pytest.raises(DataError, match="expected users of this store; found 'nobody'"):
        encoder.encode(store, users=["nobody"])


def test_no_encoder_there(tmp_path):
    with pytest.raises(MissingError, match="expected an encoder"):
        UserEncoder.load(tmp_path / "none")


def test_files_round_trip(made, tmp_path):
    store, run = made
    encoder = UserEncoder.load(run)
    users, items = encoder.encode(store), encoder.items()
    save_tables(tmp_path / "users.parquet", users, items)
    save_tables(tmp_path / "folder", users, items)
    save_tables(tmp_path / "npy", users, items, form="npy")
    for path in ("users.parquet", "folder", "npy"):
        back = load_table(tmp_path / path)
        assert (np.asarray(back.vectors) == users.vectors).all()
        assert back.to_polars().equals(users.to_polars())
        assert back.encoder_hash == users.encoder_hash
    assert load_table(tmp_path / "npy", "items").to_polars().equals(items.to_polars())
    frame = pl.read_parquet(tmp_path / "users.parquet")
    assert frame.schema["embedding"] == pl.Array(pl.Float32, 8)


def test_a_flipped_bit_in_exported_vectors_is_refused(made, tmp_path):
    store, run = made
    encoder = UserEncoder.load(run)
    save_tables(tmp_path / "users.parquet", encoder.encode(store), encoder.items())
    data = bytearray((tmp_path / "users.parquet").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "users.parquet").write_bytes(data)
    with pytest.raises(IntegrityError, match="sha256"):
        load_table(tmp_path / "users.parquet")
