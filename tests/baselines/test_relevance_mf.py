"""Rel-MF as a model: its two sums against the formula pair by pair, and what unbiasedness is good for on planted data."""

import numpy as np
import pytest
import torch

from usermodel.baselines.factors import PairBatch
from usermodel.baselines.fit import FitConfig, fit
from usermodel.baselines.interactions import Interactions
from usermodel.baselines.matrix_factorization import MatrixFactorization
from usermodel.baselines.relevance_mf import AllPairs, RelevanceConfig, SampledPairs
from usermodel.errors import ConfigError
from usermodel.negatives.protocol import Negatives
from usermodel.negatives.uniform import Uniform
from usermodel.store.propensity import Propensity

USERS, ITEMS = 4, 6
THETA = Propensity(np.array([1.0, 0.9, 0.5, 0.3, 0.1, 0.7, 0.2]), np.array([1.0, 0.5, 0.8, 0.9]), 0.12)


def one(score, clicked, theta, config):
    """A pair's loss, from the definition."""
    p, share = torch.sigmoid(score), (1.0 if clicked else 0.0) / max(theta, config.clip)
    value = share * (1 - p) ** 2 + (1 - share) * p**2
    return value if clicked else config.unclicked_weight * value


CONFIGS = [RelevanceConfig(), RelevanceConfig(clip=0.4), RelevanceConfig(unclicked_weight=0.3)]


@pytest.mark.parametrize("kind", [AllPairs, SampledPairs])
def test_a_clip_bounds_propensities_or_is_refused(kind):
    with pytest.raises(ConfigError, match="clip: expected propensities"):
        kind(None, RelevanceConfig(clip=0.1))


@pytest.mark.parametrize(
    ("propensity", "config"),
    [(None, CONFIGS[0]), (None, CONFIGS[2]), *((THETA, config) for config in CONFIGS)],
    ids=repr,
)
def test_all_pairs_is_the_mean_over_every_item_of_the_users(propensity, config):
    torch.manual_seed(0)
    users, items = torch.randn(USERS, 3), torch.randn(ITEMS, 3)
    clicks = {(1, 2), (1, 6), (3, 4)}
    user, item = (torch.tensor(part) for part in zip(*sorted(clicks), strict=True))
    # Once with a row for each user of the batch, once with the tables of all.
    compact = PairBatch(user, item, users[[1, 3]], items, torch.tensor([0, 0, 1]), item - 1)
    whole = PairBatch(user, item, users, items, user, item - 1)
    values = [
        one(
            users[u] @ items[i - 1],
            (u, i) in clicks,
            max(THETA.item[i] * THETA.user[u], 0.12) if propensity else 1.0,
            config,
        )
        for u in (1, 3)
        for i in range(1, ITEMS + 1)
    ]
    for batch in (compact, whole):
        torch.testing.assert_close(AllPairs(propensity, config)(batch), torch.stack(values).mean())


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_sampled_pairs_by_hand(shared, config):
    torch.manual_seed(0)
    users, items = torch.randn(USERS, 3), torch.randn(ITEMS, 3)
    user, item = torch.tensor([1, 3]), torch.tensor([2, 4])
    ids = torch.tensor([2, 5, 1]) if shared else torch.tensor([[2, 5, 1], [3, 6, 6]])
    weight = None if shared else torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.5, 1.0]])
    batch = PairBatch(
        user, item, users, items, user, item - 1, Negatives(ids, torch.zeros(ids.shape), weight), ids - 1
    )
    total = 0.0
    for k, (u, i) in enumerate(zip(user.tolist(), item.tolist(), strict=True)):
        theta = max(THETA.item[i] * THETA.user[u], 0.12)
        total = total + one(users[u] @ items[i - 1], True, theta, config)
        for j, drawn in enumerate(ids.expand(2, 3)[k].tolist()):
            count = 0.0 if drawn == i else 1.0 if weight is None else weight[k, j]
            total = total + count * one(users[u] @ items[drawn - 1], False, 1.0, config)
    torch.testing.assert_close(SampledPairs(THETA, config, n_negatives=3)(batch), total / 8)


def test_true_propensities_restore_the_order_that_exposure_hid():
    """Users alike, so that an item has one score: its sigmoid tends to the mean of y / theta, and of y for the naive loss.

    The last item is one that everybody is shown and clicks: so nobody is without a pair, and left out.
    """
    rng = np.random.default_rng(0)
    n_users, relevance, theta = 400, np.array([0.8, 0.5, 0.5, 0.2, 1.0]), np.array([0.2, 0.9, 0.6, 0.9, 1.0])
    clicked = rng.random((n_users, 5)) < relevance * theta
    user, item = np.nonzero(clicked)
    pairs = Interactions.from_arrays(user, item + 1, n_users=n_users, n_items=5)
    known = Propensity(np.append(1.0, theta), np.ones(n_users), 0.0)

    def chances(loss, sampler=None):
        torch.manual_seed(0)
        model = MatrixFactorization(n_users, 5, 1, std=0.5)
        with torch.no_grad():
            model.users.weight.fill_(1.0)
        model.users.weight.requires_grad_(False)
        config = FitConfig(
            epochs=60, batch_pairs=200, batch_users=60, learning_rate=0.1, decay=0.95, row_updates="dense"
        )
        fit(model, pairs, loss, sampler, config)
        return model.scorer().scores(np.arange(1))[0].sigmoid().numpy()

    naive, unbiased = clicked[:, :4].mean(0), clicked[:, :4].mean(0) / theta[:4]
    assert unbiased.argmax() == 0
    assert naive.argmin() in {0, 3}
    assert chances(AllPairs())[:4] == pytest.approx(naive, abs=0.02)
    assert chances(AllPairs(known))[:4] == pytest.approx(unbiased, abs=0.02)
    # Clicks weigh more where pairs are sampled: other values, the same order.
    sampled = chances(SampledPairs(known, n_negatives=3), Uniform(5, shared=False))[:4]
    assert sampled.argmax() == 0
    assert sampled.argmin() == 3
    assert chances(SampledPairs(n_negatives=3), Uniform(5, shared=False))[:4].argmax() == 1
