"""MovieLens tags (the CTR rows of AFM, AFN and BARS): did this user give this tag to this film?"""

from pathlib import Path

from usermodel.events.data_cards import Card, Counts, DataFile, Layout, Published, Tables
from usermodel.events.data_families import labelled_rows, split_parts
from usermodel.events.data_owners import GROUPLENS_LICENCE, GROUPLENS_SHORT, MOVIELENS_CITATION

CARD = Card(
    name="movielens-tag",
    title="MovieLens tags (MovielensLatest_x1)",
    source="https://github.com/reczoo/Datasets",
    licence=GROUPLENS_LICENCE,
    licence_short=GROUPLENS_SHORT,
    columns={
        "user_id": "user_id",
        "item_id": "item_id",
        "tag_id (labels)": "tag_id",
        "value (labels)": "label",
    },
    layouts=(
        Layout(
            "original",
            tuple(DataFile(f"{part}.csv") for part in ("train", "valid", "test")),
            Counts(17_045, 23_743, 668_953, is_recalled=True),
            "2,006,859 labelled rows (RecZoo's README), two sampled negatives to a tag; events are the tags given.",
        ),
    ),
    tasks=("ctr",),
    citation=MOVIELENS_CITATION,
    published=(
        Published(
            "auc / logloss, mean of 5: DeepFM .96822 / .21379, DCN-V2 .96866 / .21614; board, one run: LR .9342 / .3201, "
            "FinalNet .9725 / .1941",
            "docs/CTR/leaderboard of github.com/reczoo/BARS",
        ),
    ),
    by_hand="Take MovielensLatest_x1 from RecZoo's page.",
)


def read(folder: Path) -> Tables:
    """The three parts below each other."""
    events, labels = labelled_rows(split_parts(folder), "label", positives_only=True)
    notes = ("Rows are shuffled and split at random: the order means nothing.",)
    return Tables(events, "order", labels=labels, notes=notes)
