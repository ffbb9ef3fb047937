"""Readers: every accepted spelling gives the same log, and every refusal names file, column, row and mend."""

import gzip
import re
from datetime import UTC, datetime

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermodel.errors import DataError, MissingError
from usermodel.events.readers import read_events

T0 = 1_700_000_000
HEADER = "user_id,item_id,timestamp\n"
ROWS = [("b", "x", T0 + 5), ("a", "y", T0 + 1), ("a", "x", T0 + 1)]
CSV = HEADER + "".join(f"{user},{item},{time}\n" for user, item, time in ROWS)
MICRO = [(user, item, time * 1_000_000) for user, item, time in ROWS]


def rows(log):
    return log.frame.collect().rows()


def put(folder, text, name="log.csv", **options):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(source, **options):
    with pytest.raises(DataError) as caught:
        read_events(source, **options)
    # The code of the rule stands first; tests of codes look for it themselves.
    return re.sub(r"^D\d{3} ", "", str(caught.value))


# ------------------------------------------------------------------------------------------------------------- accepted


def frame():
    return pl.DataFrame(ROWS, schema=["user_id", "item_id", "timestamp"], orient="row")


def write_parquet(path):
    frame().write_parquet(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("log.csv", CSV.encode()),
        ("log.tsv", CSV.replace(",", "\t").encode()),
        ("LOG.TSV", CSV.replace(",", "\t").encode()),
        ("log.2024.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("log.csv", CSV.replace("\n", "\r\n").encode()),
        ("log.csv", b"\xef\xbb\xbf" + CSV.encode()),
        ("log.csv", CSV.removesuffix("\n").encode()),
        ("log.csv", CSV.encode() + b"\n\n"),
        ("log.csv", CSV.replace("a,", '"a",').encode()),
    ],
)
def test_text_files(tmp_path, name, text):
    log = read_events(put(tmp_path, text, name))
    assert rows(log) == MICRO
    assert (log.user_type, log.item_type, log.time_kind, log.features, log.is_sorted) == (
        "string",
        "string",
        "utc",
        (),
        False,
    )
    assert log.scan().collect().rows() == [MICRO[1], MICRO[2], MICRO[0]]
    assert log.sources == (str(tmp_path / name),)


def test_parquet_frames_and_lazy_frames(tmp_path):
    write_parquet(tmp_path / "log.parquet")
    for source in (tmp_path / "log.parquet", str(tmp_path / "log.parquet"), frame(), frame().lazy()):
        assert rows(read_events(source)) == MICRO


@pytest.mark.parametrize(
    "dtypes",
    [
        {},
        {"user_id": "str", "item_id": "str"},
        {"user_id": "object", "item_id": "string"},
        {"user_id": "category", "item_id": "category"},
        {"timestamp": "int32"},
        {"timestamp": "Int64"},
    ],
    ids=str,
)
def test_pandas_frames_of_every_string_type(dtypes):
    source = pd.DataFrame(ROWS, columns=["user_id", "item_id", "timestamp"]).astype(dtypes)
    source.index = [7, 3, 7]
    assert rows(read_events(source)) == MICRO


def test_pandas_times_need_a_zone_like_all_others():
    source = pd.DataFrame(
        {"user_id": ["a"], "item_id": [7], "timestamp": pd.to_datetime(["2024-01-01 12:00"])}
    )
    noon = int(datetime(2024, 1, 1, 12, tzinfo=UTC).timestamp()) * 1_000_000
    assert rows(read_events(source, tz="UTC")) == [("a", "7", noon)]
    assert "expected times with a time zone" in refusal(source)


def test_columns_by_name_and_features(tmp_path):
    text = "when,who,what,kind,play,len,stars\n1700000000,u,i,click,12.0,30,4.5\n1700000001,u,j,,,,\n1700000002,u,i,like,1.6,-1,1\n"
    log = read_events(
        put(tmp_path, text), user="who", item="what", time="when", event_type="kind", watch_time="play", duration="len", rating="stars"
    )  # fmt: skip
    table = log.frame.collect()
    assert log.features == ("event_type", "watch_time_ms", "duration_ms", "rating")
    assert table.columns == ["user_id", "item_id", "timestamp", *log.features]
    assert table["event_type"].to_list() == ["click", None, "like"]
    assert table["watch_time_ms"].to_list() == [12, None, 2]
    assert table["duration_ms"].to_list() == [30, None, -1]
    assert table["rating"].to_list() == [4.5, None, 1.0]
    assert table.schema["rating"] == pl.Float32


def test_features_of_typed_frames():
    source = frame().with_columns(play=pl.Series([1.4, float("nan"), None]), kind=pl.Series([1, None, 2]))
    table = read_events(source, watch_time="play", event_type="kind").frame.collect()
    assert table["watch_time_ms"].to_list() == [1, None, None]
    assert table["event_type"].to_list() == ["1", None, "2"]


def test_no_header_columns_are_numbers(tmp_path):
    path = put(tmp_path, "1700000000;u;i\n")
    for names in ({"user": "1", "item": "2", "time": "0"}, {"user": 1, "item": 2, "time": 0}):
        assert rows(read_events(path, separator=";", has_header=False, **names)) == [
            ("u", "i", T0 * 1_000_000)
        ]
    message = refusal(path, separator=";", has_header=False)
    assert message.startswith(
        f"{path}: expected a column 'user_id'; found the columns '0', '1', '2'. Choose one of: 0, 1, 2."
    )


def test_ids_are_kept_as_they_are_written(tmp_path):
    ids = [
        "007",
        "7",
        "NA",
        "null",
        "nan",
        "None",
        " a",
        "a",
        "1e5",
        "é",
        "e\u0301",
        "💡",
        str(2**53),
        str(2**53 + 1),
        "a\x00",
    ]
    text = HEADER + "".join(f"{one},{one},{T0}\n" for one in ids)
    table = read_events(put(tmp_path, text)).frame.collect()
    assert table["user_id"].to_list() == table["item_id"].to_list() == ids


def test_quoted_ids_may_hold_separators_quotes_and_line_ends(tmp_path):
    text = HEADER + f'"a,b","say ""x""",{T0}\n"c\nd",e,{T0}\n'
    assert rows(read_events(put(tmp_path, text))) == [
        ("a,b", 'say "x"', T0 * 10**6),
        ("c\nd", "e", T0 * 10**6),
    ]


def test_declared_integers_are_64_bit_numbers(tmp_path):
    big = 2**53
    text = HEADER + "".join(f"{user},{item},{T0}\n" for user, item in [(big, "007"), (big + 1, "-7")])
    log = read_events(put(tmp_path, text), id_type="int")
    assert [row[:2] for row in rows(log)] == [(big, 7), (big + 1, -7)]
    assert (log.user_type, log.item_type) == ("int", "int")
    assert refusal(put(tmp_path, HEADER + f"1,7,{T0}\nx,7,{T0}\n"), id_type="int").endswith(
        "log.csv:3: column 'user_id': expected a 64-bit integer id; found 'x' (1 of 2 rows). "
        "Mend the row, or pass --bad-rows quarantine."
    )
    assert "log.csv:2: column 'user_id': expected a 64-bit integer id; found '7.0'" in refusal(
        put(tmp_path, HEADER + f"7.0,7,{T0}\n"), id_type="int"
    )


def test_several_files_are_read_in_the_order_given_globs_in_that_of_names(tmp_path):
    for name, user in [
        ("b.csv", "first"),
        ("a.csv", "second"),
        ("c.parquet", "third"),
        (".hidden.csv", "no"),
    ]:
        table = pl.DataFrame({"user_id": [user], "item_id": ["i"], "timestamp": [T0]})
        if name.endswith("csv"):
            table.write_csv(tmp_path / name)
        else:
            table.write_parquet(tmp_path / name)
    (tmp_path / "folder.csv").mkdir()

    def users(source):
        return [row[0] for row in rows(read_events(source))]

    assert users([tmp_path / "b.csv", str(tmp_path / "a.csv"), tmp_path / "c.parquet"]) == [
        "first",
        "second",
        "third",
    ]
    assert users(str(tmp_path / "*.csv")) == ["second", "first"]
    assert users([str(tmp_path / "c.*"), str(tmp_path / "[ab].csv")]) == ["third", "second", "first"]


def test_each_file_may_have_its_own_unit_of_time(tmp_path):
    one, other = (
        put(tmp_path, HEADER + f"a,x,{T0}\n"),
        put(tmp_path, HEADER + f"a,x,{T0 * 1000 + 1}\n", "ms.csv"),
    )
    assert [row[2] for row in rows(read_events([one, other]))] == [T0 * 10**6, T0 * 10**6 + 1000]


def test_a_name_that_looks_like_a_pattern_is_a_name(tmp_path):
    assert rows(read_events(put(tmp_path, CSV, "log[1].csv"))) == MICRO


def test_only_an_order(tmp_path):
    log = read_events(put(tmp_path, HEADER + "a,x,2\na,y,1\n"), time_unit="order")
    assert log.time_kind == "order"
    assert log.scan().collect()["item_id"].to_list() == ["y", "x"]


@pytest.mark.parametrize(("name", "pack"), [("s.txt", bytes), ("s.txt.gz", gzip.compress)])
def test_sequences(tmp_path, name, pack):
    text = "\ufeffu1 a b\r\nlonely\n\n u2\tx\u2028y  z \nu1 c\n"
    log = read_events(put(tmp_path, pack(text.encode()), name), format="sequences", bad_rows="quarantine")
    expected = [("u1", "a", 0), ("u1", "b", 1), ("u2", "x\u2028y", 0), ("u2", "z", 1), ("u1", "c", 2)]
    assert rows(log) == expected
    assert log.time_kind == "order"
    # A line without an item is no event, and is counted all the same.
    assert [(one.code, one.line, one.raw) for one in log.rejects] == [("D007", 2, "lonely")]
    assert log.accounting["rows_read"] == len(expected) + 1


def test_the_order_of_sequences_goes_on_in_the_next_file(tmp_path):
    paths = [put(tmp_path, "u a b\n", "1.txt"), put(tmp_path, "u c\nv d\n", "2.txt")]
    log = read_events(paths, format="sequences")
    assert rows(log) == [("u", "a", 0), ("u", "b", 1), ("u", "c", 2), ("v", "d", 0)]
    assert log.sources == tuple(map(str, paths))


IDS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='",'), min_size=1, max_size=5)


@given(
    st.lists(st.tuples(IDS, IDS, st.integers(T0, T0 + 9)), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
)
def test_csv_parquet_and_frames_agree(tmp_path_factory, events, random):
    folder = tmp_path_factory.mktemp("agree")
    text = HEADER + "".join(f'"{user}","{item}",{time}\n' for user, item, time in events)
    table = pl.DataFrame(events, schema=["user_id", "item_id", "timestamp"], orient="row")
    table.write_parquet(folder / "log.parquet")
    expected = [(user, item, time * 1_000_000) for user, item, time in events]
    for source in (put(folder, text), folder / "log.parquet", table, table.to_pandas()):
        assert rows(read_events(source)) == expected


# -------------------------------------------------------------------------------------------------------------- refused


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(MissingError) as caught:
        read_events(tmp_path / "lgo.csv")
    assert (
        str(caught.value)
        == f"{tmp_path}/lgo.csv: expected a log file; found no such file. Check the path and the spelling."
    )
    with pytest.raises(MissingError, match=r"\*\.csv: expected a log file; found no such file"):
        read_events(str(tmp_path / "*.csv"))
    with pytest.raises(MissingError, match=r"expected a log file; found a folder without files"):
        read_events(tmp_path)
    with pytest.raises(MissingError, match=r"^source: expected a log file; found an empty list"):
        read_events([])


def test_an_empty_path_is_not_the_working_folder(tmp_path, monkeypatch):
    put(tmp_path, CSV)
    monkeypatch.chdir(tmp_path)
    for source in ("", [""]):
        with pytest.raises(DataError, match=r"source: expected a path; found ''\. Name a file or a folder"):
            read_events(source)
    assert read_events(".").n_events() > 0


def test_a_file_named_twice_is_refused(tmp_path):
    path = put(tmp_path, CSV)
    assert (
        refusal([path, str(tmp_path / "*.csv")])
        == f"{path}: expected each file once; found it twice. Name it once."
    )


@pytest.mark.parametrize(
    ("name", "found"), [("log.json", ".json"), ("log", "(none)"), ("log.gz", ".gz"), ("log.xlsx", ".xlsx")]
)
def test_unknown_suffixes(tmp_path, name, found):
    assert refusal(put(tmp_path, CSV, name)) == (
        f"{tmp_path / name}: expected a file whose suffix names its format; found the suffix {found}. "
        "Name it with --format csv|parquet|jsonl|arrow|atomic|sequences|pairs|movielens."
    )
    assert rows(read_events(put(tmp_path, CSV, "log.json"), format="csv")) == MICRO


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"usr": "x"}, "usr: expected an option of read_events; found an unknown one. Did you mean 'user'?"),
        (
            {"watchtime": "x"},
            "watchtime: expected an option of read_events; found an unknown one. Did you mean 'watch_time'?",
        ),
        (
            {"format": "cvs"},
            "format: expected one of auto, csv, parquet, jsonl, arrow, atomic, sequences, pairs, movielens; "  # noqa: ISC004
            "found 'cvs'. Did you mean 'csv'?",
        ),
        (
            {"id_type": "integer"},
            "id_type: expected one of string, int; found 'integer'. Did you mean 'int'?",
        ),
        (
            {"time_unit": "sec"},
            "time_unit: expected one of auto, s, ms, us, ns, order; found 'sec'. Did you mean 's'?",
        ),
    ],
)
def test_misspelt_options(tmp_path, options, message):
    assert refusal(put(tmp_path, CSV), **options) == message


@pytest.mark.parametrize("kind", ["csv", "parquet", "frame"])
def test_a_missing_column_names_its_neighbour(tmp_path, kind):
    source = {"csv": tmp_path / "log.csv", "parquet": tmp_path / "log.parquet", "frame": frame()}[kind]
    put(tmp_path, CSV)
    write_parquet(tmp_path / "log.parquet")
    where = "frame" if kind == "frame" else source
    assert refusal(source, user="userid") == (
        f"{where}: expected a column 'userid'; found the columns 'user_id', 'item_id', 'timestamp'. "
        "Did you mean 'user_id'? Name it with --user, --item, --time."
    )
    message = refusal(source, watch_time="play")
    assert f"{where}: expected a column 'play'" in message
    assert message.endswith(" Correct the option that names it.")


@pytest.mark.parametrize("policy", ["fail", "quarantine", "drop"])
def test_a_log_without_a_good_row_names_the_first_and_no_way_round_it(tmp_path, policy):
    text = HEADER + "".join(f"a,b{row},{T0}\n" for row in range(3))
    message = refusal(put(tmp_path, text), time_unit="ms", bad_rows=policy)
    assert message == (
        f"{tmp_path}/log.csv:2: column 'timestamp': expected times between 1990 and 2100; found '{T0}', in ms (3 of 3 rows). "
        f"{NO_GOOD_ROW}"
    )


@pytest.mark.parametrize(
    ("times", "line", "found"),
    [
        (
            (T0, "2024-03-01T10:00:00Z", T0),
            3,
            "'2024-03-01T10:00:00Z', text in a column of integers (1 of 3 rows)",
        ),
        (
            ("2024-03-01T10:00:00Z", T0, "2024-03-01T10:00:00Z"),
            3,
            f"'{T0}', an integer in a column of ISO-8601 text (1 of 3 rows)",
        ),
        ((T0, "oops", T0), 3, "'oops' (1 of 3 rows)"),
    ],
)
def test_a_column_that_mixes_texts_and_integers_is_called_so(tmp_path, times, line, found):
    text = HEADER + "".join(f"a,b,{time}\n" for time in times)
    message = refusal(put(tmp_path, text), tz="UTC")
    assert (
        f"log.csv:{line}: column 'timestamp': expected integer times or ISO-8601 text; found {found}. "
        in message
    )


def test_one_column_cannot_play_two_parts(tmp_path):
    message = refusal(put(tmp_path, CSV), item="user_id")
    assert (
        "expected different columns for user, item and time; found 'user_id', 'user_id', 'timestamp'"
        in message
    )


def test_a_column_name_that_stands_twice(tmp_path):
    message = refusal(put(tmp_path, f"user_id,user_id,item_id,timestamp\na,b,c,{T0}\n"))
    assert message.endswith("expected one column 'user_id'; found several. Rename the columns.")


NO_GOOD_ROW = "No row is good: look at format, separator, columns and --time-unit."
MEND = "Mend the row, or pass --bad-rows quarantine."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": expected at least one event; found no row. Check the export."),
        ("\n\n", ": expected at least one event; found no row. Check the export."),
        (HEADER, ": expected at least one event; found no row. Check the export."),
        (HEADER + "\n\n", ": expected at least one event; found no row. Check the export."),
        (CSV.encode("utf-16"), ": expected text in UTF-8; found UTF-16. Re-encode it, for example with: iconv -f utf-16 -t utf-8."),
        (CSV.encode() + b"\xff,b,1700000000\n", f":5: expected text in UTF-8; found '\\\\xff,b,1700000000' (1 of 4 rows). {MEND}"),
        (CSV + "a,b,1700000000,more\n", f":5: expected as many fields as the header has; found 'a,b,1700000000,more', 4 fields where the header has 3 (1 of 4 rows). {MEND}"),
        (CSV + "a,b\n", f":5: expected as many fields as the header has; found 'a,b', 2 fields where the header has 3 (1 of 4 rows). {MEND}"),
        (CSV + f'a,"b,{T0}\n' + "c,d,5\n" * 3, f":5: expected quotes that close; found 'a,\"b,{T0}' (1 of 7 rows). {MEND}"),
        (CSV.replace(",", ";"), ": expected a column 'user_id'; found the columns 'user_id;item_id;timestamp'. Is the separator ';'? Name it with --separator."),
    ],
)  # fmt: skip
def test_files_that_hold_no_log(tmp_path, text, message):
    path = put(tmp_path, text)
    assert refusal(path) == f"{path}{message}"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f",x,{T0}", f":5: column 'user_id': expected an id in every row; found '' (1 of 4 rows). {MEND}"),
        (f'a,"",{T0}', f":5: column 'item_id': expected an id in every row; found '' (1 of 4 rows). {MEND}"),
        ("a,x,", f":5: column 'timestamp': expected a time in every row; found '' (1 of 4 rows). {MEND}"),
        ("a,x,yesterday", f":5: column 'timestamp': expected integer times or ISO-8601 text; found 'yesterday' (1 of 4 rows). {MEND}"),
        ("a,x,17000000000", f":5: column 'timestamp': expected times between 1990 and 2100; found '17000000000' (1 of 4 rows). {MEND}"),
    ],
)  # fmt: skip
def test_one_bad_row_is_named(tmp_path, row, message):
    path = put(tmp_path, CSV + row + "\n")
    assert refusal(path) == f"{path}{message}"


def test_two_units_in_one_column(tmp_path):
    path = put(tmp_path, CSV + f"a,x,{T0}000\n")
    assert refusal(path, bad_rows="drop") == (
        f"{path}: column 'timestamp': expected one unit of time in the whole column; found 3 in s (first: {path}:2), "
        f"1 in ms (first: {path}:5). Convert or remove the odd rows."
    )


def test_another_column_taken_for_the_time(tmp_path):
    path = put(tmp_path, CSV)
    message = refusal(path, time="item_id", item="timestamp")
    assert message == (
        f"{path}:2: column 'item_id': expected integer times or ISO-8601 text; found 'x' (3 of 3 rows). {NO_GOOD_ROW}"
    )


@pytest.mark.parametrize("id_type", ["string", "int"])
@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([7.5, 7.0, 8.0], "Float64 values such as 7.5"),
        ([True, False, True], "Boolean values such as True"),
        ([b"a", b"b", b"c"], "Binary values such as b'a'"),
        ([[1], [2], [3]], r"List\(Int64\) values such as \[1\]"),
    ],
)
def test_ids_of_types_that_name_nobody(id_type, values, found):
    source = frame().with_columns(user_id=pl.Series(values))
    with pytest.raises(
        DataError, match=rf"frame: column 'user_id': expected ids; found {found}.*7\.0 and 7 would be two ids"
    ):
        read_events(source, id_type=id_type)


def test_features_of_the_wrong_kind(tmp_path):
    path = put(tmp_path, HEADER.strip() + f",play\na,x,{T0},12\na,x,{T0},long\na,x,{T0},\n")
    assert refusal(path, watch_time="play") == (
        f"{path}:3: column 'play': expected a number; found 'long' (1 of 3 rows). {MEND}"
    )


def test_damaged_parquet(tmp_path):
    table = pa.table(frame().to_dict(as_series=False))
    path = tmp_path / "log.parquet"
    pq.write_table(table, path, write_page_checksum=True, compression="none", use_dictionary=False)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert "expected a whole Parquet file; found " in refusal(path)
    # A flipped bit inside a page would be another id, were it not for the checksum.
    place = whole.index(b"\x01\x00\x00\x00b") + 4
    path.write_bytes(whole[:place] + b"c" + whole[place + 1 :])
    message = refusal(path)
    assert "expected a whole Parquet file; found " in message
    assert "CRC" in message or "checksum" in message


@pytest.mark.parametrize("cut", [10, 20, 40])
def test_a_truncated_archive(tmp_path, cut):
    packed = gzip.compress((HEADER + f"a,x,{T0}\n" * 1000).encode(), mtime=0)
    for name, form in [("log.csv.gz", "csv"), ("log.txt.gz", "sequences")]:
        message = refusal(put(tmp_path, packed[:-cut], name), format=form)
        assert message.startswith(f"{tmp_path / name}: expected a whole file; found ")


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_sequences_without_events(tmp_path, text):
    message = refusal(put(tmp_path, text, "s.txt"), format="sequences")
    assert message.endswith("s.txt: expected at least one event; found no row. Check the export.")


def test_a_user_without_items(tmp_path):
    path = put(tmp_path, "u a\nlonely\n", "s.txt")
    expected = "a user and at least one item in every line"
    assert refusal(path, format="sequences") == (
        f"{path}:2: expected {expected}; found 'lonely' (1 of 2 rows). {MEND}"
    )


def test_sequences_of_other_bytes(tmp_path):
    message = refusal(put(tmp_path, b"u \xff\n", "s.txt"), format="sequences")
    assert f"s.txt:1: expected text in UTF-8; found 'u \\\\xff' (1 of 1 rows). {NO_GOOD_ROW}" in message


@pytest.mark.parametrize("source", [None, 7, {"user_id": ["a"]}, pd.Series([1])])
def test_sources_of_other_types(source):
    message = refusal(source)
    found = type(source).__name__
    assert (
        message == f"source: expected a path, a list of paths, or a frame; found {found}. Pass one of these."
    )


def test_pandas_columns_of_mixed_types():
    source = pd.DataFrame({"user_id": ["a", 7], "item_id": ["x", "y"], "timestamp": [T0, T0]})
    assert refusal(source).startswith("frame: expected a frame of typed columns; found one of mixed types: ")


def test_pandas_integers_that_became_floats_are_not_taken_for_ids():
    source = pd.DataFrame({"user_id": [1, None], "item_id": ["x", "y"], "timestamp": [T0, T0]})
    assert "expected ids; found Float64 values such as 1.0" in refusal(source)
