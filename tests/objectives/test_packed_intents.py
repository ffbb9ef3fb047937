"""Intents from one pass: partners, groups, and the terms by hand."""

import collections

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from usermodel.encoders.encode import encode, encode_events
from usermodel.encoders.transformer import TransformerConfig
from usermodel.errors import ConfigError
from usermodel.events.splits_user import UserRatioConfig
from usermodel.losses.info_nce import info_nce
from usermodel.losses.softmax import full_softmax
from usermodel.objectives.packed_intents import PackedIntentsConfig, _groups, other_with_same_label
from usermodel.sampling.all_positions import AllPositionsConfig
from usermodel.sampling.pieces import PiecesConfig


def encoder_of(n_items=10, **options):
    torch.manual_seed(0)
    shape = {"dim": 8, "hidden": 16, "layers": 1, "dropout": 0.0, "init_std": 0.3}
    return TransformerConfig(**shape | options).build(n_items)


@given(st.lists(st.integers(1, 5), max_size=20), st.integers(0, 99))
def test_a_partner_is_another_row_with_the_same_label(labels, seed):
    torch.manual_seed(seed)
    label = torch.tensor(labels, dtype=torch.int64)
    other = other_with_same_label(label)
    for row, (mine, partner) in enumerate(zip(labels, other.tolist(), strict=True)):
        if labels.count(mine) == 1:
            assert partner == -1
        else:
            assert partner != row
            assert labels[partner] == mine
    # Nobody is the partner of two.
    taken = other[other >= 0].tolist()
    assert len(set(taken)) == len(taken)


def test_every_other_row_is_as_likely():
    torch.manual_seed(0)
    drawn = collections.Counter()
    for _ in range(3000):
        drawn.update(enumerate(other_with_same_label(torch.tensor([7, 7, 7, 7])).tolist()))
    assert len(drawn) == 12
    assert stats.chisquare(list(drawn.values())).pvalue > 0.001


@pytest.mark.parametrize(
    ("n", "size", "shape"), [(0, 4, (1, 0)), (3, 4, (1, 3)), (10, 4, (2, 5)), (11, 4, (3, 3))]
)
def test_groups_are_of_equal_size_and_disjoint(n, size, shape):
    groups = _groups(torch.arange(n) + 100, size)
    assert groups.shape == shape
    assert len(set(groups.flatten().tolist())) == groups.numel()
    assert set(groups.flatten().tolist()) <= set(range(100, 100 + n))


def test_the_terms_by_hand(make_batch):
    """Few enough prefixes for one group; of each label two, so that the partner is certain."""
    encoder = encoder_of()
    objective = PackedIntentsConfig(
        coarse=0.3, fine=0.2, clusters=3, temperature=0.5, second_pass=False
    ).build(encoder)
    objective.intents.fit(np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32))
    output = objective(encoder, make_batch([1, 5, 6, 7], [2, 6, 5, 8]))
    h = encoder(make_batch([1, 5, 6], [2, 6, 5])).events
    target = torch.tensor([5, 6, 7, 6, 5, 8])
    first, second = h[[0, 1, 3, 4]], h[[4, 3, 1, 0]]
    # Two prefixes have no partner, and count as 0.
    coarse = 4 / 6 * info_nce(first, second, target[[0, 1, 3, 4]], temperature=0.5, similarity="cosine")
    number = torch.cdist(h, objective.intents.centroids).argmin(1)
    fine = info_nce(h, objective.intents.prototypes(number), number)
    softmax = full_softmax(h, encoder.item_vectors(), target - 1)
    torch.testing.assert_close(output.parts["coarse"], coarse.detach())
    torch.testing.assert_close(output.parts["fine"], fine.detach())
    torch.testing.assert_close(output.parts["softmax"], softmax.detach())
    torch.testing.assert_close(output.loss, softmax + 0.3 * coarse + 0.2 * fine)


def test_prefixes_with_frequent_targets_count_for_less(make_batch, make_store):
    store = make_store([0, 1, 2, 0, 1], [1, 2, 0, 1])
    encoder = encoder_of(store.n_items)
    objective = PackedIntentsConfig(rare=2.0).build(encoder)
    split, rng = store.split(UserRatioConfig(valid=0.0, test=1e-9)), np.random.default_rng(0)
    examples = AllPositionsConfig().sample(store, split, max_history=50, rng=rng)
    objective.on_epoch_start(encoder, store, examples)
    # Targets, by index: 2 3 1 2 and 3 1 2.
    torch.testing.assert_close(objective.weight, torch.tensor([1.0, 2 / 2, 2 / 3, 2 / 2]))

    batch, parts = make_batch([1, 2, 3, 1, 2], [2, 3, 1, 2]), {}
    for value in (1.0, 0.25):
        objective.weight.fill_(value)
        torch.manual_seed(0)
        parts[value] = objective(encoder, batch).parts
    for name in ("coarse", "fine"):
        torch.testing.assert_close(parts[0.25][name], 0.25 * parts[1.0][name])
    torch.testing.assert_close(parts[0.25]["softmax"], parts[1.0]["softmax"])

    # The most frequent item leaves the contrasts: the others are then contrasted with each other alone.
    objective.weight = torch.tensor([1.0, 1.0, 0.09, 1.0])
    torch.manual_seed(0)
    found, target = objective(encoder, batch).parts, torch.tensor([2, 3, 1, 2, 3, 1, 2])
    h, rest = encoder(batch.shifted()[0]).events, target != 2
    number = objective.intents.of(h)[rest]
    fine = info_nce(h[rest], objective.intents.prototypes(number), number)
    torch.testing.assert_close(found["fine"], (fine * 4 / 7).detach())


def test_all_prefixes_count_alike_where_nothing_is_rare(make_store):
    store = make_store([0, 1, 2, 0, 1], [1, 2, 0, 1])
    encoder = encoder_of(store.n_items)
    objective = PackedIntentsConfig(rare=None).build(encoder)
    rng = np.random.default_rng(0)
    objective.on_epoch_start(
        encoder, store, AllPositionsConfig().sample(store, store.split(), max_history=50, rng=rng)
    )
    assert (objective.weight == 1).all()


def test_no_two_prefixes_share_a_target(make_batch):
    encoder = encoder_of()
    objective = PackedIntentsConfig(fine=0, second_pass=False).build(encoder)
    output = objective(encoder, make_batch([1, 2, 3], [4, 5, 6]))
    output.loss.backward()
    assert output.parts["coarse"].item() == 0
    assert torch.isfinite(encoder.items.weight.grad).all()


def test_a_second_pass_gives_the_other_side_and_makes_nobody_alone(make_batch):
    encoder = encoder_of(dropout=0.3)
    seen = []
    encoder.register_forward_hook(lambda module, args, out: seen.append(out.events))
    output = PackedIntentsConfig(fine=0).build(encoder)(encoder, make_batch([1, 5, 6, 7], [2, 6, 5, 8]))
    h, g = seen
    assert not torch.equal(h, g)
    target, partner = torch.tensor([5, 6, 7, 6, 5, 8]), [4, 3, 2, 1, 0, 5]
    wanted = info_nce(h, g[partner], target, temperature=0.1, similarity="cosine")
    torch.testing.assert_close(output.parts["coarse"], wanted.detach())


def test_options_without_effect_are_refused():
    with pytest.raises(ValueError, match="NextItemConfig"):
        PackedIntentsConfig(coarse=0, fine=0)
    with pytest.raises(ValueError, match="n_negatives only"):
        PackedIntentsConfig(next_item={"loss": "softmax", "n_negatives": 3})
    with pytest.raises(ValueError, match="second_pass only"):
        PackedIntentsConfig(coarse=0, second_pass=True)
    with pytest.raises(ConfigError, match="causal"):
        PackedIntentsConfig().build(encoder_of(causal=False))


def test_one_pass_over_histories_gives_the_vectors_of_all_pieces(tiny_store):
    """What is clustered is what the pieces would give one by one."""
    encoder = encoder_of(tiny_store.n_items)
    split, rng = tiny_store.split(), np.random.default_rng(0)
    whole = AllPositionsConfig().sample(tiny_store, split, max_history=50, rng=rng).shortened()
    pieces = PiecesConfig().sample(tiny_store, split, max_history=50, rng=rng).shortened()
    found, wanted = encode_events(encoder, tiny_store, whole), encode(encoder, tiny_store, pieces)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert encoder.training


def test_the_epoch_begins_with_clusters_of_all_prefixes(tiny_store):
    encoder = encoder_of(tiny_store.n_items)
    objective = PackedIntentsConfig(clusters=2).build(encoder)
    rng = np.random.default_rng(0)
    examples = AllPositionsConfig().sample(tiny_store, tiny_store.split(), max_history=50, rng=rng)
    objective.on_epoch_start(encoder, tiny_store, examples)
    assert bool(objective.intents.fitted)
    objective.on_epoch_start(encoder, tiny_store, examples.take(np.arange(0)))
