"""Cached hard negatives: the lists by brute force, what they may know, and when they change."""

import math

import numpy as np
import polars as pl
import pytest
import torch

from usermodel.batch import JaggedBatch
from usermodel.encoders.transformer import TransformerConfig
from usermodel.errors import ConfigError
from usermodel.events.readers import read_events
from usermodel.events.splits import LeaveLastOutConfig, UserSplitConfig
from usermodel.negatives import cached_hard
from usermodel.negatives.cached_hard import CachedHardConfig
from usermodel.negatives.protocol import DrawContext
from usermodel.store.build import build_store

N_USERS, N_ITEMS, SPLIT = 12, 25, LeaveLastOutConfig()


def make_store(folder, seed_of_last=0):
    """Histories of 3 to 20 events; the held-out two are drawn from a seed of their own."""
    rng, later = np.random.default_rng(0), np.random.default_rng(seed_of_last)
    rows = [("u00", f"i{item:02d}", item) for item in range(N_ITEMS)]
    for user in range(1, N_USERS):
        length = int(rng.integers(3, 21))
        items = [*rng.integers(0, N_ITEMS, length - 2), *later.integers(0, N_ITEMS, 2)]
        rows += [(f"u{user:02d}", f"i{item:02d}", time) for time, item in enumerate(items)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return build_store(read_events(frame, time_unit="order"), folder)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("cached") / "store")


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    config = TransformerConfig(dim=8, hidden=16, max_history=6, dropout=0.5, init_std=0.5)
    return config.build(N_ITEMS).train()


def refreshed(store, encoder, split=SPLIT, **options):
    sampler = CachedHardConfig(**options).build(store, store.split(split))
    sampler.refresh(encoder, store)
    return sampler


def lists_of(sampler):
    lists = sampler.lists
    return [
        lists.items[start : start + count].tolist()
        for start, count in zip(lists.start, lists.count, strict=True)
    ]


def by_hand(store, encoder, size):
    """One user at a time: encode, score everything, sort, leave out."""
    split, lists = store.split(SPLIT), []
    encoder.eval()
    for user in range(store.n_users):
        history = store.items[split.start[user] : split.train_stop[user]].tolist()
        recent = torch.tensor(history[-encoder.max_history :])
        batch = JaggedBatch(recent, torch.zeros(len(recent)).long(), torch.tensor([0, len(recent)]))
        with torch.no_grad():
            scores = encoder.item_vectors() @ encoder(batch).users[0]
        best = [item for item in (scores.argsort(descending=True) + 1).tolist() if item not in history]
        lists.append(sorted(best[:size]))
    encoder.train()
    return lists


@pytest.mark.parametrize("size", [1, 5, 20, 100])
def test_lists_are_the_best_items_outside_the_training_history(store, encoder, size):
    assert lists_of(refreshed(store, encoder, size=size)) == by_hand(store, encoder, size)


def test_few_users_at_a_time_find_the_same(store, encoder, monkeypatch):
    whole = lists_of(refreshed(store, encoder, size=5))
    monkeypatch.setattr(cached_hard, "_FOUND", 30)
    assert lists_of(refreshed(store, encoder, size=5)) == whole


def test_what_is_held_out_changes_nothing(store, encoder, tmp_path):
    other = make_store(tmp_path / "other", seed_of_last=1)
    assert other.items.tolist() != store.items.tolist()
    assert lists_of(refreshed(other, encoder, size=5)) == lists_of(refreshed(store, encoder, size=5))


def test_users_who_do_not_train_have_no_list(store, encoder):
    split = UserSplitConfig(valid=0.2, test=0.4)
    sampler, cut = refreshed(store, encoder, split, size=5), store.split(split)
    trains = cut.train_stop > cut.start
    assert 0 < trains.sum() < store.n_users
    counts = sampler.lists.count.numpy()
    assert (counts[~trains] == 0).all()
    assert (counts[trains] > 0).sum() == trains.sum() - (
        0 if trains[0] == 0 else 1
    )  # u00 has taken everything


def test_the_encoder_stays_in_its_mode_and_in_what_it_knows(store, encoder):
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    for training in (True, False):
        encoder.train(training)
        refreshed(store, encoder)
        assert {module.training for module in encoder.modules()} == {training}
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert all(weight.grad is None for weight in encoder.parameters())


def test_buffers_have_one_shape_from_the_start_and_carry_the_lists_over(store, encoder):
    config = CachedHardConfig(size=5)
    new, sampler = config.build(store, store.split(SPLIT)), refreshed(store, encoder, size=5)
    shapes = [{name: value.shape for name, value in one.state_dict().items()} for one in (new, sampler)]
    assert shapes[0] == shapes[1]
    new.load_state_dict(sampler.state_dict())
    assert lists_of(new) == lists_of(sampler)


def test_another_refresh_forgets_the_last_one(store, encoder):
    sampler = refreshed(store, encoder, size=5)
    before = lists_of(sampler)
    torch.nn.init.normal_(encoder.items.weight)
    sampler.refresh(encoder, store)
    assert lists_of(sampler) == by_hand(store, encoder, 5) != before


def test_until_the_first_refresh_it_is_uniform(store):
    sampler = CachedHardConfig().build(store, store.split(SPLIT))
    context = DrawContext(torch.zeros(3, 8), user=torch.tensor([0, 1, 2]))
    drawn = sampler.sample(torch.tensor([1, 2, 3]), context, n=200)
    torch.testing.assert_close(drawn.log_q, torch.full((3, 200), -math.log(N_ITEMS)))


def test_inverted_lists_find_items_outside_the_history_too(store, encoder, monkeypatch):
    monkeypatch.setattr(cached_hard, "FLAT_MOST", 0)
    sampler, split = refreshed(store, encoder, size=5), store.split(SPLIT)
    for user, own in enumerate(lists_of(sampler)):
        history = store.items[split.start[user] : split.train_stop[user]].tolist()
        assert own == sorted(set(own) - set(history))
    assert int(sampler.lists.count.sum()) > 0


def test_who_draws_without_users_is_told_so(store):
    sampler = CachedHardConfig().build(store, store.split(SPLIT))
    with pytest.raises(ConfigError, match="the user of each event"):
        sampler.sample(torch.tensor([1]), DrawContext(torch.zeros(1, 8)), n=2)
