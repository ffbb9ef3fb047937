"""Atomic files about items and users (``.item``, ``.user``): typed tables, read and written for RecBole.

Zhao et al., RecBole, CIKM 2021 (arXiv 2011.01731), section 3.2: tab-separated, no quotes, a header of ``name:type`` with the
types ``token``, ``token_seq``, ``float`` and ``float_seq``; the parts of a sequence stand between blanks.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import polars as pl

from usermodel.errors import DataError, OutputExistsError

SUFFIXES: Final = frozenset({".item", ".user"})
_TYPES: Final[dict[str, Any]] = {
    "token": pl.String,
    "token_seq": pl.List(pl.String),
    "float": pl.Float64,
    "float_seq": pl.List(pl.Float64),
}
_BROKEN: Final = r"[\t\n\r]"


def read_atomic_table(path: str | Path) -> pl.DataFrame:
    """Read a ``.item`` or ``.user`` file; an empty field is null.

    Raises:
        DataError: Not such a file: a header without types, an unknown type, a ragged row, a number that is none.
    """
    do = "Check that it is a RecBole atomic file; .csv and .tsv go by the suffix."
    try:
        # Tokens are text whatever they look like, and a quote is a character like any other.
        raw = pl.read_csv(path, separator="\t", quote_char=None, infer_schema=False, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        found = next(iter(str(error).strip().splitlines()), type(error).__name__)[:120]
        raise DataError(str(path), expected="a readable atomic file", found=found, do=do) from None
    columns = []
    for header in raw.columns:
        name, _, kind = header.rpartition(":")
        if not name or kind not in _TYPES:
            expected = f"a header of name:type fields with the types {', '.join(_TYPES)}"
            raise DataError(str(path), expected=expected, found=repr(header), do=do)
        columns.append(_parsed(raw[header], kind, f"{path}: column {name!r}").alias(name))
    return pl.DataFrame(columns)


def _parsed(text: pl.Series, kind: str, where: str) -> pl.Series:
    parts = text.str.strip_chars(" ").str.split(" ") if kind.endswith("_seq") else text
    values = parts.cast(_TYPES[kind], strict=False)
    flat, back = (parts.explode(), values.explode()) if kind.endswith("_seq") else (text, values)
    bad = flat.is_not_null() & back.is_null()
    if bad.any():
        found = f"{flat.filter(bad)[0]!r} ({int(bad.sum()):,} such values)"
        raise DataError(where, expected="numbers", found=found, do="Mend these, or make the column a token.")
    return values


def write_atomic_table(frame: pl.DataFrame, path: str | Path) -> Path:
    """Write what is known about items or users as a ``.item`` or ``.user`` file.

    Numbers become ``float``, text ``token``, lists of either ``float_seq`` and ``token_seq``; null becomes empty.

    Raises:
        OutputExistsError: The file is already there.
        DataError: Values that the format cannot hold: a tab or line end, a blank within a part of a sequence, a column
            that is neither text nor numbers.
    """
    path = Path(path)
    if path.exists():
        do = "Choose another name."
        raise OutputExistsError(str(path), expected="a new file", found="an existing one", do=do)
    columns = [_written(column) for column in frame.iter_columns()]
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.half")
    try:
        pl.DataFrame(columns).write_csv(half, separator="\t", quote_style="never")
        os.replace(half, path)  # noqa: PTH105
    finally:
        half.unlink(missing_ok=True)
    return path


def _written(column: pl.Series) -> pl.Series:
    is_list = isinstance(column.dtype, pl.List | pl.Array)
    flat = column.explode() if is_list else column
    is_id = column.name in ("user_id", "item_id")
    if flat.dtype.is_numeric() and not is_id:
        kind = "float"
    elif flat.dtype == pl.Boolean or flat.dtype == pl.String or is_id:
        kind = "token"
    else:
        do = "Convert it, or leave it out."
        expected, found = "text, numbers, or lists of these", str(column.dtype)
        raise DataError(f"column {column.name!r}", expected=expected, found=found, do=do)
    words = flat.cast(pl.String)
    odd = words.filter(words.str.contains(r"\s" if is_list else _BROKEN).fill_null(value=False))
    if len(odd):
        expected = "no tab, line end or, in a list, blank, which atomic files cannot hold"
        found = f"{len(odd):,} values, the first {odd[0]!r}"
        raise DataError(f"column {column.name!r}", expected=expected, found=found, do="Rename these.")
    text = column.cast(pl.List(pl.String)).list.join(" ", ignore_nulls=True) if is_list else words
    return text.alias(f"{column.name}:{kind}{'_seq' if is_list else ''}")
