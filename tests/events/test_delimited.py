"""Delimited text: the fast road and the slow one give the same rows, and a stray quote spoils one line."""

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from usermodel.events.delimited import Delimited, OpenQuoteError, QuoteError, quoted_fields
from usermodel.events.readers import read_events
from usermodel.events.text_blocks import TextBlock

NAMES = ["a", "b", "c"]
#: Pieces of text that parsers take for something else.
BITS = st.sampled_from(
    ['"', '""', '","', ",", "\n", "\r\n", "\r", " ", "x", "é", "", "null", "\t", "\x00", "::", "#"]
)
ROUGH = st.lists(BITS, max_size=25).map("".join)
VALUES = st.text(st.sampled_from('",\n xé\t:'), max_size=4)
ROWS = st.lists(st.lists(VALUES, min_size=3, max_size=3), min_size=1, max_size=6)


def both(dialect, text):
    block = TextBlock(text.encode(), 2)
    fast, slow = dialect._fast(block, "f", NAMES), dialect._slow(block, "f", NAMES)
    return (None if fast is None else facts(fast)), facts(slow)


def facts(piece):
    rows = [tuple(value or "" for value in row) for row in piece.frame.rows()]
    return rows, piece.lines.tolist(), [(one.code, one.line) for one in piece.rejects]


DIALECTS = [
    Delimited(",", quote=True),
    Delimited("\t", quote=False),
    Delimited("::", quote=False),
    Delimited("::", quote=True),
]


@pytest.mark.parametrize("dialect", DIALECTS, ids=["csv", "atomic", "movielens", "wide"])
@given(text=ROUGH)
@example(text="a,b,c\n,,\n")
@example(text='"a",b,""\n"x,y",z,\n')
@example(text='a,b,c"d"\n')
@example(text='a,b\n"x,y,z",,\n')
@example(text="a\t\tb\n\t\t\n")
@example(text="a::b::\x1f\n")
def test_the_fast_road_never_differs_from_the_slow_one(dialect, text):
    fast, slow = both(dialect, text)
    assert fast in (None, slow)


@given(ROWS, st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]), st.sampled_from(["\n", "\r\n"]))
def test_what_the_csv_module_writes_is_read_back(rows, quoting, end):
    out = io.StringIO()
    csv.writer(out, quoting=quoting, lineterminator=end).writerows(rows)
    fast, slow = both(DIALECTS[0], out.getvalue())
    assert slow[0] == [tuple(row) for row in rows]
    assert not slow[2]
    assert fast in (None, slow)


@pytest.mark.parametrize(
    "text",
    ["a,b,c\nd,e,\n", '"a","b","c"\n"d","e,f",""\n', '"a""b",c,d\r\n', "a,b,c", ",b,c\n", '"",b,c\n'],
)
def test_ordinary_blocks_take_the_fast_road(text):
    fast, slow = both(DIALECTS[0], text)
    assert fast == slow


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", [""]),
        (",", ["", ""]),
        ('""', [""]),
        ('"",', ["", ""]),
        ('"a,b",c', ["a,b", "c"]),
        ('"a""b"', ['a"b']),
        ('""""', ['"']),
        ('a"b,c', ['a"b', "c"]),
        ('a,"b\nc"', ["a", "b\nc"]),
    ],
)
def test_quoted_fields(text, fields):
    assert quoted_fields(text, ",") == fields
    assert quoted_fields(text.replace(",", "::"), "::") == [field.replace(",", "::") for field in fields]


@pytest.mark.parametrize("text", ['"', '"a', 'a,"b', '"a""', '"""'])
def test_quotes_that_do_not_close(text):
    with pytest.raises(OpenQuoteError):
        quoted_fields(text, ",")


@pytest.mark.parametrize("text", ['"a"b', '"a" ,b', '""a'])
def test_text_behind_a_quote(text):
    with pytest.raises(QuoteError, match="text behind a closing quote"):
        quoted_fields(text, ",")


def test_a_stray_quote_spoils_its_own_line_only():
    text = 'a,b,c\n"d,e,f\ng,h,i\nj,"k,l\nm,n,o\n'
    piece = DIALECTS[0]._slow(TextBlock(text.encode(), 2), "f", NAMES)
    assert facts(piece) == (
        [("a", "b", "c"), ("g", "h", "i"), ("m", "n", "o")],
        [2, 4, 6],
        [("D005", 3), ("D005", 5)],
    )
    assert [one.raw for one in piece.rejects] == ['"d,e,f', 'j,"k,l']


def test_a_field_over_several_lines_has_the_number_of_its_first():
    text = 'a,b,c\n"d\n\ne","f\r\ng",h\ni,j,k\n'
    fast, slow = both(DIALECTS[0], text)
    assert fast is None
    assert slow == ([("a", "b", "c"), ("d\n\ne", "f\r\ng", "h"), ("i", "j", "k")], [2, 3, 7], [])


def test_a_field_of_any_length():
    text = f'"{"x" * 200_000}",b,c\n"d\ne",f,g\n'
    assert both(DIALECTS[0], text)[1][0][0][0] == "x" * 200_000


def test_a_second_byte_order_mark_is_part_of_an_id(tmp_path):
    path = tmp_path / "ratings.dat"
    path.write_text("\ufeff\ufeffa::x::5::1700000000\nb::x::5::1700000000\n")
    log = read_events(path, format="movielens")
    assert log.frame.collect()["user_id"].to_list() == ["\ufeffa", "b"]
