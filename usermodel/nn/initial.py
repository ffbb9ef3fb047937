"""Initial weights, as BERT and those who follow it draw them."""

from __future__ import annotations

from torch import nn

from usermodel.nn.item_table import ItemTable


def initialise(module: nn.Module, std: float) -> None:
    """Draw linear layers and tables anew with the given standard deviation; biases and rows of padding become zero."""
    for part in module.modules():
        if isinstance(part, ItemTable):
            part.reset(std)
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=std)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
        if isinstance(part, nn.Embedding) and part.padding_idx is not None:
            nn.init.zeros_(part.weight[part.padding_idx])
