import re

import numpy as np
import polars as pl
import pytest

from usermodel import manifest
from usermodel.embedding_table import EmbeddingTable
from usermodel.embeddings.files import load_table, save_tables
from usermodel.errors import ConfigError, DataError, NumericError
from usermodel.report.describe import describe
from usermodel.report.embeddings import main_table
from usermodel.report.embeddings_page import _events, write_embeddings_page
from usermodel.report.figures import spectrum


def tables(n=30, dim=4, vectors=None):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(n, dim)).astype(np.float32) if vectors is None else vectors
    facts = pl.DataFrame({"n_events": np.arange(len(vectors)), "n_unknown": np.zeros(len(vectors), int)})
    users = EmbeddingTable(
        pl.Series([f"u{at}" for at in range(len(vectors))], dtype=pl.String), vectors, "hash", facts
    )
    items = EmbeddingTable(
        pl.Series(["a", "b", "c"]), rng.normal(size=(3, dim)).astype(np.float32), "hash", name="item_id"
    )
    return users, items


def described(path, **given):
    save_tables(path, *tables(**given))
    return describe(path)


@pytest.mark.parametrize("form", ["parquet", "npy"])
def test_a_folder_has_health_of_users_and_items(tmp_path, form):
    save_tables(tmp_path / "emb", *tables(), form=form)
    data = describe(tmp_path / "emb").to_dict()
    assert data["kind"] == "embeddings"
    assert data["n_users"] == 30
    assert data["empty_histories"] == 0
    assert set(data["health"]) == {"users", "items"}
    rank = data["health"]["users"]["effective_rank"]
    assert 1 < rank["value"] < rank["dimensions"] == 4
    assert rank["advice"].endswith(".")


def test_a_file_of_users_has_no_health_of_items_and_no_use_for_a_store(tmp_path):
    assert set(described(tmp_path / "users.parquet").to_dict()["health"]) == {"users"}
    with pytest.raises(
        ConfigError, match="--store: expected it beside item vectors; found vectors of users alone"
    ):
        describe(tmp_path / "users.parquet", store=object())


@pytest.mark.parametrize("suffix", ["parquet", "npy", "safetensors"])
@pytest.mark.parametrize("which", ["users", "items"])
def test_a_table_alone_is_told_as_what_it_is(tmp_path, which, suffix):
    path = tmp_path / f"table.{suffix}"
    table = dict(zip(("users", "items"), tables(), strict=True))[which]
    table.save(path)
    found = describe(path)
    assert set(found.to_dict()["health"]) == {which}
    write_embeddings_page(tmp_path / "page.html", found, main_table(path, manifest.read(path)), "one")
    page = (tmp_path / "page.html").read_text()
    assert f"A map of the {which}" in page
    assert ("coloured by the number of events" in page) == (which == "users")


def test_a_store_beside_something_else_is_refused(tmp_path):
    with manifest.write_directory(tmp_path / "other", "index") as draft:
        draft.meta["n"] = 1
    with pytest.raises(ConfigError, match="--store: expected it beside embeddings; found a index"):
        describe(tmp_path / "other", store=object())


def test_vectors_of_zeros_are_counted_and_no_more(tmp_path):
    vectors = tables()[0].vectors.copy()
    whole = described(tmp_path / "whole", vectors=vectors).to_dict()
    more = np.concatenate([vectors, np.zeros((5, 4), np.float32)])
    found = described(tmp_path / "more", vectors=more).to_dict()
    assert found["empty_histories"] == 5
    for name, figure in whole["health"]["users"].items():
        assert found["health"]["users"][name]["value"] == pytest.approx(figure["value"])


@pytest.mark.parametrize("n", [0, 1])
def test_few_users_are_described_and_have_a_page(tmp_path, n):
    description = described(tmp_path / "emb", vectors=np.ones((n, 4), np.float32))
    assert description.facts["n_users"] == n
    write_embeddings_page(tmp_path / "page.html", description, load_table(tmp_path / "emb"), "emb")
    assert "fewer than two vectors" in (tmp_path / "page.html").read_text()


def test_a_vector_that_is_not_finite_is_an_error(tmp_path):
    vectors = np.ones((9, 4), np.float32)
    vectors[4, 1] = np.nan
    with pytest.raises(NumericError, match="NaN or infinity"):
        described(tmp_path / "emb", vectors=vectors)


def test_the_page_shows_every_figure_with_its_advice_and_three_pictures(tmp_path):
    description = described(tmp_path / "emb")
    write_embeddings_page(tmp_path / "page.html", description, load_table(tmp_path / "emb"), "emb <1>")
    page = (tmp_path / "page.html").read_text()
    for one in description.health:
        assert one.name in page
        assert one.advice in page
    assert page.count("<svg") == 3
    assert "Embeddings: emb &lt;1&gt;" in page
    assert "16 to 63 events (14)" in page
    assert "no events (1)" in page
    assert not re.search(r"(src|href)=\"http", page)
    write_embeddings_page(tmp_path / "again.html", description, load_table(tmp_path / "emb"), "emb <1>")
    assert (tmp_path / "again.html").read_text() == page


@pytest.mark.parametrize(
    ("n", "group"),
    [
        (0, "no events"),
        (1, "1 to 3"),
        (3, "1 to 3"),
        (4, "4 to 15"),
        (15, "4 to 15"),
        (1024, "1,024 to 4,095"),
    ],
)
def test_groups_of_events_grow_fourfold(n, group):
    assert _events(n).removesuffix(" events") == group.removesuffix(" events")


def test_the_spectrum_says_how_many_components_matter():
    assert "2 of 4 components hold 90 %" in spectrum(np.array([0.6, 0.3, 0.1, 0.0]))
    assert "1 of 1 components" in spectrum(np.array([1.0]))


@pytest.mark.parametrize("shares", [[], [0.5, 0.6], [0.5, 0.4], [1.1, -0.1], [[1.0]]])
def test_a_spectrum_of_something_else_is_refused(shares):
    with pytest.raises(DataError, match="spectrum: expected falling shares that add up to 1"):
        spectrum(np.array(shares))
