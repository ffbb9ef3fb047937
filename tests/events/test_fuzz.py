"""Damaged logs: whatever the bytes, an answer of our own; and every row accounted for, as a plain reader counts them.

The plain reader below is written for clarity, a row at a time, and shares no code with the real one. Beside user, item
and time every log has a categorical and a numeric column.
"""

import gzip
import io
import json
import math
import random
import re
import struct
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from usermodel.errors import UserModelError
from usermodel.events.readers import read_events

T0 = 1_700_000_000
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
#: White space of Unicode; `str.strip` takes four separators more.
SPACE = " \t\n\v\f\r\x85\xa0\u2028\u2029"
FIELD = re.compile(r'"((?:[^"]|"")*)"(?=,|\Z)|((?!")[^,]*)(?=,|\Z)')
ISO = re.compile(r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)? ?([Zz])?)?", re.ASCII)


NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
NAMES = ("user_id", "item_id", "device", "price", "timestamp")
CONTEXT = {"categorical": ["device"], "numeric": {"usd": "price"}}


class Refused(Exception):
    """The plain reader will not read this log as a whole."""


# ------------------------------------------------------------------------------------------------------ the plain reader


def plain_reader(data, form):
    """Rows read and the accepted ``(user, item, microseconds, device, price)``."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff", b"\x1f\x8b", b"PK") or (b"\n" not in data and b"\r" in data):
        raise Refused
    lines = data.split(b"\n")
    rows = plain_json(lines) if form == "jsonl" else plain_text(lines, form)
    return len(rows), plain_events([row for row in rows if row is not None])


def plain_text(lines, form):
    separator = b"\t" if form == "atomic" else b","
    kept = [at for at, line in enumerate(lines) if line.strip(b"\r")]
    if not kept:
        raise Refused
    names = plain_fields(lines, kept[0], form, None)[0]
    if names is None or (form == "atomic" and not all(":" in name for name in names)):
        raise Refused
    names = [name.rpartition(":")[0] for name in names] if form == "atomic" else names
    if any(names.count(name) != 1 for name in NAMES):
        raise Refused
    rows, at = [], kept[0] + 1
    while at < len(lines):
        if lines[at].strip() or separator in lines[at]:
            fields, at = plain_fields(lines, at, form, len(names))
            row = dict(zip(names, fields or [], strict=False))
            rows.append([row[name] for name in NAMES] if row else None)
        else:
            at += 1
    return rows


def plain_fields(lines, at, form, width):
    """Fields of a row, None when it is none, and the line behind it."""
    try:
        one = lines[at].removesuffix(b"\r").decode()
        fields = one.split("\t") if form == "atomic" else split_quoted(one)
        if fields is not None or width is None or form == "atomic":
            return (fields if fields and width in (None, len(fields)) else None), at + 1
        closing = next(stop for stop in range(at + 1, at + 100) if lines[stop].count(b'"') % 2)
        fields = split_quoted(b"\n".join(lines[at : closing + 1]).removesuffix(b"\r").decode())
        return (fields, closing + 1) if fields and len(fields) == width else (None, at + 1)
    except (UnicodeDecodeError, IndexError):
        return None, at + 1


def split_quoted(text):
    fields, at = [], 0
    while found := FIELD.match(text, at):
        fields.append(found[2] if found[1] is None else found[1].replace('""', '"'))
        at = found.end() + 1
        if at > len(text):
            return fields
    return None


def plain_json(lines):
    def constant(name):
        raise ValueError(name)

    rows, keys = [], set()
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            row = json.loads(
                line.decode(), parse_constant=constant, object_pairs_hook=lambda pairs: dict(pairs[::-1])
            )
            keys |= set(row) if isinstance(row, dict) and number < 100 else set()
            values = [row.get(name) for name in NAMES]
            rows.append([plain_value(value) for value in values])
        except (ValueError, TypeError, AttributeError, OverflowError):
            rows.append(None)
    if not set(NAMES) <= keys:
        raise Refused
    return rows


def plain_value(value):
    if isinstance(value, list | dict):
        raise TypeError
    if isinstance(value, str):
        value.encode()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "-0" if str(value) == "-0.0" else f"{int(value)}" if value == int(value) else f"{value}"
    return None if value is None else str(value)


def plain_events(rows):
    rows = [((time or "").strip(SPACE), *rest) for *rest, time in rows]
    timed = [row for row in rows if row[0]]
    numbers = [plain_integer(time) for time, *_ in timed]
    # Every row that has a time has a say in what times are; only those with ids, and with a price that is one, or none,
    # become events.
    if 2 * sum(number is not None for number in numbers) < len(timed):
        return plain_rows(timed, [plain_iso(time) for time, *_ in timed])
    every = [number for number in numbers if number is not None]
    unit_of = {
        number: unit
        for unit, scale in UNITS.items()
        for number in every
        if 631_152_000 * scale <= number <= 4_102_444_800 * scale
    }
    if len(set(unit_of.values())) > 1:
        raise Refused
    return plain_rows(timed, [n * 10**6 // UNITS[unit_of[n]] if n in unit_of else None for n in numbers])


def plain_rows(timed, micro):
    events = []
    for (_, user, item, device, price), time in zip(timed, micro, strict=True):
        usd = plain_price(price)
        if user and item and time is not None and usd is not Refused:
            events.append((user, item, time, device or None, usd))
    if not events:
        raise Refused
    return events


def plain_price(text):
    """A number of 32 bits, None where there is none, or `Refused`."""
    if not text or re.fullmatch("[+-]?nan", text, re.IGNORECASE):
        return None
    if not NUMBER.fullmatch(text) or math.isinf(float(text)):
        return Refused
    try:
        return struct.unpack("<f", struct.pack("<f", float(text)))[0]
    except OverflowError:
        return Refused


def plain_integer(text):
    found = re.fullmatch(r"([+-]?[0-9]+)(?:\.0+)?", text)
    number = int(found[1]) if found and (text[0] != "+" or "." not in text) else None
    return number if number is not None and -(2**63) <= number < 2**63 else None


def plain_iso(text):
    found = ISO.fullmatch(text)
    try:
        time = (
            datetime.fromisoformat(f"{found[1]}T{found[2] or '00:00'}:{found[3] or '00'}") if found else None
        )
    except ValueError:
        return None
    if time is None or not 1990 <= time.year < 2100:
        return None
    if not found[5]:
        raise Refused
    return (time.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) + int(
        f"{found[4] or '':0<6}"[:6]
    )


# ------------------------------------------------------------------------------------------------------------- mutations


def events_of(rng):
    scale = rng.choice([1, 1, 1000, 10**6])
    users = rng.sample(["ann", "bob", "007", "7", "NA", "null", "é", "ü b", str(2**53 + 1)], 5)
    items, devices = ["x", "y", "i 3", "0", "-1"], ["tv", "007", "NA", "null", "ü", "", None]
    return [
        (
            rng.choice(users),
            rng.choice(items),
            rng.choice(devices),
            rng.choice([0.5, 2, -3, None]),
            (T0 + rng.randrange(9)) * scale,
        )
        for _ in range(rng.randint(5, 30))
    ]


def text_of(form, events, rng):
    if form == "jsonl":
        lines = [json.dumps(dict(zip(NAMES, row, strict=True)), ensure_ascii=False) for row in events]
    elif form == "atomic":
        lines = ["user_id:token\titem_id:token\tdevice:token\tprice:float\ttimestamp:float"]
        lines += ["\t".join(map(cell, row)) + rng.choice(["", ".0"]) for row in events]
    else:
        q = rng.choice(["", "", '"'])
        iso = rng.random() < 0.1
        lines = [",".join(NAMES)]
        for user, item, device, price, time in events:
            lines.append(f"{q}{user}{q},{item},{q}{cell(device)}{q},{cell(price)},{stamp(time, iso)}")
    return ("\n".join(lines) + rng.choice(["\n", ""])).encode()


def cell(value):
    return "" if value is None else str(value)


def stamp(time, iso):
    return f"2024-01-{time % 27 + 1:02}T10:00:00Z" if iso else time


def at_line(change):
    """A mutation of one line."""

    def mutate(data, rng):
        lines = data.split(b"\n")
        at = rng.randrange(len(lines))
        lines[at : at + 1] = change(lines[at], rng)
        return b"\n".join(lines)

    return mutate


def insert(*words):
    def mutate(data, rng):
        at = rng.randint(0, len(data))
        return data[:at] + rng.choice(words) + data[at:]

    return mutate


def drop(data, rng):
    at = rng.randint(0, len(data))
    return data[:at] + data[at + rng.randint(1, 4) :]


def flip(data, rng):
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


HUGE = [
    str(2**53),
    str(2**63 - 1),
    str(2**63),
    str(2**64),
    "9" * 400,
    "1e400",
    "1e5",
    "-0",
    "1.50",
    "0.00001",
    "-5",
]
PRICES = [
    *HUGE,
    "nan",
    "-NaN",
    "inf",
    "-Infinity",
    "1e39",
    "+.5",
    "5.",
    "1_0",
    "0x1p3",
    "true",
    " 2",
    "1e-46",
    "\u0663",
    "null",
]
MUTATIONS = [
    drop,
    flip,
    lambda data, rng: data[: rng.randint(0, len(data))],
    lambda data, rng: data + data,
    lambda data, rng: b"\xef\xbb\xbf" + data,
    lambda data, rng: data.replace(b"\n", b"\r\n"),
    lambda data, rng: data.replace(b"\n", b"\n\n"),
    lambda data, rng: data.replace(b"\n", b"\r", 1),
    lambda data, rng: data.decode("utf-8", "replace").encode("utf-16") if rng.random() < 0.2 else data,
    lambda data, rng: data.replace(b"user_id", b"item_id", 1),
    lambda data, rng: re.sub(rb"(?<=\d)(?=\n)", b"000", data, count=1),
    lambda data, rng: re.sub(rb"17\d+(?=[}\n])", lambda _: rng.choice(HUGE).encode(), data, count=rng.randint(1, 3)),
    lambda data, rng: re.sub(rb"(?<=[,\t ])(?:0\.5|2|-3)(?=[,\t])", lambda _: rng.choice(PRICES).encode(), data, count=rng.randint(1, 3)),
    lambda data, rng: re.sub(rb"ann|bob|007", lambda _: rng.choice(HUGE).encode(), data, count=rng.randint(1, 3)),
    insert(b'"', b'""', b'"\n', b',"', b'",'),
    insert(b",", b"\t", b";", b"\n", b"\r", b"\r\n", b" ", b"\n\n", b"\n \n", b"\n\t\t\n", b"\n,,\n"),
    insert(b"\x00", b"\xff", b"\xc3", b"\xed\xa0\xbd", b"\xe2\x80\xa8", b"\x1f", b"\x0b", b"\x85"),
    insert(b"\\", b"\\u0041", b"\\ud83d", b"\\n", b"{", b"}", b"[1, 2.50]", b"null", b"NaN", b'{"a": 1}', b":", b"true"),
    at_line(lambda line, rng: [line, line]),
    at_line(lambda line, rng: []),
    at_line(lambda line, rng: [line + rng.choice([b",x", b"\tx", b"}", b" ", b","])]),
    at_line(lambda line, rng: [line.rpartition(rng.choice([b",", b"\t"]))[0]]),
    at_line(lambda line, rng: [rng.choice([b",", b"\t"]).join(reversed(re.split(b"[,\t]", line)))]),
    at_line(lambda line, rng: [re.sub(rb"\d", b"x", line)]),
    at_line(lambda line, rng: [b'"' + line.replace(b",", b'\n",', 1)]),
]  # fmt: skip


def outcome(path, **options):
    try:
        log = read_events(path, **CONTEXT, **options)
    except UserModelError as error:
        message = str(error)
    else:
        return facts_of(log, options)
    assert re.search(r": expected (.|\n)+; found (.|\n)*\. \S", message), message
    return None


def facts_of(log, options):
    facts = log.accounting
    rows = log.frame.collect().rows()
    assert facts["rows_read"] == facts["accepted"] + facts["duplicates"] + facts["quarantined"], facts
    assert facts["accepted"] == len(rows)
    assert facts["quarantined"] == (
        len(log.rejects) if options.get("bad_rows") == "quarantine" else facts["quarantined"]
    )
    return facts, rows


def check(data, form, path, rng):
    """One damaged file, read every way, against the plain reader."""
    path.write_bytes(data)
    try:
        expected = plain_reader(data, form)
    except Refused:
        expected = None
    found = outcome(path, bad_rows="quarantine")
    if expected is None:
        assert found is None
        return
    assert found is not None
    facts, rows = found
    assert (facts["rows_read"], rows) == expected
    once = list(dict.fromkeys(rows))
    assert facts["repeated"] == len(rows) - len(once)
    if rng.random() < 0.2:
        facts, rows = outcome(path, bad_rows="drop", duplicates="drop")
        assert (facts["duplicates"], rows) == (facts["repeated"], once)
        strict = outcome(path)
        assert (strict is None) == (facts["quarantined"] > 0)


def run_text(form, seeds, folder):
    for seed in seeds:
        rng = random.Random(seed)
        whole = text_of(form, events_of(rng), rng)
        data = whole
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            data = rng.choice(MUTATIONS)(data, rng) if data else data
        try:
            check(data, form, folder / f"log.{'inter' if form == 'atomic' else form}", rng)
        except BaseException as error:
            error.add_note(f"{form} seed {seed}: {data!r}")
            raise


def run_packed(seeds, folder):
    """A damaged archive is refused or read; nothing in between can be said of its rows."""
    for seed in seeds:
        rng = random.Random(seed)
        data = bytearray(gzip.compress(text_of("csv", events_of(rng), rng), mtime=0))
        path = folder / "log.csv.gz"
        mutation = rng.choice([drop, flip, lambda data, rng: data[: rng.randint(0, len(data) - 1)]])
        path.write_bytes(mutation(bytes(data), rng))
        outcome(path, bad_rows="quarantine")


TYPES = [pl.Float64, pl.Int8, pl.UInt64, pl.Boolean, pl.Binary, pl.Date, pl.Datetime("ns"), pl.Duration, pl.Time,
         pl.List(pl.Int64), pl.Categorical, pl.Null, pl.Decimal(20, 2), pl.Int128, pl.Datetime("ms", "Asia/Tokyo")]  # fmt: skip


def run_parquet(seeds, folder):
    for seed in seeds:
        rng = random.Random(seed)
        table = pl.DataFrame(events_of(rng), schema=NAMES, orient="row", infer_schema_length=None)
        table = table.with_columns(play=pl.lit(5))
        path = folder / "log.parquet"
        byte = rng.random() < 0.5
        if not byte:
            name, to = rng.choice(table.columns), rng.choice(TYPES)
            table = table.with_columns(odd_column(table[name], to, rng))
        buffer = io.BytesIO()
        table.write_parquet(buffer, compression="uncompressed" if rng.random() < 0.5 else "zstd")
        data = buffer.getvalue()
        path.write_bytes(rng.choice([drop, flip, flip, flip, MUTATIONS[2]])(data, rng) if byte else data)
        try:
            found = outcome(
                path,
                bad_rows="quarantine",
                tz="UTC",
                **{rng.choice(["watch_time", "event_type", "rating"]): "play"},
            )
        except BaseException as error:
            error.add_note(f"parquet seed {seed}")
            raise
        if not byte and found is not None:
            assert found[0]["rows_read"] == table.height


def odd_column(values, to, rng):
    try:
        cast = values.cast(to, strict=False)
    except pl.exceptions.PolarsError:
        cast = pl.Series(values.name, [None] * len(values), dtype=to)
    keep = pl.Series([rng.random() < 0.8 for _ in range(len(values))])
    return cast.zip_with(keep, pl.Series([None], dtype=cast.dtype).new_from_index(0, len(cast)))


def run(kind, seeds, folder):
    if kind == "parquet":
        run_parquet(seeds, folder)
    elif kind == "packed":
        run_packed(seeds, folder)
    else:
        run_text(kind, seeds, folder)


SHARE = {"csv": 4, "atomic": 2, "jsonl": 2, "parquet": 1, "packed": 1}


@pytest.mark.parametrize("kind", SHARE)
def test_a_thousand_damaged_logs(tmp_path, kind):
    run(kind, range(100 * SHARE[kind]), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHARE)
def test_ten_thousand_damaged_logs(tmp_path, kind):
    run(kind, range(10_000, 10_000 + 1_000 * SHARE[kind]), tmp_path)
