import fcntl
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from usermodel import manifest
from usermodel.encoders import io
from usermodel.encoders.transformer import TransformerConfig
from usermodel.errors import (
    ConfigError,
    DataError,
    IntegrityError,
    InterruptedRunError,
    MismatchError,
    MissingError,
    NumericError,
    OutputExistsError,
    StorageError,
)
from usermodel.training.pretrain import pretrain
from usermodel.training.recipe import Recipe
from usermodel.training.run import Run

LAZY = {"objective.loss": "sampled-softmax", "objective.n_negatives": 32, "training.row_updates": "lazy"}


class Foreign(TransformerConfig):
    """A configuration from outside the package."""


@pytest.fixture(scope="module")
def whole(store, recipe, tmp_path_factory) -> Run:
    """An uninterrupted run; read-only."""
    return pretrain(store, recipe, tmp_path_factory.mktemp("whole") / "run")


def eager(recipe: Recipe) -> Recipe:
    """A checkpoint after every step."""
    return recipe.override({"training.checkpoint_every_s": 1e-9})


def stop_after(steps: int, number: int = signal.SIGTERM):
    """Progress that sends this process a signal."""
    seen = []

    def watch(now):
        seen.append(now)
        if len(seen) == steps:
            os.kill(os.getpid(), number)

    return watch


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_of_a_run(whole, store, recipe):
    assert sorted(path.name for path in whole.path.iterdir()) == [
        "checkpoints", "config.json", "encoder", "manifest.json", "metrics.csv"
    ]  # fmt: skip
    assert Run.open(whole.path) == whole
    assert whole.recipe == recipe
    facts = manifest.read(whole.path, "run", verify=True)
    assert {"config.json", "metrics.csv", "encoder/model.safetensors"} <= facts.files.keys()
    assert whole.meta["store"]["content_hash"] == store.content_hash
    assert (whole.meta["epochs"], whole.meta["precision"]) == (3, "fp32")
    saved = io.load(whole.path)
    assert sum(weight.numel() for weight in saved.module.parameters()) == whole.meta["parameters"]
    assert saved.vocabulary.hash == store.vocabulary.hash


def test_the_encoder_is_the_one_of_the_best_epoch(whole):
    history = whole.history()
    assert len(history) == whole.meta["epochs"]
    best = max(history, key=lambda row: row["ndcg@10"])
    assert best["epoch"] == whole.meta["best_epoch"]
    assert best["ndcg@10"] == whole.meta["best"]["ndcg@10"]


def test_the_same_seed_gives_the_same_bits_and_another_does_not(whole, store, recipe, tmp_path, run_facts):
    again = pretrain(str(store.path), recipe, tmp_path / "again")
    assert run_facts(again.path) == run_facts(whole.path)
    other = pretrain(store, recipe.override({"training.seed": 1}), tmp_path / "other")
    assert run_facts(other.path)["weights"] != run_facts(whole.path)["weights"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops_and_resume_continues_bit_for_bit(
    whole, store, recipe, tmp_path, run_facts, number
):
    handlers = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
    for steps in (3, 4, 2):
        with pytest.raises(InterruptedRunError) as caught:
            pretrain(store, recipe, tmp_path / "run", resume=True, on_progress=stop_after(steps, number))
    assert caught.value.exit_code == 7
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 2
    assert not (tmp_path / "run" / "manifest.json").exists()
    run = pretrain(store, out=tmp_path / "run", resume=True)
    assert run.recipe == recipe
    assert run_facts(run.path) == run_facts(whole.path)


def wait_until(happened, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        time.sleep(0.001)


def test_the_second_signal_acts_as_it_always_did(store, recipe, tmp_path):
    def watch(_now):
        first = signal.getsignal(signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        # Python acts on a signal a moment later, and takes two that come before that for one.
        wait_until(lambda: signal.getsignal(signal.SIGINT) != first)
        os.kill(os.getpid(), signal.SIGINT)
        wait_until(lambda: False)

    with pytest.raises(KeyboardInterrupt):
        pretrain(store, recipe, tmp_path / "run", on_progress=watch)


def test_it_runs_in_a_thread_where_signals_cannot_be_caught(whole, store, recipe, tmp_path, run_facts):
    thread = threading.Thread(target=pretrain, args=(store, recipe, tmp_path / "run"))
    thread.start()
    thread.join()
    assert run_facts(tmp_path / "run") == run_facts(whole.path)


@pytest.mark.parametrize("changes", [{}, LAZY], ids=["dense", "lazy"])
def test_killed_at_random_moments_and_resumed_equals_uninterrupted(
    make_store, recipe, tmp_path, run_facts, changes
):
    """SIGKILL: nothing can be saved, nothing cleaned up. Each attempt must get a step further before it is killed."""
    # So many items that lazy updates leave most rows alone.
    store = make_store(tmp_path / "store", users=60, items=400 if changes else 20)
    longer = eager(recipe).override({"training.max_epochs": 10, "training.patience": 10} | changes)
    wanted = pretrain(store, longer, tmp_path / "whole")
    out = tmp_path / "run"
    chance = random.Random(0)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["usermodel.training.pretrain"])

    def start():
        process = context.Process(
            target=pretrain, args=(str(store.path), longer, str(out)), kwargs={"resume": True}
        )
        process.start()
        return process

    reached, kills = 0, 0
    while kills < 5:
        process = start()
        goal = reached + chance.randint(1, 5)
        while process.is_alive() and steps_saved(out) < goal:
            time.sleep(0.0005)
        time.sleep(chance.uniform(0, 0.004))
        process.kill()
        process.join()
        if process.exitcode != -signal.SIGKILL:
            break
        kills, reached = kills + 1, steps_saved(out)
    assert kills >= 3, "the run was over before it could be killed"
    process = start()
    process.join()
    assert process.exitcode == 0
    assert run_facts(out) == run_facts(wanted.path)
    assert [path.name for path in out.rglob("*") if ".tmp-" in path.name] == []


def steps_saved(out: Path) -> int:
    return max((int(path.name[5:]) for path in (out / "checkpoints").glob("step-*")), default=0)


def test_a_damaged_latest_checkpoint_is_skipped_with_a_warning(whole, store, recipe, tmp_path, run_facts):
    with pytest.raises(InterruptedRunError):
        pretrain(store, eager(recipe), tmp_path / "run", on_progress=stop_after(6))
    latest = max((tmp_path / "run" / "checkpoints").iterdir())
    (latest / "model.safetensors").write_bytes(b"not a tensor")
    with pytest.warns(RuntimeWarning, match=f"skipped a damaged checkpoint: .*{latest.name}"):
        run = pretrain(store, out=tmp_path / "run", resume=True)
    assert run_facts(run.path) == run_facts(whole.path)


def test_all_checkpoints_damaged_is_an_error(store, recipe, tmp_path):
    with pytest.raises(InterruptedRunError):
        pretrain(store, eager(recipe), tmp_path / "run", on_progress=stop_after(6))
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        (path / "state.json").write_text("{}")
    before = snapshot(tmp_path / "run")
    with pytest.raises(IntegrityError, match="an intact checkpoint"):
        pretrain(store, out=tmp_path / "run", resume=True)
    assert snapshot(tmp_path / "run") == before


def test_a_finished_run_is_returned_at_once(whole, store, recipe):
    before = snapshot(whole.path)
    for given in (recipe, None):
        assert pretrain(store, given, whole.path, resume=True, on_progress=pytest.fail) == whole
    assert snapshot(whole.path) == before


def test_a_run_that_was_killed_between_its_last_step_and_its_manifest_is_finished(
    whole, store, recipe, tmp_path, run_facts
):
    run = pretrain(store, recipe, tmp_path / "run")
    (run.path / "manifest.json").unlink()
    (run.path / "metrics.csv").write_text("half a row")
    again = pretrain(store, out=run.path, resume=True, on_progress=pytest.fail)
    assert run_facts(again.path) == run_facts(whole.path)


def test_resume_where_there_is_nothing_starts_anew(whole, store, recipe, tmp_path, run_facts):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".config.json.tmp-1-abcd").write_text("a writer that was killed at once")
    run = pretrain(store, recipe, tmp_path / "run", resume=True)
    assert run_facts(run.path) == run_facts(whole.path)


def test_resume_with_another_recipe_names_the_key(whole, store, recipe):
    changed = recipe.override({"training.learning_rate": 0.5})
    with pytest.raises(ConfigError, match=r"found training\.learning_rate = 0\.5, where the run has 0\.01"):
        pretrain(store, changed, whole.path, resume=True)


def test_resume_with_another_store_is_refused(whole, recipe, tmp_path, make_store, store):
    other = make_store(tmp_path / "other", users=60, seed=1)
    assert other.n_items == store.n_items
    with pytest.raises(
        MismatchError, match=f"expected the store it was trained on .*{other.content_hash[:12]}"
    ):
        pretrain(other, recipe, whole.path, resume=True)
    with pytest.raises(InterruptedRunError):
        pretrain(store, recipe, tmp_path / "run", on_progress=stop_after(2))
    with pytest.raises(MismatchError, match=f"expected to resume on store {store.content_hash[:12]}"):
        pretrain(other, recipe, tmp_path / "run", resume=True)


def test_resume_in_a_folder_that_is_no_run_is_refused(store, recipe, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="expected a run to resume"):
        pretrain(store, recipe, tmp_path, resume=True)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("content", ["notes.txt", "config.json"])
def test_a_foreign_folder_is_never_touched(store, recipe, tmp_path, overwrite, content):
    """Many programs write a config.json; one of ours names its class."""
    (tmp_path / content).write_text('{"hidden_size": 768}')
    with pytest.raises(OutputExistsError, match="is no run" if overwrite else "--overwrite"):
        pretrain(store, recipe, tmp_path, overwrite=overwrite)
    assert snapshot(tmp_path) == {content: b'{"hidden_size": 768}'}


def test_an_existing_run_or_file_is_not_touched_without_overwrite(whole, store, recipe, tmp_path):
    before = snapshot(whole.path)
    with pytest.raises(OutputExistsError, match="--resume, or replace it with --overwrite"):
        pretrain(store, recipe, whole.path)
    assert snapshot(whole.path) == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputExistsError, match="found a file"):
        pretrain(store, recipe, tmp_path / "file", overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"


def test_overwrite_replaces_the_run_and_nothing_beside_it(whole, store, recipe, tmp_path, run_facts):
    out = pretrain(
        store, recipe.override({"training.seed": 5, "training.max_epochs": 1}), tmp_path / "run"
    ).path
    (out / "notes.txt").write_text("mine")
    run = pretrain(store, recipe, out, overwrite=True)
    assert run_facts(run.path) == run_facts(whole.path)
    assert (out / "notes.txt").read_text() == "mine"


def test_a_request_that_cannot_be_met_leaves_the_old_run(store, recipe, tmp_path, make_store):
    run = pretrain(store, recipe.override({"training.max_epochs": 1}), tmp_path / "run")
    before = snapshot(run.path)
    lonely = make_store(tmp_path / "lonely", users=1)
    with pytest.raises(DataError):
        pretrain(lonely, recipe, run.path, overwrite=True)
    with pytest.raises(ConfigError):
        pretrain(store, recipe.override({"encoder.causal": False}), run.path, overwrite=True)
    assert snapshot(run.path) == before


def test_overwriting_that_is_killed_half_way_leaves_something_to_overwrite_or_resume(
    whole, store, recipe, tmp_path, run_facts, monkeypatch
):
    run = pretrain(store, recipe.override({"training.max_epochs": 1}), tmp_path / "run")

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("usermodel.training.folders.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            pretrain(store, recipe, run.path, overwrite=True)
    with pytest.raises(MissingError, match="an unfinished one"):
        Run.open(run.path)
    with pytest.raises(ConfigError, match="max_epochs"):
        pretrain(store, recipe, run.path, resume=True)
    assert run_facts(pretrain(store, recipe, run.path, overwrite=True).path) == run_facts(whole.path)


def test_too_few_users_is_an_error_and_leaves_no_folder(recipe, tmp_path, make_store):
    with pytest.raises(
        DataError, match="expected at least 2 users with 2 training events each; found 1 of 1 users"
    ):
        pretrain(make_store(tmp_path / "lonely", users=1, seed=3), recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_second_process_in_the_same_folder_is_refused(store, recipe, tmp_path):
    with pytest.raises(InterruptedRunError):
        pretrain(store, recipe, tmp_path / "run", on_progress=stop_after(2))
    handle = os.open(tmp_path / "run", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    before = snapshot(tmp_path / "run")
    with pytest.raises(OutputExistsError, match="another process trains now"):
        pretrain(store, recipe, tmp_path / "run", resume=True)
    assert snapshot(tmp_path / "run") == before
    os.close(handle)
    assert pretrain(store, recipe, tmp_path / "run", resume=True).meta["epochs"] == 3


def test_a_recipe_with_classes_from_outside_runs_and_resumes(store, recipe, tmp_path):
    """No permission is needed for what the caller hands over; a file alone still needs it."""
    config = Foreign.model_validate(recipe.encoder.model_dump())
    mine = Recipe(encoder=config, training=recipe.training)
    with pytest.raises(InterruptedRunError):
        pretrain(store, mine, tmp_path / "run", on_progress=stop_after(2))
    with pytest.raises(ConfigError, match=f"--allow-module {Foreign.__module__}"):
        pretrain(store, out=tmp_path / "run", resume=True)
    for _ in range(2):
        run = pretrain(store, mine, tmp_path / "run", resume=True)
        assert type(run.recipe.encoder) is Foreign
    assert pretrain(store, out=tmp_path / "run", resume=True, allow_modules=[Foreign.__module__]) == run
    assert type(Run.open(tmp_path / "run", allow_modules=[Foreign.__module__]).recipe.encoder) is Foreign


def test_a_custom_validation_decides_which_weights_are_kept(store, recipe, tmp_path):
    seen = []

    def validate(encoder):
        seen.append(encoder.item_vectors().detach().clone())
        return {"ndcg@10": -len(seen)}

    run = pretrain(store, recipe, tmp_path / "run", validate=validate)
    assert run.meta["best_epoch"] == 1
    assert torch.equal(io.load(run).module.item_vectors(), seen[0])


def test_after_a_numeric_error_the_run_can_be_looked_at_and_replaced(store, recipe, tmp_path):
    wild = eager(recipe).override({"training.learning_rate": 1e30})
    with pytest.raises(NumericError, match="expected a finite number"):
        pretrain(store, wild, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["training"]["learning_rate"] == 1e30
    assert pretrain(store, recipe, tmp_path / "run", overwrite=True).meta["epochs"] == 3


def test_a_full_disk_ends_the_run_with_5_and_resume_continues_bit_for_bit(
    whole, store, recipe, tmp_path, run_facts
):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    seen = []

    def watch(now):
        seen.append(now)
        if len(seen) == 6:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))

    try:
        with pytest.raises(StorageError, match="expected room for a checkpoint of") as caught:
            pretrain(store, eager(recipe), tmp_path / "run", on_progress=watch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.exit_code == 5
    assert steps_saved(tmp_path / "run") == len(seen) - 1
    run = pretrain(store, out=tmp_path / "run", resume=True)
    assert run_facts(run.path) == run_facts(whole.path)


def test_without_room_an_old_run_is_not_removed(store, recipe, tmp_path, monkeypatch):
    run = pretrain(store, recipe, tmp_path / "run")
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100_000))
    wider = recipe.override({"encoder.dim": 64})
    with pytest.raises(StorageError, match=r"expected room for a run of up to [\d,]+ bytes; found") as caught:
        pretrain(store, wider, tmp_path / "run", overwrite=True)
    assert caught.value.exit_code == 5
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before
    # What is replaced counts as free.
    assert pretrain(store, recipe, tmp_path / "run", overwrite=True).meta["epochs"] == 3


def test_an_encoder_larger_than_memory_is_refused_in_words(store, recipe, tmp_path):
    with pytest.raises(ConfigError, match="encoder: expected one that fits into memory"):
        pretrain(store, recipe.override({"encoder.dim": 1 << 40}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_option_of_another_schedule_is_refused_before_anything_is_written(store, recipe, tmp_path):
    odd = recipe.override({"training.plateau_drops": 3})
    with pytest.raises(
        ConfigError, match=r"training\.plateau_drops: expected no value without schedule=plateau"
    ):
        pretrain(store, odd, tmp_path / "run")
    assert not (tmp_path / "run").exists()
