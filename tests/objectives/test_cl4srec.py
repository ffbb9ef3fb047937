"""CL4SRec and CoSeRec: the sum by plain loops, with views that draw nothing; what the switches reach; a short run."""

import math

import numpy as np
import pytest
import torch

from usermodel.encoders.transformer import TransformerConfig
from usermodel.errors import ConfigError
from usermodel.negatives.uniform import Uniform
from usermodel.objectives.cl4srec import Cl4srecConfig
from usermodel.objectives.coserec import CoserecConfig
from usermodel.objectives.next_item import NextItemConfig
from usermodel.views.crop import Crop
from usermodel.views.substitute import Substitute

HISTORIES = [[1, 2, 3, 4], [5, 6, 7], [8, 9], [10]]


def encoder_of(**options):
    torch.manual_seed(0)
    shape = {"dim": 8, "hidden": 16, "layers": 1, "dropout": 0.0, "init_std": 0.3}
    return TransformerConfig(**shape | options).build(10)


def nce(one, other, temperature, cosine):
    """Each view against its partner and all views of others, in Python numbers."""
    rows = np.concatenate([one, other])
    if cosine:
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    n, losses = len(one), []
    for i, row in enumerate(rows):
        scores = [float(row @ rows[j]) / temperature for j in range(2 * n)]
        mine = (i + n) % (2 * n)
        total = sum(math.exp(scores[j]) for j in range(2 * n) if j != i)
        losses.append(math.log(total) - scores[mine])
    return np.mean(losses)


@pytest.mark.parametrize(("similarity", "temperature"), [("dot", 1.0), ("cosine", 0.2)])
def test_the_sum_by_hand(make_batch, similarity, temperature):
    encoder, batch = encoder_of(), make_batch(*HISTORIES)
    options = {"weight": 0.3, "similarity": similarity, "temperature": temperature}
    output = Cl4srecConfig(view=Crop(ratio=1), **options).build(encoder)(encoder, batch)
    # A crop to everything is the history itself, without its last event; the last user has none left.
    users = encoder(make_batch(*[history[:-1] for history in HISTORIES[:3]])).users.detach().double().numpy()
    contrast = nce(users, users, temperature, similarity == "cosine")
    expected = NextItemConfig().build(encoder)(encoder, batch)
    assert list(output.parts) == ["softmax", "contrast"]
    assert output.parts["contrast"].item() == pytest.approx(contrast, rel=1e-5)
    assert output.loss.item() == pytest.approx(expected.loss.item() + 0.3 * contrast, rel=1e-5)
    assert output.n_targets == 3 + 2 + 1


def test_coserec_puts_in_similar_items(make_batch):
    encoder, batch = encoder_of(), make_batch(*HISTORIES)
    objective = CoserecConfig(view=Substitute(ratio=1), weight=0.3).build(encoder)
    table = torch.tensor([0, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1])
    objective.views.similar.most_similar.copy_(table)
    output = objective(encoder, batch)
    changed = [table[history[:-1]].tolist() for history in HISTORIES[:3]]
    users = encoder(make_batch(*changed)).users.detach().double().numpy()
    assert output.parts["contrast"].item() == pytest.approx(nce(users, users, 1.0, True), rel=1e-5)
    # What is predicted stays as it was.
    expected = NextItemConfig().build(encoder)(encoder, batch)
    assert output.parts["softmax"].item() == pytest.approx(expected.loss.item(), rel=1e-6)


def test_a_hybrid_needs_a_view_that_puts_in_similar_items():
    config = CoserecConfig(view=Crop(ratio=1), hybrid_after=3)
    with pytest.raises(ConfigError, match=r"objective\.hybrid_after: expected a view .*; found Crop"):
        config.build(encoder_of())
    config = config.override({"view": Substitute(ratio=1)})
    assert config.build(encoder_of()).views.similar.hybrid_after == 3


def test_a_user_alone_has_no_negatives(make_batch):
    encoder = encoder_of()
    output = Cl4srecConfig(view=Crop(ratio=1)).build(encoder)(encoder, make_batch([1, 2, 3]))
    assert output.parts["contrast"].item() == 0


def test_the_next_item_may_be_told_from_drawn_negatives(make_batch):
    encoder = encoder_of(mask_token=True)
    config = Cl4srecConfig(next_item=NextItemConfig(loss="bce", n_negatives=3))
    assert config.draws_negatives(10)
    assert not Cl4srecConfig().draws_negatives(10)
    objective = config.build(encoder, Uniform(10))
    assert objective.facts() == {"loss": "bce", "n_negatives": 3, "prior": True}
    assert list(objective(encoder, make_batch(*HISTORIES)).parts) == ["bce", "contrast"]


@pytest.mark.parametrize("config", [Cl4srecConfig(), CoserecConfig()], ids=lambda one: type(one).__name__)
def test_encoders_that_do_not_fit_are_refused(config):
    with pytest.raises(ConfigError, match=r"encoder\.mask_token"):
        config.build(encoder_of())
    with pytest.raises(ConfigError, match=r"encoder\.causal"):
        config.build(encoder_of(mask_token=True, causal=False))
