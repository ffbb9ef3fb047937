"""Text files in blocks of whole lines, decompressed as they are read, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa

from usermodel.errors import DataError

BLOCK_BYTES: Final = 32 << 20
_BOM: Final = b"\xef\xbb\xbf"
#: Byte-order marks of encodings that would otherwise be read as rows of garbage.
_WIDE: Final = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


class TextBlock(NamedTuple):
    """Whole lines of a file; ``first_line`` is the number of the first, from 1."""

    data: bytes
    first_line: int


def text_blocks(path: Path, *, quoted: bool = False) -> Iterator[TextBlock]:
    """Read a file, plain or compressed (.gz, .zst, .bz2), in blocks that end with a line.

    Args:
        path: The file.
        quoted: Do not end a block inside an open quote, so that a quoted field may hold line breaks.

    Raises:
        DataError: Not UTF-8 by its first bytes, or a compressed file that ends too early.
    """
    rest, line, start = b"", 1, True
    try:
        with pa.input_stream(str(path), compression="detect", buffer_size=1 << 20) as stream:
            while data := stream.read(BLOCK_BYTES):
                if start:
                    data, start = _begin(data, path), False
                data = rest + data
                cut = _cut(data, quoted)
                rest = data[cut:]
                if cut:
                    yield TextBlock(data[:cut], line)
                    line += data.count(b"\n", 0, cut)
    except (OSError, pa.ArrowException) as error:
        found = f"{str(error).splitlines()[0]:.80} after {line - 1:,} whole lines"
        raise DataError(f"D002 {path}", expected="a whole file", found=found, do="Copy it again.") from None
    if rest:
        yield TextBlock(rest, line)


def _begin(data: bytes, path: Path) -> bytes:
    if data[:2] in _WIDE:
        do = "Re-encode it, for example with: iconv -f utf-16 -t utf-8."
        raise DataError(str(path), expected="text in UTF-8", found=_WIDE[data[:2]], do=do)
    return data.removeprefix(_BOM)


def _cut(data: bytes, quoted: bool) -> int:
    """Where the last whole line ends; 0 when none does."""
    cut = data.rfind(b"\n") + 1
    # An odd number of quotes means that the cut lies inside a field, or that a quote never closes. In the second case no
    # cut is even; the block then ends at a line all the same, and the row is found out below.
    return cut if not quoted or data.count(b'"', 0, cut) % 2 == 0 else _even_cut(data, cut)


def _even_cut(data: bytes, cut: int) -> int:
    at = cut
    for _ in range(1_000):
        at = data.rfind(b"\n", 0, max(at - 1, 0)) + 1
        if at == 0:
            break
        if data.count(b'"', 0, at) % 2 == 0:
            return at
    return cut
