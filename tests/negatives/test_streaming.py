import pytest
import torch

from usermodel.negatives.streaming import GapFrequencies


def naive(stream, n_items, rate):
    """Algorithm 2 of Yi et al. 2019, one item after the other, time counted in items."""
    last, gap = [0] * (n_items + 1), [float(n_items)] * (n_items + 1)
    for now, item in enumerate(stream, start=1):
        gap[item] = (1 - rate) * gap[item] + rate * (now - last[item])
        last[item] = now
    return last, gap


def test_batches_without_repeats_are_the_algorithm_itself():
    stream = [[1, 2, 3], [3, 1, 5], [2, 5, 4], [1, 4, 2]]
    ours = GapFrequencies(5, 0.1)
    for batch in stream:
        ours.update(torch.tensor(batch))
    last, gap = naive([item for batch in stream for item in batch], 5, 0.1)
    assert ours.last.tolist() == last
    torch.testing.assert_close(ours.gap, torch.tensor(gap))
    torch.testing.assert_close(ours.log_frequency(torch.tensor([2])).exp(), torch.tensor([1 / gap[2]]))


def test_repeats_in_a_batch_are_one_update_with_their_mean_gap():
    ours = GapFrequencies(3, 0.5)
    ours.update(torch.tensor([2, 2, 1, 2]))
    # Positions 1, 2 and 4: three gaps with the mean 4/3, and half of a half of a half of the first 3.
    assert ours.gap[2].item() == pytest.approx(3 / 8 + 7 / 8 * 4 / 3)
    assert ours.gap[3].item() == 3.0
    ours.update(torch.tensor([3]))
    assert (ours.last[3].item(), ours.gap[3].item()) == (5, (3 + 5) / 2)


def test_equal_gaps_give_what_the_algorithm_gives_however_they_are_cut():
    stream = [1, 2] * 6
    _, gap = naive(stream, 2, 0.2)
    for size in (1, 4, 12):
        ours = GapFrequencies(2, 0.2)
        for start in range(0, 12, size):
            ours.update(torch.tensor(stream[start : start + size]))
        assert ours.gap[2].item() == pytest.approx(gap[2], rel=1e-5)


def test_no_item_changes_nothing():
    ours = GapFrequencies(2, 0.2)
    ours.update(torch.zeros(0, dtype=torch.int64))
    assert ours.gap.tolist() == [2.0, 2.0, 2.0]


def test_a_checkpoint_goes_on_where_it_stopped():
    one, other = GapFrequencies(3, 0.1), GapFrequencies(3, 0.1)
    one.update(torch.tensor([1, 3, 3]))
    other.load_state_dict(one.state_dict())
    for made in (one, other):
        made.update(torch.tensor([2, 1, 1]))
    assert torch.equal(one.gap, other.gap)
    assert torch.equal(one.last, other.last)
