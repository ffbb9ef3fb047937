"""What every split keeps, found by walking the union: a new kind is tested without a line here.

A kind that covers less than every row, or promises more, says so in `promised` and in its class facts.
"""

import json
import tempfile
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usermodel.errors import DataError
from usermodel.events.splits import (
    PARTS,
    GlobalTimeConfig,
    LeaveLastOutConfig,
    RollingConfig,
    SplitBase,
    SplitConfig,
    UserRatioConfig,
    UserSplitConfig,
    split_config,
)
from usermodel.events.vocabulary import Vocabulary
from usermodel.sampling.all_positions import AllPositionsConfig
from usermodel.sampling.protocol import Examples
from usermodel.store.build import build_store

KINDS = get_args(get_args(SplitConfig)[0])
#: Beside the defaults of each kind.
FURTHER = [
    LeaveLastOutConfig(k=2),
    LeaveLastOutConfig(k=3),
    GlobalTimeConfig(valid_from=10, test_from=20),
    UserRatioConfig(valid=0.3, test=0.2),
    UserRatioConfig(valid=0.0, test=0.5),
    UserSplitConfig(valid=0.4, test=0.3, seed=3),
    UserSplitConfig(valid=0.0, test=0.5),
    RollingConfig(folds=((5, 10, 15), (10, 15, 20), (15, 25, 31))),
    RollingConfig(n_folds=2, window=0.25),
]
CONFIGS = [kind() for kind in KINDS] + FURTHER
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind().kind)
every_config = pytest.mark.parametrize(
    "config", CONFIGS, ids=lambda one: json.dumps(one.model_dump(exclude_unset=True)) + one.kind
)

#: Times of each user, in order; ties, users of one event and users of none included.
HISTORIES = st.lists(st.lists(st.integers(0, 30), max_size=9).map(sorted), min_size=1, max_size=8)


class FakeStore:
    """What splits and samplers may ask of a store."""

    def __init__(self, histories, ids=None, time_kind="utc"):
        self.offsets = np.cumsum([0] + [len(history) for history in histories])
        self.times = np.array([time for history in histories for time in history], dtype=np.int64)
        self.users = Vocabulary(pl.Series("id", ids or [f"u{n}" for n in range(len(histories))]))
        self.content_hash, self.time_kind = "fake", time_kind

    def rows(self, user):
        return list(range(self.offsets[user], self.offsets[user + 1]))


def cut(config, store):
    """All splits of the protocol; none where the store cannot be cut that way, which must be said in our words."""
    try:
        return list(config.splits(store))
    except DataError as error:
        if error.where not in {"data.split", "data.split.folds"}:
            raise
        return []


def part_of_rows(split, store):
    """Row -> part, by hand; fails when a row is in two."""
    owner = {}
    for part in PARTS:
        for first, stop in zip(*split.part(part), strict=True):
            for row in range(first, stop):
                assert row not in owner, f"row {row} is in {owner[row]} and in {part}"
                owner[row] = part
    return owner


def promised(config, store, split):
    """The rows that a split owes a part to."""
    if config.disjoint_users:
        train = [user for user in range(len(store.users)) if split.train_stop[user] > split.start[user]]
        all_of_train = [row for user in train for row in store.rows(user)]
        last_of_others = [
            store.rows(user)[-1]
            for user in range(len(store.users))
            if user not in train and len(store.rows(user)) > 1
        ]
        return {*all_of_train, *last_of_others}
    if isinstance(config, RollingConfig):
        test_until = int(split.name.split()[-1])
        return {row for row in range(len(store.times)) if store.times[row] < test_until}
    return set(range(len(store.times)))


def test_the_union_has_the_kinds_of_the_design():
    kinds = {kind().kind for kind in KINDS}
    assert {"leave-last-out", "global-time", "user-ratio", "user-split", "rolling"} <= kinds
    assert all(issubclass(kind, SplitBase) for kind in KINDS)
    assert {type(config) for config in FURTHER} <= set(KINDS)


@every_config
def test_the_configuration_survives_json_and_one_word_names_the_defaults(config):
    assert SplitBase.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert split_config(config.kind) == type(config)()
    assert split_config(config.model_dump()) == config


@every_config
def test_parts_are_disjoint_in_order_and_cover_what_they_promise(config):
    @given(HISTORIES)
    def check(histories):
        store = FakeStore(histories)
        for split in cut(config, store):
            assert split.start.tolist() == store.offsets[:-1].tolist()
            columns = [split.start, split.train_stop, split.valid_start, split.valid_stop, split.test_stop]
            assert all(column.dtype == np.int64 for column in columns)
            assert (np.diff([*columns, store.offsets[1:]], axis=0) >= 0).all()
            owner = part_of_rows(split, store)
            assert owner.keys() == promised(config, store, split)
            for user in range(len(histories)):
                mine = [PARTS.index(owner[row]) for row in store.rows(user) if row in owner]
                assert mine == sorted(mine)
                assert not config.disjoint_users or len(set(mine)) <= 1
            if config.strict_in_time:
                of = {part: [store.times[row] for row in owner if owner[row] == part] for part in PARTS}
                assert max(of["train"], default=-1) < min(of["valid"] + of["test"], default=99)
                assert max(of["valid"], default=-1) < min(of["test"], default=99)
            counts = split.counts()
            assert {part: counts[part]["events"] for part in PARTS} == {
                part: list(owner.values()).count(part) for part in PARTS
            }

    check()


@every_config
def test_no_input_comes_after_its_target(config):
    @given(HISTORIES, st.integers(1, 5), st.integers(0, 99))
    def check(histories, max_history, seed):
        store = FakeStore(histories)
        for split in cut(config, store):
            for part in ("valid", "test"):
                users, rows = split.targets(part)
                examples = Examples.histories(store, users, rows, max_history)
                for user, start, stop, target in zip(
                    users, examples.start, examples.stop, examples.target_start, strict=True
                ):
                    assert target in store.rows(user)
                    inputs = range(start, stop)
                    assert len(inputs) >= 1
                    assert set(inputs) <= set(store.rows(user))
                    assert max(inputs) < target
                    latest = max(store.times[row] for row in store.rows(user) if row < target)
                    assert latest < store.times[target] or (
                        not config.strict_in_time and latest == store.times[target]
                    )
            check_windows(config, store, split, max_history, seed)

    check()


def check_windows(config, store, split, max_history, seed):
    """Training windows hold training rows of one user, all of them, and under a global split nothing late."""
    owner = part_of_rows(split, store)
    windows = AllPositionsConfig().sample(
        store, split, max_history=max_history, rng=np.random.default_rng(seed)
    )
    read = set()
    for user, start, stop in zip(windows.user, windows.start, windows.stop, strict=True):
        read |= set(range(start, stop))
        assert set(range(start, stop)) <= set(store.rows(user))
    assert {owner.get(row) for row in read} <= {"train"}
    trains = split.train_stop - split.start
    assert len(read) == trains[trains >= 2].sum()
    if config.strict_in_time:
        held_out = [row for part in ("valid", "test") for row in split.targets(part)[1]]
        latest = max((store.times[row] for row in read), default=-1)
        assert all(latest < store.times[row] for row in held_out)


@every_config
def test_users_of_one_event_never_have_a_target(config):
    store = FakeStore([[3], [12], [], [22], [28], [7]])
    for split in cut(config, store):
        for part in PARTS:
            assert len(split.targets(part)[0]) == 0


@every_config
def test_an_order_only_store_is_refused_by_splits_in_time_and_by_no_other(config):
    store = FakeStore([[0, 1, 2, 3, 4, 5]] * 9, time_kind="order")
    if config.strict_in_time:
        with pytest.raises(DataError, match="expected a store with times; found an order-only store"):
            config.of(store)
    else:
        assert config.of(store).test_stop.tolist() == store.offsets[1:].tolist()


# ------------------------------------------------------------------------------------------------------ on real stores


@st.composite
def logs(draw):
    """Rows (user, item, time) with no two at one time, so that the order of rows decides nothing."""
    users = draw(st.lists(st.integers(0, 7), min_size=24, max_size=40))
    times = draw(st.permutations(range(len(users))))
    return [(user, draw(st.integers(0, 9)), time) for user, time in zip(users, times, strict=True)]


def parts(rows, config, folder):
    """External id -> items of each part, for every split of the protocol; and the store."""
    frame = pl.DataFrame(
        [(user, item, 1_700_000_000 + time) for user, item, time in rows],
        schema=["user_id", "item_id", "timestamp"],
        orient="row",
    )
    store = build_store(frame, Path(folder) / f"{len(list(Path(folder).iterdir()))}")
    items, users = store.vocabulary.decode(store.items).to_list(), store.users.ids.to_list()
    found = []
    for split in cut(config, store):
        ranges = [split.part(part) for part in PARTS]
        found.append(
            {
                user: [items[first[row] : stop[row]] for first, stop in ranges]
                for row, user in enumerate(users)
            }
        )
        train_items = [item for mine in found[-1].values() for item in mine[0]]
        assert store.item_counts(split.train_stop).sum() == len(train_items)
    assert found
    return found, store


def with_names(rows, users="u{:02d}", items="i{:02d}"):
    return [(users.format(user), items.format(item), time) for user, item, time in rows]


@every_kind
def test_the_order_of_rows_changes_nothing(kind):
    @settings(max_examples=8)
    @given(logs(), st.randoms(use_true_random=False))
    def check(rows, random):
        with tempfile.TemporaryDirectory() as folder:
            before, store = parts(with_names(rows), kind(), folder)
            shuffled = with_names(rows)
            random.shuffle(shuffled)
            after, other = parts(shuffled, kind(), folder)
            assert after == before
            assert [one.table(other).rows() for one in cut(kind(), other)] == [
                one.table(store).rows() for one in cut(kind(), store)
            ]

    check()


@every_kind
def test_other_names_change_nothing(kind):
    """Order-preserving and arbitrary names of items and users; where users are drawn by name, other users' names."""

    @settings(max_examples=8)
    @given(logs(), st.permutations(range(8)), st.permutations(range(10)))
    def check(rows, users, items):
        with tempfile.TemporaryDirectory() as folder:
            before, store = parts(with_names(rows), kind(), folder)
            same_order = with_names(rows, "u{:02d}" if kind.disjoint_users else "v-{:02d}", "item {:02d}")
            after, other = parts(same_order, kind(), folder)
            for one, two in zip(cut(kind(), store), cut(kind(), other), strict=True):
                assert [column.tolist() for column in one.part("train") + one.part("test")] == [
                    column.tolist() for column in two.part("train") + two.part("test")
                ]
            if kind.disjoint_users:
                return
            mixed = [(f"w{users[user]}", f"j{items[item]}", time) for user, item, time in rows]
            after, _ = parts(mixed, kind(), folder)
            assert after == [
                {
                    f"w{users[int(user[1:])]}": [[f"j{items[int(i[1:])]}" for i in mine] for mine in own]
                    for user, own in one.items()
                }
                for one in before
            ]

    check()


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind.disjoint_users], ids=lambda kind: kind().kind
)
@given(st.lists(st.integers(2, 5), min_size=2, max_size=9), st.integers(0, 3), st.text("xyz", max_size=3))
def test_a_drawn_user_stays_whoever_the_others_are(kind, lengths, seed, prefix):
    config = kind(valid=0.3, test=0.3, seed=seed)
    histories = [list(range(n)) for n in lengths]
    ids = [f"user {n}" for n in range(len(lengths))]

    def home(names, own):
        drawn = cut(config, FakeStore([histories[n] for n in own], names))
        return {
            name: [int(stop[row] - first[row]) for first, stop in map(drawn[0].part, PARTS)]
            for row, name in enumerate(names)
            if drawn
        }

    everyone = home(ids, range(len(ids)))
    some = home(ids[::-2], range(len(ids))[::-2])
    renamed = home([ids[0], *[f"{prefix}{name}!" for name in ids[1:]]], range(len(ids)))
    for other in (some, renamed):
        assert all(everyone.get(name, own) == own for name, own in other.items() if everyone)


@every_config
@given(HISTORIES)
def test_moments_are_where_the_parts_meet(config, histories):
    """And a split that is strict in time has some."""
    store = FakeStore(histories)
    for split in cut(config, store):
        moments = split.config.moments(store.times)
        assert (moments is None) == (not config.strict_in_time)
        if moments is not None:
            by_time = np.searchsorted(moments, store.times, side="right")
            wanted = {row: PARTS[part] for row, part in enumerate(by_time) if part < len(PARTS)}
            assert part_of_rows(split, store) == wanted
