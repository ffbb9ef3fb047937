"""Column names and table schemas: the contract between logs, stores, samplers and tasks.

Two invariants that a schema cannot express hold for every EventLog on disk:

1. A user lives in one shard, and the user's rows are contiguous, so that a reader can stream users.
2. A user's rows are sorted by time, ties in the order of the input, so that "before" has one meaning.

Times are int64 microseconds since 1970 UTC, never floats: float32 cannot tell two minutes apart at today's epoch.
An order-only log (a sequence file) keeps the position in the user's history in the same column and says so in its
manifest (``time_kind: "order"``); splits by global time refuse it. Ids are strings unless declared integers, because
``007`` and ``7`` are two users.
"""

from __future__ import annotations

from typing import Final, Literal

import pyarrow as pa

USER: Final = "user_id"
ITEM: Final = "item_id"
TIME: Final = "timestamp"
EVENT_TYPE: Final = "event_type"
WATCH_TIME: Final = "watch_time_ms"
DURATION: Final = "duration_ms"
RATING: Final = "rating"
PREDICTION_TIME: Final = "prediction_time"
VALUE: Final = "value"
SPLIT: Final = "split"
CLICKED: Final = "clicked"
PROPENSITY: Final = "propensity"

IdType = Literal["string", "int"]
TimeKind = Literal["utc", "order"]
SplitName = Literal["train", "valid", "test"]

#: What an event may carry beside user, item and time, with its type on disk.
EVENT_FEATURES: Final[dict[str, pa.DataType]] = {
    EVENT_TYPE: pa.string(),
    WATCH_TIME: pa.int64(),
    DURATION: pa.int64(),
    RATING: pa.float32(),
}


def id_type(kind: IdType) -> pa.DataType:
    """The Arrow type of an id column."""
    return pa.large_string() if kind == "string" else pa.int64()


def events_schema(
    user: IdType = "string", item: IdType = "string", features: tuple[str, ...] = ()
) -> pa.Schema:
    """EVENTS: one row per thing a user did."""
    fields = [
        pa.field(USER, id_type(user), False),
        pa.field(ITEM, id_type(item), False),
        pa.field(TIME, pa.int64(), False),
    ]
    return pa.schema(fields + [pa.field(name, EVENT_FEATURES[name]) for name in features])


def impressions_schema(user: IdType = "string", item: IdType = "string") -> pa.Schema:
    """IMPRESSIONS: one row per item shown, with whether it was clicked and the probability that it was shown."""
    return pa.schema(
        [
            pa.field(USER, id_type(user), False),
            pa.field(ITEM, id_type(item), False),
            pa.field(TIME, pa.int64(), False),
            pa.field(CLICKED, pa.bool_(), False),
            pa.field(PROPENSITY, pa.float64()),
        ]
    )


def labels_schema(user: IdType = "string", item: IdType = "string") -> pa.Schema:
    """LABELS: what a task predicts. Features may use only what comes before ``prediction_time``."""
    return pa.schema(
        [
            pa.field(USER, id_type(user), False),
            pa.field(PREDICTION_TIME, pa.int64(), False),
            pa.field(ITEM, id_type(item)),
            pa.field(VALUE, pa.float64(), False),
        ]
    )


def splits_schema(user: IdType = "string") -> pa.Schema:
    """SPLITS: the part of each event, as half-open ranges of the user's history."""
    return pa.schema(
        [
            pa.field(USER, id_type(user), False),
            pa.field(SPLIT, pa.string(), False),
            pa.field("start", pa.int64(), False),
            pa.field("stop", pa.int64(), False),
        ]
    )
