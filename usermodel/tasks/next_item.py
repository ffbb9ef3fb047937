"""Next-item task: where does the item a user took next stand among the whole catalogue?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from usermodel.embedding_table import Scorer, unknown_items
from usermodel.errors import DataError, MismatchError
from usermodel.events.splits import LeaveLastOutConfig, SplitConfig, split_hash
from usermodel.metrics.next_item_ranks import rank_targets
from usermodel.metrics.ranking import definition
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.protocol import TaskCard, TaskResult

CARD = TaskCard("next-item", "Which item does the user take next?", "ndcg@10")


@dataclass(frozen=True)
class NextItem:
    """Full ranking of one target per user.

    Attributes:
        part: ``test`` or ``valid``.
        split: Which event of a user is the target.
        max_history: Events the encoder reads; seen items are those of the whole history all the same.
        ks: Cut-offs.
        n_items: Items that the encoder knows, when the store has grown since; None means all. See `Examples.histories`.
    """

    part: Literal["valid", "test"] = "test"
    split: SplitConfig = field(default_factory=LeaveLastOutConfig)
    max_history: int = 50
    ks: tuple[int, ...] = (5, 10, 20)
    card: TaskCard = CARD
    n_items: int | None = None

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
        """hit, ndcg at each cut-off and mrr, with intervals over users.

        Raises:
            MismatchError: The scorer says that it was fitted on another split or store: it may know the targets.
        """
        self._require_same_split(scorer, store)
        ranks = rank_targets(scorer, store, labels)
        names = [f"{kind}@{k}" for k in self.ks for kind in ("hit", "ndcg")] + ["mrr"]
        n_unknown = int((store.items[labels.target_start] > scorer.n_items).sum())
        rule = "; items that the scorer does not know: below all others" if unknown_items(scorer) else ""
        return [TaskResult.of(name, ranks.metric(name), definition(name) + rule, n_unknown) for name in names]

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
