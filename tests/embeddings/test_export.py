"""Exports: what encode returns, written block by block; in several processes; of changed users only; under pseudonyms."""

import hashlib
import hmac
import json
import resource
import shutil

import numpy as np
import polars as pl
import pytest
import tiny

from usermodel import manifest
from usermodel.embedding_table import EmbeddingTable
from usermodel.embeddings import blocks, user_encoder, workers
from usermodel.embeddings.forget import Forgetful
from usermodel.embeddings.keys import IdKey
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.errors import (
    ConfigError,
    DataError,
    IntegrityError,
    MismatchError,
    MissingError,
    OutputExistsError,
    StorageError,
)

CLOSE = {"rtol": 1e-5, "atol": 1e-6}
NAMES = ("users.parquet", "users.safetensors", "folder")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    store = tiny.make_store(folder / "store")
    return store, UserEncoder.load(tiny.make_run(store, folder / "run"))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Thirty users are three blocks."""
    monkeypatch.setattr(blocks, "BLOCK_USERS", 13)


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "key"
    path.write_text("0123456789abcdef0123456789abcdef\n")
    return path


def next_day():
    """New events of two users, one of whom is new, and a new item."""
    times = [1_700_200_000, 1_700_200_001, 1_700_200_002]
    return pl.DataFrame(
        {"user_id": ["u004", "new", "new"], "item_id": ["i001", "i002", "i999"], "timestamp": times}
    )


@pytest.mark.parametrize("form", ["parquet", "npy", "safetensors"])
@pytest.mark.parametrize("name", NAMES)
def test_an_export_is_what_encode_returns(made, tmp_path, name, form):
    store, encoder = made
    seen = []
    shape = {"format": form} if name == "folder" else {}
    done = encoder.export(store, tmp_path / name, **shape, on_progress=lambda *now: seen.append(now))
    expected, found = encoder.encode(store), EmbeddingTable.load(tmp_path / name)
    np.testing.assert_allclose(found.vectors, expected.vectors, **CLOSE)
    assert found.ids.to_list() == expected.ids.to_list()
    assert found.columns.equals(expected.columns)
    assert found.encoder_hash == encoder.content_hash
    assert (done.n_users, done.n_encoded) == (30, 30)
    assert seen == [(13, 30), (26, 30), (30, 30)]
    facts = manifest.read(tmp_path / name).meta
    assert facts["store_hash"] == store.content_hash
    assert facts["n_events"] == store.n_events
    assert facts["format"] == (form if name == "folder" else name.rpartition(".")[2])
    if name == "folder":
        items = EmbeddingTable.load(tmp_path / name, "items")
        np.testing.assert_array_equal(items.vectors, encoder.items().vectors)
    else:
        with pytest.raises(MissingError, match="expected a table of items"):
            EmbeddingTable.load(tmp_path / name, "items")


def test_the_same_export_twice_is_the_same_to_the_byte(made, tmp_path):
    store, encoder = made
    for name in NAMES:
        for folder in ("a", "b"):
            encoder.export(store, tmp_path / folder / name, dtype="int8")
        pair = [manifest.read(tmp_path / folder / name).content_hash for folder in ("a", "b")]
        assert pair[0] == pair[1]


def test_options_are_obeyed_and_noted(made, tmp_path):
    store, encoder = made
    cut = int(np.median(store.times))
    encoder.export(store, tmp_path / "e", dtype="float16", normalize=True, as_of=cut, users=["u009", "u001"])
    expected, found = (
        encoder.encode(store, users=["u009", "u001"], as_of=cut, normalize=True),
        EmbeddingTable.load(tmp_path / "e"),
    )
    assert found.ids.to_list() == ["u009", "u001"]
    assert found.vectors.dtype == np.float16
    np.testing.assert_allclose(found.vectors, expected.vectors, atol=1e-3)
    facts = found.meta
    assert (facts["normalize"], facts["as_of"], facts["dtype"]) == (True, cut, "float16")
    assert 0 < facts["loss"]["max_relative_error"] < 1e-3
    with pytest.raises(ConfigError, match="dtyp"):
        encoder.export(store, tmp_path / "x", dtyp="int8")
    with pytest.raises(ConfigError, match=r"expected a name that fits npy; found the name x\.parquet"):
        encoder.export(store, tmp_path / "x.parquet", format="npy")
    with pytest.raises(DataError, match=r"found the suffix \.csv"):
        encoder.export(store, tmp_path / "x.csv")
    with pytest.raises(OutputExistsError):
        encoder.export(store, tmp_path / "e")
    assert not (tmp_path / "x").exists()


def test_logs_and_histories_are_exported_too(made, tmp_path):
    store, encoder = made
    encoder.export(tiny.frame(), tmp_path / "frame.parquet")
    np.testing.assert_allclose(
        EmbeddingTable.load(tmp_path / "frame.parquet").vectors, encoder.encode(store).vectors, **CLOSE
    )
    done = encoder.export({}, tmp_path / "none.parquet")
    assert done.n_users == len(EmbeddingTable.load(tmp_path / "none.parquet")) == 0


def test_several_processes_write_the_same_table(made, tmp_path, monkeypatch):
    """One start of processes is enough: what `encode` asks them for is what the export has asked them for."""
    store, encoder = made
    asked, vectors = [], []

    def encode_and_keep(task, rows, how, processes):
        rows = list(rows)
        asked.append((task, rows, how, processes))
        if not vectors:
            vectors.extend(workers.encode_blocks(task, rows, how, processes))
        return iter(vectors)

    monkeypatch.setattr(user_encoder, "encode_blocks", encode_and_keep)
    done = encoder.export(store, tmp_path / "two", processes=2)
    assert done.n_encoded == 30
    found, expected = EmbeddingTable.load(tmp_path / "two"), encoder.encode(store)
    np.testing.assert_allclose(found.vectors, expected.vectors, **CLOSE)
    assert found.ids.to_list() == expected.ids.to_list()
    np.testing.assert_array_equal(encoder.encode(store, processes=2).vectors, found.vectors)
    (task, rows, how, processes), other = asked
    assert (other[0], other[2], other[3]) == (task, how, processes)
    assert (processes, len(rows)) == (2, 3)
    for one, two in zip(rows, other[1], strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("form", ["parquet", "npy", "safetensors"])
def test_a_full_disk_leaves_what_was_there(made, tmp_path, form):
    store, encoder = made
    path = tmp_path / "vectors"
    encoder.export(store, path, format=form)
    before = manifest.read(path, verify=True).content_hash
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in (0, 100, 700, 2_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        try:
            with pytest.raises(StorageError, match="expected room to write"):
                encoder.export(store, path, format=form, overwrite=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert manifest.read(path, verify=True).content_hash == before
        assert [one.name for one in tmp_path.iterdir()] == ["vectors"]


def test_a_user_named_twice_is_refused(made, tmp_path):
    store, encoder = made
    for call in (
        lambda **users: encoder.encode(store, **users),
        lambda **users: encoder.export(store, tmp_path / "x", **users),
    ):
        with pytest.raises(DataError, match="users: expected unique ids; found 'u003' again"):
            call(users=["u003", "u001", "u003"])


# ---------------------------------------------------------------------------------------------------------------- since


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("name", NAMES)
def test_only_users_with_new_events_are_encoded(made, tmp_path, name, dtype, monkeypatch):
    store, encoder = made
    old = tmp_path / f"old-{name}"
    encoder.export(store, old, dtype=dtype)
    grown = store.append(next_day(), tmp_path / "grown")
    encoded = []
    ours = blocks.encode

    def watch(module, sequences, examples, **options):
        encoded.extend(sequences.users.decode(examples.user + 1))
        return ours(module, sequences, examples, **options)

    monkeypatch.setattr(blocks, "encode", watch)
    done = encoder.export(grown, tmp_path / name, dtype=dtype, since=old)
    assert sorted(encoded) == ["new", "u004"]
    assert (done.n_users, done.n_encoded) == (31, 2)
    monkeypatch.undo()
    monkeypatch.setattr(blocks, "BLOCK_USERS", 13)
    full = encoder.export(grown, tmp_path / f"full-{name}", dtype=dtype)
    a, b = EmbeddingTable.load(tmp_path / name), EmbeddingTable.load(tmp_path / f"full-{name}")
    assert a.ids.to_list() == b.ids.to_list()
    assert a.columns.equals(b.columns)
    step = {"float32": 1e-6, "float16": 1e-3, "int8": 0.02}[dtype]
    np.testing.assert_allclose(a.vectors, b.vectors, rtol=1e-5, atol=step)
    same = {key for key in done.meta if key != "loss"}
    assert {key: done.meta[key] for key in same} == {key: full.meta[key] for key in same}
    # Once more, with nothing new: a copy to the byte of the vectors.
    again = encoder.export(grown, tmp_path / f"again-{name}", dtype=dtype, since=tmp_path / name)
    assert again.n_encoded == 0
    np.testing.assert_array_equal(EmbeddingTable.load(again.path).vectors, a.vectors)


def measured(before, after):
    """Relative error and cosine of each row, in double precision."""
    before, after = np.float64(before), np.float64(after)
    length = np.linalg.norm(before, axis=1)
    error = np.linalg.norm(after - before, axis=1) / length
    return error, (before * after).sum(1) / length / np.linalg.norm(after, axis=1)


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_the_loss_says_which_rows_it_covers(made, tmp_path, dtype):
    store, encoder = made
    grown = store.append(next_day(), tmp_path / "grown")
    first = encoder.export(store, tmp_path / "first", dtype=dtype).meta["loss"]
    done = encoder.export(grown, tmp_path / "second", dtype=dtype, since=tmp_path / "first")
    loss = done.meta["loss"]
    assert (loss["rows"], loss["rows_carried"]) == (2, 29)
    assert done.meta["loss"]["max_relative_error"] >= first["max_relative_error"]
    truth, kept = encoder.encode(grown), EmbeddingTable.load(tmp_path / "second")
    error, cosine = measured(truth.to_numpy(), kept.vectors)
    assert error.max() <= loss["max_relative_error"] + 1e-7
    assert cosine.min() >= loss["min_cosine"] - 1e-7
    fresh = truth.ids.is_in(["new", "u004"]).to_numpy()
    assert loss["mean_cosine"] == pytest.approx(cosine[fresh].mean(), abs=1e-7)
    # Nothing new: nothing is measured, and the bounds stay.
    again = encoder.export(grown, tmp_path / "third", dtype=dtype, since=tmp_path / "second").meta["loss"]
    assert again == {**loss, "rows": 0, "rows_carried": 31, "mean_cosine": None}
    # Nobody is copied: what the earlier export has lost is of no concern.
    users = ["new", "u004"]
    alone = encoder.export(grown, tmp_path / "a", dtype=dtype, since=tmp_path / "first", users=users)
    whole = encoder.export(grown, tmp_path / "b", dtype=dtype, users=users)
    assert alone.meta["loss"] == whole.meta["loss"]
    Forgetful.open(tmp_path / "second").forget(pl.Series(["u004"]))
    left = EmbeddingTable.load(tmp_path / "second").meta["loss"]
    assert left == {**loss, "rows": 0, "rows_carried": 30, "mean_cosine": None}


def test_who_was_forgotten_and_comes_back_does_not_get_the_old_vector(made, tmp_path):
    """As many events as before, and others: nothing but the whole history would tell."""
    store, encoder = made
    encoder.export(store, tmp_path / "old")
    grown = store.append(next_day(), tmp_path / "grown")
    n = int(np.diff(grown.offsets)[3])
    grown.forget(["u003"])
    back = pl.DataFrame(
        {"user_id": ["u003"] * n, "item_id": ["i001"] * n, "timestamp": 1_700_300_000 + np.arange(n)}
    )
    again = type(grown).open(grown.path).append(back, tmp_path / "again")
    assert int(np.diff(again.offsets)[again.users.ids.to_list().index("u003")]) == n
    with pytest.raises(MismatchError, match="by append alone"):
        encoder.export(again, tmp_path / "now", since=tmp_path / "old")
    # From a full export on it goes on.
    encoder.export(again, tmp_path / "whole")
    later = again.append(next_day().with_columns(pl.col("timestamp") + 10**6), tmp_path / "later")
    assert encoder.export(later, tmp_path / "next", since=tmp_path / "whole").n_encoded == 2


def test_an_earlier_export_that_cannot_be_carried_on_is_refused(made, tmp_path):
    store, encoder = made
    encoder.export(store, tmp_path / "old")
    grown = store.append(next_day(), tmp_path / "grown")
    other = tiny.make_store(tmp_path / "other", seed=3)
    run = tiny.make_run(other, tmp_path / "run")
    for what, error, match in (
        (lambda: encoder.export(grown, tmp_path / "x", since=tmp_path / "old", dtype="int8"), ConfigError, "--since: expected dtype 'int8' as asked for; found 'float32' there"),
        (lambda: encoder.export(grown, tmp_path / "x", since=tmp_path / "old", normalize=True), ConfigError, "expected normalize True"),
        (lambda: encoder.export(grown, tmp_path / "x", since=tmp_path / "old", as_of=10**15), ConfigError, "found one as of some time"),
        (lambda: encoder.export(tiny.frame(), tmp_path / "x", since=tmp_path / "old"), ConfigError, "--since: expected a store"),
        (lambda: UserEncoder.load(run).export(other, tmp_path / "x", since=tmp_path / "old"), MismatchError, "expected an export of encoder"),
        (lambda: encoder.export(store, tmp_path / "x", since=tmp_path / "ahead"), MismatchError, "or of one it has grown from by append"),
    ):  # fmt: skip
        if "ahead" not in [path.name for path in tmp_path.iterdir()]:
            encoder.export(grown, tmp_path / "ahead")
        with pytest.raises(error, match=match):
            what()
    assert not (tmp_path / "x").exists()


# ----------------------------------------------------------------------------------------------------- pseudonyms, forget


def test_pseudonyms_are_hmacs_of_ids(made, tmp_path, key):
    store, encoder = made
    done = encoder.export(store, tmp_path / "e", ids="hmac", key=key)
    found = EmbeddingTable.load(tmp_path / "e")
    secret = b"0123456789abcdef0123456789abcdef"
    names = {user: hmac.new(secret, user.encode(), hashlib.sha256).hexdigest() for user in store.users.ids}
    # In an order of their own: that of the store would tell who they are.
    assert found.ids.to_list() == sorted(names.values())
    assert not tiny.traces(tmp_path / "e", "u004")
    assert "0123456789abcdef" not in (tmp_path / "e" / "manifest.json").read_text()
    assert done.meta["key_check"] == IdKey(secret).check
    expected = encoder.encode(store)
    for user, name in names.items():
        np.testing.assert_allclose(found[name], expected[user], **CLOSE)
    # Numbers by their digits.
    assert IdKey(secret).of(pl.Series([-7])).to_list() == [
        hmac.new(secret, b"-7", hashlib.sha256).hexdigest()
    ]
    assert "0123" not in repr(IdKey(secret))


def test_keys_that_are_none(made, tmp_path, key):
    store, encoder = made
    (tmp_path / "short").write_text("abc")
    for options, error, match in (
        ({"ids": "hmac"}, ConfigError, "--ids: expected --key FILE; found none"),
        ({"key": key}, ConfigError, "expected --ids hmac beside --key; found raw ids"),
        ({"ids": "hmac", "key": tmp_path / "no"}, MissingError, "expected a file with a key"),
        (
            {"ids": "hmac", "key": tmp_path / "short"},
            DataError,
            "expected a key of at least 16 bytes; found 3",
        ),
    ):
        with pytest.raises(error, match=match):
            encoder.export(store, tmp_path / "x", **options)


@pytest.mark.parametrize("ids", ["raw", "hmac"])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("name", [*NAMES, "npy"])
def test_forgotten_users_leave_no_trace(made, tmp_path, name, dtype, ids, key):
    store, encoder = made
    path = tmp_path / name
    secret = {"ids": "hmac", "key": key} if ids == "hmac" else {}
    encoder.export(store, path, format="npy" if name == "npy" else None, dtype=dtype, **secret)
    before = EmbeddingTable.load(path)
    known = IdKey.read(key) if secret else None
    receipt = Forgetful.open(path, known).forget(pl.Series(["u004", "nobody", "u029", "u004"]))
    assert (receipt.asked, receipt.found, receipt.unknown, receipt.tables) == (3, 2, 1, {"vectors": 2})
    after = EmbeddingTable.load(path)
    names = pl.Series(["u004", "u029"])
    left = set((known.of(names) if known else names).to_list())
    kept = [one for one in before if one not in left]
    assert after.ids.to_list() == kept
    np.testing.assert_array_equal(after.vectors, before.take(kept).vectors)
    assert after.columns.equals(before.take(kept).columns)
    assert after.meta["n_users"] == 28
    assert after.meta["n_events"] == before.meta["n_events"] - receipt.events
    gone = [key for key in before if key not in kept]
    assert not any(tiny.traces(tmp_path, word) for word in gone if path.is_dir())
    if path.is_dir():
        np.testing.assert_array_equal(EmbeddingTable.load(path, "items").vectors, encoder.items().vectors)
    # Nobody is left to be forgotten: nothing is written.
    hashed = manifest.read(path).content_hash
    assert Forgetful.open(path, known).forget(pl.Series(["u004"])).found == 0
    assert manifest.read(path).content_hash == hashed


def test_forgetting_asks_for_the_right_key(made, tmp_path, key):
    store, encoder = made
    encoder.export(store, tmp_path / "e", ids="hmac", key=key)
    with pytest.raises(ConfigError, match=r"expected the key of its pseudonyms \(\w+\); found none"):
        Forgetful.open(tmp_path / "e")
    with pytest.raises(ConfigError, match="found one with the check"):
        Forgetful.open(tmp_path / "e", IdKey(b"another key of sixteen bytes"))
    encoder.export(store, tmp_path / "raw")
    with pytest.raises(DataError, match="expected String ids; found Int64 ids"):
        Forgetful.open(tmp_path / "raw").forget(pl.Series([4]))


# -------------------------------------------------------------------------------------------------------- encoder folders


def test_an_encoder_folder_alone_is_enough(made, tmp_path):
    store, encoder = made
    encoder.save_pretrained(tmp_path / "pushed")
    moved = shutil.move(tmp_path / "pushed", tmp_path / "elsewhere")
    found = UserEncoder.load(moved)
    assert found.content_hash == encoder.content_hash
    np.testing.assert_array_equal(found.encode(store).vectors, encoder.encode(store).vectors)
    assert {path.name for path in (tmp_path / "elsewhere").iterdir()} >= {
        "config.json",
        "model.safetensors",
        "vocabulary.parquet",
        "manifest.json",
        "README.md",
    }
    with pytest.raises(OutputExistsError):
        encoder.save_pretrained(tmp_path / "elsewhere")
    notes = tmp_path / "elsewhere" / "manifest.json"
    facts = json.loads(notes.read_text())
    notes.write_text(json.dumps(facts | {"meta": {**facts["meta"], "more": 1}}))
    with pytest.raises(MismatchError, match=r"expected encoder \w+; found"):
        found.save_pretrained(tmp_path / "again")
    (tmp_path / "elsewhere" / "config.json").write_text("{}")
    with pytest.raises(IntegrityError):
        found.save_pretrained(tmp_path / "again")
