"""TTL (Tencent, of PeterRec and Conure): long click histories and small labelled tasks; the data of AdaptSSR."""

from pathlib import Path

import polars as pl

from usermodel.events import raw_files as raw
from usermodel.events.data_cards import Card, Counts, DataFile, Layout, Tables

CLASSES = {"age": "original_desen_age.csv", "life_status": "original_desen_lifestatus.csv"}
CHOICES = {
    "click": "original_desen_finetune_click_nouserID.csv",
    "like": "original_desen_finetune_like_nouserID.csv",
}
CARD = Card(
    name="tencent-ttl",
    title="TTL, Tencent transfer learning (Conure, AdaptSSR)",
    source="https://github.com/fajieyuan/SIGIR2021_Conure",
    licence="None stated by the owner beyond a request to cite and to use it for research.",
    licence_short="not stated; research",
    columns={
        "user_id": "number of the line in original_desen_pretrain.csv, from 0",
        "item_id": "the numbers of that line, oldest first; 0 is filler",
        "age, life_status (users)": "the number behind ',,' in the owner's task files",
        "target (labels)": "the numbers behind ',,' in the click and like files",
    },
    layouts=(
        Layout(
            "original",
            (
                DataFile("original_desen_pretrain.csv"),
                *(DataFile(name, is_optional=True) for name in (*CLASSES.values(), *CHOICES.values())),
            ),
            Counts(),
            "About 1.47 million users and 0.65 million items (recalled); counts are printed and not checked.",
        ),
    ),
    tasks=("user-attribute", "next-item"),
    citation="Fajie Yuan et al. One Person, One Model, One World (Conure). SIGIR 2021.",
    by_hand="Follow the link to conure_data.zip on the owner's page and unpack it.",
)


def read(folder: Path) -> Tables:
    """A task row belongs to the user with exactly its line of clicks, filler included; of several the last."""
    lines = [line for line in raw.open_text(raw.find(folder, "original_desen_pretrain.csv")) if line]
    frame = pl.DataFrame({"line": lines}, schema={"line": pl.String}).with_row_index("user_id")
    frame = frame.with_columns(pl.col("user_id").cast(pl.String))
    events = frame.select("user_id", pl.col("line").str.split(",").alias("item_id")).explode("item_id")
    events = raw.number_rows(events.filter((pl.col("item_id") != "0") & (pl.col("item_id") != "")))
    owners = frame.unique("line", keep="last", maintain_order=True)
    users, strangers = frame.select("user_id"), 0
    for task, name in CLASSES.items():
        if raw.maybe(folder, name):
            rows, lost = _task(folder, name, owners)
            strangers += lost
            answers = rows.select("user_id", pl.col("answer").alias(task)).unique(
                "user_id", keep="last", maintain_order=True
            )
            users = users.join(answers, on="user_id", how="left", maintain_order="left")
    chosen = []
    for task, name in CHOICES.items():
        if raw.maybe(folder, name):
            rows, lost = _task(folder, name, owners)
            strangers += lost
            chosen.append(
                rows.with_columns(pl.col("answer").str.split(","), task=pl.lit(task)).explode("answer")
            )
    notes = ("The targets of click and like labels are other things than the items of the events.",)
    if strangers:
        notes += (f"{strangers:,} task rows belong to no user of the log and were left out.",)
    labels = _labels(pl.concat(chosen), events) if chosen else None
    return Tables(events, "order", users=users, labels=labels, notes=notes)


def _task(folder: Path, name: str, owners: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    rows = raw.read_split_lines(raw.find(folder, name), ["line", "answer"], ",,")
    known = rows.join(owners, on="line", how="inner", maintain_order="left")
    return known.select("user_id", "answer"), rows.height - known.height


def _labels(rows: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    ends = events.group_by("user_id").len().rename({"len": "prediction_time"})
    joined = rows.join(ends, on="user_id", how="left", maintain_order="left").filter(pl.col("answer") != "")
    return joined.select(
        "user_id",
        pl.col("prediction_time").fill_null(0).cast(pl.Int64),
        pl.lit(1.0).alias("value"),
        pl.col("answer").alias("target"),
        "task",
    )
