"""What training says to input that does not fit: one sentence, an exit code, and everything that was there still is."""

import re
import resource
import shutil
import sys
from pathlib import Path

import pytest
from tiny import RECIPE, frame, make_run, make_store

from usermodel.cli.main import main
from usermodel.errors import InterruptedRunError
from usermodel.store.sequence_store import SequenceStore
from usermodel.training.pretrain import pretrain
from usermodel.training.run import Run

#: Encoders that do not listen to how many items there are.
OWN = """
from usermodel.encoders.catalogue import Catalogue
from usermodel.encoders.mean_pool import MeanPool, MeanPoolConfig
from usermodel.training.recipe import Recipe

class NarrowConfig(MeanPoolConfig):
    def build_for(self, catalogue):
        return MeanPool(self, Catalogue(5))

class WideConfig(MeanPoolConfig):
    def build_for(self, catalogue):
        return MeanPool(self, Catalogue(catalogue.n_items + 1))

def narrow():
    return Recipe(encoder=NarrowConfig())

def wide():
    return Recipe(encoder=WideConfig())
"""
TOML = 'base = "next-item"\n[encoder]\ndimm = 8\n'

REPLACE = ("-o", "run", "--overwrite")
EXISTS = (
    "{out}: expected a folder that does not exist yet; found one that is not empty. "
    "Choose another name, continue it with --resume, or replace it with --overwrite."
)
TABLE = (
    "encoder: expected an item table for the 25 items of store; found one for {found}. "
    "Let {name} build one for as many items as it is told."
)
#: Words of the command, exit code, all of the message as a regular expression.
CASES = {
    "another vocabulary, finished run": (
        ("other", "-o", "run", "--resume"),
        2,
        r"run: expected the store it was trained on \(\w{12}\); found store \w{12}\. Start a new run on this store\.",
    ),
    "another vocabulary, interrupted run": (
        ("other", "-o", "cut", "--resume"),
        2,
        (r"cut/checkpoints/step-0000000004: expected to resume on store \w{12}; found store \w{12}\. "
        r"Name the store the run was started with, or start a new run\."),
    ),
    "a store that has grown since": (
        ("grown", "-o", "cut", "--resume"),
        2,
        r"cut/checkpoints/step-0000000004: expected to resume on store \w{12}; found .*",
    ),
    "more items than the table, new run": (
        ("store", "-o", "new", "--recipe", "tables_under_test:narrow"),
        2,
        re.escape(TABLE.format(found=5, name="NarrowConfig")),
    ),
    "more items than the table, old run": (
        ("store", *REPLACE, "--recipe", "tables_under_test:narrow"),
        2,
        re.escape(TABLE.format(found=5, name="NarrowConfig")),
    ),
    "fewer items than the table": (
        ("store", *REPLACE, "--recipe", "tables_under_test:wide"),
        2,
        re.escape(TABLE.format(found=26, name="WideConfig")),
    ),
    "unknown key": (
        ("store", *REPLACE, "--set", "encoder.dimm=8"),
        2,
        r"encoder\.dimm: expected a key of TransformerConfig; found an unknown key 'dimm'\. Did you mean 'dim'\?",
    ),
    "unknown group": (
        ("store", *REPLACE, "--set", "trainig.seed=8"),
        2,
        r"trainig\.seed: expected a key of Recipe; found an unknown key 'trainig'\. Did you mean 'training'\?",
    ),
    "unknown key in TOML": (
        ("store", *REPLACE, "--recipe", "mine.toml"),
        2,
        r"encoder\.dimm: expected a key of TransformerConfig; found an unknown key 'dimm'\. Did you mean 'dim'\?",
    ),
    "unknown key in JSON": (
        ("store", *REPLACE, "--recipe", "unknown.json"),
        2,
        r"training\.max_epoch: expected a key of TrainingConfig; found an unknown key\. Did you mean 'max_epochs'\?",
    ),
    "wrong type": (
        ("store", *REPLACE, "--set", "encoder.dim=wide"),
        2,
        r"encoder\.dim: expected a valid integer; found 'wide'\. Change the value\.",
    ),
    "wrong type in JSON": (
        ("store", *REPLACE, "--recipe", "type.json"),
        2,
        r"training\.max_epochs: expected a valid integer; found 2\.5\. Change the value\.",
    ),
    "wrong choice": (
        ("store", *REPLACE, "--set", "objective.loss=softmx"),
        2,
        r"objective\.loss: expected 'auto', .* or 'warp'; found 'softmx'\. Did you mean 'softmax'\?",
    ),
    "a run is there": (("store", "-o", "run"), 2, re.escape(EXISTS.format(out="run"))),
    "a folder is there": (("store", "-o", "mine"), 2, re.escape(EXISTS.format(out="mine"))),
    "a folder to replace": (
        ("store", "-o", "mine", "--overwrite"),
        2,
        r"mine: expected a run to replace; found a folder that is no run\. Move it away, or choose another name\.",
    ),
    "a folder to resume": (
        ("store", "-o", "mine", "--resume"),
        2,
        r"mine: expected a run to resume; found a folder without config\.json\. Name the folder of a run, or an empty one\.",
    ),
    "a file is there": (
        ("store", "-o", "mine.toml", "--overwrite"),
        2,
        r"mine\.toml: expected a folder, or nothing yet; found a file\. Choose another name\.",
    ),
    "a file where a folder should be": (
        ("store", "-o", "mine.toml/run"),
        5,
        r"mine\.toml/run: expected a place that can be written; found Not a directory\. Choose another place\.",
    ),
    "flipped bits in all checkpoints": (
        ("store", "-o", "flipped", "--resume"),
        4,
        (r"flipped/checkpoints: expected an intact checkpoint; "
        r"found flipped/checkpoints/step-0000000004/model\.safetensors: expected the sha256 of its manifest; "
        r"found other bytes\. .* Start again with --overwrite\."),
    ),
}  # fmt: skip


def flip(path: Path) -> None:
    """Change the lowest bit of the byte in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def interrupted(store: SequenceStore, out: Path) -> None:
    """A run that is gone in its fifth step, before the checkpoint after it; of four checkpoints the last two are kept."""

    def stop(now):
        seen.append(now)
        if len(seen) == 5:
            raise InterruptedRunError("test", expected="to go on", found="enough", do="Resume.")

    seen = []
    with pytest.raises(InterruptedRunError):
        pretrain(store, RECIPE.override({"training.checkpoint_every_s": 1e-9}), out, on_progress=stop)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    store = make_store(folder / "store")
    make_store(folder / "other", n_items=31, seed=1)
    make_store(folder / "grown").append(frame(n_users=3, n_items=40, seed=2))
    make_run(store, folder / "run")
    for name in ("cut", "flipped"):
        interrupted(store, folder / name)
    for path in (folder / "flipped" / "checkpoints").iterdir():
        flip(path / "model.safetensors")
    (folder / "mine").mkdir()
    (folder / "mine" / "notes.txt").write_text("mine")
    (folder / "mine.toml").write_text(TOML)
    (folder / "tables_under_test.py").write_text(OWN)
    text = (folder / "run" / "config.json").read_text()
    (folder / "unknown.json").write_text(text.replace('"max_epochs"', '"max_epoch"'))
    (folder / "type.json").write_text(text.replace('"max_epochs": 2', '"max_epochs": 2.5'))
    return folder


@pytest.fixture
def usermodel(monkeypatch, capsys):
    """Run ``pretrain`` in a folder; returns the exit code and standard error as one line."""

    def call(folder: Path, *words: str) -> tuple[int, str]:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["usermodel", "pretrain", *words])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, said = capsys.readouterr()
        assert out == ""
        return code, " ".join(said.split())

    return call


@pytest.mark.parametrize("case", CASES)
def test_one_sentence_an_exit_code_and_nothing_lost(world, usermodel, monkeypatch, case):
    words, code, message = CASES[case]
    monkeypatch.syspath_prepend(world)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = snapshot(world)
    found, said = usermodel(world, *words)
    assert (found, re.fullmatch(f"error: {message}", said) is not None) == (code, True), said
    assert snapshot(world) == before


@pytest.mark.filterwarnings("default")  # those of a command; elsewhere in the tests a warning is an error
def test_a_flipped_bit_in_the_latest_checkpoint_is_said_and_the_one_before_continues(
    world, usermodel, tmp_path
):
    """To the weights of the run that was never interrupted."""
    shutil.copytree(world / "store", tmp_path / "store")
    shutil.copytree(world / "cut", tmp_path / "cut")
    flip(tmp_path / "cut" / "checkpoints" / "step-0000000004" / "optimiser.safetensors")
    code, said = usermodel(tmp_path, "store", "-o", "cut", "--resume")
    assert code == 0
    assert said.startswith(
        "warning: skipped a damaged checkpoint: cut/checkpoints/step-0000000004/optimiser.safetensors: "
        "expected the sha256 of its manifest; found other bytes."
    )
    weights = [folder / "encoder" / "model.safetensors" for folder in (tmp_path / "cut", world / "run")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize(
    ("room", "message", "left"),
    [
        (
            100,
            r"run/config\.json: expected room to write; found File too large \([\d,]+ bytes free\)\. .*",
            [],
        ),
        (
            4_000,
            (
                r"run/checkpoints/step-0000000001: expected room for a checkpoint of [\d,]+ bytes; found File too large "
                r"\([\d,]+ bytes free\)\. Free some space, then continue with --resume; .*"
            ),
            ["config.json"],
        ),
    ],
)
def test_no_space_left_ends_with_5_and_resume_goes_on(world, usermodel, tmp_path, room, message, left):
    """The limit on the size of a file stands in for a disk that is full: the same path, another number."""
    shutil.copytree(world / "store", tmp_path / "store")
    words = ("store", "-o", "run", "--recipe", str(world / "cut" / "config.json"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        code, said = usermodel(tmp_path, *words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (code, re.fullmatch(f"error: {message}", said) is not None) == (5, True), said
    assert [path.name for path in (tmp_path / "run").rglob("*") if path.is_file()] == left
    assert usermodel(tmp_path, *words, "--resume")[0] == 0
    assert Run.open(tmp_path / "run").meta["epochs"] == 2
