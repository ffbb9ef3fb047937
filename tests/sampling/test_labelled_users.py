"""Parts of labelled users: disjoint, cut as published, and the same whatever trains."""

import labelled
import numpy as np
import polars as pl
import pytest

from usermodel.errors import DataError
from usermodel.events.splits import UserSplitConfig
from usermodel.sampling.labelled_users import LabelledUsersConfig
from usermodel.sampling.parts import PartsConfig


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return labelled.make_store(tmp_path_factory.mktemp("users") / "store")


def sample(config, store, seed=0):
    return config.sample(store, store.split(), max_history=5, rng=np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("n", "sizes"), [(10, (6, 2, 2)), (9, (5, 1, 3)), (1, (0, 0, 1)), (0, (0, 0, 0)), (1001, (600, 200, 201))]
)
def test_parts_are_disjoint_and_cut_by_int(n, sizes):
    parts = [PartsConfig(seed=3).rows(n, part) for part in ("train", "valid", "test")]
    assert tuple(map(len, parts)) == sizes
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))
    assert all((np.diff(rows) > 0).all() for rows in parts)


def test_each_seed_cuts_elsewhere_and_about_evenly():
    parts = [set(PartsConfig(seed=seed).rows(1000, "valid").tolist()) for seed in range(40)]
    assert len({frozenset(part) for part in parts}) == 40
    counts = np.zeros(1000)
    for part in parts:
        counts[list(part)] += 1
    # Of 40 draws with probability 0.2: mean 8, standard deviation 2.5.
    assert counts.mean() == 8
    assert counts.std() == pytest.approx(2.53, rel=0.1)


def test_labels_are_the_classes_of_the_users(store):
    config = LabelledUsersConfig(column="group")
    assert config.answers(store) == labelled.GROUPS
    everyone = [sample(config, store)] + [
        config.held_out(store, store.split(), part, 5) for part in ("valid", "test")
    ]
    users = np.concatenate([one.user for one in everyone])
    labels = np.concatenate([one.label for one in everyone])
    # Every tenth user has no class.
    assert sorted(users.tolist()) == [u for u in range(labelled.N_USERS) if u % 10 != 9]
    assert labels[:, 0].tolist() == (users % 3).tolist()
    assert labels.shape[1] == 1


def test_training_seeds_and_epochs_change_nothing(store):
    config = LabelledUsersConfig(column="group")
    assert sample(config, store, 0).user.tolist() == sample(config, store, 1).user.tolist()
    assert (
        sample(config.override({"parts.seed": 1}), store).user.tolist() != sample(config, store).user.tolist()
    )


def test_histories_are_the_last_training_events(store):
    found, split = sample(LabelledUsersConfig(), store), store.split()
    assert (found.stop == split.train_stop[found.user]).all()
    assert (found.start == np.maximum(split.start[found.user], found.stop - 5)).all()


def test_users_without_training_events_are_left_out(store):
    """Under a user split the held-out users train nothing; their classes stay where they are."""
    split = store.split(UserSplitConfig(valid=0.2, test=0.2))
    silent = split.train_stop == split.start
    whole, some = LabelledUsersConfig(column="group"), store.split()
    for part in ("valid", "test"):
        of_all = whole.held_out(store, some, part, 5).user
        left = whole.held_out(store, split, part, 5).user
        assert left.tolist() == of_all[~silent[of_all]].tolist()
        assert 0 < len(left) < len(of_all)


def test_an_empty_part_is_an_error_that_names_it(store):
    few = pl.DataFrame({"user_id": ["u000", "u001"], "x": ["a", "b"]})
    path = store.path.with_name("few.csv")
    few.write_csv(path)
    config = LabelledUsersConfig(column="x", file=str(path))
    with pytest.raises(DataError, match=r"users with 'x' in the valid part; found none. Label more users"):
        config.held_out(store, store.split(), "valid", 5)


def test_shares_that_leave_no_test_part_are_refused():
    with pytest.raises(ValueError, match="train \\+ valid below 1"):
        LabelledUsersConfig(parts={"train": 0.8, "valid": 0.2})
