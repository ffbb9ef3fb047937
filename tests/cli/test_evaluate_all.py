"""usermodel evaluate --task all: one object per task that the store has rows for."""

import dataclasses
import json

import polars as pl
import pytest
import tiny
from command import usermodel

from usermodel.benchmark.beside import BASELINES, evaluate_beside
from usermodel.benchmark.evaluate_all import AllTasks, evaluate_all
from usermodel.benchmark.tasks_report import write_tasks_report
from usermodel.errors import ConfigError, DataError, MismatchError
from usermodel.events.splits import LeaveLastOutConfig
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.ctr import Ctr
from usermodel.tasks.protocol import TaskResult
from usermodel.tasks.watch_time import WatchTime
from usermodel.training.pretrain import pretrain
from usermodel.training.run import Run

SMALL = ("encoder.dim=8", "encoder.hidden=16", "training.max_epochs=1", "data.split.kind=global-time")
SETS = [word for one in SMALL for word in ("--set", one)]


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    folder = tmp_path_factory.mktemp("all")
    usermodel("simulate", "-o", "logs", "--users", "80", "--items", "60", "--events", "800", cwd=folder)
    # Training a head on all of them takes most of the time of these tests.
    shown = pl.read_parquet(folder / "logs" / "impressions.parquet")
    shown.gather_every(5).write_parquet(folder / "shown.parquet")
    options = ["--watch-time", "watch_time_ms", "--duration", "duration_ms"]
    tables = ["--impressions", "shown.parquet", "--users-table", "logs/users.parquet"]
    usermodel("ingest", "logs/events.parquet", "-o", "store", *options, *tables, cwd=folder)
    usermodel("pretrain", "store", "-o", "run", *SETS, cwd=folder)
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


def test_beside_other_runs_and_what_needs_no_pretraining(road):
    fast = ["--label", "device", "--html", "page.html", "--json", "beside.json"]
    usermodel("pretrain", "store", "-o", "other", *SETS, "--set", "training.seed=1", cwd=road)
    words = ["evaluate", "run", "store", "--task", "all", "--beside", "other", *fast]
    out, err = usermodel(*words, cwd=road)
    assert "beside what needs no pretraining" in out
    assert "mean of items: user-attribute device" in err
    found = json.loads((road / "beside.json").read_text())
    usermodel("evaluate", "run", "store", "--task", "ctr", "--json", "ctr.json", cwd=road)
    assert found["ctr"]["intervals"] == json.loads((road / "ctr.json").read_text())["intervals"]
    assert list(found["beside"]) == ["other", *BASELINES]
    for name, tasks in found["beside"].items():
        expected = {"next-item", "ctr", "watch-time", "user-attribute"}
        assert set(tasks) == (
            expected - {"next-item", "user-attribute"} if name == "no vectors" else expected
        )
        # The same rows for all: what decides is the vector.
        assert all(rows["n"] == found[task]["n"] for task, rows in tasks.items())
    assert found["beside"]["other"]["ctr"]["seed"] == 1
    assert found["beside"]["statistics"]["ctr"]["store_hash"] == found["ctr"]["store_hash"]
    page = (road / "page.html").read_text()
    for words in ("Who is the user? device", "--beside other", "mean of items", "All tasks of run"):
        assert words in page
    _, err = usermodel("evaluate", "run", "store", "--task", "all", "--html", "page.html", cwd=road, code=2)
    assert "an existing one" in err
    _, err = usermodel("evaluate", "run", "store", "--task", "all", "--beside", "run", cwd=road, code=2)
    assert "Name each run once" in err
    both = ["--task", "all", "--html", "same.json", "--json", "same.json"]
    _, err = usermodel("evaluate", "run", "store", *both, cwd=road, code=2)
    assert "a file for each" in err
    for option in (["--html", "x.html"], ["--beside", "other"]):
        _, err = usermodel("evaluate", "run", "store", *option, cwd=road, code=2)
        assert "an option of --task next-item" in err


def test_runs_that_are_not_alike_are_not_compared(road):
    store, run = SequenceStore.open(road / "store"), Run.open(road / "run")
    with pytest.raises(ConfigError, match="one at least"):
        evaluate_beside({}, store)
    with pytest.raises(ConfigError, match="'statistics'"):
        evaluate_beside({"statistics": run}, store)
    for tasks in (
        [Ctr(split=LeaveLastOutConfig())],
        [Ctr(split=run.recipe.data.split, fine_tune=True)],
        [WatchTime(split=run.recipe.data.split)] * 2,
    ):
        with pytest.raises(ConfigError, match="on_rows"):
            evaluate_beside({"run": run}, store, on_rows=tasks)
    split = run.recipe.override({"data.split": LeaveLastOutConfig()})
    with pytest.raises(MismatchError, match="split of other"):
        evaluate_beside({"run": run, "other": dataclasses.replace(run, recipe=split)}, store)


def test_the_page_counts_what_is_better_than_all_baselines(tmp_path):
    def row(metric, value, low=None, high=None):
        return TaskResult(metric, value, 10, low, high, "what it means")

    def tasks(ctr, gender):
        attribute = [row("gender/accuracy", 0.9), row("gender/auc", *gender)]
        return AllTasks({"ctr": [row("auc", *ctr)], "user-attribute": attribute})

    compared = {
        "mine": tasks((0.7, 0.65, 0.75), (0.8, 0.7, 0.9)),
        "other": tasks((0.9, 0.8, 0.95), (0.9, 0.8, 0.95)),
        "statistics": tasks((0.6, 0.5, 0.64), (0.75, 0.6, 0.85)),
        "no vectors": AllTasks({"ctr": [row("auc", 0.55, 0.5, 0.6)]}, {"watch-time": "no rows"}),
    }
    assert list(compared["mine"].main()) == ["ctr", "user-attribute gender"]
    write_tasks_report(tmp_path / "page.html", compared, "usermodel evaluate", {"seed": 0})
    page = (tmp_path / "page.html").read_text()
    assert "Of 2 questions that the store can ask, the user vectors of mine answer 2 better" in page
    assert "1 of them with 95 % intervals that do not meet" in page
    assert "no vectors, watch-time: no rows" in page
    for mine, words in (
        (
            tasks((0.58, 0.5, 0.6), (0.8, None, None)),
            "Of 2 questions that the store can ask, the user vectors of mine answer 1 better",
        ),
        # What the run cannot answer is asked all the same.
        (
            AllTasks({}, {"ctr": "no rows"}),
            "Of 2 questions that the store can ask, the user vectors of mine answer 0 better",
        ),
        # An interval may miss its value by rounding.
        (tasks((0.7, 0.7 + 1e-16, 0.7 - 1e-16), (0.8, 0.7, 0.9)), "answer 2 better"),
    ):
        write_tasks_report(
            tmp_path / "page.html", compared | {"mine": mine}, "usermodel evaluate", {"seed": 0}
        )
        assert words in (tmp_path / "page.html").read_text()
    nobody = {"mine": tasks((0.3, 0.2, 0.4), (0.3, 0.2, 0.4))}
    write_tasks_report(tmp_path / "page.html", nobody, "usermodel evaluate", {"seed": 0})
    assert "answer 0 better" in (tmp_path / "page.html").read_text()
    write_tasks_report(tmp_path / "page.html", {"mine": AllTasks()}, "usermodel evaluate", {"seed": 0})
    assert "Of no question" in (tmp_path / "page.html").read_text()


def test_a_column_that_the_run_was_fine_tuned_for_is_not_probed(road):
    label = ["--task", "user-attribute", "--column", "device", "--set", "training.max_epochs=1"]
    usermodel("finetune", "run", "store", "-o", "tuned", *label, cwd=road)
    found = evaluate_all(road / "tuned", road / "store", labels=["device", "region"], on_rows=[])
    assert {row.metric.partition("/")[0] for row in found.results["user-attribute"]} == {"region"}
    assert "fine-tuned on it" in found.left_out["device"]


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
