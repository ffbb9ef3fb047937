"""Tables of vectors on disk: every format, type and shape comes back as it went in, and damage is refused."""

import itertools
import json
import random

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from usermodel import manifest
from usermodel.embedding_files.precision import Loss, store
from usermodel.embedding_files.rows import Rows
from usermodel.embedding_files.table import open_reader, open_writer
from usermodel.embedding_table import EmbeddingTable
from usermodel.errors import (
    DataError,
    IntegrityError,
    MissingError,
    NumericError,
    OutputExistsError,
)

FORMS = ("parquet", "npy", "safetensors")
DTYPES = ("float32", "float16", "int8")


def table(n=7, shape=(4,), *, ids="string", seed=0):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, *shape)).astype(np.float32)
    if n > 2:
        vectors[2] = 0
    names = [f"ü{i}" for i in range(n)] if ids == "string" else list(range(-3, n - 3))
    columns = pl.DataFrame(
        {
            "n_events": np.arange(n),
            "is_cold": pl.Series([i == 2 for i in range(n)], dtype=pl.Boolean),
            "prediction_time": pl.Series([None if i == 2 else i - 2**60 for i in range(n)], dtype=pl.Int64),
        }
    )
    return EmbeddingTable(
        pl.Series(names, dtype=pl.String if ids == "string" else pl.Int64), vectors, "hash", columns
    )


def write(folder, form, parts, dtype="float32"):
    with open_writer(folder, "users", form) as writer:
        for part in parts:
            writer.add(Rows(part.ids.alias("user_id"), part.columns, store(part.vectors, dtype)))
    return open_reader(folder, "users")


@pytest.mark.parametrize("ids", ["string", "int"])
@pytest.mark.parametrize("shape", [(4,), (1,), (3, 5)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS)
def test_what_was_written_block_by_block_comes_back(tmp_path, form, dtype, shape, ids):
    whole = table(7, shape, ids=ids)
    blocks = [whole.take(whole.ids[a:b]) for a, b in ((0, 3), (3, 3), (3, 7))]
    found = write(tmp_path, form, blocks, dtype)
    expected = store(whole.vectors, dtype)
    assert found.ids.to_list() == whole.ids.to_list()
    assert found.ids.name == "user_id"
    assert found.columns.equals(whole.columns)
    stored = found.all()
    assert stored.values.dtype == expected.values.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(stored.values, expected.values)
    np.testing.assert_array_equal(stored.vectors(), expected.vectors())
    rows = np.array([1, 2, 4, 6])
    np.testing.assert_array_equal(found.take(rows).vectors(), expected.take(rows).vectors())
    assert len(found.take(np.zeros(0, dtype=np.int64))) == 0


@pytest.mark.parametrize("form", FORMS)
def test_a_table_without_rows(tmp_path, form):
    found = write(tmp_path, form, [table(0)])
    assert len(found.ids) == 0
    assert found.all().vectors().shape == (0, 4)
    assert found.columns.columns == ["n_events", "is_cold", "prediction_time"]


# ------------------------------------------------------------------------------------------------------------ precision


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 9))
def test_int8_errs_by_half_a_step_and_float16_by_half_an_ulp(seed, n, dim):
    rng = np.random.default_rng(seed)
    vectors = (rng.normal(size=(n, dim)) * 10 ** rng.uniform(-3, 3, (n, 1))).astype(np.float32)
    eight = store(vectors, "int8")
    step = np.abs(vectors).max(axis=1, keepdims=True) / 127
    assert (np.abs(eight.vectors() - vectors) <= step * 0.5001).all()
    half = store(vectors, "float16").vectors().astype(np.float64)
    assert (np.abs(half - vectors) <= np.abs(vectors) * 2.0**-11 + 2.0**-25).all()
    # Storing what was stored changes nothing more.
    again = store(eight.vectors(), "int8")
    np.testing.assert_array_equal(again.values, eight.values)


def test_the_loss_by_hand():
    vectors = np.array([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]], dtype=np.float32)
    loss = Loss()
    loss.add(vectors, store(vectors * np.array([[1.0], [1.0], [0.5]]), "float32"))
    # The second row has no direction; the third is half of what it was, in the same direction.
    assert loss.facts() == {
        "rows": 2,
        "rows_carried": 0,
        "max_relative_error": 0.5,
        "min_cosine": 1.0,
        "mean_cosine": 1.0,
    }
    turned = Loss()
    turned.add(np.array([[1.0, 0.0]]), store(np.array([[1.0, 1.0]]), "float32"))
    turned.add(np.array([[3.0, 4.0], [2.0, 0.0]]), store(np.array([[3.0, 4.0], [1.0, 0.0]]), "float32"))
    assert turned.facts()["min_cosine"] == pytest.approx(0.5**0.5, abs=1e-8)
    assert turned.facts()["mean_cosine"] == pytest.approx((2 + 0.5**0.5) / 3, abs=1e-8)
    assert turned.facts()["max_relative_error"] == 1.0
    assert Loss().facts()["mean_cosine"] == 1.0


def test_the_loss_of_rows_that_were_copied_is_bounded_and_nothing_more():
    earlier = {"rows": 9, "max_relative_error": 0.25, "min_cosine": 0.9, "mean_cosine": 0.99}
    copied = Loss()
    copied.carry(3, earlier)
    facts = copied.facts()
    assert facts == {**earlier, "rows": 0, "rows_carried": 3, "mean_cosine": None}
    # Once more, from that file; beside one row that has lost half of its length and nothing of its direction.
    again = Loss()
    again.add(np.array([[2.0, 0.0]]), store(np.array([[1.0, 0.0]]), "float32"))
    again.carry(2, facts)
    assert again.facts() == {
        "rows": 1,
        "rows_carried": 2,
        "max_relative_error": 0.5,
        "min_cosine": 0.9,
        "mean_cosine": 1.0,
    }
    nothing = Loss()
    nothing.carry(0, earlier)
    assert nothing.facts() == Loss().facts()


def test_what_has_no_number_in_the_type_is_refused():
    for bad in (np.nan, np.inf):
        with pytest.raises(NumericError, match="expected finite vectors"):
            store(np.array([[1.0, bad]]), "float32")
    with pytest.raises(NumericError, match="expected entries up to 65,504 for float16; found 70,000"):
        store(np.array([[70_000.0]]), "float16")
    assert not store(np.zeros((2, 3)), "int8").vectors().any()


# -------------------------------------------------------------------------------------------------- the table's own files


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("suffix", FORMS)
def test_save_and_load(tmp_path, suffix, dtype):
    whole, path = table(), tmp_path / f"users.{suffix}"
    whole.save(path, dtype=dtype)
    found = EmbeddingTable.load(path)
    assert found.encoder_hash == "hash"
    np.testing.assert_array_equal(found.vectors, store(whole.vectors, dtype).vectors())
    assert found.columns.equals(whole.columns)
    assert found.name == "user_id"
    facts = manifest.read(path).meta
    assert (facts["n_users"], facts["dim"], facts["dtype"]) == (7, 4, dtype)
    assert ("loss" in facts) == (dtype != "float32")
    with pytest.raises(OutputExistsError):
        whole.save(path)
    whole.save(path, overwrite=True)
    assert EmbeddingTable.load(path).vectors.dtype == np.float32


def test_other_programs_read_the_files(tmp_path):
    whole = table()
    whole.save(tmp_path / "users.parquet", dtype="float16")
    frame = pl.read_parquet(tmp_path / "users.parquet")
    assert frame.schema["embedding"] == pl.Array(pl.Float16, 4)
    assert pq.read_table(tmp_path / "users.parquet")["embedding"].type.list_size == 4
    whole.save(tmp_path / "users.safetensors")
    with safe_open(tmp_path / "users.safetensors", framework="numpy") as file:
        np.testing.assert_array_equal(file.get_tensor("embedding"), whole.vectors)
        text, ends = file.get_tensor("ids.bytes").tobytes(), file.get_tensor("ids.offsets")
    assert [text[a:b].decode() for a, b in itertools.pairwise(ends)] == whole.ids.to_list()
    whole.save(tmp_path / "users.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "users.npy" / "users.npy"), whole.vectors)


def test_a_name_that_says_no_format_is_refused(tmp_path):
    for name in ("users", "users.csv"):
        with pytest.raises(DataError, match="expected a known suffix"):
            table().save(tmp_path / name)
    table().save(tmp_path / "one.parquet")
    with pytest.raises(MissingError, match="expected an embeddings"):
        EmbeddingTable.load(tmp_path / "none")


@pytest.mark.parametrize("form", FORMS)
def test_damage_with_a_repaired_hash_never_ends_in_a_foreign_error(tmp_path, form):
    """Bytes are changed and the manifest is made to agree: what loads then has the right shape."""
    path = tmp_path / f"users.{form}"
    table(50, (8,)).save(path)
    files = sorted(path.glob("users*")) if path.is_dir() else [path]
    notes = path / "manifest.json" if path.is_dir() else path.with_name(path.name + ".manifest.json")
    facts = json.loads(notes.read_text())
    rng = random.Random(1)
    refused = 0
    for file in files:
        whole = file.read_bytes()
        for _ in range(120):
            broken = bytearray(whole)
            for _ in range(rng.choice((1, 1, 4, 40))):
                broken[rng.randrange(len(broken))] = rng.randrange(256)
            if rng.random() < 0.2:
                broken = broken[: rng.randrange(len(broken))]
            file.write_bytes(broken)
            facts["files"][file.name] = {"bytes": len(broken), "sha256": manifest.sha256(file)}
            notes.write_text(json.dumps(facts))
            try:
                found = EmbeddingTable.load(path)
            except IntegrityError:
                refused += 1
            else:
                assert found.vectors.shape == (50, 8)
        file.write_bytes(whole)
        facts["files"][file.name] = {"bytes": len(whole), "sha256": manifest.sha256(file)}
    assert refused > 30
