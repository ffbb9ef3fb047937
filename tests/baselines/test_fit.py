"""Training of pairs: against steps written out, by seed, lazily and densely, with negatives that are none."""

import numpy as np
import pytest
import torch

from usermodel.baselines.factors import FactorModel, PairLoss
from usermodel.baselines.fit import FitConfig, fit
from usermodel.baselines.interactions import Interactions
from usermodel.baselines.light_gcn import LightGcn
from usermodel.baselines.matrix_factorization import MatrixFactorization
from usermodel.baselines.pair_batches import BatchMaker, order, order_users
from usermodel.baselines.pair_losses import Bpr, SampledSoftmax, UserSoftmax
from usermodel.errors import ConfigError, DataError, NumericError
from usermodel.losses.softmax import full_softmax
from usermodel.negatives.protocol import Negatives, NegativeSampler
from usermodel.negatives.uniform import Uniform
from usermodel.negatives.without_false_negatives import WithoutFalseNegatives

N_USERS, N_ITEMS, DIM = 12, 30, 4


@pytest.fixture(scope="module")
def pairs():
    """Users of two tastes: the first half takes items 1 to 15, the others 16 to 30; user 11 takes none."""
    rng = np.random.default_rng(0)
    user = rng.integers(0, 11, 150)
    item = rng.integers(1, 16, 150) + 15 * (user >= 6)
    return Interactions.from_arrays(user, item, n_users=N_USERS, n_items=N_ITEMS)


def new(kind=MatrixFactorization, *args, **options):
    torch.manual_seed(0)
    return kind(*(args or (N_USERS, N_ITEMS)), DIM, **options)


def vectors(model):
    return torch.cat(list(model.tables())).detach()


class Fixed(NegativeSampler):
    """Item 1 and then item 20, for all pairs."""

    def sample(self, positives, context, *, n, generator=None, log_q=True):
        ids = torch.tensor([1, 20]).expand(len(positives), n).contiguous()
        return Negatives(ids, None)


def test_two_steps_equal_torch_written_out(pairs):
    """Adam on dense tables, the LightGCN penalty, and known negatives left out, pair by pair."""
    model = new()
    config = FitConfig(epochs=1, batch_pairs=64, learning_rate=0.05, l2=0.1, row_updates="dense")
    few = Interactions(pairs.user[:100], pairs.item[:100], N_USERS, N_ITEMS)
    fit(model, few, Bpr(2), Fixed(), config)
    other = new()
    users, items = (one.detach().clone().requires_grad_() for one in other.tables())
    adam = torch.optim.Adam([users, items], lr=0.05)
    taken = set(zip(few.user.tolist(), few.item.tolist(), strict=True))
    for batch in order(few, 64, seed=0, epoch=0):
        loss = 0.0
        for u, i in zip(few.user[batch].tolist(), few.item[batch].tolist(), strict=True):
            loss = loss + 0.05 * (users[u].square().sum() + items[i - 1].square().sum())
            for j in (1, 20):
                loss = loss + 0.05 * items[j - 1].square().sum()
                if (u, j) not in taken:
                    below = users[u] @ (items[j - 1] - items[i - 1])
                    loss = loss + torch.nn.functional.softplus(below) / 2
        adam.zero_grad()
        (loss / len(batch)).backward()
        adam.step()
    torch.testing.assert_close(vectors(model), torch.cat([users, items]).detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("optimiser", ["adam", "adagrad"])
@pytest.mark.parametrize("loss", [Bpr, SampledSoftmax])
def test_lazy_rows_end_where_dense_ones_do(pairs, optimiser, loss):
    found = []
    for updates in ("lazy", "dense"):
        model = new()
        config = FitConfig(
            epochs=3, batch_pairs=8, learning_rate=0.02, row_updates=updates, optimiser=optimiser
        )
        fit(model, pairs, loss(3), Uniform(N_ITEMS, shared=False), config)
        found.append(vectors(model))
    torch.testing.assert_close(*found, atol=2e-3, rtol=0)
    assert float((found[0] - vectors(new())).abs().max()) > 0.05


@pytest.mark.parametrize("updates", ["lazy", "dense"])
def test_light_gcn_without_layers_is_matrix_factorisation_bit_for_bit(pairs, updates):
    config = FitConfig(epochs=3, batch_pairs=16, l2=1e-3, learning_rate=0.01, row_updates=updates)
    models = new(), new(LightGcn, pairs, layers=0)
    for model in models:
        fit(model, pairs, Bpr(), Uniform(N_ITEMS, shared=False), config)
    for ours, theirs in zip(*(model.tables() for model in models), strict=True):
        assert torch.equal(ours, theirs)


def test_equal_seeds_give_equal_bits_and_others_do_not(pairs):
    found = []
    for seed in (1, 1, 2):
        model = new()
        fit(
            model,
            pairs,
            Bpr(),
            Uniform(N_ITEMS, shared=False),
            FitConfig(epochs=2, batch_pairs=16, seed=seed),
        )
        found.append(vectors(model))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_the_callers_generator_is_left_alone(pairs):
    torch.manual_seed(5)
    wanted = torch.rand(1)
    model = new()
    torch.manual_seed(5)
    fit(model, pairs, Bpr(), Uniform(N_ITEMS, shared=False), FitConfig(epochs=1))
    assert torch.equal(torch.rand(1), wanted)


def test_batches_hold_every_pair_once_and_whole_users_together(pairs):
    for batches in (order(pairs, 7, seed=0, epoch=0), order_users(pairs, 4, seed=0, epoch=0)):
        assert sorted(np.concatenate(batches).tolist()) == list(range(len(pairs)))
    for batch in order_users(pairs, 4, seed=0, epoch=0):
        user = pairs.user[batch]
        assert 1 + np.count_nonzero(np.diff(user)) == len(np.unique(user)) <= 4
    first, same, other = (order(pairs, 7, seed=0, epoch=epoch)[0].tolist() for epoch in (0, 0, 1))
    assert first == same != other


@pytest.mark.parametrize("graph", [False, True])
def test_the_loss_of_whole_users_is_the_full_softmax_of_their_pairs(pairs, graph):
    model = new(LightGcn, pairs, layers=2) if graph else new()
    rows = order_users(pairs, 5, seed=0, epoch=0)[0]
    user, item = torch.from_numpy(pairs.user[rows]), torch.from_numpy(pairs.item[rows])
    ours = UserSoftmax(temperature=0.5)(BatchMaker(model, UserSoftmax(), None)(user, item))
    users, items = model.tables()
    torch.testing.assert_close(ours, full_softmax(users[user] / 0.5, items, item - 1))


@pytest.mark.parametrize("graph", [False, True])
def test_rows_lead_to_the_vectors_of_their_ids(pairs, graph):
    model = new(LightGcn, pairs, layers=2) if graph else new()
    user, item = torch.tensor([4, 0, 4]), torch.tensor([30, 2, 2])
    users, items = model.tables()
    for sampler in (Fixed(), Uniform(N_ITEMS)):
        batch = BatchMaker(model, Bpr(2), sampler)(user, item)
        negatives, rows = batch.drawn()
        assert torch.equal(batch.users[batch.user_row], users[user])
        assert torch.equal(batch.items[batch.item_row], items[item - 1])
        assert torch.equal(batch.items[rows], items[negatives.ids - 1])


class Weighted(UserSoftmax):
    """A loss with a number of its own."""

    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.ones(()))

    def forward(self, batch):
        return self.factor * super().forward(batch)


def test_patience_needs_something_to_wait_for(pairs):
    with pytest.raises(ConfigError, match="patience: expected a validation"):
        fit(new(), pairs, UserSoftmax(), None, FitConfig(patience=1))


def test_a_sampler_that_follows_the_model_needs_a_store(pairs):
    sampler = WithoutFalseNegatives(Uniform(N_ITEMS, shared=False), N_ITEMS, intents=3)
    with pytest.raises(ConfigError, match="pairs from a store, which WithoutFalseNegatives looks into"):
        fit(new(), pairs, Bpr(), sampler, FitConfig(epochs=1))


def test_whatever_ends_it_the_next_one_starts_afresh(pairs):
    """An error in the middle leaves rows up to date, and no hooks of the lazy optimiser."""

    def broken(_):
        raise KeyboardInterrupt

    config = FitConfig(epochs=2, batch_pairs=4, row_updates="lazy")
    model, whole = new(), new()
    sampler = Uniform(N_ITEMS, shared=False)
    with pytest.raises(KeyboardInterrupt):
        fit(model, pairs, Bpr(), sampler, config, validate=broken)
    fit(whole, pairs, Bpr(), sampler, config.override({"epochs": 1}))
    assert torch.equal(vectors(model), vectors(whole))
    fit(model, pairs, Bpr(), sampler, config.override({"row_updates": "dense", "epochs": 1}))


def test_the_best_weights_come_back_and_patience_ends_it(pairs):
    model, seen, reports = new(), [], []

    def validate(given):
        seen.append(vectors(given))
        return [0.1, 0.3, 0.2, 0.25][len(seen) - 1]

    loss, weights = Weighted(), []
    config = FitConfig(epochs=50, patience=2, batch_pairs=32, learning_rate=0.01)

    def on_epoch(report):
        reports.append(report)
        weights.append(float(loss.factor.detach()))

    fitted = fit(model, pairs, loss, None, config, validate=validate, on_epoch=on_epoch)
    assert (len(fitted.epochs), fitted.best_epoch) == (4, 2)
    assert torch.equal(vectors(model), seen[1])
    # What the loss has learned is of the same epoch.
    assert float(loss.factor.detach()) == weights[1] != weights[3]
    assert [report.validation for report in reports] == [0.1, 0.3, 0.2, 0.25]


@pytest.mark.parametrize("loss", [Bpr(2), SampledSoftmax(8), UserSoftmax()])
def test_two_tastes_are_told_apart(pairs, loss):
    model = new(LightGcn, pairs, layers=1)
    config = FitConfig(epochs=40, batch_pairs=32, batch_users=4, learning_rate=0.05)
    fit(model, pairs, loss, Uniform(N_ITEMS, shared=False), config)
    scores = model.scorer().scores(np.arange(11))
    own = torch.cat([scores[:6, :15].flatten(), scores[6:, 15:].flatten()])
    other = torch.cat([scores[:6, 15:].flatten(), scores[6:, :15].flatten()])
    assert float(own.mean()) > float(other.mean()) + 1


class Scaled(PairLoss):
    """Has a parameter of its own."""

    n_negatives = 1

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(N_USERS))

    def forward(self, batch):
        scores = (batch.users[batch.user_row] * batch.items[batch.item_row]).sum(1)
        return (self.scale[batch.user] * scores - 1).square().mean()


class InTheBall(FactorModel):
    projects = True

    def after_step(self, users=None, items=None):
        for table, index in ((self.users, None if users is None else users + 1), (self.items, items)):
            rows = slice(None) if index is None else index
            chosen = table.weight[rows]
            table.weight[rows] = chosen / chosen.norm(dim=1, keepdim=True).clamp(min=1)


@pytest.mark.parametrize("optimiser", ["adam", "adagrad"])
def test_parameters_of_the_loss_and_projections_take_part(pairs, optimiser):
    model, loss, norms = new(InTheBall, std=2.0), Scaled(), []
    sampler = Uniform(N_ITEMS, shared=False)
    fit(
        model,
        pairs,
        loss,
        sampler,
        FitConfig(epochs=6, optimiser=optimiser, learning_rate=0.1, batch_pairs=16, row_updates="auto"),
        on_epoch=lambda _: norms.append(
            float(vectors(model)[torch.from_numpy(np.unique(pairs.user))].norm(dim=1).max())
        ),
    )
    assert max(norms) <= 1 + 1e-6
    assert not torch.equal(loss.scale, torch.ones(N_USERS))
    assert float(loss.scale[11].detach()) == 1.0  # a user without pairs


def test_what_cannot_be_is_refused(pairs):
    with pytest.raises(ConfigError, match="a sampler for Bpr"):
        fit(new(), pairs, Bpr(), None, FitConfig())
    with pytest.raises(DataError, match="pairs of 3 users"):
        fit(MatrixFactorization(3, N_ITEMS, DIM), pairs, UserSoftmax(), None, FitConfig())
    with pytest.raises(ConfigError, match="reads the whole catalogue"):
        fit(new(), pairs, UserSoftmax(), None, FitConfig(row_updates="lazy"))
    with pytest.raises(ConfigError, match="depend on each other"):
        fit(new(LightGcn, pairs), pairs, Bpr(), Uniform(N_ITEMS), FitConfig(row_updates="lazy"))
    with pytest.raises(ConfigError, match="encodes no histories"):
        new().max_history  # noqa: B018
    with pytest.raises(NumericError, match="in epoch 1"):
        fit(new(std=1e30), pairs, UserSoftmax(), None, FitConfig())
