"""Random logs, whole but not tidy, in every format: the same rows as a plain reader finds, wherever a block ends."""

import csv
import gzip
import io
import json
import random

import polars as pl
import pyarrow as pa
import pytest
from plain_reader import Refused, plain_events, plain_reader

from usermodel.errors import DataError
from usermodel.events import tables, text_blocks
from usermodel.events.readers import read_events

T0 = 1_700_000_000
NAMES = ["user_id", "item_id", "timestamp"]
#: Ids that other readers have mended, by what a format can hold: words, fields of a line, anything.
WORDS = [
    "ann",
    "007",
    "7",
    "NA",
    "null",
    "nan",
    "-0",
    "1e5",
    "é",
    "e\u0301",
    "💡",
    "x\u2028y",
    str(2**53 + 1),
    '"q',
    "a'b",
]
FIELDS = [*WORDS, " ann", "ann ", "b c", "#1", "\\N"]
ANYTHING = [*FIELDS, "a,b", 'say "x"', '"', "c\nd", "e\n\nf", "g\r\nh", "\ti"]


def cells(rng, form):
    """Rows of text, some without an id or a time."""
    ids = {"csv": ANYTHING, "jsonl": ANYTHING, "parquet": ANYTHING, "arrow": ANYTHING}.get(form, FIELDS)
    ids = [one for one in ids if form != "movielens" or ":" not in one]
    scale = rng.choice([1, 1, 10**3, 10**6])
    iso = rng.random() < 0.2
    rows = []
    for number in range(rng.randint(1, 60)):
        time = T0 + rng.randrange(10**6)
        text = (
            f"2024-02-{time % 29 + 1:02}T{time % 24:02}:{time % 60:02}:07.25Z" if iso else str(time * scale)
        )
        row = [rng.choice(ids), rng.choice(ids), text]
        if rng.random() < 0.05:
            # The first times of a log say what its times are: there may be none, but no odd one.
            row[rng.randrange(3)] = rng.choice(["", "", "soon", "12"]) if number else ""
        rows.append(row)
    return rows


def words(rng, form):
    """Users, each with items."""
    most = 1 if form == "pairs" else 5
    return [
        [rng.choice(WORDS), *(rng.choice(WORDS) for _ in range(rng.randint(1, most)))]
        for _ in range(rng.randint(1, 60))
    ]


def written(rows, form, rng):
    """A log as bytes, in one of the spellings that its format has."""
    end = rng.choice(["\n", "\n", "\r\n"])
    if form == "csv":
        out = io.StringIO(newline="")
        quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
        writer = csv.writer(out, quoting=quoting, lineterminator=end)
        # What only begins with a quote must be quoted, too.
        writer.writerows([NAMES, *rows])
        text = out.getvalue()
    elif form == "jsonl":
        ascii_only = rng.random() < 0.5
        lines = [json.dumps(dict(zip(NAMES, row, strict=True)), ensure_ascii=ascii_only) for row in rows]
        text = end.join(lines) + end
    elif form == "atomic":
        head = "\t".join(f"{name}:token" for name in NAMES)
        text = end.join([head, *("\t".join(row) for row in rows)]) + end
    elif form == "movielens":
        text = end.join(f"{user}::{item}::{rng.randint(1, 5)}::{time}" for user, item, time in rows) + end
    else:
        text = end.join(rng.choice([" ", "\t", "  "]).join(row) for row in rows) + end
    data = text.encode() if rng.random() < 0.7 else text.removesuffix(end).encode()
    return (b"\xef\xbb\xbf" if rng.random() < 0.1 else b"") + data


def found(path, form, **options):
    """What the reader makes of a log, in the words of the plain one."""
    try:
        log = read_events(path, format=form, bad_rows="quarantine", **options)
    except DataError as error:
        return str(error)
    facts, rows = log.accounting, log.frame.collect().rows()
    assert facts["rows_read"] == facts["accepted"] + facts["quarantined"]
    assert (facts["accepted"], facts["quarantined"]) == (len(rows), len(log.rejects))
    return facts["rows_read"], rows


@pytest.mark.parametrize("form", ["csv", "jsonl", "atomic", "movielens", "sequences", "pairs"])
def test_text_is_read_as_a_plain_reader_reads_it(tmp_path, monkeypatch, form):
    read = 0
    for seed in range(40):
        rng = random.Random(seed)
        ordered = form in ("sequences", "pairs")
        rows = words(rng, form) if ordered else cells(rng, form)
        data = written(rows, form, rng)
        packed = rng.random() < 0.2
        path = tmp_path / f"log.{form}{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(data, 1) if packed else data)
        # The first block holds the first line, as blocks of megabytes do.
        size = max(rng.choice([7, 50, 300, 1 << 20]), data.find(b"\n") + 1)
        monkeypatch.setattr(text_blocks, "BLOCK_BYTES", size)
        try:
            expected = plain_reader(data, form)
        except Refused:
            assert isinstance(found(path, form), str), (seed, data)
            continue
        assert found(path, form) == expected, (seed, data)
        # The plain reader itself, held against what was written.
        n_rows = sum(len(row) - 1 for row in rows) if ordered else len(rows)
        assert expected[0] == n_rows, (seed, data)
        assert ordered or expected[1] == plain_events(rows)
        read += 1
    assert read >= 30


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_tables_are_read_as_a_plain_reader_reads_them(tmp_path, monkeypatch, form):
    read = 0
    for seed in range(40):
        rng = random.Random(seed)
        rows = cells(rng, form)
        table = pl.DataFrame(rows, schema=dict.fromkeys(NAMES, pl.String), orient="row")
        path = tmp_path / f"log.{form}"
        if form == "parquet":
            table.write_parquet(path, row_group_size=rng.choice([1, 7, 100]))
        else:
            with rng.choice([pa.ipc.new_file, pa.ipc.new_stream])(path, table.to_arrow().schema) as out:
                out.write_table(table.to_arrow(), max_chunksize=rng.choice([1, 7, 100]))
        monkeypatch.setattr(tables, "BATCH_ROWS", rng.choice([1, 5, 1_000]))
        try:
            expected = (len(rows), plain_events(rows))
        except Refused:
            assert isinstance(found(path, form), str), seed
            continue
        assert found(path, form) == expected, seed
        read += 1
    assert read >= 30
