"""Impressions as negatives: which count, by hand; and that nothing later than training is known."""

import polars as pl
import pytest
import torch

from usermodel.errors import DataError
from usermodel.events.readers import read_events
from usermodel.events.simulate import SimulateConfig, simulate
from usermodel.events.splits import GlobalTimeConfig, LeaveLastOutConfig, UserSplitConfig
from usermodel.negatives.shown import ShownConfig
from usermodel.store.build import build_store

DAY = 1_600_000_000_000_000
#: ann trains until day 3, her validation is on day 5; bob trains until day 2, where his validation is too; cid only trains.
EVENTS = [
    *[("ann", item, day) for item, day in [("a", 1), ("b", 2), ("c", 3), ("d", 5), ("e", 6)]],
    *[("bob", item, day) for item, day in [("b", 1), ("a", 2), ("f", 2), ("g", 4)]],
    ("cid", "g", 3),
]
SHOWN = [
    ("ann", "f", 1, False),  # shown
    ("ann", "f", 2, False),  # the same again
    ("ann", "g", 3, False),  # at the last training event
    ("ann", "b", 1, False),  # taken later in training
    ("ann", "d", 2, False),  # taken when it is held out: nothing may know
    ("ann", "h", 4, False),  # after the last training event
    ("ann", "i", 2, False),  # clicked elsewhere
    ("ann", "i", 3, True),
    ("ann", "j", 2, False),  # clicked after training
    ("ann", "j", 6, True),
    ("bob", "e", 1, False),
    ("bob", "h", 2, False),  # at the time of the first held-out event
    ("cid", "a", 4, False),
]
ITEMS = "abcdefghij"


def make_store(folder, events=EVENTS, shown=SHOWN, **options):
    everything = [("zoe", item, 1) for item in ITEMS]
    names = ["user_id", "item_id", "timestamp"]
    frame, table = (
        pl.DataFrame(rows, schema=[*names, *more], orient="row").with_columns(pl.col("timestamp") + DAY)
        for rows, more in ((events + everything, []), (shown, ["clicked"]))
    )
    return build_store(read_events(frame, time_unit="us"), folder, impressions=table, **options)


def lists(store, split=None):
    """User -> items."""
    sampler = ShownConfig().build(store, store.split(split or LeaveLastOutConfig()))
    table, found = sampler.lists, {}
    for name, start, count in zip(store.users.ids, table.start, table.count, strict=True):
        codes = table.items[start : start + count].tolist()
        found[name] = "".join(store.vocabulary.ids[code - 1] for code in codes)
    return found


def test_what_was_shown_and_not_taken_by_the_end_of_training(tmp_path):
    assert lists(make_store(tmp_path / "store")) == {"ann": "dfgj", "bob": "e", "cid": "", "zoe": ""}


def test_a_cut_in_time_and_users_who_do_not_train(tmp_path):
    store = make_store(tmp_path / "store")
    cut = GlobalTimeConfig(valid_from=DAY + 3, test_from=DAY + 4)
    assert lists(store, cut) == {"ann": "dfij", "bob": "eh", "cid": "", "zoe": ""}
    held_out = UserSplitConfig(valid=0.0, test=0.5)
    split = store.split(held_out)
    trains = dict(zip(store.users.ids, split.train_stop > split.start, strict=True))
    assert 0 < sum(trains[name] for name in ("ann", "bob")) < 3
    whole = {"ann": "fgh", "bob": "eh", "cid": "", "zoe": ""}
    assert lists(store, held_out) == {name: items if trains[name] else "" for name, items in whole.items()}


def test_nothing_later_than_training_changes_the_lists(tmp_path):
    """Other held-out events and other impressions after the last training event, for everyone."""
    before = lists(make_store(tmp_path / "before"))
    last = {"ann": 3, "bob": 1, "cid": 3}
    events = [
        (user, "f" if row in {3, 4, 7, 8} else item, day) for row, (user, item, day) in enumerate(EVENTS)
    ]
    shown = [
        (user, item if day <= last[user] else "c", day, clicked if day <= last[user] else not clicked)
        for user, item, day, clicked in SHOWN
    ]
    assert shown != SHOWN
    assert lists(make_store(tmp_path / "after", events, shown)) == before


def test_a_store_without_impressions_says_what_to_do(tiny_store):
    with pytest.raises(DataError) as caught:
        ShownConfig().build(tiny_store, tiny_store.split())
    assert "expected a store with impressions" in str(caught.value)
    assert "Ingest with --impressions FILE" in str(caught.value)


def test_the_simulators_impressions_give_most_users_a_list(tmp_path):
    logs = simulate(SimulateConfig(n_users=50, n_items=60, n_events=600), tmp_path / "logs")
    log = read_events(logs / "events.parquet", event_type="event_type")
    store = build_store(log, tmp_path / "store", impressions=logs / "impressions.parquet")
    split = store.split()
    sampler = ShownConfig(uniform=0.2).build(store, split)
    assert float((sampler.lists.count > 0).float().mean()) > 0.5
    user = torch.arange(store.n_users)
    for one in range(store.n_users):
        history = torch.from_numpy(store.items[split.start[one] : split.train_stop[one]].astype("int64"))
        assert not sampler.lists.contains(user[one : one + 1], history[None]).any()
