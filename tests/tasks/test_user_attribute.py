"""Probes of attributes: linear and not, with few labels, and at chance where nothing is told."""

import numpy as np
import polars as pl
import pytest
import tiny

from usermodel.embedding_table import EmbeddingTable
from usermodel.errors import ConfigError, DataError
from usermodel.tasks.user_attribute import UserAttribute

N = 200


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tiny.make_store(tmp_path_factory.mktemp("attribute") / "store", n_users=N)


@pytest.fixture(scope="module")
def known(store):
    """Two numbers a user; ``side`` is the sign of the first, ``corner`` that of their product, ``luck`` of neither."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 2)).astype(np.float32)
    labels = pl.DataFrame(
        {
            "user_id": store.users.ids,
            "side": np.where(x[:, 0] > 0, "right", "left"),
            "corner": np.where(x.prod(1) > 0, "even", "odd"),
            "luck": rng.choice(["good", "bad"], N),
        }
    )
    return EmbeddingTable(store.users.ids, x, "by hand"), labels


def auc(known, store, label, **options):
    vectors, labels = known
    rows = {row.metric: row for row in UserAttribute(label, labels, **options).score(vectors, store)}
    return rows[f"{label}/auc"]


def test_a_line_finds_a_side_and_a_perceptron_a_corner(known, store):
    assert auc(known, store, "side").value > 0.97
    assert auc(known, store, "corner").value < 0.65
    found = auc(known, store, "corner", probe="mlp")
    assert found.value > 0.85
    assert "mlp probe, 5 folds" in found.definition


@pytest.mark.parametrize("probe", ["linear", "mlp"])
def test_luck_is_at_chance(known, store, probe):
    found = auc(known, store, "luck", probe=probe)
    assert found.low < 0.5 < found.high


@pytest.mark.parametrize("probe", ["linear", "mlp"])
def test_more_labels_tell_more(known, store, probe):
    few, all_of_them = (auc(known, store, "side", probe=probe, labelled=n) for n in (6, None))
    assert few.value < all_of_them.value
    assert few.n == all_of_them.n == N
    assert "of 6 labelled users" in few.definition
    assert auc(known, store, "side", probe=probe, labelled=10_000).value == all_of_them.value


def test_equal_seeds_give_equal_scores(known, store):
    one, two, other = (auc(known, store, "corner", probe="mlp", labelled=50, seed=s).value for s in (1, 1, 2))
    assert one == two != other


def test_what_cannot_be_is_refused(known, store):
    with pytest.raises(ConfigError, match="2 users or more"):
        UserAttribute("side", labelled=1)
    vectors, labels = known
    rare = labels.with_columns(
        side=pl.when(pl.int_range(N) < 6).then(pl.lit("rare")).otherwise(pl.lit("other"))
    )
    with pytest.raises(DataError, match="two classes among them"):
        UserAttribute("side", rare, labelled=2).score(vectors, store)


# ------------------------------------------------------------------------------------------------- orders, and numbers


@pytest.fixture(scope="module")
def measured(known, store):
    """``height`` is the first number and half as much chance; ``step`` is the same in six steps."""
    vectors, labels = known
    x = np.asarray(vectors.vectors)
    rng = np.random.default_rng(1)
    height = 100 + 10 * (x[:, 0] + 0.5 * rng.normal(size=N))
    step = np.searchsorted(np.quantile(height, [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6]), height)
    more = labels.with_columns(
        height=pl.Series(height), step=pl.Series(step), fog=pl.Series(rng.normal(size=N))
    )
    return vectors, more


def scores(measured, store, label, scale, **options):
    vectors, labels = measured
    found = UserAttribute(label, labels, scale=scale, **options).score(vectors, store)
    return {row.metric.partition("/")[2]: row for row in found}


@pytest.mark.parametrize("probe", ["linear", "mlp"])
def test_numbers_are_guessed(measured, store, probe):
    """Of a variance of 1 + 1/4 a perfect vector explains 1."""
    found = scores(measured, store, "height", "number", probe=probe)
    assert list(found) == ["r2", "mae", "rmse", "xauc", "mae_of_median"]
    assert 0.6 < found["r2"].value < 0.85
    assert found["mae"].value < found["mae_of_median"].value
    assert found["r2"].low < found["r2"].value < found["r2"].high
    nothing = scores(measured, store, "fog", "number", probe=probe)
    assert nothing["r2"].low < 0.05
    # Means of the other folds lie on the other side of the whole mean: pooled, nothing looks a little worse than chance.
    assert 0.4 < nothing["xauc"].value < 0.55


def test_steps_in_their_order(measured, store):
    found = scores(measured, store, "step", "ordinal")
    assert list(found) == ["levels_off", "kappa", "accuracy", "levels_off_of_median"]
    assert found["levels_off"].value < 0.7 < 1.2 < found["levels_off_of_median"].value
    assert found["kappa"].value > 0.7
    assert "6 classes in the order 0, 1, 2, 3, 4, 5" in found["kappa"].definition


def test_few_labels_of_numbers(measured, store):
    few = scores(measured, store, "height", "number", labelled=5)
    every = scores(measured, store, "height", "number", labelled=10_000)
    assert few["r2"].value < every["r2"].value == scores(measured, store, "height", "number")["r2"].value
    assert "of 160 labelled users" in every["r2"].definition


def test_numbers_that_are_none(measured, store):
    vectors, labels = measured
    odd = {
        "side": "expected numbers; found 'right'|expected numbers; found 'left'",
        "same": "two different numbers",
        "moment": "expected numbers; found values of type Datetime",
    }
    labels = labels.with_columns(same=pl.lit(3), moment=pl.lit(0).cast(pl.Datetime("us")))
    for column, words in odd.items():
        with pytest.raises(DataError, match=words):
            UserAttribute(column, labels, scale="number").score(vectors, store)
    text = labels.select("user_id", height=pl.col("height").cast(pl.String))
    blank = text.with_columns(
        pl.when(pl.int_range(pl.len()) < 50).then(pl.lit(" ")).otherwise("height").alias("height")
    )
    assert len(UserAttribute("height", blank, scale="number").numbers(store)) == N - 50
