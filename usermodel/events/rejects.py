"""Rows that cannot be events: what is wrong with them, where they stand, and what is done about it."""

from __future__ import annotations

import base64
import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from usermodel.errors import DataError

BadRows = Literal["fail", "quarantine", "drop"]
#: File of a store that holds the bad rows that were set aside.
QUARANTINE: Final = "quarantine.jsonl"

#: Bad rows allowed under ``quarantine`` and ``drop``: the larger of the two. More than that is not a few bad rows but a
#: wrong separator or a wrong column.
BUDGET_SHARE: Final = 0.001
BUDGET_ROWS: Final = 1_000
#: Bad rows held in memory while the budget, which grows with the log, is not yet known.
KEPT: Final = 100_000

NO_GOOD_ROW: Final = "No row is good: look at format, separator, columns and --time-unit."

#: What each code means, as printed in its message.
EXPECTED: Final = {
    "D003": "text in UTF-8",
    "D004": "as many fields as the header has",
    "D005": "quotes that close",
    "D006": "one JSON object",
    "D007": "a user and at least one item in every line",
    "D010": "an id in every row",
    "D011": "a 64-bit integer id",
    "D012": "integer times or ISO-8601 text",
    "D013": "a time in every row",
    "D014": "times between 1990 and 2100",
    "D017": "times that exist in the zone",
    "D020": "a number",
}


@dataclass(frozen=True)
class Reject:
    """One bad row.

    Attributes:
        code: Key of `EXPECTED`.
        file: Where it was read.
        line: Physical line (of a table: row), from 1.
        column: The column at fault; empty when it is the whole row.
        raw: The value, or the row.
        reason: What is wrong with it, when the code does not say it all.
    """

    code: str
    file: str
    line: int
    column: str
    raw: str | bytes
    reason: str = ""

    def message(self, count: int, rows: int, do: str) -> DataError:
        """The error about this row, as the first of ``count`` of its kind."""
        where = f"{self.file}:{self.line}" + (f": column {self.column!r}" if self.column else "")
        raw = self.raw if isinstance(self.raw, str) else self.raw.decode("utf-8", "backslashreplace")
        detail = f", {self.reason}" if self.reason else ""
        found = f"{printable(raw)}{detail} ({count:,} of {rows:,} rows)"
        return DataError(f"{self.code} {where}", expected=EXPECTED[self.code], found=found, do=do)

    def to_json(self) -> str:
        """One line of the quarantine file; bytes that are no text are base64."""
        raw = (
            {"raw": self.raw}
            if isinstance(self.raw, str)
            else {"raw_base64": base64.b64encode(self.raw).decode()}
        )
        facts = {"code": self.code, "file": self.file, "line": self.line, "column": self.column, **raw}
        return json.dumps(
            facts | {"reason": self.reason or f"expected {EXPECTED[self.code]}"}, ensure_ascii=False
        )


def printable(text: str, width: int = 80) -> str:
    """Quoted, cut, and with control characters escaped, so that a log cannot forge terminal output."""
    return repr(text if len(text) <= width else text[:width] + "...")


@dataclass
class Accounting:
    """Every row read, accounted for: read = accepted + duplicates + quarantined.

    ``quarantined`` counts rows that were set aside or dropped as bad; what filters remove is counted by whoever filters.

    Attributes:
        policy: What to do with bad rows.
        read: Rows seen; blank lines and headers are not rows.
        duplicates: Exact repeats dropped.
        repeated: Exact repeats seen, dropped or not.
        rejects: Bad rows, as many as a budget may allow.
        counts: Bad rows by code.
    """

    policy: BadRows = "fail"
    read: int = 0
    duplicates: int = 0
    repeated: int = 0
    rejects: list[Reject] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, Reject] = field(default_factory=dict)

    @property
    def quarantined(self) -> int:
        """Bad rows."""
        return sum(self.counts.values())

    @property
    def accepted(self) -> int:
        """Rows that became events."""
        return self.read - self.quarantined - self.duplicates

    def add(self, rejects: list[Reject]) -> None:
        """Count bad rows and keep them, as many as a budget may allow."""
        for one in rejects:
            self.first.setdefault(one.code, one)
        self.counts.update(one.code for one in rejects)
        self.rejects += rejects[: self.room]

    def add_more(self, code: str, count: int) -> None:
        """Count bad rows for which there is no `room`."""
        self.counts[code] += count

    @property
    def room(self) -> int:
        """How many more bad rows are kept."""
        return max(0, max(KEPT, self.budget) - len(self.rejects))

    @property
    def budget(self) -> int:
        """Bad rows allowed for the rows read so far."""
        return max(BUDGET_ROWS, int(BUDGET_SHARE * self.read))

    def settle(self) -> None:
        """Raise when there are bad rows and the policy does not allow them, or not that many."""
        if not self.quarantined:
            return
        if self.quarantined == self.read:
            # To leave out bad rows is no way to go on where nothing is left.
            raise self.error(NO_GOOD_ROW)
        if self.policy == "fail":
            raise self.error("Mend the row, or pass --bad-rows quarantine.")
        if self.quarantined > min(self.budget, len(self.rejects)):
            do = f"That is over the budget of {self.budget:,} bad rows: look at separator, columns and --time-unit."
            raise self.error(do)

    def error(self, do: str) -> DataError:
        """The error about the first bad row."""
        code = min(self.first, key=lambda code: (self.first[code].file, self.first[code].line))
        return self.first[code].message(self.counts[code], self.read, do)

    def facts(self) -> dict[str, int]:
        """Counts for a manifest."""
        return {
            "rows_read": self.read,
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "repeated": self.repeated,
            "quarantined": self.quarantined,
        }


def write_quarantine(rejects: Iterable[Reject], path: Path) -> None:
    """Write bad rows, one JSON object a line; they hold personal data, so only the owner may read the file."""
    # The mode is set as the file is made, so that at no moment anybody else may read it.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        os.fchmod(out.fileno(), 0o600)
        out.writelines(one.to_json() + "\n" for one in rejects)
