"""MovieLens-100K: ratings with times, demographics, genres."""

from pathlib import Path

import polars as pl

from usermodel.events import raw_files as raw
from usermodel.events.data_cards import Card, Counts, DataFile, Download, Layout, Tables
from usermodel.events.data_owners import GROUPLENS_LICENCE, GROUPLENS_SHORT, MOVIELENS_CITATION

CARD = Card(
    name="movielens-100k",
    title="MovieLens-100K",
    source="https://grouplens.org/datasets/movielens/100k/",
    licence=GROUPLENS_LICENCE,
    licence_short=GROUPLENS_SHORT,
    columns={"user_id": "user", "item_id": "item", "timestamp": "unix time (s)", "rating": "rating"},
    layouts=(
        Layout(
            "original",
            (
                DataFile(
                    "u.data", "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490", 1979173
                ),
                DataFile(
                    "u.user", "f120e114da2e8cf314fd28f99417c94ae9ddf1cb6db8ce0e4b5995d40e90e62c", 22628, True
                ),
                DataFile(
                    "u.item", "553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701", 236344, True
                ),
            ),
            Counts(943, 1_682, 100_000),
        ),
    ),
    tasks=("next-item", "rating", "ctr", "user-attribute"),
    citation=MOVIELENS_CITATION,
    downloads=(
        Download(
            "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
            "ml-100k.zip",
            "md5:0e33842e24a9c977be4e0107933c0723",
        ),
    ),
)

GENRES = [
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
]


def read(folder: Path) -> Tables:
    """``u.data`` (tabs), ``u.user`` and ``u.item`` (bars, the latter in Latin-1)."""
    columns = ["user_id", "item_id", "rating", "timestamp"]
    events = raw.read_text_table(raw.find(folder, "u.data"), columns, separator="\t", quoted=False)
    users, items = raw.maybe(folder, "u.user"), raw.maybe(folder, "u.item")
    people = ["user_id", "age", "gender", "occupation", "zip_code"]
    return Tables(
        events,
        items=_items(items) if items else None,
        users=raw.read_split_lines(users, people, "|") if users else None,
    )


def _items(path: Path) -> pl.DataFrame:
    films = raw.read_split_lines(
        path, ["item_id", "title", "released", "video", "url", *GENRES], "|", "latin-1"
    )
    names = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in GENRES]
    genres = pl.concat_str(names, separator="|", ignore_nulls=True).alias("genres")
    return films.select("item_id", "title", "released", genres)
