"""Recipes that compare views of users, or histories with a common target."""

from __future__ import annotations

from usermodel.encoders.adaptssr import adaptssr_encoder
from usermodel.encoders.transformer import TransformerConfig
from usermodel.objectives.barlow_twins import BarlowTwinsConfig
from usermodel.objectives.cl4srec import Cl4srecConfig
from usermodel.objectives.clue import ClueConfig
from usermodel.objectives.coserec import CoserecConfig
from usermodel.objectives.duorec import DuorecConfig
from usermodel.sampling.pieces import PiecesConfig
from usermodel.sampling.recent import RecentConfig
from usermodel.training.recipe import Recipe, TrainingConfig


def cl4srec() -> Recipe:
    """CL4SRec: next item, and two crops, masks or shuffles of each history closer than those of others."""
    encoder = TransformerConfig(positions="from_end", dropout=0.5, attention_dropout=0.5, mask_token=True)
    return Recipe(encoder=encoder, objective=Cl4srecConfig(), training=TrainingConfig(batch_users=256))


def coserec() -> Recipe:
    """CoSeRec: CL4SRec with similar items put in, and without crops and shuffles of short histories."""
    encoder = TransformerConfig(positions="from_end", dropout=0.5, attention_dropout=0.5, mask_token=True)
    training = TrainingConfig(batch_users=256, monitor="ndcg@20", patience=40, max_epochs=300)
    return Recipe(encoder=encoder, objective=CoserecConfig(hybrid_after=160), training=training)


def duorec() -> Recipe:
    """DuoRec: next item, and pieces of histories with the same target closer than others, under dropout."""
    return Recipe(
        sampling=PiecesConfig(partner="random"),
        encoder=TransformerConfig(positions="from_start", dropout=0.5, attention_dropout=0.5),
        objective=DuorecConfig(),
        training=TrainingConfig(batch_users=256, monitor="mrr", patience=10, max_epochs=50),
    )


def clue() -> Recipe:
    """CLUE: two views of a user closer than those of others; user vectors for tasks about users, no item scores."""
    return Recipe(
        sampling=RecentConfig(),
        encoder=adaptssr_encoder(dropout=0.1),
        objective=ClueConfig(),
        training=TrainingConfig(batch_users=256, max_epochs=20, monitor="none"),
    )


def barlow_twins() -> Recipe:
    """Barlow Twins: two views of a user agree, dimensions do not; for tasks about users, no item scores."""
    return Recipe(
        sampling=RecentConfig(),
        encoder=adaptssr_encoder(dropout=0.1),
        objective=BarlowTwinsConfig(),
        training=TrainingConfig(batch_users=256, max_epochs=20, monitor="none"),
    )
