"""The mean of the item vectors of a history: what an encoder's own table of items says without the encoder."""

from __future__ import annotations

import torch

from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.encoders.io import SavedEncoder
from usermodel.encoders.mean_pool import MeanPoolConfig


def mean_of_items(encoder: UserEncoder) -> UserEncoder:
    """An encoder whose vectors are means of the item vectors of another, over the events which that one reads.

    Its items are those of ``encoder``, so that it ranks and probes like any encoder; nothing is trained.
    """
    items = encoder.items().to_numpy()
    config = MeanPoolConfig(dim=items.shape[1], max_history=encoder.module.max_history, dropout=0.0)
    module = config.build(len(items))
    with torch.no_grad():
        module.items.weight[1:] = torch.from_numpy(items)
    name = f"mean of the items of {encoder.content_hash}"
    return UserEncoder(SavedEncoder(module.eval(), config, encoder.vocabulary, name), encoder.path)
