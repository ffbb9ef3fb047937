"""Next-item task: where does the item a user took next stand among the whole catalogue?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypedDict, get_args

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from usermodel.embedding_table import Scorer, unknown_items
from usermodel.errors import ConfigError, DataError, MismatchError, nearest
from usermodel.events.splits import LeaveLastOutConfig, SplitConfig, split_hash
from usermodel.metrics.definitions import definition
from usermodel.metrics.groups import By, group_users
from usermodel.metrics.intervals import IntervalKind, intervals, words
from usermodel.metrics.measure import measure_lists, measure_ranks
from usermodel.metrics.names import Metric, parse
from usermodel.metrics.next_item_ranks import rank_targets
from usermodel.metrics.per_user import PerUser
from usermodel.metrics.popularity import ItemPopularity, repeats
from usermodel.metrics.presets import PresetName, always_cuts, preset_of, require
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.protocol import TaskCard, TaskResult

CARD = TaskCard("next-item", "Which item does the user take next?", "ndcg@10")
#: All come from the rank of the target. Metrics of lists score everything once more, and are computed when named.
METRICS: Final = ("hit@5", "ndcg@5", "hit@10", "ndcg@10", "hit@20", "ndcg@20", "mrr")


class NextItemOptions(TypedDict, total=False):
    """What `evaluate` passes on to `NextItem`, which says what each one is."""

    metrics: tuple[str, ...]
    by: tuple[By, ...]
    as_: PresetName | None
    interval: IntervalKind


@dataclass(frozen=True)
class NextItem:
    """Full ranking of one target per user.

    Attributes:
        part: ``test`` or ``valid``.
        split: Which event of a user is the target.
        max_history: Events the encoder reads; seen items are those of the whole history all the same.
        metrics: Names: ``hit recall ndcg map mrr coverage novelty arp popularity_bias`` with ``@k``, ``mrr auc gauc`` without.
            Unless named, hit and ndcg at 5, 10 and 20, and mrr, or mrr@10 where a preset has none without a cut-off.
        by: Breakdowns: ``history-length``, ``popularity``. See `usermodel.metrics.groups`.
        as_: Whose definitions: ``recbole``, ``rectools``, ``bars``; None means ours. See `usermodel.metrics.presets`.
        interval: ``bootstrap`` or ``normal``. See `usermodel.metrics.intervals`.
        n_items: Items that the encoder knows, when the store has grown since; None means all. See `Examples.histories`.

    Raises:
        ConfigError: A metric, a breakdown, a preset or an interval that does not exist, or a metric that the preset lacks.
    """

    part: Literal["valid", "test"] = "test"
    split: SplitConfig = field(default_factory=LeaveLastOutConfig)
    max_history: int = 50
    metrics: tuple[str, ...] = METRICS
    by: tuple[By, ...] = ()
    as_: PresetName | None = None
    interval: IntervalKind = "bootstrap"
    card: TaskCard = CARD
    n_items: int | None = None

    def __post_init__(self) -> None:
        if self.metrics is METRICS and always_cuts(self.as_):
            object.__setattr__(self, "metrics", (*METRICS[:-1], "mrr@10"))
        if not self.metrics:
            raise ConfigError(
                "metrics", expected="at least one", found="none", do="Name some, or none at all."
            )
        for name in self.metrics:
            require(self.as_, parse(name))
        for where, values, known in (("by", self.by, By), ("interval", (self.interval,), IntervalKind)):
            for value in values:
                if value not in get_args(known):
                    expected, do = " or ".join(get_args(known)), nearest(value, get_args(known))
                    raise ConfigError(where, expected=expected, found=repr(value), do=do)

    def requests(self, store: SequenceStore) -> Examples:
        """One example per user with a target in the part.

        Raises:
            DataError: No user has one.
        """
        users, rows = store.split(self.split).targets(self.part)
        if not len(users):
            do = "Ingest longer histories, or use another split."
            raise DataError(str(store.path), expected=f"a {self.part} target", found="none", do=do)
        examples = Examples.histories(store, users, rows, self.max_history, self.n_items)
        # The promise of every number here: the input ends before the target in (time, file position).
        assert bool(np.all(store.times[examples.stop - 1] <= store.times[examples.target_start]))
        return examples

    def score(self, scorer: Scorer, store: SequenceStore, labels: Examples) -> list[TaskResult]:
        """One row per metric, then one per metric and group, with intervals over users.

        Raises:
            MismatchError: The scorer says that it was fitted on another split or store: it may know the targets.
            NumericError: A score is not finite.
        """
        self._require_same_split(scorer, store)
        metrics = [parse(name) for name in dict.fromkeys(self.metrics)]
        popularity = None
        if "popularity" in self.by or any(metric.of_lists for metric in metrics):
            without_first = preset_of(self.as_).without_first
            popularity = ItemPopularity.fit(store, store.split(self.split), without_first=without_first)
        measured = self._measure(metrics, scorer, store, labels, popularity)
        unknown = store.items[labels.target_start] > scorer.n_items
        rule = "; items that the scorer does not know: below all others" if unknown_items(scorer) else ""
        results = self._rows(measured, unknown, rule)
        for by in self.by:
            for group, members in group_users(by, store, labels, popularity).items():
                inside = {one: of.take(members) for one, of in measured.items() if isinstance(of, PerUser)}
                results += self._rows(inside, unknown[members], rule, by=by, group=group)
        return results

    def _measure(
        self,
        metrics: list[Metric],
        scorer: Scorer,
        store: SequenceStore,
        labels: Examples,
        popularity: ItemPopularity | None,
    ) -> dict[Metric, PerUser | float]:
        """Metrics before the mean over users, in the order of ``metrics``; those of no user by user as numbers."""
        preset = preset_of(self.as_)
        # Ranks first, whatever is asked for: they look at every score and name the user of a bad one.
        ranks = rank_targets(scorer, store, labels, exclude_seen=preset.excluded != "nothing")
        excluded = np.zeros(len(labels), dtype=bool)
        if preset.excluded == "history-and-repeats":
            excluded = repeats(store, labels)
        found: dict[Metric, PerUser | float] = {
            one: measure_ranks(one, ranks, excluded, preset) for one in metrics if not one.of_lists
        }
        if popularity is not None:
            of_lists = [one for one in metrics if one.of_lists]
            found |= measure_lists(of_lists, scorer, store, labels, popularity, preset)
        return {metric: found[metric] for metric in metrics}

    def _rows(
        self,
        measured: Mapping[Metric, PerUser | float],
        unknown: Bool[ndarray, " n"],
        rule: str,
        *,
        by: str = "",
        group: str = "",
    ) -> list[TaskResult]:
        preset, n_unknown = preset_of(self.as_), int(unknown.sum())
        # A group may hold no user that counts for a metric, as one whose histories were never trained on.
        means = {one: of for one, of in measured.items() if isinstance(of, PerUser) and of.n}
        ends = dict(zip(means, intervals(list(means.values()), self.interval), strict=True))
        rows = []
        for metric, of in measured.items():
            if isinstance(of, PerUser) and not of.n:
                continue
            value, n = (of.mean(), of.n) if isinstance(of, PerUser) else (of, len(unknown))
            if preset.decimals is not None:
                value = round(value, preset.decimals)
            low, high = ends.get(metric, (None, None))
            how = f"; {words(self.interval)}" if isinstance(of, PerUser) else ""
            card = definition(metric, preset, self.part) + how + rule
            rows.append(TaskResult(str(metric), value, n, low, high, card, n_unknown, by, group))
        return rows

    def _require_same_split(self, scorer: Scorer, store: SequenceStore) -> None:
        fitted_on = getattr(scorer, "fitted_on", None)
        if fitted_on is None:
            return
        wanted = split_hash(self.split, store.content_hash)
        if fitted_on.hash != wanted:
            expected = f"a scorer fitted on the split of the labels ({self.split.kind}, {wanted[:12]})"
            found = f"one fitted on {fitted_on.split} ({fitted_on.hash[:12]})"
            do = "Fit it on the split and the store of the task."
            raise MismatchError("scorer", expected=expected, found=found, do=do)
