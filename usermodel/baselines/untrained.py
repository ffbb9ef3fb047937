"""The encoder of a run before its first step: what the architecture says without pretraining."""

from __future__ import annotations

import torch

from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.encoders.io import SavedEncoder
from usermodel.loader import generator
from usermodel.training.run import Run


def untrained(run: Run, encoder: UserEncoder) -> UserEncoder:
    """The encoder that a run begins with, its first stage where it has several, with weights drawn from its seed.

    Args:
        run: Its recipe and seed.
        encoder: That of the run: its items are known, and features of items are as they were then.
    """
    first = (*run.recipe.stages, run.recipe)[0]
    seed = int(generator(first.training.seed, "init").integers(2**63 - 1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = first.encoder.build_for(encoder.module.catalogue())
    # What is no weight, such as features of items, is the same before and after training.
    module.load_state_dict(dict(encoder.module.named_buffers()), strict=False)
    saved = SavedEncoder(module.eval(), first.encoder, encoder.vocabulary, f"untrained, seed {seed}")
    return UserEncoder(saved, run.path)
