"""Atomic files, the exchange format of RecBole: tab-separated, no quotes, a header of ``name:type`` fields.

Zhao et al., RecBole, CIKM 2021 (arXiv 2011.01731), section 3.2. `readers.read_events` reads them; this writes them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa

from usermodel.errors import DataError, OutputExistsError
from usermodel.events.event_log import EventLog
from usermodel.schema import ITEM, TIME, USER, feature_type

_TYPES: Final = {USER: "token", ITEM: "token", TIME: "float"}
#: What is text in a log is a token, and every number is a float.
_TEXT: Final = (pa.string(), pa.large_string())
#: Microseconds in the units that a reader tells apart by itself, the largest first.
_UNITS: Final = (1_000_000, 1_000, 1)


def write_atomic(log: EventLog, folder: str | Path, name: str) -> Path:
    """Write ``folder/name/name.inter``, as RecBole looks for it, sorted by user and time.

    Times are written in the largest unit that loses nothing. RecBole itself reads ``float`` fields into 32 bits, in which
    neighbouring seconds fall together: its order of the events is then that of the file.

    Args:
        log: The log.
        folder: Folder of data sets, made when it is not there.
        name: Name of the data set.

    Returns:
        The file.

    Raises:
        OutputExistsError: It is already there.
        DataError: An id, an event type or a category with a tab or a line end in it, which the format cannot hold.
    """
    path = Path(folder) / name / f"{name}.inter"
    if path.exists():
        raise OutputExistsError(
            str(path), expected="a new file", found="an existing one", do="Choose another name."
        )
    frame = log.scan().select(USER, ITEM, TIME, *log.features).collect(engine="streaming")
    for column in frame.select(pl.col(pl.String)).iter_columns():
        odd = column.filter(column.str.contains(r"[\t\n\r]").fill_null(value=False))
        if len(odd):
            found = f"{len(odd):,} rows, the first {odd[0]!r}"
            expected, do = "no tab or line end, which atomic files cannot hold", "Rename these."
            raise DataError(f"column {column.name!r}", expected=expected, found=found, do=do)
    if log.time_kind == "utc":
        unit = next(unit for unit in _UNITS if (frame[TIME] % unit == 0).all())
        frame = frame.with_columns(pl.col(TIME) // unit)
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.half")
    types = _TYPES | {
        name: "token" if feature_type(name, log.context) in _TEXT else "float" for name in log.features
    }
    try:
        frame.rename({column: f"{column}:{kind}" for column, kind in types.items()}).write_csv(
            half, separator="\t", quote_style="never"
        )
        os.replace(half, path)  # noqa: PTH105
    finally:
        half.unlink(missing_ok=True)
    return path
