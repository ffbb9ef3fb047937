"""The encoder of AdaptSSR, a configuration of the transformer that recipes about whole users share."""

from __future__ import annotations

from usermodel.encoders.transformer import TransformerConfig


def adaptssr_encoder(dropout: float) -> TransformerConfig:
    """Bidirectional, positions from the start, attention pooling (Yu et al. 2023, released code).

    Args:
        dropout: Also of the attention probabilities; all that differs between its stages.
    """
    return TransformerConfig(
        causal=False,
        readout="attention",
        positions="from_start",
        mask_token=True,
        dropout=dropout,
        attention_dropout=dropout,
    )
