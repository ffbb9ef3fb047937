"""Gowalla check-ins (SNAP), and the 10-core that NGCF and LightGCN share."""

from pathlib import Path

from usermodel.events import raw_files as raw
from usermodel.events.data_cards import Card, Counts, DataFile, Download, Layout, Published, Tables
from usermodel.events.data_families import ordered_tables

CARD = Card(
    name="gowalla",
    title="Gowalla check-ins",
    source="https://snap.stanford.edu/data/loc-gowalla.html",
    licence="None stated by the owner beyond a request to cite.",
    licence_short="not stated; cite",
    columns={"user_id": "user", "item_id": "location id", "timestamp": "check-in time (UTC)"},
    layouts=(
        Layout(
            "original",
            (DataFile("loc-gowalla_totalCheckins.txt.gz"),),
            Counts(107_092, 1_280_969, 6_442_892, is_recalled=True),
            "The owner's page says 6,442,890 check-ins, papers that counted the lines say 6,442,892.",
        ),
        Layout(
            "lightgcn",
            (
                DataFile(
                    "train.txt.gz",
                    "5d6c1565de1f0586eb69cfa1fddffc301fb66ab07d83772042760a5727df3858",
                    1790821,
                ),
                DataFile(
                    "valid.txt.gz",
                    "8d357b0921ba5b25702387b91f135c946959836d3382489b2f1012edd9301122",
                    292321,
                    True,
                ),
                DataFile(
                    "test.txt.gz", "9db4414306dbc518d3b81b0239515497908ecd6de09df99c6a92ba171e75b902", 598630
                ),
            ),
            Counts(29_858, 40_981, 1_027_370),
            "Sets of items per user, split at random, ids from 0; one log here, train first.",
        ),
    ),
    tasks=("next-item", "collaborative-filtering"),
    citation="Eunjoon Cho, Seth A. Myers, Jure Leskovec. Friendship and Mobility. KDD 2011.",
    published=(
        Published(
            "layout lightgcn: LightGCN recall@20 .1824 ndcg@20 .1554",
            "README of github.com/kuandeng/LightGCN",
        ),
        Published(
            "layout lightgcn: SimpleX recall@20 .1872 ndcg@20 .1557", "log in github.com/reczoo/RecZoo"
        ),
        Published("layout lightgcn: NGCF recall@20 .1570 ndcg@20 .1327", "LightGCN paper", is_recalled=True),
    ),
    downloads=(
        Download(
            "https://snap.stanford.edu/data/loc-gowalla_totalCheckins.txt.gz",
            "loc-gowalla_totalCheckins.txt.gz",
        ),
    ),
)


def read(folder: Path) -> Tables:
    """Check-ins with places, or the lists of LightGCN (train, valid where it is apart, test)."""
    checkins = raw.maybe(folder, "loc-gowalla_totalCheckins.txt")
    if checkins is None:
        parts = [raw.find(folder, "train.txt"), raw.maybe(folder, "valid.txt"), raw.find(folder, "test.txt")]
        events = raw.read_sequences([part for part in parts if part])
        return ordered_tables(events, layout="lightgcn", notes=("Train, valid and test are one log here.",))
    columns = ["user_id", "timestamp", "latitude", "longitude", "item_id"]
    rows = raw.read_text_table(checkins, columns, separator="\t", quoted=False)
    items = rows.select("item_id", "latitude", "longitude").unique(
        "item_id", keep="first", maintain_order=True
    )
    return Tables(rows.select("user_id", "item_id", "timestamp"), items=items)
