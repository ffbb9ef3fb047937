"""Amazon reviews 2014, Video Games, 5-core: users and items with at least five reviews each."""

from pathlib import Path

from usermodel.events import data_owners as owner
from usermodel.events.data_cards import Card, Counts, DataFile, Layout, Tables
from usermodel.events.data_families import amazon_2014

CARD = Card(
    name="amazon-games",
    title="Amazon reviews 2014, Video Games, 5-core",
    source=owner.AMAZON_2014_SOURCE,
    licence=owner.AMAZON_LICENCE,
    licence_short=owner.AMAZON_SHORT,
    columns=owner.AMAZON_COLUMNS,
    layouts=(
        Layout(
            "original",
            (
                DataFile("reviews_Video_Games_5.json.gz"),
                DataFile("meta_Video_Games.json.gz", is_optional=True),
            ),
            Counts(24_303, 10_672, 231_780, is_recalled=True),
        ),
        Layout(
            "sequences",
            (DataFile("Video_Games.txt"),),
            Counts(24_303, 10_672, 231_780, is_recalled=True),
            "The same events in time order, 'user item item ...' a line: the file of S3-Rec, ICLRec and ICSRec. The raw "
            "ids come back where their two tables lie beside it.",
        ),
    ),
    tasks=("next-item", "rating"),
    citation=owner.AMAZON_2014_CITATION,
    downloads=owner.amazon_2014_download("Video_Games"),
)


def read(folder: Path) -> Tables:
    """JSON lines, or the shared sequence file."""
    return amazon_2014(folder, "Video_Games", "Video_Games")
