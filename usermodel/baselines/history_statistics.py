"""Statistics of a history, as a vector: what can be known of a user without learning anything about items. Pretraining has to beat it.

How many events; how popular their items are, and how unlike; how many items come again; shares of event types; means of numbers such as
watch times. Where events have times: the time of day, weekends, days from the first event to the last and from there to the prediction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Bool, Float32, Float64, Int64, Shaped
from numpy import ndarray

from usermodel.events.splits import FittedOn, Split
from usermodel.sampling.protocol import Examples
from usermodel.schema import DAY, EVENT_TYPE, has_codes
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.training_events import in_training

#: The first Saturday after 1970 began, in days.
_SATURDAY: Final = 2
#: Event types that have a share each; a log with more names rarely means types.
TYPES: Final = 16
#: Name, value of each event, and for which events there is one.
_Column = tuple[str, Float64[ndarray, " events"], Bool[ndarray, " events"] | None]


@dataclass(frozen=True)
class HistoryStatistics:
    """Statistics of slices of a store.

    Attributes:
        log_counts: Logarithm of the training events of each item index, 0 where there are none.
        means: Mean of each column of events over the training part: what a slice without a value has.
        fitted_on: The split whose training part was counted.
    """

    log_counts: Float64[ndarray, " items+1"]
    means: Mapping[str, float] = field(default_factory=dict)
    fitted_on: FittedOn | None = None

    @staticmethod
    def fit(store: SequenceStore, split: Split) -> HistoryStatistics:
        """Count the training part."""
        log_counts = np.log(np.maximum(store.item_counts(split.train_stop), 1))
        train = in_training(store, split)
        means = {}
        for name, value, known in _events(store, log_counts):
            there = train if known is None else train & known
            means[name] = float(value[there].mean()) if there.any() else 0.0
        return HistoryStatistics(log_counts, means, split.fitted_on)

    def frame(self, store: SequenceStore, examples: Examples) -> pl.DataFrame:
        """One row per example and a named column per number, from the events up to the end of its slice and the time of its prediction.

        Args:
            store: Has the items that were counted.
            examples: Slices; memory for a few numbers an event is needed.
        """
        return pl.DataFrame(dict(self._columns(store, examples)))

    def vectors(self, store: SequenceStore, examples: Examples) -> Float32[ndarray, "n dim"]:
        """`frame` as vectors."""
        found: ndarray = self.frame(store, examples).to_numpy(order="c").astype(np.float32)
        return found

    def _columns(
        self, store: SequenceStore, examples: Examples
    ) -> Iterator[tuple[str, Float64[ndarray, " n"]]]:
        start, stop = examples.start, examples.stop
        yield "log_events", np.log1p(examples.lengths.astype(np.float64))
        for name, value, known in _events(store, self.log_counts):
            yield name, _means(value, known, start, stop, self.means.get(name, 0.0))
        yield "popularity_spread", _spread(self.log_counts[store.items], start, stop)
        if store.time_kind == "utc":
            times = np.asarray(store.times)
            some, last = stop > start, np.maximum(stop - 1, 0)
            first = np.minimum(start, last)
            span = (times[last] - times[first]) / DAY if len(times) else np.zeros(len(start))
            ago = (examples.prediction_time - times[last]) / DAY if len(times) else np.zeros(len(start))
            yield "log_days", np.where(some, np.log1p(np.maximum(span, 0.0)), 0.0)
            yield "log_days_since", np.where(some, np.log1p(np.maximum(ago, 0.0)), 0.0)


def _events(store: SequenceStore, log_counts: Float64[ndarray, " items+1"]) -> Iterator[_Column]:
    """A number for each event, one column after the other; names of the store's own columns begin with ``share_`` or ``mean_``."""
    yield "popularity", log_counts[store.items], None
    yield "repeats", _comes_again(store).astype(np.float64), None
    types = store.event_types if EVENT_TYPE in store.features else ()
    for code, name in enumerate(types[:TYPES], start=1):
        yield f"share_{name}", (store.feature(EVENT_TYPE) == code).astype(np.float64), None
    for name in store.features:
        if not has_codes(name, store.context):
            values = store.feature(name).astype(np.float64)
            known = np.isfinite(values) if store.feature(name).dtype.kind == "f" else values >= 0
            # Like a logarithm, but of any sign: no value is so large that sums forget the others.
            yield f"mean_{name}", np.arcsinh(values), known
    if store.time_kind == "utc":
        times = np.asarray(store.times)
        angle = times % DAY * (2 * np.pi / DAY)
        yield "hour_cos", np.cos(angle), None
        yield "hour_sin", np.sin(angle), None
        yield "weekend", ((times // DAY - _SATURDAY) % 7 < 2).astype(np.float64), None


def _comes_again(store: SequenceStore) -> Bool[ndarray, " events"]:
    """Whether the user took the item before."""
    user = np.repeat(np.arange(store.n_users), np.diff(store.offsets))
    items = np.asarray(store.items)
    order = np.lexsort((items, user))
    same = np.zeros(len(items), dtype=bool)
    at, before = order[1:], order[:-1]
    same[at] = (user[at] == user[before]) & (items[at] == items[before])
    return same


def _means(
    values: Float64[ndarray, " events"],
    known: Bool[ndarray, " events"] | None,
    start: Int64[ndarray, " n"],
    stop: Int64[ndarray, " n"],
    centre: float,
) -> Float64[ndarray, " n"]:
    """Means of the known values of slices; ``centre`` where there are none."""
    # Sums of what is measured from the middle stay small, so that differences of sums over 10^8 events keep their digits.
    shifted = values - centre if known is None else np.where(known, values - centre, 0.0)
    total = _differences(shifted, start, stop)
    n = stop - start if known is None else _differences(known.astype(np.int64), start, stop)
    found: ndarray = centre + total / np.maximum(n, 1)
    return found


def _spread(
    values: Float64[ndarray, " events"], start: Int64[ndarray, " n"], stop: Int64[ndarray, " n"]
) -> Float64[ndarray, " n"]:
    """Standard deviations of slices; 0 for an empty one."""
    middle = float(values.mean()) if len(values) else 0.0
    mean = _means(values, None, start, stop, middle)
    squares = _means((values - middle) ** 2, None, start, stop, 0.0)
    found: ndarray = np.sqrt(np.maximum(squares - (mean - middle) ** 2, 0.0))
    return found


def _differences(
    values: ndarray, start: Int64[ndarray, " n"], stop: Int64[ndarray, " n"]
) -> Shaped[ndarray, " n"]:
    sums = np.concatenate([np.zeros(1, values.dtype), np.cumsum(values)])
    found: ndarray = sums[stop] - sums[start]
    return found
