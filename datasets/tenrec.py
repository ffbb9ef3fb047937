"""Tenrec (Tencent): feeds of videos and articles with many signals and demographics. Row order instead of times."""

from pathlib import Path

import polars as pl

from usermodel.errors import DataError
from usermodel.events import raw_files as raw
from usermodel.events.data_cards import Card, Counts, DataFile, Layout, Tables
from usermodel.events.data_families import ordered_tables

SCENARIOS = ("QK-video", "QB-video", "QK-article", "QB-article")
SIGNALS = ("follow", "share", "favorite", "like", "click")
CARD = Card(
    name="tenrec",
    title="Tenrec, any one of its four scenarios",
    source="https://tenrec0.github.io",
    licence="CC BY-NC 4.0",
    licence_short="CC BY-NC 4.0",
    columns={
        "user_id": "user_id",
        "item_id": "item_id",
        "event_type": "follow share favorite like click, the first that is 1, else exposure",
    },
    layouts=(
        Layout(
            "original",
            tuple(DataFile(f"{name}.csv", is_optional=True) for name in SCENARIOS),
            Counts(),
            "One scenario at a time; counts depend on it and are not checked.",
        ),
        Layout(
            "itfr",
            (
                DataFile(
                    "train.txt.gz", "f9fa7a5d9c2340bd73c1bc7fe47b4fa97fb0060382c944295fb2488ccd5f4b81", 149662
                ),
                DataFile(
                    "valid.txt", "8eec88cd4e1b056fa7d0d032c3ce242afb5432ee6bbb4db550d6eb7dbfe478ac", 120246
                ),
                DataFile(
                    "test.txt", "7b31e1c911a4cb426fda0b8e914651920ec24bcbfe2b2297f89f061dc2774b9c", 159299
                ),
                DataFile(
                    "user_age_group.tsv",
                    "2369aadad1bdc5b2b3bfd9b751fe4f4f00dd0b7f8650c3990e5d77cf963128a5",
                    79913,
                    True,
                ),
                DataFile(
                    "item_genre_group.tsv",
                    "9465000259ceaa0696332abf678f61aff614c8a3ee389b51167a0d02f58bc597",
                    6012,
                    True,
                ),
            ),
            Counts(11_376, 1_015, 132_981),
            "ITFR's part of QB-article: three age groups, four categories; valid and test were drawn at random.",
        ),
    ),
    tasks=("next-item", "ctr", "user-attribute"),
    citation="Guanghu Yuan et al. Tenrec: A Large-scale Multipurpose Benchmark Dataset. NeurIPS 2022.",
    by_hand="Accept the licence on the owner's page; put the one scenario you want into a folder of its own.",
)


def read(folder: Path) -> Tables:
    """The one scenario in the folder, or the lists of ITFR."""
    found = [(name, path) for name in SCENARIOS if (path := raw.maybe(folder, f"{name}.csv"))]
    if not found:
        return _itfr(folder)
    if len(found) > 1:
        do = "Put the one you want into a folder of its own."
        words = ", ".join(name for name, _ in found)
        raise DataError(str(folder), expected="one scenario of Tenrec", found=words, do=do)
    rows = raw.read_text_table(found[0][1])
    kind = pl.lit("exposure")
    for signal in reversed([name for name in SIGNALS if name in rows.columns]):
        is_given = pl.col(signal).cast(pl.Float64, strict=False) > 0
        kind = pl.when(is_given).then(pl.lit(signal)).otherwise(kind)
    tables = ordered_tables(
        rows.select("user_id", "item_id", kind.alias("event_type")),
        notes=("The order of a user's rows is the order in time, says the owner.",),
    )
    users = rows.select("user_id", "gender", "age").unique("user_id", keep="last", maintain_order=True)
    category = [
        name for name in ("video_category", "category_first", "category_second") if name in rows.columns
    ]
    items = rows.select("item_id", *category).unique("item_id", keep="last", maintain_order=True)
    return Tables(tables.events, "order", items=items, users=users, notes=tables.notes[1:])


def _itfr(folder: Path) -> Tables:
    parts = [
        raw.find(folder, "train.txt", "QK-video.csv"),
        *(raw.find(folder, f"{n}.txt") for n in ("valid", "test")),
    ]
    tables = ordered_tables(
        raw.read_sequences(parts),
        layout="itfr",
        notes=(
            "A user's train list is in time order with holes; valid and test, drawn at random, stand behind it.",
        ),
    )
    users, items = raw.maybe(folder, "user_age_group.tsv"), raw.maybe(folder, "item_genre_group.tsv")
    return Tables(
        tables.events,
        "order",
        layout="itfr",
        users=raw.read_text_table(users, separator="\t").rename({"user": "user_id"}) if users else None,
        items=raw.read_text_table(items, separator="\t").rename({"item": "item_id"}) if items else None,
        notes=tables.notes[1:],
    )
