"""A command that is told to stop removes what it has half-written and exits 130, however it was told."""

import os
import re
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from unittest import mock

import pytest
import tiny

from usermodel.__main__ import main as entry
from usermodel.cli.interrupts import as_ctrl_c
from usermodel.cli.main import main
from usermodel.embeddings import blocks

RUN = "from usermodel.__main__ import main; main()"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    store = tiny.make_store(folder / "store")
    tiny.make_run(store, folder / "run")
    return folder


@pytest.fixture
def unheard():
    """A signal that the command does not take ends this test, not the whole session."""

    def fail(number, frame):
        raise AssertionError(f"nobody took signal {number}")

    old = {number: signal.signal(number, fail) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield fail
    for number, handler in old.items():
        signal.signal(number, handler)


def interrupted(folder, number, *words):
    """Exit code of a command that gets a signal once its first vectors are there."""
    encode = blocks.encode

    def encode_and_signal(*given, **options):
        vectors = encode(*given, **options)
        signal.raise_signal(number)
        return vectors

    argv = mock.patch.object(sys, "argv", ["usermodel", *map(str, words)])
    with (
        argv,
        mock.patch.object(blocks, "encode", encode_and_signal),
        mock.patch.object(blocks, "BLOCK_USERS", 10),
        pytest.raises(SystemExit) as end,
    ):
        main()
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    return end.value.code


@pytest.mark.usefixtures("unheard")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("name", ["folder", "users.parquet", "users.safetensors"])
def test_embed_leaves_no_draft_behind(made, tmp_path, name, number):
    words = "embed", made / "run", made / "store", "-o", tmp_path / name
    assert interrupted(tmp_path, number, *words) == 130
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("unheard")
def test_an_older_export_stays_as_it_was(made, tmp_path):
    out = tmp_path / "users.parquet"
    words = "embed", made / "run", made / "store", "-o", out
    with mock.patch.object(sys, "argv", ["usermodel", *map(str, words)]), pytest.raises(SystemExit):
        main()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert interrupted(tmp_path, signal.SIGTERM, *words, "--overwrite", "--normalize") == 130
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_signals_mean_afterwards_what_they_meant_before(unheard):
    with as_ctrl_c():
        assert signal.getsignal(signal.SIGTERM) is not unheard
    assert signal.getsignal(signal.SIGTERM) is unheard


@pytest.mark.usefixtures("unheard")
def test_a_second_sigterm_does_not_cut_the_cleaning_short():
    cleaned = []

    def told_twice():
        with as_ctrl_c():
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                signal.raise_signal(signal.SIGTERM)
                signal.raise_signal(signal.SIGHUP)
                cleaned.append(True)

    with pytest.raises(KeyboardInterrupt):
        told_twice()
    assert cleaned


@pytest.mark.usefixtures("unheard")
def test_what_nohup_ignores_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with as_ctrl_c():
        signal.raise_signal(signal.SIGHUP)


def test_ctrl_c_while_the_command_is_imported_ends_it_without_a_traceback():
    def interrupt(name):
        raise KeyboardInterrupt

    slow = types.ModuleType("usermodel.cli.main")
    slow.__getattr__ = interrupt
    with mock.patch.dict(sys.modules, {slow.__name__: slow}), pytest.raises(SystemExit) as end:
        entry()
    assert end.value.code == 130


def listening_workers(pid):
    """Worker processes of a command in which Python has begun to listen to Ctrl-C: before, they would end in silence."""
    found = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(Path("/proc").joinpath, file.read_text().split()):
            caught = int(re.search(r"SigCgt:\s*(\w+)", (child / "status").read_text())[1], 16)
            if b"spawn_main" in (child / "cmdline").read_bytes() and caught >> (signal.SIGINT - 1) & 1:
                found.append(child)
    return found


def test_ctrl_c_ends_a_command_and_its_workers_without_a_traceback(made, tmp_path):
    words = "embed", made / "run", made / "store", "-o", tmp_path / "out", "--processes", 2
    command = [sys.executable, "-c", RUN, *map(str, words)]
    # A group of its own, all of which gets the signal, as from a terminal.
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            while process.poll() is None and not listening_workers(process.pid):
                time.sleep(0.01)
            assert list(tmp_path.iterdir())
            os.killpg(process.pid, signal.SIGINT)
            error = process.communicate(timeout=240)[1]
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode, error) == (130, "")
    assert not list(tmp_path.iterdir())
