"""What standard output refuses is a message and an exit code."""

import contextlib
import io
from pathlib import Path

import polars as pl
import pytest

from usermodel.cli import common
from usermodel.cli.rows import put
from usermodel.errors import DataError, StorageError

ROWS = pl.DataFrame({"user_id": ["日本"], "score": [1.0]})


@pytest.mark.parametrize("form", ["table", "json", "csv", "parquet"])
def test_a_full_disk(form):
    with Path("/dev/full").open("w") as full, contextlib.redirect_stdout(full):
        with pytest.raises(
            StorageError, match="standard output: expected a place that can be written"
        ) as caught:
            put(ROWS, "rows", None, form, overwrite=False)
        # Nothing is left that could fail once more when Python ends.
        full.flush()
    assert caught.value.exit_code == 5
    assert "found No space left on device" in str(caught.value)


@pytest.mark.parametrize("form", ["json", "csv"])
def test_an_encoding_that_lacks_a_character(form):
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    with contextlib.redirect_stdout(narrow), pytest.raises(DataError) as caught:
        put(ROWS, "rows", None, form, overwrite=False)
    assert "found latin-1, which has no '\\u65e5'. Set PYTHONIOENCODING=utf-8." in str(caught.value)


def test_json_and_bars_too():
    with Path("/dev/full").open("w") as full, contextlib.redirect_stdout(full):
        with pytest.raises(StorageError):
            common.print_json({"a": 1})
        full.flush()
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with contextlib.redirect_stdout(narrow), pytest.raises(DataError):
        common.print_bars("bars", [("one", 1)])


def test_a_reader_that_has_enough_is_no_error_of_ours():
    with pytest.raises(BrokenPipeError), common.printing():
        raise BrokenPipeError
