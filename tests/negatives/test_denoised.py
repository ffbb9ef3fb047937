"""Denoised hard negatives: weights by the formula, the teacher, and what the two regressions see."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from tiny import make_store

from usermodel.encoders.transformer import TransformerConfig
from usermodel.errors import ConfigError
from usermodel.negatives import denoised as denoised_module
from usermodel.negatives.denoised import DenoisedConfig
from usermodel.negatives.hard import HardConfig
from usermodel.negatives.history_vectors import history_vectors
from usermodel.negatives.logistic import RIDGE, fit_logistic
from usermodel.negatives.protocol import DrawContext


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("denoised") / "store")


@pytest.fixture
def encoder(store):
    torch.manual_seed(0)
    return TransformerConfig(dim=8, hidden=16, max_history=6, init_std=0.5).build(store.n_items)


@pytest.fixture
def context(store, encoder):
    return DrawContext.of(encoder, torch.randn(9, 8), None)


def build(store, **options):
    return DenoisedConfig(dim=8, **options).build(store, store.split())


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_the_weight_is_the_formula(store, encoder, context):
    sampler = build(store, hard=HardConfig(candidates=5), min_weight=0.7)
    sampler.refresh(encoder, store)
    drawn = sampler.sample(torch.ones(9).long(), context, n=7, generator=torch.Generator().manual_seed(0))
    split, items = store.split(), encoder.item_vectors().detach()
    in_training = [
        item
        for user in range(store.n_users)
        for item in store.items[split.start[user] : split.train_stop[user]].tolist()
    ]
    a, b = sampler.relevance.tolist(), sampler.selection.tolist()
    found = []
    for event, ids in zip(context.vectors, drawn.ids.tolist(), strict=True):
        scores = (items @ event).tolist()
        for item in ids:
            rank = sum(score > scores[item - 1] for score in scores)
            relevant = sigmoid(a[0] + a[1] * scores[item - 1])
            selected = sigmoid(b[0] + b[1] * math.log1p(in_training.count(item)) + b[2] * math.log1p(rank))
            found.append(min(max(1 - relevant * (1 - selected), 0.7), 1.0))
    np.testing.assert_allclose(drawn.weight.flatten().numpy(), found, rtol=1e-4)
    assert min(found) == 0.7 < max(found) < 1


def test_ids_and_probabilities_are_those_of_the_hard_draws(store, encoder, context):
    sampler = build(store)
    sampler.refresh(encoder, store)
    ours, theirs = (
        one.sample(torch.ones(9).long(), context, n=7, generator=torch.Generator().manual_seed(0))
        for one in (sampler, sampler.hard)
    )
    assert torch.equal(ours.ids, theirs.ids)
    assert torch.equal(ours.log_q, theirs.log_q)
    assert sampler.sample(torch.ones(9).long(), context, n=7, log_q=False).log_q is None


def test_until_the_first_refresh_every_draw_counts_one(store, context):
    assert bool((build(store).sample(torch.ones(9).long(), context, n=7).weight == 1).all())


def test_the_teacher_is_a_moving_average_over_refreshes(store, encoder):
    sampler = build(store, decay=0.75)
    wanted = encoder.item_vectors().detach().clone()
    for number in range(3):
        sampler.refresh(encoder, store)
        if number:
            wanted = 0.75 * wanted + 0.25 * encoder.item_vectors().detach()
        torch.testing.assert_close(sampler.teacher, wanted)
        torch.nn.init.normal_(encoder.items.weight)


def test_the_regressions_are_of_last_training_events_against_uniform_items(store, encoder, monkeypatch):
    """What is fitted, computed one user at a time; fewer cases are thinned out evenly."""
    given = []
    monkeypatch.setattr(
        denoised_module,
        "fit_logistic",
        lambda *arguments: given.append(arguments) or fit_logistic(*arguments),
    )
    sampler, split = build(store), store.split()
    sampler.refresh(encoder, store)
    (scores, label), (selecting, same) = given
    users = np.flatnonzero(split.train_stop - split.start >= 2)
    assert (label == same).all()
    assert (len(label), label.sum()) == (2 * len(users), len(users))
    assert (label[: len(users)]).all()
    items, counts = encoder.item_vectors().detach(), store.item_counts(split.train_stop)
    controls = set()
    for row, user in enumerate(users):
        last = split.train_stop[user] - 1
        vector = history_vectors(encoder, store, np.array([user]), np.array([last]))[0]
        mine = items @ vector
        below = np.abs(mine.numpy() - scores[len(users) + row, 0]).argmin() + 1
        controls.add(int(below))
        for place, item in ((row, int(store.items[last])), (len(users) + row, int(below))):
            np.testing.assert_allclose(scores[place, 0], mine[item - 1], rtol=1e-4, atol=1e-6)
            rank = int((mine > mine[item - 1]).sum())
            np.testing.assert_allclose(selecting[place], np.log1p([counts[item], rank]), rtol=1e-5)
    assert len(controls) > 10
    # A user has taken this share of the items, repetitions not counted.
    taken = [
        len(set(store.items[split.start[user] : split.train_stop[user]].tolist())) / store.n_items
        for user in range(store.n_users)
    ]
    prior = np.log(np.mean(taken) / (1 - np.mean(taken)))
    for ours, features in ((sampler.relevance, scores), (sampler.selection, selecting)):
        np.testing.assert_allclose(
            ours.numpy() - fit_logistic(features, label), [prior, *[0] * features.shape[1]], atol=1e-5
        )
    given.clear()
    monkeypatch.setattr(denoised_module, "CASES", 10)
    sampler.refresh(encoder, store)
    assert len(given[0][1]) <= 20


@pytest.mark.parametrize("separable", [False, True])
def test_the_regression_is_that_of_scikit_learn(separable):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2)) * [3.0, 0.1] + [10.0, -2.0]
    label = (
        x[:, 0] > 10 if separable else rng.random(400) < 1 / (1 + np.exp(-(x[:, 0] - 10) + 5 * (x[:, 1] + 2)))
    )
    found = fit_logistic(x, label)
    mean, deviation = x.mean(0), x.std(0)
    model = LogisticRegression(C=1 / RIDGE, tol=1e-8, max_iter=1000).fit((x - mean) / deviation, label)
    slopes = model.coef_[0] / deviation
    np.testing.assert_allclose(found, [model.intercept_[0] - slopes @ mean, *slopes], rtol=1e-3)


def test_a_feature_that_is_constant_has_no_say():
    label = np.array([True, False, True, True])
    found = fit_logistic(np.full((4, 1), 7.0), label)
    np.testing.assert_allclose(found, [math.log(3), 0.0], atol=1e-5)


def test_buffers_have_one_shape_from_the_start_and_carry_everything_over(store, encoder, context):
    new, sampler = build(store), build(store)
    sampler.refresh(encoder, store)
    shapes = [{name: value.shape for name, value in one.state_dict().items()} for one in (new, sampler)]
    assert shapes[0] == shapes[1]
    new.load_state_dict(sampler.state_dict())
    ours, theirs = (
        one.sample(torch.ones(9).long(), context, n=7, generator=torch.Generator().manual_seed(0))
        for one in (new, sampler)
    )
    assert torch.equal(ours.weight, theirs.weight)


def test_narrower_vectors_fit_and_wider_ones_are_refused(store, encoder, context):
    wide = DenoisedConfig(dim=20).build(store, store.split())
    wide.refresh(encoder, store)
    assert wide.sample(torch.ones(9).long(), context, n=7).weight.shape == (9, 7)
    narrow = DenoisedConfig(dim=4).build(store, store.split())
    with pytest.raises(ConfigError) as caught:
        narrow.refresh(encoder, store)
    assert str(caught.value) == (
        "negatives.dim: expected at least encoder.dim = 8; found 4. Set negatives.dim=8."
    )


def test_the_encoder_stays_in_its_mode(store, encoder):
    for training in (True, False):
        encoder.train(training)
        build(store).refresh(encoder, store)
        assert {module.training for module in encoder.modules()} == {training}
