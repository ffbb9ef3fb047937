"""The encoder of a run before its first step: what the architecture says without pretraining."""

from __future__ import annotations

import torch

from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.encoders.io import SavedEncoder
from usermodel.loader import generator
from usermodel.store.sequence_store import SequenceStore
from usermodel.training.run import Run


def untrained(run: Run, store: SequenceStore) -> UserEncoder:
    """The encoder that the recipe of a run begins with, for all items of ``store``, with weights drawn from its seed."""
    seed = int(generator(run.recipe.training.seed, "init").integers(2**63 - 1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = run.recipe.encoder.build_on(store)
    saved = SavedEncoder(module.eval(), run.recipe.encoder, store.vocabulary, f"untrained, seed {seed}")
    return UserEncoder(saved, run.path)
