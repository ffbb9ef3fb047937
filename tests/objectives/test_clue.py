"""CLUE: InfoNCE of two views alone, by plain loops, and views by dropout alone."""

import pytest
import torch

from tests.objectives.test_cl4srec import encoder_of, nce
from usermodel.objectives.clue import ClueConfig
from usermodel.views.crop import Crop

HISTORIES = [[1, 2, 3, 4], [], [5, 6, 7], [8]]


def test_the_loss_by_hand(make_batch):
    encoder = encoder_of(causal=False)
    output = ClueConfig(view=Crop(ratio=1)).build(encoder)(encoder, make_batch(*HISTORIES))
    # The whole history: there is no target to leave out.
    users = encoder(make_batch(*[history for history in HISTORIES if history])).users.detach().numpy()
    assert output.loss.item() == pytest.approx(nce(users, users, 0.1, cosine=True), rel=1e-4)
    assert output.n_targets == 3


def test_implicit_views_differ_by_dropout(make_batch):
    torch.manual_seed(0)
    batch, losses = make_batch(*HISTORIES), []
    for dropout in (0.0, 0.5):
        encoder = encoder_of(dropout=dropout)
        objective = ClueConfig(view=None).build(encoder)
        losses.append({objective(encoder, batch).loss.item() for _ in range(3)})
    assert [len(found) for found in losses] == [1, 3]
