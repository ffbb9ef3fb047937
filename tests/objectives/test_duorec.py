"""DuoRec's terms by plain loops, each weight alone, and partners only where they are used."""

import dataclasses
import math

import numpy as np
import pytest

from tests.objectives.test_cl4srec import encoder_of, nce
from usermodel.objectives.duorec import DuorecConfig

PIECES = [[1, 2, 3], [4, 5], [6, 3], [7, 8, 9, 5]]
PARTNERS = [[6, 3], [7, 8, 9, 5], [1, 2, 3], [4, 5]]


def users_of(encoder, make_batch, pieces):
    return encoder(make_batch(*[piece[:-1] for piece in pieces])).users.detach().double().numpy()


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_the_terms_by_hand(make_batch, similarity):
    encoder = encoder_of()
    batch = dataclasses.replace(make_batch(*PIECES), partner=make_batch(*PARTNERS))
    config = DuorecConfig(cross=0.5, unsupervised=0.3, supervised=0.2, temperature=0.7, similarity=similarity)
    output = config.build(encoder)(encoder, batch)
    h, s = (users_of(encoder, make_batch, pieces) for pieces in (PIECES, PARTNERS))
    logits = (h @ encoder.item_vectors().detach().double().numpy().T).tolist()
    softmax = np.mean(
        [math.log(sum(map(math.exp, row))) - row[p[-1] - 1] for row, p in zip(logits, PIECES, strict=True)]
    )
    # Without dropout the second pass is the first one. Pieces with the same target are negatives.
    own, with_partner = (nce(h, other, 0.7, similarity == "cosine") for other in (h, s))
    assert {name: value.item() for name, value in output.parts.items()} == pytest.approx(
        {"softmax": softmax, "cross": with_partner, "unsupervised": own, "supervised": with_partner}, rel=1e-5
    )
    assert output.loss.item() == pytest.approx(softmax + 0.7 * with_partner + 0.3 * own, rel=1e-5)
    assert output.n_targets == len(PIECES)


@pytest.mark.parametrize(
    ("weights", "passes"),
    [
        ({}, [PIECES, PIECES, PARTNERS]),
        ({"cross": 0, "unsupervised": 0.1}, [PIECES, PIECES]),
        ({"cross": 0, "supervised": 0.1}, [PIECES, PARTNERS]),
        ({"unsupervised": 0.1, "supervised": 0.1}, [PIECES, PIECES, PARTNERS]),
    ],
    ids=["us_x", "un", "su", "all"],
)
def test_the_passes_that_each_weight_needs(make_batch, weights, passes):
    encoder, seen = encoder_of(), []
    batch = dataclasses.replace(make_batch(*PIECES), partner=make_batch(*PARTNERS))
    encoder.register_forward_hook(lambda _, args, out: seen.append(args[0].item_index.tolist()))
    config = DuorecConfig(**weights)
    config.build(encoder)(encoder, batch)
    assert seen == [[item for piece in pieces for item in piece[:-1]] for pieces in passes]
    assert config.wants_partners == (PARTNERS in passes)


def test_the_cross_contrast_is_not_of_the_pass_that_predicts(make_batch):
    """With dropout in the first pass alone, the default contrast is as without dropout."""
    encoder = encoder_of(dropout=0.4)
    batch = dataclasses.replace(make_batch(*PIECES), partner=make_batch(*PARTNERS))
    passes = []

    def calm(*_):
        passes.append(1)
        encoder.eval()

    encoder.register_forward_hook(calm)
    found = DuorecConfig().build(encoder)(encoder.train(), batch)
    assert len(passes) == 3
    h, s = (users_of(encoder, make_batch, pieces) for pieces in (PIECES, PARTNERS))
    assert found.parts["cross"].item() == pytest.approx(nce(h, s, 1.0, cosine=False), rel=1e-5)


def test_nothing_to_contrast_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        DuorecConfig(cross=0)
