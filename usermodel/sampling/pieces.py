"""One example per target: dynamic segmentation, with a partner that has the same target."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from jaxtyping import Int64, UInt64
from numpy import ndarray

from usermodel.events.splits import Split
from usermodel.sampling.protocol import Examples, SamplerConfig
from usermodel.store.sequence_store import SequenceStore

Partner = Literal["none", "last", "random"]
#: An odd number without structure: base of the hash of a slice.
_BASE: Final = np.uint64(0x9E3779B97F4A7C15)


class PiecesConfig(SamplerConfig):
    """Every training event but a user's first is the last event of one slice: its target, after the latest events before it.

    ICSRec's dynamic segmentation (Qin et al. 2024, section 4.1): its pieces without their last two items. It computes each
    prefix of a history anew; `AllPositionsConfig` has the same targets in one pass.

    Attributes:
        partner: Another slice with the same target, the slice itself if there is none. ``last``: the last one in the order of
            the store whose events before the target differ, as in the released code, the same in every epoch. ``random``:
            any other one, drawn for each epoch, as in the figure of the paper and in DuoRec. ``none``: no partner.
    """

    partner: Partner = "none"

    @property
    def draws_partners(self) -> bool:
        """See `SamplerConfig.draws_partners`."""
        return self.partner != "none"

    def sample(
        self, store: SequenceStore, split: Split, *, max_history: int, rng: np.random.Generator
    ) -> Examples:
        """``max_history`` inputs at most and the target after them; in the order of users and events."""
        inputs = np.maximum(split.train_stop - split.start - 1, 0)
        user = np.repeat(np.arange(len(inputs)), inputs)
        number = np.arange(len(user)) - np.repeat(np.cumsum(inputs) - inputs, inputs)
        target = split.start[user] + 1 + number
        examples = pieces_to(store, split, user, target, max_history)
        start, stop = examples.start, examples.stop
        if self.partner == "none":
            return examples
        if not len(user):
            return examples.with_partner(start, stop)
        items = store.items[target].astype(np.int64)
        chosen = (
            _random(items, rng) if self.partner == "random" else _last(items, _hashes(store, start, target))
        )
        return examples.with_partner(start[chosen], stop[chosen])


def pieces_to(
    store: SequenceStore,
    split: Split,
    user: Int64[ndarray, " n"],
    target: Int64[ndarray, " n"],
    max_history: int,
) -> Examples:
    """Slices that end with given events: at most ``max_history`` training events of the same user, and the target after them.

    Args:
        store: Holds the events.
        split: Whose training part is read.
        user: Whom each event belongs to; users may repeat.
        target: Row of each event, in the training part and not the user's first.
        max_history: Events before the target to read.
    """
    start, stop = np.maximum(split.start[user], target - max_history), target + 1
    return Examples(user, start, stop, stop, stop, store.times[target] + 1)


def _random(target: Int64[ndarray, " n"], rng: np.random.Generator) -> Int64[ndarray, " n"]:
    """Another example with the same target, each of them as likely; the example itself if it is alone."""
    order = np.argsort(target, kind="stable")
    _, begin, count = np.unique(target[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(begin, count)
    begin, count = np.repeat(begin, count), np.repeat(count, count)
    # One to count - 1 places further, in a circle.
    further = 1 + (rng.random(len(order)) * np.maximum(count - 1, 0)).astype(np.int64)
    chosen = np.empty_like(order)
    chosen[order] = order[begin + (place + np.minimum(further, np.maximum(count - 1, 0))) % count]
    return chosen


def _last(target: Int64[ndarray, " n"], content: UInt64[ndarray, " n"]) -> Int64[ndarray, " n"]:
    """The last example with the same target and another content; the example itself if there is none."""
    n = len(target)
    order = np.argsort(target, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(target[order])), n - 1)
    begins = np.append(0, ends[:-1] + 1)
    last = order[ends]
    bucket = np.empty(n, dtype=np.int64)
    bucket[order] = np.repeat(np.arange(len(ends)), ends - begins + 1)
    # The last one of each bucket that differs from its very last.
    differs = content[order] != content[last[bucket[order]]]
    place = np.maximum.accumulate(np.where(differs, np.arange(n), -1))[ends]
    second = np.where(place >= begins, order[np.maximum(place, 0)], -1)
    own = np.arange(n)
    is_last = content == content[last[bucket]]
    return np.where(is_last, np.where(second[bucket] >= 0, second[bucket], own), last[bucket])


def _hashes(
    store: SequenceStore, start: Int64[ndarray, " n"], stop: Int64[ndarray, " n"]
) -> UInt64[ndarray, " n"]:
    """A number for the items of each slice, equal for equal slices: a polynomial modulo 2^64, and the length."""
    items = np.asarray(store.items).astype(np.uint64)
    powers = np.cumprod(np.full(len(items) + 1, _BASE), dtype=np.uint64)
    sums = np.append(np.uint64(0), np.cumsum(items * powers[:-1], dtype=np.uint64))
    # Both sides of a comparison are brought to the same power: the inverse of an odd number exists.
    inverse = np.cumprod(np.full(len(items) + 1, np.uint64(pow(int(_BASE), -1, 1 << 64))), dtype=np.uint64)
    out: ndarray = (sums[stop] - sums[start]) * inverse[start] + (stop - start).astype(np.uint64)
    return out
