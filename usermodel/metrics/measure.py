"""Next-item metrics per user, from ranks and from lists, by our definitions or a preset's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from usermodel.embedding_table import Scorer
from usermodel.errors import DataError
from usermodel.metrics.names import Metric
from usermodel.metrics.per_user import PerUser
from usermodel.metrics.popularity import ItemPopularity, mean_over_history
from usermodel.metrics.presets import Preset
from usermodel.metrics.ranking import Ranks, discounts
from usermodel.metrics.top_lists import TopLists, top_lists
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore


def measure_ranks(metric: Metric, ranks: Ranks, excluded: Bool[ndarray, " n"], preset: Preset) -> PerUser:
    """A metric of ranks.

    Args:
        metric: Its kind is one of `names.RANK_KINDS`.
        ranks: Ranks of the targets, which count themselves as candidates.
        excluded: Users whose target is left out of the ranking, and therefore a miss.
        preset: The definition.
    """
    values = np.where(excluded, 0.0, ranks.metric(str(metric)))
    if metric.kind in ("auc", "gauc"):
        counts = (ranks.candidates > 1) & ~excluded
        if metric.kind == "auc" or preset.equal_gauc:
            return PerUser.of(values, counts)
        weight = ranks.candidates * counts.astype(np.float64)
        return PerUser(values * weight, weight)
    if metric.kind == "ndcg" and preset.full_ideal and metric.k is not None:
        values = values / discounts(metric.k).sum()
    return PerUser.of(values)


def measure_lists(
    metrics: Sequence[Metric],
    scorer: Scorer,
    store: SequenceStore,
    examples: Examples,
    popularity: ItemPopularity,
    preset: Preset,
) -> dict[Metric, PerUser | float]:
    """Metrics of whole lists; coverage is one number for all users together.

    Args:
        metrics: Their kinds are among `names.LIST_KINDS`.
        scorer: Scores of all items for the users.
        store: Holds the histories.
        examples: The users.
        popularity: Of the items, on the training part.
        preset: The definitions.

    Raises:
        DataError: No user has taken anything that was counted, and `popularity_bias` divides by that.
    """
    if not metrics:
        return {}
    # No list is longer than the catalogue, whatever was asked for.
    lengths = {metric: min(metric.k or 0, store.n_items) for metric in metrics}
    values = np.stack([popularity.events, popularity.self_information()])
    lists = top_lists(
        scorer, store, examples, sorted(set(lengths.values())), values, excluded=preset.excluded
    )
    found: dict[Metric, PerUser | float] = {}
    for metric in metrics:
        of_k = lists[lengths[metric]]
        if metric.kind == "coverage":
            items = {"items": store.n_items, "items and padding": store.n_items + 1, "nothing": 1}
            found[metric] = of_k.covered / items[preset.coverage]
        elif metric.kind == "popularity_bias":
            found[metric] = _bias(of_k, mean_over_history(store, examples, popularity.events), metric)
        else:
            found[metric] = PerUser.of(of_k.means[int(metric.kind == "novelty")], of_k.length > 0)
    return found


def _bias(lists: TopLists, history: ndarray, metric: Metric) -> PerUser:
    weight = history * (lists.length > 0)
    if not weight.any():
        do = "Leave this metric out, or use a split whose training part has these items."
        found = "none"
        raise DataError(str(metric), expected="histories with items of the training part", found=found, do=do)
    return PerUser(lists.means[0] * (lists.length > 0) - weight, weight)
