"""The published protocol on TTL, as benchmarks/quality/ttl.py runs it, on invented files in the owner's format."""

import importlib.util
import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from command import usermodel

from usermodel.heads import io as heads
from usermodel.store.sequence_store import SequenceStore
from usermodel.training.run import Run

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "quality" / "ttl.py"
N_USERS = 50


def write_files(folder: Path) -> None:
    """Lines of clicks with filler, and each user's answers: no two lines are equal, and some users have no answer."""
    rng = np.random.default_rng(0)
    lines = [
        [0] * int(rng.integers(3)) + [100 + user, *rng.integers(1, 40, rng.integers(1, 9)).tolist()]
        for user in range(N_USERS)
    ]
    text = [",".join(map(str, line)) for line in lines]
    (folder / "original_desen_pretrain.csv").write_text("\n".join(text) + "\n")
    for name, classes in (("age", 8), ("lifestatus", 6)):
        rows = [f"{line},,{user % classes}" for user, line in enumerate(text) if user % 11]
        (folder / f"original_desen_{name}.csv").write_text("\n".join(rows) + "\n")
    for name, things in (("click", 30), ("like", 12)):
        rows = [
            f"{line},,{','.join(map(str, rng.choice(things, 1 + user % 4, replace=False)))}"
            for user, line in enumerate(text)
        ]
        (folder / f"original_desen_finetune_{name}_nouserID.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture
def ttl(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    spec = importlib.util.spec_from_file_location("ttl_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_four_tasks_from_the_owners_files(ttl, tmp_path, monkeypatch):
    (tmp_path / "raw").mkdir()
    write_files(tmp_path / "raw")
    seen, recipes = {}, {}

    def run(command, folder):
        """In this process: ten starts of Python take longer than all the rest."""
        usermodel(*shlex.split(command)[1:], cwd=folder)
        words = shlex.split(command)
        if words[1] == "data":
            store = SequenceStore.open(folder / "store")
            seen.update(n_users=store.n_users, tasks=store.table("labels")["task"].value_counts().rows())
        elif words[1] in ("pretrain", "finetune"):
            made = Run.open(folder / words[words.index("-o") + 1])
            recipes[made.path.name] = made.recipe
            if words[1] == "finetune":
                seen[made.path.name] = len(heads.load(made.path / "head").answers)
        return 1.0

    monkeypatch.setattr(ttl, "run", run)
    out = tmp_path / "ttl.json"
    argv = ["ttl.py", "--data-dir", str(tmp_path / "raw"), "--steps", "2", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", argv)
    ttl.main()

    assert seen["n_users"] == N_USERS
    assert dict(seen["tasks"]) == {
        name: sum(1 + user % 4 for user in range(N_USERS)) for name in ("click", "like")
    }
    assert (seen["age0"], seen["life_status0"], seen["click0"], seen["like0"]) == (8, 6, 30, 12)
    result = json.loads(out.read_text())
    assert set(result["tasks"]) == {"age", "life_status", "click", "like"}
    n_labelled = sum(bool(user % 11) for user in range(N_USERS))
    n_choices = dict(seen["tasks"])["click"]
    for name, one in result["tasks"].items():
        rows = n_labelled if name in ("age", "life_status") else n_choices
        assert one["n"] == rows - int(rows * 0.6) - int(rows * 0.2)
        metric = "accuracy" if name in ("age", "life_status") else "ndcg@10"
        assert 0 <= one[metric]["mean"] <= 1
    assert len(result["commands"]) == len(result["seconds"]) == 2 + 2 * 4
    check_published_settings(recipes)


def check_published_settings(recipes) -> None:
    """Sections A3 to A6: stages, widths, rates, batches, epochs, dropout, and what chooses the epoch."""
    second = recipes["run0"]
    for stage, dropout, rate in ((second.stages[0], 0.5, 5e-4), (second, 0.1, 2e-4)):
        assert (stage.encoder.dropout, stage.encoder.attention_dropout) == (dropout, dropout)
        assert (stage.encoder.dim, stage.encoder.hidden, stage.encoder.layers) == (64, 256, 2)
        assert (stage.encoder.heads, stage.encoder.max_history) == (2, 150)
        assert (stage.training.learning_rate, stage.training.batch_users) == (rate, 128)
        assert (stage.training.max_epochs, stage.training.monitor) == (20, "none")
        assert stage.data.split.kind == "user-ratio"
    published = {"age": (2e-4, 128), "life_status": (1e-4, 128), "click": (5e-4, 512), "like": (5e-4, 128)}
    for name, (rate, batch) in published.items():
        last = recipes[f"{name}0"]
        assert (last.training.learning_rate, last.training.batch_users) == (rate, batch)
        assert (last.training.max_epochs, last.encoder.dropout, last.encoder.attention_dropout) == (
            5,
            0.5,
            0.5,
        )
        assert (last.training.optimiser, last.training.weight_decay) == ("adam", 0)
        assert last.training.schedule == "constant"
        chosen_by = "accuracy" if name in ("age", "life_status") else "ndcg@10"
        assert last.training.monitor == chosen_by
        assert (last.objective.hidden, last.objective.freeze) == (64, False)
        assert (last.sampling.parts.train, last.sampling.parts.valid) == (0.6, 0.2)
        assert len(last.stages) == 2


def test_an_event_that_is_held_out_is_noticed(ttl, tmp_path, monkeypatch):
    (tmp_path / "raw").mkdir()
    write_files(tmp_path / "raw")
    usermodel("data", "prepare", "tencent-ttl", "--from", "raw", "-o", "store", cwd=tmp_path)
    ttl.require_nothing_held_out(tmp_path / "store")
    monkeypatch.setattr(ttl, "SPLIT", ttl.UserRatioConfig(valid=0.0, test=0.3))
    with pytest.raises(SystemExit, match=r"events of .* are held out"):
        ttl.require_nothing_held_out(tmp_path / "store")
