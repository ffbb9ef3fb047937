"""MIND-large: news shown and clicked, with what the user had clicked before."""

from pathlib import Path

from usermodel.events import data_owners as owner
from usermodel.events.data_cards import Card, Counts, DataFile, Layout, Tables
from usermodel.events.data_families import mind

CARD = Card(
    name="mind-large",
    title="MIND-large (train and dev)",
    source=owner.MIND_SOURCE,
    licence=owner.MIND_LICENCE,
    licence_short="Microsoft Research terms",
    columns=owner.MIND_COLUMNS,
    layouts=(
        Layout(
            "original",
            (
                DataFile("MINDlarge_train/behaviors.tsv"),
                DataFile("MINDlarge_dev/behaviors.tsv"),
                DataFile("MINDlarge_*/news.tsv", is_optional=True),
            ),
            Counts(),
            "Nobody publishes the counts of history and clicks together; they are printed and not checked.",
        ),
    ),
    tasks=("ctr", "next-item"),
    citation=owner.MIND_CITATION,
    by_hand=owner.MIND_BY_HAND,
)


def read(folder: Path) -> Tables:
    """``behaviors.tsv`` and ``news.tsv`` of every part below the folder."""
    return mind(folder)
