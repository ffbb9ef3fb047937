"""Mutual information against definitions spelt out, and what is masked together."""

import math
from collections import Counter
from itertools import product

import numpy as np
import pytest

from usermodel.objectives.feature_information import (
    information_matrix,
    masked_together,
    mutual_information,
    numbers_as_codes,
)


def column(*values):
    return np.array(values)[:, None]


def by_definition(first, second):
    """Sums over pairs of values in plain Python."""
    joint, n = Counter(), len(first)
    for a_values, b_values in zip(first.tolist(), second.tolist(), strict=True):
        a_own, b_own = [a for a in a_values if a] or [0], [b for b in b_values if b] or [0]
        for a, b in product(a_own, b_own):
            joint[a, b] += 1 / (n * len(a_own) * len(b_own))
    p, q = Counter(), Counter()
    for (a, b), share in joint.items():
        p[a] += share
        q[b] += share
    return sum(share * math.log(share / (p[a] * q[b])) for (a, b), share in joint.items())


def test_of_a_feature_and_its_copy_it_is_the_entropy():
    codes = column(1, 1, 1, 1, 2, 2, 3, 0)
    entropy = -sum(p * math.log(p) for p in (4 / 8, 2 / 8, 1 / 8, 1 / 8))
    assert mutual_information(codes, codes) == pytest.approx(entropy)
    # Names of values do not matter; the id tells all.
    assert mutual_information(codes, 9 - codes) == pytest.approx(entropy)
    assert mutual_information(codes, np.arange(1, 9)[:, None]) == pytest.approx(entropy)


def test_of_independent_features_it_is_nothing():
    pairs = np.array(list(product(range(1, 5), range(1, 8))))
    assert mutual_information(pairs[:, :1], pairs[:, 1:]) == pytest.approx(0, abs=1e-12)
    rng = np.random.default_rng(0)
    drawn = rng.integers(1, 6, (20_000, 1)), rng.integers(1, 6, (20_000, 1))
    # The estimate of a sample is too large by (5 - 1)^2 / 2n on average.
    assert 0 <= mutual_information(*drawn) < 3 * 16 / 40_000


def test_features_of_several_values_by_definition():
    rng = np.random.default_rng(0)
    for _ in range(20):
        first, drawn = rng.integers(0, 4, (15, 1)), rng.integers(0, 4, (15, 3)).tolist()
        # No value twice; zeros stand anywhere.
        second = np.array([[*set(row), 0, 0][:3] for row in drawn])
        assert mutual_information(first, second) == pytest.approx(by_definition(first, second), abs=1e-12)
        assert mutual_information(second, first) == pytest.approx(
            mutual_information(first, second), abs=1e-12
        )


def test_numbers_are_cut_into_parts_of_one_size():
    rng = np.random.default_rng(0)
    x = rng.permutation(1_000).astype(np.float32)[:, None]
    codes = numbers_as_codes(x)
    assert np.bincount(codes[:, 0])[1:].tolist() == [100] * 10
    assert (np.diff(codes[np.argsort(x[:, 0]), 0]) >= 0).all()
    assert set(numbers_as_codes(np.zeros((5, 1)))[:, 0]) == {1}
    # A vector goes by where it varies most, in one direction or the other.
    both = np.hstack([rng.normal(size=(1_000, 1)) / 100, x, -2 * x])
    found = numbers_as_codes(both)
    assert (found == codes).all() or (found == 11 - codes).mean() > 0.98


def test_a_feature_is_masked_with_those_that_tell_most_about_it():
    information = np.array(
        [
            [9.0, 1.0, 5.0, 2.0, 4.0],
            [1.0, 9.0, 0.0, 1.0, 1.0],
            [5.0, 0.0, 9.0, 2.0, 3.0],
            [2.0, 1.0, 2.0, 0.5, 2.0],
            [4.0, 1.0, 3.0, 2.0, 9.0],
        ]
    )
    # Two of five; equals by their number, and a feature that tells little of itself is masked all the same.
    wanted = [{0, 2, 4}, {1, 0, 3}, {2, 0, 4}, {3, 0, 2}, {4, 0, 2}]
    assert [set(np.flatnonzero(row)) for row in masked_together(information)] == wanted


@pytest.mark.parametrize("k", range(2, 9))
def test_something_is_always_left(k):
    rng = np.random.default_rng(k)
    marks = masked_together(information_matrix([rng.integers(1, 4, (50, 1)) for _ in range(k)]))
    assert marks.diagonal().all()
    assert set(marks.sum(1)) == {1 + min(k // 2, k - 2)}
    assert not marks.all(1).any()
