"""Held-out-items task: how many of a user's held-out items stand at the top of the whole catalogue?"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Literal

from usermodel.embedding_table import Scorer
from usermodel.errors import ConfigError, DataError
from usermodel.events.splits import Split, SplitConfig, UserRatioConfig
from usermodel.metrics.definitions import what
from usermodel.metrics.held_out_sets import SET_KINDS, rank_sets
from usermodel.metrics.intervals import IntervalKind, intervals, words
from usermodel.metrics.measure import measure_lists
from usermodel.metrics.names import LIST_KINDS, Metric, parse
from usermodel.metrics.per_user import PerUser
from usermodel.metrics.popularity import ItemPopularity
from usermodel.metrics.presets import OURS
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.protocol import TaskCard, TaskResult

CARD: Final = TaskCard("held-out-items", "Which of the items that a user takes later are on top?", "ndcg@20")
METRICS: Final = ("recall@20", "ndcg@20")
_RULES: Final = (
    "full ranking over all items; the whole history before the {part} part is left out of the ranking, and so of the targets; "
    "ties: mean over all orders of the tied items; mean over users; targets: all distinct items of each user's {part} part"
)
_WHAT: Final = {
    "recall": "share of a user's targets that are among the first {k}",
    "ndcg": "sum of 1/log2(rank+1) over the targets among the first {k}, by the same of targets at ranks 1 to min(targets, {k})",
}


@dataclass(frozen=True)
class HeldOutItems:
    """Full ranking of a set of items per user (the protocol of NGCF and LightGCN).

    Attributes:
        part: ``test`` or ``valid``.
        split: What is held out; a `Split` made by hand, or the configuration of one.
        metrics: ``recall ndcg`` of the targets and ``coverage novelty arp popularity_bias`` of the lists, with ``@k``.
        interval: ``bootstrap`` or ``normal``. See `usermodel.metrics.intervals`.

    Raises:
        ConfigError: A metric that does not exist, or has no cut-off.
    """

    part: Literal["valid", "test"] = "test"
    split: SplitConfig | Split = field(default_factory=UserRatioConfig)
    metrics: tuple[str, ...] = METRICS
    interval: IntervalKind = "bootstrap"
    card: TaskCard = CARD

    def __post_init__(self) -> None:
        if not self.metrics:
            raise ConfigError(
                "metrics", expected="at least one", found="none", do="Name some, or none at all."
            )
        for name in self.metrics:
            _parse(name)

    def requests(self, store: SequenceStore) -> Examples:
        """One example per user with a history and something in the part: the whole of both.

        Raises:
            DataError: No user has.
        """
        split = self._split(store)
        users, first = split.targets(self.part)
        if not len(users):
            do = "Ingest longer histories, or use another split."
            raise DataError(str(store.path), expected=f"a {self.part} part", found="none", do=do)
        stop = split.part(self.part)[1][users]
        return Examples(users, store.offsets[users], first, first, stop, store.times[first])

    def score(self, scorer: Scorer, store: SequenceStore, labels: Examples) -> list[TaskResult]:
        """One row per metric, with intervals over users.

        Raises:
            NumericError: A score is not finite.
        """
        metrics = [_parse(name) for name in dict.fromkeys(self.metrics)]
        of_sets = [metric for metric in metrics if metric.kind in SET_KINDS]
        measured: dict[Metric, PerUser | float] = {}
        if of_sets:
            ranks = rank_sets(scorer, store, labels, max(metric.k or 0 for metric in of_sets))
            measured = {metric: ranks.metric(metric.kind, metric.k or 0) for metric in of_sets}
        of_lists = [metric for metric in metrics if metric.kind in LIST_KINDS]
        if of_lists:
            popularity = ItemPopularity.fit(store, self._split(store))
            preset = replace(OURS, excluded="history-and-repeats")
            measured |= measure_lists(of_lists, scorer, store, labels, popularity, preset)
        means = {metric: of for metric, of in measured.items() if isinstance(of, PerUser) and of.n}
        ends = dict(zip(means, intervals(list(means.values()), self.interval), strict=True))
        rows = []
        for metric in metrics:
            of = measured[metric]
            if isinstance(of, PerUser) and not of.n:
                continue
            value, n = (of.mean(), of.n) if isinstance(of, PerUser) else (of, len(labels))
            low, high = ends.get(metric, (None, None))
            how = f"; {words(self.interval)}" if isinstance(of, PerUser) else ""
            rows.append(TaskResult(str(metric), value, n, low, high, self._definition(metric) + how))
        return rows

    def _split(self, store: SequenceStore) -> Split:
        return self.split if isinstance(self.split, Split) else store.split(self.split)

    def _definition(self, metric: Metric) -> str:
        text = _WHAT[metric.kind].format(k=metric.k) if metric.kind in _WHAT else what(metric)
        return f"{text}; {_RULES.format(part=self.part)}"


def _parse(name: str) -> Metric:
    metric = parse(name)
    if metric.k is None or metric.kind not in SET_KINDS + LIST_KINDS:
        kinds = ", ".join(f"{kind}@K" for kind in SET_KINDS + LIST_KINDS)
        raise ConfigError("metric", expected=kinds, found=repr(name), do="Choose one of them.")
    return metric
