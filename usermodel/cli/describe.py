"""usermodel describe"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from usermodel.cli import common


def describe(
    path: Annotated[Path, typer.Argument(help="A store, simulated logs, a run, an embedding table or an index.", show_default=False)],
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
    rows = [(key, _cell(value)) for key, value in found.facts.items()]
    common.print_table(f"{path}: {found.kind}", ["", ""], rows)
    for title, bars in found.pictures.items():
        common.print_bars(title, bars)


def _cell(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else common.text(value)
