import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from usermodel.batch import JaggedBatch
from usermodel.encoders.encode import batches
from usermodel.errors import DataError, NumericError
from usermodel.events.readers import read_events
from usermodel.sampling.protocol import Examples
from usermodel.store.build import build_store
from usermodel.training import validation
from usermodel.training.place import Place
from usermodel.training.processes import Team
from usermodel.training.recipe import TrainingConfig
from usermodel.training.validation import agree, next_item_validation, shares


def build(recipe, n_items: int):
    torch.manual_seed(0)
    return recipe.encoder.override({"init_std": 0.5}).build(n_items)


def naive(encoder, store, k: int | None) -> float:
    """Whoever stands higher than the target among the items the user has not met, counted one by one."""
    values = []
    users, rows = store.split().targets("valid")
    for user, row in zip(users, rows, strict=True):
        first = int(store.offsets[user])
        with torch.no_grad():
            ids = torch.from_numpy(store.items[max(first, row - 8) : row].astype(np.int64))
            vector = encoder(JaggedBatch(ids, torch.zeros_like(ids), torch.tensor([0, len(ids)]))).users[0]
            scores = (encoder.items.weight @ vector).tolist()
        target = int(store.items[row])
        seen = set(store.items[first:row].tolist()) - {target}
        rivals = [item for item in range(1, store.n_items + 1) if item not in seen]
        rank = 1 + sum(scores[item] > scores[target] for item in rivals)
        values.append(1 / rank if k is None else (rank <= k) / np.log2(rank + 1))
    return float(np.mean(values))


def test_values_equal_a_naive_count(store, recipe):
    encoder = build(recipe, store.n_items).eval()
    metrics = next_item_validation(store, store.split(), 8, "mrr")(encoder)
    assert metrics["mrr"] == pytest.approx(naive(encoder, store, None), abs=1e-9)
    assert metrics["ndcg@10"] == pytest.approx(naive(encoder, store, 10), abs=1e-9)


@pytest.mark.parametrize(
    ("monitor", "names"),
    [
        ("mrr", {"mrr", "hit@10", "ndcg@10"}),
        ("ndcg@10", {"hit@10", "ndcg@10"}),
        ("hit@3", {"hit@3", "hit@10", "ndcg@10"}),
    ],
)
def test_the_monitored_metric_is_among_them(store, recipe, monitor, names):
    metrics = next_item_validation(store, store.split(), 8, monitor)(build(recipe, store.n_items))
    assert metrics.keys() == names


def test_the_test_targets_are_never_looked_at(store, recipe):
    """Validation must not change when the held-out events do."""
    encoder, split = build(recipe, store.n_items), store.split()
    seen = []

    class Spy:
        def __getitem__(self, rows):
            seen.append(
                np.asarray(rows).copy() if not isinstance(rows, slice) else np.arange(rows.start, rows.stop)
            )
            return items[rows]

    items = store.items
    users, rows = split.targets("valid")
    examples = Examples.histories(store, users, rows, 8)
    assert (examples.stop <= split.train_stop[users]).all()
    store.__dict__["items"] = Spy()
    try:
        next_item_validation(store, split, 8, "mrr")(encoder)
    finally:
        store.__dict__["items"] = items
    assert np.concatenate(seen).size
    assert not np.isin(np.concatenate(seen), split.valid_stop[split.test_stop > split.valid_stop]).any()


def test_an_encoder_with_more_items_is_asked_for_the_stores_alone(store, recipe):
    wider = build(recipe, store.n_items + 4)
    metrics = next_item_validation(store, store.split(), 8, "mrr")(wider)
    narrow = build(recipe, store.n_items)
    weights = {name: value.clone() for name, value in wider.state_dict().items()}
    weights["items.weight"] = weights["items.weight"][: store.n_items + 1]
    narrow.load_state_dict(weights)
    assert metrics == next_item_validation(store, store.split(), 8, "mrr")(narrow)


def test_no_validation_target_is_an_error_before_training(tmp_path):
    """Two events leave one to train on and one to test on."""
    frame = pl.DataFrame(
        {"user_id": ["a", "a", "b", "b"], "item_id": ["x", "y"] * 2, "timestamp": [1, 2, 1, 2]}
    )
    short = build_store(read_events(frame, time_unit="order"), tmp_path / "short")
    with pytest.raises(DataError, match="expected a validation target for some user; found none"):
        next_item_validation(short, short.split(), 8, "mrr")


class Linked(Team):
    """A rank that is a thread: what all of them hand over meets in a list."""

    def __init__(self, rank: int, box: list, barrier: threading.Barrier) -> None:
        super().__init__(TrainingConfig(), Place(0, 1, 0))
        self.rank, self.world, self.box, self.barrier = rank, len(box), box, barrier

    def _all(self, value) -> list:
        self.box[self.rank] = value
        self.barrier.wait(60)
        found = list(self.box)
        self.barrier.wait(60)
        return found

    def sum(self, values):
        return values.copy_(torch.stack(self._all(values.clone())).sum(0))

    def share(self, value, source=0):
        return self._all(value)[source]


def at_all_ranks(world: int, task) -> list:
    """What ``task(team)`` gives or raises at each rank."""
    box, barrier = [None] * world, threading.Barrier(world)

    def call(rank):
        try:
            return task(Linked(rank, box, barrier))
        except (NumericError, DataError) as error:
            return error

    with ThreadPoolExecutor(world) as pool:
        return list(pool.map(call, range(world)))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=80), st.integers(1, 60), st.integers(1, 9))
def test_every_user_is_validated_at_exactly_one_rank(lengths, batch_events, world):
    groups = batches(np.array(lengths), batch_events)
    parts = [shares(groups, rank, world) for rank in range(world)]
    users = np.concatenate([rows for part in parts for rows in part])
    assert sorted(users.tolist()) == list(range(len(lengths)))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert {tuple(rows) for part in parts for rows in part} == {tuple(sorted(rows)) for rows in groups}


@pytest.mark.parametrize("world", [2, 3, 40])
def test_ranks_together_give_the_bits_of_one(store, recipe, monkeypatch, world):
    encoder, split, encode = build(recipe, store.n_items), store.split(), validation.encode
    monkeypatch.setattr(validation, "batches", lambda lengths: batches(lengths, 20))
    alone = next_item_validation(store, split, 8, "mrr")(encoder)
    encoded = {rank: [] for rank in range(world)}

    copies = [copy.deepcopy(encoder) for _ in range(world)]

    def spy(model, store, examples, **options):
        encoded[copies.index(model)].extend(examples.user.tolist())
        return encode(model, store, examples, **options)

    monkeypatch.setattr(validation, "encode", spy)
    found = at_all_ranks(
        world, lambda team: next_item_validation(store, split, 8, "mrr", team)(copies[team.rank])
    )
    assert found == [alone] * world
    users, rows = split.targets("valid")
    assert sorted(user for part in encoded.values() for user in part) == users.tolist()
    # More ranks than groups leave some without any.
    groups = batches(np.minimum(rows - store.offsets[users], 8), 20)
    assert 3 < len(groups) < 40
    assert sum(map(bool, encoded.values())) == min(world, len(groups))


def test_a_score_that_is_not_finite_at_one_rank_is_the_error_of_all(store, recipe, monkeypatch):
    encoder, encode = build(recipe, store.n_items), validation.encode
    monkeypatch.setattr(validation, "batches", lambda lengths: batches(lengths, 20))
    user = int(store.split().targets("valid")[0][-1])

    def spoil(model, store, examples, **options):
        vectors = encode(model, store, examples, **options)
        vectors[examples.user == user] = np.nan
        return vectors

    monkeypatch.setattr(validation, "encode", spoil)
    found = at_all_ranks(
        3,
        lambda team: next_item_validation(store, store.split(), 8, "mrr", team)(copy.deepcopy(encoder)),
    )
    name = store.users.decode(np.array([user + 1]))[0]
    wanted = f"scores: expected finite scores; found a score that is not finite for user {name!r}. Look at"
    assert [type(error) for error in found] == [NumericError] * 3
    assert all(str(error).startswith(wanted) for error in found)


def test_a_validation_of_the_callers_own_is_called_at_rank_0_only(store, recipe, tmp_path):
    """The others do not even look for targets, which such a split need not have."""
    frame = pl.DataFrame({"user_id": ["a", "a"], "item_id": ["x", "y"], "timestamp": [1, 2]})
    short = build_store(read_events(frame, time_unit="order"), tmp_path / "short")
    own = {0: lambda encoder: {"mine": 0.5}}
    encoder = recipe.encoder.build(short.n_items)
    objective = recipe.objective.build(encoder)
    found = at_all_ranks(
        3, lambda team: agree(team, short, short.split(), recipe, own.get(team.rank), objective)(encoder)
    )
    # One user has no spread to look at.
    assert found == [{"mine": 0.5}, {}, {}]
    found = at_all_ranks(2, lambda team: agree(team, short, short.split(), recipe, None, objective)(encoder))
    assert [type(error) for error in found] == [DataError] * 2
