"""Delimited text -> pieces. Whole blocks go through a fast parser; a block with anything odd is read again row by row."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from usermodel.errors import DataError
from usermodel.events.piece import Piece, numbered, require_columns
from usermodel.events.rejects import Reject
from usermodel.events.sources import LogFile
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

    def pieces(self, path: LogFile, wanted: list[str]) -> Iterator[Piece]:
        """Read a file; the header is checked before any row."""
        names: list[str] = []
        for block in text_blocks(path, quoted=self.quote):
            if not block.data.strip():
                continue
            if not names:
                text = block.data.lstrip(b"\r\n")
                first = block.first_line + block.data.count(b"\n", 0, len(block.data) - len(text))
                head, _, body = text.partition(b"\n")
                names = self.names or self.header(head, path)
                require_columns(wanted, names, str(path))
                block = TextBlock(body, first + 1) if self.has_header else TextBlock(text, first)  # noqa: PLW2901
            if block.data.strip():
                yield self._fast(block, str(path), names) or self._slow(block, str(path), names)

    def header(self, line: bytes, path: LogFile) -> list[str]:
        """Column names by the first line: the names in it, or, without a header, 0, 1, ..."""
        try:
            fields = self._fields(line.decode("utf-8").removesuffix("\r"))
        except (UnicodeDecodeError, QuoteError) as error:
            found, do = f"{error!s:.80}" or "a quote that does not close", "Mend the first line."
            raise DataError(f"D003 {path}", expected="names in UTF-8", found=found, do=do) from None
        if not self.has_header:
            return [str(number) for number in range(len(fields))]
        if not self.typed:
            return fields
        odd = next((field for field in fields if ":" not in field), None)
        if odd is not None:
            do = "Write the type behind each name, for example user_id:token."
            raise DataError(f"D001 {path}:1", expected="a header of name:type fields", found=repr(odd), do=do)
        return [field.rpartition(":")[0] for field in fields]

    def _fast(self, block: TextBlock, file: str, names: list[str]) -> Piece | None:
        """The whole block at once, or None when a count does not fit and rows must be looked at."""
        data, separator = block.data, self.separator.encode()
        if len(separator) > 1 and ((self.quote and b'"' in data) or b"\x1f" in data):
            return None
        # The fast parser drops a carriage return at the end of any field, the line end being only one of them.
        if b"\r" in data and data.count(b"\r") != data.count(b"\r\n"):
            return None
        if self.quote and not _well_quoted(data, separator):
            return None
        # The fast parser drops a byte-order mark. That of the file is gone already; another one is part of an id.
        if data.startswith(b"\xef\xbb\xbf"):
            return None
        rows = data.count(b"\n") + (not data.endswith(b"\n"))
        separators = data.count(separator)
        if len(separator) > 1:
            data, separator = data.replace(separator, b"\x1f"), b"\x1f"
        try:
            frame = pl.read_csv(
                data,
                has_header=False,
                separator=separator.decode(),
                quote_char='"' if self.quote else None,
                infer_schema=False,
                schema={f"column_{n + 1}": pl.String for n in range(len(names))},
            )
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
            return None
        # A long row is an error above; a short one lacks separators; a blank line or one of nothing else is all null.
        quoted = self.quote and b'"' in data
        inside = _count_inside(frame, separator.decode()) if quoted else 0
        if frame.height != rows or separators != rows * (len(names) - 1) + inside:
            return None
        if frame.select(pl.all_horizontal(pl.all().is_null()).any()).item():
            return None
        frame.columns = _unique(names)
        return numbered(file, frame, block.first_line)

    def _slow(self, block: TextBlock, file: str, names: list[str]) -> Piece:
        """Row by row, with the physical line of each."""
        rows: list[list[str]] = []
        numbers: list[int] = []
        rejects: list[Reject] = []
        lines = block.data.split(b"\n")
        at = 0
        while at < len(lines):
            line, raw, start = block.first_line + at, lines[at].removesuffix(b"\r"), at
            at += 1
            if not raw.strip() and self.separator.encode() not in raw:
                continue
            try:
                fields, at = self._row(raw, lines, start, len(names))
            except UnicodeDecodeError:
                rejects.append(Reject("D003", file, line, "", raw))
            except QuoteError as error:
                rejects.append(Reject("D005", file, line, "", raw.decode("utf-8"), str(error)))
            else:
                if len(fields) == len(names):
                    rows.append(fields)
                    numbers.append(line)
                else:
                    reason = f"{len(fields)} fields where the header has {len(names)}"
                    rejects.append(Reject("D004", file, line, "", raw.decode("utf-8"), reason))
        frame = pl.DataFrame(rows, schema=dict.fromkeys(_unique(names), pl.String), orient="row")
        return Piece(file, frame, np.asarray(numbers, dtype=np.int64), rejects)

    def _row(self, raw: bytes, lines: list[bytes], at: int, width: int) -> tuple[list[str], int]:
        """Fields of the row that begins on line ``at``, and the line behind it.

        A quoted field may go on in the next lines, but only where that gives a row of the right width: a quote too many
        spoils its own line and not the ones that follow.
        """
        text = raw.decode("utf-8")
        try:
            return self._fields(text), at + 1
        except OpenQuoteError:
            for stop in range(at + 1, min(at + _SPAN, len(lines))):
                if lines[stop].count(b'"') % 2:
                    whole = b"\n".join(lines[at : stop + 1]).removesuffix(b"\r")
                    try:
                        fields = self._fields(whole.decode("utf-8"))
                    except (QuoteError, UnicodeDecodeError):
                        break
                    if len(fields) == width:
                        return fields, stop + 1
                    break
            raise

    def _fields(self, text: str) -> list[str]:
        if self.quote and '"' in text:
            return quoted_fields(text, self.separator)
        return text.split(self.separator)


class QuoteError(ValueError):
    """Quotes that are not in pairs around a field."""


class OpenQuoteError(QuoteError):
    """A quote that does not close."""


def quoted_fields(text: str, separator: str) -> list[str]:
    """Fields of a row: ``"`` at the start of a field opens it, ``""`` inside is one quote; elsewhere it is a letter.

    Raises:
        OpenQuoteError: The row ends inside quotes.
        QuoteError: Text behind a closing quote.
    """
    fields: list[str] = []
    at = 0
    while True:
        if text.startswith('"', at):
            end = text.find('"', at + 1)
            while text.startswith('"', end + 1) and end >= 0:
                end = text.find('"', end + 2)
            if end < 0:
                raise OpenQuoteError
            fields.append(text[at + 1 : end].replace('""', '"'))
            at = end + 1
            if at < len(text) and not text.startswith(separator, at):
                raise QuoteError("text behind a closing quote")
        else:
            end = text.find(separator, at)
            fields.append(text[at:] if end < 0 else text[at:end])
            at = len(text) if end < 0 else end
        if at == len(text):
            return fields
        at += len(separator)


def _well_quoted(data: bytes, separator: bytes) -> bool:
    """Whether every quote opens or closes a field or is half of a doubled one, so that no parser can read them two ways."""
    if b'"' not in data:
        return True
    if data.count(b'"') % 2:
        return False
    text = np.frombuffer(data, dtype=np.uint8)
    at = np.flatnonzero(text == ord('"'))
    opening, closing = at[::2], at[1::2]
    before = text[np.maximum(opening - 1, 0)]
    after = text[np.minimum(closing + 1, len(text) - 1)]
    opens = (opening == 0) | np.isin(before, [ord(separator), ord("\n")])
    closes = (closing == len(text) - 1) | np.isin(after, [ord(separator), ord("\n"), ord("\r")])
    # A quote that closes and one that opens right behind it are a doubled quote.
    doubled = closing[:-1] + 1 == opening[1:]
    opens[1:] |= doubled
    closes[:-1] |= doubled
    return bool(opens.all() and closes.all())


def _count_inside(frame: pl.DataFrame, separator: str) -> int:
    """Separators inside of quoted fields."""
    return int(sum(frame.select(pl.all().str.count_matches(separator, literal=True).sum()).row(0)))


def _unique(names: list[str]) -> list[str]:
    """Names with repeats told apart; a repeated column that is wanted was refused before."""
    return [name if names.index(name) == n else f"{name}#{n}" for n, name in enumerate(names)]
