"""Blocks of lines: together the file, each whole, whatever the size of a block."""

import gzip
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermodel.errors import DataError
from usermodel.events import text_blocks as module
from usermodel.events.readers import read_events
from usermodel.events.sources import local_file
from usermodel.events.text_blocks import text_blocks

LINES = st.lists(st.text("ab\r,é", max_size=6), max_size=12).map("\n".join)


@given(LINES, st.integers(1, 20), st.booleans(), st.booleans())
def test_blocks_are_the_file(tmp_path_factory, text, size, packed, quoted):
    path = tmp_path_factory.mktemp("blocks") / ("log.csv.gz" if packed else "log.csv")
    data = ("\n" + text).encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", size)
        blocks = list(text_blocks(local_file(path), quoted=quoted))
    assert b"".join(block.data for block in blocks) == data
    at = 0
    for block in blocks:
        assert block.first_line == 1 + data.count(b"\n", 0, at)
        assert at == 0 or data[at - 1 : at] == b"\n"
        at += len(block.data)


@given(st.integers(1, 60))
def test_a_quoted_field_is_never_cut(tmp_path_factory, size):
    path = tmp_path_factory.mktemp("blocks") / "log.csv"
    rows = [(f"u{n}", f"i\n{n}\n\n" if n % 3 else f"i{n}", (1_700_000_000 + n) * 10**6) for n in range(9)]
    path.write_text("user_id,item_id,timestamp\n" + "".join(f'{u},"{i}",{t}\n' for u, i, t in rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", size)
        assert read_events(path).frame.collect().rows() == rows


def test_a_line_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_BYTES", 10)
    monkeypatch.setattr(module, "LINE_BYTES", 50)
    path = tmp_path / "log.csv"
    path.write_bytes(b"a\n" + b"x" * 200)
    with pytest.raises(
        DataError, match=r"more than 50 bytes without a line end in line 2\. Check the format\.$"
    ):
        list(text_blocks(local_file(path)))


@pytest.mark.parametrize("size", [20, 1 << 20])
def test_a_cut_archive_says_how_far_it_was_whole(tmp_path, monkeypatch, size):
    monkeypatch.setattr(module, "BLOCK_BYTES", size)
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(b"".join(b"%d\n" % n for n in range(5_000)))[:-40])
    with pytest.raises(DataError) as caught:
        list(text_blocks(local_file(path)))
    found = re.search(
        r"^D002 .*: expected a whole file; found .* after ([\d,]+) whole lines\. Copy it again\.$",
        str(caught.value),
    )
    assert found
    assert (int(found[1].replace(",", "")) > 1_000) == (size == 20)


def test_an_empty_file_has_no_block(tmp_path):
    (tmp_path / "log.csv").touch()
    assert not list(text_blocks(local_file(tmp_path / "log.csv")))
