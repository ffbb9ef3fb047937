"""ICSRec's terms against plain loops, k-means over all pieces, and what the switches reach."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from usermodel.encoders.encode import encode
from usermodel.encoders.transformer import TransformerConfig
from usermodel.losses.info_nce import info_nce
from usermodel.objectives.icsrec import IcsrecConfig
from usermodel.objectives.intents import Intents
from usermodel.sampling.pieces import PiecesConfig

PIECES = [[1, 2, 3], [4, 5], [6, 3], [7, 8, 9, 5]]
PARTNERS = [[6, 3], [7, 8, 9, 5], [1, 2, 3], [4, 5]]


def encoder_of(n_items=10, **options):
    torch.manual_seed(0)
    shape = {"dim": 8, "hidden": 16, "layers": 1, "dropout": 0.0, "init_std": 0.3}
    return TransformerConfig(**shape | options).build(n_items)


def batch_of(make_batch):
    return dataclasses.replace(make_batch(*PIECES), partner=make_batch(*PARTNERS))


def test_the_terms_by_hand(make_batch):
    encoder = encoder_of()
    objective = IcsrecConfig(coarse=0.3, fine=0.1, clusters=3).build(encoder)
    objective.intents.fit(np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32))
    output = objective(encoder, batch_of(make_batch))
    h = encoder(make_batch(*[piece[:-1] for piece in PIECES])).users
    g = encoder(make_batch(*[piece[:-1] for piece in PARTNERS])).users
    target = [piece[-1] for piece in PIECES]
    logits = (h @ encoder.item_vectors().T).tolist()
    softmax = np.mean(
        [math.log(sum(map(math.exp, row))) - row[item - 1] for row, item in zip(logits, target, strict=True)]
    )
    centroids = objective.intents.centroids
    fine = 0.0
    for vectors in (h, g):
        number = [
            min(range(3), key=lambda c: float((v - centroids[c]).square().sum())) for v in vectors.detach()
        ]
        unit = torch.stack([centroids[c] / centroids[c].norm() for c in number])
        fine += info_nce(vectors, unit, torch.tensor(number)).item()
    coarse = info_nce(h, g, torch.tensor(target)).item()
    assert output.parts["softmax"].item() == pytest.approx(softmax, rel=1e-5)
    assert output.parts["coarse"].item() == pytest.approx(coarse, rel=1e-5)
    assert output.parts["fine"].item() == pytest.approx(fine, rel=1e-5)
    assert output.loss.item() == pytest.approx(softmax + 0.3 * coarse + 0.1 * fine, rel=1e-5)
    assert output.n_targets == 4


@pytest.mark.parametrize(
    ("options", "passes"), [({}, 3), ({"shared_pass": True}, 2), ({"coarse": 0, "fine": 0}, 1)]
)
def test_the_number_of_passes(make_batch, options, passes):
    encoder = encoder_of(dropout=0.3)
    seen = []
    encoder.register_forward_hook(lambda *args: seen.append(args))
    IcsrecConfig(**options).build(encoder)(encoder, batch_of(make_batch))
    assert len(seen) == passes


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"coarse": 0}, ["softmax", "fine"]),
        ({"fine": 0}, ["softmax", "coarse"]),
        ({"coarse": 0, "fine": 0}, ["softmax"]),
    ],
)
def test_terms_of_weight_0_are_left_out(make_batch, options, parts):
    encoder = encoder_of()
    assert list(IcsrecConfig(**options).build(encoder)(encoder, batch_of(make_batch)).parts) == parts


@pytest.mark.parametrize(
    "options",
    [{"temperature": 0.5}, {"similarity": "cosine"}, {"mask_false_negatives": False}, {"next_item": 0.5}],
)
def test_the_switches_reach_the_loss(make_batch, options):
    encoder, losses = encoder_of(), []
    for config in (IcsrecConfig(), IcsrecConfig(**options)):
        objective = config.build(encoder)
        objective.intents.fit(np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32))
        losses.append(objective(encoder, batch_of(make_batch)).loss.item())
    assert losses[0] != losses[1]


@pytest.mark.parametrize(
    "options", [{"next_item": 0, "coarse": 0, "fine": 0}, {"coarse": 0, "fine": 0, "shared_pass": True}]
)
def test_options_without_effect_are_refused(options):
    with pytest.raises(ValueError, match="above 0"):
        IcsrecConfig(**options)


def test_all_pieces_are_clustered_without_their_targets(tiny_store):
    encoder = encoder_of(tiny_store.n_items)
    objective = IcsrecConfig(clusters=2).build(encoder)
    rng = np.random.default_rng(0)
    sampler = PiecesConfig(partner="last")
    examples = sampler.sample(tiny_store, tiny_store.split(), max_history=50, rng=rng)
    objective.on_epoch_start(encoder, tiny_store, examples)
    vectors = encode(encoder, tiny_store, examples.shortened())
    wanted = Intents(2, encoder.dim)
    wanted.fit(vectors)
    assert bool(objective.intents.fitted)
    torch.testing.assert_close(objective.intents.centroids, wanted.centroids)


def test_clusters_keep_their_numbers_from_epoch_to_epoch():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(300, 4)).astype(np.float32)
    intents = Intents(6, 4)
    intents.fit(points)
    before = intents.of(torch.from_numpy(points))
    intents.fit(points[rng.permutation(300)])
    assert (intents.of(torch.from_numpy(points)) == before).float().mean() > 0.95


def test_the_nearest_centroid_by_distance_and_a_prototype_of_length_1():
    torch.manual_seed(0)
    intents, points = Intents(5, 3), torch.randn(40, 3)
    intents.centroids.copy_(torch.randn(5, 3) * 3)
    assert torch.equal(intents.of(points), torch.cdist(points, intents.centroids).argmin(1))
    assert torch.allclose(intents.prototypes(torch.arange(5)).norm(dim=1), torch.ones(5))


def test_fewer_vectors_than_clusters_and_none():
    intents = Intents(8, 3)
    intents.fit(np.zeros((0, 3), dtype=np.float32))
    assert not intents.fitted
    points = np.eye(3, dtype=np.float32)
    intents.fit(points)
    assert intents.of(torch.from_numpy(points)).tolist() == [0, 1, 2]
