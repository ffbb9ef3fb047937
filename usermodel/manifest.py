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
from usermodel.missing import missing

NAME: Final = "manifest.json"
FORMAT: Final = 1
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_AGAIN: Final = "Copy or make the artefact again."
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_PLACE: Final = frozenset({errno.EIO, errno.EROFS, errno.EBUSY, errno.EXDEV})


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


def refuse_existing(target: str | Path, kind: str, overwrite: bool) -> None:
    """Raise `OutputExistsError` unless ``target`` is free, or holds a ``kind`` that may be replaced.

    Writers ask this themselves, first and last; long work does well to ask before it begins.
    """
    target, is_folder = Path(target), Path(target).is_dir()
    if not (target.exists() or target.is_symlink()) or (is_folder and not any(target.iterdir())):
        return
    expected, found = "an output that does not exist yet", "an existing one"
    do = "Choose another name, or pass --overwrite (overwrite=True)."
    if overwrite:
        expected, do = f"{_a(kind)} to replace", "Move it away, or choose another name."
        try:
            there = _parse(target / NAME if is_folder else _beside(target)).kind
        except (OSError, IntegrityError):
            found = f"a {'folder' if is_folder else 'file'} that this program did not write"
        else:
            if there == kind:
                return
            found = _a(there)
    raise OutputExistsError(str(target), expected=expected, found=found, do=do)


def _a(kind: str) -> str:
    return f"{'an' if kind[:1] in 'aeio' else 'a'} {kind}"


def _sweep(target: Path) -> None:
    """Remove what killed writers of the same target left behind."""
    for left in [path for path in target.parent.iterdir() if path.name.startswith(f".{target.name}.tmp-")]:
        pid = left.name.rpartition(".tmp-")[2].partition("-")[0]
        if pid.isdigit() and Path(f"/proc/{pid}").exists():
            continue
        if left.name.endswith("-old") and not target.exists():
            left.rename(target)
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
        if number not in {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}:
            raise OSError(number, os.strerror(number), str(old))
        # No exchange on this file system: for a moment the old content has a hidden name. Whoever is killed then
        # leaves that name behind, and the next writer puts it back.
        aside = old.with_name(f"{new.name}-old")
        old.rename(aside)
        new.rename(old)
        _remove(aside)


@contextlib.contextmanager
def write_directory(target: str | Path, kind: str, *, overwrite: bool = False) -> Iterator[Draft]:
    """Write a folder artefact; it appears complete, with its manifest, or not at all.

    Yields:
        A `Draft` whose ``path`` is an empty folder to fill.

    Raises:
        OutputExistsError: ``target`` exists and ``overwrite`` is off, or it is no artefact of this kind.
        StorageError: The disk refused; the target is as it was.
    """
    refuse_existing(target, kind, overwrite)
    target = Path(target).absolute()
    with _temporary(target, lambda path: path.mkdir(mode=0o700)) as temporary:
        draft = Draft(temporary, {})
        yield draft
        names = sorted(str(path.relative_to(temporary)) for path in temporary.rglob("*") if path.is_file())
        manifest = Manifest(kind, draft.meta, {name: _describe(temporary / name) for name in names})
        (temporary / NAME).write_text(manifest.to_json(), encoding="utf-8")
        for path in (*(path for path in temporary.rglob("*") if path.is_dir()), temporary / NAME, temporary):
            _fsync(path)
        # Somebody else may have been faster.
        refuse_existing(target, kind, overwrite)
        if target.exists():
            _exchange(temporary, target)
        else:
            temporary.rename(target)


@contextlib.contextmanager
def write_file(target: str | Path, kind: str, *, overwrite: bool = False) -> Iterator[Draft]:
    """Write one file plus ``NAME.manifest.json`` beside it.

    The manifest comes first: a kill between the renames leaves a manifest alone, or one that the old file fails.
    """
    given, target = target, Path(target).absolute()
    if target.is_dir():
        do = "Choose another name."
        raise OutputExistsError(str(given), expected="a file name", found="a folder", do=do)
    refuse_existing(given, kind, overwrite)
    with _temporary(target, lambda path: path.touch(mode=0o600)) as temporary:
        draft = Draft(temporary, {})
        yield draft
        manifest = Manifest(kind, draft.meta, {target.name: _describe(temporary)})
        notes = temporary.with_name(temporary.name + ".json")
        try:
            notes.write_text(manifest.to_json(), encoding="utf-8")
            _fsync(notes)
            refuse_existing(target, kind, overwrite)
            notes.rename(_beside(target))
            temporary.rename(target)
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
    found = [path for part in parts for path in (folder / part, *(folder / part).rglob("*"))]
    files = {str(path.relative_to(folder)): _describe(path) for path in sorted(found) if path.is_file()}
    write_text(folder / NAME, Manifest(kind, meta, files).to_json())


@contextlib.contextmanager
def _temporary(target: Path, create: Callable[[Path], None]) -> Iterator[Path]:
    temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        create(temporary)
    except OSError as error:
        raise _storage_error(target, error) from error
    try:
        yield temporary
        _fsync(target.parent)
    except OSError as error:
        # A file that numpy could not write to its end has no errno, only "N requested and M written".
        short = error.errno is None and str(error).endswith(" written")
        if not short and error.errno not in _NO_ROOM | _NO_PLACE:
            raise
        raise _storage_error(target, error) from error
    finally:
        _remove(temporary)


def _storage_error(target: Path, error: OSError) -> StorageError:
    expected, found = "a place that can be written", error.strerror or str(error)
    if error.errno in {None, *_NO_ROOM}:
        expected, found = "room to write", f"{found} ({shutil.disk_usage(target.parent).free:,} bytes free)"
    do = "Free some space or choose another place; what was there before is untouched."
    return StorageError(str(target), expected=expected, found=found, do=do)


def _describe(path: Path) -> dict[str, Any]:
    _fsync(path)
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def _beside(path: Path) -> Path:
    return path.with_name(path.name + "." + NAME)


def read(path: str | Path, kind: str | None = None, *, verify: bool = False, but: str = "") -> Manifest:
    """Read and check the manifest of a folder or of a single file.

    Sizes are compared, with ``verify`` every sha256 too, which reads every byte; a file named ``but`` is passed over.

    Raises:
        MissingError: Nothing there, something without a manifest, or an artefact of another kind.
        IntegrityError: Not a manifest, a newer format, a file of another size or content.
    """
    path, is_folder = Path(path), Path(path).is_dir()
    notes = path / NAME if is_folder else _beside(path)
    what = _a(kind or "usermodel artefact")
    if not path.exists() or not notes.is_file():
        raise missing(path, what)
    manifest = _parse(notes)
    if kind not in {None, manifest.kind}:
        raise MissingError(str(path), expected=what, found=_a(manifest.kind), do=f"Give the path of {what}.")
    if not is_folder and len(manifest.files) != 1:
        raise IntegrityError(str(notes), expected="one file", found=f"{len(manifest.files)}", do=_AGAIN)
    for name, facts in manifest.files.items():
        # A single file may have been renamed together with its manifest.
        if (file := path / name if is_folder else path).name != but:
            _check_file(file, facts, verify)
    return manifest


def _parse(notes: Path) -> Manifest:
    try:
        data = json.loads(notes.read_text(encoding="utf-8"))
        given = data["files"] if int(data["format"]) <= FORMAT else {}
        files = {n: {"bytes": int(f["bytes"]), "sha256": str(f["sha256"])} for n, f in given.items()}
        manifest = Manifest(str(data["kind"]), {**data["meta"]}, files, int(data["format"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(str(notes), expected="a manifest", found=f"{error!r:.80}", do=_AGAIN) from None
    if manifest.format > FORMAT:
        expected, found = f"format {FORMAT} or older", f"format {manifest.format}"
        raise IntegrityError(str(notes), expected=expected, found=found, do="Upgrade usermodel.")
    outside = [name for name in files if Path(name).is_absolute() or ".." in Path(name).parts]
    if outside:
        expected, do = "file names inside the artefact", "Do not use this artefact."
        raise IntegrityError(str(notes), expected=expected, found=repr(outside[0]), do=do)
    return manifest


def _check_file(file: Path, facts: dict[str, Any], verify: bool) -> None:
    size = file.stat().st_size if file.is_file() else None
    if size != facts["bytes"]:
        found = "no file" if size is None else f"{size} bytes"
        raise IntegrityError(str(file), expected=f"{facts['bytes']} bytes", found=found, do=_AGAIN)
    if verify and sha256(file) != facts["sha256"]:
        raise IntegrityError(str(file), expected="the sha256 of its manifest", found="other bytes", do=_AGAIN)
