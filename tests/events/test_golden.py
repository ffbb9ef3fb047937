"""Golden logs: one small file for every rule, with the exact message, the exact rows, and the exact quarantine."""

import gzip
import json
import re

import polars as pl
import pytest

from usermodel.errors import DataError
from usermodel.events.readers import read_events

T0 = 1_700_000_000
HEADER = "user_id,item_id,timestamp\n"
GOOD = HEADER + f"ann,x,{T0}\n"
ROW = ("ann", "x", T0 * 10**6)
MEND = "Mend the row, or pass --bad-rows quarantine."


def put(folder, text, name="log.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(source, **options):
    with pytest.raises(DataError) as caught:
        read_events(source, **options)
    return str(caught.value)


def rows(log):
    return log.frame.collect().rows()


# --------------------------------------------------------------------------------------------------------- one bad row

#: Code, the bad row behind the good one, options, and its place, value and reason as the message has them.
BAD_ROWS = {
    "D003": (b"b\xffb,y,1", {}, "", "", r"'b\\xffb,y,1'"),
    "D004-short": ("bob,y", {}, "", "2 fields where the header has 3", "'bob,y'"),
    "D004-long": ("bob,y,1,2", {}, "", "4 fields where the header has 3", "'bob,y,1,2'"),
    "D005-open": ('"bob,y,1', {}, "", "", "'\"bob,y,1'"),
    "D005-behind": ('"bob"s,y,1', {}, "", "text behind a closing quote", "'\"bob\"s,y,1'"),
    "D010-user": (f",y,{T0}", {}, "user_id", "", "''"),
    "D010-item": (f"bob,,{T0}", {}, "item_id", "", "''"),
    "D011": (f"7.5,8,{T0}", {"id_type": "int"}, "user_id", "", "'7.5'"),
    "D012": ("bob,y,yesterday", {}, "timestamp", "", "'yesterday'"),
    "D013": ("bob,y,", {}, "timestamp", "", "''"),
    "D014": ("bob,y,1", {}, "timestamp", "", "'1'"),
    "D014-declared": ("bob,y,1", {"time_unit": "s"}, "timestamp", "in s", "'1'"),
    "D020": (f"bob,y,{T0},fast", {"rating": "stars"}, "stars", "", "'fast'"),
}
EXPECTED = {
    "D003": "text in UTF-8",
    "D004": "as many fields as the header has",
    "D005": "quotes that close",
    "D010": "an id in every row",
    "D011": "a 64-bit integer id",
    "D012": "integer times or ISO-8601 text",
    "D013": "a time in every row",
    "D014": "times between 1990 and 2100",
    "D020": "a number",
}


def log_with(folder, name):
    row, options, *_ = BAD_ROWS[name]
    user = "1,2" if name == "D011" else "ann,x"
    head = HEADER.strip() + (",stars" if "rating" in options else "")
    good = f"{user},{T0}" + (",4.5" if "rating" in options else "")
    lines = [head.encode(), good.encode(), row if isinstance(row, bytes) else row.encode()]
    return put(folder, b"\n".join(lines) + b"\n")


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_refused_by_name(tmp_path, name):
    _, options, column, reason, value = BAD_ROWS[name]
    path, code = log_with(tmp_path, name), name[:4]
    place = f"{path}:3" + (f": column '{column}'" if column else "")
    detail = f", {reason}" if reason else ""
    assert refusal(path, **options) == (
        f"{code} {place}: expected {EXPECTED[code]}; found {value}{detail} (1 of 2 rows). {MEND}"
    )


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_set_aside(tmp_path, name):
    row, options, column, reason, _ = BAD_ROWS[name]
    path, code = log_with(tmp_path, name), name[:4]
    log = read_events(path, bad_rows="quarantine", **options)
    assert log.n_events() == 1
    assert log.accounting == {"rows_read": 2, "accepted": 1, "duplicates": 0, "repeated": 0, "quarantined": 1}
    raw = {"raw": row} if isinstance(row, str) else {"raw_base64": "Yv9iLHksMQ=="}
    if column:
        header = pl.read_csv(path, infer_schema=False, n_rows=0).columns
        raw = {"raw": row.split(",")[header.index(column)]}
    expected = {"code": code, "file": str(path), "line": 3, "column": column, **raw}
    expected["reason"] = reason or f"expected {EXPECTED[code]}"
    assert [json.loads(one.to_json()) for one in log.rejects] == [expected]
    dropped = read_events(path, bad_rows="drop", **options)
    assert (rows(dropped), dropped.accounting, dropped.rejects) == (rows(log), log.accounting, ())


def test_a_line_that_is_no_json(tmp_path):
    good = json.dumps({"user_id": "ann", "item_id": "x", "timestamp": T0})
    path = put(tmp_path, f'{good}\n{{"user_id": \n[1]\n', "log.jsonl")
    assert refusal(path) == (
        f"D006 {path}:2: expected one JSON object; found '{{\"user_id\": ', "
        f"Expecting value: line 1 column 13 (char 12) (2 of 3 rows). {MEND}"
    )
    log = read_events(path, bad_rows="quarantine")
    assert rows(log) == [ROW]
    assert [(one.code, one.line, one.raw, one.reason) for one in log.rejects][1] == (
        "D006", 3, "[1]", "a list where an object is expected"
    )  # fmt: skip


def test_an_hour_that_the_clock_skips(tmp_path):
    path = put(tmp_path, HEADER + "ann,x,2024-03-31 01:30:00\nann,y,2024-03-31 02:30:00\n")
    assert refusal(path, tz="Europe/Berlin") == (
        f"D017 {path}:3: column 'timestamp': expected times that exist in the zone; "
        f"found '2024-03-31 02:30:00', an hour that Europe/Berlin skips (1 of 2 rows). {MEND}"
    )
    log = read_events(path, tz="Europe/Berlin", bad_rows="quarantine")
    assert [one.line for one in log.rejects] == [3]
    assert log.n_events() == 1


# ------------------------------------------------------------------------------------------------ logs refused as a whole

UTF16 = "Re-encode it, for example with: iconv -f utf-16 -t utf-8."
EMPTY = "expected at least one event; found no row. Check the export."
TIME = "column 'timestamp'"
WHOLE = {
    "D001-separator": ("user_id;item_id;timestamp\na;x;1\n", {}, "D001 {path}: expected a column 'user_id'; found the columns 'user_id;item_id;timestamp'. Is the separator ';'? Name it with --separator."),
    "D001-name": ("uid,item_id,timestamp\na,x,1\n", {}, "D001 {path}: expected a column 'user_id'; found the columns 'uid', 'item_id', 'timestamp'. Did you mean 'uid'? Name it with --user, --item, --time."),
    "D001-twice": ("user_id,item_id,timestamp,user_id\na,x,1,b\n", {}, "D001 {path}: expected one column 'user_id'; found several. Rename the columns."),
    "D015": (GOOD + f"ann,x,{T0}000\n", {}, "D015 {path}: " + TIME + ": expected one unit of time in the whole column; found 1 in s (first: {path}:2), 1 in ms (first: {path}:3). Convert or remove the odd rows."),
    "D016-naive": (HEADER + "a,x,2024-01-01 10:00:00\n", {}, "D016 {path}: " + TIME + ": expected times with a time zone; found 2024-01-01 10:00:00 without one, in line 2. Name the time zone with --tz, for example --tz UTC."),
    "D016-mixed": (HEADER + "a,x,2024-01-01 10:00:00\na,y,2024-01-01T10:00:00Z\n", {"tz": "UTC"}, "D016 {path}: " + TIME + ": expected a time zone in every row; found 1 zoned (first: {path}:3) and 1 naive (first: {path}:2). Write the offset from UTC in every row, or in none and name --tz."),
    "no-epoch": (HEADER + "a,x,1\na,y,2\n", {}, "{path}: " + TIME + ": expected epoch times between 1990 and 2100; found integers from 1 to 2. Name the unit with --time-unit s|ms|us|ns, or 'order' if the numbers only say which came first."),
    "utf-16": (GOOD.encode("utf-16"), {}, "D003 {path}: expected text in UTF-8; found UTF-16. " + UTF16),
    "gzip-unnamed": (gzip.compress(GOOD.encode()), {}, "D003 {path}: expected text in UTF-8; found a gzip archive. Give it the suffix .gz."),
    "parquet-unnamed": (b"PAR1....", {}, "D003 {path}: expected text in UTF-8; found a Parquet file. Name it with --format parquet."),
    "mac": (GOOD.replace("\n", "\r"), {}, "D003 {path}: expected lines; found carriage returns and no line end. Convert it, for example with: tr '\\r' '\\n'."),
    "header-bytes": (b"us\xff,item_id\n", {}, "D003 {path}: expected names in UTF-8; found 'utf-8' codec can't decode byte 0xff in position 2: invalid start byte. Mend the first line."),
    "header-quote": ('"user_id,item_id,timestamp\na,x,1\n', {}, "D003 {path}: expected names in UTF-8; found a quote that does not close. Mend the first line."),
    "empty": ("", {}, "{path}: " + EMPTY),
    "blank": ("\n \n", {}, "{path}: " + EMPTY),
    "header-only": (HEADER, {}, "{path}: " + EMPTY),
    "none-good": (HEADER + "a,x,\n", {"bad_rows": "drop"}, "D013 {path}:2: column 'timestamp': expected a time in every row; found '' (1 of 1 rows). No row is good: look at format, separator, columns and --time-unit."),
}  # fmt: skip


@pytest.mark.parametrize("policy", ["fail", "quarantine"])
@pytest.mark.parametrize("name", WHOLE)
def test_a_log_is_refused_as_a_whole(tmp_path, name, policy):
    text, options, message = WHOLE[name]
    path = put(tmp_path, text)
    assert refusal(path, **{"bad_rows": policy, **options}) == message.format(path=path)


def test_an_atomic_file_without_types(tmp_path):
    path = put(tmp_path, GOOD.replace(",", "\t"), "log.inter")
    assert refusal(path) == (
        f"D001 {path}:1: expected a header of name:type fields; found 'user_id'. "
        "Write the type behind each name, for example user_id:token."
    )


def test_a_json_file_of_something_else(tmp_path):
    path = put(tmp_path, GOOD, "log.jsonl")
    assert refusal(path) == (
        f"D006 {path}: expected JSON objects, one a line; found none in the first 100 lines. "
        "Check the format, or name it with --format."
    )


def test_files_that_were_cut_off(tmp_path):
    whole = gzip.compress(("".join(f"u{n},i,{T0 + n}\n" for n in range(999))).encode(), mtime=0)
    path = put(tmp_path, whole[:-30], "log.csv.gz")
    assert re.fullmatch(
        rf"D002 {re.escape(str(path))}: expected a whole file; found .+ after 0 whole lines\. Copy it again\.",
        refusal(path, bad_rows="quarantine"),
    )
    path = tmp_path / "log.parquet"
    pl.DataFrame([ROW], schema=["user_id", "item_id", "timestamp"], orient="row").write_parquet(path)
    path.write_bytes(path.read_bytes()[:-10])
    assert refusal(path).startswith(
        f"D002 {path}: expected a whole Parquet file; found {path.stat().st_size:,} bytes: "
    )


def test_two_files_with_different_headers(tmp_path):
    one, other = put(tmp_path, GOOD), put(tmp_path, GOOD.replace("item_id", "item"), "other.csv")
    assert refusal([one, other], bad_rows="quarantine") == (
        f"D001 {other}: expected a column 'item_id'; found the columns 'user_id', 'item', 'timestamp'. "
        "Did you mean 'item'? Name it with --user, --item, --time."
    )
    # Another order of the columns is no difference.
    other.write_text(f"timestamp,user_id,item_id\n{T0},ann,x\n")
    assert rows(read_events([one, other])) == [ROW, ROW]


# --------------------------------------------------------------------------------------------------- logs that are read

IDS = [
    "007",
    "7",
    str(2**53),
    str(2**53 + 1),
    "NA",
    "null",
    "nan",
    "None",
    " a",
    "é",
    "e\u0301",
    "a\x00",
    '"q',
    "'",
    "#",
]
READ = {
    "bom": (b"\xef\xbb\xbf" + GOOD.encode(), [ROW]),
    "crlf": (GOOD.replace("\n", "\r\n"), [ROW]),
    "blank-lines": ("\n\n" + GOOD.replace("\n", "\n \n"), [ROW]),
    "no-last-line-end": (GOOD.strip(), [ROW]),
    "quoted": ('"user_id","item_id","timestamp"\n"a ""b""","x,y",' + str(T0), [('a "b"', "x,y", T0 * 10**6)]),
    "stray-quote-inside": (HEADER + f'a"b,x"y",{T0}\n', [('a"b', 'x"y"', T0 * 10**6)]),
    "float-times": (HEADER + f"ann,x,{T0}.0\n", [ROW]),
    "duplicate-column-unused": (HEADER.replace("\n", ",z,z\n") + f"ann,x,{T0},1,2\n", [ROW]),
}


@pytest.mark.parametrize("name", READ)
def test_logs_that_are_read(tmp_path, name):
    text, expected = READ[name]
    log = read_events(put(tmp_path, text))
    assert rows(log) == expected
    assert log.accounting["quarantined"] == 0


@pytest.mark.parametrize("form", ["csv", "inter", "jsonl", "parquet"])
def test_ids_stay_apart_in_every_format(tmp_path, form):
    path = tmp_path / f"log.{form}"
    frame = pl.DataFrame({"user_id": IDS, "item_id": IDS, "timestamp": [T0] * len(IDS)})
    if form == "inter":
        lines = [f"{one}\t{one}\t{T0}\n" for one in IDS]
        path.write_text("user_id:token\titem_id:token\ttimestamp:float\n" + "".join(lines))
    else:
        {"csv": frame.write_csv, "jsonl": frame.write_ndjson, "parquet": frame.write_parquet}[form](path)
    assert [row[0] for row in rows(read_events(path))] == IDS
    assert [row[1] for row in rows(read_events(path))] == IDS


# ----------------------------------------------------------------------------------------------------- over the budget


def test_too_many_bad_rows_are_a_wrong_option(tmp_path):
    good = "".join(f"u{n},x,{T0}\n" for n in range(50))
    path = put(tmp_path, HEADER + good * 30 + ",y,1700000000\n" * 1_000)
    log = read_events(path, bad_rows="quarantine")
    assert (log.n_events(), len(log.rejects)) == (1_500, 1_000)
    path = put(tmp_path, HEADER + good * 30 + ",y,1700000000\n" * 1_001)
    for policy in ("quarantine", "drop"):
        assert refusal(path, bad_rows=policy) == (
            f"D010 {path}:1502: column 'user_id': expected an id in every row; found '' (1,001 of 2,501 rows). "
            "That is over the budget of 1,000 bad rows: look at separator, columns and --time-unit."
        )
