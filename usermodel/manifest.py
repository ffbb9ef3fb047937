"""The one writer of artefacts, and the one door readers come in by.

Files are written beside the target under a temporary name; each is hashed and flushed to disk; ``manifest.json``
is written last; then one rename makes the whole artefact visible. Whoever is killed half-way leaves the target as it
was. Replacing a folder exchanges the two names in one system call, so a reader finds the old or the new, never neither.

A manifest carries no clock time: the same input gives the same bytes.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from usermodel.errors import IntegrityError, MissingError, OutputExistsError, StorageError

NAME: Final = "manifest.json"
FORMAT: Final = 1
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2


@dataclass
class Manifest:
    """What an artefact is, where it came from, and the size and sha256 of each of its files."""

    kind: str
    meta: dict[str, Any] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def content_hash(self) -> str:
        """Identity of the content: the same files and the same meta give the same hash."""
        text = json.dumps([self.kind, self.meta, self.files], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> str:
        """Canonical text: sorted keys, one trailing newline."""
        data = {"kind": self.kind, "format": self.format, "meta": self.meta, "files": self.files}
        return json.dumps(data, indent=1, sort_keys=True) + "\n"


@dataclass
class Draft:
    """An artefact being written: put files under ``path``, facts into ``meta``."""

    path: Path
    meta: dict[str, Any]


def sha256(path: Path) -> str:
    """Hash of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refuse_existing(target: Path, kind: str, overwrite: bool) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not overwrite:
        do = "Choose another name, or pass --overwrite (overwrite=True)."
        raise OutputExistsError(str(target), expected="an output that does not exist yet", found="an existing one", do=do)
    ours = (target / NAME).is_file() if target.is_dir() else _beside(target).is_file()
    if not ours:
        found = f"a {'folder' if target.is_dir() else 'file'} that this program did not write"
        raise OutputExistsError(str(target), expected=f"a {kind} to replace", found=found, do="Move it away, or choose another name.")


def _sweep(target: Path) -> None:
    """Remove what killed writers of the same target left behind."""
    for left in target.parent.glob(f".{target.name}.tmp-*"):
        pid = left.name.rpartition(".tmp-")[2].partition("-")[0]
        if pid.isdigit() and Path(f"/proc/{pid}").exists():
            continue
        _remove(left)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _exchange(new: Path, old: Path) -> None:
    """Swap two names atomically (Linux renameat2); both must exist."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = libc.renameat2(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(old), _RENAME_EXCHANGE)
    if code != 0:
        number = ctypes.get_errno()
        if number not in {errno.EINVAL, errno.ENOSYS}:
            raise OSError(number, os.strerror(number), str(old))
        # A file system without exchange: two renames, and a moment in which the old content has a hidden name.
        aside = old.with_name(f"{new.name}-old")
        old.rename(aside)
        new.rename(old)
        aside.rename(new)


@contextlib.contextmanager
def write_directory(target: str | Path, kind: str, *, overwrite: bool = False) -> Iterator[Draft]:
    """Write a folder artefact; it appears complete, with its manifest, or not at all.

    Yields:
        A `Draft` whose ``path`` is an empty folder to fill.

    Raises:
        OutputExistsError: ``target`` exists and ``overwrite`` is off, or it is not an artefact of ours.
        StorageError: The disk refused; the target is as it was.
    """
    target = Path(target)
    _refuse_existing(target, kind, overwrite)
    with _temporary(target, lambda path: path.mkdir(mode=0o700)) as temporary:
        draft = Draft(temporary, {})
        yield draft
        names = sorted(str(path.relative_to(temporary)) for path in temporary.rglob("*") if path.is_file())
        manifest = Manifest(kind, draft.meta, {name: _describe(temporary / name) for name in names})
        (temporary / NAME).write_text(manifest.to_json(), encoding="utf-8")
        for folder in (path for path in temporary.rglob("*") if path.is_dir()):
            _fsync(folder)
        _fsync(temporary / NAME)
        _fsync(temporary)
        if target.exists() and any(target.iterdir()):
            _exchange(temporary, target)
        else:
            temporary.rename(target)


@contextlib.contextmanager
def write_file(target: str | Path, kind: str, *, overwrite: bool = False) -> Iterator[Draft]:
    """Write one file plus ``NAME.manifest.json`` beside it; both appear complete or not at all."""
    target = Path(target)
    _refuse_existing(target, kind, overwrite)
    with _temporary(target, lambda path: path.touch(mode=0o600)) as temporary:
        draft = Draft(temporary, {})
        yield draft
        manifest = Manifest(kind, draft.meta, {target.name: _describe(temporary)})
        notes = temporary.with_name(temporary.name + ".json")
        try:
            notes.write_text(manifest.to_json(), encoding="utf-8")
            _fsync(notes)
            temporary.rename(target)
            notes.rename(_beside(target))
        finally:
            notes.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Replace a small text file inside a folder artefact atomically."""
    with _temporary(target, lambda path: path.touch(mode=0o600)) as temporary:
        temporary.write_text(text, encoding="utf-8")
        _fsync(temporary)
        temporary.rename(target)


def seal(folder: Path, kind: str, meta: dict[str, Any], *, parts: tuple[str, ...]) -> None:
    """Declare a folder that grew in place complete: write its manifest over the files under ``parts``."""
    paths = [path for part in parts for path in [folder / part, *(folder / part).rglob("*")] if path.is_file()]
    files = {str(path.relative_to(folder)): _describe(path) for path in sorted(paths)}
    write_text(folder / NAME, Manifest(kind, meta, files).to_json())


@contextlib.contextmanager
def _temporary(target: Path, create: Callable[[Path], None]) -> Iterator[Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        create(temporary)
        yield temporary
        _fsync(target.parent)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG}:
            raise
        free = shutil.disk_usage(target.parent).free
        found = f"{error.strerror} ({free:,} bytes free)"
        do = "Free some space or choose another disk; what was there before is untouched."
        raise StorageError(str(target), expected="room to write", found=found, do=do) from error
    finally:
        _remove(temporary)


def _describe(path: Path) -> dict[str, Any]:
    _fsync(path)
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def _beside(path: Path) -> Path:
    return path.with_name(path.name + "." + NAME)


def read(path: str | Path, kind: str | None = None, *, verify: bool = False) -> Manifest:
    """Read and check the manifest of a folder or of a single file.

    Sizes are always compared; ``verify`` also compares every sha256, which reads every byte.

    Raises:
        MissingError: Nothing there, or something without a manifest.
        IntegrityError: Not a manifest, another kind, a newer format, a file of another size or content.
    """
    path = Path(path)
    notes = path / NAME if path.is_dir() else _beside(path)
    if not path.exists() or not notes.is_file():
        found = "no manifest there" if path.exists() else "nothing there"
        raise MissingError(str(path), expected=f"a {kind or 'usermodel artefact'}", found=found, do="Check the path.")
    try:
        data = json.loads(notes.read_text(encoding="utf-8"))
        manifest = Manifest(str(data["kind"]), dict(data["meta"]), dict(data["files"]), int(data["format"]))
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(str(notes), expected="a manifest", found=f"{error!r:.80}", do="Make the artefact again.") from None
    if kind is not None and manifest.kind != kind:
        raise MissingError(str(path), expected=f"a {kind}", found=f"a {manifest.kind}", do=f"Give the path of a {kind}.")
    if manifest.format > FORMAT:
        raise IntegrityError(str(path), expected=f"format {FORMAT} or older", found=f"format {manifest.format}", do="Upgrade usermodel.")
    root = path if path.is_dir() else path.parent
    for name, facts in manifest.files.items():
        _check_file(root, name, facts, verify)
    return manifest


def _check_file(root: Path, name: str, facts: dict[str, Any], verify: bool) -> None:
    file = root / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise IntegrityError(str(root), expected="file names inside the artefact", found=repr(name), do="Do not use this file.")
    size = file.stat().st_size if file.is_file() else None
    if size != facts["bytes"]:
        found = "no file" if size is None else f"{size} bytes"
        raise IntegrityError(str(file), expected=f"{facts['bytes']} bytes", found=found, do="Copy or make the artefact again.")
    if verify and sha256(file) != facts["sha256"]:
        raise IntegrityError(str(file), expected="the sha256 in the manifest", found="other bytes", do="Copy or make it again.")
