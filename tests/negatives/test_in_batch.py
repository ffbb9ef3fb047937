import math

import numpy as np
import pytest
import torch

from usermodel.errors import ConfigError
from usermodel.losses.sampled import sampled_softmax
from usermodel.negatives.in_batch import InBatch, InBatchConfig
from usermodel.negatives.protocol import DrawContext

COUNTS = np.array([6.0, 3.0, 0.0, 1.0])
CONTEXT = DrawContext(torch.zeros(4, 3))


def test_the_negatives_are_the_positives_with_their_frequency():
    positives = torch.tensor([2, 1, 1, 4])
    drawn = InBatch(COUNTS).sample(positives, CONTEXT, n=10)
    assert drawn.ids.tolist() == [2, 1, 1, 4]
    torch.testing.assert_close(drawn.log_q.exp(), torch.tensor([0.3, 0.6, 0.6, 0.1]))


def test_a_large_batch_gives_a_random_part_without_replacement():
    positives = torch.arange(1, 101)
    parts = [
        InBatch(np.ones(100))
        .sample(positives, CONTEXT, n=30, generator=torch.Generator().manual_seed(seed))
        .ids
        for seed in range(200)
    ]
    assert {len(part.unique()) for part in parts} == {30}
    times = torch.bincount(torch.cat(parts), minlength=101)[1:]
    assert 30 <= int(times.min()) <= int(times.max()) <= 90  # 60 each in the mean, 6.5 their deviation


def test_an_item_that_training_lacks():
    """Its law is 0; as a target of a batch it counts as one event, so that no loss is infinite."""
    sampler = InBatch(COUNTS)
    assert sampler.log_q_of(torch.tensor([3]), torch.tensor([3]), CONTEXT).item() == -math.inf
    drawn = sampler.sample(torch.tensor([3, 1]), CONTEXT, n=2)
    torch.testing.assert_close(drawn.log_q.exp(), torch.tensor([0.1, 0.6]))


def test_no_positive_is_no_negative_and_no_loss():
    none = torch.zeros(0, dtype=torch.int64)
    drawn = InBatch(COUNTS).sample(none, CONTEXT, n=2)
    events, items = torch.zeros(0, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    loss = sampled_softmax(events, items, none, drawn.ids - 1, drawn.log_q)
    loss.backward()
    assert loss.item() == 0.0
    assert not items.grad.any()


def test_the_loss_corrects_negatives_and_not_the_positive():
    """Of a batch of 3, row by row with whole numbers: the positive as it is, the others over n q, hits left out.

    The usual correction divides the positive by its probability, too, and leaves it among the negatives; both give
    another number.
    """
    positives = torch.tensor([1, 2, 1])
    drawn = InBatch(COUNTS).sample(positives, CONTEXT, n=3)
    items = torch.tensor([2.0, 3.0, 5.0, 7.0]).log()[:, None]  # exp(score) is the number itself
    ours = sampled_softmax(torch.ones(3, 1), items, positives - 1, drawn.ids - 1, drawn.log_q)
    first = 2 / (2 + 3 / (3 * 0.3))  # the other row with item 1 is a hit as well
    second = 3 / (3 + 2 / (3 * 0.6) + 2 / (3 * 0.6))
    assert ours.item() == pytest.approx(-(2 * math.log(first) + math.log(second)) / 3, rel=1e-6)
    usual = [2 / 0.6, 3 / 0.3, 2 / 0.6]
    wrong = -sum(math.log(one / sum(usual)) for one in usual) / 3
    assert abs(ours.item() - wrong) > 0.1


@pytest.mark.parametrize("target", [0, 2])
def test_over_batches_the_sum_over_the_catalogue_is_right_but_for_the_rows_own_place(target):
    """A row of a batch of n has n - 1 others: on average, over all batches of 3, they stand for (n - 1) / n of the rest."""
    q, scores = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), torch.tensor([2.0, 3.0, 5.0])
    sampler, mean = InBatch(np.array([5.0, 3.0, 2.0])), 0.0
    for first in range(3):
        for second in range(3):
            batch = torch.tensor([target, first, second]) + 1
            drawn = sampler.sample(batch, CONTEXT, n=3)
            loss = sampled_softmax(
                torch.ones(1, 1), scores.log()[:, None], batch[:1] - 1, drawn.ids - 1, drawn.log_q
            )
            z = scores[target].item() * math.exp(loss.item())
            mean += float(q[first] * q[second]) * z
    rest = float(scores.sum() - scores[target])
    assert mean == pytest.approx(scores[target].item() + rest * 2 / 3, rel=1e-6)


def test_the_streaming_estimate_follows_the_targets():
    config = InBatchConfig(frequencies="streaming", learning_rate=0.01)

    class Store:
        n_items = 4

    sampler = config.build(Store(), None)
    q = torch.tensor([0.5, 0.3, 0.15, 0.05])
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        batch = torch.multinomial(q, 64, replacement=True, generator=generator) + 1
        drawn = sampler.sample(batch, CONTEXT, n=64)
    found = sampler.log_q_of(torch.arange(1, 5), batch, CONTEXT).exp()
    torch.testing.assert_close(found, q, rtol=0.25, atol=0)
    torch.testing.assert_close(drawn.log_q.exp(), found[batch - 1])


def test_nothing_is_learned_outside_training():
    sampler = InBatchConfig(frequencies="streaming").build(type("Store", (), {"n_items": 4})(), None).eval()
    sampler.sample(torch.tensor([1, 2]), CONTEXT, n=2)
    assert int(sampler.streaming.position) == 0


def test_a_rate_needs_the_estimate():
    with pytest.raises(ConfigError, match="learning_rate only with frequencies=streaming"):
        InBatchConfig.from_dict({"learning_rate": 0.1})
