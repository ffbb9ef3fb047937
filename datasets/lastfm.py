"""Last.fm (HetRec 2011): how often a user listened to an artist. No times."""

from pathlib import Path

from usermodel.events import raw_files as raw
from usermodel.events.data_cards import Card, Counts, DataFile, Download, Layout, Published, Tables
from usermodel.events.data_families import ordered_tables

CARD = Card(
    name="lastfm",
    title="Last.fm listening counts (HetRec 2011)",
    source="https://grouplens.org/datasets/hetrec-2011/",
    licence="Non-commercial use; cite the workshop. Last.fm's own terms apply to the content.",
    licence_short="non-commercial",
    columns={"user_id": "userID", "item_id": "artistID", "rating": "weight (play count)"},
    layouts=(
        Layout(
            "original",
            (
                DataFile(
                    "user_artists.dat",
                    "254272fa721c3935e8be286d28c051b206844307128698ab4eaa41d483379416",
                    1203620,
                ),
                DataFile("artists.dat", is_optional=True),
            ),
            Counts(1_892, 17_632, 92_834),
            "KGCN, RippleNet and MKR share the same file; user_artists.dat.gz is read as well.",
        ),
    ),
    tasks=("collaborative-filtering", "ctr"),
    citation="Ivan Cantador, Peter Brusilovsky, Tsvi Kuflik. HetRec 2011. RecSys 2011.",
    published=(
        Published("KGCN-sum CTR auc .794 f1 .719; RippleNet .780 .702", "KGCN paper", is_recalled=True),
    ),
    downloads=(
        Download(
            "https://files.grouplens.org/datasets/hetrec2011/hetrec2011-lastfm-2k.zip",
            "hetrec2011-lastfm-2k.zip",
        ),
    ),
)


def read(folder: Path) -> Tables:
    """``user_artists.dat`` and ``artists.dat`` (tabs)."""
    rows = raw.read_text_table(raw.find(folder, "user_artists.dat"), separator="\t", quoted=False)
    rows = rows.rename({"userID": "user_id", "artistID": "item_id", "weight": "rating"})
    tables = ordered_tables(rows, notes=("rating is a play count.",))
    artists = raw.maybe(folder, "artists.dat")
    if artists is None:
        return tables
    items = raw.read_text_table(artists, separator="\t", quoted=False, only=["id", "name"])
    items = items.rename({"id": "item_id"})
    return Tables(tables.events, "order", items=items, notes=tables.notes)
