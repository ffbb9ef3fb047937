"""What recipes of one family share: MovieLens, Amazon, KuaiRand, MIND, labelled rows of CTR sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import polars as pl

from usermodel.events import raw_files as raw
from usermodel.events.data_cards import Tables
from usermodel.events.times import TimeUnit
from usermodel.schema import (
    CLICKED,
    DURATION,
    EVENT_TYPE,
    ITEM,
    PREDICTION_TIME,
    PROPENSITY,
    RATING,
    TIME,
    USER,
    VALUE,
    WATCH_TIME,
)

#: From the strongest opinion to the weakest: an exposure has one type, its first signal in this order.
_KUAI_SIGNALS: Final = ("hate", "follow", "forward", "comment", "like", "click")
_KUAI_KEYS: Final = ("user_id", "video_id", "time_ms", "play_time_ms", "duration_ms")
_NO_TIME: Final = (
    "No times: the order is that of the file, so no split by time or by last event means anything."
)


def movielens_csv(folder: Path) -> Tables:
    """``ratings.csv`` and ``movies.csv``, as MovieLens-20M and 25M have them."""
    wanted = ["userId", "movieId", "rating", "timestamp"]
    ratings = raw.read_text_table(raw.find(folder, "ratings.csv"), only=wanted)
    events = ratings.select(
        pl.col("userId").alias(USER), pl.col("movieId").alias(ITEM), TIME, pl.col("rating").alias(RATING)
    )
    movies = raw.maybe(folder, "movies.csv")
    items = None
    if movies:
        items = raw.read_text_table(movies, only=["movieId", "title", "genres"]).rename({"movieId": ITEM})
    return Tables(events, items=items)


def amazon_2014(folder: Path, category: str, short: str) -> Tables:
    """``reviews_CATEGORY_5.json.gz``, or the sequence file ``SHORT.txt`` that many papers share.

    Args:
        folder: Where the files are.
        category: As in the owner's file names.
        short: As in the sequence file's name.
    """
    reviews = raw.maybe(folder, f"reviews_{category}_5.json")
    if reviews is None:
        return _amazon_sequences(folder, category, short)
    schema = {"reviewerID": pl.String, "asin": pl.String, "overall": pl.Float64, "unixReviewTime": pl.Int64}
    rows = raw.read_json_lines(reviews, schema)
    events = rows.rename({"reviewerID": USER, "asin": ITEM, "overall": RATING, "unixReviewTime": TIME})
    meta = raw.maybe(folder, f"meta_{category}.json")
    items = None
    if meta:
        fields = {"asin": pl.String, "title": pl.String, "brand": pl.String, "price": pl.Float64}
        items = raw.read_python_lines(meta, fields).rename({"asin": ITEM}).unique(ITEM, maintain_order=True)
    return Tables(events, items=items)


def _amazon_sequences(folder: Path, category: str, short: str) -> Tables:
    path = raw.find(folder, f"{short}.txt", f"reviews_{category}_5.json")
    events = raw.read_sequences([path])
    maps = {USER: raw.maybe(folder, "user2reviewer.tsv"), ITEM: raw.maybe(folder, "item2asin.tsv")}
    if all(maps.values()):
        for column, table in maps.items():
            ids = raw.read_text_table(table or path, separator="\t", quoted=False)
            events = events.with_columns(pl.col(column).replace_strict(ids.to_series(0), ids.to_series(1)))
    notes = ("Order only: the sequence file holds neither times nor ratings.",)
    titles = raw.maybe(folder, "item_titles.tsv")
    items = None
    if titles:
        items = raw.read_text_table(titles, separator="\t", quoted=False).select(
            pl.col("asin").alias(ITEM), "title"
        )
    return Tables(raw.number_rows(events), time_unit="order", layout="sequences", items=items, notes=notes)


def kuairand(folder: Path, version: str) -> Tables:
    """Logs of the standard policies as events, the log of the random policy as impressions.

    Args:
        folder: Where the files are.
        version: ``pure``, ``1k`` or ``27k``, as in the owner's file names.
    """
    logs = sorted(raw.find_all(folder, f"log_standard_*_{version}*.csv")) or [
        raw.find(folder, f"log_standard_4_08_to_4_21_{version}.csv")
    ]
    events = pl.concat([kuai_events(_kuai_log(path)) for path in logs])
    shown = raw.maybe(folder, f"log_random_4_22_to_5_08_{version}.csv")
    impressions = None
    if shown:
        log = _kuai_log(shown)
        clicked = (log["is_click"].cast(pl.Int64) == 1).alias(CLICKED)
        impressions = kuai_events(log).with_columns(
            clicked, pl.lit(None, dtype=pl.Float64).alias(PROPENSITY), pl.col(TIME) * 1_000
        )
    notes = (
        "The type of an event is its strongest signal: " + ", ".join(_KUAI_SIGNALS) + ", else 'view'.",
        "Impressions are the random-policy log; within the owner's pool every video was equally likely.",
    )
    users, items = kuai_tables(folder, version)
    return Tables(events, "ms", impressions=impressions, items=items, users=users, notes=notes)


def _kuai_log(path: Path) -> pl.DataFrame:
    return raw.read_text_table(path, only=[*_KUAI_KEYS, *(f"is_{signal}" for signal in _KUAI_SIGNALS)])


def kuai_events(log: pl.DataFrame) -> pl.DataFrame:
    """Rows of a KuaiRand log as events; signals that the log lacks are taken as not given."""
    kind = pl.lit("view")
    for signal in reversed(_KUAI_SIGNALS):
        if f"is_{signal}" in log.columns:
            kind = pl.when(pl.col(f"is_{signal}") == "1").then(pl.lit(signal)).otherwise(kind)
    return log.select(
        pl.col("user_id").alias(USER),
        pl.col("video_id").alias(ITEM),
        pl.col("time_ms").cast(pl.Int64).alias(TIME),
        kind.alias(EVENT_TYPE),
        pl.col("play_time_ms").cast(pl.Int64).alias(WATCH_TIME),
        pl.col("duration_ms").cast(pl.Int64).alias(DURATION),
    )


def kuai_tables(folder: Path, version: str) -> tuple[pl.DataFrame | None, pl.DataFrame | None]:
    """The owner's user and video features, as text."""
    users, items = (
        raw.maybe(folder, f"{kind}_{version}.csv") for kind in ("user_features", "video_features_basic")
    )
    return (
        raw.read_text_table(users).rename({"user_id": USER}) if users else None,
        raw.read_text_table(items).rename({"video_id": ITEM}) if items else None,
    )


def mind(folder: Path) -> Tables:
    """``behaviors.tsv`` of the train and dev parts: history and clicks as events, everything shown as impressions.

    A user's history is that of the first impression; it has an order and no times, so the whole log is order-only. An
    impression's ``timestamp`` is the number of events before it, ``shown_at`` the owner's time in microseconds.
    """
    rows, hidden = _mind_rows(raw.find_all(folder, "behaviors.tsv") or [raw.find(folder, "behaviors.tsv")])
    first = rows.unique(USER, keep="first", maintain_order=True)
    past = first.select(USER, pl.col("history").str.split(" ").alias(ITEM)).explode(ITEM).drop_nulls()
    past = past.filter(pl.col(ITEM) != "").with_columns(
        shown_at=pl.lit(0, pl.Int64), **{EVENT_TYPE: pl.lit("history")}
    )
    shown = rows.with_columns(pl.col("shown").str.split(" ")).explode("shown")
    shown = shown.select(
        USER,
        pl.col("shown").str.replace(r"-[01]$", "").alias(ITEM),
        "shown_at",
        (pl.col("shown").str.tail(2) == "-1").alias(CLICKED),
    )
    clicks = shown.filter(CLICKED).select(USER, ITEM, "shown_at", pl.lit("click").alias(EVENT_TYPE))
    events = raw.number_rows(pl.concat([past, clicks]).sort(USER, "shown_at", maintain_order=True))
    notes: tuple[str, ...] = ("Order-only: the owner gives a history without times.",)
    if hidden:
        notes += (f"{hidden:,} impressions without labels (the owner's test part) were passed over.",)
    return Tables(
        events.select(USER, ITEM, TIME, EVENT_TYPE),
        "order",
        impressions=_position_of_impressions(shown, past),
        items=_mind_news(folder),
        notes=notes,
    )


def _mind_rows(parts: Sequence[Path]) -> tuple[pl.DataFrame, int]:
    """Impressions with labels by user and time, and how many have none."""
    names = ["impression_id", USER, "time", "history", "shown"]
    rows = pl.concat([raw.read_text_table(path, names, separator="\t", quoted=False) for path in parts])
    has_labels = rows["shown"].str.contains(r"-[01]( |$)").fill_null(value=False)
    when = pl.col("time").str.to_datetime("%m/%d/%Y %I:%M:%S %p", time_unit="us").dt.epoch("us")
    timed = rows.filter(has_labels).with_columns(when.alias("shown_at"))
    return timed.sort(USER, "shown_at", maintain_order=True), int((~has_labels).sum())


def _mind_news(folder: Path) -> pl.DataFrame | None:
    columns = [
        ITEM,
        "category",
        "subcategory",
        "title",
        "abstract",
        "url",
        "title_entities",
        "abstract_entities",
    ]
    news = raw.find_all(folder, "news.tsv")
    tables = [raw.read_text_table(path, columns, separator="\t", quoted=False) for path in news]
    return pl.concat(tables).unique(ITEM, keep="first", maintain_order=True) if tables else None


def _position_of_impressions(shown: pl.DataFrame, past: pl.DataFrame) -> pl.DataFrame:
    """``timestamp`` of an impression: how many events the user had before it was shown."""
    clicks = shown.group_by(USER, "shown_at").agg(pl.col(CLICKED).sum().cast(pl.Int64).alias("clicks"))
    earlier = (pl.col("clicks").cum_sum().over(USER) - pl.col("clicks")).alias("earlier")
    clicks = clicks.sort(USER, "shown_at").with_columns(earlier).drop("clicks")
    history = past.group_by(USER).agg(pl.len().cast(pl.Int64).alias("history"))
    joined = shown.join(clicks, on=[USER, "shown_at"], how="left", maintain_order="left")
    joined = joined.join(history, on=USER, how="left", maintain_order="left")
    position = (pl.col("history").fill_null(0) + pl.col("earlier")).alias(TIME)
    return joined.select(
        USER, ITEM, position, CLICKED, pl.lit(None, pl.Float64).alias(PROPENSITY), "shown_at"
    )


def labelled_rows(
    rows: pl.DataFrame, label: str, *, positives_only: bool
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of a CTR set without times -> events and labels, at their position within the user.

    Args:
        rows: ``user_id item_id``, the label (``0`` and ``1`` as text) and context columns, in file order.
        label: The label's column.
        positives_only: Whether a row with label 0 is no event (a sampled negative) or one (something shown).

    Returns:
        Events and labels; a label's ``prediction_time`` is the position of its own row, so only earlier rows lie before it.
    """
    rows = raw.number_rows(rows)
    value = pl.col(label).cast(pl.Float64).alias(VALUE)
    context = [name for name in rows.columns if name not in {USER, ITEM, TIME, label}]
    labels = rows.select(USER, pl.col(TIME).alias(PREDICTION_TIME), ITEM, value, *context)
    clicked = pl.col(label).cast(pl.Float64) > 0
    if positives_only:
        return rows.filter(clicked).select(USER, ITEM, TIME), labels
    kind = pl.when(clicked).then(pl.lit("click")).otherwise(pl.lit("impression")).alias(EVENT_TYPE)
    return rows.select(USER, ITEM, TIME, kind), labels


def split_parts(
    folder: Path, separator: str = ",", parts: Sequence[str] = ("train", "valid", "test")
) -> pl.DataFrame:
    """``train.csv valid.csv test.csv`` below each other, with a column ``part``."""
    frames = [
        raw.read_text_table(raw.find(folder, f"{part}.csv"), separator=separator).with_columns(
            part=pl.lit(part)
        )
        for part in parts
    ]
    return pl.concat(frames)


def ordered_tables(events: pl.DataFrame, *, layout: str = "original", notes: tuple[str, ...] = ()) -> Tables:
    """Events that come without times: numbered in the order of the file, and said so."""
    unit: TimeUnit = "order"
    return Tables(raw.number_rows(events), unit, layout=layout, notes=(_NO_TIME, *notes))


def explicit_and_random(events: pl.DataFrame, random: pl.DataFrame, notes: tuple[str, ...]) -> Tables:
    """Ratings users chose to give as events, ratings of random items as labels (Coat, Yahoo! R3).

    Args:
        events: ``user_id item_id rating`` that users chose.
        random: The same of randomly drawn items.
        notes: What else to know.
    """
    counts = events.group_by(USER).len().rename({"len": PREDICTION_TIME})
    labels = random.join(counts, on=USER, how="left", maintain_order="left").select(
        USER,
        pl.col(PREDICTION_TIME).fill_null(0).cast(pl.Int64),
        ITEM,
        pl.col(RATING).cast(pl.Float64).alias(VALUE),
    )
    tables = ordered_tables(events, notes=notes)
    return Tables(tables.events, "order", labels=labels, notes=tables.notes)
