"""Download the files of a data set, when somebody asks for it: checked, resumable, through pooch (extra ``data``)."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from usermodel import manifest
from usermodel.errors import DataError, IntegrityError, MissingError, StorageError
from usermodel.events.data_cards import Card, Download

#: A broken connection loses at most this much.
_CHUNK: Final = 1 << 16
_TIMEOUT_S: Final = 60
#: ``update(bytes done, bytes in all)``.
Progress = Callable[[int, int], None]


def get(card: Card, out: str | Path, *, on_progress: Progress | None = None) -> dict[str, str]:
    """Download and unpack the files of a data set.

    Args:
        card: The set.
        out: Folder to put them in; made if it is not there. A file that is there and right is kept.
        on_progress: Called with bytes done and bytes in all.

    Returns:
        File name -> its sha256, for the files whose hash the card does not know; they are also in ``SHA256SUMS``.

    Raises:
        DataError: The owner asks for consent, a login or a form: the message says where.
        MissingError: pooch is not installed.
        IntegrityError: A file is not the owner's.
        StorageError: The network or the disk said no; what came is kept, and the next call goes on from there.
    """
    if not card.downloads:
        found = "one that its owner gives out by hand"
        do = f"{card.by_hand} Page: {card.source}"
        raise DataError(card.name, expected="a set with a plain address", found=found, do=do)
    pooch = _pooch()
    out = Path(out)
    new: dict[str, str] = {}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for download in card.downloads:
            path = _fetch(pooch, download, out, on_progress)
            if download.checksum is None:
                new[download.name] = manifest.sha256(path)
            _unpack(path, out)
        if new:
            sums = "".join(f"{value}  {name}\n" for name, value in new.items())
            (out / "SHA256SUMS").write_text(sums, encoding="utf-8")
    except OSError as error:
        if isinstance(error, StorageError | MissingError):
            raise
        do = "Check the network and the disk, then run it again: it goes on where it stopped."
        raise StorageError(card.name, expected="a download", found=f"{error!s:.120}", do=do) from None
    return new


def _pooch() -> Any:
    try:
        import pooch
    except ImportError:
        do = "Install it with: pip install 'usermodel[data]'"
        raise MissingError("usermodel data get", expected="pooch", found="none", do=do) from None
    pooch.get_logger().setLevel("WARNING")
    return pooch


def _fetch(pooch: Any, download: Download, out: Path, on_progress: Progress | None) -> Path:
    part = out / f"{download.name}.part"
    try:
        path = pooch.retrieve(
            download.url,
            known_hash=download.checksum,
            fname=download.name,
            path=out,
            downloader=_Resuming(part, on_progress),
        )
    except ValueError as error:
        # Pooch has thrown its copy away; nothing of the wrong file is left to go on from.
        part.unlink(missing_ok=True)
        do = "Try again; if it stays, the owner has changed the file: please report it."
        found = " ".join(str(error).split())[:160]
        raise IntegrityError(download.name, expected=str(download.checksum), found=found, do=do) from None
    return Path(path)


class _Resuming:
    """A downloader for pooch that goes on where an earlier one stopped.

    Args:
        part: What has come so far.
        on_progress: Called after every chunk.
    """

    def __init__(self, part: Path, on_progress: Progress | None) -> None:
        self.part = part
        self.on_progress = on_progress

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:
        """Fetch ``url`` into ``output_file``."""
        del pooch
        import requests

        done = self.part.stat().st_size if self.part.exists() else 0
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                # All of it had come: the process died between the last byte and the rename.
                self.part.replace(output_file)
                return
            answer.raise_for_status()
            if answer.status_code != requests.codes.partial_content:
                done = 0
            total = done + int(answer.headers.get("Content-Length", 0))
            with self.part.open("ab" if done else "wb") as file:
                for chunk in answer.iter_content(_CHUNK):
                    file.write(chunk)
                    done += len(chunk)
                    if self.on_progress:
                        self.on_progress(done, max(total, done))
        if total > done:
            message = f"{done:,} of {total:,} bytes came"
            raise OSError(message)
        self.part.replace(output_file)


def _unpack(path: Path, out: Path) -> None:
    """Archives are unpacked beside themselves; members that point outside are refused by the standard library."""
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                archive.extractall(out)  # noqa: S202
        elif path.name.endswith((".tar.gz", ".tgz")):
            with tarfile.open(path) as tar:
                tar.extractall(out, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        do = "Delete it and run the command again."
        raise IntegrityError(str(path), expected="an archive", found=f"{error!s:.120}", do=do) from None
