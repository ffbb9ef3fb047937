"""Whether user vectors collapse in training: how many directions they use, and how evenly they fill the sphere."""

from __future__ import annotations

import warnings
from typing import Final

import numpy as np

from usermodel.encoders.encode import encode
from usermodel.encoders.protocol import EncoderModule
from usermodel.events.splits import Split
from usermodel.metrics.embedding_health import moments, uniformity
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore

#: Users that are looked at, spread evenly over the store: enough for two digits of either figure.
USERS: Final = 1024
#: Share of the directions below which vectors count as collapsed.
FEWEST: Final = 0.1
#: Share of the squared length common to all, above which vectors count as one: what is left may be rounding.
MOST_SHARED: Final = 0.999
EFFECTIVE_RANK: Final = "effective_rank"
UNIFORMITY: Final = "uniformity"


class CollapseWatch:
    """Effective rank and uniformity of the same users' vectors after every epoch; see `usermodel.metrics.embedding_health`.

    Args:
        store: Holds the histories.
        split: Only training events are read.
        max_history: Events that the encoder reads.
    """

    def __init__(self, store: SequenceStore, split: Split, max_history: int) -> None:
        users = np.flatnonzero(split.train_stop > split.start)
        users = users[:: max(1, len(users) // USERS)][:USERS]
        self.store = store
        self.examples = Examples.histories(store, users, split.train_stop[users], max_history)

    def __call__(self, encoder: EncoderModule) -> dict[str, float]:
        """Both figures; a warning when the vectors use hardly any directions. Nothing for fewer than two users."""
        vectors = encode(encoder, self.store, self.examples)
        # Not finite ones are the business of whoever scores with them.
        if not np.isfinite(vectors).all():
            return {}
        seen, even = moments(vectors), uniformity(vectors)
        rank, shared = seen.effective_rank(), seen.shared_length()
        if rank is None or shared is None or even is None:
            return {}
        if rank < FEWEST * encoder.dim or shared > MOST_SHARED:
            warnings.warn(
                f"collapse: the vectors of {len(vectors):,} users use {rank:.1f} of {encoder.dim} directions (effective rank), "
                f"and have {100 * shared:.2f} % of their length in common. "
                f"Lower training.learning_rate, raise encoder.dropout, or give a contrast more weight.",
                RuntimeWarning,
                stacklevel=2,
            )
        return {EFFECTIVE_RANK: rank, UNIFORMITY: even}
