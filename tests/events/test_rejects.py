"""Rejects: one shape of message, one line each in a file that only its owner reads, and a budget."""

import json
import os
import stat

import pytest

from usermodel.errors import DataError
from usermodel.events import rejects
from usermodel.events.readers import read_events
from usermodel.events.rejects import EXPECTED, Accounting, Reject, write_quarantine

T0 = 1_700_000_000


def reject(line, code="D012", raw="x", column="t"):
    return Reject(code, "log.csv", line, column, raw)


def test_messages_escape_what_could_forge_a_terminal():
    message = str(reject(7, raw="\x1b[31m\n\u202e" + "y" * 100).message(3, 9, "Mend it."))
    assert message.startswith(
        r"D012 log.csv:7: column 't': expected integer times or ISO-8601 text; found '\x1b[31m\n\u202eyyy"
    )
    assert message.endswith("...' (3 of 9 rows). Mend it.")
    assert message.isprintable()


def test_bytes_that_are_no_text_are_base64():
    line = json.loads(reject(7, "D003", b"\xff\x00", "").to_json())
    assert line == {
        "code": "D003",
        "file": "log.csv",
        "line": 7,
        "column": "",
        "raw_base64": "/wA=",
        "reason": "expected text in UTF-8",
    }


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_only_the_owner_reads_the_quarantine(tmp_path, umask):
    before = os.umask(umask)
    try:
        path = tmp_path / "q.jsonl"
        path.touch(mode=0o666)
        write_quarantine([reject(1, raw='a "é"\n'), reject(2)], path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["raw"] for line in lines] == ['a "é"\n', "x"]


def test_rejects_stand_in_the_order_of_the_log(tmp_path):
    one, other = tmp_path / "b.csv", tmp_path / "a.csv"
    one.write_text(f"user_id,item_id,timestamp\na,x,no\n,x,{T0}\nshort\na,x,{T0}\n")
    other.write_text(f"user_id,item_id,timestamp\n,x,{T0}\na,x,{T0}\n")
    log = read_events([one, other], bad_rows="quarantine")
    assert [(one.file[-5:], one.line, one.code) for one in log.rejects] == [
        ("b.csv", 2, "D012"), ("b.csv", 3, "D010"), ("b.csv", 4, "D004"), ("a.csv", 2, "D010")
    ]  # fmt: skip


def test_a_row_is_rejected_once_by_its_first_fault(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(f"user_id,item_id,timestamp\n,,no\na,x,{T0}\n")
    log = read_events(path, bad_rows="quarantine")
    assert [(one.code, one.column) for one in log.rejects] == [("D010", "user_id")]
    assert log.accounting["quarantined"] == 1


def test_the_budget_grows_with_the_log():
    accounting = Accounting("quarantine", read=500)
    accounting.add([reject(line) for line in range(1_500)])
    with pytest.raises(DataError, match="over the budget of 1,000 bad rows"):
        accounting.settle()
    # The bad rows that came before the many good ones were all kept.
    accounting.read = 1_500_000
    accounting.settle()
    assert len(accounting.rejects) == accounting.quarantined == 1_500


def test_more_bad_rows_than_are_kept_are_over_any_budget(monkeypatch):
    monkeypatch.setattr(rejects, "KEPT", 10)
    monkeypatch.setattr(rejects, "BUDGET_ROWS", 5)
    accounting = Accounting("quarantine", read=11)
    accounting.add([reject(line) for line in range(10)])
    assert accounting.room == 0
    accounting.add_more("D012", 1)
    accounting.read = 1_000_000
    with pytest.raises(DataError, match=r"log\.csv:0: .* \(11 of 1,000,000 rows\)"):
        accounting.settle()


def test_every_code_has_a_meaning():
    assert all(code.startswith("D0") and text for code, text in EXPECTED.items())
    assert list(EXPECTED) == sorted(EXPECTED)
