"""Lines of JSON: the fast road and the slow one give the same rows."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from usermodel.events.lines import _fast_json, _slow_json
from usermodel.events.text_blocks import TextBlock

NAMES = ["a", "b"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-5, 5),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([1.5, -0.0, 1e5, 1e16, 1e-5, 123456789012345.25, 881250949.0]),
    st.text(max_size=4),
    st.text(st.sampled_from('"\\/[{é\n\x00\u2028'), max_size=4),
)
VALUES = st.one_of(
    SCALARS, st.lists(SCALARS, max_size=2), st.dictionaries(st.text(max_size=2), SCALARS, max_size=2)
)
OBJECTS = st.fixed_dictionaries({}, optional={"a": VALUES, "b": VALUES, "c": VALUES})
BITS = st.sampled_from(
    [
        '{"a":',
        '"b":',
        '"x"',
        "1",
        ",",
        "}",
        "{",
        "[",
        "]",
        " ",
        "\n",
        "\r\n",
        "\\",
        "e5",
        ".",
        "-",
        "null",
        "NaN",
        "0",
        '"',
    ]
)


def both(data):
    block = TextBlock(data, 1)
    fast, slow = _fast_json(block, "f", NAMES), _slow_json(block, "f", NAMES)
    return (None if fast is None else facts(fast)), facts(slow)


def facts(piece):
    return piece.frame.rows(), piece.lines.tolist(), [(one.code, one.line) for one in piece.rejects]


@given(st.lists(OBJECTS, min_size=1, max_size=4), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_objects_of_any_values(objects, ascii_only, end):
    text = "".join(json.dumps(one, ensure_ascii=ascii_only) + end for one in objects)
    fast, slow = both(text.encode("utf-8", "surrogatepass"))
    assert fast in (None, slow)


@given(st.lists(BITS, max_size=20).map("".join))
@example('{"a":1}{"b":2}')
@example('{"a":-0,"b":-0.0}')
@example('{"a":1.70,"b":1e5}')
@example('{"a":"x","a":"y","b":1}')
@example('{"a":01}')
def test_text_that_is_nearly_json(text):
    fast, slow = both(text.encode())
    assert fast in (None, slow)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1.70", "1.7"),
        ("881250949.0", "881250949"),
        ("1e5", "100000"),
        ("1E-2", "0.01"),
        (str(2**53 + 1), str(2**53 + 1)),
        (str(2**70), str(2**70)),
        ("true", "true"),
        ("null", None),
        ('"[1]"', "[1]"),
        ('"007"', "007"),
        ('"\\u00e9"', "é"),
    ],
)
def test_values_as_text(value, text):
    fast, slow = both(f'{{"a": {value}, "b": "x"}}\n'.encode())
    assert slow == ([(text, "x")], [1], [])
    assert fast in (None, slow)


@pytest.mark.parametrize("value", ["1", '"x"', "1.5", "true", "null", "12345678901"])
def test_ordinary_rows_take_the_fast_road(value):
    fast, slow = both(f'{{"a": {value}, "b": "x"}}\n{{"b": "y"}}\n'.encode())
    assert fast == slow


@pytest.mark.parametrize(
    "value", ["[1]", '{"x": 1}', "NaN", "1e999", "Infinity", '"\\ud83d"', "[" * 20_000 + "]" * 20_000]
)
def test_values_that_are_none(value):
    fast, slow = both(f'{{"a": "ok"}}\n{{"a": {value}}}\n'.encode())
    assert fast is None
    assert slow == ([("ok", None)], [1], [("D006", 2)])
