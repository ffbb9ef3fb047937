"""Runs of two processes: the curve of one, the bits of an uninterrupted run, and a name for who is gone."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from usermodel.encoders.encode import batches
from usermodel.encoders.io import load
from usermodel.errors import ConfigError, InterruptedRunError, LostProcessError
from usermodel.events.simulate import SimulateConfig, simulate
from usermodel.objectives.next_item import NextItemConfig
from usermodel.store.build import build_store
from usermodel.training import processes, validation
from usermodel.training.pretrain import pretrain
from usermodel.training.processes import Team
from usermodel.training.progress import Progress
from usermodel.training.recipe import Recipe, TrainingConfig
from usermodel.training.run import Run, write_recipe

TIMEOUT_S = 8.0
#: A process that has not given up after this hangs; the promise is 5 s after the timeout, on a machine that is not busy.
MOST_S = TIMEOUT_S + 300.0


@pytest.fixture(scope="module")
def two(recipe) -> Recipe:
    """Two processes; dropout is on, so each must draw numbers of its own and the same ones again."""
    changes = {
        "devices": 2,
        "timeout_s": 60.0,
        "ema": 0.9,
        "schedule": "cosine",
        "warmup_steps": 2,
        "clip_norm": 1.0,
    }
    return recipe.override({f"training.{key}": value for key, value in changes.items()})


@pytest.fixture(scope="module")
def whole(store, two, tmp_path_factory) -> Run:
    """An uninterrupted run of two processes."""
    return pretrain(store, two, tmp_path_factory.mktemp("two") / "run")


def worker() -> int:
    """Process id of the other rank."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    (found,) = [
        pid for pid in children if b"usermodel.training.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return int(found)


def send(number: int, after: int):
    """Progress that sends the other rank a signal after so many steps."""
    seen = []

    def watch(now):
        seen.append(now)
        if len(seen) == after:
            os.kill(worker(), number)

    return watch


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


SHORT = {"training.max_steps": 60, "training.learning_rate": 0.01}
#: The same batch in the two parts that two processes would take.
IN_PARTS = {"training.accumulate": 2, "training.batch_events": 64}
#: Loss -> changes to the recipe, further ones for the run of one process.
BY_LOSS = {
    # Nothing is drawn, so it does not matter how a batch is cut.
    "softmax": ({"training.max_steps": 200, "encoder.dropout": 0.0}, {}),
    # Each part draws negatives and dropout of its own, so the parts must be the same.
    "sampled-softmax": ({"objective.n_negatives": 32, **SHORT}, IN_PARTS),
    "gbce": ({"objective.n_negatives": 8, "negatives.shared": False, **SHORT}, IN_PARTS),
}


# Few steps of a small encoder at a high rate may end in vectors that have much in common; both runs then warn alike.
@pytest.mark.filterwarnings("ignore:collapse:RuntimeWarning")
@pytest.mark.slow
@pytest.mark.parametrize("loss", BY_LOSS)
def test_two_processes_take_the_steps_of_one(tmp_path, loss):
    further, alone = BY_LOSS[loss]
    simulate(SimulateConfig(n_users=150, n_items=200, n_events=3_000), tmp_path / "logs")
    store = build_store(tmp_path / "logs" / "events.parquet", tmp_path / "store")
    recipe = Recipe().override(
        {
            "encoder.dim": 16, "encoder.hidden": 16, "encoder.layers": 1, "training.precision": "fp32",
            "training.batch_events": 128, "training.patience": 1000, "objective.loss": loss, **further,
        }
    )  # fmt: skip
    curves, steps = [], further["training.max_steps"]
    for devices in (1, 2):
        seen: list[Progress] = []
        changes = {"training.devices": devices} | (alone if devices == 1 else {})
        run = pretrain(store, recipe.override(changes), tmp_path / f"run{devices}", on_progress=seen.append)
        assert (run.meta["steps"], run.meta["processes"]) == (steps, devices)
        curves.append(([now.loss for now in seen], [row["loss"] for row in run.history()]))
    for one, other in zip(*curves, strict=True):
        assert other == pytest.approx(one, rel=1e-5)
    # One for each step, and one more where the last step does not end an epoch.
    assert len(curves[0][0]) in {steps, steps + 1}
    assert curves[0][0][-1] < 0.97 * curves[0][0][0]


def test_sigterm_at_one_rank_stops_all_and_resume_continues_bit_for_bit(
    whole, store, two, tmp_path, run_facts
):
    with pytest.raises(InterruptedRunError) as caught:
        pretrain(store, two, tmp_path / "run", on_progress=send(signal.SIGTERM, 4))
    assert caught.value.exit_code == 7
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 1
    assert not (tmp_path / "run" / "manifest.json").exists()
    run = pretrain(store, out=tmp_path / "run", resume=True)
    assert run_facts(run.path) == run_facts(whole.path)


def test_a_killed_rank_is_named_and_resume_continues_bit_for_bit(whole, store, two, tmp_path, run_facts):
    eager = two.override({"training.checkpoint_every_s": 1e-9})
    before = {key: value for key, value in os.environ.items() if key != "PYTEST_CURRENT_TEST"}
    with pytest.raises(
        LostProcessError, match=r"expected 2 processes; found process 1 gone or not answering\. .* --resume"
    ):
        pretrain(store, eager, tmp_path / "run", on_progress=send(signal.SIGKILL, 5))
    assert {key: value for key, value in os.environ.items() if key != "PYTEST_CURRENT_TEST"} == before
    run = pretrain(store, out=tmp_path / "run", resume=True)
    assert run_facts(run.path)["weights"] == run_facts(whole.path)["weights"]


@pytest.mark.slow
def test_a_stopped_rank_is_named_after_the_timeout_and_resume_continues_bit_for_bit(
    whole, store, two, tmp_path, run_facts, record_property
):
    changes = {"training.checkpoint_every_s": 1e-9, "training.timeout_s": TIMEOUT_S}
    stopped = []

    def watch(now):
        if not stopped and now.epoch == 2:
            stopped.extend([worker(), time.monotonic()])
            os.kill(stopped[0], signal.SIGSTOP)

    with pytest.raises(LostProcessError, match="found process 1 gone or not answering") as caught:
        pretrain(store, two.override(changes), tmp_path / "run", on_progress=watch)
    waited_s = time.monotonic() - stopped[1]
    record_property("waited_s", waited_s)
    assert TIMEOUT_S <= waited_s < MOST_S
    assert caught.value.exit_code == 7
    assert gone(stopped[0])
    run = pretrain(store, out=tmp_path / "run", resume=True)
    assert run_facts(run.path)["weights"] == run_facts(whole.path)["weights"]


def test_two_processes_validate_what_one_does(two, tmp_path, make_store, monkeypatch):
    """On more histories than are encoded at once, so that both have some."""
    store = make_store(tmp_path / "store", users=3_000)
    recipe = two.override({"training.max_epochs": 1, "training.max_steps": 3, "encoder.dropout": 0.0})
    encode, mine = validation.encode, []

    def spy(encoder, store, examples, **options):
        mine.extend(examples.user.tolist())
        return encode(encoder, store, examples, **options)

    monkeypatch.setattr(validation, "encode", spy)
    run = pretrain(store, recipe, tmp_path / "run")
    monkeypatch.undo()
    users, rows = store.split().targets("valid")
    assert len(batches(np.minimum(rows - store.offsets[users], 8))) >= 2
    assert 0 < len(mine) < len(users)
    encoder = load(run.path / "encoder").module
    alone = validation.next_item_validation(store, store.split(), 8, "ndcg@10")(encoder)
    (row,) = run.history()
    assert {name: row[name] for name in alone} == alone


def test_a_validation_of_the_callers_own_runs_here_and_counts_everywhere(store, two, tmp_path):
    values = iter([0.2, 0.9, 0.1])
    places = []

    def validate(encoder):
        places.append(os.getpid())
        return {"ndcg@10": next(values), "mine": 1.0}

    run = pretrain(store, two, tmp_path / "run", validate=validate)
    assert places == [os.getpid()] * 3
    assert [(row["ndcg@10"], row["mine"]) for row in run.history()] == [(0.2, 1.0), (0.9, 1.0), (0.1, 1.0)]
    assert run.meta["best_epoch"] == 2


class Elsewhere(NextItemConfig):
    """An objective that other processes cannot import."""


def test_a_process_that_cannot_start_is_named_at_once(store, two, tmp_path, monkeypatch):
    monkeypatch.setattr(Elsewhere, "__module__", "nowhere_to_be_found")
    recipe = Recipe(encoder=two.encoder, objective=Elsewhere(), training=two.training)
    with pytest.raises(LostProcessError, match="found process 1 ended with code 2 before it was connected"):
        pretrain(store, recipe, tmp_path / "run")


@pytest.mark.parametrize(
    ("said", "found"),
    [("None", "only 1 connected"), ("store.add('here', 1)", "process 1 gone or not answering")],
    ids=["before it is here", "before it is in the group"],
)
def test_a_process_that_hangs_while_all_connect_is_given_up(monkeypatch, said, found):
    def start(self, words, port):
        code = f"import time, torch; store = torch.distributed.TCPStore('127.0.0.1', {port}); {said}; time.sleep(600)"
        self.children.append(subprocess.Popen([sys.executable, "-c", code]))

    monkeypatch.setattr(Team, "_start", start)
    monkeypatch.setattr(processes, "START_S", 1.0 if said == "None" else 300.0)
    team = Team(TrainingConfig(devices=2, timeout_s=1.0))
    with pytest.raises(LostProcessError, match=f"expected 2 processes; found {found}"), team.together(()):
        pass
    assert team.children == []


def command(*words: str, cwd: Path, launcher: tuple[str, ...] = ()) -> subprocess.Popen:
    root = str(Path(__file__).parents[2])
    variables = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    start = [sys.executable, *(launcher or ("-m",)), *(("-m",) if launcher else ()), "usermodel", *words]
    return subprocess.Popen(start, cwd=cwd, env=variables, stderr=subprocess.PIPE, text=True)


def write_recipe_file(recipe: Recipe, folder: Path) -> None:
    write_recipe(recipe, folder / "recipe.json")


def exit_status(pid: int) -> int | None:
    """Exit code of a process that has ended, or -1 if its parent has already asked for it; None before that."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return -1
    return int(words[-1]) >> 8 if words[0] in "ZX" else None


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_when_rank_0_is_gone_the_other_says_so_and_ends(store, two, tmp_path, number, record_property):
    changes = {"max_epochs": 100_000, "patience": 100_000, "timeout_s": TIMEOUT_S, "checkpoint_every_s": 1e-9}
    write_recipe_file(two.override({f"training.{key}": value for key, value in changes.items()}), tmp_path)
    main = command("pretrain", str(store.path), "-o", "run", "--recipe", "recipe.json", cwd=tmp_path)
    until = time.monotonic() + 600
    while time.monotonic() < until and not list((tmp_path / "run" / "checkpoints").glob("step-*[1-9]?")):
        time.sleep(0.05)
    (other,) = Path(f"/proc/{main.pid}/task/{main.pid}/children").read_text().split()
    main.send_signal(number)
    began = time.monotonic()
    while (status := exit_status(int(other))) is None and time.monotonic() - began < MOST_S:
        time.sleep(0.1)
    waited_s = time.monotonic() - began
    record_property("waited_s", waited_s)
    main.kill()
    _, said = main.communicate()
    assert re.search(r"expected 2 processes; found process 0 gone or not answering", said)
    # Whoever adopts the child of a killed process may have asked.
    assert status in ({7} if number == signal.SIGSTOP else {7, -1})
    assert_goes_on(store, tmp_path / "run")


def assert_goes_on(store, folder: Path) -> None:
    """The run has an intact checkpoint, from which it is continued for a step."""
    seen: list[Progress] = []

    def watch(now):
        seen.append(now)
        if len(seen) == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError):
        pretrain(store, out=folder, resume=True, on_progress=watch)
    assert seen[0].epoch >= 2


@pytest.mark.slow
def test_torchrun_and_our_own_start_give_the_same_run(whole, store, two, tmp_path, run_facts):
    write_recipe_file(two.override({"training.devices": 1}), tmp_path)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    words = ("pretrain", str(store.path), "-o", "run", "--recipe", "recipe.json")
    process = command(*words, cwd=tmp_path, launcher=launcher)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert said.count("finished after 3 epochs") == 1
    assert run_facts(tmp_path / "run") == run_facts(whole.path)
    again = command(*words, "--resume", cwd=tmp_path, launcher=launcher)
    again.communicate(timeout=300)
    assert again.returncode == 0


def test_what_torchrun_says_about_the_number_of_processes_wins(monkeypatch):
    for name, value in {
        "TORCHELASTIC_RUN_ID": "x",
        "WORLD_SIZE": "4",
        "RANK": "3",
        "MASTER_PORT": "1",
        "LOCAL_WORLD_SIZE": "2",
        "LOCAL_RANK": "1",
        "GROUP_RANK": "1",
    }.items():
        monkeypatch.setenv(name, value)
    team = Team(TrainingConfig())
    assert (team.rank, team.world, team.is_main) == (3, 4, False)
    with pytest.raises(
        ConfigError, match=r"training\.devices: expected the 4 processes that torchrun started; found 2"
    ):
        Team(TrainingConfig(devices=2))


def test_a_team_of_one_adds_up_nothing():
    team = Team(TrainingConfig())
    weight = torch.nn.Parameter(torch.ones(2))
    with team.together(()):
        team.sum_gradients([weight])
        assert weight.grad is None
        assert team.sum(torch.tensor([2.0])).tolist() == [2.0]
        assert team.share({"a": np.float64(1.5)}) == {"a": 1.5}
