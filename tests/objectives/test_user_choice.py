"""Choices among many things: the loss by hand, and ranks against a plain loop."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from usermodel.encoders.encode import encode
from usermodel.encoders.transformer import TransformerConfig
from usermodel.objectives import user_choice
from usermodel.objectives.user_choice import METRICS, UserChoiceConfig, _counts
from usermodel.sampling.protocol import Examples

THINGS = tuple(f"t{n}" for n in range(12))


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return TransformerConfig(dim=8, hidden=16, layers=1, max_history=6, dropout=0.3, init_std=0.5).build(9)


def build(encoder, **options):
    torch.manual_seed(1)
    objective = UserChoiceConfig(**options).build_labelled(encoder, THINGS)
    torch.nn.init.normal_(objective.head.out.weight)
    return objective


@pytest.mark.parametrize("n", [1, 3])
def test_the_loss_by_hand(encoder, make_batch, n):
    encoder.eval()
    rng = np.random.default_rng(0)
    label = np.stack([rng.permutation(12)[: n + 1] for _ in range(3)])
    batch = replace(make_batch([1, 2, 3], [4], [5, 6]), label=torch.from_numpy(label))
    objective = build(encoder)
    output = objective(encoder, batch)
    z = objective.head(encoder(batch).users).detach().numpy().astype(np.float64)
    terms = [
        -np.log(1 / (1 + np.exp(-(z[u, y] - z[u, other]))))
        for u, (y, *others) in enumerate(label)
        for other in others
    ]
    assert output.loss.item() == pytest.approx(np.mean(terms), rel=1e-5)
    assert output.n_targets == 3


def naive(scores, label):
    """One row at a time, with sets: what is higher than the first, and level with it, the other answers left out."""
    found = []
    for z, (y, *others) in zip(scores, label, strict=True):
        left = set(range(len(z))) - (set(others) - {y})
        rivals = left - {y}
        found.append((sum(z[k] > z[y] for k in rivals), sum(z[k] == z[y] for k in rivals), len(left)))
    return np.array(found).T.tolist()


@pytest.mark.parametrize(
    "label",
    [
        [[3, -1, -1]],
        [[3, 0, -1]],
        [[3, -1, 0]],
        [[0, -1, -1]],
        [[0, 5, -1]],
        [[0, 0, -1]],
        [[3, 3, 5]],
        [[3, 5, 3]],
        [[3]],
        [[0]],
    ],
    ids=str,
)
def test_other_choices_are_left_out_and_the_choice_itself_never(label):
    """Thing 0 among the others, beside gaps, or as the choice; and a choice that is among the others."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores = rng.integers(0, 3, (1, 6)).astype(np.float32)
        found = _counts(torch.from_numpy(scores), torch.tensor(label))
        assert found.tolist() == naive(scores, label)


def test_ranks_of_many_rows_equal_a_plain_loop():
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 5, (300, 12)).astype(np.float32)
    label = rng.integers(-1, 12, (300, 5))
    label[:, 0] = rng.integers(0, 12, 300)
    found = _counts(torch.from_numpy(scores), torch.from_numpy(label))
    assert found.tolist() == naive(scores, label.tolist())


def test_what_is_measured(encoder, make_store, monkeypatch):
    """Against ranks from sorting, where nothing is level; in pieces of seven rows."""
    monkeypatch.setattr(user_choice, "_ROWS", 7)
    rng = np.random.default_rng(0)
    store = make_store(*[rng.integers(1, 10, 4).tolist() for _ in range(30)], list(range(1, 10)))
    users = rng.integers(0, 30, 50)
    label = np.column_stack([rng.integers(0, 12, 50), rng.integers(-1, 12, (50, 3))])
    examples = replace(Examples.histories(store, users, store.offsets[users + 1], 6), label=label)
    objective = build(encoder)
    found = objective.measure(encoder, store, examples)
    assert tuple(found) == METRICS == UserChoiceConfig().measures
    with torch.no_grad():
        scores = objective.head(torch.from_numpy(encode(encoder, store, examples))).numpy()
    ranks = np.array(naive(scores, label.tolist())[0]) + 1
    for k in (5, 10, 20):
        inside = ranks <= k
        assert found[f"hit@{k}"] == pytest.approx(inside.mean())
        assert found[f"ndcg@{k}"] == pytest.approx((inside / np.log2(ranks + 1)).mean())
        assert found[f"mrr@{k}"] == pytest.approx((inside / ranks).mean())


def test_a_constant_head_ranks_by_chance(encoder, make_store):
    store = make_store([1, 2, 3], [4, 5, 6], [7, 8, 9])
    users = np.arange(3)
    label = np.array([[2, -1], [0, 5], [11, 0]])
    examples = replace(Examples.histories(store, users, store.offsets[1:], 6), label=label)
    objective = build(encoder)
    for weight in objective.head.parameters():
        torch.nn.init.zeros_(weight)
    found = objective.measure(encoder, store, examples)
    assert found["hit@5"] == pytest.approx(np.mean([5 / 12, 5 / 11, 5 / 11]))
