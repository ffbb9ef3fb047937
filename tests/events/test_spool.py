"""A log larger than memory goes through files, and nothing about it changes."""

import fcntl
import os
import tempfile
from pathlib import Path

import polars as pl
import pytest

from usermodel.errors import StorageError
from usermodel.events import duplicates, spool
from usermodel.events.readers import read_events
from usermodel.store.append import append
from usermodel.store.build import build_store

T0 = 1_700_000_000


@pytest.fixture
def logs(tmp_path):
    """Three files: seconds, milliseconds, seconds; repeats within and across them, event types, watch times."""
    names = []
    for number, scale in enumerate([1, 1000, 1]):
        rows = [
            (f"0{(7 * k) % 11}", f"i{k % 5}", (T0 + (k * 37) % 50) * scale, "click" if k % 3 else "", k % 4)
            for k in range(number, 60, 1 + number)
        ]
        frame = pl.DataFrame(
            rows, schema=["user_id", "item_id", "timestamp", "kind", "watched"], orient="row"
        )
        names.append(str(tmp_path / f"{number}.csv"))
        frame.write_csv(names[-1])
    return names


def small(patch, rows):
    """Everything beyond a few rows goes to disk."""
    patch.setattr(spool, "SPOOL_ROWS", rows)
    patch.setattr(duplicates, "_BATCH_ROWS", 7)
    patch.setattr("usermodel.events.text_blocks.BLOCK_BYTES", 100)


@pytest.mark.parametrize("rows", [1, 10, 50])
@pytest.mark.parametrize("policy", ["keep", "drop"])
@pytest.mark.parametrize("id_type", ["string", "int"])
def test_the_log_and_the_store_are_the_same(tmp_path, logs, monkeypatch, rows, policy, id_type):
    options = {"event_type": "kind", "watch_time": "watched", "duplicates": policy, "session": "kind"}
    options |= {"categorical": {"what": "kind"}, "numeric": ["watched"], "label": "watched"}
    if id_type == "int":
        for name in logs:
            text = Path(name).read_text().replace(",i", ",")
            Path(name).write_text(text.replace("user_id,tem", "user_id,item"))
    plain = read_events(logs, id_type=id_type, **options)
    build_store(plain, tmp_path / "plain", min_user_events=3, min_item_events=2)
    with monkeypatch.context() as patch:
        small(patch, rows)
        log = read_events(logs, id_type=id_type, **options)
        build_store(log, tmp_path / "spooled", min_user_events=3, min_item_events=2)
        assert "SCAN" in log.frame.explain()
    assert log.scan().collect().rows() == plain.scan().collect().rows()
    assert log.accounting == plain.accounting
    assert log.accounting["repeated"] > 0
    files = sorted(path.name for path in (tmp_path / "plain").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "spooled").iterdir())
    for name in files:
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "spooled" / name).read_bytes(), name


def test_sequences_and_appended_days_may_be_large_too(tmp_path, logs, monkeypatch):
    lines = tmp_path / "log.txt"
    lines.write_text(
        "".join(f"u{k} " + " ".join(f"i{(k * j) % 9}" for j in range(1, 6)) + "\n" for k in range(30))
    )
    rows = read_events(lines, format="sequences").scan().collect().rows()
    store = build_store(read_events(logs[0]), tmp_path / "old")
    whole = append(store, read_events(logs[1:]), tmp_path / "whole")
    small(monkeypatch, 10)
    log = read_events(lines, format="sequences")
    assert "SCAN" in log.frame.explain()
    assert log.scan().collect().rows() == rows
    assert append(store, read_events(logs[1:]), tmp_path / "spooled").content_hash == whole.content_hash


def test_a_filtered_log_is_collected_once(logs, monkeypatch):
    small(monkeypatch, 10)
    log = read_events(logs)
    assert log.by_column
    assert not log.with_frame(log.frame.filter(pl.col("item_id") == "i1")).by_column


def test_a_full_disk_is_a_clear_error(logs, monkeypatch):
    small(monkeypatch, 10)
    monkeypatch.setattr(
        pl.DataFrame, "write_ipc", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with pytest.raises(StorageError, match=r"MiB free: .*No space left.*\n.*TMPDIR|TMPDIR"):
        read_events(logs)


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path, monkeypatch):
    dead, alive, other = (tmp_path / name for name in ("usermodel-spool-a", "usermodel-spool-b", "other"))
    for folder in (dead, alive, other):
        folder.mkdir()
        (folder / "000000.arrow").write_bytes(b"rows")
    handle = os.open(alive, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mine = spool._folder.__wrapped__()
    assert not dead.exists()
    assert alive.exists()
    assert other.exists()
    assert mine.is_dir()
    os.close(handle)
