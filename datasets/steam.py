"""Steam reviews (McAuley): reviews of games with the hours played."""

from pathlib import Path

import polars as pl

from usermodel.events import raw_files as raw
from usermodel.events.data_cards import Card, Counts, DataFile, Download, Layout, Tables

CARD = Card(
    name="steam",
    title="Steam reviews (version 2)",
    source="https://cseweb.ucsd.edu/~jmcauley/datasets.html#steam_data",
    licence="None stated by the owner beyond a request to cite.",
    licence_short="not stated; cite",
    columns={
        "user_id": "username",
        "item_id": "product_id",
        "timestamp": "date (a day)",
        "watch_time_ms": "hours (played in all, at the time of the review) x 3,600,000",
    },
    layouts=(
        Layout(
            "original",
            (DataFile("steam_reviews.json.gz"),),
            Counts(2_567_538, 15_474, 7_793_069, is_recalled=True),
            "Python literals, not JSON: reading takes many minutes. Counts as quoted from the owner's page; how users with one "
            "name and reviews without one were counted is not known.",
        ),
    ),
    tasks=("next-item",),
    citation="Wang-Cheng Kang and Julian McAuley. Self-Attentive Sequential Recommendation. ICDM 2018.",
    downloads=(Download("https://cseweb.ucsd.edu/~wckang/steam_reviews.json.gz", "steam_reviews.json.gz"),),
)


def read(folder: Path) -> Tables:
    """Reviews in file order within a day; a review without a name or day is left out."""
    schema = {"username": pl.String, "product_id": pl.String, "date": pl.String, "hours": pl.Float64}
    rows = raw.read_python_lines(raw.find(folder, "steam_reviews.json"), schema)
    is_whole = pl.all_horizontal(pl.col(name).is_not_null() for name in ("username", "product_id", "date"))
    events = rows.filter(is_whole & (pl.col("username") != "")).select(
        pl.col("username").alias("user_id"),
        pl.col("product_id").alias("item_id"),
        pl.col("date").alias("timestamp"),
        (pl.col("hours") * 3_600_000).round().cast(pl.Int64).alias("watch_time_ms"),
    )
    left_out = {"no name or no day": rows.height - events.height}
    return Tables(events, tz="UTC", left_out=left_out, notes=("Times are days; ties keep the file's order.",))
