"""Names of next-item metrics: ``ndcg@10`` is the kind ``ndcg`` with the cut-off 10."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from usermodel.errors import ConfigError, nearest

#: Kinds that come from the rank of the target.
RANK_KINDS: Final = ("hit", "recall", "ndcg", "map", "mrr", "auc", "gauc")
#: Kinds that come from whole lists of recommendations.
LIST_KINDS: Final = ("coverage", "novelty", "arp", "popularity_bias")
#: Kinds that have no cut-off, and the kind that may do without one.
_WITHOUT: Final = ("auc", "gauc")
_EITHER: Final = "mrr"
#: Longest cut-off: gains of that many ranks still fit into memory with ease.
_LONGEST: Final = 10_000_000


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        kind: One of `RANK_KINDS` or `LIST_KINDS`.
        k: Length of the list; None means the whole ranking.
    """

    kind: str
    k: int | None = None

    def __str__(self) -> str:
        return self.kind if self.k is None else f"{self.kind}@{self.k}"

    @property
    def of_lists(self) -> bool:
        """Whether it needs the items of the list and not the rank of the target alone."""
        return self.kind in LIST_KINDS


def parse(name: str) -> Metric:
    """``ndcg@10`` -> its kind and its cut-off.

    Raises:
        ConfigError: No metric of that name, and the nearest one is named; or a cut-off beyond any catalogue.
    """
    match = re.fullmatch(r"([a-z_]+)(?:@([1-9]\d*))?", name)
    kind, k = (match[1], match[2]) if match else ("", None)
    if kind in RANK_KINDS + LIST_KINDS and (kind == _EITHER or (k is None) == (kind in _WITHOUT)):
        if k and (len(k) > len(str(_LONGEST)) or int(k) > _LONGEST):
            do = "Choose a smaller one."
            raise ConfigError("metric", expected=f"a K of at most {_LONGEST:,}", found=f"{name!r:.80}", do=do)
        return Metric(kind, int(k) if k else None)
    number = re.search(r"@([1-9]\d*)", name)
    cut = [one for one in RANK_KINDS + LIST_KINDS if one not in _WITHOUT]
    choices = [f"{one}@{number[1] if number else 10}" for one in cut] + [_EITHER, *_WITHOUT]
    expected = f"{', '.join(f'{one}@K' for one in cut)}, {_EITHER}, {' or '.join(_WITHOUT)}"
    raise ConfigError("metric", expected=expected, found=repr(name), do=nearest(name, choices))
