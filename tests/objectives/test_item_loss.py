"""Which loss next-item training uses, and that each is the one its name says."""

import importlib
import math
import pkgutil
from dataclasses import replace

import polars as pl
import pytest
import torch

import usermodel.negatives
from usermodel.encoders.transformer import TransformerConfig
from usermodel.errors import ConfigError
from usermodel.losses.binary import binary_cross_entropy, gbce_beta, prior_log_odds
from usermodel.losses.bpr import bpr
from usermodel.losses.sampled import sampled_softmax
from usermodel.losses.warp import warp
from usermodel.negatives.protocol import DrawContext, Negatives, NegativeSampler, NegativesConfig
from usermodel.negatives.uniform import Uniform
from usermodel.objectives import item_loss
from usermodel.objectives.item_loss import AUTO_ITEMS, resolve
from usermodel.objectives.masked_item import MaskedItemConfig
from usermodel.objectives.next_item import NextItemConfig

N_ITEMS = 30
HISTORIES = [[3, 1, 4, 1], [5], [2, 6], [], [9, 9, 9, 8, 7]]


class Fixed(NegativeSampler):
    """Always the same draws; remembers what it was asked for."""

    def __init__(self, ids, weight=None):
        super().__init__()
        q = torch.softmax(torch.arange(N_ITEMS + 1) / 10.0, 0)
        self.drawn, self.asked = Negatives(ids, q.log()[ids], weight), []

    def sample(self, positives, context, *, n, generator=None, log_q=True):
        self.asked.append((positives, context, n))
        return self.drawn


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return TransformerConfig(dim=8, hidden=16, max_history=8, init_std=0.3, dropout=0.0).build(N_ITEMS)


SHARED = torch.tensor([5, 9, 30, 9])
OWN = torch.tensor([[5, 9], [1, 30], [4, 2], [30, 30], [9, 1], [2, 2], [7, 8], [3, 7]])


@pytest.mark.parametrize("ids", [SHARED, OWN, torch.arange(1, 31)], ids=["shared", "own", "more than items"])
@pytest.mark.parametrize("loss", ["sampled-softmax", "gbce", "bce", "bpr", "warp"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_rows_that_take_part_give_the_loss_and_gradient_of_the_whole_table(
    encoder, make_batch, ids, loss, weighted
):
    weight = torch.linspace(0.5, 2.0, ids.numel()).view(ids.shape) if weighted else None
    sampler, batch = Fixed(ids, weight), make_batch(*HISTORIES)
    n = ids.shape[-1]
    output = NextItemConfig(loss=loss, n_negatives=n).build(encoder, sampler)(encoder, batch)
    inputs, target = batch.shifted()
    arguments = (encoder(inputs).events, encoder.items.weight, target, ids)
    if loss == "sampled-softmax":
        wanted = sampled_softmax(*arguments, sampler.drawn.log_q, weight)
    elif loss == "warp":
        wanted = warp(*arguments, sampler.drawn.log_q, weight, n_items=N_ITEMS)
    elif loss == "bpr":
        wanted = bpr(*arguments, weight)
    else:
        beta = gbce_beta(n, N_ITEMS, 0.75) if loss == "gbce" else 1.0
        wanted = binary_cross_entropy(*arguments, weight, beta=beta, log_odds=prior_log_odds(n, beta))
    torch.testing.assert_close(output.loss, wanted)
    assert list(output.parts) == [loss]
    names, weights = zip(*encoder.named_parameters(), strict=True)
    ours, theirs = (torch.autograd.grad(value, weights) for value in (output.loss, wanted))
    for name, a, b in zip(names, ours, theirs, strict=True):
        # The row of padding takes no gradient through a lookup.
        a, b = (a[1:], b[1:]) if name == "items.weight" else (a, b)
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("ids", [SHARED, OWN], ids=["shared", "own"])
def test_without_log_q_every_draw_counts_once(encoder, make_batch, ids):
    """The plain in-batch softmax: cross-entropy of the target among itself and the draws that are not the target."""
    sampler, batch = Fixed(ids), make_batch(*HISTORIES)
    config = NextItemConfig(loss="sampled-softmax", n_negatives=ids.shape[-1], log_q=False)
    output = config.build(encoder, sampler)(encoder, batch)
    inputs, target = batch.shifted()
    logits = encoder(inputs).events @ encoder.items.weight.T
    rows = ids.expand(len(target), -1)
    wanted = []
    for row, own, drawn in zip(logits, target, rows, strict=True):
        others = drawn[drawn != own]
        wanted.append(torch.logsumexp(torch.cat([row[own][None], row[others]]), 0) - row[own])
    torch.testing.assert_close(output.loss, torch.stack(wanted).mean())


def test_gbce_is_calibrated_to_the_draws_there_are(encoder, make_batch):
    """Asked for 100, a sampler gives 4: beta is that of 4."""
    sampler, batch = Fixed(SHARED), make_batch(*HISTORIES)
    output = NextItemConfig(loss="gbce", n_negatives=100).build(encoder, sampler)(encoder, batch)
    inputs, target = batch.shifted()
    arguments = (encoder(inputs).events, encoder.items.weight, target, SHARED)
    beta = gbce_beta(4, N_ITEMS, 0.75)
    wanted = binary_cross_entropy(*arguments, None, beta=beta, log_odds=prior_log_odds(4, beta))
    torch.testing.assert_close(output.loss, wanted)


@pytest.mark.parametrize("loss", ["gbce", "bce"])
def test_without_prior_it_is_the_published_loss(encoder, make_batch, loss):
    sampler, batch = Fixed(SHARED), make_batch(*HISTORIES)
    config = NextItemConfig(loss=loss, n_negatives=4, prior=False)
    inputs, target = batch.shifted()
    beta = gbce_beta(4, N_ITEMS, 0.75) if loss == "gbce" else 1.0
    wanted = binary_cross_entropy(encoder(inputs).events, encoder.items.weight, target, SHARED, beta=beta)
    torch.testing.assert_close(config.build(encoder, sampler)(encoder, batch).loss, wanted)


def test_the_sampler_is_told_targets_and_context_and_gets_no_gradient(encoder, make_batch):
    sampler, batch = Fixed(SHARED), make_batch(*HISTORIES)
    NextItemConfig(loss="bce", n_negatives=4).build(encoder, sampler)(encoder, batch)
    ((positives, context, n),) = sampler.asked
    inputs, target = batch.shifted()
    assert torch.equal(positives, target)
    assert torch.equal(context.vectors, encoder(inputs).events)
    assert torch.equal(context.item_vectors(), encoder.item_vectors())
    assert torch.equal(context.item_vectors(target), encoder.item_vectors(target))
    assert not context.vectors.requires_grad
    assert not context.item_vectors().requires_grad
    assert torch.equal(context.users(), inputs.owner)
    assert n == 4


def test_the_default_number_of_negatives_is_256(encoder, make_batch):
    sampler = Fixed(SHARED)
    objective = NextItemConfig(loss="sampled-softmax").build(encoder, sampler)
    objective(encoder, make_batch([1, 2]))
    assert sampler.asked[0][2] == 256
    assert objective.facts() == {"loss": "sampled-softmax", "n_negatives": 256}


@pytest.mark.parametrize("readout", ["last", "mask"])
def test_hidden_items_are_asked_for_with_their_users(make_batch, readout):
    """Items of user 100 + u are 10 u + 1 to 10 u + 5, so a target tells whose it is."""
    torch.manual_seed(0)
    encoder = TransformerConfig(
        dim=8, hidden=16, max_history=8, causal=False, mask_token=True, readout=readout
    ).build(N_ITEMS)
    sampler, batch = Fixed(SHARED), make_batch(*([10 * user + at for at in range(1, 6)] for user in range(3)))
    config = MaskedItemConfig(loss="bce", n_negatives=4, last_only=0.5)
    config.build(encoder, sampler)(encoder, batch)
    ((positives, context, _),) = sampler.asked
    assert len(positives) > 2
    assert torch.equal(context.users(), 100 + positives // 10)


def test_a_sampler_that_asks_for_what_nobody_knows_is_told_so():
    context = DrawContext(torch.zeros(3, 8))
    with pytest.raises(ConfigError, match="the user of each event"):
        context.users()
    with pytest.raises(ConfigError, match="the vectors of items"):
        context.item_vectors()


def test_calibration_changes_gbce_and_zero_is_bce(encoder, make_batch):
    def loss(**options):
        objective = NextItemConfig(n_negatives=4, **options).build(encoder, Fixed(SHARED))
        return objective(encoder, make_batch(*HISTORIES)).loss

    torch.testing.assert_close(loss(loss="gbce", calibration=0.0), loss(loss="bce"))
    torch.testing.assert_close(loss(loss="gbce"), loss(loss="gbce", calibration=0.75))
    assert not torch.isclose(loss(loss="gbce"), loss(loss="bce"))


def test_auto_is_exact_up_to_a_size_and_sampled_above(encoder, monkeypatch):
    assert resolve("auto", AUTO_ITEMS) == "softmax"
    assert resolve("auto", AUTO_ITEMS + 1) == "sampled-softmax"
    assert resolve("softmax", 10**9) == "softmax"
    assert NextItemConfig().build(encoder).facts() == {"loss": "softmax"}
    assert not NextItemConfig().draws_negatives(N_ITEMS)
    monkeypatch.setattr(item_loss, "AUTO_ITEMS", N_ITEMS - 1)
    assert NextItemConfig().draws_negatives(N_ITEMS)
    facts = NextItemConfig(n_negatives=7).build(encoder, Uniform(N_ITEMS)).facts()
    assert facts == {"loss": "sampled-softmax", "n_negatives": 7}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"loss": "softmax", "n_negatives": 5},
            (
                "objective: expected n_negatives only with a loss that draws negatives, got loss=softmax; "
                "found {'loss': 'softmax', 'n_negatives': 5}. Change the value."
            ),
        ),
        (
            {"loss": "bce", "calibration": 0.5},
            (
                "objective: expected calibration only with loss=gbce, got loss=bce; "
                "found {'loss': 'bce', 'calibration': 0.5}. Change the value."
            ),
        ),
        (
            {"loss": "bce", "log_q": False},
            (
                "objective: expected log_q=false only with loss=sampled-softmax, got loss=bce; "
                "found {'loss': 'bce', 'log_q': False}. Change the value."
            ),
        ),
        (
            {"loss": "bpr", "prior": False},
            (
                "objective: expected prior=false only with loss=bce or gbce, got loss=bpr; "
                "found {'loss': 'bpr', 'prior': False}. Change the value."
            ),
        ),
    ],
)
def test_an_option_without_effect_is_refused(options, sentence):
    from usermodel.config import validate

    with pytest.raises(ConfigError) as caught:
        validate(NextItemConfig, options, "objective")
    assert str(caught.value) == sentence


def test_negatives_for_an_auto_that_draws_none_are_refused(encoder):
    with pytest.raises(ConfigError) as caught:
        NextItemConfig(n_negatives=5).build(encoder)
    assert str(caught.value) == (
        "objective.n_negatives: expected a loss that draws negatives; found loss=auto, which is the full softmax for "
        "30 items. Drop it, or choose objective.loss=sampled-softmax."
    )


def test_a_missing_sampler_is_named(encoder):
    with pytest.raises(ConfigError, match="negatives: expected a sampler for loss=gbce; found none"):
        NextItemConfig(loss="gbce").build(encoder)


def test_sampled_softmax_starts_where_the_softmax_does(encoder, make_batch):
    """Equal scores: the estimate of the sum is 1 + (draws that miss) / n x n_items, near the number of items."""
    with torch.no_grad():
        encoder.items.weight.zero_()
    torch.manual_seed(0)
    objective = NextItemConfig(loss="sampled-softmax", n_negatives=20_000).build(encoder, Uniform(N_ITEMS))
    loss = objective(encoder, make_batch(*HISTORIES)).loss
    torch.testing.assert_close(loss.detach(), torch.tensor(math.log(N_ITEMS)), atol=5e-3, rtol=0)


def samplers() -> list[NegativesConfig]:
    """Every configuration in `usermodel.negatives`: a new file is tested without a line here."""
    names = [info.name for info in pkgutil.iter_modules(usermodel.negatives.__path__, "usermodel.negatives.")]
    kinds = [kind for name in names for kind in vars(importlib.import_module(name)).values()]
    found = {kind for kind in kinds if isinstance(kind, type) and issubclass(kind, NegativesConfig)}
    return [kind() for kind in sorted(found - {NegativesConfig}, key=lambda kind: kind.__name__)]


@pytest.mark.parametrize("config", samplers(), ids=repr)
@pytest.mark.parametrize("loss", ["bpr", "warp"])
def test_ranking_losses_compose_with_every_sampler(make_batch, make_store, config, loss):
    items = pl.DataFrame(
        {"item_id": [f"i{item}" for item in range(1, N_ITEMS + 1)], "category": ["a", "b"] * 15}
    )
    shown = pl.DataFrame({"user_id": ["u0"], "item_id": ["i20"], "timestamp": [1], "clicked": [False]})
    histories = ([1 + (user + at) % N_ITEMS for at in range(8)] for user in range(N_ITEMS))
    store = make_store(*histories, items_table=items, impressions=shown)
    torch.manual_seed(0)
    encoder = TransformerConfig(dim=8, hidden=16, max_history=8, init_std=0.3, dropout=0.0).build(N_ITEMS)
    objective = NextItemConfig(loss=loss, n_negatives=6).build(encoder, config.build(store, store.split()))
    objective.loss.negatives.refresh(encoder, store)
    batch = replace(make_batch(*HISTORIES), user=torch.arange(len(HISTORIES)))
    value = objective(encoder, batch).loss
    value.backward()
    assert torch.isfinite(value)
    assert value > 0
    assert encoder.items.weight.grad.abs().sum() > 0
