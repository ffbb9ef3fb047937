"""Checkpoints in the manner of ICSRec's official code: random weights under its names, and its way of saving."""

from collections import OrderedDict
from unittest import mock

import torch


def sas_weights(n_items=12, dim=6, hidden=10, layers=2, max_len=5):
    torch.manual_seed(3)
    weights = OrderedDict()
    weights["item_embeddings.weight"] = torch.randn(n_items + 2, dim)
    weights["position_embeddings.weight"] = torch.randn(max_len, dim)

    def norm(name):
        weights[name + ".weight"], weights[name + ".bias"] = 1 + torch.randn(dim) / 5, torch.randn(dim) / 5

    def linear(name, out, inner):
        weights[name + ".weight"], weights[name + ".bias"] = torch.randn(out, inner) / 2, torch.randn(out) / 2

    norm("LayerNorm")
    for number in range(layers):
        own = f"item_encoder.layer.{number}."
        for name in ("query", "key", "value", "dense"):
            linear(f"{own}attention.{name}", dim, dim)
        norm(own + "attention.LayerNorm")
        linear(own + "intermediate.dense_1", hidden, dim)
        linear(own + "intermediate.dense_2", dim, hidden)
        norm(own + "intermediate.LayerNorm")
    return weights


def gru_weights(n_items=12, dim=6, hidden=10, layers=1):
    torch.manual_seed(4)
    weights = OrderedDict()
    weights["item_embeddings.weight"] = torch.randn(n_items + 2, dim)
    for number in range(layers):
        weights[f"gru_layers.weight_ih_l{number}"] = torch.randn(3 * hidden, hidden if number else dim) / 2
        weights[f"gru_layers.weight_hh_l{number}"] = torch.randn(3 * hidden, hidden) / 2
    weights["dense.weight"], weights["dense.bias"] = torch.randn(dim, hidden), torch.randn(dim)
    return weights


def save_for_cuda(content, path, *, is_zip=False):
    """As a machine with a GPU would: every tensor is tagged as stored on its first one."""
    with mock.patch("torch.serialization.location_tag", return_value="cuda:0"):
        torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    assert b"cuda:0" in path.read_bytes()
    assert (path.read_bytes()[:2] == b"PK") == is_zip
