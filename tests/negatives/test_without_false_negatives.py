"""A filter around another sampler: which draws are out, and what is estimated without them."""

import math

import numpy as np
import pytest
import torch

from usermodel.encoders.transformer import TransformerConfig
from usermodel.errors import ConfigError
from usermodel.events.splits import LeaveLastOutConfig
from usermodel.losses.binary import binary_cross_entropy, gbce_beta
from usermodel.losses.sampled import sampled_softmax
from usermodel.negatives.hard import HardConfig
from usermodel.negatives.in_batch import InBatch
from usermodel.negatives.protocol import DrawContext, Negatives, NegativeSampler, NegativesConfig
from usermodel.negatives.uniform import Uniform, UniformConfig
from usermodel.negatives.user_lists import UserLists
from usermodel.negatives.without_false_negatives import WithoutFalseNegatives, WithoutFalseNegativesConfig

#: Angles of the vectors of items 1 to 6, in degrees, and their lengths.
ANGLES, LENGTHS = (0, 10, 20, 90, 180, 0), (1.0, 3.0, 0.5, 1.0, 2.0, 0.0)
ITEMS = torch.tensor(
    [
        [length * math.cos(math.radians(angle)), length * math.sin(math.radians(angle))]
        for angle, length in zip(ANGLES, LENGTHS, strict=True)
    ]
)
TARGET = torch.tensor([1, 4, 6])


def context(events=None):
    vectors = torch.zeros(3, 2) if events is None else events
    return DrawContext(
        vectors, lambda index: ITEMS if index is None else ITEMS[index - 1], torch.tensor([0, 1, 2])
    )


class EveryItem(NegativeSampler):
    """Items 1 to 6 in turn, with probabilities of its own, perhaps with weights."""

    def __init__(self, shared, weight=None):
        super().__init__()
        self.shared, self.weight, self.refreshed = shared, weight, 0
        self.log_q = torch.linspace(-3, -1, 6)

    def sample(self, positives, context, *, n, generator=None, log_q=True):
        rows = (n,) if self.shared else (len(positives), n)
        probability = self.log_q[:n].expand(rows) if log_q else None
        weight = None if self.weight is None else torch.full(rows, self.weight)
        return Negatives(torch.arange(1, n + 1).expand(rows), probability, weight)

    def refresh(self, encoder, store):
        self.refreshed += 1


def weights(source=None, n_items=6, **options):
    sampler = WithoutFalseNegatives(source or EveryItem(shared=False), n_items, **options)
    drawn = sampler.sample(TARGET, context(), n=6)
    assert drawn.ids.shape == drawn.log_q.shape == (3, 6)
    assert torch.equal(drawn.log_q, torch.linspace(-3, -1, 6).expand(3, 6))
    return drawn.weight.tolist()


@pytest.mark.parametrize(
    ("similarity", "first"),
    [
        (0.99, [0, 1, 1, 1, 1, 1]),
        (0.97, [0, 0, 1, 1, 1, 1]),
        (0.9, [0, 0, 0, 1, 1, 1]),
        (-0.5, [0, 0, 0, 0, 1, 0]),
    ],
)
def test_draws_like_the_target_are_out_whatever_their_length(similarity, first):
    found = weights(similarity=similarity)
    assert found[0] == first
    if similarity > 0:
        assert found[1] == [1, 1, 1, 0, 1, 1]
        assert found[2] == [1] * 6  # the zero vector is like nothing, not even itself


def test_only_the_vectors_of_what_takes_part_are_asked_for():
    asked = []

    def items(index):
        asked.append(index)
        return torch.eye(4)[index - 1]

    sampler = WithoutFalseNegatives(EveryItem(shared=True), 1_000_000, similarity=0.5)
    drawn = sampler.sample(torch.tensor([2, 3]), DrawContext(torch.zeros(2, 4), items), n=4)
    assert [index.tolist() for index in asked] == [[2, 3], [1, 2, 3, 4] * 2]
    assert drawn.weight.tolist() == [[1, 0, 1, 1], [1, 1, 0, 1]]


def test_a_set_for_all_is_laid_out_for_each_and_weights_multiply():
    assert weights(EveryItem(shared=True), similarity=0.9) == weights(similarity=0.9)
    assert weights(EveryItem(shared=True, weight=0.5), similarity=0.97)[0] == [0, 0, 0.5, 0.5, 0.5, 0.5]


def test_what_the_user_has_taken_is_out():
    seen = UserLists.of(np.array([0, 0, 2]), np.array([5, 2, 6]), 3)
    assert weights(seen=seen) == [[1, 0, 1, 1, 0, 1], [1] * 6, [1, 1, 1, 1, 1, 0]]


def test_filters_add_up():
    seen = UserLists.of(np.array([0, 0, 2]), np.array([5, 2, 6]), 3)
    assert weights(seen=seen, similarity=0.97)[0] == [0, 0, 1, 1, 0, 1]


def test_probabilities_nobody_asked_for_stay_out():
    sampler = WithoutFalseNegatives(EveryItem(shared=True), 6, similarity=0.5)
    assert sampler.sample(TARGET, context(), n=6, log_q=False).log_q is None


def test_only_training_events_count_as_seen(tiny_store):
    sampler = WithoutFalseNegativesConfig(similarity=None, seen=True).build(tiny_store, tiny_store.split())
    split, every = tiny_store.split(), torch.arange(1, 6).repeat(4, 1)
    inside = sampler.seen.contains(torch.arange(4), every)
    for user in range(4):
        taken = set(tiny_store.items[split.start[user] : split.train_stop[user]].tolist())
        assert {item for item in range(1, 6) if inside[user, item - 1]} == taken


def test_clusters_are_those_of_the_nearest_centroid(tiny_store):
    """Two groups of vectors far apart: whatever k-means starts from, it finds them."""
    torch.manual_seed(0)
    encoder = TransformerConfig(dim=4, heads=1, hidden=4, layers=1).build(5)
    with torch.no_grad():
        encoder.items.weight[1:] = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0])[:, None] + 0.01 * torch.randn(
            5, 4
        )
    source = EveryItem(shared=False)
    sampler = WithoutFalseNegatives(source, 5, intents=2)
    shapes = {name: value.shape for name, value in sampler.state_dict().items()}
    target = torch.tensor([1, 2])
    ids = torch.arange(1, 6).repeat(2, 1)
    source.sample = lambda *_, **__: Negatives(ids, torch.zeros(2, 5))
    assert sampler.sample(target, context(), n=5).weight.tolist() == [[0, 1, 1, 1, 1], [1, 0, 1, 1, 1]]
    sampler.refresh(encoder, tiny_store)
    assert source.refreshed == 1
    assert sampler.sample(target, context(), n=5).weight.tolist() == [[0, 1, 0, 1, 0], [1, 0, 1, 0, 1]]
    assert {name: value.shape for name, value in sampler.state_dict().items()} == shapes


def test_the_sampled_softmax_estimates_the_sum_over_what_passes():
    events = torch.tensor([[1.0, 0.5], [-0.3, 1.0], [0.2, -1.0]])
    sampler = WithoutFalseNegatives(Uniform(6, shared=False), 6, similarity=0.9)
    torch.manual_seed(0)
    drawn = sampler.sample(TARGET, context(events), n=200_000)
    found = sampled_softmax(events, ITEMS, TARGET - 1, drawn.ids - 1, drawn.log_q, drawn.weight)
    passes = torch.tensor(weights(similarity=0.9)).bool()
    passes[torch.arange(3), TARGET - 1] = True
    scores = (events @ ITEMS.T).masked_fill(~passes, -math.inf)
    wanted = (scores.logsumexp(1) - scores[torch.arange(3), TARGET - 1]).mean()
    torch.testing.assert_close(found, wanted, atol=2e-3, rtol=0)


@pytest.mark.parametrize("loss", ["sampled-softmax", "gbce", "bce"])
@pytest.mark.parametrize("shared", [False, True])
def test_without_any_negative_a_row_has_the_loss_of_its_target_alone(loss, shared):
    """Weight 0 for all draws of a row: no NaN, forward or backward, and no pull from the draws."""
    events = torch.tensor([[1.0, 0.5], [-0.3, 1.0], [0.2, -1.0]], requires_grad=True)
    items = ITEMS.clone().requires_grad_()
    ids = torch.tensor([1, 2, 5]) if shared else torch.tensor([[1, 2, 5], [1, 2, 5], [1, 2, 5]])
    weight = torch.zeros(ids.shape)
    if not shared:
        weight[1] = torch.tensor([0.0, 1.0, 0.0])
    beta = gbce_beta(3, 6, 0.75) if loss == "gbce" else 1.0
    if loss == "sampled-softmax":
        found = sampled_softmax(events, items, TARGET - 1, ids, torch.full(ids.shape, -1.8), weight)
    else:
        found = binary_cross_entropy(events, items, TARGET - 1, ids, weight, beta=beta)
    of_events, of_items = torch.autograd.grad(found, (events, items))

    score = events @ items.T
    if loss == "sampled-softmax":
        extra = torch.exp(score[1, 2] + 1.8 - math.log(3)) if not shared else torch.zeros(())
        wanted = torch.log1p(extra / score[1, 3].exp()) / 3
    else:
        own = score[torch.arange(3), TARGET - 1]
        extra = torch.nn.functional.softplus(score[1, 2]) if not shared else torch.zeros(())
        wanted = (beta * torch.nn.functional.softplus(-own).sum() + extra) / 4 / 3
    torch.testing.assert_close(found, wanted)
    if wanted.requires_grad:
        pair = torch.autograd.grad(wanted, (events, items))
    else:
        pair = torch.zeros(3, 2), torch.zeros(6, 2)
    for ours, theirs in zip((of_events, of_items), pair, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_without_any_filter_it_is_refused_and_sources_keep_their_options():
    with pytest.raises(ConfigError, match="similarity, intents or seen"):
        WithoutFalseNegativesConfig.from_dict({"similarity": None})
    config = WithoutFalseNegativesConfig(source=HardConfig(candidates=7), intents=3)
    assert NegativesConfig.from_dict(config.to_dict()) == config
    swapped = config.override({"source.class": "usermodel.negatives.uniform:UniformConfig"})
    assert swapped.source == UniformConfig()


def test_a_source_of_its_own_is_drawn_from(tiny_store):
    config = WithoutFalseNegativesConfig(source=HardConfig(candidates=3))
    sampler = config.build(tiny_store, tiny_store.split(LeaveLastOutConfig()))
    vectors = torch.randn(5, 4)
    known = DrawContext(torch.randn(2, 4), lambda index: vectors if index is None else vectors[index - 1])
    torch.manual_seed(5)
    ours = sampler.sample(torch.tensor([1, 2]), known, n=20)
    torch.manual_seed(5)
    theirs = sampler.source.sample(torch.tensor([1, 2]), known, n=20)
    assert torch.equal(ours.ids, theirs.ids)
    assert torch.equal(ours.log_q, theirs.log_q)


def test_a_source_that_draws_from_the_batch_may_have_fewer_than_were_asked_for():
    """Three targets are three negatives of each; user 0 has taken items 2 and 3, user 1 nothing."""
    lists = UserLists.of(np.array([0, 0]), np.array([2, 3]), 2)
    sampler = WithoutFalseNegatives(InBatch(np.ones(4)), 4, seen=lists)
    assert sampler.from_batch
    context = DrawContext(torch.zeros(3, 2), user=torch.tensor([0, 1, 0]))
    drawn = sampler.sample(torch.tensor([1, 2, 3]), context, n=50)
    assert drawn.ids.tolist() == [[1, 2, 3]] * 3
    assert drawn.weight.tolist() == [[1, 0, 0], [1, 1, 1], [1, 0, 0]]
    torch.testing.assert_close(drawn.log_q, torch.full((3, 3), -math.log(4)))
