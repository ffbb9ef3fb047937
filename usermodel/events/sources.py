"""Where logs lie: paths, folders, globs and URLs of object stores -> files, all opened in one way."""

from __future__ import annotations

import glob
import io
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pyarrow as pa
from pyarrow.fs import FileSystem, LocalFileSystem

from usermodel.errors import DataError, MissingError, UserModelError
from usermodel.events.urls import Url, storage_error

_LOCAL: Final = LocalFileSystem()
#: Compressed text by the end of its name; the end of a name is all that says so.
_CODECS: Final = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lz4": "lz4"}
#: Read at once: a request to an object store takes as long as megabytes do.
_REMOTE_BYTES: Final = 8 << 20
_HIDDEN: Final = (".", "_")


@dataclass
class LogFile:
    """One file of a log.

    Attributes:
        name: As messages and manifests write it: a path, or a URL without credentials.
        size: Bytes, compressed ones where the file is compressed.
        system: File system that holds it.
        path: Its path there.
        inside: Its path below the folder that was named; empty when the file itself was.
        url: The URL that it was found by; None on this machine.
        bytes_read: How far a reader has come.
        fault: Why the store stopped giving bytes. To a parser that looks like a damaged file.
    """

    name: str
    size: int
    system: FileSystem
    path: str
    inside: str = ""
    url: Url | None = None
    bytes_read: int = 0
    fault: UserModelError | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return self.name

    @property
    def suffixes(self) -> list[str]:
        """Suffixes of the name in lower case, those of compression left out."""
        found = [suffix.lower() for suffix in PurePosixPath(self.path).suffixes]
        return [suffix for suffix in found if suffix not in _CODECS]

    def chunks(self, size: int) -> Generator[bytes, None, None]:
        """The bytes of a text file, decompressed, ``size`` at a time.

        Raises:
            OSError: It cannot be read or decompressed; `fault` is set when the store is to blame.
        """
        with self.open(buffer=_REMOTE_BYTES) as raw:
            codec = _CODECS.get(PurePosixPath(self.path).suffix)
            stream = raw if codec is None else pa.CompressedInputStream(raw, codec)
            while data := stream.read(size):
                self.bytes_read = raw.tell()
                yield data
        self.bytes_read = self.size

    def open(self, buffer: int = 1) -> Any:
        """A handle that reads anywhere in the file; on an object store, one that notes why it fails.

        Args:
            buffer: Bytes that an object store is asked for at least.

        Raises:
            OSError: As for `chunks`.
        """
        if self.url is None:
            return self.system.open_input_file(self.path)
        try:
            handle = _Handle(self.system.open_input_file(self.path), self)
        except (OSError, pa.ArrowException) as error:
            raise self.lost(error) from None
        return pa.PythonFile(io.BufferedReader(handle, buffer) if buffer > 1 else handle, mode="r")

    def lost(self, error: BaseException) -> UserModelError:
        """The error of a file whose store failed while it was read."""
        assert self.url is not None
        self.fault = storage_error(self.url, error, name=self.name)
        return self.fault


class _Handle(io.RawIOBase):
    """A file on an object store; a failure is put down as the fault of the store."""

    def __init__(self, handle: Any, file: LogFile) -> None:
        self.handle, self.file = handle, file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        try:
            return int(self.handle.readinto(buffer))
        except (OSError, pa.ArrowException) as error:
            raise self.file.lost(error) from None

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return int(self.handle.seek(offset, whence))

    def tell(self) -> int:
        return int(self.handle.tell())

    def close(self) -> None:
        self.handle.close()
        super().close()


def expand(source: str | Path | Sequence[str | Path]) -> list[LogFile]:
    """Paths, globs, folders and URLs -> existing files in sorted order, no file twice.

    Raises:
        MissingError: No such file or object.
        DataError: A URL that cannot be read, an empty path, or a file that is named twice.
        StorageError: A store that does not answer, or gives no access.
    """
    found: list[LogFile] = []
    for one in [source] if isinstance(source, str | Path) else source:
        found += _of_url(Url.parse(one)) if isinstance(one, str) and "://" in one else _of_path(one)
    count = Counter((file.system.type_name, file.path) for file in found)
    twice = [file for file in found if count[file.system.type_name, file.path] > 1]
    if twice:
        raise DataError(twice[0].name, expected="each file once", found="it twice", do="Name it once.")
    if not found:
        raise MissingError(
            "source", expected="a log file", found="an empty list", do="Name at least one file."
        )
    return found


def local_file(path: Path, root: Path | None = None) -> LogFile:
    """A file of this machine, found in the folder ``root``."""
    inside = "" if root is None else str(path.relative_to(root))
    return LogFile(str(path), path.stat().st_size, _LOCAL, str(path), inside)


def _of_path(one: str | Path) -> list[LogFile]:
    if one == "":
        # pathlib takes it for the working folder, which nobody has named: a variable of a script was empty.
        do = "Name a file or a folder; the working folder is '.'."
        raise DataError("source", expected="a path", found="''", do=do)
    path, root = Path(one), None
    matches = [path]
    if path.is_dir():
        matches, root = (
            sorted(file for file in path.rglob("*") if file.is_file() and _is_log(file.name)),
            path,
        )
    elif not path.exists() and glob.has_magic(str(one)):
        # The functions of pathlib know no absolute patterns and take in hidden files.
        matches = [Path(name) for name in sorted(glob.glob(str(one))) if Path(name).is_file()]  # noqa: PTH207
    if not matches or not matches[0].is_file():
        what = "a folder without files" if path.is_dir() else "no such file"
        raise MissingError(str(one), expected="a log file", found=what, do="Check the path and the spelling.")
    return [local_file(file, root) for file in matches]


def _of_url(url: Url) -> list[LogFile]:
    system, found = url.find()
    # A path on this machine fails like one, whatever it was called by.
    origin = None if isinstance(system, LocalFileSystem) else url
    files = [
        LogFile(one.name, one.size, system, one.path, one.inside, origin)
        for one in found
        if not one.inside or _is_log(PurePosixPath(one.path).name)
    ]
    if not files:
        what = "a folder without files" if found else "no such object"
        raise MissingError(url.shown, expected="a log file", found=what, do="Check the URL and the spelling.")
    return files


def _is_log(name: str) -> bool:
    """Of the files in a folder those that are no notes and not hidden."""
    return not name.startswith(_HIDDEN) and name != "manifest.json"
