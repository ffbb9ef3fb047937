"""CML: the ball, the order of distances, the hinge in a batch."""

import math

import numpy as np
import pytest
import torch

from usermodel.ann.flat import FlatIndex
from usermodel.baselines.factors import PairBatch
from usermodel.baselines.fit import FitConfig, fit
from usermodel.baselines.interactions import Interactions
from usermodel.baselines.matrix_factorization import MatrixFactorization
from usermodel.baselines.metric_learning import MetricHinge, MetricLearning
from usermodel.baselines.pair_losses import Bpr
from usermodel.errors import ConfigError
from usermodel.negatives.hard import Hard
from usermodel.negatives.protocol import Negatives
from usermodel.negatives.uniform import Uniform

N_USERS, N_ITEMS = 30, 40


def pairs(seed=0):
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, N_USERS, 300), rng.integers(1, N_ITEMS + 1, 300)
    return Interactions.from_arrays(user, item, n_users=N_USERS, n_items=N_ITEMS)


@pytest.mark.parametrize("optimiser", ["adam", "adagrad"])
@pytest.mark.parametrize("covariance", [0.0, 1.0])
def test_no_point_ever_leaves_the_ball(monkeypatch, optimiser, covariance):
    torch.manual_seed(0)
    model, steps = MetricLearning(N_USERS, N_ITEMS, 8, std=1.0, radius=0.9), []
    assert max(table.weight.norm(dim=1).max() for table in (model.users, model.items)) <= 0.9 + 1e-6
    project = model.after_step

    def looked_at(users=None, items=None):
        project(users, items)
        steps.append(max(float(table.weight.norm(dim=1).max()) for table in (model.users, model.items)))

    monkeypatch.setattr(model, "after_step", looked_at)
    loss = MetricHinge(N_ITEMS, n_negatives=5, covariance=covariance)
    config = FitConfig(epochs=3, batch_pairs=32, optimiser=optimiser, learning_rate=0.1)
    fit(model, pairs(), loss, Uniform(N_ITEMS, shared=False), config)
    assert len(steps) > 20
    assert max(steps) <= 0.9 + 1e-6
    assert max(steps) > 0.9 - 1e-6  # the wall is reached


def test_hard_negatives_are_those_that_the_scores_rank_first():
    """With as many candidates as make sure of the best, a draw is the first item of the scorer."""
    torch.manual_seed(0)
    model, asked = MetricLearning(N_USERS, N_ITEMS, 8, std=0.4), []

    class Asked(Hard):
        def sample(self, positives, context, **options):
            drawn = super().sample(positives, context, **options)
            asked.append((context.user, drawn.ids))
            return drawn

    best = model.scorer().scores(np.arange(N_USERS)).argmax(1) + 1
    config = FitConfig(epochs=1, batch_pairs=300)
    fit(model, pairs(), MetricHinge(N_ITEMS, n_negatives=2), Asked(N_ITEMS, candidates=2000), config)
    ((user, ids),) = asked
    assert torch.equal(ids, best[user][:, None].expand_as(ids))


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        (MetricLearning(N_USERS, N_ITEMS, 8), Bpr()),
        (MatrixFactorization(N_USERS, N_ITEMS, 8), MetricHinge(N_ITEMS)),
    ],
)
def test_a_loss_of_another_geometry_is_refused(model, loss):
    with pytest.raises(ConfigError, match=r"loss: expected a loss by .*, which goes by"):
        fit(model, pairs(), loss, Uniform(N_ITEMS, shared=False), FitConfig(epochs=1))


def test_points_inside_the_ball_stay_and_others_keep_their_direction():
    model = MetricLearning(2, 2, 2)
    with torch.no_grad():
        model.items.weight.copy_(torch.tensor([[0.0, 0.0], [0.3, -0.4], [3.0, 4.0]]))
    model.after_step()
    assert model.items.weight[1].tolist() == pytest.approx([0.3, -0.4])
    assert model.items.weight[2].tolist() == pytest.approx([0.6, 0.8])


def test_scorer_distance_and_index_agree_on_the_order():
    torch.manual_seed(0)
    model = MetricLearning(N_USERS, N_ITEMS, 8, std=0.4)
    users, items = (table.detach() for table in model.tables())
    scorer = model.scorer()
    by_score = scorer.scores(np.arange(N_USERS)).argsort(1, descending=True)
    distance = torch.stack([torch.stack([((u - i) ** 2).sum() for i in items]) for u in users])
    assert torch.equal(by_score, distance.argsort(1))
    index = FlatIndex.build(scorer.items.numpy())
    found = index.search(scorer.users.numpy(), 10)
    assert np.array_equal(found[1], by_score[:, :10].numpy())


def test_loss_of_a_batch_by_hand():
    """Row 1: d+ = 1; draws at 1 (the pair's own item), 4, weight 0 at 0, 2.25: margin 1.5 leaves one impostor of four."""
    users, items = torch.tensor([[0.0], [5.0]]), torch.tensor([[1.0], [2.0], [0.0], [1.5]])
    ids = torch.tensor([[1, 2, 3, 4], [2, 2, 2, 2]])
    weight = torch.tensor([[1.0, 1.0, 0.0, 1.0], [0.0] * 4])
    user, item = torch.tensor([0, 1]), torch.tensor([1, 2])
    negatives = Negatives(ids, torch.zeros(2, 4), weight)
    batch = PairBatch(user, item, users, items, user, item - 1, negatives, ids - 1)
    loss = MetricHinge(8, n_negatives=4, margin=1.5)(batch)
    assert loss.item() == pytest.approx(math.log(1 + 8 / 4) * (1.5 + 1 - 2.25) / 2, rel=1e-6)


def test_training_brings_users_to_their_items():
    own = np.arange(N_USERS)[:, None] % 3 == np.arange(N_ITEMS) % 3
    rng = np.random.default_rng(0)
    train = own & (rng.random(own.shape) < 0.6)
    user, item = np.nonzero(train)
    known = Interactions.from_arrays(user, item + 1, n_users=N_USERS, n_items=N_ITEMS)
    torch.manual_seed(0)
    model = MetricLearning(N_USERS, N_ITEMS, 8)
    config = FitConfig(epochs=30, batch_pairs=64, optimiser="adagrad", learning_rate=0.1)
    fit(model, known, MetricHinge(N_ITEMS, n_negatives=10), Uniform(N_ITEMS, shared=False), config)
    scores = model.scorer().scores(np.arange(N_USERS)).numpy()
    held, others = scores[own & ~train], scores[~own]
    assert (held[:, None] > others[None]).mean() > 0.9
