"""Criteo display advertising (Kaggle 2014): labelled rows of 13 numbers and 26 categories. No users, items or times."""

from pathlib import Path

import polars as pl

from usermodel.events import raw_files as raw
from usermodel.events.data_cards import Card, Counts, DataFile, Layout, Published, Tables
from usermodel.events.data_families import labelled_rows

COLUMNS = ["label", *(f"I{n}" for n in range(1, 14)), *(f"C{n}" for n in range(1, 27))]
CARD = Card(
    name="criteo",
    title="Criteo display advertising challenge",
    source="https://www.kaggle.com/c/criteo-display-ad-challenge",
    licence="Criteo's terms of the challenge: research, non-commercial; later releases are CC BY-NC-SA 4.0.",
    licence_short="non-commercial",
    columns={
        "user_id": "the number of the row: the owner names no users",
        "item_id": "always 'ad': the owner names no items",
        "value (labels)": "column 1",
        "I1..I13, C1..C26 (labels)": "columns 2 to 40",
    },
    layouts=(
        Layout(
            "original",
            (DataFile("train.txt"),),
            Counts(45_840_617, 1, 45_840_617, is_recalled=True),
            "Tabs, no header.",
        ),
        Layout(
            "sample",
            (
                DataFile(
                    "criteo_sample.txt",
                    "08b84f12a22438fb534e989a5e4fa245726b2bda001983556bc2aea2f094f724",
                    52518,
                ),
            ),
            Counts(200, 1, 200),
            "200 rows with a header and commas, of the DeepCTR repository: a loader test, nothing more.",
        ),
    ),
    tasks=("ctr",),
    citation="Criteo Labs. Display Advertising Challenge. Kaggle 2014.",
    published=(
        Published(
            "Criteo_x1 (another split of it), auc / logloss: FinalNet .8154 / .4365, DCN-V2 .8142 / .4378",
            "docs/CTR/leaderboard of github.com/reczoo/BARS",
        ),
    ),
    by_hand="Accept the terms on the owner's page and unpack train.txt.",
)


def read(folder: Path) -> Tables:
    """Every row is a user of its own with one impression; the columns, 13 of numbers and 26 of text, are context of the label."""
    sample = raw.maybe(folder, "criteo_sample.txt")
    if sample:
        rows = raw.read_text_table(sample, only=COLUMNS)
    else:
        rows = raw.read_text_table(raw.find(folder, "train.txt"), COLUMNS, separator="\t", quoted=False)
    number = pl.int_range(pl.len()).cast(pl.String).alias("user_id")
    rows = rows.with_columns(pl.lit("ad").alias("item_id"), number)
    events, labels = labelled_rows(rows, "label", positives_only=False)
    labels = labels.with_columns(pl.col(COLUMNS[1:14]).cast(pl.Float64))
    notes = ("Rows have neither users nor items: use the labels with their context, never the sequences.",)
    return Tables(events, "order", layout="sample" if sample else "original", labels=labels, notes=notes)
