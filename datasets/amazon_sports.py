"""Amazon reviews 2014, Sports and Outdoors, 5-core: users and items with at least five reviews each."""

from pathlib import Path

from usermodel.events import data_owners as owner
from usermodel.events.data_cards import Card, Counts, DataFile, Layout, Tables
from usermodel.events.data_families import amazon_2014

CARD = Card(
    name="amazon-sports",
    title="Amazon reviews 2014, Sports and Outdoors, 5-core",
    source=owner.AMAZON_2014_SOURCE,
    licence=owner.AMAZON_LICENCE,
    licence_short=owner.AMAZON_SHORT,
    columns=owner.AMAZON_COLUMNS,
    layouts=(
        Layout(
            "original",
            (
                DataFile("reviews_Sports_and_Outdoors_5.json.gz"),
                DataFile("meta_Sports_and_Outdoors.json.gz", is_optional=True),
            ),
            Counts(35_598, 18_357, 296_337, is_recalled=True),
        ),
        Layout(
            "sequences",
            (DataFile("Sports_and_Outdoors.txt"),),
            Counts(35_598, 18_357, 296_337, is_recalled=True),
            "The same events in time order, 'user item item ...' a line: the file of S3-Rec, ICLRec and ICSRec. The raw "
            "ids come back where their two tables lie beside it.",
        ),
    ),
    tasks=("next-item", "rating"),
    citation=owner.AMAZON_2014_CITATION,
    published=(owner.icsrec("layout sequences, full ranking: hit@10 .0565 ndcg@10 .0335"),),
    downloads=owner.amazon_2014_download("Sports_and_Outdoors"),
)


def read(folder: Path) -> Tables:
    """JSON lines, or the shared sequence file."""
    return amazon_2014(folder, "Sports_and_Outdoors", "Sports_and_Outdoors")
