"""Stages: one run after the other in one folder, resumed at any step; and runs that validate nothing."""

import os
import re
import shlex
import signal

import numpy as np
import pytest
import torch
from command import usermodel

from usermodel.encoders import io
from usermodel.encoders.transformer import TransformerConfig
from usermodel.errors import ConfigError, DataError, InterruptedRunError
from usermodel.objectives.next_item import NextItemConfig
from usermodel.training.ema import Ema
from usermodel.training.pretrain import pretrain
from usermodel.training.recipe import Recipe
from usermodel.training.run import Run
from usermodel.training.stages import take_over, weights_before


@pytest.fixture(scope="module")
def staged(recipe) -> Recipe:
    """Two stages before the run itself; the first has another read-out and validates nothing."""
    first = recipe.override({"training.monitor": "none", "training.max_epochs": 1, "encoder.readout": "mean"})
    second = recipe.override({"training.max_epochs": 1, "training.seed": 5})
    return recipe.override({"training.max_epochs": 2, "training.learning_rate": 1e-9}).model_copy(
        update={"stages": (first, second)}
    )


@pytest.fixture(scope="module")
def whole(store, staged, tmp_path_factory) -> Run:
    """An uninterrupted run; read-only."""
    return pretrain(store, staged, tmp_path_factory.mktemp("staged") / "run")


def weights(path) -> dict[str, torch.Tensor]:
    return io.load(path).module.state_dict()


def test_each_stage_is_a_run_that_begins_with_the_encoder_of_the_one_before(whole, staged):
    before, first = whole.path / "before", whole.path / "before" / "before"
    assert Run.open(before).recipe == staged.before()
    assert Run.open(first).recipe == staged.stages[0]
    assert not (first / "before").exists()
    # The last stage hardly moves, so it ends where the second one ended.
    ours, theirs = weights(whole.path), weights(before)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], atol=1e-5, rtol=1e-4)
    assert (weights(first)["items.weight"] - theirs["items.weight"]).abs().max() > 1e-3


@pytest.mark.parametrize("stage", [".", "before", "before/before"])
def test_the_command_on_the_model_card_of_a_stage_repeats_it(whole, store, tmp_path, run_facts, stage):
    done = Run.open(whole.path / stage)
    card = (done.path / "encoder" / "README.md").read_text()
    command = re.search(r"```bash\n(.*?)\n```", card, re.DOTALL)[1]
    (tmp_path / "recipe.json").write_text(re.search(r"```json\n(.*?)\n```", card, re.DOTALL)[1])
    program, *words = shlex.split(command)
    assert program == "usermodel"
    usermodel(*[{"STORE": store.folder}.get(word, word) for word in words], cwd=tmp_path)
    assert Run.open(tmp_path / "RUN").recipe == done.recipe
    assert run_facts(tmp_path / "RUN") == run_facts(done.path)


@pytest.mark.parametrize("steps", [1, 5, 9])
def test_a_signal_in_any_stage_and_resume_end_bit_for_bit(whole, store, staged, tmp_path, run_facts, steps):
    seen = []

    def watch(now):
        seen.append(now)
        if len(seen) == steps:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError):
        pretrain(store, staged, tmp_path / "run", on_progress=watch)
    run = pretrain(store, out=tmp_path / "run", resume=True)
    assert run.recipe == staged
    assert run_facts(run.path) == run_facts(whole.path)


def test_overwriting_removes_the_stages_of_the_old_run(store, staged, recipe, tmp_path):
    short = recipe.override({"training.max_epochs": 1})
    pretrain(store, short.model_copy(update={"stages": (short,)}), tmp_path / "run")
    pretrain(store, short, tmp_path / "run", overwrite=True)
    assert not (tmp_path / "run" / "before").exists()


def test_stages_are_part_of_the_recipe_and_its_keys_can_be_set(staged):
    assert Recipe.from_dict(staged.to_dict()) == staged
    changed = staged.override({"stages.1.training.seed": 9, "stages.0.encoder.dropout": 0.3})
    assert (changed.stages[1].training.seed, changed.stages[0].encoder.dropout) == (9, 0.3)
    assert changed.stages[1].encoder == staged.stages[1].encoder
    with pytest.raises(ConfigError, match=r"stages\.1\.training\.sed.*Did you mean 'seed'"):
        staged.override({"stages.1.training.sed": 9})
    with pytest.raises(ConfigError, match=r"stages\.2"):
        staged.override({"stages.2.training.seed": 9})


def test_stages_hold_out_the_same_events_and_have_none_of_their_own(recipe, staged):
    with pytest.raises(ValueError, match="stages of their own"):
        Recipe(stages=(staged,))
    with pytest.raises(ValueError, match=r"another in stages\.0"):
        Recipe(stages=(recipe.override({"data.split": "user-ratio"}),))


def test_an_encoder_of_another_width_is_refused_by_name(store, recipe, tmp_path):
    odd = recipe.override({"encoder.dim": 12, "encoder.heads": 1, "training.max_epochs": 1})
    seen = []
    for stages in ((odd,), (odd, recipe), (recipe, odd)):
        with pytest.raises(ConfigError, match="the item table of the stage before"):
            pretrain(
                store,
                recipe.model_copy(update={"stages": stages}),
                tmp_path / "run",
                on_progress=seen.append,
            )
    # Nothing was trained first, and the name is still free.
    assert not seen
    assert not list(tmp_path.iterdir())


def test_an_impossible_first_stage_is_refused_before_the_folder_is_made(store, recipe, tmp_path):
    odd = recipe.override({"training.monitor": "accuracy"})
    with pytest.raises(ConfigError, match=r"training\.monitor"):
        pretrain(store, recipe.model_copy(update={"stages": (odd,)}), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_what_both_encoders_have_is_taken_over():
    torch.manual_seed(0)
    one = TransformerConfig(dim=8, hidden=16, layers=2, mask_token=True).build(5)
    other = TransformerConfig(dim=8, hidden=16, layers=1, readout="attention").build(5)
    own = {name: value.clone() for name, value in other.state_dict().items()}
    take_over(other, one.state_dict())
    for name, value in other.state_dict().items():
        wanted = own[name] if name == "pooling.query" else one.state_dict()[name]
        assert torch.equal(value, wanted)


def test_an_average_begins_with_what_was_taken_over():
    module = torch.nn.Linear(2, 2)
    ema = Ema(module, 0.9)
    torch.nn.init.constant_(module.weight, 3.0)
    ema.restart()
    assert torch.equal(ema.average["weight"], module.weight)


def test_nothing_runs_before_a_recipe_without_stages(recipe, tmp_path):
    assert weights_before(recipe, tmp_path) is None


# ------------------------------------------------------------------------------------------------------- monitor=none


def test_without_a_monitor_the_last_weights_are_kept(store, recipe, tmp_path):
    run = pretrain(store, recipe.override({"training.monitor": "none"}), tmp_path / "run")
    assert (run.meta["best"], run.meta["best_epoch"]) == ({}, run.meta["epochs"])
    assert all("ndcg@10" not in row for row in run.history())
    assert np.isfinite([row["loss"] for row in run.history()]).all()


def test_without_a_monitor_no_validation_target_is_needed(store, recipe, tmp_path):
    changes = {"data.split": {"kind": "user-ratio", "valid": 0.0}, "training.max_epochs": 1}
    with pytest.raises(DataError, match="validation target"):
        pretrain(store, recipe.override(changes), tmp_path / "run")
    quiet = recipe.override(changes | {"training.monitor": "none"})
    assert pretrain(store, quiet, tmp_path / "run").meta["epochs"] == 1


def test_what_needs_a_monitor_is_refused_without_one(store, recipe, tmp_path):
    quiet = recipe.override({"training.monitor": "none"})
    with pytest.raises(ConfigError, match="a metric for schedule=plateau"):
        pretrain(store, quiet.override({"training.schedule": "plateau"}), tmp_path / "run")
    with pytest.raises(ConfigError, match="a metric of validate"):
        pretrain(store, quiet, tmp_path / "run", validate=lambda _: {"ndcg@10": 1.0})
    assert not (tmp_path / "run").exists()
    assert isinstance(quiet.objective, NextItemConfig)
