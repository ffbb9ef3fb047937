"""usermodel describe"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from usermodel.cli import common
from usermodel.cli.outputs import refuse_taken

if TYPE_CHECKING:
    from usermodel.report.description import Description
    from usermodel.store.leakage import LeakageReport
    from usermodel.store.sequence_store import SequenceStore


def describe(
    path: Annotated[
        Path,
        typer.Argument(
            help="A store, simulated logs, a run, an embedding table or an index.", show_default=False
        ),
    ],
    check_leakage: Annotated[
        bool,
        typer.Option(
            "--check-leakage",
            help="Prove for a store that no input of a split comes after its target; exit code 2 if one does.",
        ),
    ] = False,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Split to check: leave-last-out (default), user-ratio, user-split, global-time, rolling, or a SPLITS file.",
            show_default=False,
        ),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            help="Of embeddings in a folder: the store they were made from, for alignment and popularity.",
            show_default=False,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Of embeddings or a run: also write a page with pictures; the file must not exist, unless --overwrite.",
            show_default=False,
        ),
    ] = None,
    as_json: common.AsJson = False,
    overwrite: common.Overwrite = False,
) -> None:
    """Show what an artefact holds, with a picture of its distributions. Every checksum is compared first.

    Of embeddings also how healthy they are, each figure with a line of advice.
    """
    from usermodel import manifest
    from usermodel.errors import ConfigError
    from usermodel.report.describe import describe as look
    from usermodel.store.sequence_store import SequenceStore

    if check_leakage:
        if store is not None or html is not None:
            do = "Drop one of the two."
            raise ConfigError("--check-leakage", expected="no --store or --html", found="both", do=do)
        _prove(path, split or "leave-last-out", as_json)
        return
    if split is not None:
        do = "Add --check-leakage, or drop --split."
        raise ConfigError("--split", expected="--check-leakage beside it", found="none", do=do)
    kind = manifest.read(path, verify=True).kind
    if html is not None and kind not in {"embeddings", "run"}:
        do = "Name embeddings or a run, or drop --html."
        raise ConfigError("--html", expected="it beside embeddings or a run", found=f"a {kind}", do=do)
    if html is not None:
        refuse_taken(html, overwrite)
    found = look(path, None if store is None else SequenceStore.open(store, verify=True))
    if html is not None:
        _page(path, html, found)
    if as_json:
        common.print_json(found.to_dict())
        return
    common.print_table(f"{path}: {found.kind}", ["", ""], _rows(found.facts))
    common.print_k_core(found.facts.get("k_core", {}).get("rounds", []))
    if found.health:
        columns = ["vectors", "figure", "value", "beside", "what to make of it"]
        common.print_table("Health of the vectors", columns, [one.row() for one in found.health])
    for title, bars in found.pictures.items():
        common.print_bars(title, bars)


def _page(path: Path, html: Path, found: Description) -> None:
    from usermodel import manifest
    from usermodel.report.embeddings import main_table
    from usermodel.report.embeddings_page import write_embeddings_page
    from usermodel.report.run_page import write_run_page
    from usermodel.training.run import Run

    if found.kind == "run":
        write_run_page(html, Run.open(path))
    else:
        write_embeddings_page(html, found, main_table(path, manifest.read(path)), path.name)
    common.say(f"wrote {html}")


def _prove(path: Path, split: str, as_json: bool) -> None:
    """Check the split, or every fold of it; the reports are printed before the first offence ends the command."""
    from usermodel.store.sequence_store import SequenceStore

    store = SequenceStore.open(path, verify=True)
    reports = _reports(store, split)
    facts = {"kind": "leakage", "store_hash": store.content_hash, "fitted_on": store.meta["fitted_on"]}
    if as_json:
        clean = all(report.clean for report in reports)
        common.print_json(facts | {"clean": clean, "splits": [report.facts() for report in reports]})
    else:
        for report in reports:
            _show(path, report)
        fitted = ", ".join(f"{name} on {part}" for name, part in store.meta["fitted_on"].items())
        common.say(f"fitted: {fitted}; every other statistic on the training part")
    for report in reports:
        report.require_clean(str(path))
    common.say(f"no leakage: {len(reports[0].checks)} promises hold")


def _reports(store: SequenceStore, split: str) -> list[LeakageReport]:
    from usermodel.events.splits import split_config
    from usermodel.events.splits_table import read_split
    from usermodel.store.leakage import check_leakage

    if split.endswith(".parquet"):
        return [check_leakage(store, read_split(split, store))]
    return [check_leakage(store, one) for one in split_config(split).splits(store)]


def _show(path: Path, report: LeakageReport) -> None:
    rows = [(check.promise, check.checked, check.offending, check.first or "") for check in report.checks]
    common.print_table(f"{path}: {report.split}", ["promise", "checked", "offending", "first"], rows)
    common.print_table("", ["", "count"], [(name.replace("_", " "), n) for name, n in report.counts.items()])


def _rows(facts: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested facts under dotted names, one a line."""
    rows = []
    for key, value in facts.items():
        if isinstance(value, dict):
            rows += _rows(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            rows += _rows({str(number): one for number, one in enumerate(value)}, f"{prefix}{key}.")
        elif key not in {"class", "rounds"} and value not in ([], None):
            rows.append((prefix + key, _cell(value)))
    return rows


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return f"{value:,.6g}" if isinstance(value, float) else common.text(value)
