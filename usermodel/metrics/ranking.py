"""Ranking metrics from the rank of one target per user, ties counted fairly.

With ``g`` items scored strictly higher and ``t`` others equal to the target, a metric is the mean of ``m(g + 1 + j)``
over ``j = 0 .. t``: the expectation over a random order of the tie. A constant scorer therefore scores at chance. No
list is sorted and no top-k is formed; all metrics come from ``g`` and ``t``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from usermodel.errors import ConfigError
from usermodel.metrics.names import RANK_KINDS, parse


@dataclass(frozen=True)
class Ranks:
    """Counts for each user.

    Attributes:
        higher: Candidates scored strictly above the target.
        equal: Other candidates scored the same.
        candidates: Candidates in all, the target included.
    """

    higher: Int64[ndarray, " n"]
    equal: Int64[ndarray, " n"]
    candidates: Int64[ndarray, " n"]

    def __post_init__(self) -> None:
        assert bool(np.all((self.higher >= 0) & (self.equal >= 0))), "a count below zero"
        assert bool(np.all(self.higher + self.equal < self.candidates)), "more rivals than candidates"

    def __len__(self) -> int:
        return len(self.higher)

    def _mean_gain(self, gain: Float64[ndarray, " ranks"]) -> Float64[ndarray, " n"]:
        """Mean of ``gain`` (``gain[r]`` belongs to rank r + 1, zero beyond the end) over the ranks of the tie."""
        total = np.concatenate([[0.0], np.cumsum(gain)])
        low = np.minimum(self.higher, len(gain))
        high = np.minimum(self.higher + self.equal + 1, len(gain))
        return np.asarray((total[high] - total[low]) / (self.equal + 1))

    def _within(self, k: int | None) -> int:
        """``k``, or the longest ranking where that is shorter: no target has a rank behind its end."""
        longest = int(self.candidates.max(initial=1))
        return longest if k is None else min(k, longest)

    def hit(self, k: int) -> Float64[ndarray, " n"]:
        """1 when the target is among the first ``k``. With one target this is recall@k as well."""
        return self._mean_gain(np.ones(self._within(k)))

    def ndcg(self, k: int) -> Float64[ndarray, " n"]:
        """``1 / log2(rank + 1)`` within the first ``k``; the ideal is 1, because there is one target."""
        return self._mean_gain(discounts(self._within(k)))

    def mrr(self, k: int | None = None) -> Float64[ndarray, " n"]:
        """``1 / rank`` within the first ``k``, or over all candidates. With one target this is map@k as well."""
        return self._mean_gain(1.0 / np.arange(1, self._within(k) + 1))

    def auc(self) -> Float64[ndarray, " n"]:
        """Share of the other candidates that score below the target, equal ones counted half; 0 where there is none."""
        others = self.candidates - 1
        return np.asarray(1.0 - (self.higher + 0.5 * self.equal + (others == 0)) / np.maximum(others, 1))

    def metric(self, name: str) -> Float64[ndarray, " n"]:
        """A metric of ranks by its name: ``hit@10``, ``ndcg@10``, ``mrr``, ...

        Raises:
            ConfigError: No metric of that name, or one of lists.
        """
        metric = parse(name)
        if metric.of_lists:
            expected = f"a metric of ranks ({', '.join(RANK_KINDS)})"
            do = "Ask the next-item task for it."
            raise ConfigError("metric", expected=expected, found=repr(name), do=do)
        if metric.kind in ("auc", "gauc"):
            return self.auc()
        if metric.k is None or metric.kind in ("mrr", "map"):
            return self.mrr(metric.k)
        return self.ndcg(metric.k) if metric.kind == "ndcg" else self.hit(metric.k)


def discounts(k: int) -> Float64[ndarray, " k"]:
    """``1 / log2(rank + 1)`` of the ranks 1 to ``k``."""
    return np.asarray(1.0 / np.log2(np.arange(2, k + 2)))
