"""Damaged logs: whatever the bytes, an answer of our own; and every row accounted for, as a plain reader counts them.

Beside user, item and time every log whose format has room for them has a categorical and a numeric column.
"""

import gzip
import io
import json
import random
import re

import polars as pl
import pyarrow as pa
import pytest
from plain_reader import CORE, WITH_CONTEXT, Refused, plain_reader

from usermodel.errors import UserModelError
from usermodel.events.readers import read_events

T0 = 1_700_000_000
CONTEXT = {"categorical": ["device"], "numeric": {"usd": "price"}}
#: Formats with a fixed set of columns.
BARE = ("movielens", "sequences", "pairs")
TEXT = ("csv", "jsonl", "atomic", "movielens", "sequences", "pairs")


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
        lines = [json.dumps(dict(zip(WITH_CONTEXT, row, strict=True)), ensure_ascii=False) for row in events]
    elif form == "movielens":
        lines = [f"{user}::{item}::{rng.choice([1, 4.5])}::{time}" for user, item, *_, time in events]
    elif form == "pairs":
        lines = [f"{user}{rng.choice(' 	')}{item}" for user, item, *_ in events]
    elif form == "sequences":
        lines = [" ".join([user, *[item] * rng.randrange(4)]) for user, item, *_ in events]
    elif form == "atomic":
        lines = ["user_id:token\titem_id:token\tdevice:token\tprice:float\ttimestamp:float"]
        lines += ["\t".join(map(cell, row)) + rng.choice(["", ".0"]) for row in events]
    else:
        q = rng.choice(["", "", '"'])
        iso = rng.random() < 0.1
        lines = [",".join(WITH_CONTEXT)]
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
    insert(b",", b"\t", b";", b"\n", b"\r", b"\r\n", b" ", b"\n\n", b"\n \n", b"\n\t\t\n", b"\n,,\n", b":", b"::"),
    insert(b"\x00", b"\xff", b"\xc3", b"\xed\xa0\xbd", b"\xe2\x80\xa8", b"\x1f", b"\x0b", b"\x85"),
    insert(b"\\", b"\\u0041", b"\\ud83d", b"\\n", b"{", b"}", b"[1, 2.50]", b"null", b"NaN", b'{"a": 1}', b":", b"true"),
    at_line(lambda line, rng: [line, line]),
    at_line(lambda line, rng: []),
    at_line(lambda line, rng: [line + rng.choice([b",x", b"\tx", b"}", b" ", b","])]),
    at_line(lambda line, rng: [line.rpartition(rng.choice([b",", b"\t", b"::", b" "]))[0]]),
    at_line(lambda line, rng: [rng.choice([b",", b"\t"]).join(reversed(re.split(b"[,\t]", line)))]),
    at_line(lambda line, rng: [re.sub(rb"\d", b"x", line)]),
    at_line(lambda line, rng: [b'"' + line.replace(b",", b'\n",', 1)]),
]  # fmt: skip


def outcome(path, **options):
    try:
        log = read_events(path, **({} if options.get("format") in BARE else CONTEXT), **options)
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
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    try:
        expected = plain_reader(data, form, CORE if form in BARE else WITH_CONTEXT)
    except Refused:
        expected = None
    found = outcome(path, format=form, bad_rows="quarantine")
    if expected is None:
        assert found is None
        return
    assert found is not None
    facts, rows = found
    assert (facts["rows_read"], rows) == expected
    once = list(dict.fromkeys(rows))
    assert facts["repeated"] == len(rows) - len(once)
    if rng.random() < 0.2:
        facts, rows = outcome(path, format=form, bad_rows="drop", duplicates="drop")
        assert (facts["duplicates"], rows) == (facts["repeated"], once)
        strict = outcome(path, format=form)
        assert (strict is None) == (facts["quarantined"] > 0)


def run_text(form, seeds, folder):
    for seed in seeds:
        rng = random.Random(seed)
        whole = text_of(form, events_of(rng), rng)
        data = whole
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            data = rng.choice(MUTATIONS)(data, rng) if data else data
        try:
            check(data, form, folder / f"log.{form}{rng.choice(['', '', '', '.gz'])}", rng)
        except BaseException as error:
            error.add_note(f"{form} seed {seed}: {data!r}")
            raise


def run_packed(seeds, folder):
    """A damaged archive is refused or read; nothing in between can be said of its rows."""
    for seed in seeds:
        rng = random.Random(seed)
        form = rng.choice(TEXT)
        data = bytearray(gzip.compress(text_of(form, events_of(rng), rng), mtime=0))
        path = folder / "log.gz"
        mutation = rng.choice([drop, flip, lambda data, rng: data[: rng.randint(0, len(data) - 1)]])
        path.write_bytes(mutation(bytes(data), rng))
        outcome(path, format=form, bad_rows="quarantine")


TYPES = [pl.Float64, pl.Int8, pl.UInt64, pl.Boolean, pl.Binary, pl.Date, pl.Datetime("ns"), pl.Duration, pl.Time,
         pl.List(pl.Int64), pl.Categorical, pl.Null, pl.Decimal(20, 2), pl.Int128, pl.Datetime("ms", "Asia/Tokyo")]  # fmt: skip


def write_table(table, form, rng):
    """Its bytes; text as polars has it, or as others do."""
    buffer = io.BytesIO()
    squeezed = rng.random() < 0.5
    if form == "parquet":
        table.write_parquet(buffer, compression="zstd" if squeezed else "uncompressed")
    else:
        arrow = table.to_arrow(compat_level=rng.choice([pl.CompatLevel.oldest(), pl.CompatLevel.newest()]))
        opening = rng.choice([pa.ipc.new_file, pa.ipc.new_stream])
        options = pa.ipc.IpcWriteOptions(compression="zstd" if squeezed else None)
        with opening(buffer, arrow.schema, options=options) as out:
            out.write_table(arrow, max_chunksize=rng.choice([3, 1_000]))
    return buffer.getvalue()


def run_table(form, seeds, folder):
    for seed in seeds:
        rng = random.Random(seed)
        table = pl.DataFrame(events_of(rng), schema=WITH_CONTEXT, orient="row", infer_schema_length=None)
        table = table.with_columns(play=pl.lit(5))
        path = folder / f"log.{form}"
        byte = rng.random() < 0.5
        if not byte:
            name, to = rng.choice(table.columns), rng.choice(TYPES)
            # Of Arrow itself 128 bits have no type.
            to = pl.Binary if form == "arrow" and to == pl.Int128 else to
            table = table.with_columns(odd_column(table[name], to, rng))
        data = write_table(table, form, rng)
        path.write_bytes(rng.choice([drop, flip, flip, flip, MUTATIONS[2]])(data, rng) if byte else data)
        try:
            found = outcome(
                path,
                bad_rows="quarantine",
                tz="UTC",
                **{rng.choice(["watch_time", "event_type", "rating"]): "play"},
            )
        except BaseException as error:
            error.add_note(f"{form} seed {seed}")
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
    if kind in ("parquet", "arrow"):
        run_table(kind, seeds, folder)
    elif kind == "packed":
        run_packed(seeds, folder)
    else:
        run_text(kind, seeds, folder)


#: Of a thousand or ten thousand logs, in twentieths.
SHARE = {
    "csv": 5, "jsonl": 4, "atomic": 2, "movielens": 2, "sequences": 2, "pairs": 1, "parquet": 2, "arrow": 1, "packed": 1,
}  # fmt: skip


@pytest.mark.parametrize("kind", SHARE)
def test_a_thousand_damaged_logs(tmp_path, kind):
    run(kind, range(50 * SHARE[kind]), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHARE)
def test_ten_thousand_damaged_logs(tmp_path, kind):
    run(kind, range(10_000, 10_000 + 500 * SHARE[kind]), tmp_path)
