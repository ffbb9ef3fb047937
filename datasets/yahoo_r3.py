"""Yahoo! R3: ratings of songs users chose, and of songs drawn at random."""

from pathlib import Path

from usermodel.events import raw_files as raw
from usermodel.events.data_cards import Card, Counts, DataFile, Layout, Tables
from usermodel.events.data_families import explicit_and_random

CARD = Card(
    name="yahoo-r3",
    title="Yahoo! Music ratings for user-selected and randomly selected songs (R3)",
    source="https://webscope.sandbox.yahoo.com/catalog.php?datatype=r",
    licence="Yahoo Webscope data sharing agreement: academic research; no redistribution.",
    licence_short="academic, agreement",
    columns={
        "user_id": "column 1",
        "item_id": "column 2",
        "rating": "column 3 of the train file",
        "value (labels)": "column 3 of the test file: songs drawn at random",
    },
    layouts=(
        Layout(
            "original",
            (
                DataFile("ydata-ymusic-rating-study-v1_0-train.txt"),
                DataFile("ydata-ymusic-rating-study-v1_0-test.txt"),
            ),
            Counts(15_400, 1_000, 311_704),
            "Counts as in the KuaiRand paper; 54,000 random ratings of 5,400 users beside them.",
        ),
    ),
    tasks=("exposure-bias", "rating"),
    citation="Benjamin M. Marlin and Richard S. Zemel. Collaborative Prediction and Ranking with Non-random Missing Data. RecSys 2009.",
    by_hand="Ask for R3 on the owner's page.",
)


def read(folder: Path) -> Tables:
    """Tabs, no header."""
    columns = ["user_id", "item_id", "rating"]
    chosen, random = (
        raw.read_text_table(
            raw.find(folder, f"ydata-ymusic-rating-study-v1_0-{part}.txt"),
            columns,
            separator="\t",
            quoted=False,
        )
        for part in ("train", "test")
    )
    return explicit_and_random(chosen, random, ("Labels are ratings of songs drawn at random.",))
