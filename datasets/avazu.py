"""Avazu click-through rate (Kaggle 2014): ten days of mobile ads, by the hour."""

from pathlib import Path

import polars as pl

from usermodel.events import raw_files as raw
from usermodel.events.data_cards import Card, Counts, DataFile, Layout, Published, Tables

CARD = Card(
    name="avazu",
    title="Avazu click-through rate prediction",
    source="https://www.kaggle.com/c/avazu-ctr-prediction",
    licence="Avazu's terms of the challenge: use within the competition and for research.",
    licence_short="competition terms",
    columns={
        "user_id": "device_ip: the nearest thing to a user; device_id is one value in most rows",
        "item_id": "C14: an anonymous column that papers take for the ad",
        "timestamp": "hour (YYMMDDHH, UTC)",
        "event_type": "click: 'click' or 'impression'",
    },
    layouts=(
        Layout("original", (DataFile("train.csv"),), Counts(6_729_486, 2_626, 40_428_967, is_recalled=True)),
    ),
    tasks=("ctr",),
    citation="Steve Wang and Will Cukierski. Click-Through Rate Prediction. Kaggle 2014.",
    published=(
        Published(
            "Avazu_x1 (another split of it), auc / logloss: FinalNet .7672 / .3653, DCN-V2 .7656 / .3664",
            "docs/CTR/leaderboard of github.com/reczoo/BARS",
        ),
    ),
    by_hand="Accept the terms on the owner's page; train.gz may stay packed.",
)


def read(folder: Path) -> Tables:
    """All rows as impressions, events and labels; times are full hours, ties keep the order of the file."""
    rows = raw.read_text_table(raw.find(folder, "train.csv", "train"))
    hour = (
        ("20" + pl.col("hour") + "00")
        .str.to_datetime("%Y%m%d%H%M", time_unit="us")
        .dt.epoch("us")
        .alias("timestamp")
    )
    rows = rows.rename({"device_ip": "user_id", "C14": "item_id"}).with_columns(hour)
    clicked = pl.col("click") == "1"
    kind = pl.when(clicked).then(pl.lit("click")).otherwise(pl.lit("impression")).alias("event_type")
    keys = {"user_id", "item_id", "timestamp", "click", "hour", "id"}
    context = [name for name in rows.columns if name not in keys]
    propensity = pl.lit(None, dtype=pl.Float64).alias("propensity")
    return Tables(
        rows.select("user_id", "item_id", "timestamp", kind),
        "us",
        impressions=rows.select("user_id", "item_id", "timestamp", clicked.alias("clicked"), propensity),
        labels=rows.select(
            "user_id",
            pl.col("timestamp").alias("prediction_time"),
            "item_id",
            clicked.cast(pl.Float64).alias("value"),
            *context,
        ),
        notes=("Rows of one hour share a time: a feature of a label may use earlier hours only.",),
    )
