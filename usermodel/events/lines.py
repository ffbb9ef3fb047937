"""Lines of words and lines of JSON -> pieces."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import numpy as np
import polars as pl

from usermodel.errors import DataError
from usermodel.events.piece import Piece, numbered, require_columns
from usermodel.events.rejects import Reject
from usermodel.events.sources import LogFile
from usermodel.events.text_blocks import TextBlock, text_blocks
from usermodel.schema import ITEM, USER

#: A number with an exponent, or with so many digits that it may not fit 64 bits.
_ODD_NUMBER: Final = re.compile(rb":[ \t]*-?(?:[\d.]{17}|[\d.]+[eE])")
_KINDS: Final = {list: "a list", dict: "an object", bool: "a truth value", type(None): "null"}


class RowError(ValueError):
    """JSON, but not of the shape of a row."""


def sequences(path: LogFile, *, pairs: bool = False) -> Iterator[Piece]:
    """``user item item ...`` per line, oldest first; ``pairs`` allows exactly one item a line.

    A line with a user alone is a bad row. Columns are ``user_id`` and ``item_id``; the order of the rows is the order of the events.
    """
    for block in text_blocks(path):
        lines, rejects = _lines(block, str(path))
        words = lines["text"].str.strip_chars(" \t\r").str.replace_all(r"[ \t]+", " ").str.split(" ")
        count = words.list.len()
        good = count == 2 if pairs else count > 1
        for at in (~good).arg_true():
            reason = f"{count[at]} words where a pair has 2" if pairs else ""
            code = "D004" if pairs else "D007"
            rejects.append(Reject(code, str(path), lines["line"][at], "", lines["text"][at], reason))
        words, lines = words.filter(good), lines.filter(good)
        frame = pl.DataFrame({"line": lines["line"], USER: words.list.first(), ITEM: words.list.slice(1)})
        frame = frame.explode(ITEM)
        yield Piece(str(path), frame.drop("line"), frame["line"].to_numpy(), rejects)


def _lines(block: TextBlock, file: str) -> tuple[pl.DataFrame, list[Reject]]:
    """Lines that are text and not blank, numbered."""
    rejects: list[Reject] = []
    # Not splitlines: to it a line also ends at characters that ids may hold.
    raw = block.data.split(b"\n")
    try:
        texts: list[str | None] = list(block.data.decode("utf-8").split("\n"))
    except UnicodeDecodeError:
        texts = [_decoded(line) for line in raw]
        odd = [at for at, text in enumerate(texts) if text is None]
        rejects = [Reject("D003", file, block.first_line + at, "", raw[at]) for at in odd]
    frame = pl.DataFrame(
        {
            "line": np.arange(block.first_line, block.first_line + len(raw)),
            "text": pl.Series(texts, dtype=pl.String),
        }
    )
    return frame.filter(pl.col("text").str.strip_chars() != ""), rejects


def _decoded(line: bytes) -> str | None:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return None


def json_lines(path: LogFile, wanted: list[str]) -> Iterator[Piece]:
    """One JSON object a line; numbers and strings become text as they are written."""
    seen = False
    for block in text_blocks(path):
        if not seen:
            seen = True
            require_columns(wanted, _keys(block, path), str(path))
        yield _fast_json(block, str(path), wanted) or _slow_json(block, str(path), wanted)


def _keys(block: TextBlock, path: LogFile) -> list[str]:
    """Keys of the first lines: a key may be missing in some."""
    keys: dict[str, None] = {}
    for line in block.data.split(b"\n")[:100]:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            keys |= dict.fromkeys(row)
    if not keys:
        do = "Check the format, or name it with --format."
        raise DataError(
            f"D006 {path}", expected="JSON objects, one a line", found="none in the first 100 lines", do=do
        )
    return list(keys)


def _fast_json(block: TextBlock, file: str, wanted: list[str]) -> Piece | None:
    rows = block.data.count(b"\n") + (not block.data.endswith(b"\n"))
    # What the fast parser writes anew: escaped keys and half characters, and numbers that do not fit 64 bits.
    if b"\\u" in block.data or _ODD_NUMBER.search(block.data):
        return None
    try:
        frame = pl.read_ndjson(block.data, schema=dict.fromkeys(wanted, pl.String))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    # Lists and objects are written as text; only row by row are they told from text that looks like them.
    nested = frame.select(pl.any_horizontal(pl.all().str.contains(r"^[\[{]").fill_null(value=False)).any())
    if frame.height != rows or nested.item():
        return None
    return numbered(file, frame, block.first_line)


def _slow_json(block: TextBlock, file: str, wanted: list[str]) -> Piece:
    rows: list[list[str | None]] = []
    lines: list[int] = []
    rejects: list[Reject] = []
    for at, raw in enumerate(block.data.split(b"\n"), block.first_line):
        if not raw.strip():
            continue
        try:
            rows.append(_json_row(raw.decode("utf-8"), wanted))
            lines.append(at)
        except UnicodeDecodeError:
            rejects.append(Reject("D003", file, at, "", raw))
        except (ValueError, RecursionError) as error:
            rejects.append(Reject("D006", file, at, "", raw.decode("utf-8"), f"{error!s:.80}"))
    frame = pl.DataFrame(rows, schema=dict.fromkeys(wanted, pl.String), orient="row")
    return Piece(file, frame, np.asarray(lines, dtype=np.int64), rejects)


def _json_row(text: str, wanted: list[str]) -> list[str | None]:
    row = json.loads(
        text, parse_int=_integer, parse_float=_float, parse_constant=_constant, object_pairs_hook=_first
    )
    if not isinstance(row, dict):
        raise RowError(f"{_KINDS.get(type(row), 'text')} where an object is expected")
    for name in wanted:
        value = row.get(name)
        if isinstance(value, list | dict):
            raise RowError(f"{_KINDS[type(value)]} in {name!r}")
        if isinstance(value, str) and not value.isascii():
            # Half of a surrogate pair is no character.
            value.encode("utf-8")
    return [_text(row.get(name)) for name in wanted]


def _first(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose key stands twice has the first value, as in the fast parser."""
    return dict(reversed(pairs))


def _integer(digits: str) -> str:
    """Integers stay text, so that 2^53 + 1 keeps every digit."""
    return "0" if digits == "-0" else digits


def _float(digits: str) -> str:
    """The shortest text of the number: 1.70 is 1.7, and 881250949.0 is 881250949."""
    value = float(digits)
    if math.isinf(value):
        raise RowError(f"a number out of range, {digits[:20]}")
    return format(Decimal(repr(value)), "f").removesuffix(".0")


def _constant(name: str) -> str:
    raise RowError(f"{name}, which is no JSON")


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)
