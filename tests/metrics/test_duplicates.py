import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from usermodel.errors import NumericError
from usermodel.metrics import rows
from usermodel.metrics.duplicates import duplicates


def at(*degrees):
    turn = np.radians(degrees)
    return np.column_stack([np.cos(turn), np.sin(turn)]) * np.arange(1, len(degrees) + 1)[:, None]


def by_brute_force(vectors, cosine=0.99):
    kept = vectors[vectors.any(axis=1)]
    unit = kept / np.linalg.norm(kept, axis=1, keepdims=True)
    same = (kept[:, None] == kept[None]).all(axis=2)
    cosines = np.where(same, -1, unit @ unit.T)
    return (same.sum(axis=1) > 1).mean(), (cosines.max(axis=1) >= cosine).mean()


def test_by_hand():
    """8.1 degrees have a cosine of 0.99: 0 and 5 are near, 90 is not."""
    found = duplicates(at(0, 5, 90))
    assert (found.n, found.exact, found.near, found.n_sampled) == (3, 0, pytest.approx(2 / 3), 3)
    assert duplicates(at(0, 5, 90), cosine=0.999).near == 0


def test_equal_vectors_count_apart_and_zeros_not_at_all():
    one, other = at(0, 90)
    vectors = np.array([one, np.zeros(2), one, other, np.zeros(2), other, -one])
    found = duplicates(vectors)
    assert (found.n, found.exact, found.near) == (5, 0.8, 0)
    # The same direction with another length is near, not equal.
    assert duplicates(np.array([one, 2 * one])).exact == 0
    assert duplicates(np.array([one, 2 * one])).near == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("numbers", [8, 1 << 22])
@pytest.mark.parametrize("tile", [3, 8192])
def test_blocks_tiles_and_types_change_nothing(dtype, numbers, tile, monkeypatch):
    monkeypatch.setattr(rows, "_NUMBERS", numbers)
    monkeypatch.setattr("usermodel.metrics.duplicates._TILE", tile)
    rng = np.random.default_rng(0)
    vectors = rng.choice([-1, 0, 1, 4], size=(300, 4)).astype(dtype)
    exact, near = by_brute_force(vectors.astype(np.float64))
    found = duplicates(vectors)
    assert (found.exact, found.near) == pytest.approx((exact, near))
    assert 0.5 < exact < 1


@pytest.mark.parametrize("scale", [1.0, 2.0**20, 2.0**-20])
def test_round_numbers_do_not_collide(scale):
    """Their bits end in zeros, which a weak hash adds up to the same sum."""
    corners = np.stack(np.meshgrid(*[[1, 2, 4, -1]] * 8), axis=-1).reshape(-1, 8) * scale
    found = duplicates(corners.astype(np.float32), most=8)
    assert (found.n, found.exact) == (65_536, 0)


def test_signs_of_zero_do_not_tell_vectors_apart():
    assert duplicates(np.array([[1.0, 0.0], [1.0, -0.0]])).exact == 1


def test_a_sample_against_all():
    rng = np.random.default_rng(1)
    lone = rng.normal(size=(900, 16))
    pairs = np.repeat(rng.normal(size=(300, 16)), 2, axis=0) + rng.normal(size=(600, 16)) * 1e-3
    vectors = rng.permutation(np.concatenate([lone, pairs]))
    assert duplicates(vectors, most=1500).near == pytest.approx(0.4)
    few = duplicates(vectors, most=300)
    assert few.n_sampled == 300
    # Five standard errors of a share in a sample of this size; neighbours outside the sample are found.
    assert few.near == pytest.approx(0.4, abs=5 * math.sqrt(0.4 * 0.6 / 300))
    assert few == duplicates(vectors, most=300)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 30))
def test_rotation_changes_nothing(seed, n):
    vectors = np.random.default_rng(seed).normal(size=(n, 3))
    turned = vectors @ ortho_group.rvs(3, random_state=seed)
    exact, near = by_brute_force(vectors)
    for table in (vectors, turned):
        found = duplicates(table)
        assert (found.exact, found.near) == pytest.approx((exact, near))


@pytest.mark.parametrize("vectors", [np.zeros((0, 3)), np.zeros((4, 3)), np.array([[1.0, 2, 3], [0, 0, 0]])])
def test_too_few(vectors):
    assert duplicates(vectors) is None


def test_all_equal():
    found = duplicates(np.ones((5, 3), dtype=np.float32))
    assert (found.exact, found.near) == (1, 0)


def test_what_is_not_finite_is_named():
    vectors = np.ones((5, 3))
    vectors[3, 1] = np.nan
    with pytest.raises(NumericError, match="row 3"):
        duplicates(vectors)
