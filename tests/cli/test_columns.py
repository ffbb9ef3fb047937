"""usermodel ingest and append: --label --session --categorical --numeric."""

import json
import sys

import numpy as np
import pytest

from usermodel.cli.main import main
from usermodel.store.sequence_store import SequenceStore

T0 = 1_700_000_000
LOG = f"""user_id,item_id,timestamp,y,sid,device,price_usd
ann,x,{T0},1,007,tv,0.5
ann,y,{T0 + 1},,7,NA,
bob,x,{T0 + 2},0,,,free
"""
NAMES = [
    "--label", "y", "--session", "sid", "--categorical", "device", "--categorical", "tool=device",
    "--numeric", "price=price_usd", "--numeric", "y",
]  # fmt: skip


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "log.csv").write_text(LOG)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["usermodel", *map(str, words)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def test_from_the_command_line_to_the_store_and_further(run):
    code, _, err = run("ingest", "log.csv", "-o", "store", *NAMES, "--bad-rows", "quarantine")
    assert (code, err.splitlines()[0]) == (0, "read 3 rows = accepted 2 + quarantined 1")
    store = SequenceStore.open("store", verify=True)
    assert store.features == ("label", "session_id", "device", "price", "tool", "y")
    assert store.categories("session_id").ids.to_list() == ["007", "7"]
    assert store.feature("tool").tolist() == store.feature("device").tolist() == [2, 1]
    np.testing.assert_array_equal(store.feature("price"), [0.5, np.nan])
    np.testing.assert_array_equal(store.feature("y"), store.feature("label"))
    assert json.loads((store.path / "quarantine.jsonl").read_text())["column"] == "price_usd"

    code, _, err = run("append", "store", "log.csv", *NAMES, "--bad-rows", "drop")
    assert (code, err.splitlines()[:2]) == (
        0,
        ["read 3 rows = accepted 2 + dropped 1", "added 2 events, 0 new users, 0 new items"],
    )
    assert SequenceStore.open("store", verify=True).feature("tool").tolist() == [2, 2, 1, 1]

    code, out, _ = run("describe", "store", "--json")
    assert code == 0
    assert json.loads(out)["columns"]["price"] == {
        "kind": "numeric", "n_values": 2, "share_missing": 0.5, "min": 0.5, "mean": 0.5, "max": 0.5
    }  # fmt: skip


def test_a_store_wants_the_columns_it_has(run):
    run("ingest", "log.csv", "-o", "store", "--categorical", "device")
    code, _, err = run("append", "store", "log.csv", "--numeric", "y")
    assert code == 2
    assert "expected further columns as in store (device (categorical)); found y (numeric)." in err


def test_a_dry_run_shows_what_was_declared(run):
    code, out, _ = run("ingest", "log.csv", *NAMES, "--dry-run")
    assert code == 0
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if "│" in line]
    for row in (
        ["session_id", "sid", ""],
        ["tool", "device", "categorical"],
        ["price", "price_usd", "numeric"],
    ):
        assert row in rows
    assert "1 bad rows among the first 3; nothing was written" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--categorical", "price-usd"], "context column 'price-usd': expected a name of ASCII letters"),
        (["--numeric", "timestamp"], "context column 'timestamp': expected a name of your own; found one of ours"),
        (["--numeric", "items=y"], "context column 'items': expected a name of your own; found one of ours"),
        (["--numeric", "=y"], "context column '': expected a name of ASCII letters"),
        (["--numeric", "y", "--numeric", "y=price_usd"], "--numeric: expected the name 'y' once; found it again in 'y=price_usd'"),
        (["--numeric", "y", "--categorical", "y"], "context column 'y': expected one kind; found two"),
        (["--categorical", "a=devise"], "D001 log.csv: expected a column 'devise'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dry_run", [False, True])
def test_wrong_names_end_with_code_2_and_nothing_written(run, tmp_path, words, message, dry_run):
    code, out, err = run("ingest", "log.csv", "-o", "store", *words, *(["--dry-run"] if dry_run else []))
    assert (code, out) == (2, "")
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.parametrize("command", ["ingest", "append"])
def test_help_lists_them_among_the_columns(run, command):
    _, out, _ = run(command, "--help")
    panel = out[out.index("─ Columns ─") : out.index("─ Reading ─")]
    for option in ("--rating", "--label", "--session", "--categorical", "--numeric"):
        assert option in panel
