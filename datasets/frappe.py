"""Frappe: which app was used in which context, as the owner's counts and as the CTR rows of AFN and BARS."""

from pathlib import Path

from usermodel.events import raw_files as raw
from usermodel.events.data_cards import Card, Counts, DataFile, Layout, Published, Tables
from usermodel.events.data_families import labelled_rows, ordered_tables, split_parts

CARD = Card(
    name="frappe",
    title="Frappe mobile app usage",
    source="https://www.baltrunas.info/context-aware",
    licence="None stated by the owner beyond a request to cite; research use.",
    licence_short="not stated; research",
    columns={
        "user_id": "user (user_id in x1)",
        "item_id": "item (item_id in x1)",
        "rating": "cnt, how often the app was used",
        "value (labels)": "label of x1",
    },
    layouts=(
        Layout(
            "original",
            (DataFile("frappe.csv"),),
            Counts(957, 4_082, 96_203),
            "Tabs; counts from RecZoo's README.",
        ),
        Layout(
            "x1",
            tuple(DataFile(f"{part}.csv") for part in ("train", "valid", "test")),
            Counts(957, 4_082, 96_203, is_recalled=True),
            "Frappe_x1 of RecZoo: 288,609 labelled rows, two sampled negatives to a use; events are the uses.",
        ),
    ),
    tasks=("ctr", "collaborative-filtering"),
    citation="Linas Baltrunas et al. Frappe: Understanding the Usage and Perception of Mobile App Recommendations. 2015.",
    published=(
        Published(
            "x1, auc / logloss, mean of 5: DeepFM .98395 / .14946, DCN-V2 .98382 / .15204, xDeepFM .98414 / .14613; board, "
            "one run: LR .9356 / .3076, FinalMLP .9861 / .1484",
            "docs/CTR/leaderboard of github.com/reczoo/BARS",
        ),
    ),
    by_hand="Ask the owner for frappe.csv, or take Frappe_x1 from RecZoo's page.",
)


def read(folder: Path) -> Tables:
    """``frappe.csv``, or the three parts of x1."""
    path = raw.maybe(folder, "frappe.csv")
    if path:
        rows = raw.read_text_table(path, separator="\t", quoted=False)
        rows = rows.rename({"user": "user_id", "item": "item_id", "cnt": "rating"})
        return ordered_tables(
            rows.select("user_id", "item_id", "rating"), notes=("rating is a count of uses.",)
        )
    rows = split_parts(folder).rename({"user": "user_id", "item": "item_id"}, strict=False)
    events, labels = labelled_rows(rows, "label", positives_only=True)
    notes = ("Rows are shuffled and split at random: the order means nothing.",)
    return Tables(events, "order", layout="x1", labels=labels, notes=notes)
