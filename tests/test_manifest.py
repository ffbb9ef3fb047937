"""The writer and the reader of artefacts: all or nothing, nothing foreign destroyed, no damage unseen."""

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermodel import manifest
from usermodel.errors import (
    IntegrityError,
    MissingError,
    OutputExistsError,
    StorageError,
    UserModelError,
)


def write(target, text="hello", kind="thing", **options):
    with manifest.write_directory(target, kind, **options) as draft:
        (draft.path / "a.txt").write_text(text)
        (draft.path / "sub").mkdir()
        (draft.path / "sub" / "b.txt").write_text("deep")
        draft.meta["n"] = 1
    return Path(target)


def start(target, then, *, writer=manifest.write_directory, **options):
    """Begin an artefact, then call ``then`` with the draft."""
    with writer(target, "thing", **options) as draft:
        (draft.path / "a.txt" if draft.path.is_dir() else draft.path).write_text("new")
        then(draft)


def raising(error):
    def then(_):
        raise error

    return then


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def reseal(folder, **changes):
    """Write a manifest by hand, with whatever a forger likes."""
    data = json.loads((folder / manifest.NAME).read_text())
    data.update(changes)
    (folder / manifest.NAME).write_text(json.dumps(data))


# ---------------------------------------------------------------------------------------------------------- writing


def test_the_manifest_lists_every_file_with_size_and_sha256(tmp_path):
    target = write(tmp_path / "out")
    data = json.loads((target / "manifest.json").read_text())
    assert data == {
        "kind": "thing",
        "format": 1,
        "meta": {"n": 1},
        "files": {
            "a.txt": {"bytes": 5, "sha256": hashlib.sha256(b"hello").hexdigest()},
            "sub/b.txt": {"bytes": 4, "sha256": hashlib.sha256(b"deep").hexdigest()},
        },
    }
    assert names(tmp_path) == ["out"]
    assert names(target) == ["a.txt", "manifest.json", "sub"]


def test_equal_content_gives_equal_bytes_and_one_identity(tmp_path):
    first, second, third = (
        write(tmp_path / name, text) for name, text in [("x", "1"), ("y", "1"), ("z", "2")]
    )
    assert (first / manifest.NAME).read_bytes() == (second / manifest.NAME).read_bytes()
    assert manifest.read(first).content_hash == manifest.read(second).content_hash
    assert manifest.read(first).content_hash != manifest.read(third).content_hash


def test_parents_are_made_and_an_empty_folder_is_no_output_yet(tmp_path):
    (tmp_path / "empty").mkdir()
    for target in (tmp_path / "deep" / "er" / "out", tmp_path / "empty"):
        assert names(write(target)) == ["a.txt", "manifest.json", "sub"]
    assert names(tmp_path) == ["deep", "empty"]


def test_names_that_look_like_patterns_are_names(tmp_path):
    target = write(tmp_path / "out[1]*")
    write(target, "again", overwrite=True)
    assert (target / "a.txt").read_text() == "again"
    assert names(tmp_path) == ["out[1]*"]


def test_the_working_folder_can_be_the_target(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write(".")
    assert names(tmp_path / "here") == ["a.txt", "manifest.json", "sub"]


@pytest.mark.parametrize("writer", [manifest.write_directory, manifest.write_file])
def test_the_target_stays_where_it_was_when_the_process_moves(tmp_path, monkeypatch, writer):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with writer("out", "kind"):
        monkeypatch.chdir(tmp_path / "there")
    assert manifest.read(tmp_path / "here" / "out", "kind").kind == "kind"
    assert names(tmp_path / "there") == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("writer", [manifest.write_directory, manifest.write_file])
def test_an_exception_leaves_no_output_and_no_rubbish(tmp_path, writer, error):
    with pytest.raises(error):
        start(tmp_path / "out", raising(error()), writer=writer)
    assert names(tmp_path) == []


@pytest.mark.parametrize("meta", [{"x": object()}, {"x": np.int64(3)}])
def test_facts_that_json_cannot_hold_leave_nothing_behind(tmp_path, meta):
    with pytest.raises(TypeError, match="not JSON serializable"):
        start(tmp_path / "out", lambda draft: draft.meta.update(meta))
    assert names(tmp_path) == []


def test_an_exception_leaves_the_old_artefact_untouched(tmp_path):
    target = write(tmp_path / "out", "old")
    before = (target / manifest.NAME).read_bytes()
    with pytest.raises(ZeroDivisionError):
        start(target, raising(ZeroDivisionError()), overwrite=True)
    assert (target / "a.txt").read_text() == "old"
    assert (target / manifest.NAME).read_bytes() == before
    assert manifest.read(target, "thing", verify=True).meta == {"n": 1}
    assert names(tmp_path) == ["out"]


def test_overwriting_exchanges_old_and_new(tmp_path):
    target = write(tmp_path / "out", "old")
    old = (target / "a.txt").open()
    inode = target.stat().st_ino
    write(target, "new", overwrite=True)
    assert (target / "a.txt").read_text() == "new"
    assert target.stat().st_ino != inode
    with old:
        assert old.read() == "old"
    assert names(tmp_path) == ["out"]


def test_while_it_is_replaced_the_name_always_leads_somewhere(tmp_path):
    target = write(tmp_path / "out", "0")
    seen, stop = [], threading.Event()

    def look():
        while not stop.is_set():
            seen.append(target.exists())

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(1, 40):
        write(target, str(number), overwrite=True)
    stop.set()
    reader.join()
    assert len(seen) > 40
    assert all(seen)


class NoExchange:
    """A C library on a file system without exchange."""

    def renameat2(self, *_):
        ctypes.set_errno(errno.EINVAL)
        return -1


def test_without_exchange_two_renames_do(tmp_path, monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: NoExchange())
    target = write(tmp_path / "out", "old")
    write(target, "new", overwrite=True)
    assert (target / "a.txt").read_text() == "new"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_who_was_killed_between_the_two_renames_gets_the_old_content_back(tmp_path, overwrite):
    target = write(tmp_path / "out", "old")
    target.rename(tmp_path / ".out.tmp-999999999-abcd-old")
    if overwrite:
        write(target, "new", overwrite=True)
    else:
        with pytest.raises(OutputExistsError, match="found an existing one"):
            write(target, "new")
    assert (target / "a.txt").read_text() == ("new" if overwrite else "old")
    assert names(tmp_path) == ["out"]


def test_any_other_failure_of_the_exchange_keeps_the_old(tmp_path, monkeypatch):
    class Refusing:
        def renameat2(self, *_):
            ctypes.set_errno(errno.EIO)
            return -1

    target = write(tmp_path / "out", "old")
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Refusing())
    with pytest.raises(StorageError, match="expected a place that can be written; found Input/output error"):
        write(target, "new", overwrite=True)
    assert (target / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["out"]


KILLED = """
import os, signal, sys
from usermodel import manifest
with getattr(manifest, sys.argv[2])(sys.argv[1], "thing", overwrite=True) as draft:
    (draft.path / "half" if draft.path.is_dir() else draft.path).write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("how", ["write_directory", "write_file"])
def test_what_a_killed_writer_left_is_swept_by_the_next(tmp_path, how):
    target = tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(target), how], check=False)
    assert killed.returncode == -9
    assert not target.exists()
    assert len(names(tmp_path)) == 1
    assert names(tmp_path)[0].startswith(".out.tmp-")
    with getattr(manifest, how)(target, "thing") as draft:
        (draft.path / "a" if draft.path.is_dir() else draft.path).write_text("whole")
    assert names(tmp_path) == (["out"] if how == "write_directory" else ["out", "out.manifest.json"])


def test_a_living_writer_and_other_targets_are_not_swept(tmp_path):
    (tmp_path / ".output.tmp-999999999-ab").touch()
    with manifest.write_directory(tmp_path / "out", "thing") as slow:
        write(tmp_path / "out", "winner")
        assert slow.path.exists()
        (tmp_path / "out").rename(tmp_path / "elsewhere")
    assert names(tmp_path) == [".output.tmp-999999999-ab", "elsewhere", "out"]


def test_who_comes_second_does_not_replace_the_winner(tmp_path):
    with pytest.raises(OutputExistsError, match="found an existing one"):
        start(tmp_path / "out", lambda _: write(tmp_path / "out", "winner"))
    assert (tmp_path / "out" / "a.txt").read_text() == "winner"
    assert names(tmp_path) == ["out"]


# ---------------------------------------------------------------------------------------------------- what may be replaced


def test_existing_output_is_refused_unless_told_otherwise(tmp_path):
    target = write(tmp_path / "out", "old")
    with pytest.raises(OutputExistsError) as caught:
        write(target, "new")
    assert str(caught.value) == (
        f"{target}: expected an output that does not exist yet; found an existing one. "
        "Choose another name, or pass --overwrite (overwrite=True)."
    )
    assert (target / "a.txt").read_text() == "old"


def make_foreign(path, how):
    if how == "file":
        path.write_text("mine")
    elif how == "dangling link":
        path.symlink_to(path.with_name("nowhere"))
    else:
        path.mkdir()
        (path / "thesis.tex").write_text("mine")
        texts = {"web manifest": '{"name": "an app", "icons": []}', "damaged": '{"kind": "thing", '}
        if how in texts:
            (path / "manifest.json").write_text(texts[how])


@pytest.mark.parametrize("how", ["folder", "web manifest", "damaged", "file", "dangling link"])
@pytest.mark.parametrize("writer", [manifest.write_directory, manifest.write_file])
def test_what_this_program_did_not_write_is_never_replaced(tmp_path, how, writer):
    target = tmp_path / "out"
    make_foreign(target, how)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    for overwrite in (False, True):
        with pytest.raises(OutputExistsError), writer(target, "thing", overwrite=overwrite):
            pytest.fail("the body must not run")
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_the_refusal_says_what_is_there(tmp_path):
    target = write(tmp_path / "out", kind="index")
    with pytest.raises(
        OutputExistsError, match=r"expected a store to replace; found an index\. Move it away"
    ):
        write(target, kind="store", overwrite=True)
    make_foreign(tmp_path / "mine", "folder")
    with pytest.raises(OutputExistsError, match="found a folder that this program did not write"):
        write(tmp_path / "mine", overwrite=True)
    make_foreign(tmp_path / "text", "file")
    with pytest.raises(OutputExistsError, match="found a file that this program did not write"):
        manifest.refuse_existing(tmp_path / "text", "store", overwrite=True)
    assert manifest.refuse_existing(target, "index", overwrite=True) is None


# ------------------------------------------------------------------------------------------------------------ single files


def test_a_single_file_has_its_manifest_beside_it_and_may_move_with_it(tmp_path):
    with manifest.write_file(tmp_path / "u.bin", "table") as draft:
        draft.path.write_bytes(b"12345")
        draft.meta["rows"] = 5
    assert names(tmp_path) == ["u.bin", "u.bin.manifest.json"]
    assert manifest.read(tmp_path / "u.bin", "table", verify=True).meta == {"rows": 5}
    assert (tmp_path / "u.bin").stat().st_mode & 0o077 == 0
    (tmp_path / "u.bin").rename(tmp_path / "v.bin")
    (tmp_path / "u.bin.manifest.json").rename(tmp_path / "v.bin.manifest.json")
    assert manifest.read(tmp_path / "v.bin", "table", verify=True).meta == {"rows": 5}
    with manifest.write_file(tmp_path / "v.bin", "table", overwrite=True) as draft:
        draft.path.write_bytes(b"6")
    assert manifest.read(tmp_path / "v.bin", verify=True).files["v.bin"]["bytes"] == 1


def test_a_manifest_vouches_for_the_file_beside_it_and_for_no_other(tmp_path):
    for name in ("good.bin", "evil.bin"):
        with manifest.write_file(tmp_path / name, "table") as draft:
            draft.path.write_bytes(b"12345")
    (tmp_path / "evil.bin").write_bytes(b"54321")
    (tmp_path / "evil.bin.manifest.json").write_bytes((tmp_path / "good.bin.manifest.json").read_bytes())
    with pytest.raises(IntegrityError, match=r"evil\.bin: expected the sha256 of its manifest"):
        manifest.read(tmp_path / "evil.bin", verify=True)


def test_a_small_text_file_is_replaced_whole(tmp_path):
    manifest.write_text(tmp_path / "note.txt", "one")
    manifest.write_text(tmp_path / "note.txt", "two")
    assert (tmp_path / "note.txt").read_text() == "two"
    assert names(tmp_path) == ["note.txt"]


def test_sealing_covers_the_named_parts_only(tmp_path):
    (tmp_path / "encoder").mkdir()
    for name in ("config.json", "encoder/weights", "scratch"):
        (tmp_path / name).write_text(name)
    manifest.seal(tmp_path, "run", {"steps": 3}, parts=("config.json", "encoder", "absent"))
    found = manifest.read(tmp_path, "run", verify=True)
    assert (sorted(found.files), found.meta) == (["config.json", "encoder/weights"], {"steps": 3})


# -------------------------------------------------------------------------------------------------------------- full disks


@contextlib.contextmanager
def file_size_limit(n_bytes):
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def save_array(path):
    np.save(path / "big.npy", np.zeros(200_000))


def save_text(path):
    (path / "big.txt").write_text("x" * 2_000_000)


@pytest.mark.parametrize("save", [save_array, save_text])
def test_a_file_that_cannot_be_written_to_its_end_is_a_storage_error(tmp_path, save):
    """A real short write: numpy reports it without an errno."""
    target = write(tmp_path / "out", "old")
    with (
        pytest.raises(
            StorageError, match=r"expected room to write; .* \([\d,]+ bytes free\)\. Free some space"
        ) as caught,
        file_size_limit(1 << 20),
        manifest.write_directory(target, "thing", overwrite=True) as draft,
    ):
        save(draft.path)
    assert caught.value.exit_code == 5
    assert manifest.read(target, verify=True).meta == {"n": 1}
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, "room to write"),
        (errno.EDQUOT, "room to write"),
        (errno.EROFS, "a place that can be written"),
    ],
)
def test_disk_errors_are_storage_errors(tmp_path, number, expected):
    reason = os.strerror(number)
    with pytest.raises(StorageError, match=f"expected {expected}; found {reason}"):
        start(tmp_path / "out", raising(OSError(number, reason)))
    assert names(tmp_path) == []


def test_other_os_errors_are_not_blamed_on_the_disk(tmp_path):
    with pytest.raises(FileNotFoundError, match="input"):
        start(tmp_path / "out", lambda _: Path(tmp_path / "input").read_text())
    assert names(tmp_path) == []


def test_a_file_where_a_folder_should_be_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="expected a place that can be written"):
        write(tmp_path / "file" / "out")
    assert names(tmp_path) == ["file"]


# ----------------------------------------------------------------------------------------------------------------- reading


def test_nothing_there_and_nothing_of_ours_are_told_apart(tmp_path):
    with pytest.raises(MissingError) as caught:
        manifest.read(tmp_path / "absent", "event-log")
    assert (
        str(caught.value)
        == f"{tmp_path / 'absent'}: expected an event-log; found nothing there. Check the path."
    )
    with pytest.raises(MissingError, match="expected a usermodel artefact; found no manifest there"):
        manifest.read(tmp_path)
    target = write(tmp_path / "out", kind="run")
    with pytest.raises(MissingError, match=r"expected a store; found a run\. Give the path of a store\.$"):
        manifest.read(target, "store")


DAMAGED = {
    "empty": b"",
    "truncated": b'{"kind": "thing", "format": 1, "me',
    "a list": b"[]",
    "a number": b"7",
    "no keys": b"{}",
    "binary": b"\xff\xfe\x00",
    "files is a list": b'{"kind": "thing", "format": 1, "meta": {}, "files": ["a"]}',
    "facts are text": b'{"kind": "thing", "format": 1, "meta": {}, "files": {"a": "b"}}',
    "facts are null": b'{"kind": "thing", "format": 1, "meta": {}, "files": {"a": null}}',
    "no sha256": b'{"kind": "thing", "format": 1, "meta": {}, "files": {"a": {"bytes": 1}}}',
    "meta is null": b'{"kind": "thing", "format": 1, "meta": null, "files": {}}',
    "format is text": b'{"kind": "thing", "format": "x", "meta": {}, "files": {}}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_manifest_is_an_integrity_error(tmp_path, text):
    target = write(tmp_path / "out")
    (target / manifest.NAME).write_bytes(text)
    with pytest.raises(
        IntegrityError, match=r"manifest\.json: expected a manifest; found .*Copy or make"
    ) as caught:
        manifest.read(target)
    assert caught.value.exit_code == 4


def test_a_newer_format_asks_for_an_upgrade(tmp_path):
    target = write(tmp_path / "out")
    reseal(target, format=2, files=["another layout"])
    with pytest.raises(
        IntegrityError, match=r"expected format 1 or older; found format 2\. Upgrade usermodel\.$"
    ):
        manifest.read(target)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "sub/../../secret", ".."])
def test_file_names_that_leave_the_folder_are_refused(tmp_path, name):
    (tmp_path / "secret").write_text("secret")
    facts = {"bytes": 6, "sha256": hashlib.sha256(b"secret").hexdigest()}
    target = write(tmp_path / "out")
    reseal(target, files={name: facts})
    for verify in (False, True):
        with pytest.raises(IntegrityError, match="expected file names inside the artefact; found") as caught:
            manifest.read(target, verify=verify)
        assert repr(name) in str(caught.value)


def test_missing_files_and_other_sizes_are_always_seen(tmp_path):
    target = write(tmp_path / "out")
    (target / "a.txt").write_text("hell")
    with pytest.raises(IntegrityError, match=r"a\.txt: expected 5 bytes; found 4 bytes"):
        manifest.read(target)
    (target / "a.txt").unlink()
    with pytest.raises(IntegrityError, match=r"a\.txt: expected 5 bytes; found no file"):
        manifest.read(target)
    (target / "a.txt").mkdir()
    with pytest.raises(IntegrityError, match=r"a\.txt: expected 5 bytes; found no file"):
        manifest.read(target)


def test_other_bytes_of_the_same_size_are_seen_when_asked(tmp_path):
    target = write(tmp_path / "out")
    (target / "a.txt").write_text("hallo")
    assert manifest.read(target).kind == "thing"
    with pytest.raises(
        IntegrityError, match=r"a\.txt: expected the sha256 of its manifest; found other bytes"
    ):
        manifest.read(target, verify=True)


@pytest.fixture(scope="module")
def artefact(tmp_path_factory):
    return write(tmp_path_factory.mktemp("fuzz") / "out", "some text to flip")


@given(data=st.data())
def test_every_flipped_bit_of_a_file_is_found(artefact, data):
    path = artefact / data.draw(st.sampled_from(["a.txt", "sub/b.txt"]))
    good = path.read_bytes()
    bad = bytearray(good)
    bad[data.draw(st.integers(0, len(good) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        path.write_bytes(bad)
        with pytest.raises(IntegrityError):
            manifest.read(artefact, "thing", verify=True)
    finally:
        path.write_bytes(good)


@given(data=st.data())
def test_no_damage_of_a_manifest_raises_anything_but_our_errors(artefact, data):
    path = artefact / manifest.NAME
    good = path.read_bytes()
    start = data.draw(st.integers(0, len(good)))
    stop = data.draw(st.integers(start, min(len(good), start + 8)))
    try:
        path.write_bytes(good[:start] + data.draw(st.binary(max_size=8)) + good[stop:])
        try:
            found = manifest.read(artefact, "thing", verify=True)
        except UserModelError:
            return
        # What still reads is a manifest that only differs in facts or names fewer files.
        assert found.kind == "thing"
        assert set(found.files) <= {"a.txt", "sub/b.txt"}
    finally:
        path.write_bytes(good)
