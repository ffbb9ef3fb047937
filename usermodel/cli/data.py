"""usermodel data"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from usermodel.cli import common

if TYPE_CHECKING:
    from usermodel.events.data_cards import Card
    from usermodel.events.data_sets import Prepared


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
    tables: Annotated[
        Path | None,
        typer.Option(help="prepare: folder for labels, impressions, items and users.", show_default=False),
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
        _prepare(_named(name, action), folder, _given(out, "-o STORE"), tables, options, as_json)


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
    rows = [
        [
            card.name,
            *(_count(card, kind) for kind in ("users", "items", "events")),
            card.licence_short,
            _host(card),
        ]
        for card in cards
    ]
    common.print_table("Public data sets", ["name", "users", "items", "events", "licence", "from"], rows)
    common.say("~ recalled, not verified. More on one: usermodel data list NAME")


def _facts(card: Card) -> dict[str, Any]:
    from dataclasses import asdict

    facts = asdict(card)
    facts["counts"] = asdict(card.counts)
    facts["is_downloadable"] = bool(card.downloads)
    return facts


def _count(card: Card, kind: str) -> str:
    value = getattr(card.counts, kind)
    if value is None:
        return "?"
    return f"{'~' if card.counts.is_recalled else ''}{value:,}"


def _host(card: Card) -> str:
    host = card.source.partition("://")[2].partition("/")[0].removeprefix("www.")
    return f"{host} (get)" if card.downloads else f"{host} (by hand)"


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


def _prepare(
    name: str, source: Path, out: Path, tables: Path | None, options: dict[str, Any], as_json: bool
) -> None:
    from usermodel import manifest
    from usermodel.events.data_sets import read_data_set, write_tables
    from usermodel.store.build import build_store

    # Refusals come before the long work.
    manifest.refuse_existing(out, "store", options["overwrite"])
    if tables is not None:
        manifest.refuse_existing(tables, "data-set-tables", options["overwrite"])
    prepared = read_data_set(name, source)
    store = build_store(prepared.log, out, **options)
    if tables is not None:
        write_tables(prepared, tables, overwrite=options["overwrite"])
    facts = {"n_users": store.n_users, "n_items": store.n_items, "n_events": store.n_events}
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
            }
        )
        return
    _say_checks(prepared)
    common.say("wrote " + ", ".join(f"{value:,} {kind[2:]}" for kind, value in facts.items()) + f" to {out}")
    side = prepared.tables.side_tables()
    if tables is None and side:
        common.say(f"not written: {', '.join(side)}; add --tables FOLDER to keep them")
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
