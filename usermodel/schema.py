"""Column names and table schemas: the contract between logs, stores, samplers and tasks.

Two invariants that a schema cannot express hold for every EventLog on disk:

1. A user lives in one shard, and the user's rows are contiguous, so that a reader can stream users.
2. A user's rows are sorted by time, ties in the order of the input, so that "before" has one meaning.

Times are int64 microseconds since 1970 UTC, never floats: float32 cannot tell two minutes apart at today's epoch.
An order-only log (a sequence file) keeps the position in the user's history in the same column and says so in its
manifest (``time_kind: "order"``); splits by global time refuse it. Ids are strings unless declared integers, because
``007`` and ``7`` are two users.

An event may carry more columns than those: the features named here, and context columns that the user names and
declares, categorical (text) or numeric. What a context column is stands in the manifest of its log and of its store.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Literal

import pyarrow as pa

from usermodel.errors import DataError

USER: Final = "user_id"
ITEM: Final = "item_id"
TIME: Final = "timestamp"
EVENT_TYPE: Final = "event_type"
WATCH_TIME: Final = "watch_time_ms"
DURATION: Final = "duration_ms"
RATING: Final = "rating"
LABEL: Final = "label"
SESSION: Final = "session_id"
PREDICTION_TIME: Final = "prediction_time"
VALUE: Final = "value"
SPLIT: Final = "split"
CLICKED: Final = "clicked"
PROPENSITY: Final = "propensity"

#: Microseconds.
DAY: Final = 86_400_000_000

#: 1990 to 2100 in microseconds: numbers of other units lie elsewhere.
PLAUSIBLE: Final = (631_152_000_000_000, 4_102_444_800_000_000)

IdType = Literal["string", "int"]
TimeKind = Literal["utc", "order"]
SplitName = Literal["train", "valid", "test"]
ContextKind = Literal["categorical", "numeric"]

#: What an event may carry beside user, item and time, with its type in a log.
EVENT_FEATURES: Final[dict[str, pa.DataType]] = {
    EVENT_TYPE: pa.string(),
    WATCH_TIME: pa.int64(),
    DURATION: pa.int64(),
    RATING: pa.float32(),
    LABEL: pa.float32(),
    SESSION: pa.large_string(),
}
#: Options of readers that bring these columns (on the command line with ``-``): the name without its unit.
FEATURE_OPTIONS: Final = {name.removesuffix("_ms").removesuffix("_id"): name for name in EVENT_FEATURES}
#: The same types for the columns that a user declares.
CONTEXT_TYPES: Final[dict[ContextKind, pa.DataType]] = {
    "categorical": pa.large_string(),
    "numeric": pa.float32(),
}
#: Names with a meaning in our tables, files and options: no context column may have them.
RESERVED: Final = frozenset(
    {USER, ITEM, TIME, PREDICTION_TIME, VALUE, SPLIT, CLICKED, PROPENSITY, *EVENT_FEATURES, *FEATURE_OPTIONS}
    | {
        "user",
        "item",
        "time",
        "utc",
        "user_row",
        "item_index",
        "offsets",
        "items",
        "times",
        "users",
        "vocabulary",
    }
)
#: A name becomes the name of a file.
_LONGEST: Final = 100


def require_context(context: Mapping[str, ContextKind]) -> None:
    """Raise `DataError` unless every name can be the name of a context column, and every kind is one."""
    for name, kind in context.items():
        if not (isinstance(name, str) and name.isascii() and name.isidentifier() and len(name) <= _LONGEST):
            expected = f"a name of ASCII letters, digits and _, at most {_LONGEST}, the first no digit"
            do = "Write NAME=COLUMN, in Python {'name': 'column'}."
            raise DataError(f"context column {name!r}", expected=expected, found=repr(name)[:120], do=do)
        if name in RESERVED:
            do = f"Name it otherwise: NAME={name}, in Python {{'name': {name!r}}}."
            raise DataError(
                f"context column {name!r}", expected="a name of your own", found="one of ours", do=do
            )
        if kind not in CONTEXT_TYPES:
            do = "Declare it."
            raise DataError(name, expected=" or ".join(CONTEXT_TYPES), found=repr(kind), do=do)


def feature_names(present: Collection[str], context: Mapping[str, ContextKind]) -> tuple[str, ...]:
    """Those of ``present`` that are features, in the one order: ours, then the context by name."""
    return tuple(name for name in (*EVENT_FEATURES, *sorted(context)) if name in present)


def feature_type(name: str, context: Mapping[str, ContextKind]) -> pa.DataType:
    """Type of a feature in a log."""
    return CONTEXT_TYPES[context[name]] if name in context else EVENT_FEATURES[name]


def is_coded(name: str, context: Mapping[str, ContextKind]) -> bool:
    """Whether values are codes in memory and in a store, there with a vocabulary in a file of its own."""
    return name == SESSION or context.get(name) == "categorical"


def has_codes(name: str, context: Mapping[str, ContextKind]) -> bool:
    """Whether a store holds codes in place of values: `is_coded`, or event types, whose few names its manifest holds."""
    return name == EVENT_TYPE or is_coded(name, context)


def id_type(kind: IdType) -> pa.DataType:
    """The Arrow type of an id column."""
    return pa.large_string() if kind == "string" else pa.int64()


def events_schema(
    user: IdType = "string",
    item: IdType = "string",
    features: tuple[str, ...] = (),
    context: Mapping[str, ContextKind] | None = None,
) -> pa.Schema:
    """EVENTS: one row per thing a user did; ``context`` declares the features that are not in `EVENT_FEATURES`."""
    fields = [
        pa.field(USER, id_type(user), False),
        pa.field(ITEM, id_type(item), False),
        pa.field(TIME, pa.int64(), False),
    ]
    return pa.schema(fields + [pa.field(name, feature_type(name, context or {})) for name in features])


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
