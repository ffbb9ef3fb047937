"""MovieLens-1M: ratings with times, demographics, genres; also as rebuilt from papers' sequence files."""

from pathlib import Path

import polars as pl

from usermodel.events import raw_files as raw
from usermodel.events.data_cards import Card, Counts, DataFile, Download, Layout, Published, Tables
from usermodel.events.data_owners import GROUPLENS_LICENCE, GROUPLENS_SHORT, MOVIELENS_CITATION, icsrec

PEOPLE = (
    DataFile("users.dat", "1dc3a95300cb19f7c10e027daf29b8cdf1d908dab65b5edfb45950aa389a10a3", 134368, True),
    DataFile("movies.dat", "0140fc2356357c1a851d0f52e893a1e4d3696df632c4141cea8d5bc3d621f0b9", 171308, True),
)
CARD = Card(
    name="movielens-1m",
    title="MovieLens-1M",
    source="https://grouplens.org/datasets/movielens/1m/",
    licence=GROUPLENS_LICENCE,
    licence_short=GROUPLENS_SHORT,
    columns={"user_id": "UserID", "item_id": "MovieID", "timestamp": "Timestamp (s)", "rating": "Rating"},
    layouts=(
        Layout("original", (DataFile("ratings.dat"), *PEOPLE), Counts(6_040, 3_706, 1_000_209)),
        Layout(
            "rebuilt",
            (
                DataFile(
                    "ml1m_events_raw_ids.tsv.gz",
                    "3e27ba670cb6085d87762dccb08819b4bffbc655197c889d4e241529ea258296",
                    4580187,
                ),
                *PEOPLE,
            ),
            Counts(6_040, 3_706, 1_000_209),
            "All events under the owner's ids in time order, put together from the sequence files that papers share; "
            "no times, and of the stars only whether they were 3 or more (inferred, 99 undetermined).",
        ),
        Layout(
            "sasrec",
            (
                DataFile(
                    "ml-1m_sasrec.txt.gz",
                    "c991e13def69fe68d7b8dbb8331b91f1de947c8e5f8f91f8c13b29e561fd9aab",
                    2484322,
                ),
            ),
            Counts(6_040, 3_416, 999_611),
            "The 5-core under new ids, 'user item' a line: the file of SASRec, BERT4Rec and gSASRec.",
        ),
    ),
    tasks=("next-item", "rating", "user-attribute"),
    citation=MOVIELENS_CITATION,
    published=(
        Published(
            "gSASRec, layout sasrec, full ranking: SASRec recall@10 .2392 ndcg@10 .1259; gSASRec .3003 .1726",
            "README of github.com/asash/gSASRec-pytorch",
        ),
        icsrec("layout sasrec, full ranking: hit@5 .2445 hit@20 .4518 ndcg@5 .1710 ndcg@20 .2297"),
        Published(
            "SASRec with 100 sampled negatives: hit@10 .8245 ndcg@10 .5905", "SASRec paper", is_recalled=True
        ),
    ),
    downloads=(
        Download(
            "https://files.grouplens.org/datasets/movielens/ml-1m.zip",
            "ml-1m.zip",
            "md5:c4d9eecfca2ab87c1945afe126590906",
        ),
    ),
)


def read(folder: Path) -> Tables:
    """``ratings.dat``, or one of the layouts rebuilt from papers; ``users.dat`` and ``movies.dat`` where they are."""
    if raw.maybe(folder, "ratings.dat"):
        columns = ["user_id", "item_id", "rating", "timestamp"]
        events = raw.read_split_lines(raw.find(folder, "ratings.dat"), columns, "::")
        return Tables(events, items=_items(folder), users=_users(folder))
    rebuilt = raw.maybe(folder, "ml1m_events_raw_ids.tsv")
    if rebuilt is None:
        pairs = raw.find(folder, "ml-1m_sasrec.txt", "ratings.dat")
        return Tables(
            raw.number_rows(raw.read_sequences([pairs])),
            "order",
            layout="sasrec",
            notes=("Order only; ids are not the owner's, so people and films do not join.",),
        )
    rows = raw.read_text_table(rebuilt, separator="\t", quoted=False)
    stars = pl.col("rating_ge3").replace_strict(
        {"1": "3 stars or more", "0": "fewer than 3 stars"}, default=None
    )
    events = rows.select(
        pl.col("user").alias("user_id"),
        pl.col("item").alias("item_id"),
        pl.col("pos").cast(pl.Int64).alias("timestamp"),
        stars.alias("event_type"),
    )
    notes = ("Order only; the exact stars are unknown.",)
    return Tables(events, "order", layout="rebuilt", items=_items(folder), users=_users(folder), notes=notes)


def _users(folder: Path) -> pl.DataFrame | None:
    path = raw.maybe(folder, "users.dat")
    columns = ["user_id", "gender", "age", "occupation", "zip_code"]
    return raw.read_split_lines(path, columns, "::") if path else None


def _items(folder: Path) -> pl.DataFrame | None:
    path = raw.maybe(folder, "movies.dat")
    return raw.read_split_lines(path, ["item_id", "title", "genres"], "::", "latin-1") if path else None
