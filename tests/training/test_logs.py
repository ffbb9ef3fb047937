import pytest

from usermodel.errors import MissingError
from usermodel.training import logs
from usermodel.training.pretrain import pretrain
from usermodel.training.recipe import TrainingConfig


class Writer:
    """In the place of Fabric's logger."""

    def __init__(self):
        self.said = []

    def log_metrics(self, values, step):
        self.said.append((step, values))


@pytest.fixture
def writer(monkeypatch):
    one = Writer()
    one.purged = []
    monkeypatch.setattr(logs, "_logger", lambda folder, step: one.purged.append(step) or one)
    monkeypatch.setattr(logs.importlib.util, "find_spec", lambda name: object())
    return one


def test_without_the_package_nothing_is_begun(store, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(logs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        MissingError,
        match=r"training\.log: expected the package tensorboard; found none installed\. .*usermodel\[track\]",
    ):
        pretrain(store, recipe.override({"training.log": "tensorboard"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_curves_hold_what_metrics_csv_holds_and_the_steps_between(store, recipe, tmp_path, writer):
    run = pretrain(store, recipe.override({"training.log": "tensorboard"}), tmp_path / "run")
    assert writer.purged == [1]
    epochs = [(step, values) for step, values in writer.said if "epoch/loss" in values]
    assert [
        (step, values["epoch/loss"], values["epoch/ndcg@10"], values["epoch/loss/softmax"])
        for step, values in epochs
    ] == [(row["step"], row["loss"], row["ndcg@10"], row["loss/softmax"]) for row in run.history()]
    between = [step for step, values in writer.said if "step/loss" in values]
    assert between == list(range(logs.EVERY, run.meta["steps"] + 1, logs.EVERY))
    assert all(values["step/learning_rate"] == 0.01 for _, values in writer.said if "step/loss" in values)


def test_csv_writes_no_curves(tmp_path):
    logs.open_log(TrainingConfig(), tmp_path, 0)({"a": 1.0}, 1)
    assert list(tmp_path.iterdir()) == []
