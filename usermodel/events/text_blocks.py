"""Text files in blocks of whole lines, decompressed as they are read, in bounded memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final, NamedTuple

import pyarrow as pa

from usermodel.errors import DataError
from usermodel.events.sources import LogFile

BLOCK_BYTES: Final = 16 << 20
#: A longer line is no row: memory stays bounded whatever the file is.
LINE_BYTES: Final = 128 << 20
_BOM: Final = b"\xef\xbb\xbf"
_RECODE: Final = "Re-encode it, for example with: iconv -f utf-16 -t utf-8."
#: First bytes of what would otherwise be read as rows of garbage.
_OTHER: Final = {
    b"\xff\xfe": ("UTF-16", _RECODE),
    b"\xfe\xff": ("UTF-16", _RECODE),
    b"\x1f\x8b": ("a gzip archive", "Give it the suffix .gz."),
    b"\x28\xb5\x2f\xfd": ("a zstandard archive", "Give it the suffix .zst."),
    b"PK\x03\x04": ("a zip archive", "Unpack it."),
    b"PAR1": ("a Parquet file", "Name it with --format parquet."),
}


class TextBlock(NamedTuple):
    """Whole lines of a file; ``first_line`` is the number of the first, from 1."""

    data: bytes
    first_line: int


def text_blocks(file: LogFile, *, quoted: bool = False) -> Iterator[TextBlock]:
    """Read a file, plain or compressed (.gz, .zst, .bz2), in blocks that end with a line.

    Args:
        file: The file; it is told how far the reading has come.
        quoted: Do not end a block inside an open quote, so that a quoted field may hold line breaks.

    Raises:
        DataError: Not UTF-8 by its first bytes, or a compressed file that ends too early.
        StorageError: The object store failed.
    """
    rest, line = b"", 1
    try:
        with contextlib.closing(file.chunks(BLOCK_BYTES)) as chunks:
            coming = _begin(next(chunks, b""), file)
            while coming:
                data, coming = rest + coming, next(chunks, b"")
                # The last block takes a last line without an end along.
                cut = _cut(data, quoted) if coming else len(data)
                rest = data[cut:]
                if cut:
                    yield TextBlock(data[:cut], line)
                    line += data.count(b"\n", 0, cut)
                elif len(rest) > LINE_BYTES:
                    break
    except (OSError, pa.ArrowException) as error:
        found = f"{str(error).splitlines()[0]:.80} after {line - 1:,} whole lines"
        whole = DataError(f"D002 {file}", expected="a whole file", found=found, do="Copy it again.")
        raise file.fault or whole from None
    if len(rest) > LINE_BYTES:
        found, do = f"more than {LINE_BYTES:,} bytes without a line end in line {line:,}", "Check the format."
        raise DataError(f"D002 {file}", expected="lines of text", found=found, do=do)


def _begin(data: bytes, file: LogFile) -> bytes:
    """Without its byte-order mark, or a refusal of what is no text by its first bytes."""
    for magic, (what, do) in _OTHER.items():
        if data.startswith(magic):
            raise DataError(f"D003 {file}", expected="text in UTF-8", found=what, do=do)
    if b"\n" not in data and b"\r" in data:
        do = "Convert it, for example with: tr '\\r' '\\n'."
        raise DataError(f"D003 {file}", expected="lines", found="carriage returns and no line end", do=do)
    return data.removeprefix(_BOM)


def _cut(data: bytes, quoted: bool) -> int:
    """Where the last whole line ends; 0 when none does."""
    cut = data.rfind(b"\n") + 1
    # An odd number of quotes means that the cut lies inside a field, or that a quote never closes. In the second case no
    # cut is even; the block then ends at a line all the same, and the row is found out below.
    return cut if not quoted or data.count(b'"', 0, cut) % 2 == 0 else _even_cut(data, cut)


def _even_cut(data: bytes, cut: int) -> int:
    """The last line end with an even number of quotes before it; 0 when it may come with the next block."""
    at, odd = cut, True
    for _ in range(1_000):
        before, at = at, data.rfind(b"\n", 0, max(at - 1, 0)) + 1
        odd ^= data.count(b'"', at, before) % 2 == 1
        if at == 0:
            return 0 if len(data) <= LINE_BYTES else cut
        if not odd:
            return at
    return cut
