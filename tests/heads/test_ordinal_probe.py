"""Classes in an order: laws, borders without rows, and what the order is worth."""

import numpy as np
import pytest

from usermodel.heads.linear_probe import LinearProbe
from usermodel.heads.ordinal_probe import OrdinalProbe
from usermodel.metrics.levels import measure, middle


def levels(n=600, classes=6, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5))
    hidden = x[:, 0] * 2 + x[:, 1] + rng.normal(0, 0.7, n)
    edges = np.quantile(hidden, np.arange(1, classes) / classes)
    return x, np.searchsorted(edges, hidden)


def test_laws_sum_to_one_and_are_differences_of_the_answers_above():
    x, code = levels()
    found = OrdinalProbe(LinearProbe).fit(x, code, 6).probability(x)
    assert found.min() >= 0
    assert np.allclose(found.sum(1), 1)
    above = LinearProbe().fit(x, (code > 0).astype(int), 2).probability(x)[:, 1]
    clean = (found > 0).all(1)
    assert clean.mean() > 0.3
    assert np.allclose(found[clean, 0], 1 - above[clean])


def test_classes_that_nobody_has_get_nothing():
    x, code = levels(classes=3)
    found = OrdinalProbe(LinearProbe).fit(x, np.where(code == 1, 2, code) + 1, 5).probability(x)
    assert np.allclose(found[:, [0, 2, 4]], 0)


def test_the_order_helps_where_labels_are_few():
    """Sixty labels of twelve classes: an ordinal probe is nearer than one that knows no order."""
    off = []
    for seed in range(5):
        x, code = levels(2000, 12, seed)
        ordinal = OrdinalProbe(LinearProbe).fit(x[:60], code[:60], 12)
        nominal = LinearProbe().fit(x[:60], code[:60], 12)
        off.append(
            [
                measure(middle(probe.probability(x[60:])), code[60:])["levels_off"].value
                for probe in (ordinal, nominal)
            ]
        )
    ordinal_off, nominal_off = np.mean(off, 0)
    assert ordinal_off < nominal_off


def test_one_class_is_certain():
    x, _ = levels(20)
    found = OrdinalProbe(LinearProbe).fit(x, np.full(20, 2), 4).probability(x)
    assert np.array_equal(found, np.tile([0.0, 0.0, 1.0, 0.0], (20, 1)))


@pytest.mark.parametrize(
    ("law", "guess"), [([0.5, 0.5], 0), ([0.4, 0.2, 0.4], 1), ([0, 0, 1], 2), ([0.49, 0.02, 0.49], 1)]
)
def test_the_guess_is_the_median(law, guess):
    assert middle(np.array([law], dtype=float)).tolist() == [guess]
