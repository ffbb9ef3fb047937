"""MovieLens-25M: ratings with times, titles and genres."""

from pathlib import Path

from usermodel.events.data_cards import Card, Counts, DataFile, Download, Layout, Tables
from usermodel.events.data_families import movielens_csv
from usermodel.events.data_owners import GROUPLENS_LICENCE, GROUPLENS_SHORT, MOVIELENS_CITATION

CARD = Card(
    name="movielens-25m",
    title="MovieLens-25M",
    source="https://grouplens.org/datasets/movielens/25m/",
    licence=GROUPLENS_LICENCE,
    licence_short=GROUPLENS_SHORT,
    columns={"user_id": "userId", "item_id": "movieId", "timestamp": "timestamp (s)", "rating": "rating"},
    layouts=(
        Layout(
            "original",
            (DataFile("ratings.csv"), DataFile("movies.csv", is_optional=True)),
            Counts(162_541, 59_047, 25_000_095, is_recalled=True),
            "Users and ratings as in the owner's README; the number of films with a rating is recalled.",
        ),
    ),
    tasks=("next-item", "rating"),
    citation=MOVIELENS_CITATION,
    downloads=(
        Download(
            "https://files.grouplens.org/datasets/movielens/ml-25m.zip",
            "ml-25m.zip",
            "md5:6b51fb2759a8657d3bfcbfc42b592ada",
        ),
    ),
)


def read(folder: Path) -> Tables:
    """``ratings.csv`` and ``movies.csv``."""
    return movielens_csv(folder)
