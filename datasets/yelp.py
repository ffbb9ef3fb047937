"""Yelp Open Dataset: reviews of places, with stars and times."""

from pathlib import Path

import polars as pl

from usermodel.events import raw_files as raw
from usermodel.events.data_cards import Card, Counts, DataFile, Layout, Tables

CARD = Card(
    name="yelp",
    title="Yelp Open Dataset (2022 release)",
    source="https://business.yelp.com/data/resources/open-dataset/",
    licence="Yelp Dataset User Agreement: personal, educational and academic use; no redistribution.",
    licence_short="academic, agreement",
    columns={"user_id": "user_id", "item_id": "business_id", "timestamp": "date", "rating": "stars"},
    layouts=(
        Layout(
            "original",
            (
                DataFile("yelp_academic_dataset_review.json"),
                DataFile("yelp_academic_dataset_business.json", is_optional=True),
            ),
            Counts(1_987_929, 150_346, 6_990_280, is_recalled=True),
            "The owner names 1,987,897 users: some reviews are by people outside the user file.",
        ),
    ),
    tasks=("next-item", "rating"),
    citation="Yelp Open Dataset, Yelp Inc.",
    by_hand="Accept the agreement on the owner's page and unpack the archive.",
)


def read(folder: Path) -> Tables:
    """JSON lines. The dates name no zone and are read as UTC."""
    schema = {"user_id": pl.String, "business_id": pl.String, "stars": pl.Float64, "date": pl.String}
    rows = raw.read_json_lines(raw.find(folder, "yelp_academic_dataset_review.json"), schema)
    events = rows.rename({"business_id": "item_id", "stars": "rating", "date": "timestamp"})
    places = raw.maybe(folder, "yelp_academic_dataset_business.json")
    items = None
    if places:
        fields = dict.fromkeys(["business_id", "name", "city", "state", "categories"], pl.String)
        items = raw.read_json_lines(places, fields).rename({"business_id": "item_id"})
    return Tables(events, tz="UTC", items=items, notes=("Dates name no time zone; they are taken as UTC.",))
