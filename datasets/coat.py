"""Coat shopping: ratings users chose to give, ratings of random coats, and propensities."""

from dataclasses import replace
from pathlib import Path

import polars as pl

from usermodel.events import raw_files as raw
from usermodel.events.data_cards import Card, Counts, DataFile, Download, Layout, Tables
from usermodel.events.data_families import explicit_and_random

CARD = Card(
    name="coat",
    title="Coat shopping",
    source="https://www.cs.cornell.edu/~schnabts/mnar/",
    licence="None stated by the owner beyond a request to cite.",
    licence_short="not stated; cite",
    columns={
        "user_id": "row of the matrix, from 0",
        "item_id": "column of the matrix, from 0",
        "rating": "train.ascii",
        "value (labels)": "test.ascii: coats drawn at random",
        "propensity (impressions)": "propensities.ascii",
    },
    layouts=(
        Layout(
            "original",
            (
                DataFile(
                    "train.ascii", "a87bd9e7eaf3b89f976df3f25d4aa5d5d871be8a00b58947df9e6e015559bd37", 174290
                ),
                DataFile(
                    "test.ascii", "de6714ab105a5e0be8166be7fd313901b29f9a09c3bea307901457d1d71847e6", 174290
                ),
                DataFile(
                    "propensities.ascii",
                    "a72e3142a413623c4a6b9d20c4f70fcc017e0db67cc3eb242116f69fb8fb9661",
                    2175000,
                    True,
                ),
                DataFile(
                    "user_features.ascii",
                    "d8f9531b601c54a7272602f8b21fa6cb4652cbf122e35d8615ea9645ebbf1b1f",
                    8410,
                    True,
                ),
                DataFile(
                    "item_features.ascii",
                    "edea8217ec5606779b4d3bf819f7591dc63bcd5194d619e8048c2322d07630b1",
                    20100,
                    True,
                ),
            ),
            Counts(290, 300, 6_960),
            "4,640 random ratings beside the 6,960 chosen ones.",
        ),
    ),
    tasks=("exposure-bias", "rating", "user-attribute"),
    citation="Tobias Schnabel et al. Recommendations as Treatments. ICML 2016.",
    downloads=(
        Download(
            "https://www.cs.cornell.edu/~schnabts/mnar/coat.zip",
            "coat.zip",
            "sha256:6073d0b515ed1f6e830e4fead66dc76ad7991a7553eaa58e228b234a9d19daed",
        ),
    ),
)


def read(folder: Path) -> Tables:
    """Dense matrices of 290 users and 300 coats; 0 is no rating."""
    chosen, random = (_ratings(raw.find(folder, f"{part}.ascii")) for part in ("train", "test"))
    tables = explicit_and_random(chosen, random, ("Labels are ratings of coats drawn at random.",))
    path = raw.maybe(folder, "propensities.ascii")
    impressions = None
    if path:
        odds = (
            _cells(path).rename({"value": "propensity"}).with_columns(pl.col("propensity").cast(pl.Float64))
        )
        shown = tables.events.join(odds, on=["user_id", "item_id"], how="left", maintain_order="left")
        impressions = shown.select(
            "user_id", "item_id", "timestamp", pl.lit(True).alias("clicked"), "propensity"
        )
    return replace(
        tables, impressions=impressions, users=_features(folder, "user"), items=_features(folder, "item")
    )


def _cells(path: Path) -> pl.DataFrame:
    rows = [line.split() for line in raw.open_text(path) if line.strip()]
    matrix = pl.DataFrame({"value": rows}).with_row_index("user_id").explode("value")
    matrix = matrix.with_columns(pl.int_range(pl.len()).over("user_id").alias("item_id"))
    return matrix.select(pl.col("user_id", "item_id").cast(pl.String), "value")


def _ratings(path: Path) -> pl.DataFrame:
    return _cells(path).rename({"value": "rating"}).filter(pl.col("rating").cast(pl.Float64) != 0)


def _features(folder: Path, kind: str) -> pl.DataFrame | None:
    """One-hot columns by the names in the owner's map, where it is there."""
    path, names = raw.maybe(folder, f"{kind}_features.ascii"), raw.maybe(folder, f"{kind}_features_map.txt")
    if path is None:
        return None
    rows = [line.split() for line in raw.open_text(path) if line.strip()]
    columns = [line.strip() for line in raw.open_text(names) if line.strip()] if names else []
    if len(columns) != len(rows[0]):
        columns = [f"feature_{number}" for number in range(len(rows[0]))]
    frame = pl.DataFrame(rows, schema=columns, orient="row").with_row_index(f"{kind}_id")
    return frame.with_columns(pl.col(f"{kind}_id").cast(pl.String))
