"""usermodel describe STORE --check-leakage: the proof from the command line, and its exit codes."""

import json
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from usermodel.cli.main import main
from usermodel.embedding_table import EmbeddingTable
from usermodel.embeddings.files import save_tables
from usermodel.events.splits_table import write_split
from usermodel.store.build import build_store


def make(folder, copies=False):
    rng = np.random.default_rng(3)
    rows = [
        (f"u{user}", f"i{rng.integers(0, 9)}", 1_700_000_000 + 100 * n + user)
        for n in range(10)
        for user in range(12)
    ]
    rows += [row for row in rows if row[0] == "u7"][-1:] if copies else []
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return build_store(frame, folder)


def run(capsys, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["usermodel", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    printed = capsys.readouterr()
    return end.value.code or 0, printed.out, printed.err


@pytest.mark.parametrize("split", ["leave-last-out", "user-ratio", "user-split", "global-time", "rolling"])
def test_a_clean_store_is_proved_for_every_split(tmp_path, capsys, monkeypatch, split):
    store = make(tmp_path / "store")
    code, out, _ = run(
        capsys, monkeypatch, "describe", store.path, "--check-leakage", "--split", split, "--json"
    )
    found = json.loads(out)
    assert code == 0
    assert found["clean"] is True
    assert found["store_hash"] == store.content_hash
    assert found["fitted_on"] == {"vocabulary": "all", "k_core": "all"}
    assert len(found["splits"]) == (3 if split == "rolling" else 1)
    for report in found["splits"]:
        assert report["split"].startswith(split)
        assert report["counts"]["test_targets"] > 0
        assert {check["offending"] for check in report["checks"].values()} == {0}


def test_a_copied_row_ends_with_code_2_and_its_place(tmp_path, capsys, monkeypatch):
    store = make(tmp_path / "store", copies=True)
    if store.n_events == 120:
        pytest.fail("the reader dropped the copy; write one past it")
    code, out, err = run(capsys, monkeypatch, "describe", store.path, "--check-leakage", "--json")
    found = json.loads(out)
    assert code == 2
    assert found["clean"] is False
    check = found["splits"][0]["checks"]["no_row_twice"]
    assert check["offending"] == 1
    assert check["first"].startswith("user 'u7', event 10 of the history")
    assert "expected no (user, item, time) row in two parts; found 1 of 121" in err
    assert "user 'u7', event 10 of the history" in err


def test_the_table_shows_every_promise(tmp_path, capsys, monkeypatch):
    store = make(tmp_path / "store")
    write_split(store, store.split(), tmp_path / "split.parquet")
    file = tmp_path / "split.parquet"
    # A process of its own: the console is as wide as the terminal was when it was made.
    code = "from usermodel.cli.main import main; main()"
    words = [sys.executable, "-c", code, "describe", store.path, "--check-leakage", "--split", file]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"}
    )
    assert done.returncode == 0, done.stderr
    assert "no (user, item, time) row in two parts" in done.stdout
    assert "test targets never seen in train" in done.stdout
    assert "fitted: k_core on all, vocabulary on all" in done.stderr
    assert "no leakage: 7 promises hold" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--split", "user-split"], "--split: expected --check-leakage beside it"),
        (["--check-leakage", "--split", "user-splt"], "Did you mean 'user-split'?"),
        (["--check-leakage", "--split", "none.parquet"], "expected a split; found nothing there"),
    ],
)
def test_what_cannot_be_checked_is_refused(tmp_path, capsys, monkeypatch, words, message):
    store = make(tmp_path / "store")
    code, _, err = run(capsys, monkeypatch, "describe", store.path, *words)
    assert code == 2
    assert message in err


def test_the_rounds_of_the_k_core_are_a_table(tmp_path, capsys, monkeypatch):
    """Without y, which only bob has, bob is short; then x is left to ann and cyd, who keep it."""
    rows = [
        ("ann", "x", 1),
        ("ann", "x", 2),
        ("cyd", "x", 3),
        ("cyd", "x", 4),
        ("bob", "x", 5),
        ("bob", "y", 6),
    ]
    log = tmp_path / "log.csv"
    pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row").write_csv(log)
    core = ("--min-user-events", 2, "--min-item-events", 2, "--time-unit", "order")
    tables = []
    for words in (("ingest", log, "-o", tmp_path / "store", *core), ("describe", tmp_path / "store")):
        code, out, _ = run(capsys, monkeypatch, *words)
        assert code == 0
        start = out.index("Removed by the k-core")
        cells = [
            [cell.strip() for cell in line.split("│")[1:-1]]
            for line in out[start:].splitlines()
            if "│" in line
        ]
        tables.append([[int(cell) for cell in row] for row in cells[:2]])
    assert tables[0] == tables[1] == [[1, 0, 1, 1], [2, 1, 0, 1]]


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory):
    """A store, and vectors of its users and items drawn at random."""
    folder = tmp_path_factory.mktemp("embeddings")
    store, rng = make(folder / "store"), np.random.default_rng(0)
    counts = pl.DataFrame({"n_events": np.diff(store.offsets)})
    vectors = [rng.normal(size=(n, 4)).astype(np.float32) for n in (store.n_users, store.n_items)]
    users = EmbeddingTable(store.users.ids, vectors[0], "hash", counts)
    items = EmbeddingTable(store.vocabulary.ids, vectors[1], "hash", name="item_id")
    save_tables(folder / "vectors", users, items)
    save_tables(folder / "users.parquet", users, items)
    return folder


def test_health_of_embeddings_as_json_table_and_page(embeddings, tmp_path, capsys, monkeypatch):
    words = ("describe", embeddings / "vectors", "--store", embeddings / "store")
    code, out, err = run(capsys, monkeypatch, *words, "--json", "--html", tmp_path / "page.html")
    assert code == 0
    found = json.loads(out)
    assert set(found["health"]) == {"users", "items", "pairs"}
    assert 0 < found["health"]["pairs"]["alignment"]["value"] < 4
    assert "page.html" in err
    assert "effective_rank" in (tmp_path / "page.html").read_text()
    page = (tmp_path / "page.html").read_bytes()
    (tmp_path / "page.html").write_text("mine")
    code, out, err = run(capsys, monkeypatch, *words, "--html", tmp_path / "page.html")
    assert (code, out) == (2, "")
    assert "expected an output that does not exist yet" in err
    assert (tmp_path / "page.html").read_text() == "mine"
    code, out, _ = run(capsys, monkeypatch, *words, "--html", tmp_path / "page.html", "--overwrite")
    assert code == 0
    assert "Health of the vectors" in out
    assert (tmp_path / "page.html").read_bytes() == page
    code, out, _ = run(capsys, monkeypatch, "describe", embeddings / "users.parquet", "--json")
    assert set(json.loads(out)["health"]) == {"users"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["users.parquet", "--store", "store"], "--store: expected it beside item vectors"),
        (["store", "--store", "store"], "--store: expected it beside embeddings; found a store"),
        (["vectors", "--store", "none"], "none: expected a store; found nothing there"),
        (["store", "--html", "page.html"], "--html: expected it beside embeddings or a run; found a store"),
        (
            ["store", "--check-leakage", "--html", "page.html"],
            "--check-leakage: expected no --store or --html",
        ),
        (["vectors", "--html", "vectors"], "expected the name of a file; found a folder"),
    ],
)
def test_options_that_do_not_fit_end_with_code_2(embeddings, capsys, monkeypatch, words, message):
    monkeypatch.chdir(embeddings)
    code, out, err = run(capsys, monkeypatch, "describe", *words)
    assert code == 2
    assert message in err
    assert out == ""
    assert not (embeddings / "page.html").exists()
