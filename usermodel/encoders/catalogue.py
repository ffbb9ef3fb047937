"""What an encoder must know of a store before it can be built: how many items, which event types, which item features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from usermodel.encoders.item_columns import read_item_feature
from usermodel.errors import ConfigError, MismatchError, nearest
from usermodel.nn.inputs import InputsConfig, ItemInputsConfig
from usermodel.nn.item_features import ItemFeature
from usermodel.schema import EVENT_TYPE, FEATURE_OPTIONS, WATCH_TIME
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.sequences import Sequences

_ITEMS: Final = "items"
#: What the items table holds beside features.
_IDS: Final = ("item_index", "item_id")


@dataclass(frozen=True)
class Catalogue:
    """Sizes of an encoder's tables; saved with it.

    Attributes:
        n_items: Items 1 to ``n_items`` are known.
        event_types: Names behind the codes 1, 2, ... of event types, where the encoder reads them.
        item_features: Columns of the items table that the encoder reads.
    """

    n_items: int
    event_types: tuple[str, ...] = ()
    item_features: tuple[ItemFeature, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data; of item features only the shape, because their values are among the weights."""
        shapes = [
            {"name": one.name, "kind": one.kind, "size": one.size, "width": one.width}
            for one in self.item_features
        ]
        return {"event_types": list(self.event_types), "item_features": shapes}

    @staticmethod
    def from_dict(n_items: int, data: Mapping[str, Any]) -> Catalogue:
        """What `to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: It did not write this.
        """
        features = tuple(
            ItemFeature(str(one["name"]), _kind(one["kind"]), int(one["size"]), int(one["width"]))
            for one in data.get("item_features", ())
        )
        return Catalogue(n_items, tuple(map(str, data.get("event_types", ()))), features)

    def shapes(self) -> Catalogue:
        """The same without the values of item features."""
        return Catalogue.from_dict(self.n_items, self.to_dict())

    def require_event_types(self, store: Sequences) -> None:
        """Raise `MismatchError` unless the codes of event types mean the same in ``store``; further ones may follow."""
        known = self.event_types
        if known and store.event_types[: len(known)] != known:
            found, do = ", ".join(store.event_types) or "none", "Use a store that was made by append."
            raise MismatchError(
                str(store.path), expected=f"the event types {', '.join(known)} first", found=found, do=do
            )


def read_catalogue(store: SequenceStore, inputs: InputsConfig) -> Catalogue:
    """The catalogue of a store, as far as ``inputs`` ask for it; reads the items table where they name columns.

    Raises:
        ConfigError: The store lacks what an input needs; the option is named.
        DataError: A column of the items table that can be no feature.
    """
    require_columns(store, inputs)
    types = store.event_types if inputs.event_type else ()
    return Catalogue(store.n_items, types, read_item_features(store, inputs))


def read_item_features(store: SequenceStore, inputs: ItemInputsConfig) -> tuple[ItemFeature, ...]:
    """The columns of the items table of a store that ``inputs`` name.

    Raises:
        ConfigError: The store lacks one; the option is named.
        DataError: A column that can be no feature.
    """
    if not inputs.item_features:
        return ()
    option = "encoder.inputs.item_features"
    if _ITEMS not in store.meta.get("tables", {}):
        do = "Ingest with --items-table, or drop the option."
        raise ConfigError(option, expected="a store with an items table", found="none", do=do)
    table = store.table(_ITEMS)
    there = [name for name in table.columns if name not in _IDS]
    missing = [name for name in inputs.item_features if name not in there]
    if missing:
        do = nearest(missing[0], there)
        raise ConfigError(option, expected="columns of the items table", found=repr(missing[0]), do=do)
    index = table["item_index"].to_numpy()
    return tuple(read_item_feature(table[name], index, store.n_items) for name in inputs.item_features)


def require_columns(store: Sequences, inputs: InputsConfig) -> None:
    """Raise `ConfigError`, naming the option, unless the events of ``store`` have what ``inputs`` read."""
    needed = {
        EVENT_TYPE: ("event_type", inputs.event_type),
        WATCH_TIME: ("watch_time_buckets", inputs.watch_time_buckets),
    }
    flags = {ours: option.replace("_", "-") for option, ours in FEATURE_OPTIONS.items()}
    for column, (option, wanted) in needed.items():
        there = column in store.features and (column != EVENT_TYPE or store.event_types)
        if wanted and not there:
            found = ", ".join(store.features) or "no further columns"
            do = f"Ingest with --{flags[column]}, or drop the option."
            raise ConfigError(
                f"encoder.inputs.{option}", expected=f"a store with {column}", found=found, do=do
            )
    if inputs.time_gap_buckets:
        require_clock(store, "encoder.inputs.time_gap_buckets")


def require_clock(store: Sequences, option: str) -> None:
    """Raise `ConfigError`, naming the option, where events have an order but no times."""
    if store.time_kind == "order":
        do = "Ingest a log with times, or drop the option."
        raise ConfigError(option, expected="a store with times", found="a mere order of events", do=do)


def require_effect(inputs: ItemInputsConfig) -> None:
    """Raise `ConfigError` where an option has nothing to act on."""
    gates = isinstance(inputs, InputsConfig) and inputs.merge == "gated" and not inputs.any_of_events
    odd: Sequence[tuple[str, bool, str]] = (
        ("merge", gates, "an input of events to gate"),
        ("score_item_features", inputs.score_item_features and not inputs.item_features, "item_features"),
    )
    for option, wrong, expected in odd:
        if wrong:
            do = "Name some, or drop the option."
            raise ConfigError(f"encoder.inputs.{option}", expected=expected, found="none", do=do)


def require_given(inputs: ItemInputsConfig, catalogue: Catalogue) -> None:
    """Raise `ConfigError` unless a catalogue has what ``inputs`` name, and each of them has an effect."""
    require_effect(inputs)
    names = tuple(one.name for one in catalogue.item_features)
    types = isinstance(inputs, InputsConfig) and inputs.event_type
    if types > bool(catalogue.event_types) or names != inputs.item_features:
        expected, found = "a catalogue with event types and item features", "one without"
        do = "Build with build_for(config.catalogue(store))."
        raise ConfigError("encoder.inputs", expected=expected, found=found, do=do)


def _kind(value: Any) -> Any:
    if value not in {"codes", "numbers"}:
        raise ValueError(f"no kind of item feature: {value!r:.40}")
    return value
