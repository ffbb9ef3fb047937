"""Definitions of next-item metrics: ours, and those of other tools where they differ, for the same scores.

What a tool leaves to chance (the order of items with equal scores) is the mean over all orders here too, so that a preset
gives the tool's number where no scores are equal and its expectation where some are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from usermodel.errors import ConfigError, nearest
from usermodel.metrics.names import Metric
from usermodel.metrics.top_lists import Excluded

PresetName = Literal["recbole", "rectools", "bars"]


@dataclass(frozen=True)
class Preset:
    """What a tool means by its numbers.

    Attributes:
        tool: Name and version of the code that was read and run.
        names: Kind of metric -> what the tool calls it; it has no others.
        excluded: Items that are left out of the ranking; a target among them is a miss.
        decimals: Digits after the point that the tool rounds to.
        full_ideal: ``ndcg@k`` is divided by the gain of ``k`` hits, not of one.
        equal_gauc: Users weigh alike in ``gauc``; else each weighs as much as it has candidates.
        coverage: What ``coverage@k`` is divided by: the items, one more (the padding item), or nothing.
        without_first: Popularity leaves out the first training event of each user, which is nobody's target.
    """

    tool: str
    names: dict[str, str]
    excluded: Excluded
    decimals: int | None = None
    full_ideal: bool = False
    equal_gauc: bool = False
    coverage: Literal["items", "items and padding", "nothing"] = "items"
    without_first: bool = False


OURS: Final = Preset("usermodel", {}, "history")
PRESETS: Final[dict[PresetName, Preset]] = {
    "recbole": Preset(
        "RecBole 1.2.1, sequential models",
        {
            "hit": "Hit",
            "recall": "Recall",
            "ndcg": "NDCG",
            "map": "MAP",
            "mrr": "MRR",
            "gauc": "GAUC",
            "coverage": "ItemCoverage",
            "arp": "AveragePopularity",
        },
        "nothing",
        decimals=4,
        equal_gauc=True,
        coverage="items and padding",
        without_first=True,
    ),
    "rectools": Preset(
        "RecTools 0.19.0, filter_viewed=True, default arguments",
        {
            "hit": "HitRate",
            "recall": "Recall",
            "ndcg": "NDCG",
            "map": "MAP",
            "mrr": "MRR",
            "coverage": "CatalogCoverage",
            "novelty": "MeanInvUserFreq",
            "arp": "AvgRecPopularity",
        },
        "history-and-repeats",
        full_ideal=True,
        coverage="nothing",
    ),
    "bars": Preset(
        "BARS: lists as in MatchBox 0.0.3, groups as in FuxiCTR 2.3.10 with a user's candidates as one group",
        {
            "hit": "HitRate",
            "recall": "Recall",
            "ndcg": "NDCG",
            "map": "MAP",
            "mrr": "MRR",
            "auc": "avgAUC",
            "gauc": "gAUC",
        },
        "history-and-repeats",
    ),
}
#: Cut off at k always; only FuxiCTR's has no cut-off.
_ALWAYS_CUT: Final = ("recbole", "rectools")


def preset_of(name: PresetName | None) -> Preset:
    """The preset of a tool, or our own definitions.

    Raises:
        ConfigError: No such preset.
    """
    if name is None:
        return OURS
    if name not in PRESETS:
        expected = f"a preset: {', '.join(PRESETS)}"
        raise ConfigError("as", expected=expected, found=repr(name), do=nearest(name, PRESETS))
    return PRESETS[name]


def always_cuts(name: PresetName | None) -> bool:
    """Whether every metric of the tool has a cut-off."""
    return name in _ALWAYS_CUT


def require(name: PresetName | None, metric: Metric) -> None:
    """Raise `ConfigError` unless the tool has the metric."""
    preset = preset_of(name)
    if name is None or (metric.kind in preset.names and not (metric == Metric("mrr") and always_cuts(name))):
        return
    has = ", ".join(f"{ours} ({theirs})" for ours, theirs in preset.names.items())
    found = f"{str(metric)!r}, which {preset.tool.partition(',')[0].partition(':')[0]} does not define"
    cut = " mrr needs a cut-off there, such as mrr@10." if metric.kind == "mrr" else ""
    do = f"Leave it out, or leave out the preset.{cut}"
    raise ConfigError("metric", expected=f"for --as {name} one of {has}", found=found, do=do)
