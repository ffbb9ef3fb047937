"""Every baseline that is fitted by (store, split, labels): found by itself, so that a new one is tested without a line here."""

import importlib
import inspect
import pkgutil

import numpy as np
import polars as pl
import pytest
import torch

import usermodel.baselines as package
from usermodel.errors import MismatchError
from usermodel.events.readers import read_events
from usermodel.events.splits import GlobalTimeConfig, LeaveLastOutConfig, UserSplitConfig
from usermodel.sampling.protocol import Examples
from usermodel.store.build import build_store
from usermodel.tasks.next_item import NextItem

DAY = 86_400


def discover():
    found = []
    for _, name, _ in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{name}")
        for kind in vars(module).values():
            if inspect.isclass(kind) and kind.__module__ == module.__name__ and hasattr(kind, "scores"):
                fit = getattr(kind, "fit", None)
                if fit is not None and [*inspect.signature(fit).parameters][:3] == [
                    "store",
                    "split",
                    "labels",
                ]:
                    found.append(kind)
    return found


BASELINES = discover()
SPLITS = [LeaveLastOutConfig(), GlobalTimeConfig(valid_quantile=0.6), UserSplitConfig(valid=0.2, test=0.3)]


def frame(seed=0, n_users=40, n_items=15):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 9, n_users)
    user = np.repeat(np.arange(n_users), lengths)
    return pl.DataFrame(
        {
            "user_id": [f"u{one:02d}" for one in user],
            "item_id": [f"i{one:02d}" for one in rng.zipf(1.6, len(user)) % n_items],
            "timestamp": 1_700_000_000 + DAY * rng.permutation(len(user)) // 4,
        }
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return build_store(read_events(frame()), tmp_path_factory.mktemp("baselines") / "store")


def test_they_are_found():
    names = {kind.__name__ for kind in BASELINES}
    assert {"Popularity", "RecentPopularity", "RandomItems", "ItemKnn", "Ease", "Markov"} <= names


@pytest.mark.parametrize("split", SPLITS, ids=lambda one: one.kind)
@pytest.mark.parametrize("kind", BASELINES)
def test_scores_are_finite_rows_that_do_not_depend_on_the_batch(kind, split, store):
    labels = NextItem(split=split).requests(store)
    scorer = kind.fit(store, store.split(split), labels)
    assert scorer.n_items == store.n_items
    found = scorer.scores(labels.user)
    assert found.shape == (len(labels), store.n_items)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()
    one_by_one = torch.cat([scorer.scores(labels.user[at : at + 1]) for at in range(len(labels))])
    torch.testing.assert_close(found, one_by_one, rtol=1e-6, atol=1e-7)
    again = kind.fit(store, store.split(split), labels).scores(labels.user)
    assert torch.equal(found, again)
    assert scorer.scores(labels.user[:0]).shape == (0, store.n_items)
    rows = NextItem(split=split).score(scorer, store, labels)
    assert all(0 <= row.value <= 1 for row in rows)


@pytest.mark.parametrize("kind", BASELINES)
def test_a_task_refuses_one_that_was_fitted_on_another_split(kind, store):
    task = NextItem(split=SPLITS[1])
    labels = task.requests(store)
    scorer = kind.fit(store, store.split(SPLITS[0]), labels)
    with pytest.raises(MismatchError):
        task.score(scorer, store, labels)


@pytest.mark.parametrize("split", SPLITS, ids=lambda one: one.kind)
@pytest.mark.parametrize("kind", BASELINES)
def test_nothing_but_the_training_part_and_histories_is_learned(kind, split, tmp_path):
    """Other items in all events outside the training part change no score of a user whose history lies in it."""
    events = frame().sort("user_id", "timestamp", maintain_order=True)
    first = build_store(read_events(events), tmp_path / "first")
    cut, row = first.split(split), np.arange(first.n_events)
    lengths = np.diff(first.offsets)
    outside = (row < np.repeat(cut.start, lengths)) | (row >= np.repeat(cut.train_stop, lengths))
    # The catalogue stays: only which of its items are taken is another.
    turned = np.where(outside, np.asarray(first.items) % first.n_items, np.asarray(first.items) - 1)
    other = events.with_columns(first.vocabulary.ids.gather(turned).alias("item_id"))
    second = build_store(read_events(other), tmp_path / "second", vocabulary=first)
    assert (first.items != second.items).any()
    scores = []
    for store in (first, second):
        users = np.flatnonzero(store.split(split).train_stop > store.split(split).start)
        labels = Examples.histories(store, users, store.split(split).train_stop[users], store.n_events)
        scores.append(kind.fit(store, store.split(split), labels).scores(users))
    assert torch.equal(*scores)


@pytest.mark.parametrize("kind", BASELINES)
@pytest.mark.parametrize("histories", [{"u1": "a"}, {"u1": "abc"}, {"u1": "aaa", "u2": "b"}])
def test_tiny_stores(kind, histories, tmp_path):
    rows = [(user, item, step) for user, items in histories.items() for step, item in enumerate(items)]
    events = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    store = build_store(read_events(events, time_unit="order"), tmp_path / "store")
    users = np.arange(store.n_users)
    labels = Examples.histories(store, users, store.offsets[users], store.n_events)
    found = kind.fit(store, store.split(), labels).scores(users)
    assert found.shape == (store.n_users, store.n_items)
    assert torch.isfinite(found).all()
