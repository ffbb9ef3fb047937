"""Amazon reviews 2014, Toys and Games, 5-core: users and items with at least five reviews each."""

from pathlib import Path

from usermodel.events import data_owners as owner
from usermodel.events.data_cards import Card, Counts, DataFile, Layout, Tables
from usermodel.events.data_families import amazon_2014

CARD = Card(
    name="amazon-toys",
    title="Amazon reviews 2014, Toys and Games, 5-core",
    source=owner.AMAZON_2014_SOURCE,
    licence=owner.AMAZON_LICENCE,
    licence_short=owner.AMAZON_SHORT,
    columns=owner.AMAZON_COLUMNS,
    layouts=(
        Layout(
            "original",
            (
                DataFile("reviews_Toys_and_Games_5.json.gz"),
                DataFile("meta_Toys_and_Games.json.gz", is_optional=True),
            ),
            Counts(19_412, 11_924, 167_597, is_recalled=True),
        ),
        Layout(
            "sequences",
            (DataFile("Toys_and_Games.txt"),),
            Counts(19_412, 11_924, 167_597, is_recalled=True),
            "The same events in time order, 'user item item ...' a line: the file of S3-Rec, ICLRec and ICSRec. The raw "
            "ids come back where their two tables lie beside it.",
        ),
    ),
    tasks=("next-item", "rating"),
    citation=owner.AMAZON_2014_CITATION,
    published=(owner.icsrec("layout sequences, full ranking: hit@10 .1055 ndcg@10 .0657"),),
    downloads=owner.amazon_2014_download("Toys_and_Games"),
)


def read(folder: Path) -> Tables:
    """JSON lines, or the shared sequence file."""
    return amazon_2014(folder, "Toys_and_Games", "Toys_and_Games")
