"""usermodel convert, from a file to recommendations, and its exit codes."""

import json
import sys

import pytest
from icsrec import gru_weights, sas_weights
from safetensors.torch import save_file

from usermodel.cli.main import main


@pytest.fixture
def usermodel(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "events.txt").write_text("u 1 2 3 4\nv 5 6 7 8 9 10\nw 11 12 1\n")

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["usermodel", *words])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        done = capsys.readouterr()
        return code, done.out, " ".join(done.err.split())

    assert call("ingest", "events.txt", "--format", "sequences", "-o", "store")[0] == 0
    return call


def test_a_converted_run_serves_every_command(usermodel, tmp_path):
    save_file(sas_weights(dim=6), tmp_path / "sas.safetensors")
    code, _, notes = usermodel("convert", "sas.safetensors", "--store", "store", "-o", "run", "--heads", "3")
    assert (code, notes.partition(",")[0]) == (0, "wrote icsrec-sas")
    assert usermodel("evaluate", "run", "store", "--json", "scores.json")[0] == 0
    assert json.loads((tmp_path / "scores.json").read_text())["n"] == 3
    assert usermodel("embed", "run", "store", "-o", "users.parquet")[0] == 0
    assert usermodel("index", "run", "-o", "items")[0] == 0
    code, out, _ = usermodel("recommend", "run", "store", "--users", "w", "-k", "2", "--format", "json")
    assert code == 0
    assert json.loads(out)
    facts = json.loads(usermodel("describe", "run", "--json")[1])
    assert facts["converted_from"]["family"] == "icsrec-sas"
    # Finished, so there is nothing to resume.
    assert usermodel("pretrain", "store", "-o", "run", "--resume")[0] == 0


@pytest.mark.parametrize(
    ("file", "options", "sentence"),
    [
        ("gru", ["--heads", "2"], "--heads: expected no value for a GRU model; found 2. Drop --heads."),
        ("events.txt", [], "found a file that torch cannot read as weights"),
        ("none", [], "none: expected a checkpoint; found no such file."),
        ("eleven", [], "expected an item table of 14 rows"),
    ],
)
def test_bad_input_ends_with_2_and_writes_nothing(usermodel, tmp_path, file, options, sentence):
    save_file(gru_weights(), tmp_path / "gru")
    save_file(gru_weights(n_items=11), tmp_path / "eleven")
    code, _, notes = usermodel("convert", file, "--store", "store", "-o", "run", *options)
    assert code == 2
    assert sentence in notes
    assert not (tmp_path / "run").exists()
