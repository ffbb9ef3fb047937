"""Times: exact in every unit, no guessing row by row, no time without a zone."""

import re
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermodel.errors import DataError
from usermodel.events.times import TimeColumn

WHERE = "log.csv: column 'ts'"
PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST, LAST = datetime.fromisoformat("1990-01-01"), datetime.fromisoformat("2099-12-31")


def read(values, *, blocks=1, **options):
    """Microseconds (None where a row is bad), and code -> rows from 1; the column may come in several blocks."""
    column = TimeColumn(WHERE, **options)
    series = pl.Series("ts", values)
    out, codes = [], {}
    for rows in np.array_split(np.arange(len(series)), blocks):
        if len(rows):
            times, bad = column.block(series[rows.tolist()], "log.csv", rows + 1)
            wrong = np.zeros(len(rows), dtype=bool)
            for one in bad:
                codes.setdefault(one.code, []).extend((rows[one.rows.to_numpy() & ~wrong] + 1).tolist())
                wrong |= one.rows.to_numpy()
            out.append(
                times.to_frame("ts").with_columns(pl.when(~pl.Series(wrong)).then("ts").alias("ts"))["ts"]
            )
    multiplier, divisor = column.finish()
    return (pl.concat(out) // divisor * multiplier).to_list(), {
        code: rows for code, rows in codes.items() if rows
    }


def parse(values, **options):
    times, bad = read(values, **options)
    assert bad == {}
    return times


def microseconds(moment):
    """Exact: a timedelta holds integers."""
    return (moment - EPOCH) // timedelta(microseconds=1)


@given(
    unit=st.sampled_from(list(PER_SECOND)),
    seconds=st.lists(st.integers(631_152_000, 4_102_444_799), min_size=1),
    as_text=st.booleans(),
    data=st.data(),
)
def test_integers_of_every_unit_are_exact(unit, seconds, as_text, data):
    per_second = PER_SECOND[unit]
    values = [second * per_second + data.draw(st.integers(0, per_second - 1)) for second in seconds]
    expected = [value * 1_000_000 // per_second for value in values]
    given_values = [str(value) for value in values] if as_text else values
    assert parse(given_values) == parse(given_values, unit=unit) == expected


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_an_order_is_kept_as_it_is(values):
    assert parse(pl.Series(values, dtype=pl.Int64), unit="order") == values


@pytest.mark.parametrize("dtype", [pl.Int32, pl.UInt32, pl.Int64, pl.UInt64])
def test_every_integer_type_is_read(dtype):
    assert parse(pl.Series([1_700_000_000], dtype=dtype)) == [1_700_000_000_000_000]


@given(st.lists(st.datetimes(FIRST, LAST), min_size=1), st.sampled_from(["us", "ns", "ms"]))
def test_zoned_datetimes_are_exact(moments, unit):
    expected = [microseconds(moment.replace(tzinfo=UTC)) for moment in moments]
    if unit == "ms":
        expected = [value // 1_000 * 1_000 for value in expected]
    column = pl.Series("ts", moments, dtype=pl.Datetime("us")).dt.cast_time_unit(unit)
    assert parse(column.dt.replace_time_zone("UTC")) == expected
    assert parse(column.dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo")) == expected
    assert parse(column, tz="UTC") == expected


OFFSETS = st.integers(-14 * 60, 14 * 60)


def iso(moment, offset, spelling):
    """One of the ways in which programs write a moment."""
    separator, fraction, zone = spelling
    local = moment + timedelta(minutes=offset)
    text = local.strftime(f"%Y-%m-%d{separator}%H:%M:%S")
    if fraction and moment.microsecond:
        text += f".{moment.microsecond:06d}" if fraction == "micro" else f",{moment.microsecond:06d}000"
    sign, minutes = "-" if offset < 0 else "+", abs(offset)
    zones = {
        "colon": f"{sign}{minutes // 60:02d}:{minutes % 60:02d}",
        "plain": f"{sign}{minutes // 60:02d}{minutes % 60:02d}",
    }
    return text + ("Z" if zone == "z" else zones[zone])


@given(
    moments=st.lists(st.tuples(st.datetimes(FIRST, LAST), OFFSETS), min_size=1),
    separator=st.sampled_from(["T", " "]),
    fraction=st.sampled_from(["micro", "nano"]),
    zone=st.sampled_from(["colon", "plain", "z"]),
)
def test_iso_text_is_exact_with_and_without_fractions_and_in_every_zone(moments, separator, fraction, zone):
    moments = [(moment, 0 if zone == "z" else offset) for moment, offset in moments]
    texts = [iso(moment, offset, (separator, fraction, zone)) for moment, offset in moments]
    assert parse(texts) == [microseconds(moment.replace(tzinfo=UTC)) for moment, _ in moments]


def test_the_borders_are_those_of_utc():
    """1990 had begun in UTC when a clock behind it showed the last minute of 1989."""
    assert parse(["1989-12-31T23:59:00-00:01"]) == [microseconds(datetime(1990, 1, 1, tzinfo=UTC))]


@given(st.lists(st.datetimes(FIRST, LAST), min_size=1))
def test_naive_text_is_read_in_the_named_zone(moments):
    berlin = ZoneInfo("Europe/Berlin")
    # Clock times that the zone skips in spring do not survive the way there and back.
    real = [
        m
        for m in moments
        if m.replace(tzinfo=berlin).astimezone(UTC).astimezone(berlin).replace(tzinfo=None) == m
    ]
    if real:
        expected = [microseconds(moment.replace(tzinfo=berlin, fold=0)) for moment in real]
        assert parse([moment.isoformat() for moment in real], tz="Europe/Berlin") == expected


def test_short_forms():
    noon = microseconds(datetime(2024, 2, 29, 12, 0, tzinfo=UTC))
    day = microseconds(datetime(2024, 2, 29, tzinfo=UTC))
    assert parse(["2024-02-29T12:00Z", " 2024-02-29 12:00:00z "]) == [noon, noon]
    assert parse(["2024-02-29 14:00+02"]) == [noon]
    assert parse(["2024-02-29", "2024-02-29 12:00"], tz="UTC") == [day, noon]
    assert parse([date(2024, 2, 29)], tz="UTC") == [day]
    assert parse([datetime(2024, 2, 29, 14, tzinfo=timezone(timedelta(hours=2)))]) == [noon]


def test_the_hour_that_autumn_repeats_is_the_first_of_the_two():
    assert parse(["2021-10-31 02:30"], tz="Europe/Berlin") == [
        microseconds(datetime(2021, 10, 31, 0, 30, tzinfo=UTC))
    ]


BAD_ROWS = [
    (["2021-03-28 03:30", "2021-03-28 02:30"], {"tz": "Europe/Berlin"}, {"D017": [2]}),
    (["1700000000", "1700000001", "yesterday"], {}, {"D012": [3]}),
    (["2024-01-01T00:00Z", "17", "2024-01-01T00:00Z"], {}, {"D012": [2]}),
    (["i1", "i2"], {}, {"D012": [1, 2]}),
    (["2024-13-01"], {"tz": "UTC"}, {"D012": [1]}),
    (["03/04/2024 10:00"], {"tz": "UTC"}, {"D012": [1]}),
    (["1700000000.5"], {}, {"D012": [1]}),
    ([1_700_000_000, None, 1_700_000_000, None], {}, {"D013": [2, 4]}),
    (["1700000000", "", " "], {}, {"D013": [2, 3]}),
    ([1_700_000_000, 0], {}, {"D014": [2]}),
    ([1_700_000_000, 1_700_000_000_000], {"unit": "s"}, {"D014": [2]}),
    (["1700000000", "99999999999999999999"], {}, {"D012": [2]}),
]


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize(("values", "options", "codes"), BAD_ROWS, ids=range(len(BAD_ROWS)))
def test_bad_rows_are_marked_with_their_rule_and_the_others_are_read(values, options, codes, blocks):
    if blocks == 2 and codes in ({"D012": [1, 2]}, {"D012": [2]}) and "i1" not in values:
        return  # the first block alone decides what the column is; half a column of dates is one
    times, found = read(values, blocks=blocks, **options)
    assert found == codes
    bad = {row for rows in codes.values() for row in rows}
    assert [row + 1 for row, time in enumerate(times) if time is None] == sorted(bad)


def test_integers_written_as_floats_by_another_program():
    assert parse(["881250949.0", "881250949"]) == [881_250_949_000_000] * 2


COLUMNS = [
    (
        ["2024-01-01 10:00"],
        {},
        "expected times with a time zone; found 2024-01-01 10:00:00 without one, in line 1. Name the time zone with --tz, for example --tz UTC.",
    ),
    (
        [date(2024, 1, 1)],
        {},
        "expected times with a time zone; found 2024-01-01 00:00:00 without one, in line 1. Name the time zone with --tz, for example --tz UTC.",
    ),
    (
        ["2024-01-01 10:00Z", "2024-01-01 10:00"],
        {"tz": "UTC"},
        "expected a time zone in every row; found 1 zoned (first: log.csv:1) and 1 naive (first: log.csv:2). Write the offset from UTC in every row, or in none and name --tz.",
    ),
    (
        [1.7e9],
        {},
        "expected times; found Float64 values such as 1700000000.0. Name the time column, or convert it to integers or ISO-8601 text; floats lose seconds.",
    ),
    (
        [True],
        {},
        "expected times; found Boolean values such as True. Name the time column, or convert it to integers or ISO-8601 text; floats lose seconds.",
    ),
    (
        [3, 1, 2],
        {},
        "expected epoch times between 1990 and 2100; found integers from 1 to 3. Name the unit with --time-unit s|ms|us|ns, or 'order' if the numbers only say which came first.",
    ),
    (
        [1_700_000_000, 1_700_000_000_000, 1_700_000_000_001, 5],
        {},
        "expected one unit of time in the whole column; found 1 in s (first: log.csv:1), 2 in ms (first: log.csv:2). Convert or remove the odd rows.",
    ),
]


@pytest.mark.parametrize(("values", "options", "message"), COLUMNS, ids=range(len(COLUMNS)))
def test_a_column_of_two_minds_is_refused(values, options, message):
    with pytest.raises(DataError) as caught:
        read(values, **options)
    assert re.sub(r"^D\d{3} ", "", str(caught.value)) == f"{WHERE}: {message}"


def test_an_empty_name_of_a_zone_names_none():
    with pytest.raises(DataError, match="expected times with a time zone"):
        parse(["2024-01-01"], tz="")


def test_integers_beyond_64_bits_are_bad_rows():
    assert read(pl.Series([2**64 - 1], dtype=pl.UInt64), unit="order")[1] == {"D012": [1]}


@pytest.mark.parametrize("tz", ["Mars/Olympus", "CEST+1"])
def test_an_unknown_zone_is_refused(tz):
    with pytest.raises(
        DataError,
        match=r"^--tz: expected the name of a time zone; found '.*'\. Take a name of the tz database",
    ):
        parse(["2024-01-01"], tz=tz)


@given(st.data())
def test_two_units_in_one_column_are_refused_with_their_counts(data):
    first, second = data.draw(st.permutations(list(PER_SECOND)))[:2]
    n_first, n_second = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    values = [1_700_000_000 * PER_SECOND[first]] * n_first + [1_600_000_000 * PER_SECOND[second]] * n_second
    with pytest.raises(DataError, match="expected one unit of time in the whole column") as caught:
        parse(values)
    assert f"{n_first} in {first} (first: log.csv:1)" in str(caught.value)
    assert f"{n_second} in {second} (first: log.csv:{n_first + 1})" in str(caught.value)


@pytest.mark.parametrize("text", ["2024-01-01T00:00:00Z", "1704067200"])
def test_a_block_without_times_decides_nothing(text):
    assert read(["", "", text, text], blocks=2) == (
        [None, None, *[1_704_067_200_000_000] * 2],
        {"D013": [1, 2]},
    )
