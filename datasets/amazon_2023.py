"""Amazon reviews 2023: one category at a time, as the owner's rating tables or as raw reviews."""

from pathlib import Path

import polars as pl

from usermodel.errors import DataError
from usermodel.events import raw_files as raw
from usermodel.events.data_cards import Card, Counts, DataFile, Layout, Tables
from usermodel.events.data_owners import AMAZON_LICENCE, AMAZON_SHORT

CARD = Card(
    name="amazon-2023",
    title="Amazon reviews 2023, any one category",
    source="https://amazon-reviews-2023.github.io",
    licence=AMAZON_LICENCE,
    licence_short=AMAZON_SHORT,
    columns={
        "user_id": "user_id",
        "item_id": "parent_asin",
        "timestamp": "timestamp (ms)",
        "rating": "rating",
    },
    layouts=(
        Layout(
            "original", (DataFile("*.jsonl.gz"),), Counts(), "Raw reviews; counts depend on the category."
        ),
        Layout("ratings", (DataFile("*.csv.gz"),), Counts(), "The owner's 0-core and 5-core rating tables."),
    ),
    tasks=("next-item", "rating"),
    citation="Yupeng Hou et al. Bridging Language and Items for Retrieval and Recommendation. arXiv:2403.03952, 2024.",
    by_hand="Choose a category on the owner's page and put its one file into a folder of its own.",
)


def read(folder: Path) -> Tables:
    """The one ``.csv`` or ``.jsonl`` of a category."""
    tables = [path for path in raw.find_all(folder, "*.csv") if not path.name.startswith("meta_")]
    reviews = [path for path in raw.find_all(folder, "*.jsonl") if not path.name.startswith("meta_")]
    if len(tables) + len(reviews) != 1:
        found = ", ".join(path.name for path in [*tables, *reviews]) or "none"
        do = "Put one file into a folder of its own."
        raise DataError(str(folder), expected="one .csv.gz or .jsonl.gz of a category", found=found, do=do)
    if tables:
        events = raw.read_text_table(tables[0], only=["user_id", "parent_asin", "rating", "timestamp"])
        return Tables(events.rename({"parent_asin": "item_id"}), "ms", layout="ratings")
    schema = {"user_id": pl.String, "parent_asin": pl.String, "rating": pl.Float64, "timestamp": pl.Int64}
    events = raw.read_json_lines(reviews[0], schema).rename({"parent_asin": "item_id"})
    return Tables(events, "ms")
