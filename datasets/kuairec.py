"""KuaiRec: watch times of short videos; a sparse log and a matrix in which nearly every user saw every video."""

from pathlib import Path

import polars as pl

from usermodel.events import raw_files as raw
from usermodel.events.data_cards import Card, Counts, DataFile, Layout, Published, Tables

KEYS = ["user_id", "video_id", "play_duration", "video_duration", "timestamp", "watch_ratio"]
CARD = Card(
    name="kuairec",
    title="KuaiRec 2.0",
    source="https://kuairec.com",
    licence="CC BY-SA 4.0",
    licence_short="CC BY-SA 4.0",
    columns={
        "user_id": "user_id",
        "item_id": "video_id",
        "timestamp": "timestamp (s, with a fraction)",
        "watch_time_ms": "play_duration",
        "duration_ms": "video_duration",
        "value (labels)": "watch_ratio of small_matrix.csv",
    },
    layouts=(
        Layout(
            "original",
            (
                DataFile("big_matrix.csv"),
                DataFile("small_matrix.csv", is_optional=True),
                DataFile("item_categories.csv", is_optional=True),
                DataFile("user_features.csv", is_optional=True),
            ),
            Counts(7_176, 10_728, 12_530_806, is_recalled=True),
            "Events are big_matrix.csv, labels small_matrix.csv (1,411 users, 3,327 videos, 4,676,570 rows). The README "
            "of the first release says 10,729 videos; the second dropped one that nobody saw.",
        ),
    ),
    tasks=("watch-time", "next-item", "exposure-bias", "user-attribute"),
    citation="Chongming Gao et al. KuaiRec: A Fully-observed Dataset and Insights. CIKM 2022.",
    published=(
        Published(
            "watch ratio, big_matrix to small_matrix, MAE / XAUC: TPM 3.456 / .571, CREAD 3.215 / .601, GR 3.196 / .614",
            "GR paper (arXiv:2412.20211); other papers give TPM other numbers under other protocols",
            is_recalled=True,
        ),
    ),
    by_hand="Download KuaiRec.zip from the owner's page and unpack it.",
)


def read(folder: Path) -> Tables:
    """Rows without a time are left out, never imputed."""
    rows = _matrix(raw.find(folder, "big_matrix.csv"))
    timed = rows.filter(pl.col("timestamp").is_not_null())
    events = timed.select(
        "user_id",
        "item_id",
        "timestamp",
        pl.col("play_duration").cast(pl.Int64).alias("watch_time_ms"),
        pl.col("video_duration").cast(pl.Int64).alias("duration_ms"),
    )
    small = raw.maybe(folder, "small_matrix.csv")
    labels, notes = None, ("Labels are the full matrix: value is the watch ratio.",)
    if small:
        full = _matrix(small)
        kept = full.filter(pl.col("timestamp").is_not_null())
        labels = kept.select(
            "user_id",
            pl.col("timestamp").alias("prediction_time"),
            "item_id",
            pl.col("watch_ratio").cast(pl.Float64).alias("value"),
            pl.col("play_duration").cast(pl.Int64).alias("watch_time_ms"),
            pl.col("video_duration").cast(pl.Int64).alias("duration_ms"),
        )
        notes += (f"{full.height - kept.height:,} labels without a time were left out.",)
    people, films = raw.maybe(folder, "user_features.csv"), raw.maybe(folder, "item_categories.csv")
    return Tables(
        events,
        "us",
        labels=labels,
        users=raw.read_text_table(people) if people else None,
        items=raw.read_text_table(films).rename({"video_id": "item_id"}) if films else None,
        left_out={"no time": rows.height - timed.height},
        notes=notes,
    )


def _matrix(path: Path) -> pl.DataFrame:
    rows = raw.read_text_table(path, only=KEYS).rename({"video_id": "item_id"})
    return rows.with_columns(raw.seconds_to_microseconds("timestamp").alias("timestamp"))
