"""The simulated logs tell methods apart, and the demo walks the whole road."""

import numpy as np
import polars as pl
import pytest
from command import usermodel

from usermodel.benchmark.demo import demo_recipe, run_demo
from usermodel.events.simulate import SimulateConfig


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    config = SimulateConfig(n_users=1500, n_items=500, n_events=60_000, seed=3)
    recipe = demo_recipe().override(
        {"training.max_epochs": 10, "training.batch_events": 512, "encoder.dim": 32, "encoder.hidden": 64}
    )
    stages = []
    made = run_demo(tmp_path_factory.mktemp("demo"), config=config, recipe=recipe, on_stage=stages.append)
    assert stages == [
        "simulate",
        "ingest",
        "pretrain",
        "embed",
        "index",
        "recommend",
        "evaluate",
        "tasks",
        "report",
    ]
    return made


def interval(demo, method):
    return next((one.low, one.value, one.high) for one in demo.scores[method] if one.metric == "ndcg@10")


def test_popularity_below_item_knn_below_the_encoder_below_the_truth(demo):
    """Intervals over users do not overlap."""
    random, popular, knn, ours = (interval(demo, name) for name in demo.scores)
    assert random[2] < popular[0]
    assert popular[2] < knn[0]
    assert knn[2] < ours[0]
    assert ours[1] < demo.ceiling["ndcg@10"]


@pytest.mark.parametrize("attribute", ["device", "region", "age_band"])
def test_an_attribute_probe_on_frozen_vectors_beats_the_majority(demo, attribute):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    users = pl.read_parquet(demo.folder / "users.parquet").join(
        pl.read_parquet(demo.folder / "logs/users.parquet"), on="user_id", maintain_order="left"
    )
    vectors, labels = users["embedding"].to_numpy(), users[attribute].to_numpy()
    majority = np.unique(labels, return_counts=True)[1].max() / len(labels)
    accuracy = cross_val_score(LogisticRegression(max_iter=1000), vectors, labels, cv=5)
    assert accuracy.mean() - 2 * accuracy.std() / np.sqrt(5) > majority


def test_vectors_help_in_every_other_task(demo):
    """Intervals of clicks do not overlap; the others are no worse."""
    found = {one.task: one for one in demo.tasks}
    assert list(found) == ["ctr", "watch-time", "user-attribute"]
    assert found["ctr"].with_vectors.low > found["ctr"].without.high
    assert found["watch-time"].with_vectors.value > 0.6
    assert found["user-attribute"].with_vectors.value > found["user-attribute"].without.value


def test_the_report_is_one_file_that_names_every_method(demo):
    page = demo.report.read_text()
    for word in (
        "popularity",
        "item-kNN",
        "pretrained encoder",
        "random encoder",
        "planted truth",
        "NDCG@10",
        "effective_rank",
        "popularity_r2",
        "alignment",
        "What else are the vectors for?",
        "user-attribute",
    ):
        assert word in page
    assert "http://www.w3.org" not in page.replace('xmlns="http://www.w3.org/2000/svg"', "").replace(
        "http://www.w3.org/1999/xlink", ""
    )
    assert "<script" not in page


def test_recommendations_have_titles_and_leave_out_the_seen(demo):
    assert demo.recommendations.height == 15
    assert demo.recommendations["title"].null_count() == 0
    seen = set(pl.read_parquet(demo.folder / "logs/events.parquet").select("user_id", "item_id").iter_rows())
    assert not set(demo.recommendations.select("user_id", "item_id").iter_rows()) & seen


def test_a_place_that_cannot_be_is_refused_before_the_walk(tmp_path):
    (tmp_path / "file").write_text("mine")
    _, err = usermodel("demo", "-o", "file", cwd=tmp_path, code=2)
    assert "file: expected an empty folder; found a file. Choose another name with -o." in err
    _, err = usermodel("demo", "-o", "file/demo", cwd=tmp_path, code=5)
    assert "file/demo: expected a place that can be written; found Not a directory." in err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").touch()
    _, err = usermodel("demo", "-o", "full", "--overwrite", cwd=tmp_path, code=2)
    assert "full: expected an empty folder; found one that is not. Choose another name with -o." in err
    assert (tmp_path / "file").read_text() == "mine"
