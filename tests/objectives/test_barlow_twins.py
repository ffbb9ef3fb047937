"""Barlow Twins: the projection and the weighted sum by plain numpy."""

import numpy as np
import pytest
import torch

from tests.objectives.test_cl4srec import encoder_of
from usermodel.losses.barlow_twins import barlow_twins
from usermodel.objectives.barlow_twins import BarlowTwinsConfig
from usermodel.views.crop import Crop

HISTORIES = [[1, 2, 3, 4], [], [5, 6, 7], [8], [9, 2], [3, 3, 3]]


def standardised(rows):
    return (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5)


@pytest.mark.parametrize("projection", [0, 5])
def test_the_loss_by_hand(make_batch, projection):
    encoder = encoder_of(causal=False)
    objective = BarlowTwinsConfig(view=Crop(ratio=1), projection=projection, redundancy=0.2).build(encoder)
    output = objective(encoder, make_batch(*HISTORIES))
    z = encoder(make_batch(*[history for history in HISTORIES if history])).users.detach().double().numpy()
    weights = [layer.weight.detach().double().numpy() for layer in objective.layers]
    assert [one.shape for one in weights] == ([(5, 8), (5, 5), (5, 5)] if projection else [])
    for number, weight in enumerate(weights):
        z = (np.maximum(standardised(z), 0) if number else z) @ weight.T
    z = standardised(z)
    c = z.T @ z / len(z)
    invariance = ((1 - np.diag(c)) ** 2).sum()
    redundancy = (c**2).sum() - (np.diag(c) ** 2).sum()
    assert output.parts["invariance"].item() == pytest.approx(invariance, abs=1e-5)
    assert output.parts["redundancy"].item() == pytest.approx(redundancy, rel=1e-4)
    assert output.loss.item() == pytest.approx(invariance + 0.2 * redundancy, rel=1e-4)
    assert output.n_targets == 5


def test_views_are_compared_with_each_other(make_batch):
    encoder = encoder_of()
    objective = BarlowTwinsConfig(view=Crop(ratio=0.5), projection=0).build(encoder)
    seen = []
    encoder.register_forward_hook(lambda _, args, out: seen.append(out.users))
    output = objective(encoder, make_batch(*HISTORIES))
    one, other = seen[0].view(2, 5, -1)
    assert not torch.allclose(one, other)
    assert output.parts["invariance"].item() == pytest.approx(barlow_twins(one, other).invariance.item())


def test_one_user_has_no_loss(make_batch):
    encoder = encoder_of()
    output = BarlowTwinsConfig(view=None).build(encoder)(encoder, make_batch([1, 2]))
    assert output.loss.item() == 0
