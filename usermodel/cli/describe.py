"""usermodel describe"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from usermodel.cli import common


def describe(
    path: Annotated[
        Path,
        typer.Argument(
            help="A store, simulated logs, a run, an embedding table or an index.", show_default=False
        ),
    ],
    as_json: common.AsJson = False,
) -> None:
    """Show what an artefact holds, with a picture of its distributions. Every checksum is compared first."""
    from usermodel import manifest
    from usermodel.report.describe import describe as look

    manifest.read(path, verify=True)
    found = look(path)
    if as_json:
        common.print_json({"kind": found.kind} | found.facts)
        return
    common.print_table(f"{path}: {found.kind}", ["", ""], _rows(found.facts))
    for title, bars in found.pictures.items():
        common.print_bars(title, bars)


def _rows(facts: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested facts under dotted names, one a line."""
    rows = []
    for key, value in facts.items():
        if isinstance(value, dict):
            rows += _rows(value, f"{prefix}{key}.")
        elif key != "class" and value not in ([], None):
            rows.append((prefix + key, _cell(value)))
    return rows


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return f"{value:,.6g}" if isinstance(value, float) else common.text(value)
