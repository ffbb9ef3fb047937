"""Each further kind of split by hand, and what it refuses."""

import hashlib

import numpy as np
import polars as pl
import pytest

from usermodel.errors import ConfigError, DataError
from usermodel.events.splits import (
    LeaveLastOutConfig,
    RollingConfig,
    UserRatioConfig,
    UserSplitConfig,
    split_config,
)
from usermodel.training.recipe import DataConfig, Recipe


def arrays(*lengths):
    offsets = np.cumsum([0, *lengths])
    return offsets, np.arange(offsets[-1], dtype=np.int64)


def sizes(split):
    """Per user: the number of events in train, valid and test."""
    parts = [split.part(name) for name in ("train", "valid", "test")]
    return list(zip(*[(stop - first).tolist() for first, stop in parts], strict=True))


def test_leave_last_out_holds_out_k_events_or_none():
    split = LeaveLastOutConfig(k=2).split(*arrays(7, 5, 4, 3, 2, 1), "order")
    assert sizes(split) == [(3, 2, 2), (1, 2, 2), (2, 0, 2), (1, 0, 2), (2, 0, 0), (1, 0, 0)]
    assert split.name == "leave-last-out 2"
    # The target of next-item evaluation is the first held-out event; the others lie behind it.
    assert [column.tolist() for column in split.targets("test")] == [[0, 1, 2, 3], [5, 10, 14, 17]]
    assert [column.tolist() for column in split.targets("valid")] == [[0, 1], [3, 8]]


@pytest.mark.parametrize("k", [0, -1])
def test_k_is_at_least_one(k):
    with pytest.raises(ConfigError, match=r"^data\.split\.k: expected greater than or equal to 1"):
        Recipe().override({"data.split.k": k})


def test_user_ratio_rounds_down_and_always_trains():
    split = UserRatioConfig().split(*arrays(20, 10, 9, 1), "order")
    assert sizes(split) == [(16, 2, 2), (8, 1, 1), (9, 0, 0), (1, 0, 0)]
    assert split.name == "user-ratio 0.1 0.1"
    assert sizes(UserRatioConfig(valid=0.0, test=0.5).split(*arrays(5, 2, 1), "utc")) == [
        (3, 0, 2),
        (1, 0, 1),
        (1, 0, 0),
    ]


def test_a_fraction_means_what_it_says_in_decimal():
    """0.29 * 100 is 28.999999999999996 in floats."""
    assert sizes(UserRatioConfig(valid=0.0, test=0.29).split(*arrays(100), "utc")) == [(71, 0, 29)]
    assert sizes(UserRatioConfig(valid=0.0, test=0.99999999999).split(*arrays(10), "utc")) == [(1, 0, 9)]
    # Shares that leave a hair of an event to train on still train on one event.
    assert sizes(UserRatioConfig(valid=0.5, test=0.4999999999).split(*arrays(10), "utc")) == [(1, 4, 5)]


@pytest.mark.parametrize("kind", ["user-ratio", "user-split"])
def test_shares_must_leave_something_to_train_on(kind):
    config = split_config({"kind": kind, "valid": 0.6, "test": 0.4})
    with pytest.raises(ConfigError, match=r"^data.split: expected valid \+ test below 1; found 0.6 \+ 0.4"):
        config.split(*arrays(4, 4), "utc", lambda: pl.Series(["a", "b"]))
    with pytest.raises(ConfigError, match=r"data\.split\.test: expected"):
        Recipe().override({"data.split": kind, "data.split.test": 0.0})


def place(seed, text):
    """The documented draw, written again."""
    head = hashlib.sha256(f"{seed}:{text}".encode()).digest()[:8]
    return (int.from_bytes(head, "big") >> 11) / 2**53


def test_user_split_by_hand():
    ids = pl.Series([f"u{n}" for n in range(40)])
    config = UserSplitConfig(valid=0.3, test=0.2, seed=5)
    split = config.split(*arrays(*[4] * 40), "order", lambda: ids)
    expected = []
    for text in ids:
        draw = place(5, text)
        expected.append((0, 0, 1) if draw < 0.2 else (0, 1, 0) if draw < 0.5 else (4, 0, 0))
    assert sizes(split) == expected
    assert len(set(expected)) == 3
    assert split.name == "user-split 0.3 0.2 seed 5"
    for part, mine in (("valid", (0, 1, 0)), ("test", (0, 0, 1))):
        users, rows = split.targets(part)
        assert users.tolist() == [user for user, own in enumerate(expected) if own == mine]
        # The target is the last event, so that three events of history come before it.
        assert (rows == 4 * users + 3).all()
    # Nothing of a held-out user is counted or sampled.
    assert (split.train_stop[expected.index((0, 0, 1))]) == 4 * expected.index((0, 0, 1))


def test_user_split_goes_by_the_text_of_the_id_and_the_seed():
    config = UserSplitConfig(seed=1)
    assert config.draw(pl.Series([7, 12])).tolist() == config.draw(pl.Series(["7", "12"])).tolist()
    assert config.draw(pl.Series(["7"])).tolist() == [place(1, "7")]
    assert UserSplitConfig(seed=2).draw(pl.Series(["7"])).tolist() != [place(1, "7")]


def test_user_split_draws_the_share_it_names():
    """10,000 ids: four standard errors of a share of 0.2 are 0.016."""
    draw = UserSplitConfig().draw(pl.Series([f"user-{n}" for n in range(10_000)]))
    assert abs((draw < 0.2).mean() - 0.2) < 0.016
    assert 0 <= draw.min() < draw.max() < 1


def test_user_split_needs_names_and_somebody_to_train_on():
    with pytest.raises(DataError, match=r"data.split: expected the ids of the users; found none"):
        UserSplitConfig().split(*arrays(3, 3), "utc")
    held_out = next(f"u{n}" for n in range(99) if place(0, f"u{n}") < 0.2)
    with pytest.raises(DataError, match="expected users to train on; found all of 1 held out"):
        UserSplitConfig().split(*arrays(3), "utc", lambda: pl.Series([held_out]))


def test_a_held_out_user_of_one_event_has_no_part():
    held_out = next(f"u{n}" for n in range(99) if place(0, f"u{n}") < 0.2)
    trains = next(f"u{n}" for n in range(99) if place(0, f"u{n}") > 0.2)
    split = UserSplitConfig().split(*arrays(1, 1), "utc", lambda: pl.Series([held_out, trains]))
    assert sizes(split) == [(0, 0, 0), (1, 0, 0)]


FOLDS = ((2, 4, 6), (4, 6, 8))


def test_rolling_by_hand():
    # Two users of ten and three events at times 0..9 and 10..12.
    for fold, expected in ((0, [(2, 2, 2), (0, 0, 0)]), (1, [(4, 2, 2), (0, 0, 0)])):
        split = RollingConfig(folds=FOLDS, fold=fold).split(*arrays(10, 3), "utc")
        assert sizes(split) == expected
        assert split.name == f"rolling fold {fold} of 2 " + " ".join(map(str, FOLDS[fold]))
        assert split.test_stop.tolist() == [FOLDS[fold][2], 10]


def test_a_protocol_yields_every_fold_in_order_and_the_others_one_split(tiny_store):
    folds = list(RollingConfig(n_folds=2, window=0.2).splits(tiny_store))
    assert [fold.name.split(" of ")[0] for fold in folds] == ["rolling fold 0", "rolling fold 1"]
    assert [fold.config.fold for fold in folds] == [0, 1]
    assert folds[0].part("test")[1].tolist() == folds[1].part("valid")[1].tolist()
    assert len({fold.hash for fold in folds}) == 2
    assert [split.name for split in LeaveLastOutConfig().splits(tiny_store)] == ["leave-last-out"]


def test_rolling_windows_are_the_last_tenths_of_the_log_by_default():
    names = [RollingConfig(fold=fold).split(*arrays(10), "utc").name for fold in range(3)]
    assert names == ["rolling fold 0 of 3 6 7 8", "rolling fold 1 of 3 7 8 9", "rolling fold 2 of 3 8 9 10"]
    half = RollingConfig(n_folds=1, window=0.25).split(*arrays(8), "utc")
    assert half.name == "rolling fold 0 of 1 4 6 8"


def test_rolling_refuses_what_does_not_fit():
    with pytest.raises(ConfigError, match=r"data.split.fold: expected one of 2 folds; found fold 2"):
        RollingConfig(folds=FOLDS, fold=2).split(*arrays(10), "utc")
    message = r"train_until before valid_until before test_until; found \(4, 4, 6\)"
    with pytest.raises(DataError, match=message):
        RollingConfig(folds=((2, 3, 4), (4, 4, 6))).split(*arrays(10), "utc")
    with pytest.raises(ConfigError, match=r"windows that leave something to train on; found 9 folds of 0\.1"):
        RollingConfig(n_folds=9).split(*arrays(10), "utc")
    with pytest.raises(
        DataError, match=r"train_until before valid_until before test_until; found \(3, 3, 3\)"
    ):
        RollingConfig().split(np.array([0, 4]), np.full(4, 3), "utc")


@pytest.mark.parametrize(
    ("options", "split"),
    [
        ({"data.split": "user-split", "data.split.seed": 4}, UserSplitConfig(seed=4)),
        ({"data.split": "rolling", "data.split.fold": 1}, RollingConfig(fold=1)),
        ({"data.split.kind": "user-ratio", "data.split.test": 0.3}, UserRatioConfig(test=0.3)),
        ({"data.split": "rolling", "data.split.folds": [[1, 2, 3]]}, RollingConfig(folds=((1, 2, 3),))),
    ],
)
def test_a_recipe_takes_every_kind(options, split):
    recipe = Recipe().override(options)
    assert recipe.data.split == split
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert DataConfig.from_dict({"split": split.to_dict()}).split == split


def test_an_unknown_kind_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'user-split'"):
        split_config("user-splt")
