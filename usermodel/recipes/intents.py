"""Recipes of ICSRec: next items and the intents behind them."""

from __future__ import annotations

from usermodel.encoders.transformer import TransformerConfig
from usermodel.objectives.icsrec import IcsrecConfig
from usermodel.objectives.packed_intents import PackedIntentsConfig
from usermodel.sampling.pieces import PiecesConfig
from usermodel.training.recipe import Recipe, TrainingConfig


def icsrec() -> Recipe:
    """`next_item` and contrasts of prefixes with the same next item or intent, from two passes over whole histories."""
    training = TrainingConfig(batch_events=4096, learning_rate=3e-3, schedule="plateau", patience=2)
    return Recipe(encoder=TransformerConfig(dropout=0.4), objective=PackedIntentsConfig(), training=training)


def icsrec_long() -> Recipe:
    """`icsrec` for long histories of items with many events, such as films: 200 events, less dropout, averaged weights."""
    # Nearly every prefix shares its target with another one of the batch there: the second pass would change little.
    changes = {
        "encoder.max_history": 200,
        "encoder.dropout": 0.1,
        "objective.second_pass": False,
        "training.ema": 0.998,
    }
    return icsrec().override(changes)


def icsrec_official() -> Recipe:
    """ICSRec as released, with the settings of its script for Beauty: every piece of a history in passes of its own."""
    return Recipe(
        sampling=PiecesConfig(partner="last"),
        encoder=TransformerConfig(positions="from_end", dropout=0.5, attention_dropout=0.5),
        objective=IcsrecConfig(),
        training=TrainingConfig(
            batch_users=256, learning_rate=1e-3, max_epochs=300, monitor="ndcg@20", patience=40
        ),
    )
