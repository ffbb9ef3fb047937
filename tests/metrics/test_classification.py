"""Metrics of classes against scikit-learn; intervals against DeLong's formula and a bootstrap."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score

from usermodel.metrics.classification import DEFINITIONS, auc, macro_f1, measure
from usermodel.metrics.estimate import Estimate


def scores(n, n_classes, seed=0, *, ties=False, signal=1.0):
    """Probabilities that say something about the truth, perhaps with many equal ones."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, n)
    z = rng.normal(size=(n, n_classes)) + signal * np.eye(n_classes)[truth]
    z = np.round(z) if ties else z
    return np.exp(z) / np.exp(z).sum(1, keepdims=True), truth


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_equals_scikit_learn(n_classes, ties):
    probability, truth = scores(300, n_classes, ties=ties)
    found = measure(probability, truth)
    assert list(found) == list(DEFINITIONS)
    guess = probability.argmax(1)
    assert found["accuracy"].value == pytest.approx(accuracy_score(truth, guess))
    assert found["macro_f1"].value == pytest.approx(f1_score(truth, guess, average="macro"))
    assert found["log_loss"].value == pytest.approx(log_loss(truth, probability))
    score = probability[:, 1] if n_classes == 2 else probability
    wanted = roc_auc_score(truth, score, multi_class="ovr", average="macro")
    assert found["auc"].value == pytest.approx(wanted)


def test_a_class_that_no_row_has():
    probability, truth = scores(200, 3)
    truth = truth % 2
    found = measure(probability, truth)
    guess = probability.argmax(1)
    with_third = f1_score(truth, guess, average="macro", labels=[0, 1, 2], zero_division=0)
    assert found["macro_f1"].value == pytest.approx(with_third)
    one_by_one = [roc_auc_score(truth == one, probability[:, one]) for one in (0, 1)]
    assert found["auc"].value == pytest.approx(np.mean(one_by_one))


def test_a_class_that_is_neither_there_nor_named_has_no_f1():
    guess = truth = np.array([0, 1, 0, 1])
    assert macro_f1(guess, truth, 2).value == 1.0
    assert macro_f1(guess, truth, 4).value == 0.5


def test_rows_of_one_class_tell_nothing_apart():
    probability, _ = scores(20, 2)
    found = measure(probability, np.ones(20, dtype=np.int64))
    assert found["auc"].value == 0.5
    assert found["auc"].interval() == (0.5, 0.5)


def test_by_hand():
    """Scores 1 to 4, of which 2 and 4 are positive: three of four pairs are in order; with 2 = 3 the tie counts half."""
    truth = np.array([0, 1, 0, 1])
    for score, wanted in (([0.1, 0.2, 0.3, 0.4], 0.75), ([0.1, 0.3, 0.3, 0.4], 0.875)):
        probability = np.column_stack([1 - np.array(score), score])
        assert auc(probability, truth).value == pytest.approx(wanted)
    certain = np.array([[1.0, 0.0]])
    assert measure(certain, np.array([1]))["log_loss"].value == pytest.approx(-np.log(1e-15))


def test_an_interval_of_one_row_is_none():
    assert Estimate(0.3, np.zeros(1)).interval() == (None, None)


def delong(score, positive):
    """Variance of the AUC by the definition, pair by pair (DeLong, DeLong & Clarke-Pearson 1988)."""
    x, y = score[positive], score[~positive]
    wins = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    return wins.mean(1).var(ddof=1) / len(x) + wins.mean(0).var(ddof=1) / len(y)


@pytest.mark.parametrize("ties", [False, True])
def test_the_interval_of_an_auc_is_delongs(ties):
    probability, truth = scores(400, 2, seed=1, ties=ties)
    low, high = auc(probability, truth).interval()
    wanted = delong(probability[:, 1], truth == 1) ** 0.5
    # They differ in n - 1 against n of each class.
    assert (high - low) / (2 * 1.959964) == pytest.approx(wanted, rel=0.005)


@pytest.mark.parametrize("name", list(DEFINITIONS))
def test_the_influence_is_the_change_with_the_weight_of_a_row(name):
    """A row that counts twice moves the metric by a n-th of its influence, to first order."""
    probability, truth = scores(2000, 3, seed=2, ties=True)
    whole = measure(probability, truth)[name]
    assert whole.influence.mean() == pytest.approx(0, abs=1e-9)
    for row in (0, 7, 19):
        again = np.append(np.arange(2000), row)
        change = measure(probability[again], truth[again])[name].value - whole.value
        assert 2001 * change == pytest.approx(whole.influence[row], abs=0.02 * whole.influence.std())


def test_standard_errors_are_those_of_a_bootstrap():
    """Within 8 %: 1,500 resamples know a standard error to 1.8 %, and the metrics are not linear."""
    probability, truth = scores(400, 3, seed=3)
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, 400, 400) for _ in range(1500)]
    resampled = [measure(probability[rows], truth[rows]) for rows in drawn]
    for name, one in measure(probability, truth).items():
        low, high = one.interval()
        spread = np.std([again[name].value for again in resampled], ddof=1)
        assert (high - low) / (2 * 1.959964) == pytest.approx(spread, rel=0.08), name
