"""Dynamic segmentation: worked examples, counts and file hashes of ICSRec's data, partners against a loop."""

import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.sampling.test_contract import FakeStore
from usermodel.events.readers import read_events
from usermodel.events.splits import LeaveLastOutConfig
from usermodel.sampling.pieces import PiecesConfig
from usermodel.store.build import build_store


class Items(FakeStore):
    """Histories of items; times count up."""

    def __init__(self, histories):
        super().__init__([list(range(len(history))) for history in histories])
        self.items = np.array([item for history in histories for item in history], dtype=np.int32)


def sample(histories, max_history=50, seed=0, **options):
    store = Items(histories)
    split = store.split(LeaveLastOutConfig())
    rng = np.random.default_rng(seed)
    return store, PiecesConfig(**options).sample(store, split, max_history=max_history, rng=rng)


def slices(store, start, stop):
    return [tuple(store.items[a:b].tolist()) for a, b in zip(start, stop, strict=True)]


def test_a_short_history_by_hand():
    store, examples = sample([[11, 12, 13, 14, 15, 16, 17]])
    assert slices(store, examples.start, examples.stop) == [
        (11, 12), (11, 12, 13), (11, 12, 13, 14), (11, 12, 13, 14, 15),
    ]  # fmt: skip


def test_a_history_longer_than_the_encoder_reads_by_hand():
    store, examples = sample([list(range(31, 41))], max_history=4)
    assert slices(store, examples.start, examples.stop) == [
        (31, 32), (31, 32, 33), (31, 32, 33, 34), (31, 32, 33, 34, 35),
        (32, 33, 34, 35, 36), (33, 34, 35, 36, 37), (34, 35, 36, 37, 38),
    ]  # fmt: skip


HISTORIES = st.lists(st.lists(st.integers(1, 4), max_size=9), min_size=1, max_size=6)


@given(HISTORIES, st.integers(1, 4))
def test_the_last_different_slice_with_the_same_target_is_the_partner(histories, max_history):
    store, examples = sample(histories, max_history, partner="last")
    mine = slices(store, examples.start, examples.stop)
    partners = slices(store, examples.partner_start, examples.partner_stop)
    for piece, partner in zip(mine, partners, strict=True):
        others = [one for one in mine if one[-1] == piece[-1] and one != piece]
        assert partner == (others[-1] if others else piece)


@given(HISTORIES, st.integers(1, 4), st.integers(0, 9))
def test_a_random_partner_has_the_same_target_and_is_another_slice(histories, max_history, seed):
    store, examples = sample(histories, max_history, seed, partner="random")
    targets = store.items[examples.stop - 1]
    assert (store.items[examples.partner_stop - 1] == targets).all()
    alone = np.array([(targets == target).sum() == 1 for target in targets], dtype=bool)
    assert ((examples.partner_stop == examples.stop) == alone).all()


def test_every_other_slice_is_as_likely():
    histories = [[n, 9, 0, 0] for n in range(1, 5)]
    drawn = Counter()
    for seed in range(1500):
        store, examples = sample(histories, seed=seed, partner="random")
        partners = slices(store, examples.partner_start, examples.partner_stop)
        drawn.update((n, partner[0]) for n, partner in enumerate(partners, start=1))
    assert len(drawn) == 12
    assert stats.chisquare(list(drawn.values())).pvalue > 0.001


def test_partners_go_along_when_rows_are_taken():
    store, examples = sample([[1, 2, 3, 0, 0], [4, 2, 5, 3, 0, 0]], partner="last")
    taken = examples.take(np.array([2, 0]))
    partners = taken.partners()
    assert slices(store, partners.start, partners.stop) == [(1, 2), (4, 2)]
    assert partners.partners() is None
    assert sample([[1, 2, 3]])[1].partner_start is None


@pytest.mark.data
def test_counts_hash_and_partners_of_beauty(data_dir, tmp_path):
    """131,413 pieces, the sha1 of the released program's file, 23,795 distinct (target, partner) pairs, 0.22 % alone."""
    log = read_events(data_dir / "amazon-beauty" / "Beauty.txt.gz", format="sequences", id_type="int")
    store = build_store(log, tmp_path / "store")
    rng = np.random.default_rng(0)
    examples = PiecesConfig(partner="last").sample(store, store.split(), max_history=50, rng=rng)
    assert len(examples) == 131_413
    users = store.users.decode(examples.user + 1).cast(str).to_list()
    items = store.vocabulary.decode(store.items).cast(str).to_list()
    # A line of that file has the last two items of the history's piece too, which it never uses.
    text = "".join(
        f"{user} {' '.join(items[a : b + 2])}\n"
        for user, a, b in zip(users, examples.start, examples.stop, strict=True)
    )
    assert hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest().startswith("ee439110")
    alone = (examples.partner_start == examples.start) & (examples.partner_stop == examples.stop)
    assert round(100 * alone.mean(), 2) == 0.22
    inputs = slices(store, examples.partner_start, examples.partner_stop - 1)
    assert len(set(zip(store.items[examples.stop - 1].tolist(), inputs, strict=True))) == 23_795
