"""Raw files of public data sets -> polars frames. Every field stays text until a recipe says what it is."""

from __future__ import annotations

import ast
import contextlib
import gzip
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import polars as pl

from usermodel.errors import DataError, MissingError
from usermodel.schema import ITEM, TIME, USER

_READ_ERRORS = (
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
    OSError,
    EOFError,
    UnicodeDecodeError,
)


def find_all(folder: Path, name: str) -> list[Path]:
    """Files of that name (``*`` allowed) in the folder, or else anywhere below it; ``.gz`` may follow."""
    for root in (folder.glob, folder.rglob):
        for suffix in ("", ".gz"):
            found = sorted(path for path in root(name + suffix) if path.is_file())
            if found:
                return found
    return []


def maybe(folder: Path, *names: str) -> Path | None:
    """The first of the files that is there, or ``None``."""
    return next((found[0] for name in names if (found := find_all(folder, name))), None)


def find(folder: Path, *names: str) -> Path:
    """The first of the files that is there.

    Raises:
        MissingError: None of them is.
    """
    path = maybe(folder, *names)
    if path is None:
        expected = " or ".join(names)
        found = "no such file" if folder.is_dir() else "no such folder"
        do = "Unpack the owner's archive there; usermodel data list says where the set comes from."
        raise MissingError(str(folder), expected=expected, found=found, do=do)
    return path


def open_text(path: Path, encoding: str = "utf-8") -> Iterator[str]:
    """Lines without their ends; a ``.gz`` is unpacked on the way.

    Yields:
        One line after the other.
    """
    try:
        file: IO[str]
        with contextlib.ExitStack() as stack:
            if path.suffix == ".gz":
                file = stack.enter_context(gzip.open(path, "rt", encoding=encoding))
            else:
                file = stack.enter_context(path.open(encoding=encoding))
            for line in file:
                yield line.rstrip("\r\n")
    except _READ_ERRORS as error:
        raise _unreadable(path, error) from None


def read_text_table(
    path: Path,
    columns: Sequence[str] | None = None,
    *,
    separator: str = ",",
    quoted: bool = True,
    only: Sequence[str] | None = None,
) -> pl.DataFrame:
    """A delimited file in UTF-8, all columns text.

    Args:
        path: The file, plain or ``.gz``.
        columns: Its column names, where it has no header.
        separator: Between two fields; one character.
        quoted: Whether a field may stand in double quotes.
        only: Columns to keep.

    Returns:
        The rows; empty fields are null.

    Raises:
        DataError: Not such a file, or a column is not there.
    """
    try:
        frame = pl.read_csv(
            path,
            separator=separator,
            has_header=columns is None,
            new_columns=list(columns) if columns else None,
            infer_schema=False,
            quote_char='"' if quoted else None,
            columns=None if only is None or columns else list(only),
            glob=False,
        )
    except _READ_ERRORS as error:
        raise _unreadable(path, error) from None
    return frame.select(only) if only is not None else frame


def read_split_lines(
    path: Path, columns: Sequence[str], separator: str, encoding: str = "utf-8"
) -> pl.DataFrame:
    """A file whose separator has several characters (``::``) or whose encoding is old; further fields are dropped."""
    lines = pl.DataFrame(
        {"line": [line for line in open_text(path, encoding) if line]}, schema={"line": pl.String}
    )
    parts = lines["line"].str.split(separator)
    short = parts.list.len() < len(columns)
    if short.any():
        row = int(short.arg_true()[0])
        found = f"{lines['line'][row]!r} in line {row + 1:,}"
        do = "Check that the file is the owner's."
        raise DataError(
            str(path), expected=f"{len(columns)} fields between {separator!r}", found=found, do=do
        )
    return pl.DataFrame([parts.list.get(number).alias(name) for number, name in enumerate(columns)])


def read_json_lines(path: Path, schema: Mapping[str, Any]) -> pl.DataFrame:
    """One JSON object a line; only the named fields, absent ones null.

    Raises:
        DataError: Not such a file.
    """
    try:
        return pl.scan_ndjson(path, schema=dict(schema)).collect()
    except _READ_ERRORS as error:
        raise _unreadable(path, error) from None


def read_python_lines(path: Path, schema: Mapping[str, Any]) -> pl.DataFrame:
    """One Python literal a line, as McAuley's older files are written: slow, and safe (literals only, never code).

    Raises:
        DataError: A line that is no literal.
    """
    columns: dict[str, list[Any]] = {name: [] for name in schema}
    for number, line in enumerate(open_text(path), start=1):
        try:
            row = ast.literal_eval(line) if line else {}
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            found, do = f"{line[:60]!r} in line {number:,}", "Copy the file again."
            raise DataError(str(path), expected="a Python literal a line", found=found, do=do) from None
        if not isinstance(row, dict):
            found, do = f"{line[:60]!r} in line {number:,}", "Check that the file is the owner's."
            raise DataError(str(path), expected="a dictionary a line", found=found, do=do)
        for name, values in columns.items():
            value = row.get(name)
            values.append(str(value) if schema[name] == pl.String and value is not None else value)
    return pl.DataFrame(columns, schema=dict(schema), strict=False)


def read_sequences(paths: Sequence[Path], *, user: str = "first") -> pl.DataFrame:
    """Lines of ids between blanks -> one row per (user, item), in the order of files and lines.

    Args:
        paths: The files.
        user: ``first``: the first id of a line is the user's; ``line``: the user is the number of the line from 0, and
            the first number of the line says how many items follow.

    Returns:
        ``user_id item_id``.
    """
    frames = []
    for path in paths:
        lines = [line for line in open_text(path) if line.strip()]
        words = pl.Series("words", lines, dtype=pl.String).str.strip_chars().str.split(" ")
        owner = words.list.first()
        if user == "line":
            owner = pl.Series(range(len(lines)), dtype=pl.Int64).cast(pl.String)
        frame = pl.DataFrame({USER: owner, ITEM: words.list.slice(1)})
        frames.append(frame.explode(ITEM).drop_nulls().filter(pl.col(ITEM) != ""))
    return pl.concat(frames)


def number_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Add ``timestamp``: the position of the row within its user, from 0."""
    return frame.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).over(USER).alias(TIME))


def seconds_to_microseconds(column: str) -> pl.Expr:
    """Decimal seconds as text (``1593878903.438``) -> int64 microseconds, digit by digit: a float would round."""
    text = pl.col(column).str.strip_chars()
    whole = text.str.extract(r"^(\d+)(?:\.\d*)?$").cast(pl.Int64, strict=False)
    part = text.str.extract(r"^\d+\.(\d+)$").fill_null("0").str.head(6).str.pad_end(6, "0").cast(pl.Int64)
    return whole * 1_000_000 + part


def _unreadable(path: Path, error: BaseException) -> DataError:
    found = next(iter(str(error).strip().splitlines()), type(error).__name__)[:120]
    do = "Copy it again, or check that it is the owner's file."
    return DataError(str(path), expected="a file of the data set", found=found, do=do)
