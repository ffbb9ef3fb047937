"""Amazon reviews 2014, Beauty, 5-core: users and items with at least five reviews each."""

from pathlib import Path

from usermodel.events import data_owners as owner
from usermodel.events.data_cards import Card, Counts, DataFile, Layout, Tables
from usermodel.events.data_families import amazon_2014

CARD = Card(
    name="amazon-beauty",
    title="Amazon reviews 2014, Beauty, 5-core",
    source=owner.AMAZON_2014_SOURCE,
    licence=owner.AMAZON_LICENCE,
    licence_short=owner.AMAZON_SHORT,
    columns=owner.AMAZON_COLUMNS,
    layouts=(
        Layout(
            "original",
            (DataFile("reviews_Beauty_5.json.gz"), DataFile("meta_Beauty.json.gz", is_optional=True)),
            Counts(22_363, 12_101, 198_502),
        ),
        Layout(
            "sequences",
            (
                DataFile(
                    "Beauty.txt.gz",
                    "d90327e98288647f5bae59c0dba82e153af2d940eafb7540f4b05185e108d0fe",
                    455497,
                ),
                DataFile(
                    "item2asin.tsv",
                    "cd6dedb05dfc1b4a69b0e0900477da161b9b6571757730961ac95b91ba3d77ea",
                    194621,
                    True,
                ),
                DataFile(
                    "user2reviewer.tsv.gz",
                    "221a7b4060653bf2a2c2917ce15ffd500bb30b3b9b28f28e1e8796b001c7f54d",
                    265712,
                    True,
                ),
                DataFile(
                    "item_titles.tsv.gz",
                    "c46c2ae39760f052080f0b167ecc0468230ec9a614d828a849cdb39d8d3b0f6d",
                    434050,
                    True,
                ),
            ),
            Counts(22_363, 12_101, 198_502),
            "The same events in time order, 'user item item ...' a line: the file of S3-Rec, ICLRec and ICSRec. The raw "
            "ids come back where their two tables lie beside it.",
        ),
    ),
    tasks=("next-item", "rating"),
    citation=owner.AMAZON_2014_CITATION,
    published=(
        owner.icsrec("layout sequences, full ranking: hit@5 .0698 hit@20 .1298 ndcg@5 .0494 ndcg@20 .0663"),
    ),
    downloads=owner.amazon_2014_download("Beauty"),
)


def read(folder: Path) -> Tables:
    """JSON lines, or the shared sequence file."""
    return amazon_2014(folder, "Beauty", "Beauty")
