"""95 % intervals of weighted means over users.

The users are taken for a sample of all users; the interval says how far the metric of another sample of equal size would lie.
It does not say how far another training run would.

Bootstrap: bias-corrected and accelerated (BCa; Efron, "Better bootstrap confidence intervals", JASA 1987), the default of
`scipy.stats.bootstrap`, which draws anew for each metric; here all metrics share the resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Float64
from numpy import ndarray
from scipy.special import ndtr, ndtri
from scipy.stats import poisson

from usermodel.cores import on_cores
from usermodel.metrics.per_user import PerUser

IntervalKind = Literal["bootstrap", "normal"]
#: Low and high end; None where one user or none is left.
Interval = tuple[float, float] | tuple[None, None]
RESAMPLES: Final = 1000
#: Counts of resampled users held at once by a thread: 2 MB.
_COUNTS: Final = 1 << 18
#: Poisson counts stay so many standard deviations of their total below the number of users.
_SHORT: Final = 5.0
#: Above every Poisson count of 16 bits whose mean is at most 1.
_MOST: Final = 16
#: Differences of sums in another order, relative.
_ROUNDING: Final = 1e-12
#: Two-sided 95 %.
_TAILS: Final = np.array([0.025, 0.975])


def intervals(metrics: Sequence[PerUser], kind: IntervalKind = "bootstrap") -> list[Interval]:
    """The 95 % interval of each metric of the same users.

    Args:
        metrics: Metrics before the mean.
        kind: ``bootstrap`` or ``normal``.
    """
    return bootstrap(metrics) if kind == "bootstrap" else [normal(metric) for metric in metrics]


def words(kind: IntervalKind) -> str:
    """How an interval was made, as printed beside it."""
    how = {"bootstrap": f"BCa bootstrap, {RESAMPLES:,} resamples, seed 0", "normal": "normal approximation"}
    return f"95 % interval over users: {how[kind]}"


def normal(metric: PerUser) -> Interval:
    """Mean +- 1.96 standard errors; of a weighted mean those of its linear part (delta method)."""
    if metric.n < 2:
        return None, None
    n, mean = len(metric), metric.mean()
    apart = (metric.total - mean * metric.weight) / metric.weight.mean()
    half = float(ndtri(_TAILS[1]) * apart.std(ddof=1) / n**0.5)
    return mean - half, mean + half


def bootstrap(metrics: Sequence[PerUser], *, resamples: int = RESAMPLES, seed: int = 0) -> list[Interval]:
    """BCa intervals from resampled users.

    Args:
        metrics: Metrics of the same users.
        resamples: How often users are drawn anew; the cost is ``users * resamples``.
        seed: Equal seeds draw equal users.
    """
    if not metrics:
        return []
    # Plain means need no sums of weights: every resample has as many users.
    weighted = [metric for metric in metrics if not metric.is_plain]
    columns = [metric.total for metric in metrics] + [metric.weight for metric in weighted]
    sums = _resampled_sums(np.stack(columns, axis=1), resamples, seed).T
    weights = iter(sums[len(metrics) :])
    users = np.full(resamples, float(len(metrics[0])))
    return [
        _bca(metric, totals, users if metric.is_plain else next(weights))
        for metric, totals in zip(metrics, sums, strict=False)
    ]


def _resampled_sums(
    table: Float64[ndarray, "users columns"], resamples: int, seed: int
) -> Float64[ndarray, "resamples columns"]:
    """Column sums over users drawn with replacement: how often each was drawn, times the table.

    A block of resamples has a generator of its own, so that any thread may compute it.
    """
    users = len(table)
    size = min(resamples, max(1, _COUNTS // max(users, 1)))
    starts = range(0, resamples, size)
    sums, columns = np.empty((resamples, table.shape[1])), torch.from_numpy(table)
    seeds, of_bits = np.random.SeedSequence(seed).spawn(len(starts)), _counts_of_bits(users)

    def work(block: int) -> None:
        rows = sums[starts[block] : starts[block] + size]
        counts = np.empty((len(rows), users))
        draw_counts(np.random.Generator(np.random.PCG64(seeds[block])), of_bits, counts)
        # PyTorch's product stays in this thread; NumPy's would wake those of its library.
        rows[:] = torch.mm(torch.from_numpy(counts), columns)

    on_cores(work, range(len(starts)))
    return sums


def draw_counts(
    rng: np.random.Generator, of_bits: Float64[ndarray, " 65536"], out: Float64[ndarray, "n users"]
) -> None:
    """How often each user is among as many draws with replacement, ``n`` times.

    Independent Poisson counts, given their total, are the counts of so many draws; those that lack to ``users`` draws are
    drawn one by one. So only few are, and all other counts cost 16 random bits each.
    """
    n, users = out.shape
    np.take(of_bits, rng.integers(0, 1 << 16, (n, users), dtype=np.uint16), out=out, mode="clip")
    totals = out.sum(1)
    # Hardly ever. Drawn anew, they are again counts given their total.
    while len(above := np.flatnonzero(totals > users)):
        out[above] = of_bits[rng.integers(0, 1 << 16, (len(above), users), dtype=np.uint16)]
        totals[above] = out[above].sum(1)
    lacking = (users - totals).astype(np.int64)
    place = np.repeat(np.arange(n) * users, lacking) + rng.integers(0, users, lacking.sum())
    np.add.at(out.reshape(-1), place, 1.0)


def _counts_of_bits(users: int) -> Float64[ndarray, " 65536"]:
    """The Poisson count for each 16 bits; no probability is off by more than 2^-16."""
    mean = max(0.0, 1 - _SHORT / max(users, 1) ** 0.5)
    ends = np.round(poisson.cdf(np.arange(_MOST), mean) * 65536)
    counts: ndarray = np.searchsorted(ends, np.arange(65536), side="right").astype(np.float64)
    return counts


def _bca(
    metric: PerUser, totals: Float64[ndarray, " resamples"], weights: Float64[ndarray, " resamples"]
) -> Interval:
    if metric.n < 2:
        return None, None
    drawn = weights > 0
    found, mean = totals[drawn] / weights[drawn], metric.mean()
    left = (metric.total.sum() - metric.total) / np.maximum(metric.weight.sum() - metric.weight, 1e-300)
    apart = left.mean() - left
    if not apart.any() or np.ptp(found) == 0:
        return mean, mean
    # A resample that holds every user once gives the mean itself but for the order of the sum: half below, half above.
    level = np.abs(found - mean) <= _ROUNDING * np.abs(found).max()
    below = float((found < mean)[~level].sum() + level.sum() / 2) / len(found)
    # All resamples on one side: half a resample stands in for the other, and the bias stays finite.
    least = 0.5 / len(found)
    bias = ndtri(np.clip(below, least, 1 - least)) + ndtri(_TAILS)
    skew = (apart**3).sum() / (6 * (apart**2).sum() ** 1.5)
    places = ndtr(bias - ndtri(_TAILS) + bias / (1 - skew * bias))
    low, high = np.percentile(found, 100 * places)
    return float(low), float(high)
