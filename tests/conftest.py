"""Shared by all tests: few threads, public data only where a folder is named, a tiny store written by hand."""

import os
import signal
import sys
from pathlib import Path

# Before torch and polars start their pools: test machines are shared.
os.environ["OMP_NUM_THREADS"] = str(min(2, int(os.environ.get("OMP_NUM_THREADS") or 2)))
os.environ.setdefault("POLARS_MAX_THREADS", "2")
# Threads that spin while they wait make small products ten times slower on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import hypothesis
import pytest

DATA_DIR = "USERMODEL_DATA_DIR"
#: Mark of a test -> the variable that names the folder it reads.
FOLDERS = {"data": DATA_DIR, "checkpoints": "USERMODEL_CHECKPOINTS_DIR"}
DESELECTED = pytest.StashKey[int]()

# The same examples in every run; set HYPOTHESIS_PROFILE=explore to look for new ones.
hypothesis.settings.register_profile("fixed", deadline=None, max_examples=60, derandomize=True, database=None)
hypothesis.settings.register_profile(
    "explore", deadline=None, max_examples=500, database=None, print_blob=True
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

#: Two ties in time (ann at 300 s), a one-event user, rows out of order, a missing watch time.
TINY_LOG = """user_id,item_id,timestamp,kind,play_ms
bob,i3,1700000100,click,1000
ann,i1,1700000000,click,1500
ann,i2,1700000120,like,
cid,i1,1700000050,click,300
ann,i4,1700000300,click,2000
ann,i3,1700000300,click,2500
bob,i1,1700000200,share,700
cid,i2,1700000400,click,900
dee,i5,1700000500,click,100
bob,i2,1700000350,click,50
ann,i1,1700000600,click,1200
"""


def pytest_configure():
    # A shell starts what it puts in the background with Ctrl-C ignored, and every process that tests start would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def pytest_collection_modifyitems(config, items):
    """Without the public data sets, or foreign checkpoints, their tests are left out, in one line and not in one skip each."""
    lacking = {mark for mark, name in FOLDERS.items() if not os.environ.get(name)}
    left_out = [item for item in items if lacking & {mark.name for mark in item.iter_markers()}]
    items[:] = [item for item in items if item not in left_out]
    config.stash[DESELECTED] = len(left_out)
    if left_out:
        config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter, config):
    if config.stash.get(DESELECTED, 0):
        names = " and ".join(name for name in FOLDERS.values() if not os.environ.get(name))
        terminalreporter.write_line(
            f"{config.stash[DESELECTED]} tests of public data left out: {names} not set"
        )


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the public data sets; only tests marked ``data`` may ask for it."""
    return Path(os.environ[DATA_DIR])


@pytest.fixture(scope="session")
def tiny_log(tmp_path_factory) -> Path:
    """`TINY_LOG` as a file."""
    path = tmp_path_factory.mktemp("tiny") / "events.csv"
    path.write_text(TINY_LOG)
    return path


@pytest.fixture(scope="session")
def tiny_store(tiny_log):
    """Four users (ann 5 events, bob 3, cid 2, dee 1) and five items; read-only, shared by the whole session."""
    from usermodel.events.readers import read_events
    from usermodel.store.build import build_store

    log = read_events(tiny_log, event_type="kind", watch_time="play_ms")
    return build_store(log, tiny_log.with_name("store"))
