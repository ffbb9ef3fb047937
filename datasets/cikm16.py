"""CIKM Cup 2016, track 2 (DIGINETICA): what sessions of a shop looked at, and for how long."""

from pathlib import Path

import polars as pl

from usermodel.events import raw_files as raw
from usermodel.events.data_cards import Card, Counts, DataFile, Layout, Published, Tables

COLUMNS = ["session_id", "user_id", "item_id", "timeframe", "eventdate"]
DAY, MILLISECOND = 86_400_000_000, 1_000
CARD = Card(
    name="cikm16",
    title="CIKM Cup 2016 track 2 (DIGINETICA)",
    source="https://competitions.codalab.org/competitions/11161",
    licence="The organisers' terms of the challenge: research use.",
    licence_short="competition terms",
    columns={
        "user_id": "session_id: most rows name no user",
        "item_id": "item_id",
        "timestamp": "eventdate (a day) + timeframe (ms since the session's first query)",
        "watch_time_ms": "time until the session's next view; its last view has none",
        "value (labels)": "seconds from the session's first view to its last",
    },
    layouts=(
        Layout(
            "original",
            (DataFile("train-item-views.csv"),),
            Counts(310_324, 122_993, 1_235_380, is_recalled=True),
            "Semicolons. Papers on watch time quote 310,302 sessions and 122,991 items, and predict the dwell of a whole session from its "
            "items: that is the label.",
        ),
    ),
    tasks=("watch-time", "next-item"),
    citation="DIGINETICA. CIKM Cup 2016 Track 2: Personalized E-Commerce Search Challenge.",
    published=(
        Published(
            "dwell of sessions, MAE / XAUC: VR 1.039 / .641, WLR .998 / .672, D2Q .858 / .676, TPM .850 / .676, CREAD .865 / .678",
            "DIFL (AAAI 2026), table 1",
            is_recalled=True,
        ),
    ),
    by_hand="Take part on the owner's page, or ask the organisers, and unpack dataset-train-diginetica.",
)


def read(folder: Path) -> Tables:
    """Views in order of time; sessions stand for users."""
    path = raw.find(folder, "train-item-views.csv")
    rows = raw.read_text_table(path, separator=";", quoted=False)
    # Releases write the header as sessionId or session_id; the order is the same.
    rows = rows.rename(dict(zip(rows.columns, COLUMNS, strict=False)))
    day = pl.col("eventdate").str.to_date("%Y-%m-%d").cast(pl.Int64) * DAY
    rows = rows.select(
        pl.col("session_id").alias("user_id"),
        "item_id",
        (day + pl.col("timeframe").cast(pl.Int64) * MILLISECOND).alias("timestamp"),
    ).sort("user_id", "timestamp", maintain_order=True)
    until_next = (pl.col("timestamp").shift(-1).over("user_id") - pl.col("timestamp")) // MILLISECOND
    events = rows.with_columns(until_next.alias("watch_time_ms"))
    first, last = pl.col("timestamp").min(), pl.col("timestamp").max()
    labels = rows.group_by("user_id", maintain_order=True).agg(
        last.alias("prediction_time"), ((last - first) / 1e6).alias("value")
    )
    notes = (
        "A day and milliseconds since a session's first query: times of different sessions of one day do not compare.",
    )
    return Tables(events, "us", labels=labels, notes=notes)
