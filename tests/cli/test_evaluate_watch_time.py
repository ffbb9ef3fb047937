"""usermodel evaluate --task watch-time: what it prints and writes, and what it refuses."""

import json

import numpy as np
import pytest
import tiny
from command import usermodel

from usermodel.benchmark.evaluate_rows import evaluate_rows
from usermodel.errors import ConfigError, MismatchError
from usermodel.events.readers import read_events
from usermodel.events.splits import GlobalTimeConfig, LeaveLastOutConfig
from usermodel.heads.catalog import find_head, heads_of
from usermodel.heads.watch_time import WatchTimeConfig
from usermodel.store.build import build_store
from usermodel.tasks.watch_time import WatchTime
from usermodel.training.pretrain import pretrain


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("watching"), np.random.default_rng(0)
    events = tiny.frame(n_users=40)
    duration = rng.choice([10_000, 60_000], len(events))
    events = events.with_columns(
        duration_ms=duration, watch_time_ms=(duration * rng.random(len(events))).astype(np.int64)
    )
    log = read_events(events, watch_time="watch_time_ms", duration="duration_ms")
    pretrain(
        build_store(log, folder / "store"), tiny.RECIPE.override({"training.max_epochs": 1}), folder / "run"
    )
    return folder


def evaluate(road, *options, code=0):
    return usermodel("evaluate", "run", "store", *options, cwd=road, columns=200, code=code)


def test_scores_definitions_and_durations(road):
    options = ["--head", "d2q", "--features", "item_id,duration", "--json", "watch.json"]
    out, err = evaluate(road, "--task", "watch-time", *options)
    scores = json.loads((road / "watch.json").read_text())
    names = ["mae", "rmse", "xauc", "bias", "quantile_calibration"]
    assert list(scores["definitions"]) == list(scores["intervals"]) == names
    assert scores["task"] == "watch-time"
    assert scores["split"] == "test"
    assert scores["n"] == 40  # leave-last-out: one event a user
    assert {row["metric"] for row in scores["by"]["duration"]} == {"mae", "xauc"}
    assert "D2q on item_id, duration, user vector before the event" in scores["definitions"]["mae"]
    assert "equal guesses count one half" in err
    assert "by duration" in out
    assert "10 to 10 s" in out


def test_a_ratio_of_the_validation_part(road):
    evaluate(road, "--task", "watch-time", "--target", "ratio", "--part", "valid", "--json", "ratio.json")
    scores = json.loads((road / "ratio.json").read_text())
    assert scores["split"] == "valid"
    assert "over duration" in scores["definitions"]["mae"]
    assert scores["mae"] < 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--task", "watch-time", "--head", "creed"], ["'creed'", "Did you mean 'cread'?"]),
        (["--task", "watch-time", "--metrics", "mae"], ["--metrics", "an option of --task watch-time"]),
        (["--task", "watch-time", "--features", "rating"], ["feature 'rating'", "an outcome"]),
        (["--head", "cread"], ["--head", "an option of --task next-item"]),
        (["--task", "user-attribute", "--label", "age", "--target", "ratio"], ["--target"]),
    ],
)
def test_bad_options_exit_2_and_write_nothing(road, options, words):
    out, err = evaluate(road, *options, "--json", "no.json", code=2)
    assert out == ""
    for word in words:
        assert word in err
    assert not (road / "no.json").exists()


def test_a_store_without_watch_times_is_told_the_option(road):
    tiny.make_store(road / "bare")
    pretrain(road / "bare", tiny.RECIPE.override({"training.max_epochs": 1}), road / "bare-run")
    _, err = usermodel("evaluate", "bare-run", "bare", "--task", "watch-time", cwd=road, code=2)
    assert "Ingest with --watch-time." in err


def test_in_python_the_split_must_be_the_runs(road):
    task, told = WatchTime(split=LeaveLastOutConfig(), features=()), []
    found = evaluate_rows(road / "run", road / "store", task, on_epoch=told.append)
    (mae,) = (one for one in found if one.metric == "mae" and not one.by)
    assert mae.n == 40
    assert told[0].epoch == 1
    with pytest.raises(MismatchError, match="that of the run, leave-last-out; found global-time"):
        evaluate_rows(road / "run", road / "store", WatchTime(split=GlobalTimeConfig()))


def test_heads_go_by_the_name_of_their_file():
    names = {"value-regression", "wlr", "d2q", "tpm", "cread", "generative-regression"}
    assert names <= set(heads_of(WatchTimeConfig))
    assert type(find_head("tpm", WatchTimeConfig)).__name__ == "TpmConfig"
    with pytest.raises(ConfigError, match="Did you mean 'wlr'"):
        find_head("wrl", WatchTimeConfig)
