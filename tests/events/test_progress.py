"""How far a reading has come: never back, to the last byte, in every format and however it is compressed."""

import bz2
import gzip
import io
import random

import polars as pl
import pyarrow as pa
import pytest

from usermodel.events import tables, text_blocks
from usermodel.events.readers import read_events

T0 = 1_700_000_000
ROWS = 3_000
RANDOM = random.Random(0)
TABLE = pl.DataFrame(
    {
        "user_id": [f"u{n % 97}" for n in range(ROWS)],
        # Long and random, so that an archive is larger than what is unpacked at a time.
        "item_id": [RANDOM.randbytes(48).hex() for _ in range(ROWS)],
        "timestamp": [T0 + n * 104_729 % 86_400 for n in range(ROWS)],
    }
)
CSV = TABLE.write_csv().encode()


def arrow(opening):
    sink = pa.BufferOutputStream()
    with opening(sink, TABLE.to_arrow().schema) as out:
        out.write_table(TABLE.to_arrow(), max_chunksize=500)
    return sink.getvalue().to_pybytes()


def parquet():
    data = io.BytesIO()
    TABLE.write_parquet(data, row_group_size=500)
    return data.getvalue()


def lines(row):
    return "".join(row(*values) for values in TABLE.rows()).encode()


ATOMIC = b"user_id:token\titem_id:token\ttimestamp:float\n"
FILES = {
    "log.csv": (CSV, {}),
    "log.csv.gz": (gzip.compress(CSV), {}),
    "log.csv.bz2": (bz2.compress(CSV, 1), {}),
    "log.csv.zst": (pa.compress(CSV, codec="zstd", asbytes=True), {}),
    "log.tsv": (CSV.replace(b",", b"\t"), {}),
    "log.jsonl": (TABLE.write_ndjson().encode(), {}),
    "log.inter": (ATOMIC + lines(lambda u, i, t: f"{u}\t{i}\t{t}\n"), {}),
    "log.dat": (lines(lambda u, i, t: f"{u}::{i}::5::{t}\n"), {"format": "movielens"}),
    "log.pairs": (lines(lambda u, i, t: f"{u} {i}\n"), {"format": "pairs"}),
    "log.txt": (lines(lambda u, i, t: f"{u} {i}\n"), {"format": "sequences"}),
    "log.parquet": (parquet(), {}),
    "log.arrow": (arrow(pa.ipc.new_file), {}),
    "log.ipc": (arrow(pa.ipc.new_stream), {}),
}


@pytest.mark.parametrize("name", FILES)
def test_bytes_rise_to_those_of_all_files(tmp_path, monkeypatch, name):
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 4_000)
    monkeypatch.setattr(tables, "BATCH_ROWS", 500)
    data, options = FILES[name]
    paths = [tmp_path / f"{number}-{name}" for number in range(2)]
    for path in paths:
        path.write_bytes(data)
    seen = []
    read_events(paths, on_progress=lambda *now: seen.append(now), **options)
    done, totals, rows = zip(*seen, strict=True)
    assert set(totals) == {2 * len(data)}
    assert done == tuple(sorted(done))
    assert rows == tuple(sorted(rows))
    assert seen[-1] == (2 * len(data), 2 * len(data), 2 * ROWS)
    # Each file counts as much as it weighs, and is seen to move on its way.
    half = next(number for number, one in enumerate(rows) if one == ROWS)
    # (Behind the last rows of a stream stands a mark of eight bytes.)
    assert len(data) - 8 <= done[half] <= len(data)
    assert len(set(done)) >= 6


def test_bad_rows_count_as_rows(tmp_path):
    (tmp_path / "log.csv").write_text(f"user_id,item_id,timestamp\na,x,{T0}\na,x\n")
    seen = []
    read_events(tmp_path / "log.csv", bad_rows="drop", on_progress=lambda *now: seen.append(now))
    assert seen[-1][2] == 2


def test_a_frame_is_not_read():
    assert read_events(TABLE, on_progress=pytest.fail).n_events() == ROWS
