"""CiteULike-a: which articles a user put into the library, with tags. No times."""

from pathlib import Path

import polars as pl

from usermodel.events import raw_files as raw
from usermodel.events.data_cards import Card, Counts, DataFile, Layout, Tables
from usermodel.events.data_families import ordered_tables

CARD = Card(
    name="citeulike-a",
    title="CiteULike-a",
    source="https://github.com/js05212/citeulike-a",
    licence="None stated by the owner beyond a request to cite.",
    licence_short="not stated; cite",
    columns={"user_id": "number of the line in users.dat, from 0", "item_id": "article number, from 0"},
    layouts=(
        Layout(
            "original",
            (
                DataFile(
                    "users.dat", "53211d82c14ff261e595634d285ed9fbf8049cf81dcb751d924d695b9612a02c", 1094785
                ),
                DataFile(
                    "item-tag.dat",
                    "0f7b432796a5038ed2631c02b99d70e636123673afc11bf9e051de5b49467890",
                    1423307,
                    True,
                ),
            ),
            Counts(5_551, 16_980, 204_986),
        ),
    ),
    tasks=("collaborative-filtering",),
    citation="Hao Wang, Binyi Chen, Wu-Jun Li. Collaborative Topic Regression with Social Regularization. IJCAI 2013.",
    by_hand="Clone the owner's repository.",
)


def read(folder: Path) -> Tables:
    """``count item item ...`` a line; the tags of article k are in line k of ``item-tag.dat``."""
    tables = ordered_tables(raw.read_sequences([raw.find(folder, "users.dat")], user="line"))
    tags = raw.maybe(folder, "item-tag.dat")
    if tags is None:
        return tables
    words = [line.split()[1:] for line in raw.open_text(tags)]
    items = pl.DataFrame(
        {"item_id": [str(number) for number in range(len(words))], "tags": words},
        schema={"item_id": pl.String, "tags": pl.List(pl.String)},
    )
    return Tables(tables.events, "order", items=items, notes=tables.notes)
