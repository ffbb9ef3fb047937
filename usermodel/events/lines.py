"""Lines of words and lines of JSON -> pieces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from usermodel.errors import DataError
from usermodel.events.piece import Piece, numbered, require_columns
from usermodel.events.rejects import Reject
from usermodel.events.text_blocks import TextBlock, text_blocks
from usermodel.schema import ITEM, USER


def sequences(path: Path, *, pairs: bool = False) -> Iterator[Piece]:
    """``user item item ...`` per line, oldest first; ``pairs`` allows exactly one item a line.

    Columns are ``user_id`` and ``item_id``; the order of the rows is the order of the events.
    """
    for block in text_blocks(path):
        lines, rejects = _lines(block, str(path))
        words = lines["text"].str.strip_chars(" \t\r").str.replace_all(r"[ \t]+", " ").str.split(" ")
        count = words.list.len()
        if pairs:
            for at in (count != 2).arg_true():
                reason = f"{count[at]} words where a pair has 2"
                rejects.append(Reject("D004", str(path), lines["line"][at], "", lines["text"][at], reason))
            words, lines = words.filter(count == 2), lines.filter(count == 2)
        frame = pl.DataFrame({"line": lines["line"], USER: words.list.first(), ITEM: words.list.slice(1)})
        frame = frame.explode(ITEM).drop_nulls(ITEM)
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


def json_lines(path: Path, wanted: list[str]) -> Iterator[Piece]:
    """One JSON object a line; numbers and strings become text as they are written."""
    seen = False
    for block in text_blocks(path):
        if not seen:
            seen = True
            require_columns(wanted, _keys(block, path), str(path))
        yield _fast_json(block, str(path), wanted) or _slow_json(block, str(path), wanted)


def _keys(block: TextBlock, path: Path) -> list[str]:
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
    # A float in exponent notation and an escaped key are written anew by the fast parser; they take the slow road.
    if b"\\u" in block.data or b"e+" in block.data or b"E+" in block.data:
        return None
    try:
        frame = pl.read_ndjson(block.data, schema=dict.fromkeys(wanted, pl.String))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    if frame.height != rows or sum(frame.null_count().row(0)):
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
            # Numbers stay text, so that 2^53 + 1 and 1.70 keep every digit.
            row = json.loads(raw, parse_int=str, parse_float=str)
        except UnicodeDecodeError:
            rejects.append(Reject("D003", file, at, "", raw))
            continue
        except (ValueError, RecursionError) as error:
            rejects.append(Reject("D006", file, at, "", raw.decode("utf-8", "replace"), str(error)[:80]))
            continue
        if not isinstance(row, dict):
            rejects.append(Reject("D006", file, at, "", raw.decode("utf-8", "replace"), type(row).__name__))
            continue
        rows.append([_text(row.get(name)) for name in wanted])
        lines.append(at)
    frame = pl.DataFrame(rows, schema=dict.fromkeys(wanted, pl.String), orient="row")
    return Piece(file, frame, np.asarray(lines, dtype=np.int64), rejects)


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)
