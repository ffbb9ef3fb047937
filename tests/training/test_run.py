import json
import shutil

import pytest

from usermodel import manifest
from usermodel.encoders.io import load
from usermodel.errors import ConfigError, IntegrityError, MissingError
from usermodel.training.pretrain import pretrain
from usermodel.training.recipe import Recipe
from usermodel.training.run import Run, is_run, leaves, read_recipe, write_history, write_recipe


@pytest.fixture
def run(store, recipe, tmp_path) -> Run:
    return pretrain(store, recipe.override({"training.max_epochs": 1}), tmp_path / "run")


def test_open_reads_what_pretrain_returned(run):
    for path in (run, run.path, str(run.path)):
        assert Run.open(path) == run


def test_an_unfinished_run_is_named(run):
    (run.path / manifest.NAME).unlink()
    with pytest.raises(MissingError, match="expected a finished run; found an unfinished one"):
        Run.open(run)
    # Whatever was looked for.
    for kind, what in ((None, "a usermodel artefact"), ("index", "an index")):
        with pytest.raises(MissingError, match=f"expected {what}; found an unfinished run. Finish it with"):
            manifest.read(run.path, kind)
    shutil.rmtree(run.path / "encoder")
    with pytest.raises(MissingError, match="expected an encoder; found an unfinished run"):
        load(run.path)
    for text in ("{}", "[", json.dumps([Recipe().to_dict()])):
        (run.path / "config.json").write_text(text)
        with pytest.raises(MissingError, match="found no manifest there"):
            manifest.read(run.path)


def test_nothing_there_and_something_else_there(tmp_path, store):
    with pytest.raises(MissingError, match="nothing there"):
        Run.open(tmp_path / "nothing")
    with pytest.raises(MissingError, match="expected a run; found a store"):
        Run.open(store.path)


@pytest.mark.parametrize("name", ["config.json", "metrics.csv", "encoder/model.safetensors"])
def test_a_file_that_was_cut_is_named(run, name):
    path = run.path / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=name):
        Run.open(run)


def test_history_has_a_row_per_epoch_with_the_columns_of_its_validation(tmp_path):
    rows = [{"epoch": 1, "loss": 0.1 + 0.2}, {"epoch": 2, "loss": 1e-300, "ndcg@10": 1 / 3}]
    write_history(rows, tmp_path / "metrics.csv")
    assert (tmp_path / "metrics.csv").read_text().splitlines()[0] == "epoch,loss,ndcg@10"
    assert Run(tmp_path, Recipe(), {}).history() == rows


def test_a_history_of_nothing(tmp_path):
    write_history([], tmp_path / "metrics.csv")
    assert Run(tmp_path, Recipe(), {}).history() == []


def test_a_recipe_survives_its_file(recipe, tmp_path):
    odd = recipe.override(
        {"data.split": "global-time", "encoder.positions": "from_end", "training.max_steps": 7}
    )
    write_recipe(odd, tmp_path / "config.json")
    assert read_recipe(tmp_path / "config.json") == odd


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON"),
        ("[1, 2]", "expected a recipe; found a JSON list"),
        ("3", "expected a recipe; found a JSON int"),
        ('{"class": "usermodel.training.recipe:Recipe", "encodr": {}}', "Did you mean 'encoder'"),
        ('{"class": "os:system"}', "expected a class under usermodel"),
        ('{"class": "usermodel.encoders.transformer:TransformerConfig"}', "expected Recipe"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_recipe(tmp_path / "config.json")


def test_no_recipe_file(tmp_path):
    with pytest.raises(MissingError, match="expected a recipe file"):
        read_recipe(tmp_path / "config.json")


def test_is_run_looks_at_the_class_and_not_at_the_name_of_the_file(run, tmp_path):
    assert is_run(run.path)
    (run.path / manifest.NAME).unlink()
    assert is_run(run.path)
    for text in ("{}", "[]", "not json", '{"class": "usermodel.encoders.transformer:TransformerConfig"}'):
        (tmp_path / "config.json").write_text(text)
        assert not is_run(tmp_path)
    assert not is_run(tmp_path / "nothing")


def test_leaves_are_the_keys_that_set_takes(recipe):
    flat = leaves(json.loads(json.dumps(recipe.to_dict())))
    assert flat["encoder.dim"] == 16
    assert flat["data.split.kind"] == "leave-last-out"
    changes = {key: value for key, value in flat.items() if key.rpartition(".")[2] not in {"class", "kind"}}
    assert Recipe().override(changes) == recipe
