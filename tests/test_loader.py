"""Batches of an epoch: a partition, and a pure function of (seed, epoch)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermodel.loader import cut, epoch_batches, generator, step_seed

LENGTHS = st.lists(st.integers(0, 30), max_size=40).map(lambda values: np.array(values, dtype=np.int64))


def plain(batches):
    return [batch.tolist() for batch in batches]


@given(LENGTHS, st.integers(0, 9), st.integers(0, 9), st.integers(1, 50), st.booleans())
def test_every_example_is_in_exactly_one_batch(lengths, seed, epoch, size, by_users):
    options = (
        {"batch_users": size, "batch_events": None}
        if by_users
        else {"batch_users": None, "batch_events": size}
    )
    batches = epoch_batches(lengths, seed=seed, epoch=epoch, **options)
    assert sorted(np.concatenate([[], *batches]).tolist()) == list(range(len(lengths)))
    assert all(len(batch) for batch in batches)
    assert plain(batches) == plain(epoch_batches(lengths, seed=seed, epoch=epoch, **options))


@given(LENGTHS, st.integers(1, 50))
def test_batches_of_users_are_full_but_for_the_last(lengths, size):
    sizes = [
        len(batch) for batch in epoch_batches(lengths, seed=0, epoch=0, batch_users=size, batch_events=7)
    ]
    assert all(one == size for one in sizes[:-1])
    assert all(one <= size for one in sizes)


@given(LENGTHS, st.integers(1, 50))
def test_batches_of_events_end_where_the_running_sum_passes_a_multiple(lengths, size):
    batches = epoch_batches(lengths, seed=0, epoch=0, batch_users=None, batch_events=size)
    before, expected = 0, {}
    for example in np.concatenate([[], *batches]).astype(int).tolist():
        expected.setdefault(before // size, []).append(example)
        before += int(lengths[example])
    assert plain(batches) == list(expected.values())
    # So a batch is no larger than asked for, but for its last example.
    assert all(int(lengths[batch[:-1]].sum()) < size for batch in batches)


def test_epochs_and_seeds_differ():
    lengths = np.ones(50, dtype=np.int64)

    def order(seed, epoch):
        return tuple(
            np.concatenate(epoch_batches(lengths, seed=seed, epoch=epoch, batch_users=8, batch_events=None))
        )

    assert len({order(seed, epoch) for seed in range(4) for epoch in range(4)}) == 16


def test_one_giant_example_neither_splits_nor_empties_a_batch():
    lengths = np.array([1, 1000, 1, 1], dtype=np.int64)
    many = [
        epoch_batches(lengths, seed=seed, epoch=0, batch_users=None, batch_events=10) for seed in range(20)
    ]
    # The batch it is in ends with it; the others are too few to fill another.
    assert {len(batches) for batches in many} == {1, 2}
    assert all(batches[0][-1] == 1 for batches in many)


def test_one_of_the_two_sizes_is_needed():
    with pytest.raises(AssertionError):
        epoch_batches(np.ones(3, dtype=np.int64), seed=0, epoch=0, batch_users=None, batch_events=None)


def test_streams_and_counters_never_coincide():
    def head(*key):
        return tuple(generator(*key).integers(2**63, size=4).tolist())

    keys = [
        (0, "sample"),
        (0, "order"),
        (0, "step"),
        (0, "init"),
        (0, "views"),
        (1, "sample"),
        (0, "sample", 1),
        (0, "sample", 0, 1),
    ]
    assert len({head(*key) for key in keys}) == len(keys)
    assert head(0, "sample", 3) == head(0, "sample", 3)


def test_the_seed_of_a_step_depends_on_seed_step_and_part_alone():
    seeds = {step_seed(seed, step, rank) for seed in range(5) for step in range(20) for rank in range(3)}
    assert len(seeds) == 300
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert step_seed(1, 2) == step_seed(1, 2, part=0)


def test_the_order_is_frozen():
    """A checkpoint of an earlier version resumes into the same batches."""
    batches = epoch_batches(np.arange(8), seed=3, epoch=1, batch_users=3, batch_events=None)
    assert plain(batches) == [[5, 4, 3], [0, 2, 6], [1, 7]]
    assert step_seed(3, 4) == 2684481907948356299


@given(LENGTHS, st.integers(1, 9))
def test_parts_of_a_batch_hold_every_example_once_and_about_as_many_events(lengths, parts):
    dealt = cut(lengths, parts)
    assert len(dealt) == parts
    assert sorted(np.concatenate(dealt).tolist()) == list(range(len(lengths)))
    loads = [int(lengths[rows].sum()) for rows in dealt]
    assert max(loads) - min(loads) <= lengths.max(initial=0)
    assert plain(dealt) == plain(cut(lengths, parts))


def test_the_whole_batch_is_one_part_in_its_own_order():
    assert plain(cut(np.array([3, 9, 1]), 1)) == [[0, 1, 2]]
    assert plain(cut(np.array([3, 9, 1, 5]), 2)) == [[1, 2], [3, 0]]
