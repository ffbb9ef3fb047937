"""A store whose users have a class that their histories tell, and have chosen things; small enough for every test."""

from pathlib import Path

import numpy as np
import polars as pl

from usermodel.events.readers import read_events
from usermodel.store.build import build_store
from usermodel.store.sequence_store import SequenceStore

N_USERS = 60
N_THINGS = 15
GROUPS = ("cats", "dogs", "owls")


def users_table(n_users: int = N_USERS) -> pl.DataFrame:
    """``group`` tells which items a user takes; every tenth user has none. ``noise`` tells nothing."""
    rng = np.random.default_rng(5)
    group = [None if user % 10 == 9 else GROUPS[user % 3] for user in range(n_users)]
    noise = rng.integers(0, 2, n_users)
    ids = [f"u{user:03d}" for user in range(n_users)]
    columns = {"user_id": ids, "group": group, "noise": noise, "size": rng.random(n_users)}
    # What samplers look for unless told otherwise.
    return pl.DataFrame(columns).with_columns(label=pl.col("group"))


def choices_table(n_users: int = N_USERS, prediction_time: int = 10_000) -> pl.DataFrame:
    """Three things of each user: two of the user's group, one of any; half of the users also like one."""
    rng = np.random.default_rng(6)
    rows = []
    for user in range(n_users):
        own = 5 * (user % 3) + rng.choice(5, 2, replace=False)
        things = [*own, rng.choice(np.setdiff1d(np.arange(N_THINGS), own))]
        rows += [(f"u{user:03d}", prediction_time, 1.0, f"t{thing:02d}", "click") for thing in things]
        if user % 2:
            rows.append((f"u{user:03d}", prediction_time, 1.0, f"s{user % 3}", "like"))
    schema = ["user_id", "prediction_time", "value", "target", "task"]
    return pl.DataFrame(rows, schema=schema, orient="row")


def events(n_users: int = N_USERS) -> pl.DataFrame:
    """Histories of 3 to 9 events, mostly of the ten items of the user's group; the last user has one event."""
    rng = np.random.default_rng(7)
    rows = []
    for user in range(n_users):
        n = 1 if user == n_users - 1 else int(rng.integers(3, 10))
        for time in range(n):
            item = rng.integers(30) if rng.random() < 0.1 else 10 * (user % 3) + rng.integers(10)
            rows.append((f"u{user:03d}", f"i{item:02d}", time))
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")


def make_store(path: Path, *, n_users: int = N_USERS, users=None, labels=None) -> SequenceStore:
    log = read_events(events(n_users), time_unit="order")
    users = users_table(n_users) if users is None else users
    labels = choices_table(n_users) if labels is None else labels
    return build_store(log, path, users_table=users, labels=labels)
