"""usermodel finetune and what reads its runs: evaluate, describe, embed, index, export; and what they refuse."""

import json

import labelled
import numpy as np
import polars as pl
import pytest
import tiny
from command import usermodel

from usermodel.encoders import io
from usermodel.training.pretrain import pretrain
from usermodel.training.run import Run

QUICK = ["--set", "training.max_epochs=2", "--set", "training.batch_users=20"]


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    """A store with labels, a run, and one fine-tuned run for each task."""
    folder = tmp_path_factory.mktemp("finetune")
    store = labelled.make_store(folder / "store")
    pretrain(store, tiny.RECIPE.override({"training.max_epochs": 1}), folder / "run")
    finetune(folder, "group", "--task", "user-attribute", "--column", "group", *QUICK)
    finetune(folder, "click", "--task", "user-choice", "--set", "sampling.task=click", *QUICK)
    return folder


def finetune(folder, out, *options, code=0):
    return usermodel("finetune", "run", "store", "-o", out, *options, cwd=folder, code=code)


def evaluate(road, run, *options, code=0):
    return usermodel("evaluate", run, "store", *options, cwd=road, columns=200, code=code)


# ------------------------------------------------------------------------------------------------------------- finetune


def test_what_it_says_and_leaves(road):
    _, err = finetune(road, "said", "--task", "user-attribute", "--column", "group", *QUICK)
    assert "epoch 2  loss" in err
    assert "accuracy" in err
    assert "best validation accuracy" in err
    assert "next: usermodel evaluate said store --task user-attribute" in err
    assert (road / "said" / "head" / "config.json").is_file()
    assert (road / "said" / "encoder" / "README.md").read_text().count("accuracy") >= 1


def test_the_default_column_is_label(road):
    finetune(road, "default", "--task", "user-attribute", *QUICK)
    assert Run.open(road / "default").recipe.sampling.column == "label"


def test_a_frozen_encoder_is_that_of_the_run(road):
    finetune(road, "frozen", "--task", "user-choice", "--freeze", *QUICK)
    before, after = (io.load(road / name).module.state_dict() for name in ("run", "frozen"))
    assert all((before[name] == after[name]).all() for name in before)
    assert Run.open(road / "frozen").recipe.objective.freeze


def test_labels_from_a_file_are_found_again_from_anywhere(road, tmp_path):
    labelled.users_table().select("user_id", x="group").write_parquet(road / "more.parquet")
    finetune(road, "file", "--task", "user-attribute", "--column", "x", "--labels", "more.parquet", *QUICK)
    names = (road / "file", road / "store")
    out, _ = usermodel("evaluate", *names, "--task", "user-attribute", cwd=tmp_path)
    assert "accuracy" in out


def test_labels_that_have_moved_are_named_anew(road, tmp_path):
    users = labelled.users_table().select("user_id", x="group")
    users.write_parquet(tmp_path / "old.parquet")
    finetune(
        road,
        "moved",
        "--task",
        "user-attribute",
        "--column",
        "x",
        "--labels",
        tmp_path / "old.parquet",
        *QUICK,
    )
    score = ("moved", "--task", "user-attribute")
    expected = evaluate(road, *score)[0]
    (tmp_path / "old.parquet").rename(tmp_path / "new.parquet")
    assert "no such file" in evaluate(road, *score, code=2)[1]
    assert evaluate(road, *score, "--labels", tmp_path / "new.parquet")[0] == expected
    users.head(20).write_parquet(tmp_path / "others.parquet")
    assert (
        "those the run was trained with"
        in evaluate(road, *score, "--labels", tmp_path / "others.parquet", code=2)[1]
    )


def test_resume_needs_no_option_again(road):
    _, err = finetune(road, "group", "--task", "user-attribute", "--resume")
    assert "finished after 2 epochs" in err
    _, err = finetune(road, "group", "--task", "user-attribute", "--column", "noise", "--resume", code=2)
    assert "the recipe the run was started with" in err
    assert "sampling.column" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--task", "user-attribute", "--column", "gruop"], ["column 'gruop'", "Did you mean 'group'?"]),
        (["--task", "user-attribute", "--column", "size"], ["Float64", "Cut numbers into ranges"]),
        (["--task", "user-choice", "--column", "tarket"], ["column 'tarket'", "Did you mean 'target'?"]),
        (["--task", "user-choice", "--set", "sampling.task=x"], ["two things to choose from", "found 0"]),
        (["--task", "user-choice", "--labels", "x.csv"], ["sampling.file"]),
        (["--task", "user-attribute", "--recipe", "user-choice"], ["--recipe", "Choose --task user-choice"]),
        (["--task", "user-attribute", "--recipe", "next-item"], ["--recipe", "learns from labels"]),
        (["--task", "user-attribute", "--set", "training.monitor=mrr"], ["accuracy, macro_f1, auc"]),
        (["--task", "user-attribute", "--set", "sampling.parts.tain=0.5"], ["Did you mean 'train'?"]),
        (["--task", "user-attribute", "--labels", "none.csv"], ["none.csv", "no such file"]),
        (["--task", "next-item"], ["next-item"]),
        ([], ["--task"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_it_refuses(road, options, words):
    _, err = finetune(road, "refused", *options, code=2)
    for word in words:
        assert word in err
    assert not (road / "refused").exists()


def test_one_class_too_many_classes_and_too_few_users(road, monkeypatch):
    monkeypatch.setattr("usermodel.store.attributes.MOST_CLASSES", 50)
    ids = pl.Series("user_id", [f"u{user:03d}" for user in range(labelled.N_USERS)])
    odd = pl.DataFrame([ids, ids.alias("own")]).with_columns(
        same=pl.lit("x"), few=pl.when(pl.col("user_id") < "u002").then("own")
    )
    odd.write_csv(road / "odd.csv")
    for column, words in (
        ("same", "found 1 different values. Name another column"),
        ("own", "found 60 different values. Put values together"),
        ("few", "users with 'few' in the valid part; found none"),
    ):
        options = ["--task", "user-attribute", "--column", column, "--labels", "odd.csv"]
        _, err = finetune(road, "refused", *options, code=2)
        assert words in err


def test_an_encoder_that_does_not_fit_leaves_the_name_free(road):
    words = "--task", "user-attribute", "--column", "group", *QUICK
    _, err = finetune(road, "narrow", *words, "--set", "encoder.dim=12", "--set", "encoder.heads=1", code=2)
    assert "stages: expected the item table of the stage before" in err
    assert not (road / "narrow").exists()


def test_an_existing_output_is_kept(road):
    _, err = finetune(road, "group", "--task", "user-attribute", "--column", "group", code=2)
    assert "--overwrite" in err
    _, err = usermodel(
        "finetune", "run", "store", "-o", "run", "--task", "user-attribute", "--overwrite", cwd=road, code=2
    )
    assert "a folder apart from run" in err
    assert Run.open(road / "run").meta["epochs"] == 1


# ------------------------------------------------------------------------------------------------------------- evaluate


def test_scores_of_a_head_of_classes(road):
    out, err = evaluate(road, "group", "--task", "user-attribute", "--json", "head.json")
    scores = json.loads((road / "head.json").read_text())
    assert list(scores["definitions"]) == ["accuracy", "macro_f1", "auc", "log_loss"]
    assert (scores["task"], scores["split"], scores["n"]) == ("user-attribute", "test", 12)
    assert "3 classes; test users of the run's labels" in scores["definitions"]["auc"]
    assert "test part of the run's labels" in out
    assert f"accuracy: {scores['definitions']['accuracy']}" in err


def test_scores_of_a_head_of_choices(road):
    out, _ = evaluate(road, "click", "--task", "user-choice", "--part", "valid", "--json", "click.json")
    scores = json.loads((road / "click.json").read_text())
    assert len(scores["definitions"]) == 9
    assert (scores["split"], scores["n"]) == ("valid", 36)
    assert scores["ndcg@10"] == pytest.approx(Run.open(road / "click").meta["best"]["ndcg@10"])
    assert "choices" in out
    assert "all 15 things" in scores["definitions"]["hit@5"]


def test_a_probe_of_several_columns(road):
    options = ["--task", "user-attribute", "--label", "group, noise", "--json", "probe.json"]
    out, _ = evaluate(road, "run", *options)
    scores = json.loads((road / "probe.json").read_text())
    names = ("accuracy", "macro_f1", "auc", "log_loss", "majority")
    assert list(scores["definitions"]) == [
        f"{label}/{name}" for label in ("group", "noise") for name in names
    ]
    assert "split" not in scores
    assert "probe of group, noise" in out
    labelled.users_table().select("user_id", x="group").write_csv(road / "x.csv")
    evaluate(road, "run", "--task", "user-attribute", "--label", "x", "--labels", "x.csv", "--json", "x.json")
    assert json.loads((road / "x.json").read_text())["x/auc"] == scores["group/auc"]


def test_a_probe_of_what_was_fine_tuned_warns(road):
    _, err = evaluate(road, "group", "--task", "user-attribute", "--label", "group")
    assert "warning: the vectors were fine-tuned on 'group'" in err
    _, err = evaluate(road, "group", "--task", "user-attribute", "--label", "noise")
    assert "warning" not in err


@pytest.mark.parametrize(
    ("run", "options", "words"),
    [
        ("run", ["--task", "user-attribute"], ["a run with a head", "usermodel finetune"]),
        ("run", ["--task", "user-choice"], ["a run with a head"]),
        ("group", ["--task", "user-choice"], ["--task", "Choose --task user-attribute"]),
        ("click", ["--task", "user-attribute"], ["Choose --task user-choice"]),
        ("run", ["--label", "group"], ["--label", "an option of --task next-item"]),
        ("run", ["--labels", "x.csv"], ["--labels", "an option of --task next-item"]),
        ("click", ["--task", "user-choice", "--label", "group"], ["--label"]),
        ("run", ["--task", "user-attribute", "--labels", "x.csv"], ["a run with a head", "only pretrained"]),
        ("run", ["--task", "user-attribute", "--label", " , "], ["--label", "a column at least"]),
        ("run", ["--task", "user-attribute", "--label", "group", "--part", "valid"], ["--part"]),
        ("group", ["--task", "user-attribute", "--metrics", "auc"], ["--metrics"]),
        ("group", ["--task", "user-attribute", "--by", "popularity"], ["--by"]),
        ("group", ["--task", "user-attribute", "--as", "recbole"], ["--as"]),
        ("group", ["--task", "user-attribute", "--index", "i"], ["--index"]),
        ("click", ["--task", "user-choice", "--interval", "normal"], ["--interval"]),
        ("run", ["--task", "user-attribute", "--label", "gruop"], ["Did you mean 'group'?"]),
        ("run", ["--task", "user-attribute", "--label", "size"], ["Cut numbers into ranges"]),
        ("run", ["--task", "user-attribute", "--label", "x", "--labels", "none.csv"], ["no such file"]),
    ],
    ids=str,
)
def test_options_without_effect_and_wrong_tasks_exit_2(road, run, options, words):
    out, err = evaluate(road, run, *options, "--json", "no.json", code=2)
    assert out == ""
    for word in words:
        assert word in err
    assert not (road / "no.json").exists()


def test_next_items_of_a_fine_tuned_run(road):
    out, _ = evaluate(road, "group", "--metrics", "ndcg@10")
    assert "ndcg@10" in out


# ------------------------------------------------------------------------------------------------ everything that reads runs


@pytest.mark.parametrize(("run", "answers"), [("group", 3), ("click", 15)])
def test_describe(road, run, answers):
    # A value that is wrapped, such as a long path, has lines without a name.
    out, _ = usermodel("describe", run, cwd=road, columns=300)
    lines = [line.strip("│ ").split("│", 1) for line in out.splitlines() if line.count("│") == 3]
    rows = dict(line for line in lines if len(line) == 2)
    rows = {key.strip(): value.strip() for key, value in rows.items()}
    assert rows["head.n_answers"] == str(answers)
    assert rows["recipe.stages.0.training.max_epochs"] == "1"
    data = json.loads(usermodel("describe", run, "--json", cwd=road)[0])
    assert data["head"]["n_answers"] == answers
    assert len(data["head"]["answers"]) == answers
    usermodel("describe", run, "--html", f"{run}.html", cwd=road)
    page = (road / f"{run}.html").read_text()
    assert "Fine-tuning" in page
    assert "stages.0.training.max_epochs" in page


@pytest.mark.parametrize("run", ["group", "click"])
def test_embed_index_and_recommend(road, run):
    usermodel("embed", run, "store", "-o", f"{run}.parquet", cwd=road)
    vectors = np.stack(pl.read_parquet(road / f"{run}.parquet")["embedding"].to_list())
    assert vectors.shape == (labelled.N_USERS, 8)
    plain = road / "plain.parquet"
    if not plain.exists():
        usermodel("embed", "run", "store", "-o", plain, cwd=road)
    assert np.abs(vectors - np.stack(pl.read_parquet(plain)["embedding"].to_list())).max() > 1e-4
    usermodel("index", run, "-o", f"{run}.index", cwd=road)
    out, _ = usermodel(
        "recommend", run, "store", "--users", "u001", "-k", 3, "--index", f"{run}.index", cwd=road
    )
    assert out.count("u001") == 3


def test_export(road):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    _, err = usermodel("export", "group", "-o", "group.onnx", cwd=road)
    assert "wrote group.onnx" in err
