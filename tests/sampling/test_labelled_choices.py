"""Choices as examples: what stands beside each, and what is held out."""

import labelled
import numpy as np
import polars as pl
import pytest
from scipy.stats import chisquare

from usermodel.errors import DataError
from usermodel.sampling.labelled_choices import LabelledChoicesConfig

LATE = 10_000


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return labelled.make_store(tmp_path_factory.mktemp("choices") / "store")


@pytest.fixture
def make(tmp_path):
    """Rows (user, thing) or (user, thing, time, value) -> a store with these choices."""

    def make(*rows, name="store"):
        rows = [(f"u{row[0]:03d}", *row[1:], *(LATE, 1.0)[len(row) - 2 :]) for row in rows]
        schema = ["user_id", "target", "prediction_time", "value"]
        return labelled.make_store(
            tmp_path / name, labels=pl.DataFrame(rows, schema=schema, orient="row"), n_users=12
        )

    return make


def sample(config, store, seed=0, max_history=50):
    return config.sample(store, store.split(), max_history=max_history, rng=np.random.default_rng(seed))


def chosen(store, task="click"):
    """Things by user, from the table."""
    table = store.table("labels").filter(pl.col("task") == task)
    return {row: set(part["target"]) for (row,), part in table.group_by("user_row")}


def test_negatives_are_never_among_the_users_choices(store):
    config = LabelledChoicesConfig(task="click", negatives=20)
    things, mine = config.answers(store), chosen(store)
    assert things == tuple(f"t{n:02d}" for n in range(labelled.N_THINGS))
    found = sample(config, store)
    assert found.label.shape[1] == 21
    for user, label in zip(found.user, found.label, strict=True):
        names = [things[code] for code in label]
        assert names[0] in mine[user]
        assert not mine[user] & set(names[1:])


def test_negatives_are_uniform_over_all_others(make):
    """Chosen are the first thing, the last, and two neighbours in the middle: every kind of border."""
    things = [0, 4, 5, 9]
    rows = [(3, f"t{thing}") for thing in things] + [(5, f"t{n}") for n in range(1, 4)]
    rows += [(7, f"t{n}") for n in range(6, 9)]
    store = make(*rows)
    config = LabelledChoicesConfig(negatives=4000, parts={"train": 0.9, "valid": 0.05})
    found = sample(config, store)
    assert config.answers(store) == tuple(f"t{n}" for n in range(10))
    others = {3: [1, 2, 3, 6, 7, 8], 5: [0, 4, 5, 6, 7, 8, 9], 7: [0, 1, 2, 3, 4, 5, 9]}
    for user, wanted in others.items():
        drawn = np.bincount(found.label[found.user == user][:, 1:].ravel(), minlength=10)
        assert np.flatnonzero(drawn).tolist() == wanted
        assert chisquare(drawn[wanted]).pvalue > 0.001


def test_epochs_draw_anew_and_seeds_repeat(store):
    config = LabelledChoicesConfig(task="click")
    one, again, other = (sample(config, store, seed).label for seed in (0, 0, 1))
    assert (one == again).all()
    assert (one[:, 0] == other[:, 0]).all()
    assert (one[:, 1] != other[:, 1]).any()


def test_who_chose_everything_leaves_nothing_to_compare(make):
    store = make(*[(2, f"t{n}") for n in range(9)], (4, "t0"))
    with pytest.raises(DataError, match="something that a user did not choose; found nothing"):
        sample(LabelledChoicesConfig(), store)
    # Ranking needs nothing beside the choice.
    held_out = LabelledChoicesConfig().held_out(store, store.split(), "test", 5)
    assert len(held_out) == 2


def test_held_out_labels_are_the_choice_and_then_the_users_others(make):
    store = make((1, "a"), (1, "b"), (1, "c"), (2, "b"), (3, "a"), (3, "c"), (1, "a"))
    config = LabelledChoicesConfig(parts={"train": 0.2, "valid": 0.3})
    assert config.answers(store) == ("a", "b", "c")
    mine = {1: {0, 1, 2}, 2: {1}, 3: {0, 2}}
    rows = [config.held_out(store, store.split(), part, 5) for part in ("valid", "test")]
    assert [len(one) for one in rows] == [2, 4]
    for one in rows:
        for user, label in zip(one.user.tolist(), one.label.tolist(), strict=True):
            others = [code for code in label[1:] if code >= 0]
            # Every other thing once; the choice itself is not among them, although it was made twice.
            assert sorted([label[0], *others]) == sorted(mine[user])


def test_parts_are_cut_over_rows(store):
    config = LabelledChoicesConfig(task="click")
    table = store.table("labels").filter(pl.col("task") == "click")
    # The last user's only event is no training event under no split: with one event everything trains.
    assert table.height == 3 * labelled.N_USERS
    parts = [sample(config, store)] + [
        config.held_out(store, store.split(), part, 5) for part in ("valid", "test")
    ]
    assert [len(one) for one in parts] == [108, 36, 36]
    assert len(set(parts[0].user) & set(parts[2].user)) > 10


def test_only_rows_of_the_task(store):
    likes = LabelledChoicesConfig(task="like")
    assert likes.answers(store) == ("s0", "s1", "s2")
    assert len(LabelledChoicesConfig().answers(store)) == labelled.N_THINGS + 3
    assert set(sample(likes, store).user % 2) == {1}
    with pytest.raises(DataError, match="two things to choose from; found 0"):
        LabelledChoicesConfig(task="nope").answers(store)


def test_a_history_ends_before_the_choice_was_made(make):
    """Events have the times 0, 1, 2 ...; the training part of user 0 ends at its third last event."""
    rows = [(0, "a", time, 1.0) for time in range(9)] + [(2, "b")]
    store = make(*rows)
    split = store.split()
    config = LabelledChoicesConfig(parts={"train": 0.8, "valid": 0.1})
    parts = [sample(config, store)] + [config.held_out(store, split, part, 50) for part in ("valid", "test")]
    lengths = [int(n) for one in parts for n in one.lengths[one.user == 0]]
    n_train = int(split.train_stop[0] - split.start[0])
    # A choice at time t has t events before it; the one at 0 has none, and is left out.
    assert n_train > 2
    assert sorted(lengths) == sorted(min(time, n_train) for time in range(1, 9))
    assert all((one.start == split.start[one.user]).all() for one in parts)


def test_later_events_change_no_example(make):
    """A leak test: choices made at time 2 know events 0 and 1, whatever follows."""
    store = make(*[(user, f"t{(user + k) % 5}", 2, 1.0) for user in range(11) for k in range(2)])
    found = sample(LabelledChoicesConfig(), store)
    assert set(found.lengths.tolist()) == {1, 2}
    assert (store.times[found.stop - 1] < 2).all()


def test_rows_without_a_thing_or_with_value_0_are_no_choices(make):
    store = make((1, "a"), (2, "b"), (3, None), (4, ""), (5, "c", LATE, 0.0))
    assert LabelledChoicesConfig().answers(store) == ("a", "b")


@pytest.mark.parametrize("values", [[0.5, 1.5], [["a"], ["b"]]])
def test_things_have_names(tmp_path, values):
    labels = pl.DataFrame({"user_id": ["u000", "u001"], "prediction_time": [9, 9], "value": [1.0, 1.0]})
    store = labelled.make_store(
        tmp_path / "s", labels=labels.with_columns(target=pl.Series(values)), n_users=5
    )
    with pytest.raises(DataError, match="names or numbers of things; found values of type"):
        LabelledChoicesConfig().answers(store)


def test_missing_columns_and_tables(store, tiny_store):
    with pytest.raises(DataError, match=r"a column 'tarket'.*Did you mean 'target'"):
        LabelledChoicesConfig(column="tarket").answers(store)
    with pytest.raises(DataError, match="labels"):
        LabelledChoicesConfig().answers(tiny_store)


def test_an_empty_part_is_an_error(make):
    store = make((1, "a"), (2, "b"), (3, "c"))
    with pytest.raises(DataError, match="labels in the valid part; found none"):
        LabelledChoicesConfig().held_out(store, store.split(), "valid", 5)


def test_shares_that_leave_no_test_part_are_refused():
    with pytest.raises(ValueError, match="train \\+ valid below 1"):
        LabelledChoicesConfig(parts={"train": 0.5, "valid": 0.5})
