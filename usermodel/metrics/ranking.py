"""Ranking metrics from the rank of one target per user, ties counted fairly.

With ``g`` items scored strictly higher and ``t`` others equal to the target, a metric is the mean of ``m(g + 1 + j)``
over ``j = 0 .. t``: the expectation over a random order of the tie. A constant scorer therefore scores at chance. No
list is sorted and no top-k is formed; all metrics come from ``g`` and ``t``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from usermodel.errors import ConfigError


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

    def hit(self, k: int) -> Float64[ndarray, " n"]:
        """1 when the target is among the first ``k``. With one target this is recall@k as well."""
        return self._mean_gain(np.ones(k))

    def ndcg(self, k: int) -> Float64[ndarray, " n"]:
        """``1 / log2(rank + 1)`` within the first ``k``; the ideal is 1, because there is one target."""
        return self._mean_gain(1.0 / np.log2(np.arange(2, k + 2)))

    def mrr(self) -> Float64[ndarray, " n"]:
        """``1 / rank`` over all candidates."""
        longest = int(self.candidates.max()) if len(self) else 1
        return self._mean_gain(1.0 / np.arange(1, longest + 1))

    def metric(self, name: str) -> Float64[ndarray, " n"]:
        """A metric by its printed name: ``hit@10``, ``ndcg@10``, ``mrr``.

        Raises:
            ConfigError: No metric of that name.
        """
        kind, k = _parse(name)
        if kind == "mrr":
            return self.mrr()
        return self.hit(k) if kind == "hit" else self.ndcg(k)


def definition(name: str) -> str:
    """What a number of this name means, as printed beside it.

    Raises:
        ConfigError: No metric of that name.
    """
    kind, k = _parse(name)
    what = {
        "hit": f"share of users whose target is among the first {k} (equals recall@{k}: one target a user)",
        "ndcg": f"mean of 1/log2(rank+1) if rank <= {k}, else 0 (ideal 1: one target a user)",
        "mrr": "mean of 1/rank",
    }[kind]
    return (
        f"{what}; full ranking over all items; seen = the whole history before the target, excluded, "
        "never the target itself; ties: mean over all orders of the tied items; mean over users"
    )


def _parse(name: str) -> tuple[str, int]:
    """``ndcg@10`` -> kind and cut-off; 0 stands for none."""
    match = re.fullmatch(r"(?:(hit|ndcg)@([1-9]\d*)|mrr)", name)
    if match is None:
        do = "Write, for example, ndcg@10."
        raise ConfigError("metric", expected="hit@K, ndcg@K or mrr", found=repr(name), do=do)
    return (match[1], int(match[2])) if match[1] else ("mrr", 0)
