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
