"""How to read a log: which columns are what, and what to do with rows that are none. Nothing is guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from usermodel.errors import DataError, nearest
from usermodel.events.duplicates import Duplicates
from usermodel.events.rejects import BadRows
from usermodel.events.times import TimeUnit
from usermodel.schema import (
    CONTEXT_TYPES,
    FEATURE_OPTIONS,
    ITEM,
    TIME,
    USER,
    ContextKind,
    IdType,
    require_context,
)

LogFormat = Literal["auto", "csv", "parquet", "jsonl", "arrow", "atomic", "sequences", "pairs", "movielens"]

_CHOICES: Final[Mapping[str, Any]] = {
    "format": LogFormat,
    "id_type": IdType,
    "time_unit": TimeUnit,
    "bad_rows": BadRows,
    "duplicates": Duplicates,
}


@dataclass(frozen=True)
class Reading:
    """How to read a log.

    Attributes:
        user: Column of the user ids.
        item: Column of the item ids.
        time: Column of the times.
        features: Further columns: our name -> theirs.
        context: Kinds of those further columns that `schema.EVENT_FEATURES` does not have.
        format: File format; ``auto`` goes by the suffix.
        separator: Field separator of text files; ``None`` means tab for ``.tsv`` and comma otherwise.
        has_header: Whether text files begin with column names; without, columns are named ``0``, ``1``, ...
        id_type: ``string`` keeps every id as it is written; ``int`` declares 64-bit integers.
        time_unit: Unit of integer times, see `times.parse_times`.
        tz: Time zone of times that name none.
        bad_rows: ``fail`` at the first bad row, or go on without the bad ones (``quarantine`` keeps them in a file of the
            store), as long as they are few, see `rejects.BUDGET_SHARE`.
        duplicates: ``keep`` or ``drop`` exact repeats of a row; they are counted either way.
    """

    user: str = USER
    item: str = ITEM
    time: str = TIME
    features: Mapping[str, str] = field(default_factory=dict)
    context: Mapping[str, ContextKind] = field(default_factory=dict)
    format: LogFormat = "auto"
    separator: str | None = None
    has_header: bool = True
    id_type: IdType = "string"
    time_unit: TimeUnit = "auto"
    tz: str | None = None
    bad_rows: BadRows = "fail"
    duplicates: Duplicates = "keep"


def reading_of(options: Mapping[str, Any]) -> Reading:
    """Keyword arguments -> `Reading`; a misspelt one is refused with its nearest neighbour."""
    known = set(Reading.__dataclass_fields__) - {"features", "context"}
    columns = FEATURE_OPTIONS.keys() | CONTEXT_TYPES.keys()
    for key in sorted(options.keys() - columns - known):
        do = nearest(key, known | columns)
        raise DataError(key, expected="an option of read_events", found="an unknown one", do=do)
    fields = {key: value for key, value in options.items() if key in known}
    for key in fields.keys() & _CHOICES.keys():
        words = get_args(_CHOICES[key])
        if fields[key] not in words:
            do = nearest(str(fields[key]), words)
            raise DataError(key, expected=f"one of {', '.join(words)}", found=repr(fields[key]), do=do)
    separator = fields.get("separator")
    if separator is not None and (not separator or set(separator) & set('"\r\n')):
        do = "Name the characters between two fields."
        raise DataError("separator", expected="one or more characters", found=repr(separator), do=do)
    # Columns without a header have numbers for names.
    fields |= {key: str(fields[key]) for key in ("user", "item", "time") if key in fields}
    features = {
        FEATURE_OPTIONS[key]: str(value)
        for key, value in options.items()
        if key in FEATURE_OPTIONS and value is not None
    }
    context: dict[str, ContextKind] = {}
    for kind in CONTEXT_TYPES:
        named = _named(options.get(kind), kind)
        for name in named.keys() & context.keys():
            do = "Declare it once, or give one of the two another name."
            raise DataError(f"context column {name!r}", expected="one kind", found="two", do=do)
        features |= named
        context |= dict.fromkeys(named, kind)
    require_context(context)
    return Reading(features=features, context=context, **fields)


def _named(given: Any, option: str) -> dict[str, str]:
    """Columns of one kind: our name -> theirs; a list names columns that keep their names."""
    if isinstance(given, Mapping):
        return {str(name): str(column) for name, column in given.items()}
    names = [given] if isinstance(given, str) else given or []
    if not isinstance(names, list | tuple):
        do = "Pass ['device'] or {'device': 'column'}."
        raise DataError(option, expected="names of columns", found=type(given).__name__, do=do)
    return {str(name): str(name) for name in names}
