"""Formats: the same events give the same log, however they are stored."""

import bz2
import gzip
import json

import object_store
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pytest

from usermodel.errors import DataError, OutputExistsError
from usermodel.events.atomic import write_atomic
from usermodel.events.readers import read_events

T0 = 881_250_949
EVENTS = [("b", "x", T0 + 5), ("007", "ü y", T0 + 1), ("a", "x", T0 + 1), ("b", "x", T0 + 5)]
NAMES = ["user_id", "item_id", "timestamp"]
MICRO = [(user, item, time * 10**6) for user, item, time in EVENTS]
FRAME = pl.DataFrame(EVENTS, schema=NAMES, orient="row")
COUNTS = {"rows_read": 4, "accepted": 4, "duplicates": 0, "repeated": 1, "quarantined": 0}


def text(separator=",", names=NAMES, end=""):
    lines = [separator.join(names)] if names else []
    return "\n".join([*lines, *(separator.join(map(str, row)) + end for row in EVENTS), ""]).encode()


def lz4(data):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "lz4") as out:
        out.write(data)
    return sink.getvalue().to_pybytes()


def zstd(data):
    return pa.compress(data, codec="zstd", asbytes=True)


JSONL = "".join(json.dumps(dict(zip(NAMES, row, strict=True))) + "\n" for row in EVENTS).encode()
FLOATS = text("\t", ["user_id:token", "item_id:token", "timestamp:float"], ".0")
FILES = {
    "log.csv": (text(), {}),
    "log.tsv": (text("\t"), {}),
    "log.csv.gz": (gzip.compress(text()), {}),
    "log.csv.zst": (zstd(text()), {}),
    "log.csv.bz2": (bz2.compress(text()), {}),
    "log.csv.lz4": (lz4(text()), {}),
    "pipes.csv": (text("|"), {"separator": "|"}),
    "wide.txt": (text("||"), {"separator": "||", "format": "csv"}),
    "bare.csv": (text(names=None), {"has_header": False, "user": 0, "item": 1, "time": 2}),
    "log.jsonl": (JSONL, {}),
    "log.jsonl.gz": (gzip.compress(JSONL), {}),
    "log.ndjson": (JSONL, {}),
    "log.inter": (FLOATS, {}),
    "log.inter.gz": (gzip.compress(FLOATS), {}),
    "ratings.dat": ("".join(f"{u}::{i}::5::{t}\n" for u, i, t in EVENTS).encode(), {"format": "movielens"}),
}


@pytest.fixture(scope="module")
def bucket():
    with object_store.serve() as found:
        yield found


@pytest.fixture(params=["path", "file", "s3"])
def at(request, tmp_path, bucket):
    """A path in ``tmp_path`` as it is, as a URL, or copied into a bucket."""

    def place(path):
        if request.param == "path":
            return path
        if request.param == "file":
            return f"file://{path}"
        bucket.objects.clear()
        for file in tmp_path.rglob("*"):
            if file.is_file():
                bucket.objects[str(file.relative_to(tmp_path))] = file.read_bytes()
        return f"s3://logs/{path.relative_to(tmp_path)}".removesuffix("/.")

    return place


@pytest.mark.parametrize("name", FILES)
def test_text_files(tmp_path, at, name):
    data, options = FILES[name]
    (tmp_path / name).write_bytes(data)
    log = read_events(at(tmp_path / name), **options)
    assert (log.frame.collect().rows(), log.accounting) == (MICRO, COUNTS)


def test_movielens_files_have_ratings(tmp_path):
    (tmp_path / "ratings.dat").write_bytes(FILES["ratings.dat"][0])
    log = read_events(tmp_path / "ratings.dat", format="movielens", rating="rating")
    assert log.frame.collect()["rating"].to_list() == [5.0] * 4


def arrow_file(path):
    with pa.ipc.new_file(path, FRAME.to_arrow().schema) as out:
        out.write_table(FRAME.to_arrow(), max_chunksize=3)


def arrow_stream(path):
    with pa.ipc.new_stream(path, FRAME.to_arrow().schema) as out:
        out.write_table(FRAME.to_arrow(), max_chunksize=3)


WRITERS = {
    "log.parquet": FRAME.write_parquet,
    "groups.parquet": lambda path: FRAME.write_parquet(path, row_group_size=2),
    "pandas.parquet": lambda path: FRAME.to_pandas().to_parquet(path, index=False),
    "categories.parquet": lambda path: FRAME.with_columns(pl.col(pl.String).cast(pl.Categorical)).write_parquet(path),
    "log.arrow": arrow_file,
    "log.ipc": arrow_stream,
    "log.feather": FRAME.write_ipc,
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_tables(tmp_path, at, name):
    WRITERS[name](tmp_path / name)
    log = read_events(at(tmp_path / name))
    assert (log.frame.collect().rows(), log.accounting) == (MICRO, COUNTS)


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_folders_and_globs(tmp_path, at, form):
    for part in range(2):
        part_of = FRAME[2 * part : 2 * part + 2]
        path = tmp_path / f"part-{part}.{form}"
        {"csv": part_of.write_csv, "parquet": part_of.write_parquet, "jsonl": part_of.write_ndjson}[form](
            path
        )
    (tmp_path / "_SUCCESS").touch()
    for source in (
        at(tmp_path),
        str(at(tmp_path / "part-*")),
        str(at(tmp_path / f"part-[01].{form}")),
        [at(tmp_path / f"part-{part}.{form}") for part in range(2)],
    ):
        log = read_events(source)
        assert (log.frame.collect().rows(), log.accounting) == (MICRO, COUNTS)


def test_columns_in_the_path(tmp_path, at):
    for number, (user, item, time) in enumerate(EVENTS):
        folder = tmp_path / f"user_id={user}" / f"n={number}"
        folder.mkdir(parents=True)
        pl.DataFrame({"item_id": [item], "timestamp": [time]}).write_parquet(folder / "log.parquet")
    log = read_events(at(tmp_path))
    assert sorted(log.frame.collect().rows()) == sorted(MICRO)


@pytest.mark.parametrize(
    "source",
    [
        FRAME,
        FRAME.lazy(),
        FRAME.to_pandas(),
        FRAME.to_pandas().astype("object").astype({"timestamp": "int64"}),
    ],
)
def test_frames(source):
    log = read_events(source)
    assert (log.frame.collect().rows(), log.accounting) == (MICRO, COUNTS)
    assert isinstance(source, pl.DataFrame | pl.LazyFrame | pd.DataFrame)


@pytest.mark.parametrize(
    ("form", "lines"), [("pairs", "b x\n007 y\nb z\n"), ("sequences", "b x\n007 y\nb z\n")]
)
def test_files_of_mere_order(tmp_path, at, form, lines):
    path = tmp_path / "log.txt"
    path.write_text(lines)
    log = read_events(at(path), format=form)
    assert log.frame.collect().rows() == [("b", "x", 0), ("007", "y", 0), ("b", "z", 1)]
    assert log.time_kind == "order"


def test_a_pair_is_two_words(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("b x\nb x y\nb\n")
    log = read_events(path, format="pairs", bad_rows="quarantine")
    assert log.n_events() == 1
    assert [(one.code, one.line, one.reason) for one in log.rejects] == [
        ("D004", 2, "3 words where a pair has 2"),
        ("D004", 3, "1 words where a pair has 2"),
    ]


# -------------------------------------------------------------------------------------------------- writing atomic files


@pytest.mark.parametrize("step", [1_000_000, 1_000, 1])
def test_atomic_files_are_read_back(tmp_path, step):
    frame = FRAME.with_columns(timestamp=pl.col("timestamp") * 10**6 + pl.Series([0, step, 0, 2 * step]))
    frame = frame.with_columns(
        kind=pl.Series(["click", None, "like", "click"]), play=pl.Series([1, None, -3, 4]), stars=4.5
    )
    columns = {"event_type": "kind", "watch_time": "play", "rating": "stars"}
    log = read_events(frame, time_unit="us", **columns)
    path = write_atomic(log, tmp_path, "tiny")
    assert path == tmp_path / "tiny" / "tiny.inter"
    assert [one.name for one in path.parent.iterdir()] == ["tiny.inter"]
    head = (
        "user_id:token\titem_id:token\ttimestamp:float\tevent_type:token\twatch_time_ms:float\trating:float"
    )
    assert path.read_text().splitlines()[0] == head
    again = read_events(path, event_type="event_type", watch_time="watch_time_ms", rating="rating")
    assert again.scan().collect().rows() == log.scan().collect().rows()


def test_atomic_files_of_mere_order(tmp_path):
    log = read_events(FRAME.with_columns(timestamp=pl.Series([3, 1, 2, 4])), time_unit="order")
    again = read_events(write_atomic(log, tmp_path, "tiny"), time_unit="order")
    assert again.scan().collect().rows() == log.scan().collect().rows()


def test_atomic_files_hold_no_tabs_and_replace_nothing(tmp_path):
    write_atomic(read_events(FRAME), tmp_path, "tiny")
    with pytest.raises(OutputExistsError, match="expected a new file"):
        write_atomic(read_events(FRAME), tmp_path, "tiny")
    odd = FRAME.with_columns(item_id=pl.lit("a\tb"))
    with pytest.raises(
        DataError, match=r"column 'item_id': expected no tab or line end.*found 4 rows, the first 'a\\tb'"
    ):
        write_atomic(read_events(odd), tmp_path, "odd")
    assert not (tmp_path / "odd").exists()
