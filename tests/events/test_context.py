"""Labels, sessions and context columns: the same log from every format, and every name and value accounted for."""

import json

import polars as pl
import pytest

from usermodel import manifest
from usermodel.errors import DataError, IntegrityError
from usermodel.events.atomic import write_atomic
from usermodel.events.event_log import EventLog
from usermodel.events.preview import preview
from usermodel.events.readers import read_events
from usermodel.schema import events_schema

T0 = 1_700_000_000
NAMES = ["user_id", "item_id", "y", "sid", "dev", "usd", "timestamp"]
EVENTS = [
    ("a", "x", 1.0, "007", "NA", 0.1, T0),
    ("a", "y", None, "7", "null", None, T0 + 1),
    ("b", "x", -0.5, None, None, 3.0, T0 + 2),
    ("a", "x", 1.0, "007", "NA", 0.1, T0),
    ("b", "z", 0.0, "ü s", "007", -2.5, T0 + 3),
]
FRAME = pl.DataFrame(EVENTS, schema=NAMES, orient="row")
OPTIONS = {"label": "y", "session": "sid", "categorical": {"device": "dev"}, "numeric": {"price": "usd"}}
F32 = pl.Series([0.1], dtype=pl.Float32)[0]
ROWS = [
    ("a", "x", T0 * 10**6, 1.0, "007", "NA", F32),
    ("a", "y", (T0 + 1) * 10**6, None, "7", "null", None),
    ("b", "x", (T0 + 2) * 10**6, -0.5, None, None, 3.0),
    ("a", "x", T0 * 10**6, 1.0, "007", "NA", F32),
    ("b", "z", (T0 + 3) * 10**6, 0.0, "ü s", "007", -2.5),
]
COUNTS = {"rows_read": 5, "accepted": 5, "duplicates": 0, "repeated": 1, "quarantined": 0}
TYPES = {"label": pl.Float32, "session_id": pl.Categorical, "device": pl.Categorical, "price": pl.Float32}


def lines(separator=",", names=NAMES):
    rows = [separator.join("" if value is None else str(value) for value in row) for row in EVENTS]
    return "\n".join([separator.join(names), *rows, ""]) if names else "\n".join([*rows, ""])


def as_json(_):
    return "".join(
        json.dumps({name: value for name, value in zip(NAMES, row, strict=True) if value is not None}) + "\n"
        for row in EVENTS
    )


ATOMIC = [f"{name}:{'float' if name in {'y', 'usd', 'timestamp'} else 'token'}" for name in NAMES]
TEXTS = {
    "log.csv": lines(),
    "log.tsv": lines("\t"),
    "log.jsonl": as_json(EVENTS),
    "log.inter": lines("\t", ATOMIC),
}
TABLES = {
    "log.parquet": FRAME.write_parquet,
    "log.arrow": FRAME.write_ipc,
    "coded.parquet": FRAME.with_columns(pl.col("sid", "dev").cast(pl.Categorical)).write_parquet,
}


def facts(log):
    rows = log.frame.collect()
    assert {name: rows.schema[name].base_type() for name in TYPES} == TYPES
    return log.features, dict(log.context), rows.rows(), log.accounting


EXPECTED = (tuple(TYPES), {"device": "categorical", "price": "numeric"}, ROWS, COUNTS)


@pytest.mark.parametrize("name", [*TEXTS, *TABLES])
def test_every_format_gives_the_same_log(tmp_path, name):
    if name in TEXTS:
        (tmp_path / name).write_text(TEXTS[name], encoding="utf-8")
    else:
        TABLES[name](tmp_path / name)
    assert facts(read_events(tmp_path / name, **OPTIONS)) == EXPECTED


@pytest.mark.parametrize("make", [pl.DataFrame.clone, pl.DataFrame.lazy, pl.DataFrame.to_pandas])
def test_every_frame_gives_the_same_log(make):
    assert facts(read_events(make(FRAME), **OPTIONS)) == EXPECTED


def test_without_a_header_columns_have_numbers(tmp_path):
    (tmp_path / "log.csv").write_text(lines(names=None), encoding="utf-8")
    log = read_events(
        tmp_path / "log.csv", has_header=False, user=0, item=1, time=6,
        label=2, session=3, categorical={"device": 4}, numeric={"price": 5},
    )  # fmt: skip
    assert facts(log) == EXPECTED


def test_a_column_of_the_path_may_be_one(tmp_path):
    for device in ("ios", "007"):
        (tmp_path / f"device={device}").mkdir()
        FRAME.head(1).write_parquet(tmp_path / f"device={device}" / "log.parquet")
    log = read_events(tmp_path, categorical=["device"])
    assert log.frame.collect()["device"].to_list() == ["007", "ios"]


def test_a_log_on_disk_keeps_what_was_declared(tmp_path):
    log = read_events(FRAME, **OPTIONS)
    log.write(tmp_path / "log")
    again = EventLog.open(tmp_path / "log")
    assert again.context == {"device": "categorical", "price": "numeric"}
    assert again.features == log.features
    assert again.scan().collect().equals(log.scan().collect())
    assert manifest.read(tmp_path / "log").meta["context"] == again.context
    arrow = events_schema(features=log.features, context=log.context)
    on_disk = pl.read_parquet(tmp_path / "log" / "events-00000.parquet")
    assert arrow.names == on_disk.columns
    assert [str(arrow.field(name).type) for name in log.features] == [
        "float", "large_string", "large_string", "float"
    ]  # fmt: skip


def test_a_manifest_cannot_name_a_path(tmp_path):
    path = tmp_path / "log"
    read_events(FRAME, **OPTIONS).write(path)
    meta = json.loads((path / "manifest.json").read_text())
    for context in ({"../secret": "numeric"}, {"device": "guessed"}, 7):
        meta["meta"]["context"] = context
        (path / "manifest.json").write_text(json.dumps(meta))
        with pytest.raises(IntegrityError, match="expected an event log; found "):
            EventLog.open(path)


def test_atomic_files_have_a_typed_header_and_are_read_back(tmp_path):
    log = read_events(FRAME, **OPTIONS)
    path = write_atomic(log, tmp_path, "tiny")
    assert path.read_text().splitlines()[0].split("\t")[3:] == [
        "label:float", "session_id:token", "device:token", "price:float"
    ]  # fmt: skip
    again = read_events(path, label="label", session="session_id", categorical=["device"], numeric=["price"])
    assert again.scan().collect().equals(log.scan().collect())
    odd = read_events(FRAME.with_columns(dev=pl.lit("a\tb")), **OPTIONS)
    with pytest.raises(DataError, match="column 'device': expected no tab or line end"):
        write_atomic(odd, tmp_path, "odd")


def test_rows_that_differ_in_context_alone_are_no_repeats():
    other = FRAME.with_columns(usd=pl.int_range(pl.len()).cast(pl.Float64))
    assert read_events(other, duplicates="drop", **OPTIONS).accounting["repeated"] == 0
    log = read_events(FRAME, duplicates="drop", **OPTIONS)
    assert log.frame.collect().rows() == [row for at, row in enumerate(ROWS) if at != 3]
    assert log.accounting["duplicates"] == 1


# --------------------------------------------------------------------------------------------------------------- values


def test_what_is_no_number_is_a_bad_row(tmp_path):
    prices = ["1", "nan", "", "1,5", "inf", "1e39", "-inf", " 2", "1e-3", "true"]
    rows = [f'a;x;{T0 + at};"{price}"' for at, price in enumerate(prices)]
    (tmp_path / "log.csv").write_text("\n".join(["user_id;item_id;timestamp;usd", *rows]))
    log = read_events(
        tmp_path / "log.csv", separator=";", bad_rows="quarantine", label="usd", numeric={"price": "usd"}
    )
    assert log.accounting == {
        "rows_read": 10, "accepted": 4, "duplicates": 0, "repeated": 0, "quarantined": 6
    }  # fmt: skip
    # A row is counted once, whatever else is wrong with it.
    assert [(one.code, one.line, one.raw) for one in log.rejects] == [
        ("D020", at + 2, price) for at, price in enumerate(prices) if at in {3, 4, 5, 6, 7, 9}
    ]
    small = pl.Series([1e-3], dtype=pl.Float32)[0]
    assert log.frame.collect()["price"].to_list() == [1.0, None, None, small]
    assert log.frame.collect()["label"].to_list() == [1.0, None, None, small]


@pytest.mark.parametrize("option", ["session", "categorical"])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7, None, 0], ["7", None, "0"]),
        ([True, False, None], ["true", "false", None]),
        (["", " ", "NA"], [None, " ", "NA"]),
    ],
)
def test_categories_are_text_letter_by_letter(option, values, expected):
    frame = FRAME.head(3).with_columns(pl.Series("what", values))
    given = {option: "what"}
    name = "session_id" if option == "session" else "what"
    assert read_events(frame, **given).frame.collect()[name].to_list() == expected


@pytest.mark.parametrize(
    ("values", "option", "message"),
    [
        ([7.0, None], "session", "D020 column 'what': expected integers or text; found Float64 values such as 7.0. Convert the column to integers or text: 7.0 and 7 would be two names."),
        ([7.5, 1.0], "categorical", "D020 column 'what': expected integers or text; found Float64 values such as 7.5. Convert the column to integers or text: 7.0 and 7 would be two names."),
        ([["a"], ["b"]], "categorical", "D020 column 'what': expected text; found List(String) values such as ['a']. Convert the column, or leave it out."),
        ([["a"], ["b"]], "numeric", "D020 column 'what': expected numbers; found List(String) values such as ['a']. Convert the column, or leave it out."),
    ],
)  # fmt: skip
def test_columns_of_other_types_are_refused(values, option, message):
    with pytest.raises(DataError) as caught:
        read_events(FRAME.head(2).with_columns(pl.Series("what", values)), **{option: "what"})
    assert str(caught.value) == message


# ---------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"categorical": ["a-b"]}, "context column 'a-b': expected a name of ASCII letters, digits and _, at most 100, the first no digit; found 'a-b'. Write NAME=COLUMN, in Python {'name': 'column'}."),
        ({"numeric": {"../x": "usd"}}, "context column '../x': expected a name of ASCII letters,"),
        ({"numeric": {"": "usd"}}, "context column '': expected a name of ASCII letters,"),
        ({"numeric": {"é": "usd"}}, "context column 'é': expected a name of ASCII letters,"),
        ({"numeric": {"x" * 101: "usd"}}, "expected a name of ASCII letters, digits and _, at most 100"),
        ({"categorical": ["item_id"]}, "context column 'item_id': expected a name of your own; found one of ours. Name it otherwise: NAME=item_id, in Python {'name': 'item_id'}."),
        ({"categorical": ["dev"], "numeric": ["dev"]}, "context column 'dev': expected one kind; found two. Declare it once, or give one of the two another name."),
        ({"categorical": 7}, "categorical: expected names of columns; found int. Pass ['device'] or {'device': 'column'}."),
        ({"numeric": ["pryce"]}, "D001 frame: expected a column 'pryce'; found the columns "),
        ({"categorial": ["dev"]}, "categorial: expected an option of read_events; found an unknown one. Did you mean 'categorical'?"),
        ({"context": {"dev": "numeric"}}, "context: expected an option of read_events; found an unknown one."),
    ],
)  # fmt: skip
def test_wrong_names_are_refused(options, message):
    with pytest.raises(DataError) as caught:
        read_events(FRAME, **options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "name", ["user_id", "timestamp", "event_type", "rating", "label", "session_id", "session", "duration",
             "watch_time_ms", "items", "offsets", "times", "users", "vocabulary", "value", "utc"],
)  # fmt: skip
def test_our_names_are_ours(name):
    with pytest.raises(DataError, match="expected a name of your own; found one of ours"):
        read_events(FRAME, numeric={name: "usd"})


def test_one_column_may_be_two(tmp_path):
    log = read_events(FRAME, label="usd", categorical="dev", numeric=("usd",))
    assert log.features == ("label", "dev", "usd")
    assert log.frame.collect()["usd"].equals(log.frame.collect()["label"].alias("usd"))


def test_the_order_of_the_declarations_does_not_matter():
    one = read_events(FRAME, numeric={"b": "usd", "a": "y"}, categorical={"c": "dev"})
    two = read_events(FRAME, categorical={"c": "dev"}, numeric={"a": "y", "b": "usd"})
    assert one.features == two.features == ("a", "b", "c")


def test_files_of_mere_order_have_no_further_columns(tmp_path):
    (tmp_path / "log.txt").write_text("a x y\n")
    with pytest.raises(DataError) as caught:
        read_events(tmp_path / "log.txt", format="sequences", label="y")
    assert str(caught.value) == (
        "columns: expected no further column in files of mere order; found 'label'. Leave these options out."
    )


def test_a_preview_shows_what_was_declared(tmp_path):
    (tmp_path / "log.csv").write_text(lines(), encoding="utf-8")
    plan = preview(tmp_path / "log.csv", n=2, **OPTIONS)
    assert plan.columns == {
        "user_id": "user_id", "item_id": "item_id", "timestamp": "timestamp",
        "label": "y", "session_id": "sid", "device": "dev", "price": "usd",
    }  # fmt: skip
    assert plan.context == {"device": "categorical", "price": "numeric"}
    assert plan.rows.select(pl.exclude("utc")).rows() == ROWS[:2]
