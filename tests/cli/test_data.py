"""usermodel data: list, get from a server of our own, prepare."""

import functools
import hashlib
import http.server
import io
import json
import sys
import tarfile
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from command import usermodel

from usermodel.errors import DataError, IntegrityError, MissingError, StorageError
from usermodel.events import data_download, data_sets
from usermodel.events.data_cards import Download
from usermodel.store.sequence_store import SequenceStore

LOG = "1\t10\t5\t881250949\n1\t11\t3\t881250950\n2\t10\t1\t881250951\n2\t12\t4\t881250952\n3\t10\t4\t881250953\n"


@pytest.fixture
def raw(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/u.data").write_text(LOG)
    (tmp_path / "raw/u.user").write_text("1|24|M|writer|1\n2|30|F|other|2\n9|99|F|none|9\n")
    return tmp_path


def test_list_shows_every_set_and_marks_what_is_recalled(tmp_path):
    out, err = usermodel("data", "list", cwd=tmp_path)
    for name in data_sets.names():
        assert name in out
    lines = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert lines["movielens-1m"][1:5] == ["6,040", "3,706", "1.00M", "yes"]
    assert lines["movielens-25m"][1:5] == ["~163k", "~59.0k", "~25.0M", "yes"]
    assert lines["avazu"][4] == "hand"
    assert lines["tenrec"][1:4] == ["?", "?", "?"]
    assert "recalled" in err


def test_list_cuts_no_name_off_on_a_small_terminal(tmp_path, monkeypatch):
    from usermodel.cli import common

    screen = io.StringIO()
    monkeypatch.setattr(common, "results", common.Console(file=screen, width=80))
    usermodel("data", "list", cwd=tmp_path)
    assert max(map(len, screen.getvalue().splitlines())) <= 80
    assert {line.split()[0] for line in screen.getvalue().splitlines() if line.strip()} >= set(
        data_sets.names()
    )


def test_list_as_json_is_one_object(tmp_path):
    cards = json.loads(usermodel("data", "list", "--json", cwd=tmp_path)[0])
    assert set(cards) == set(data_sets.names())
    assert cards["movielens-1m"]["counts"]["events"] == 1_000_209
    assert cards["movielens-1m"]["is_downloadable"]
    assert not cards["yelp"]["is_downloadable"]
    one = json.loads(usermodel("data", "list", "coat", "--json", cwd=tmp_path)[0])
    assert one == cards["coat"]


def test_list_prints_a_card(tmp_path):
    out, _ = usermodel("data", "list", "kuairec", cwd=tmp_path)
    for word in ("CC BY-SA 4.0", "play_duration", "7,176 / 10,728 / 12,530,806 (recalled)", "KuaiRec.zip"):
        assert word in out


def test_prepare_makes_a_store_and_says_which_counts_differ(raw):
    _, err = usermodel("data", "prepare", "movielens-100k", "--from", "raw", "-o", "store", cwd=raw)
    assert "users: 3, DIFFERENT from the card's 943" in err
    assert "events: 5, DIFFERENT from the card's 100,000" in err
    assert "users: 2 rows (1 more are about users or items without events here)" in err
    store = SequenceStore.open(raw / "store")
    assert (store.n_users, store.n_items, store.n_events) == (3, 3, 5)
    assert store.meta["time_kind"] == "utc"
    assert store.meta["sources"] == ["movielens-100k"]
    assert "rating" in store.meta["features"]
    assert store.table("users")["occupation"].to_list() == ["writer", "other"]


def test_prepare_filters_and_reports_json(raw):
    words = ["--min-user-events", 2, "--min-item-events", 1, "--json"]
    out, err = usermodel("data", "prepare", "movielens-100k", "--from", "raw", "-o", "store", *words, cwd=raw)
    facts = json.loads(out)
    assert err == ""
    # The checks are those of the raw files, the store's counts those after the filter.
    assert facts["checks"]["users"] == {"expected": 943, "found": 3}
    assert len(facts["differences"]) == 3
    assert facts["store"] == {"n_users": 2, "n_items": 3, "n_events": 4}


def test_prepare_says_nothing_of_differences_when_there_are_none(raw, monkeypatch):
    recipe = data_sets.load("movielens-100k")
    layout = replace(recipe.card.layouts[0], counts=replace(recipe.card.counts, users=3, items=3, events=5))
    card = replace(recipe.card, layouts=(layout,))
    monkeypatch.setattr(data_sets, "load", lambda name: data_sets.DataSet(card, recipe.read))
    _, err = usermodel("data", "prepare", "movielens-100k", "--from", "raw", "-o", "store", cwd=raw)
    assert "events: 5, as on the card" in err
    assert "DIFFERENT" not in err


def test_prepare_refuses_existing_output_and_missing_files(raw):
    usermodel("data", "prepare", "movielens-100k", "--from", "raw", "-o", "store", cwd=raw)
    error = usermodel("data", "prepare", "movielens-100k", "--from", "raw", "-o", "store", cwd=raw, code=2)[1]
    assert "--overwrite" in error
    usermodel("data", "prepare", "movielens-100k", "--from", "raw", "-o", "store", "--overwrite", cwd=raw)
    error = usermodel("data", "prepare", "coat", "--from", "raw", "-o", "other", cwd=raw, code=2)[1]
    assert "train.ascii" in error
    error = usermodel("data", "prepare", "coat", "--from", "nowhere", "-o", "other", cwd=raw, code=2)[1]
    assert "no such folder" in error
    assert not (raw / "other").exists()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["get"], "the name of a data set"),
        (["get", "coat"], "-o FOLDER"),
        (["prepare", "coat", "-o", "x"], "--from FOLDER"),
        (["prepare", "coat", "--from", "x"], "-o STORE"),
        (["list", "movielens100k"], "Did you mean 'movielens-100k'?"),
        (["get", "yelp", "-o", "x"], "agreement"),
    ],
)
def test_usage_errors_are_one_line(words, found, tmp_path):
    out, err = usermodel("data", *words, cwd=tmp_path, code=2)
    assert out == ""
    assert found in err
    assert len(err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; knows ranges, unlike its parent; can break off in the middle."""

    break_after = None
    knows_ranges = True
    seen: list = []  # noqa: RUF012

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        wanted = self.headers.get("Range")
        type(self).seen.append(wanted)
        start = int(wanted[6:-1]) if wanted and self.knows_ranges else 0
        if start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        stop = len(data) if self.break_after is None else start + self.break_after
        self.wfile.write(data[start:stop])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    """A folder on 127.0.0.1, and the class of its handler."""
    folder = tmp_path / "www"
    folder.mkdir()
    handler = type("Own", (Handler,), {"seen": []})
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(folder))
    ) as own:
        thread = threading.Thread(target=own.serve_forever, daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{own.server_port}", handler
        own.shutdown()
        thread.join()


def card_of(url, name, data, *, known=True):
    checksum = f"sha256:{hashlib.sha256(data).hexdigest()}" if known else None
    card = data_sets.load("movielens-100k").card
    return replace(card, downloads=(Download(f"{url}/{name}", name, checksum),))


def zip_of(**files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"ml-100k/{name.replace('_', '.')}", text)
    return packed.getvalue()


def test_get_downloads_checks_unpacks_and_prepares(server, tmp_path, monkeypatch):
    folder, url, handler = server
    data = zip_of(u_data=LOG)
    (folder / "ml.zip").write_bytes(data)
    recipe = data_sets.load("movielens-100k")
    card = card_of(url, "ml.zip", data)
    monkeypatch.setattr(data_sets, "load", lambda name: data_sets.DataSet(card, recipe.read))
    _, err = usermodel("data", "get", "movielens-100k", "-o", "got", cwd=tmp_path)
    assert "no redistribution" in err
    assert "sha256 of" not in err
    assert (tmp_path / "got/ml-100k/u.data").read_text() == LOG
    assert sorted(path.name for path in (tmp_path / "got").iterdir()) == ["ml-100k", "ml.zip"]
    usermodel("data", "get", "movielens-100k", "-o", "got", cwd=tmp_path)
    assert handler.seen == [None]  # what is there and right is kept
    usermodel("data", "prepare", "movielens-100k", "--from", "got", "-o", "store", cwd=tmp_path)
    assert SequenceStore.open(tmp_path / "store").n_events == 5


def test_an_unknown_checksum_is_printed_and_recorded(server, tmp_path, monkeypatch):
    folder, url, _ = server
    (folder / "u.data").write_text(LOG)
    card = card_of(url, "u.data", LOG.encode(), known=False)
    monkeypatch.setattr(data_sets, "load", lambda name: data_sets.DataSet(card, None))
    _, err = usermodel("data", "get", "movielens-100k", "-o", "got", cwd=tmp_path)
    value = hashlib.sha256(LOG.encode()).hexdigest()
    assert f"sha256 of u.data, not known before: {value}" in err
    assert (tmp_path / "got/SHA256SUMS").read_text() == f"{value}  u.data\n"
    out, _ = usermodel("data", "get", "movielens-100k", "-o", "got", "--json", cwd=tmp_path)
    assert json.loads(out)["new_sha256"] == {"u.data": value}


def test_a_broken_download_goes_on_where_it_stopped(server, tmp_path, monkeypatch):
    monkeypatch.setattr(data_download, "_CHUNK", 1000)
    folder, url, handler = server
    data = bytes(range(256)) * 40
    (folder / "big.bin").write_bytes(data)
    card = card_of(url, "big.bin", data)
    handler.break_after = 4000
    with pytest.raises(StorageError, match="run it again"):
        data_download.get(card, tmp_path / "got")
    assert (tmp_path / "got/big.bin.part").stat().st_size == 4000
    assert not (tmp_path / "got/big.bin").exists()
    handler.break_after = None
    steps = []
    data_download.get(card, tmp_path / "got", on_progress=lambda done, total: steps.append((done, total)))
    assert (tmp_path / "got/big.bin").read_bytes() == data
    assert not (tmp_path / "got/big.bin.part").exists()
    assert handler.seen == [None, "bytes=4000-"]
    assert steps[-1] == (len(data), len(data))


def test_a_server_without_ranges_starts_anew_and_a_whole_part_is_taken(server, tmp_path):
    folder, url, handler = server
    data = b"abc" * 1000
    (folder / "a.bin").write_bytes(data)
    card = card_of(url, "a.bin", data)
    (tmp_path / "got").mkdir()
    (tmp_path / "got/a.bin.part").write_bytes(data[:10])
    handler.knows_ranges = False
    data_download.get(card, tmp_path / "got")
    assert (tmp_path / "got/a.bin").read_bytes() == data
    (tmp_path / "got/a.bin").replace(tmp_path / "got/a.bin.part")
    handler.knows_ranges = True
    data_download.get(card, tmp_path / "got")
    assert (tmp_path / "got/a.bin").read_bytes() == data


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    folder, url, _ = server
    (folder / "u.data").write_text(LOG)
    card = card_of(url, "u.data", b"something else")
    with pytest.raises(IntegrityError, match="the owner has changed the file"):
        data_download.get(card, tmp_path / "got")
    assert list((tmp_path / "got").iterdir()) == []


def test_a_missing_file_is_a_storage_error(server, tmp_path):
    _, url, _ = server
    with pytest.raises(StorageError, match="404"):
        data_download.get(card_of(url, "gone.zip", b""), tmp_path / "got")


def test_members_that_point_outside_do_not_get_out(server, tmp_path):
    folder, url, _ = server
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("../evil.txt")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"evil"))
    data = packed.getvalue()
    (folder / "a.tar.gz").write_bytes(data)
    with pytest.raises(IntegrityError, match="an archive"):
        data_download.get(card_of(url, "a.tar.gz", data), tmp_path / "got")
    assert not (tmp_path / "evil.txt").exists()
    (folder / "b.zip").write_bytes(b"no zip")
    with pytest.raises(IntegrityError, match="an archive"):
        data_download.get(card_of(url, "b.zip", b"no zip"), tmp_path / "got")


def test_a_tar_is_unpacked(server, tmp_path):
    folder, url, _ = server
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("data/u.data")
        member.size = len(LOG)
        tar.addfile(member, io.BytesIO(LOG.encode()))
    (folder / "a.tar.gz").write_bytes(packed.getvalue())
    data_download.get(card_of(url, "a.tar.gz", packed.getvalue()), tmp_path / "got")
    assert (tmp_path / "got/data/u.data").read_text() == LOG


def test_without_pooch_the_message_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(MissingError, match=r"usermodel\[data\]"):
        data_download.get(data_sets.load("coat").card, tmp_path / "got")
    assert not (tmp_path / "got").exists()


def test_by_hand_sets_say_how(tmp_path):
    card = data_sets.load("avazu").card
    with pytest.raises(DataError, match=r"Accept the terms.*kaggle\.com"):
        data_download.get(card, tmp_path / "got")


def test_nothing_is_fetched_by_reading_cards():
    """No network in library code: the download module is not even imported by the others."""
    import subprocess

    code = (
        "import sys; from usermodel.events import data_sets; [data_sets.load(n) for n in data_sets.names()];"
        "sys.exit(any(m in sys.modules for m in ('pooch', 'requests', 'torch', 'usermodel.events.data_download')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_progress_counts_bytes_even_without_a_total(server, tmp_path):
    folder, url, _ = server
    (folder / "u.data").write_text(LOG)
    steps = []
    card = card_of(url, "u.data", LOG.encode())
    data_download.get(card, tmp_path / "got", on_progress=lambda *pair: steps.append(pair))
    assert steps == [(len(LOG), len(LOG))]
    assert pl.read_csv(tmp_path / "got/u.data", separator="\t", has_header=False).height == 5
