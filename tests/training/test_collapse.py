"""Collapsed vectors are noticed while they are trained."""

import warnings

import numpy as np
import pytest
import torch

from usermodel.encoders.encode import encode
from usermodel.encoders.transformer import TransformerConfig
from usermodel.metrics.embedding_health import moments, uniformity
from usermodel.sampling.protocol import Examples
from usermodel.training.collapse import CollapseWatch
from usermodel.training.pretrain import pretrain


def encoder_of(store, **options):
    torch.manual_seed(0)
    return TransformerConfig(dim=16, hidden=16, layers=1, max_history=8, **options).build(store.n_items)


def test_the_figures_are_those_of_training_histories(store):
    encoder, split = encoder_of(store, init_std=0.5), store.split()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = CollapseWatch(store, split, 8)(encoder)
    vectors = encode(encoder, store, Examples.histories(store, np.arange(store.n_users), split.train_stop, 8))
    assert found == {"effective_rank": moments(vectors).effective_rank(), "uniformity": uniformity(vectors)}


def test_vectors_along_one_direction_are_warned_of(store):
    class OneDirection(type(encoder_of(store))):
        def users_of_many(self, n_events):
            return lambda batch: self.users(batch)[:, :1] * torch.ones(1, self.dim)

    encoder = encoder_of(store, init_std=0.5)
    encoder.__class__ = OneDirection
    with pytest.warns(RuntimeWarning, match=r"use 1\.0 of 16 directions"):
        assert CollapseWatch(store, store.split(), 8)(encoder)["effective_rank"] == pytest.approx(1, abs=1e-6)


def test_equal_vectors_are_warned_of_and_vectors_that_are_not_finite_are_not_judged(store):
    encoder = encoder_of(store)
    with torch.no_grad():
        encoder.items.weight.copy_(torch.randn(16).expand_as(encoder.items.weight))
    with pytest.warns(RuntimeWarning, match=r"100\.00 % of their length in common"):
        CollapseWatch(store, store.split(), 8)(encoder)
    with torch.no_grad():
        encoder.items.weight.fill_(torch.nan)
    assert CollapseWatch(store, store.split(), 8)(encoder) == {}


def test_the_curves_are_in_the_history_of_a_run(store, recipe, tmp_path):
    for name, changes in {"validated": {}, "not": {"training.monitor": "none"}}.items():
        rows = pretrain(store, recipe.override(changes), tmp_path / name).history()
        assert all(1 < row["effective_rank"] <= 16 and row["uniformity"] < 0 for row in rows)
