"""Places of items by their features, and of items that nobody has taken."""

import numpy as np
import pytest
import torch

from usermodel.baselines.factors import PairBatch
from usermodel.baselines.fit import FitConfig, fit
from usermodel.baselines.interactions import Interactions
from usermodel.baselines.item_feature_map import ItemFeatureMap
from usermodel.baselines.metric_learning import MetricHinge, MetricLearning
from usermodel.errors import ConfigError
from usermodel.negatives.protocol import Negatives
from usermodel.negatives.uniform import Uniform
from usermodel.nn.item_features import ItemFeature

N_USERS, N_ITEMS = 30, 60


def tastes(shift=0):
    """Item i has category (i - 1) % 3 + 1, moved by ``shift`` places; row 0 is the padding."""
    codes = (np.arange(N_ITEMS + 1) - 1 + shift) % 3 + 1
    codes[0] = 0
    return ItemFeature("taste", "codes", 3, 1, torch.from_numpy(codes[:, None].astype(np.int32)))


def test_a_place_by_hand():
    """Category vectors [1, -1] and [3, 1], mean [2, 0] after relu; W = [[.2, 0], [.1, 0]], b = [0, .1]."""
    values = torch.tensor([[0, 0], [1, 2], [0, 0], [2, 0]], dtype=torch.int32)
    places = ItemFeatureMap([ItemFeature("tags", "codes", 2, 2, values)], 3, 2, hidden=2, dropout=0.0)
    with torch.no_grad():
        places.features.parts[0].weights.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, -1.0], [3.0, 1.0]]))
        places.layers[2].weight.copy_(torch.tensor([[0.2, 0.0], [0.1, 0.0]]))
        places.layers[2].bias.copy_(torch.tensor([0.0, 0.1]))
    found = places(torch.tensor([1, 2, 3]))
    torch.testing.assert_close(found, torch.tensor([[0.4, 0.3], [0.0, 0.1], [0.6, 0.4]]))
    places.radius = 0.25
    torch.testing.assert_close(places(torch.tensor([1])), torch.tensor([[0.2, 0.15]]))


def test_the_pull_is_the_mean_over_pairs_and_has_both_gradients():
    torch.manual_seed(0)
    places = ItemFeatureMap([tastes()], N_ITEMS, 4, dropout=0.0)
    item, vectors = torch.tensor([3, 5, 3]), torch.randn(3, 4, requires_grad=True)
    pull = places.distance(item, vectors)
    by_hand = sum(((vectors[row] - places(item[row : row + 1])[0]) ** 2).sum() for row in range(3)) / 3
    torch.testing.assert_close(pull, by_hand)
    pull.backward()
    assert vectors.grad.abs().min() > 0
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in places.parameters())
    assert places.distance(item[:0], vectors[:0]).item() == 0


def test_the_loss_adds_the_pull():
    torch.manual_seed(0)
    users, items, user = torch.randn(2, 4), torch.randn(3, 4), torch.tensor([0, 1])
    ids = torch.tensor([[2, 3], [1, 3]])
    batch = PairBatch(user, user + 1, users, items, user, user, Negatives(ids, None), ids - 1)
    places = ItemFeatureMap([tastes()], N_ITEMS, 4, dropout=0.0)
    plain = MetricHinge(N_ITEMS, n_negatives=2)(batch)
    loss = MetricHinge(N_ITEMS, n_negatives=2, features=places, pull=0.3)(batch)
    torch.testing.assert_close(loss, plain + 0.3 * places.distance(user + 1, items[user]))


@pytest.mark.parametrize("features", [True, False])
def test_items_that_nobody_took_are_ranked_by_their_features(features):
    """A third of the items is in no pair. With features users find those of their taste; without, as good as none."""
    own = np.arange(N_USERS)[:, None] % 3 == np.arange(N_ITEMS) % 3
    new = np.arange(N_ITEMS) % 9 < 3
    user, item = np.nonzero(own & ~new)
    pairs = Interactions.from_arrays(user, item + 1, n_users=N_USERS, n_items=N_ITEMS)
    torch.manual_seed(0)
    model = MetricLearning(N_USERS, N_ITEMS, 8)
    places = ItemFeatureMap([tastes()], N_ITEMS, 8, hidden=16) if features else None
    loss = MetricHinge(N_ITEMS, n_negatives=10, features=places)
    fit(
        model,
        pairs,
        loss,
        Uniform(N_ITEMS, shared=False),
        FitConfig(epochs=15, batch_pairs=64, learning_rate=0.01),
    )
    before = model.items.weight.detach().clone()
    if places is not None:
        assert places.place_new(model, pairs).tolist() == (np.flatnonzero(new) + 1).tolist()
        assert torch.equal(model.items.weight[1:][torch.from_numpy(~new)], before[1:][torch.from_numpy(~new)])
    assert float(model.items.weight.detach().norm(dim=1).max()) <= 1 + 1e-6
    scores = model.scorer().scores(np.arange(N_USERS)).numpy()
    right = (scores[own & new][:, None] > scores[~own & new][None]).mean()
    assert right > 0.95 if features else right < 0.8


def test_without_features_there_is_no_place():
    with pytest.raises(ConfigError, match="at least one column"):
        ItemFeatureMap([], N_ITEMS, 4)
