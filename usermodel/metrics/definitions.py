"""Definition cards: what a next-item number means, in a sentence that is printed and written beside it."""

from __future__ import annotations

from typing import Final

from usermodel.metrics.names import Metric
from usermodel.metrics.presets import OURS, Preset

_WHAT: Final = {
    "hit": "share of users whose target is among the first {k} (equals recall@{k}: one target a user)",
    "recall": "share of a user's targets among the first {k} (equals hit@{k}: one target a user)",
    "ndcg": "mean of 1/log2(rank+1) if rank <= {k}, else 0 ({ideal})",
    "map": "mean of 1/rank if rank <= {k}, else 0: average precision (equals mrr@{k}: one target a user)",
    "mrr": "mean of 1/rank{cut}",
    "auc": "share of a user's other candidates that score below the target, equal ones counted half",
    "gauc": "share of a user's other candidates that score below the target, equal ones counted half",
    "coverage": "{share} in the first {k} of at least one user",
    "novelty": (
        "mean over the first {k} items of -log2(training users who took the item / training users), in bits; "
        "an item that nobody took counts as one user's (self-information: Vargas and Castells 2011)"
    ),
    "arp": "mean over the first {k} items of their {events} (average recommendation popularity: Yin et al. 2012)",
    "popularity_bias": (
        "how far the first {k} items are more popular than the user's own history: mean training events of the items in the "
        "list, over users, divided by the same of the history before the target, minus 1 (Abdollahpouri et al. 2019); "
        "0 = as popular"
    ),
}
_SEEN: Final = {
    "history": "seen = the whole history before the target, excluded, never the target itself",
    "history-and-repeats": "the whole history before the target is excluded; a target that repeats is excluded too: a miss",
    "nothing": "nothing is excluded: the history stays in the ranking",
}
_WEIGHTS: Final = {
    "gauc": "mean over users weighted by their candidates",
    "coverage": "all users together, without an interval: users drawn twice cover less",
    "popularity_bias": "ratio of two means over users",
}


_ORDER: Final = "the tool takes whatever order its sort leaves"


def what(metric: Metric, preset: Preset = OURS) -> str:
    """What is counted, without the rules that all metrics share."""
    k = "K" if metric.k is None else f"{metric.k}"
    ideal = f"ideal 1/log2(2)+...+1/log2({k}+1)" if preset.full_ideal else "ideal 1: one target a user"
    share = {
        "items": "share of all items that are",
        "items and padding": "items / (all items + 1, the padding item) that are",
        "nothing": "number of items that are",
    }[preset.coverage]
    events = "training events" + (", without the first one of each user" if preset.without_first else "")
    cut = "" if metric.k is None else f" if rank <= {k}, else 0"
    text = _WHAT[metric.kind].format(k=k, ideal=ideal, share=share, events=events, cut=cut)
    return f"{text} ({preset.tool}: {preset.names[metric.kind]})" if preset is not OURS else text


def rules(metric: Metric, preset: Preset = OURS) -> str:
    """Candidates, mask, ties, weights, rounding."""
    ties = "ties: mean over all orders of the tied items" + ("" if preset is OURS else f" ({_ORDER})")
    weights = _WEIGHTS.get(metric.kind, "mean over users")
    if metric.kind == "gauc" and preset.equal_gauc:
        weights = "mean over users, each weighted by its one target"
    parts = ["full ranking over all items", _SEEN[preset.excluded], ties, weights]
    if preset.decimals is not None:
        parts.append(f"rounded to {preset.decimals} places")
    return "; ".join(parts)


def definition(metric: Metric, preset: Preset = OURS, part: str = "test") -> str:
    """The whole card of a number: what is counted; candidates, mask, ties, weights, target."""
    target = f"target: the first event of each user's {part} part"
    return f"{what(metric, preset)}; {rules(metric, preset)}; {target}"
