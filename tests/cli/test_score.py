"""usermodel score: a head that evaluate wrote, and rows to come."""

import shutil

import numpy as np
import polars as pl
import pytest
from command import usermodel


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    folder = tmp_path_factory.mktemp("score")
    usermodel("simulate", "-o", "logs", "--users", "120", "--items", "60", "--events", "1200", cwd=folder)
    options = ["--event-type", "event_type", "--impressions", "logs/impressions.parquet"]
    options += ["--watch-time", "watch_time_ms", "--duration", "duration_ms"]
    usermodel("ingest", "logs/events.parquet", "-o", "store", *options, cwd=folder)
    small = ["encoder.dim=8", "encoder.hidden=16", "training.max_epochs=1", "data.split.kind=global-time"]
    sets = [word for one in small for word in ("--set", one)]
    usermodel("pretrain", "store", "-o", "run", *sets, cwd=folder)
    options = ["--features", "item_id,hour", "--set", "fit.epochs=3", "--save-head", "head"]
    usermodel("evaluate", "run", "store", "--task", "ctr", *options, cwd=folder)
    table = pl.read_parquet(folder / "logs/impressions.parquet").tail(40).drop("clicked")
    table.write_parquet(folder / "rows.parquet")
    table.with_columns(pl.from_epoch("timestamp", "us").dt.replace_time_zone("UTC")).write_csv(
        folder / "rows.csv"
    )
    return folder


def score(road, *options, code=0, rows="rows.parquet", head="head"):
    return usermodel("score", "run", "store", "--head", head, "--rows", rows, *options, cwd=road, code=code)


def test_every_row_comes_back_with_a_probability(road):
    rows = pl.read_parquet(road / "rows.parquet")
    score(road, "-o", "scored.parquet")
    found = pl.read_parquet(road / "scored.parquet")
    assert found.drop("probability").equals(rows)
    assert found["probability"].is_between(0, 1).all()
    assert found["probability"].n_unique() > 10
    printed = pl.read_csv(score(road, "--format", "csv")[0].encode())
    assert np.allclose(printed["probability"], found["probability"], atol=1e-9)
    from_csv = pl.read_csv(score(road, "--format", "csv", rows="rows.csv")[0].encode())
    assert np.allclose(from_csv["probability"], found["probability"], atol=1e-9)


def test_a_head_of_watch_time_says_seconds(road):
    options = [
        "--head",
        "d2q",
        "--set",
        "model.head.groups=4",
        "--set",
        "fit.epochs=1",
        "--save-head",
        "watch",
    ]
    usermodel("evaluate", "run", "store", "--task", "watch-time", *options, cwd=road)
    score(road, "-o", "watched.csv", head="watch")
    found = pl.read_csv(road / "watched.csv")
    assert found["watch_time_s"].is_between(0, 10_000).all()
    assert found.height == 40


def test_an_older_head_stays_unless_it_may_go(road):
    options = ["--task", "ctr", "--set", "fit.epochs=1", "--save-head", "head"]
    said = usermodel("evaluate", "run", "store", *options, cwd=road, code=2)[1]
    assert "head: expected" in said
    before = (road / "head/model.safetensors").read_bytes()
    shutil.copytree(road / "head", road / "kept")
    usermodel("evaluate", "run", "store", *options, "--overwrite", cwd=road)
    assert (road / "head/model.safetensors").read_bytes() != before
    shutil.rmtree(road / "head")
    (road / "kept").rename(road / "head")


def test_heads_are_for_clicks(road):
    options = ["--task", "next-item", "--save-head", "other"]
    assert "--save-head" in usermodel("evaluate", "run", "store", *options, cwd=road, code=2)[1]


def test_what_does_not_fit_is_said_and_nothing_is_written(road):
    rows = pl.read_parquet(road / "rows.parquet")
    rows.with_columns(user_id=pl.lit("stranger")).write_parquet(road / "strangers.parquet")
    rows.drop("item_id").write_parquet(road / "no_items.parquet")
    cases = [({"rows": "strangers.parquet"}, "'stranger'"), ({"rows": "no_items.parquet"}, "a column 'item_id'"),
             ({"rows": "nothing.parquet"}, "no such file"), ({"head": "nothing"}, "nothing: expected"),
             ({"head": "run"}, "run: expected")]  # fmt: skip
    for given, words in cases:
        done = score(road, "-o", "no.parquet", code=2, **given)
        assert words in done[1]
        assert not (road / "no.parquet").exists()


def test_lists_do_not_go_into_csv(road):
    rows = pl.read_parquet(road / "rows.parquet")
    rows.with_columns(tags=pl.lit([1, 2])).write_parquet(road / "lists.parquet")
    for options in (["-o", "no.csv"], ["--format", "csv"]):
        assert (
            "column 'tags': expected one value each" in score(road, *options, rows="lists.parquet", code=2)[1]
        )
    score(road, "-o", "lists_scored.parquet", rows="lists.parquet")


def test_another_run_is_refused(road):
    small = ["encoder.dim=8", "encoder.hidden=16", "training.max_epochs=1", "data.split.kind=global-time"]
    sets = [word for one in [*small, "training.seed=5"] for word in ("--set", one)]
    usermodel("pretrain", "store", "-o", "other", *sets, cwd=road)
    words = ["score", "other", "store", "--head", "head", "--rows", "rows.parquet"]
    assert "whose vectors the head reads" in usermodel(*words, cwd=road, code=2)[1]
