"""One self-contained HTML file: parts, sections, page.

The page opens with the answer in one sentence. Every text is escaped; nothing is loaded from anywhere, which the page's own
content security policy also forbids. Equal input gives equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

from usermodel import manifest
from usermodel.errors import DataError
from usermodel.report.parts import Code, Definitions, Figure, Part, Table, Text, require
from usermodel.report.style import CSS, DARK, LIGHT
from usermodel.report.text import escape, paragraphs

__all__ = ["Code", "Definitions", "Figure", "Part", "Section", "Table", "Text", "render", "write_report"]

_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True)
class Section:
    """A heading, one sentence under it, and parts in order."""

    title: str
    lead: str
    parts: Sequence[Part] = ()


def render(title: str, lead: str, sections: Sequence[Section], *, footer: str | Sequence[str] = "") -> str:
    """The page as text; see `write_report`."""
    require(title, "report.title")
    require(lead, "report.lead")
    numbers = count(1)
    body = "\n".join(_section(section, at, numbers) for at, section in enumerate(sections, 1))
    small = "\n".join(f"<p>{escape(text)}</p>" for text in paragraphs(footer))
    foot = f"\n<footer>\n{small}\n</footer>" if small else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="theme-color" media="(prefers-color-scheme: light)" content="{LIGHT["paper"]}">
<meta name="theme-color" media="(prefers-color-scheme: dark)" content="{DARK["paper"]}">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{CSS}
</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<p class="answer">{escape(lead)}</p>{_contents(sections)}
</header>
<main>
{body}
</main>{foot}
</body>
</html>
"""


def write_report(
    path: str | Path, title: str, lead: str, sections: Sequence[Section], *, footer: str | Sequence[str] = ""
) -> Path:
    """Write the report; an earlier one is replaced in one step, and after a failure it is still there.

    Args:
        path: The file; its folder is made when missing.
        title: What the page is about.
        lead: The answer, in one sentence.
        sections: In reading order.
        footer: How the page was made: one string, or one for each line.

    Returns:
        ``path``.

    Raises:
        DataError: A part is not what it should be, or ``path`` is a folder.
        StorageError: The disk refused.
    """
    path = Path(path)
    text = render(title, lead, sections, footer=footer)
    if path.is_dir():
        raise DataError(
            str(path),
            expected="the name of a file",
            found="a folder",
            do="Name a file in it, for example report.html.",
        )
    manifest.write_text(path, text)
    return path


def _section(section: Section, at: int, numbers: count[int]) -> str:
    require(section.title, "section.title")
    lead = f'<p class="lead">{escape(section.lead)}</p>' if section.lead.strip() else ""
    lines = [f"<h2>{escape(section.title)}</h2>", lead, *(part.html(next(numbers)) for part in section.parts)]
    inner = "\n".join(line for line in lines if line)
    return f'<section id="section-{at}">\n{inner}\n</section>'


def _contents(sections: Sequence[Section]) -> str:
    if len(sections) < 3:
        return ""
    links = "\n".join(
        f'<li><a href="#section-{at}">{escape(section.title)}</a></li>'
        for at, section in enumerate(sections, 1)
    )
    return f'\n<nav aria-label="Contents"><ul>\n{links}\n</ul></nav>'
