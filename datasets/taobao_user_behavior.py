"""Taobao UserBehavior: page views, carts, favourites and purchases."""

from pathlib import Path

import polars as pl

from usermodel.events import raw_files as raw
from usermodel.events.data_cards import Card, Counts, DataFile, Layout, Tables

FIRST_S, LAST_S = 631_152_000, 4_102_444_800  # the years 1990 to 2100, as everywhere in usermodel
CARD = Card(
    name="taobao-user-behavior",
    title="Taobao UserBehavior",
    source="https://tianchi.aliyun.com/dataset/649",
    licence="CC BY-NC-SA 4.0, as the owner's page is recalled to say; check it there.",
    licence_short="CC BY-NC-SA 4.0 (recalled)",
    columns={
        "user_id": "column 1",
        "item_id": "column 2",
        "category (items)": "column 3",
        "event_type": "column 4: pv, buy, cart, fav",
        "timestamp": "column 5 (s)",
    },
    layouts=(
        Layout(
            "original",
            (DataFile("UserBehavior.csv"),),
            Counts(987_994, 4_162_024, 100_150_807, is_recalled=True),
            "Users and items that have only impossible times are missing from ours.",
        ),
    ),
    tasks=("next-item",),
    citation="Han Zhu et al. Learning Tree-based Deep Model for Recommender Systems. KDD 2018.",
    by_hand="Log in on the owner's page, download UserBehavior.csv.zip and unpack it.",
)


def read(folder: Path) -> Tables:
    """No header. A few times are negative or far off: rows outside 1990 to 2100 are left out, never imputed."""
    columns = ["user_id", "item_id", "category", "event_type", "timestamp"]
    rows = raw.read_text_table(raw.find(folder, "UserBehavior.csv"), columns, quoted=False)
    time = pl.col("timestamp").cast(pl.Int64, strict=False)
    events = rows.with_columns(time).filter(pl.col("timestamp").is_between(FIRST_S, LAST_S))
    items = rows.select("item_id", "category").unique("item_id", keep="first", maintain_order=True)
    left_out = {"a time outside 1990 to 2100": rows.height - events.height}
    notes = (
        "The owner's days are 2017-11-25 to 2017-12-03; some thousand rows lie outside them and are kept.",
    )
    return Tables(events.drop("category"), items=items, left_out=left_out, notes=notes)
