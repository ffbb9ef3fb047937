from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
import torch

from usermodel.errors import DataError, MismatchError, NumericError
from usermodel.events.readers import read_events
from usermodel.metrics import next_item_ranks
from usermodel.metrics.next_item_ranks import rank_targets, seen_items
from usermodel.sampling.protocol import Examples
from usermodel.store.build import build_store
from usermodel.store.sequence_store import SequenceStore

NAMES = ["hit@1", "hit@3", "ndcg@3", "ndcg@10", "mrr"]


@dataclass
class Table:
    """A scorer that reads a matrix: row = user, column = item index - 1."""

    matrix: torch.Tensor

    @property
    def n_items(self) -> int:
        return self.matrix.shape[1]

    def scores(self, users):
        return self.matrix[torch.from_numpy(users)]


def store_of(path, histories: list[list[int]]) -> SequenceStore:
    """Item ids are two digits, so that the index of item ``i`` is its place in sorted order."""
    rows = [
        (f"u{u:03d}", f"i{item:02d}", t) for u, items in enumerate(histories) for t, item in enumerate(items)
    ]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return build_store(read_events(frame, time_unit="order"), path)


@pytest.fixture
def store(tmp_path) -> SequenceStore:
    rng = np.random.default_rng(0)
    return store_of(
        tmp_path / "store", [rng.integers(0, 25, rng.integers(1, 40)).tolist() for _ in range(60)]
    )


def examples_of(store: SequenceStore, part: str = "test", max_history: int = 50) -> Examples:
    return Examples.histories(store, *store.split().targets(part), max_history)


def naive(scores: np.ndarray, store: SequenceStore, examples: Examples, name: str) -> list[float]:
    """Sort the unseen items of each user; the target stands in the middle of its tie, one rank after another."""
    values = []
    for user, row in zip(examples.user, examples.target_start, strict=True):
        target = int(store.items[row]) - 1
        seen = {int(item) - 1 for item in store.items[store.offsets[user] : row]} - {target}
        rivals = [scores[user, item] for item in range(store.n_items) if item not in seen and item != target]
        above = sum(score > scores[user, target] for score in rivals)
        tied = sum(score == scores[user, target] for score in rivals)
        kind, _, k = name.partition("@")
        gains = []
        for rank in range(above + 1, above + tied + 2):
            inside = kind == "mrr" or rank <= int(k)
            gains.append(
                inside * (1 if kind == "hit" else 1 / rank if kind == "mrr" else 1 / np.log2(rank + 1))
            )
        values.append(sum(gains) / len(gains))
    return values


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("kind", ["distinct", "tied", "constant", "negative"])
def test_equals_a_naive_loop(monkeypatch, store, part, kind):
    monkeypatch.setattr(next_item_ranks, "TILE", 7 * store.n_items)
    rng = np.random.default_rng(1)
    shape = (store.n_users, store.n_items)
    scores = {
        "distinct": rng.normal(size=shape),
        "tied": rng.integers(-3, 3, shape),
        "constant": np.full(shape, -2.5),
        "negative": -1 - rng.random(shape),
    }[kind].astype(np.float32)
    examples = examples_of(store, part)
    ranks = rank_targets(Table(torch.from_numpy(scores)), store, examples)
    for name in NAMES:
        np.testing.assert_allclose(
            ranks.metric(name), naive(scores, store, examples, name), atol=1e-12, rtol=0
        )


def test_a_constant_scorer_hits_at_chance(store):
    ranks = rank_targets(Table(torch.zeros(store.n_users, store.n_items)), store, examples_of(store))
    np.testing.assert_allclose(ranks.hit(3), np.minimum(3 / ranks.candidates, 1), atol=1e-12, rtol=0)


def test_the_whole_history_is_masked_and_not_the_window_alone(tmp_path):
    store = store_of(tmp_path / "s", [[0, 1, 2, 3, 4, 5], [6, 7, 8]])
    scores = torch.zeros(2, store.n_items)
    scores[0] = torch.tensor([9.0, 8, 7, 6, 5, 4, 3, 2, 1])
    examples = examples_of(store, max_history=1)
    ranks = rank_targets(Table(scores), store, examples)
    # Five seen items score higher than the target of user 0; only item 4 is in the encoder's window.
    assert ranks.higher[0] == 0
    assert ranks.candidates[0] == store.n_items - 5


def test_the_validation_item_counts_as_seen_at_test(tmp_path):
    store = store_of(tmp_path / "s", [[0, 1, 2, 3], [4, 5, 6]])
    scores = torch.zeros(2, store.n_items)
    scores[0, 2] = 5.0
    assert rank_targets(Table(scores), store, examples_of(store, "test")).higher[0] == 0
    assert rank_targets(Table(scores), store, examples_of(store, "valid")).higher[0] == 0
    assert rank_targets(Table(scores), store, examples_of(store, "valid")).mrr()[0] == 1.0


def test_a_repeated_target_is_never_masked(tmp_path):
    store = store_of(tmp_path / "s", [[3, 1, 2, 3], [0, 1, 2]])
    scores = torch.arange(float(store.n_items)).repeat(2, 1)
    ranks = rank_targets(Table(scores), store, examples_of(store))
    assert ranks.mrr()[0] == 1.0
    # Seen are items 1 and 2; item 3 was seen too, but it is the target.
    assert ranks.candidates[0] == 2


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_not_finite_names_the_user(store, bad):
    scores = torch.zeros(store.n_users, store.n_items)
    user = int(examples_of(store).user[17])
    scores[user, 3] = bad
    with pytest.raises(NumericError, match=f"'u{user:03d}'"):
        rank_targets(Table(scores), store, examples_of(store))


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("n_unknown", [1, 9, 20])
def test_unknown_items_rank_below_all_others_and_level_with_each_other(monkeypatch, store, part, n_unknown):
    monkeypatch.setattr(next_item_ranks, "TILE", 7 * store.n_items)
    scores = np.random.default_rng(2).integers(-3, 3, (store.n_users, store.n_items)).astype(np.float32)
    known = Table(torch.from_numpy(scores[:, :-n_unknown]))
    known.n_unknown = n_unknown
    examples = examples_of(store, part)
    ranks = rank_targets(known, store, examples)
    # The lowest number there is, so that nothing known is level with it.
    scores[:, -n_unknown:] = np.finfo(np.float32).min
    for name in NAMES:
        np.testing.assert_allclose(
            ranks.metric(name), naive(scores, store, examples, name), atol=1e-12, rtol=0
        )


def test_the_rank_of_an_unknown_target_by_hand(tmp_path):
    # Ten items, of which the last three are unknown; ann has seen 0 and the unknown 8, and takes the unknown 9.
    store = store_of(tmp_path / "s", [[0, 8, 9], [1, 2, 3, 4, 5, 6, 7]])
    known = Table(torch.zeros(2, 7))
    known.n_unknown = 3
    ranks = rank_targets(known, store, examples_of(store))
    # Ann: above are the six known ones that she has not seen, level is 7. Bob: 0 and 7, 8, 9 and his target 7 are left.
    assert (ranks.higher.tolist(), ranks.equal.tolist()) == ([6, 1], [1, 2])
    assert ranks.candidates.tolist() == [8, 4]


def test_a_scorer_of_another_catalogue_is_refused(store):
    short = Table(torch.zeros(store.n_users, store.n_items - 3))
    short.n_unknown = 2
    message = f"expected {store.n_items} items; found {store.n_items - 3} items and 2 unknown ones"
    with pytest.raises(MismatchError, match=message):
        rank_targets(short, store, examples_of(store))
    with pytest.raises(
        MismatchError, match=f"expected {store.n_items} items; found {store.n_items + 1} items"
    ):
        rank_targets(Table(torch.zeros(store.n_users, store.n_items + 1)), store, examples_of(store))


def test_a_scorer_that_returns_another_shape_is_refused(store):
    class Wrong(Table):
        def scores(self, users):
            return super().scores(users)[:, :-1]

    with pytest.raises(MismatchError, match="expected shape"):
        rank_targets(Wrong(torch.zeros(store.n_users, store.n_items)), store, examples_of(store))


def test_an_example_without_a_target_is_refused(store):
    """The row after a history is another user's first event, not a target."""
    users = np.arange(store.n_users)
    examples = Examples.histories(store, users, store.offsets[users + 1], 50)
    with pytest.raises(DataError, match="found none for user 'u000'"):
        rank_targets(Table(torch.zeros(store.n_users, store.n_items)), store, examples)


def test_nobody_to_rank(store):
    nobody = examples_of(store).take(np.zeros(0, dtype=np.int64))
    assert len(rank_targets(Table(torch.zeros(store.n_users, store.n_items)), store, nobody)) == 0


def test_seen_items_are_distinct_sorted_and_before_the_target(store):
    examples = examples_of(store, max_history=2)
    row, column = seen_items(store, examples)
    for number, (user, stop) in enumerate(zip(examples.user, examples.target_start, strict=True)):
        wanted = sorted({int(item) - 1 for item in store.items[store.offsets[user] : stop]})
        assert column[row == number].tolist() == wanted
    assert (np.diff(row) >= 0).all()
