"""A reader of logs that is written for clarity, a row at a time, and shares no code with the real one."""

import json
import math
import re
import struct
from datetime import UTC, datetime, timedelta

SEPARATORS = {"csv": b",", "atomic": b"\t", "movielens": b"::"}
#: Every log has these; the fuzzed ones have a categorical and a numeric column between item and time.
CORE = ("user_id", "item_id", "timestamp")
WITH_CONTEXT = ("user_id", "item_id", "device", "price", "timestamp")
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
MOVIELENS = ("user_id", "item_id", "rating", "timestamp")
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
#: White space of Unicode; `str.strip` takes four separators more.
SPACE = " \t\n\v\f\r\x85\xa0\u2028\u2029"
FIELD = re.compile(r'"((?:[^"]|"")*)"(?=,|\Z)|((?!")[^,]*)(?=,|\Z)')
ISO = re.compile(r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)? ?([Zz])?)?", re.ASCII)


class Refused(Exception):
    """The plain reader will not read this log as a whole."""


def plain_reader(data, form, wanted=CORE):
    """Rows read and the accepted ``(user, item, microseconds)``, with ``device, price`` behind them under `WITH_CONTEXT`."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff", b"\x1f\x8b", b"PK") or (b"\n" not in data and b"\r" in data):
        raise Refused
    lines = data.split(b"\n")
    if form in ("sequences", "pairs"):
        return plain_order(lines, form)
    rows = plain_json(lines, wanted) if form == "jsonl" else plain_text(lines, form, wanted)
    return len(rows), plain_events([row for row in rows if row is not None])


def plain_order(lines, form):
    """Of files without times: the number of the event among those of its user stands for the time."""
    n_rows, events, seen = 0, [], {}
    for line in lines:
        try:
            text = line.decode()
        except UnicodeDecodeError:
            n_rows += 1
            continue
        if not text.strip(SPACE):
            continue
        user, *items = re.split("[ \t]+", text.strip(" \t\r"))
        if not items or (form == "pairs" and len(items) != 1):
            n_rows += 1
            continue
        n_rows += len(items)
        for item in items:
            events.append((user, item, seen.get(user, 0)))
            seen[user] = seen.get(user, 0) + 1
    return n_rows, kept_or_refused(events)


def plain_text(lines, form, wanted):
    separator = SEPARATORS[form]
    kept = [at for at, line in enumerate(lines) if line.strip(b"\r")]
    if not kept:
        raise Refused
    names = list(MOVIELENS) if form == "movielens" else plain_fields(lines, kept[0], form, None)[0]
    if names is None or (form == "atomic" and not all(":" in name for name in names)):
        raise Refused
    names = [name.rpartition(":")[0] for name in names] if form == "atomic" else names
    if any(names.count(name) != 1 for name in wanted):
        raise Refused
    rows, at = [], kept[0] + (form != "movielens")
    while at < len(lines):
        if lines[at].strip() or separator in lines[at]:
            fields, at = plain_fields(lines, at, form, len(names))
            row = dict(zip(names, fields or [], strict=False))
            rows.append([row[name] for name in wanted] if row else None)
        else:
            at += 1
    return rows


def plain_fields(lines, at, form, width):
    """Fields of a row, None when it is none, and the line behind it."""
    try:
        one = lines[at].removesuffix(b"\r").decode()
        fields = split_quoted(one) if form == "csv" else one.split(SEPARATORS[form].decode())
        if fields is not None or width is None or form != "csv":
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


def plain_json(lines, wanted):
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
            values = [row.get(name) for name in wanted]
            rows.append([plain_value(value) for value in values])
        except (ValueError, TypeError, AttributeError, OverflowError):
            rows.append(None)
    if not set(wanted) <= keys:
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
    for (_, user, item, *context), time in zip(timed, micro, strict=True):
        more = (context[0] or None, plain_price(context[1])) if context else ()
        if user and item and time is not None and Refused not in more:
            events.append((user, item, time, *more))
    return kept_or_refused(events)


def kept_or_refused(events):
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
