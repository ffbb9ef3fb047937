"""Delimited text -> pieces. Whole blocks go through a fast parser; a block with anything odd is read again row by row."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from usermodel.errors import DataError
from usermodel.events.piece import Piece, numbered, require_columns
from usermodel.events.rejects import Reject
from usermodel.events.text_blocks import TextBlock, text_blocks

#: Lines that one quoted field may span.
_SPAN = 100


class Delimited:
    """A dialect: separator, quotes or none, header or none.

    Args:
        separator: One or more characters; of several, the parser sees a control character instead.
        quote: Whether fields may be quoted with ``"``.
        names: Column names of a format that has no header line.
        header: Whether the first line names the columns; without, and without ``names``, they are 0, 1, ...
        typed: Whether the header is that of an atomic file, ``name:type``.
    """

    def __init__(
        self,
        separator: str,
        *,
        quote: bool,
        names: list[str] | None = None,
        header: bool = True,
        typed: bool = False,
    ) -> None:
        self.separator, self.quote, self.names, self.typed = separator, quote, names, typed
        self.has_header = header and names is None

    def pieces(self, path: Path, wanted: list[str]) -> Iterator[Piece]:
        """Read a file; the header is checked before any row."""
        names: list[str] = []
        for block in text_blocks(path, quoted=self.quote):
            if not block.data.strip():
                continue
            if not names:
                head, _, body = block.data.partition(b"\n")
                names = self.names or (
                    self.header(head, path) if self.has_header else _numbers(head, self.separator)
                )
                require_columns(wanted, names, str(path))
                if self.has_header:
                    block = TextBlock(body, block.first_line + 1)  # noqa: PLW2901
            if block.data.strip():
                yield self._fast(block, str(path), names) or self._slow(block, str(path), names)

    def header(self, line: bytes, path: Path) -> list[str]:
        """Column names of a header line."""
        try:
            fields = self._fields(line.decode("utf-8").rstrip("\r\n"))
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(
                f"D003 {path}:1", expected="a header in UTF-8", found=f"{error!s:.80}", do="Re-encode it."
            ) from None
        if not self.typed:
            return fields
        odd = next((field for field in fields if ":" not in field), None)
        if odd is not None:
            do = "Write the type behind each name, for example user_id:token."
            raise DataError(f"D001 {path}:1", expected="a header of name:type fields", found=repr(odd), do=do)
        return [field.rpartition(":")[0] for field in fields]

    def _fast(self, block: TextBlock, file: str, names: list[str]) -> Piece | None:
        """The whole block at once, or None when a count does not fit and rows must be looked at."""
        data = block.data
        separator = self.separator.encode()
        rows = data.count(b"\n") + (not data.endswith(b"\n"))
        if b'"' in data and self.quote:
            return None if data.count(b'"') % 2 else self._parse(data, file, names, block.first_line, None)
        if data.count(separator) != rows * (len(names) - 1) or b"\x00" in data:
            return None
        if len(separator) > 1:
            data = data.replace(separator, b"\x1f")
        return self._parse(data, file, names, block.first_line, rows)

    def _parse(self, data: bytes, file: str, names: list[str], first: int, rows: int | None) -> Piece | None:
        separator = self.separator if len(self.separator.encode()) == 1 else "\x1f"
        try:
            frame = pl.read_csv(
                data,
                has_header=False,
                separator=separator,
                quote_char='"' if self.quote else None,
                infer_schema=False,
                schema={f"column_{n + 1}": pl.String for n in range(len(names))},
            )
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
            return None
        # With quotes a row may span lines, and a short row is told from empty last fields only row by row.
        odd = frame.height != rows if rows is not None else self._spans(data, frame)
        if odd or frame.select(pl.all_horizontal(pl.all().is_null()).any()).item():
            return None
        frame.columns = _unique(names)
        return numbered(file, frame, first)

    @staticmethod
    def _spans(data: bytes, frame: pl.DataFrame) -> bool:
        lines = data.count(b"\n") + (not data.endswith(b"\n"))
        return frame.height != lines or bool(frame[:, -1].null_count())

    def _slow(self, block: TextBlock, file: str, names: list[str]) -> Piece:
        """Row by row, with the physical line of each."""
        rows: list[list[str]] = []
        lines: list[int] = []
        rejects: list[Reject] = []
        for line, raw in self._rows(block):
            try:
                text = raw.decode("utf-8")
                fields = self._fields(text)
            except UnicodeDecodeError:
                rejects.append(Reject("D003", file, line, "", raw))
            except csv.Error as error:
                rejects.append(Reject("D005", file, line, "", text, str(error)))
            else:
                if len(fields) == len(names):
                    rows.append(fields)
                    lines.append(line)
                else:
                    reason = f"{len(fields)} fields where the header has {len(names)}"
                    rejects.append(Reject("D004", file, line, "", text, reason))
        frame = pl.DataFrame(rows, schema=dict.fromkeys(_unique(names), pl.String), orient="row")
        return Piece(file, frame, np.asarray(lines, dtype=np.int64), rejects)

    def _rows(self, block: TextBlock) -> Iterator[tuple[int, bytes]]:
        """Rows with the number of their first line; a quoted field may hold line breaks, a stray quote may not eat the file."""
        lines = block.data.split(b"\n")
        at = 0
        while at < len(lines):
            start, row = at, lines[at].removesuffix(b"\r")
            at += 1
            if self.quote and row.count(b'"') % 2:
                until = self._closing(lines, at)
                if until is not None:
                    row = b"\n".join([lines[start], *lines[at:until]]).removesuffix(b"\r")
                    at = until
            if row.strip():
                yield block.first_line + start, row

    @staticmethod
    def _closing(lines: list[bytes], at: int) -> int | None:
        """The line after the one that closes an open quote; None when none does nearby."""
        for stop in range(at, min(at + _SPAN, len(lines))):
            if lines[stop].count(b'"') % 2:
                return stop + 1
        return None

    def _fields(self, text: str) -> list[str]:
        if not self.quote:
            return text.split(self.separator)
        separator = self.separator
        if len(separator) > 1:
            text, separator = text.replace(separator, "\x1f"), "\x1f"
        return next(csv.reader([text], delimiter=separator, strict=True), [])


def _numbers(line: bytes, separator: str) -> list[str]:
    """Names of the columns of a file without header: 0, 1, ..."""
    return [str(number) for number in range(line.decode("utf-8", "replace").count(separator) + 1)]


def _unique(names: list[str]) -> list[str]:
    """Names with repeats told apart; a repeated column that is wanted was refused before."""
    return [name if names.index(name) == n else f"{name}#{n}" for n, name in enumerate(names)]
