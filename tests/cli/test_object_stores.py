"""Logs on an object store through the command line: looked at, read, appended, and refused without a trace."""

import contextlib
import sys
from unittest import mock

import object_store
import pytest

from usermodel.cli.main import main
from usermodel.store.sequence_store import SequenceStore

T0 = 1_700_000_000


@pytest.fixture
def bucket():
    with object_store.serve() as found:
        lines = [f"u{n % 7},i{n % 5},{T0 + n}" for n in range(70)]
        for number in range(2):
            part = ["user_id,item_id,timestamp", *lines[35 * number : 35 * number + 35], ""]
            found.objects[f"day={number}/log.csv"] = "\n".join(part).encode()
        yield found


def usermodel(*words, cwd):
    """Run a command line in this process; its exit code."""
    with contextlib.chdir(cwd), mock.patch.object(sys, "argv", ["usermodel", *words]):
        try:
            main()
        except SystemExit as end:
            return end.code or 0
    return 0


def test_ingest_append_and_dry_run(bucket, tmp_path, capsys):
    assert usermodel("ingest", "s3://logs/day=*/log.csv", "--dry-run", cwd=tmp_path) == 0
    # A narrow terminal breaks the table.
    assert "s3://logs/day=0/log.csv" in capsys.readouterr().out.replace("\n", "")
    assert usermodel("ingest", "s3://logs/day=0", "-o", "store", cwd=tmp_path) == 0
    assert usermodel("append", "store", "s3://logs/day=1/log.csv", cwd=tmp_path) == 0
    store = SequenceStore.open(tmp_path / "store")
    assert (store.n_events, store.meta["sources"]) == (70, ["log.csv", "log.csv"])


@pytest.mark.parametrize(
    ("url", "code"), [("s3://logs/day=0", 5), ("s3://logs/lgo.csv", 2), ("ftp://a/log.csv", 2)]
)
def test_exit_codes_and_nothing_left_behind(bucket, tmp_path, capsys, url, code):
    bucket.locked.add("day=0/log.csv")
    assert usermodel("ingest", url, "-o", "store", cwd=tmp_path) == code
    assert capsys.readouterr().err.count(": expected ") == 1
    assert list(tmp_path.iterdir()) == []
