"""What can stand in a section: text, code, definitions, tables, pictures. Every text is escaped."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import polars as pl

from usermodel.errors import DataError
from usermodel.report import svg as svg_text
from usermodel.report.text import (
    MISSING,
    decimals,
    escape,
    format_cell,
    is_missing,
    paragraphs,
    reads_as_number,
)


class Part(Protocol):
    """Anything that can stand in a section."""

    def html(self, number: int, /) -> str:
        """Markup; ``number`` is unique on the page, for ids."""
        ...


@dataclass(frozen=True)
class Text:
    """Running text: one string, or one for each paragraph."""

    paragraphs: str | Sequence[str]

    def html(self, _number: int, /) -> str:
        """Markup."""
        return "\n".join(f"<p>{escape(text)}</p>" for text in paragraphs(self.paragraphs))


@dataclass(frozen=True)
class Code:
    """Commands or configuration, shown as typed."""

    text: str

    def html(self, _number: int, /) -> str:
        """Markup."""
        return f'<pre tabindex="0" role="region" aria-label="Code"><code>{escape(self.text.strip(chr(10)))}</code></pre>'


@dataclass(frozen=True)
class Definitions:
    """Terms and their values, or names and what they mean."""

    pairs: Sequence[tuple[str, object]] | Mapping[str, object]

    def html(self, _number: int, /) -> str:
        """Markup."""
        pairs = list(self.pairs.items() if isinstance(self.pairs, Mapping) else self.pairs)
        rows = (
            f"<dt>{escape(term)}</dt><dd>{escape(format_cell(value, decimals([value])))}</dd>"
            for term, value in pairs
        )
        return "<dl>\n" + "\n".join(rows) + "\n</dl>" if pairs else ""


@dataclass(frozen=True)
class Table:
    """Rows and columns; on a phone it scrolls inside its own box.

    Numbers are right-aligned and written alike within a column; None and NaN show as a dash. The first column names the row.

    Attributes:
        columns: One heading per column.
        rows: Cells: text, numbers, truth values, None.
        caption: What the table shows; required.
        note: Small print below.
        bold: ``(row, column)`` of cells to stress, counted from 0.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str
    note: str = ""
    bold: Collection[tuple[int, int]] = ()

    def __post_init__(self) -> None:
        require(self.caption, "table.caption")
        widths = {len(row) for row in self.rows} | {len(self.columns)}
        if len(widths) > 1 or not self.columns:
            found = f"rows of {sorted(widths)} cells under {len(self.columns)} columns"
            raise DataError(
                f"table {self.caption!r}",
                expected="one cell per column",
                found=found,
                do="Make all rows as wide as the heading.",
            )

    @classmethod
    def from_frame(cls, frame: pl.DataFrame, caption: str, note: str = "") -> Table:
        """The rows of a polars frame, in order."""
        return cls(frame.columns, frame.rows(), caption, note)

    def html(self, number: int, /) -> str:
        """Markup."""
        columns = list(zip(*self.rows, strict=True)) or [()] * len(self.columns)
        places = [decimals(column) for column in columns]
        right = [_is_numeric(column) for column in columns]
        head = "".join(
            f'<th scope="col"{_number(right[at])}>{escape(name)}</th>' for at, name in enumerate(self.columns)
        )
        body = "\n".join(self._row(row, places, right) for row in range(len(self.rows)))
        note = f'\n<p class="note">{escape(self.note)}</p>' if self.note.strip() else ""
        return (
            f'<figure class="grid"><figcaption id="table-{number}">{escape(self.caption)}</figcaption>\n'
            f'<div class="scroll" tabindex="0" role="region" aria-labelledby="table-{number}">\n'
            f'<table aria-labelledby="table-{number}">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>{note}</figure>'
        )

    def _row(self, row: int, places: list[int], right: list[bool]) -> str:
        cells = []
        for at, value in enumerate(self.rows[row]):
            text = escape(format_cell(value, places[at]))
            text = f"<strong>{text}</strong>" if (row, at) in self.bold else text
            tag, scope = ("th", ' scope="row"') if at == 0 else ("td", "")
            cells.append(f"<{tag}{scope}{_number(right[at])}>{text}</{tag}>")
        return f"<tr>{''.join(cells)}</tr>"


@dataclass(frozen=True)
class Figure:
    """A picture with its caption.

    Attributes:
        svg: One ``<svg>`` element, as the functions of `usermodel.report.figures` return it.
        caption: What the reader should see; required.
        alt: What it shows, for those who do not see it; required.
    """

    svg: str
    caption: str
    alt: str

    def __post_init__(self) -> None:
        require(self.caption, "figure.caption")
        require(self.alt, "figure.alt")

    def html(self, number: int, /) -> str:
        """Markup."""
        picture = svg_text.embed(self.svg, alt=self.alt, prefix=f"f{number}")
        return f'<figure class="picture">{picture}\n<figcaption>{escape(self.caption)}</figcaption></figure>'


def _is_numeric(column: Sequence[object]) -> bool:
    present = [value for value in column if not is_missing(value) and value != MISSING]
    return bool(present) and all(reads_as_number(value) for value in present)


def _number(right: bool) -> str:
    return ' class="number"' if right else ""


def require(text: str, where: str) -> None:
    """Refuse an empty text where the reader needs one."""
    if not text.strip():
        raise DataError(
            where, expected="a text", found="an empty one", do="Say in a few words what the reader sees."
        )
