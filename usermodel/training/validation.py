"""The default validation: next-item ranks of the validation targets."""

from __future__ import annotations

from collections.abc import Callable

import torch

from usermodel.embedding_table import DotScorer
from usermodel.encoders.encode import encode
from usermodel.encoders.protocol import EncoderModule
from usermodel.errors import DataError
from usermodel.events.splits import Split
from usermodel.metrics.next_item_ranks import rank_targets
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore

#: An encoder in, metrics out; the monitored one must be among them.
Validate = Callable[[EncoderModule], dict[str, float]]


def next_item_validation(store: SequenceStore, split: Split, max_history: int, monitor: str) -> Validate:
    """Full ranking of each user's validation target.

    Raises:
        DataError: The split leaves no validation target.
    """
    users, rows = split.targets("valid")
    if not len(users):
        do = "Use longer histories or another split."
        raise DataError(str(store.path), expected="a validation target for some user", found="none", do=do)
    examples = Examples.histories(store, users, rows, max_history)
    names = dict.fromkeys([monitor, "hit@10", "ndcg@10"])

    def validate(encoder: EncoderModule) -> dict[str, float]:
        vectors = torch.from_numpy(encode(encoder, store, examples))
        with torch.no_grad():
            items = encoder.item_vectors().float().cpu()[: store.n_items]
        ranks = rank_targets(DotScorer(vectors, items, rows=users), store, examples)
        return {name: float(ranks.metric(name).mean()) for name in names}

    return validate
