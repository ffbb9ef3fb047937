"""usermodel evaluate --task ctr: what it prints and writes, and what it refuses."""

import json

import numpy as np
import pytest
from command import usermodel

from usermodel.benchmark.evaluate_rows import evaluate_rows
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.encoders.encode import encode
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.ctr import Ctr
from usermodel.training.run import Run


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clicks")
    usermodel("simulate", "-o", "logs", "--users", "120", "--items", "60", "--events", "1200", cwd=folder)
    options = ["--event-type", "event_type", "--impressions", "logs/impressions.parquet"]
    usermodel("ingest", "logs/events.parquet", "-o", "store", *options, cwd=folder)
    small = ["encoder.dim=8", "encoder.hidden=16", "training.max_epochs=1", "data.split.kind=global-time"]
    sets = [word for one in small for word in ("--set", one)]
    usermodel("pretrain", "store", "-o", "run", *sets, cwd=folder)
    return folder


def evaluate(road, *options, code=0):
    return usermodel("evaluate", "run", "store", "--task", "ctr", *options, cwd=road, columns=200, code=code)


def test_scores_and_definitions(road):
    options = ["--head", "logistic-regression", "--features", "item_id,hour", "--calibration", "platt"]
    out, err = evaluate(road, *options, "--json", "ctr.json")
    scores = json.loads((road / "ctr.json").read_text())
    assert list(scores["definitions"]) == ["auc", "gauc", "logloss", "ece", "positive_share"]
    assert scores["task"] == "ctr"
    assert 0.5 < scores["auc"] < 1
    assert "LogisticRegression on item_id, hour, user vector before the row" in scores["definitions"]["auc"]
    assert "calibrated: platt on the valid part" in err
    assert "rows" in out


def test_events_as_rows(road):
    sets = ["--set", "fit.epochs=2", "--set", "model.dim=4", "--set", "model.table.kind=hashed"]
    sets += ["--set", "model.table.table_rows=50", "--set", "fit.row_updates=lazy"]
    evaluate(road, "--label", "event_type=like", "--part", "valid", "--json", "likes.json", *sets)
    scores = json.loads((road / "likes.json").read_text())
    assert "label: event_type=like" in scores["definitions"]["auc"]
    assert scores["split"] == "valid"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--head", "cread"], ["'cread'", "deepfm"]),
        (["--label", "event_type=liked"], ["label: expected event_type= one of", "like"]),
        (["--target", "ratio"], ["--target", "an option of --task ctr"]),
        (["--labels", "x.csv"], ["--labels", "an option of --task ctr"]),
        (["--set", "modle.dim=3"], ["--set modle.dim", "Did you mean 'model'?"]),
        (["--set", "model.dimm=3"], ["Did you mean 'dim'?"]),
        (["--features", "clicked"], ["feature 'clicked'", "the label"]),
    ],
)
def test_bad_options_exit_2_and_write_nothing(road, options, words):
    out, err = evaluate(road, *options, "--json", "no.json", code=2)
    assert out == ""
    for word in words:
        assert word in err
    assert not (road / "no.json").exists()


def test_keys_that_belong_together_may_come_in_any_order(road):
    sets = ["model.dim=15", "model.heads=3", "model.table.table_rows=40", "model.table.kind=hashed", "fit.epochs=1",
            "model.table.lookups=3", "model.hidden=[4]"]  # fmt: skip
    for order in (sets, sets[::-1]):
        words = [word for one in order for word in ("--set", one)]
        evaluate(road, "--head", "target-attention", *words, "--json", "together.json", "--overwrite")


def test_the_encoder_may_learn_too(road):
    options = ["--head", "dnn", "--set", "model.hidden=[8]", "--set", "model.dim=4", "--set", "fit.epochs=1"]
    _, err = evaluate(road, *options, "--fine-tune")
    assert "the encoder learned with the head" in err
    _, err = evaluate(road, *options, "--fine-tune", "--save-head", "tuned", code=2)
    assert "fine_tune: expected a head that is not kept" in err
    assert not (road / "tuned").exists()
    assert "--fine-tune" in usermodel("evaluate", "run", "store", "--fine-tune", cwd=road, code=2)[1]


def test_features_that_name_nothing_are_refused(road):
    assert "--features" in evaluate(road, "--features", ",", code=2)[1]


def test_vectors_are_those_of_the_history_before_each_row(road):
    """What is shown between two events is encoded once, and gets the vector that it would have had alone."""
    run, store = Run.open(road / "run"), SequenceStore.open(road / "store")
    given = []

    class Asked(Ctr):
        def score(self, vectors, store, **options):
            given.append(vectors)
            return []

    task, counted = Asked(split=run.recipe.data.split), []
    evaluate_rows(run, store, task, on_progress=lambda done, n: counted.append(n))
    module = UserEncoder.load(run).module
    requests = task.requests(store, module.max_history, module.n_items)
    np.testing.assert_allclose(given[0], encode(module, store, requests), atol=1e-5)
    assert counted[0] < 0.7 * len(requests)
