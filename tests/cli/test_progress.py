"""What a person sees while a log is read and a store is built; a file or a pipe sees nothing of it."""

import contextlib
import io
import re
import sys
from unittest import mock

import pytest
from rich.console import Console

from usermodel.cli import common
from usermodel.cli.main import main
from usermodel.events import text_blocks

T0 = 1_700_000_000


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 2_000)
    path = tmp_path / "log.csv"
    path.write_text(
        "user_id,item_id,timestamp\n" + "".join(f"u{n},i{n % 9},{T0 + n}\n" for n in range(1_000))
    )
    return path


def ingest(log, terminal, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(
        common, "notes", Console(file=screen, force_terminal=terminal, width=160, color_system=None)
    )
    # Every change is drawn, not those of every tenth of a second alone.
    draw = mock.patch.object(common, "Progress", _Eager)
    words = ["usermodel", "ingest", str(log), "-o", str(log.parent / "store")]
    with draw, mock.patch.object(sys, "argv", words), contextlib.suppress(SystemExit):
        main()
    return screen.getvalue()


class _Eager(common.Progress):
    def update(self, task, **fields):
        super().update(task, **fields, refresh=True)


def test_a_terminal_shows_bytes_rows_steps_and_the_time_left(log, monkeypatch):
    shown = ingest(log, True, monkeypatch)
    reading = [line for line in re.split(r"[\r\n]", shown) if "reading" in line]
    building = [line for line in re.split(r"[\r\n]", shown) if "building" in line]
    size = log.stat().st_size / 1_000
    assert re.search(rf"100% {size:.1f}/{size:.1f} kB .*0:00:00 1,000 rows", reading[-1])
    percents = [int(found[1]) for line in reading if (found := re.search(r"(\d+)%", line))]
    assert percents == sorted(percents)
    assert len(set(percents)) > 5
    # The time left needs a few steps of speed.
    assert any(re.search(r"\d:\d\d:\d\d \d+ rows", line) for line in reading[2:-1])
    assert any(re.search(r" 0% +0/11 .* numbering users", line) for line in building)
    assert any("k-core" in line for line in building)
    assert any("writing times" in line for line in building)
    assert re.search(r"100% 11/11 ", building[-1])
    assert "wrote 1,000 users" in shown


def test_a_pipe_sees_no_bar(log, monkeypatch):
    shown = ingest(log, False, monkeypatch)
    assert "%" not in shown
    assert shown.splitlines()[0] == "read 1,000 rows = accepted 1,000"
