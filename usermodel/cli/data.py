"""usermodel data"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer
from rich.table import Table

from usermodel.cli import common

if TYPE_CHECKING:
    from usermodel.events.data_cards import Card
    from usermodel.events.data_sets import Prepared

_KINDS: Final = ("users", "items", "events")
_EXACT_BELOW: Final = 10_000
#: From here on in millions: 999,950 would be 1000k.
_MILLION: Final = 999_500


def data(
    action: Annotated[
        Literal["list", "get", "prepare"],
        typer.Argument(
            help="list: what there is; get: download into a folder; prepare: raw files -> store.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str | None,
        typer.Argument(help="Name of a data set; 'list NAME' prints its card.", show_default=False),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="prepare: folder of the owner's files.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="get: folder for the files; prepare: the store.", show_default=False
        ),
    ] = None,
    min_user_events: Annotated[int, typer.Option(help="k-core: events every user must keep.", min=1)] = 1,
    min_item_events: Annotated[int, typer.Option(help="k-core: events every item must keep.", min=1)] = 1,
    overwrite: common.Overwrite = False,
    as_json: common.AsJson = False,
) -> None:
    """Public data sets: what there is, where it comes from, and how it becomes a store."""
    if action == "list":
        _list(name, as_json)
    elif action == "get":
        _get(_named(name, action), _given(out, "-o FOLDER"), as_json)
    else:
        options = {
            "min_user_events": min_user_events,
            "min_item_events": min_item_events,
            "overwrite": overwrite,
        }
        folder = _given(source, "--from FOLDER")
        _prepare(_named(name, action), folder, _given(out, "-o STORE"), options, as_json)


def _named(name: str | None, action: str) -> str:
    from usermodel.errors import DataError

    if name is None:
        do = f"For example: usermodel data {action} movielens-100k. Names: usermodel data list."
        raise DataError("usermodel data", expected="the name of a data set", found="none", do=do)
    return name


def _given(path: Path | None, option: str) -> Path:
    from usermodel.errors import DataError

    if path is None:
        raise DataError("usermodel data", expected=option, found="none", do=f"Add {option}.")
    return path


def _list(name: str | None, as_json: bool) -> None:
    from usermodel.events import data_sets

    if name is not None:
        card = data_sets.load(name).card
        if as_json:
            common.print_json(_facts(card))
        else:
            _print_card(card)
        return
    cards = [data_sets.load(one).card for one in data_sets.names()]
    if as_json:
        common.print_json({card.name: _facts(card) for card in cards})
        return
    # No lines and short numbers: a name that is cut off cannot be typed, and a terminal may have 80 columns.
    table = Table(
        title="Public data sets", title_justify="left", title_style="bold", box=None, header_style="bold"
    )
    table.add_column("name", no_wrap=True)
    for kind in _KINDS:
        table.add_column(kind, justify="right", no_wrap=True)
    table.add_column("get", no_wrap=True)
    table.add_column("licence")
    table.add_column("from", overflow="fold")
    for card in cards:
        numbers = [_short(card, kind) for kind in _KINDS]
        how = "yes" if card.downloads else "hand"
        table.add_row(card.name, *numbers, how, card.licence_short, _host(card))
    common.results.print(table)
    common.say("get: with 'usermodel data get', or by hand; ~ recalled, not verified; ? unknown or up to you")
    common.say("exact numbers, licence and files of one: usermodel data list NAME")


def _facts(card: Card) -> dict[str, Any]:
    from dataclasses import asdict

    facts = asdict(card)
    facts["counts"] = asdict(card.counts)
    facts["is_downloadable"] = bool(card.downloads)
    return facts


def _short(card: Card, kind: str) -> str:
    """``1,682``, ``22.4k``, ``1.00M``; with a tilde where the number is recalled."""
    value = getattr(card.counts, kind)
    if value is None:
        return "?"
    mark = "~" if card.counts.is_recalled else ""
    if value < _EXACT_BELOW:
        return f"{mark}{value:,}"
    unit, size = ("M", 1_000_000) if value >= _MILLION else ("k", 1_000)
    scaled = value / size
    return f"{mark}{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f}{unit}"


def _host(card: Card) -> str:
    return card.source.partition("://")[2].partition("/")[0].removeprefix("www.")


def _print_card(card: Card) -> None:
    common.say(card.title)
    rows = [["owner's page", card.source], ["licence", card.licence], ["cite", card.citation]]
    rows += [["tasks", ", ".join(card.tasks)]]
    rows += [[f"our {ours}", theirs] for ours, theirs in card.columns.items()]
    for layout in card.layouts:
        files = ", ".join(file.name + ("?" if file.is_optional else "") for file in layout.files)
        counts = layout.counts
        numbers = [
            f"{'?' if n is None else format(n, ',')}" for n in (counts.users, counts.items, counts.events)
        ]
        mark = " (recalled)" if counts.is_recalled else ""
        rows.append(
            [f"layout {layout.name}", f"{files}\n{' / '.join(numbers)}{mark}. {layout.about}".strip()]
        )
    rows += [
        ["published" + (" (recalled)" if one.is_recalled else ""), f"{one.figure} [{one.source}]"]
        for one in card.published
    ]
    how = [one.url for one in card.downloads] or [card.by_hand]
    rows.append(["get" if card.downloads else "by hand", "\n".join(how)])
    common.print_table(card.name, ["what", "value"], rows)


def _get(name: str, out: Path, as_json: bool) -> None:
    from usermodel.events import data_download, data_sets

    card = data_sets.load(name).card
    with common.progress(f"downloading {name}", "bytes") as update:
        new = data_download.get(card, out, on_progress=update)
    if as_json:
        common.print_json({"name": name, "folder": str(out), "new_sha256": new})
        return
    for file, value in new.items():
        common.say(f"sha256 of {file}, not known before: {value} (noted in {out}/SHA256SUMS)")
    common.say(f"licence: {card.licence}")
    common.say(f"next: usermodel data prepare {name} --from {out} -o STORE")


def _prepare(name: str, source: Path, out: Path, options: dict[str, Any], as_json: bool) -> None:
    from usermodel import manifest
    from usermodel.events.data_sets import read_data_set
    from usermodel.store.build import build_store

    # Refusals come before the long work.
    manifest.refuse_existing(out, "store", options["overwrite"])
    prepared = read_data_set(name, source)
    tables = prepared.tables
    store = build_store(
        prepared.log,
        out,
        **options,
        impressions=tables.impressions,
        labels=tables.labels,
        items_table=tables.items,
        users_table=tables.users,
    )
    facts = {"n_users": store.n_users, "n_items": store.n_items, "n_events": store.n_events}
    rows = store.meta.get("tables", {})
    if as_json:
        checks = {kind: {"expected": want, "found": have} for kind, (want, have) in prepared.checks.items()}
        common.print_json(
            {
                "name": name,
                "layout": prepared.tables.layout,
                "checks": checks,
                "differences": prepared.differences,
                "left_out": dict(prepared.tables.left_out),
                "notes": list(prepared.tables.notes),
                "store": facts,
                "tables": rows,
            }
        )
        return
    _say_checks(prepared)
    common.say("wrote " + ", ".join(f"{value:,} {kind[2:]}" for kind, value in facts.items()) + f" to {out}")
    for kind, counts in rows.items():
        lost = counts["read"] - counts["written"]
        about = f" ({lost:,} more are about users or items without events here)" if lost else ""
        common.say(f"  {kind}: {counts['written']:,} rows{about}")
    common.say(f"next: usermodel describe {out}")


def _say_checks(prepared: Prepared) -> None:
    layout = prepared.tables.layout
    common.say(f"layout {layout}; licence: {prepared.card.licence_short}")
    is_recalled = prepared.card.layout(layout).counts.is_recalled
    for kind, (expected, found) in prepared.checks.items():
        mark = " (the card's number is recalled, not verified)" if is_recalled else ""
        if expected is None:
            common.say(f"{kind}: {found:,}; the card has no number to compare with")
        elif expected == found:
            common.say(f"{kind}: {found:,}, as on the card")
        else:
            common.say(f"{kind}: {found:,}, DIFFERENT from the card's {expected:,}{mark}")
    for reason, rows in prepared.tables.left_out.items():
        if rows:
            common.say(f"left out, {reason}: {rows:,} rows")
    for note in prepared.tables.notes:
        common.say(f"note: {note}")
