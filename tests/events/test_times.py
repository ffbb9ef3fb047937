"""Times: exact in every unit, no guessing row by row, no time without a zone."""

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermodel.errors import DataError
from usermodel.events.times import parse_times

WHERE = "log.csv: column 'ts'"
PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST, LAST = datetime.fromisoformat("1990-01-01"), datetime.fromisoformat("2099-12-31")


def parse(values, **options):
    return parse_times(pl.Series("ts", values), where=WHERE, **options).to_list()


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


FAILURES = [
    (
        ["2021-03-28 02:30", "2021-03-28 03:30"][::-1],
        {"tz": "Europe/Berlin"},
        "expected times that exist in Europe/Berlin; found a skipped hour in row 2. Correct the row, or use the zone the clock really ran in.",
    ),
    (
        ["2024-01-01 10:00"],
        {},
        "expected times with a time zone; found 2024-01-01 10:00:00 without one. Name the time zone with --tz, for example --tz UTC.",
    ),
    (
        [date(2024, 1, 1)],
        {},
        "expected times with a time zone; found 2024-01-01 00:00:00 without one. Name the time zone with --tz, for example --tz UTC.",
    ),
    (
        ["2024-01-01 10:00Z", "2024-01-01 10:00"],
        {"tz": "UTC"},
        "expected a time zone in every row; found 1 rows without one (first: '2024-01-01 10:00' in row 2). Write the offset from UTC in every row, or in none and name --tz.",
    ),
    (
        ["1700000000", "1700000001", "yesterday"],
        {},
        "expected integer times or ISO-8601 text; found 'yesterday' in row 3 (1 of 3 rows). Mend or remove the row, or name another time column with --time.",
    ),
    (
        ["2024-01-01T00:00Z", "17", "2024-01-01T00:00Z"],
        {},
        "expected integer times or ISO-8601 text; found '17' in row 2 (1 of 3 rows). Mend or remove the row, or name another time column with --time.",
    ),
    (
        ["i1", "i2"],
        {},
        "expected integer times or ISO-8601 text; found 'i1' in row 1 (2 of 2 rows). Mend or remove the row, or name another time column with --time.",
    ),
    (
        ["2024-13-01"],
        {"tz": "UTC"},
        "expected integer times or ISO-8601 text; found '2024-13-01' in row 1 (1 of 1 rows). Mend or remove the row, or name another time column with --time.",
    ),
    (
        ["03/04/2024 10:00"],
        {"tz": "UTC"},
        "expected integer times or ISO-8601 text; found '03/04/2024 10:00' in row 1 (1 of 1 rows). Mend or remove the row, or name another time column with --time.",
    ),
    (
        ["1700000000.5"],
        {},
        "expected integer times or ISO-8601 text; found '1700000000.5' in row 1 (1 of 1 rows). Mend or remove the row, or name another time column with --time.",
    ),
    (
        [1_700_000_000, None, 1_700_000_000, None],
        {},
        "expected a time in every row; found 2 empty ones, the first in row 2. Fill or remove these rows.",
    ),
    (
        ["1700000000", "", " "],
        {},
        "expected a time in every row; found 2 empty ones, the first in row 2. Fill or remove these rows.",
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
        [timedelta(1)],
        {},
        "expected times; found Duration(time_unit='us') values such as datetime.timedelta(days=1). Name the time column, or convert it to integers or ISO-8601 text; floats lose seconds.",
    ),
    (
        [3, 1, 2],
        {},
        "expected epoch times between 1990 and 2100; found integers from 1 to 3. Name the unit with --time-unit s|ms|us|ns, or 'order' if the numbers only say which came first.",
    ),
    (
        [1_700_000_000, 1_700_000_000_000, 1_700_000_000_001, 5],
        {},
        "expected one unit of time in the whole column; found 1 in s (first: row 1), 2 in ms (first: row 2), 1 outside 1990 to 2100 (first: 5 in row 4). Convert or remove the odd rows.",
    ),
    (
        [1_700_000_000, 0],
        {},
        "expected one unit of time in the whole column; found 1 in s (first: row 1), 1 outside 1990 to 2100 (first: 0 in row 2). Convert or remove the odd rows.",
    ),
    (
        [1_700_000_000, 1_700_000_000_000],
        {"unit": "s"},
        "expected times between 1990 and 2100 in s; found 1700000000000 in row 2 (1 such rows). Mend or remove these rows, or name another --time-unit.",
    ),
]


@pytest.mark.parametrize(("values", "options", "message"), FAILURES, ids=range(len(FAILURES)))
def test_what_is_no_time_is_refused_with_row_value_and_mend(values, options, message):
    with pytest.raises(DataError) as caught:
        parse(values, **options)
    assert str(caught.value) == f"{WHERE}: {message}"


def test_an_empty_name_of_a_zone_names_none():
    with pytest.raises(DataError, match="expected times with a time zone"):
        parse(["2024-01-01"], tz="")


def test_integers_beyond_64_bits_are_refused():
    with pytest.raises(DataError, match="expected 64-bit integers; found 18446744073709551615 in row 1"):
        parse(pl.Series([2**64 - 1], dtype=pl.UInt64), unit="order")


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
    assert f"{n_first} in {first} (first: row 1)" in str(caught.value)
    assert f"{n_second} in {second} (first: row {n_first + 1})" in str(caught.value)
