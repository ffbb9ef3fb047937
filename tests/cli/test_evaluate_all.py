"""usermodel evaluate --task all: one object per task that the store has rows for."""

import json

import pytest
import tiny
from command import usermodel

from usermodel.benchmark.evaluate_all import evaluate_all
from usermodel.errors import DataError
from usermodel.training.pretrain import pretrain


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    folder = tmp_path_factory.mktemp("all")
    usermodel("simulate", "-o", "logs", "--users", "120", "--items", "60", "--events", "1200", cwd=folder)
    options = ["--watch-time", "watch_time_ms", "--duration", "duration_ms"]
    tables = ["--impressions", "logs/impressions.parquet", "--users-table", "logs/users.parquet"]
    usermodel("ingest", "logs/events.parquet", "-o", "store", *options, *tables, cwd=folder)
    small = ["encoder.dim=8", "encoder.hidden=16", "training.max_epochs=1", "data.split.kind=global-time"]
    sets = [word for one in small for word in ("--set", one)]
    usermodel("pretrain", "store", "-o", "run", *sets, cwd=folder)
    return folder


def test_an_object_for_each_task(road):
    out, _ = usermodel("evaluate", "run", "store", "--task", "all", "--json", "all.json", cwd=road)
    scores = json.loads((road / "all.json").read_text())
    assert list(scores) == ["next-item", "ctr", "watch-time", "user-attribute"]
    main = {"next-item": "ndcg@10", "ctr": "auc", "watch-time": "xauc", "user-attribute": "device/auc"}
    for task, metric in main.items():
        assert scores[task]["task"] == task
        assert 0 <= scores[task][metric] <= 1
        assert metric in scores[task]["definitions"]
        assert scores[task]["n"] > 0
        assert metric.partition("/")[2] in out
    assert scores["ctr"]["store_hash"] == scores["watch-time"]["store_hash"]


def test_what_a_store_has_no_rows_for_is_left_out_and_said(tmp_path):
    store = tiny.make_store(tmp_path / "store")
    run = pretrain(store, tiny.RECIPE.override({"training.max_epochs": 1}), tmp_path / "run")
    told = []
    found = evaluate_all(run, store, on_task=told.append)
    assert list(found.results) == ["next-item"]
    assert set(found.left_out) == {"ctr", "watch-time"}
    assert "Ingest with --impressions" in found.left_out["ctr"]
    assert told == ["next-item", "ctr", "watch-time"]
    _, err = usermodel("evaluate", "run", "store", "--task", "all", cwd=tmp_path)
    assert "without watch-time: " in err


def test_some_columns_only_and_options_without_effect(road):
    found = evaluate_all(road / "run", road / "store", labels=["device"])
    assert {row.metric.partition("/")[0] for row in found.results["user-attribute"]} == {"device"}
    with pytest.raises(DataError, match="Did you mean 'device'"):
        evaluate_all(road / "run", road / "store", labels=["divice"])
    for option in (["--head", "deepfm"], ["--metrics", "auc"], ["--labels", "x.csv"], ["--probe", "mlp"]):
        _, err = usermodel("evaluate", "run", "store", "--task", "all", *option, cwd=road, code=2)
        assert "an option of --task all" in err


def test_another_probe_and_few_labels(road):
    words = ["evaluate", "run", "store", "--task", "user-attribute"]
    few = ["--label", "device", "--probe", "mlp", "--labelled", "30"]
    _, err = usermodel(*words, *few, cwd=road)
    assert "mlp probe of 30 labelled users, 5 folds" in err
    _, err = usermodel(*words, "--label", "age_band", "--scale", "ordinal", cwd=road)
    assert "classes in the order" in err
    _, err = usermodel(*words, "--label", "device", "--scale", "number", cwd=road, code=2)
    assert "expected numbers" in err
    _, err = usermodel(*words, "--labelled", "30", cwd=road, code=2)
    assert "--labelled: expected a --label to probe for" in err
