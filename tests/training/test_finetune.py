"""Fine-tuning: a last stage behind a run that is there, with labels and a head that is kept."""

import os
import shutil
import signal

import labelled
import polars as pl
import pytest
import torch

from usermodel.benchmark.evaluate_labels import evaluate_attribute, evaluate_head
from usermodel.encoders import io
from usermodel.errors import ConfigError, DataError, InterruptedRunError, MismatchError, MissingError
from usermodel.heads import io as heads
from usermodel.recipes.fine_tuning import user_attribute, user_choice
from usermodel.training import loop as loops
from usermodel.training.finetune import after, finetune
from usermodel.training.pretrain import pretrain
from usermodel.training.run import Run

QUICK = {"training.max_epochs": 3, "training.batch_users": 10, "training.learning_rate": 0.01}


@pytest.fixture(scope="module")
def world(tmp_path_factory, recipe):
    """A store with labels, and a run on it; read-only."""
    folder = tmp_path_factory.mktemp("finetune")
    store = labelled.make_store(folder / "store")
    first = pretrain(store, recipe.override({"training.max_epochs": 1}), folder / "first")
    return store, first


@pytest.fixture(scope="module")
def classes(world):
    return after(world[1], user_attribute(), QUICK | {"sampling.column": "group"})


@pytest.fixture(scope="module")
def choices(world):
    return after(world[1], user_choice(), QUICK | {"sampling.task": "click"})


@pytest.fixture(scope="module")
def tuned(world, classes, tmp_path_factory):
    """An uninterrupted run; read-only."""
    store, first = world
    return finetune(first, store, classes, tmp_path_factory.mktemp("tuned") / "run")


@pytest.fixture(scope="module")
def chosen(world, choices, tmp_path_factory):
    store, first = world
    return finetune(first, store, choices, tmp_path_factory.mktemp("chosen") / "run")


@pytest.fixture(params=["classes", "choices"])
def either(request):
    """A recipe, and the run it makes."""
    return request.getfixturevalue(request.param), request.getfixturevalue(
        {"classes": "tuned", "choices": "chosen"}[request.param]
    )


def head_bytes(run):
    return (run.path / "head" / "model.safetensors").read_bytes()


def encoder(path):
    return io.load(path).module.state_dict()


# ---------------------------------------------------------------------------------------------------------- what there is


def test_the_run_before_is_copied_without_what_nobody_reads(world, tuned, recipe):
    before = Run.open(tuned.path / "before")
    assert before.recipe == world[1].recipe == tuned.recipe.before()
    assert tuned.recipe.encoder == before.recipe.encoder
    names = {path.name for path in before.path.iterdir()}
    assert names == {"config.json", "manifest.json", "metrics.csv", "encoder"}
    ours, theirs = encoder(before.path), encoder(world[1].path)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_manifest_covers_the_head(tuned, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tuned.path, copy)
    (copy / "head" / "model.safetensors").unlink()
    with pytest.raises(Exception, match=r"model\.safetensors"):
        Run.open(copy)


def test_training_learns_the_rule(world, classes, tmp_path):
    """Items tell the group: nine of ten users are put into theirs, where one of three is chance."""
    store, first = world
    run = finetune(first, store, classes.override({"training.max_epochs": 15}), tmp_path / "run")
    found = {one.metric: one.value for one in evaluate_head(run, store)}
    assert found["accuracy"] > 0.85
    assert found["auc"] > 0.95


def test_a_run_can_be_fine_tuned_twice_and_keeps_every_stage_in_its_recipe(world, tuned, tmp_path):
    store, _ = world
    recipe = after(tuned, user_choice(), QUICK | {"sampling.task": "click", "training.max_epochs": 1})
    assert [type(one.objective).__name__ for one in recipe.stages] == [
        "NextItemConfig",
        "UserAttributeConfig",
    ]
    run = finetune(tuned, store, recipe, tmp_path / "run")
    assert heads.load(run.path / "head").answers == tuple(f"t{n:02d}" for n in range(labelled.N_THINGS))
    assert heads.load(run.path / "before" / "head").answers == labelled.GROUPS
    assert not (run.path / "before" / "before").exists()


def test_the_whole_recipe_replays_bit_for_bit(world, tuned, tmp_path):
    """Pretraining and fine-tuning from one config.json."""
    again = pretrain(world[0], tuned.recipe, tmp_path / "again")
    assert head_bytes(again) == head_bytes(tuned)
    assert (again.path / "encoder" / "model.safetensors").read_bytes() == (
        tuned.path / "encoder" / "model.safetensors"
    ).read_bytes()


def test_from_nothing(world, tmp_path):
    """The same recipe without a run before it: what pretraining is compared with."""
    quick = QUICK | {"encoder.dim": 8, "encoder.max_history": 8, "training.max_epochs": 1}
    run = pretrain(world[0], user_attribute().override(quick), tmp_path / "run")
    assert run.recipe.objective.task == "user-attribute"
    assert evaluate_head(run, world[0])[0].n > 0


# -------------------------------------------------------------------------------------------------------- resume, replace


@pytest.mark.parametrize("steps", [1, 5])
def test_a_signal_and_resume_end_bit_for_bit(world, either, tmp_path, run_facts, steps):
    (store, first), (recipe, whole) = world, either
    seen = []

    def watch(now):
        seen.append(now)
        if len(seen) == steps:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError):
        finetune(first, store, recipe, tmp_path / "run", on_progress=watch)
    run = finetune(first, store, recipe, tmp_path / "run", resume=True)
    assert run_facts(run.path) == run_facts(whole.path)
    assert head_bytes(run) == head_bytes(whole)


def test_what_a_killed_copy_left_is_swept(world, classes, tmp_path):
    store, first = world
    (tmp_path / "run" / ".before.tmp-1").mkdir(parents=True)
    finetune(first, store, classes.override({"training.max_epochs": 1}), tmp_path / "run")
    assert not (tmp_path / "run" / ".before.tmp-1").exists()


def test_overwriting_replaces_head_and_run_before(world, classes, choices, tmp_path):
    store, first = world
    short = {"training.max_epochs": 1}
    finetune(first, store, classes.override(short), tmp_path / "run")
    with pytest.raises(Exception, match="--overwrite"):
        finetune(first, store, choices.override(short), tmp_path / "run")
    run = finetune(first, store, choices.override(short), tmp_path / "run", overwrite=True)
    assert len(heads.load(run.path / "head").answers) == labelled.N_THINGS
    plain = pretrain(store, first.recipe, tmp_path / "run", overwrite=True)
    assert not (plain.path / "head").exists()
    assert not (plain.path / "before").exists()


@pytest.mark.parametrize("out", ["first", "."])
def test_a_run_is_not_replaced_by_what_starts_from_it(world, classes, tmp_path, out):
    """Neither by its own name, nor by that of a run it lies in."""
    store, first = world
    shutil.copytree(first.path, tmp_path / "all" / "first")
    shutil.copy(first.path / "config.json", tmp_path / "all")
    with pytest.raises(ConfigError, match="a folder apart from"):
        finetune(tmp_path / "all" / "first", store, classes, tmp_path / "all" / out, overwrite=True)
    assert Run.open(tmp_path / "all" / "first").recipe == first.recipe


# ------------------------------------------------------------------------------------------------------------- refusals


def test_a_store_with_other_items_is_refused(world, classes, tmp_path, make_store):
    other = make_store(tmp_path / "other", users=20)
    with pytest.raises(MismatchError, match="items of"):
        finetune(world[1], other, classes, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_does_not_go_on_from_the_run_is_refused(world, tmp_path):
    store, first = world
    for recipe in (user_attribute(), after(first, user_attribute(), {"stages.0.training.seed": 99})):
        with pytest.raises(ConfigError, match="a recipe whose stages are those of"):
            finetune(first, store, recipe, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training.monitor": "ndcg@10"}, "one of accuracy, macro_f1, auc, or none; found ndcg@10"),
        ({"sampling.column": "gruop"}, "Did you mean 'group'"),
        ({"sampling.column": "size"}, "Cut numbers into ranges"),
    ],
)
def test_what_cannot_be_learned_is_refused_before_anything_is_written(
    world, classes, tmp_path, changes, words
):
    store, first = world
    with pytest.raises((ConfigError, DataError), match=words):
        finetune(first, store, classes.override(changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_labels_and_objectives_must_go_together(world, recipe, tmp_path):
    store, _ = world
    labels, no_labels = user_choice(), recipe
    for odd in (
        no_labels.model_copy(update={"sampling": labels.sampling}),
        no_labels.model_copy(update={"objective": labels.objective}),
    ):
        with pytest.raises(ConfigError, match="labels for"):
            pretrain(store, odd, tmp_path / "run")


# ---------------------------------------------------------------------------------------------------- what is trained, kept


@pytest.mark.parametrize("task", ["classes", "choices"])
def test_frozen_encoders_stay_as_they_are(world, request, tmp_path, task):
    store, first = world
    changes = {"objective.freeze": True, "training.ema": 0.9, "training.weight_decay": 0.1}
    recipe = request.getfixturevalue(task).override(changes)
    run = finetune(first, store, recipe, tmp_path / "run")
    ours, theirs = encoder(run.path), encoder(first.path)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    losses = [row["loss"] for row in run.history()]
    assert losses[-1] < losses[0]


def test_otherwise_encoder_and_head_are_trained(world, tuned):
    ours, theirs = encoder(tuned.path), encoder(world[1].path)
    assert all(not torch.equal(ours[name], theirs[name]) for name in ("items.weight",))


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_kept_weights_of_encoder_and_head_are_those_of_the_best_epoch(
    world, classes, tmp_path, monkeypatch, ema
):
    """The second of three epochs is declared the best; what was validated then is what is in the folder."""
    store, first = world
    seen = []

    def agree(team, store, split, recipe, own, objective):
        del team, store, split, recipe, own

        def validate(module):
            state = {"encoder": module.state_dict(), "head": objective.head.state_dict()}
            seen.append({k: {n: v.clone() for n, v in part.items()} for k, part in state.items()})
            return {"accuracy": [0.1, 0.9, 0.2][len(seen) - 1]}

        return validate

    monkeypatch.setattr("usermodel.training.pretrain.agree", agree)
    run = finetune(first, store, classes.override({"training.ema": ema}), tmp_path / "run")
    assert run.meta["best_epoch"] == 2
    best = seen[1]
    ours = {"encoder": encoder(run.path), "head": heads.load(run.path / "head").state_dict()}
    for part, weights in best.items():
        assert all(torch.equal(ours[part][name], value) for name, value in weights.items()), part
    assert not torch.equal(seen[2]["head"]["out.weight"], best["head"]["out.weight"])


def test_an_average_covers_the_head(world, classes, tmp_path):
    store, _ = world
    recipe = classes.model_copy(update={"stages": ()}).override({"training.ema": 0.99})
    loop = loops.Loop(store, store.split(), recipe, tmp_path)
    names = set(loop.ema.average)
    assert {"encoder.items.weight", "head.inner.weight", "head.out.bias"} <= names
    before = loop.ema.average["head.out.weight"].clone()
    examples, batches = loop._epoch(0)
    for rows in batches[:3]:
        loop._step(examples.take(rows))
    live = loop.objective.head.out.weight.detach().clone()
    average = loop.ema.average["head.out.weight"]
    assert not torch.equal(average, before)
    assert not torch.equal(average, live)
    with loop.ema.applied():
        assert torch.equal(loop.objective.head.out.weight, average)
    assert torch.equal(loop.objective.head.out.weight, live)


def test_two_processes_have_the_curve_of_one(world, classes, tmp_path):
    """Without dropout, up to rounding."""
    store, first = world
    same = {"encoder.dropout": 0.0, "training.max_epochs": 2}
    one = finetune(first, store, classes.override(same), tmp_path / "one")
    two = finetune(first, store, classes.override(same | {"training.devices": 2}), tmp_path / "two")
    for ours, theirs in zip(one.history(), two.history(), strict=True):
        for name in ("loss", "accuracy", "auc"):
            assert theirs[name] == pytest.approx(ours[name], rel=1e-4), name


# --------------------------------------------------------------------------------------------------------------- leakage


def test_labels_of_held_out_users_change_no_weight(world, classes, tmp_path):
    """All classes of the validation and test users are turned round; the classes themselves stay the same three."""
    store, first = world
    recipe = classes.override({"training.monitor": "none"})
    held_out = [recipe.sampling.held_out(store, store.split(), part, 8).user for part in ("valid", "test")]
    others = {f"u{user:03d}" for users in held_out for user in users.tolist()}
    table = store.table("users").select("user_id", "group")
    turned = pl.col("group").replace({"cats": "dogs", "dogs": "owls", "owls": "cats"})
    table = table.with_columns(
        pl.when(pl.col("user_id").is_in(others)).then(turned).otherwise(pl.col("group"))
    )
    runs = []
    for name, frame in (("as-it-is", store.table("users")), ("turned", table)):
        path = tmp_path / f"{name}.parquet"
        frame.select("user_id", "group").write_parquet(path)
        changed = recipe.override({"sampling.file": str(path)})
        runs.append(finetune(first, store, changed, tmp_path / name))
    assert head_bytes(runs[0]) == head_bytes(runs[1])
    assert torch.equal(*(encoder(run.path)["items.weight"] for run in runs))
    scores = [evaluate_head(run, store)[0].value for run in runs]
    assert scores[0] != scores[1]


# ----------------------------------------------------------------------------------------------------------------- scores


def test_the_head_reproduces_the_validation_of_training(world, either):
    store, (_, run) = world[0], either
    best = next(row for row in run.history() if row["epoch"] == run.meta["best_epoch"])
    found = evaluate_head(run, store, part="valid")
    compared = [one for one in found if one.metric in best]
    assert len(compared) == {"user-attribute": 3, "user-choice": 9}[run.recipe.objective.task]
    for one in compared:
        assert best[one.metric] == pytest.approx(one.value, abs=1e-12), one.metric
        assert one.low <= one.value <= one.high
    tested = evaluate_head(run, store)
    assert [one.metric for one in tested] == [one.metric for one in found]
    assert tested[0].n != 0


def test_labels_that_changed_since_are_refused(world, classes, tmp_path):
    """One more row cuts the parts elsewhere: who trained would be tested."""
    store, first = world
    path, table = tmp_path / "labels.csv", labelled.users_table().select("user_id", "group").drop_nulls()
    table.head(40).write_csv(path)
    recipe = classes.override({"sampling.file": str(path), "training.max_epochs": 1})
    run = finetune(first, store, recipe, tmp_path / "run")
    assert evaluate_head(run, store)[0].n == 8
    table.head(41).write_csv(path)
    with pytest.raises(MismatchError, match="those the run was trained with"):
        evaluate_head(run, store)


def test_another_store_and_a_run_without_a_head_are_refused(world, tuned, tmp_path):
    store, first = world
    with pytest.raises(MissingError, match="a run with a head; found one that was only pretrained"):
        evaluate_head(first, store)
    other = labelled.make_store(tmp_path / "other", users=labelled.users_table().head(30))
    with pytest.raises(MismatchError, match="the store of the run"):
        evaluate_head(tuned, other)


def test_a_probe_of_what_was_fine_tuned_warns(world, tuned):
    store, first = world
    with pytest.warns(UserWarning, match="fine-tuned on 'group'"):
        evaluate_attribute(tuned, store, "group")
    assert evaluate_attribute(tuned, store, "noise")[0].metric == "noise/accuracy"
    assert evaluate_attribute(first.path, store, "group")[0].n == 54
