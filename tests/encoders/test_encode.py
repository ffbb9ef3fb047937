import numpy as np
import pytest
import torch

from usermodel.batch import JaggedBatch, collate
from usermodel.encoders.encode import encode
from usermodel.encoders.transformer import TransformerConfig
from usermodel.errors import DataError, IntegrityError
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore


def build(store: SequenceStore, n_items: int | None = None, **changes):
    torch.manual_seed(0)
    config = TransformerConfig(dim=8, hidden=16, max_history=10, init_std=0.5, dropout=0.5).override(changes)
    return config.build(n_items or store.n_items)


def all_histories(store: SequenceStore, max_history: int = 10) -> Examples:
    users = np.arange(store.n_users)
    return Examples.histories(store, users, store.offsets[users + 1], max_history)


@pytest.mark.parametrize("batch_events", [1, 7, 64, 10**6])
def test_rows_come_back_in_the_order_given_whatever_the_batches(store, batch_events):
    encoder, examples = build(store).eval(), all_histories(store)
    order = np.random.default_rng(0).permutation(len(examples))
    found = encode(encoder, store, examples.take(order), batch_events=batch_events)
    with torch.no_grad():
        wanted = [
            encoder(collate(store, examples.take(order[i : i + 1]))).users[0].numpy()
            for i in range(len(order))
        ]
    np.testing.assert_allclose(found, np.stack(wanted), atol=1e-5, rtol=1e-5)
    assert found.dtype == np.float32


@pytest.mark.parametrize("readout", ["last", "attention"])
def test_the_same_bits_whatever_the_number_of_threads(store, readout):
    encoder, before = build(store, readout=readout), torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            found.append(encode(encoder, store, all_histories(store), batch_events=30))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_neither_dropout_nor_gradients_and_the_mode_comes_back(store):
    encoder = build(store).train()
    first, second = (encode(encoder, store, all_histories(store)) for _ in range(2))
    assert np.array_equal(first, second)
    assert encoder.training
    encode(encoder.eval(), store, all_histories(store))
    assert not encoder.training
    assert all(weight.grad is None for weight in encoder.parameters())


def test_the_mode_comes_back_after_an_error(store):
    encoder = build(store).train()

    def fail(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode(encoder, store, all_histories(store), on_progress=fail)
    assert encoder.training


def test_progress_rises_to_everyone(store):
    seen = []
    encode(
        build(store), store, all_histories(store), batch_events=30, on_progress=lambda *now: seen.append(now)
    )
    done = [now for now, _ in seen]
    assert done == sorted(set(done))
    assert seen[-1] == (store.n_users, store.n_users)
    assert len(seen) > 3


def test_an_empty_slice_is_a_zero_vector(store):
    users = np.array([3, 5])
    stop = np.array([store.offsets[3], store.offsets[6]])
    vectors = encode(build(store), store, Examples.histories(store, users, stop, 10))
    assert not vectors[0].any()
    assert vectors[1].any()


def test_nobody(store):
    nobody = all_histories(store).take(np.zeros(0, dtype=np.int64))
    assert encode(build(store), store, nobody).shape == (0, 8)


def test_events_of_items_that_the_encoder_does_not_know_are_skipped(store):
    """Also in slices that somebody else has cut: only known events count towards what the encoder reads."""
    n_items = store.n_items - 20
    encoder = build(store, n_items).eval()
    users = np.arange(store.n_users)
    examples = Examples.histories(store, users, store.offsets[1:], 10, n_items)
    assert examples.lengths.max() > 10
    found = encode(encoder, store, examples, batch_events=40)
    for user in users:
        known = [int(i) for i in store.items[store.offsets[user] : store.offsets[user + 1]] if i <= n_items]
        item = torch.tensor(known[-10:], dtype=torch.int64)
        with torch.no_grad():
            alone = encoder(JaggedBatch(item, torch.zeros_like(item), torch.tensor([0, len(item)])))
        np.testing.assert_allclose(found[user], alone.users[0].numpy(), atol=1e-5, rtol=1e-5)
    assert encode(build(store, store.n_items + 5), store, all_histories(store)).any()


@pytest.mark.parametrize("positions", ["relative", "from_start", "from_end"])
def test_a_slice_longer_than_the_encoder_reads_is_refused(store, positions):
    longest = int(np.diff(store.offsets).max())
    with pytest.raises(DataError, match=f"at most 10 events; found one of {longest}"):
        encode(build(store, positions=positions), store, all_histories(store, 100))


@pytest.mark.parametrize("wrong", [0, -3, 10**6])
def test_an_item_index_outside_the_vocabulary_is_named_before_it_reaches_the_table(store, wrong):
    items = np.load(store.path / "items.npy")
    items[store.offsets[5] - 1] = wrong
    np.save(store.path / "items.npy", items)
    damaged = SequenceStore.open(store.path)
    with pytest.raises(
        IntegrityError, match=f"expected item indices 1 to {store.n_items}; found the index {wrong}"
    ):
        encode(build(store), damaged, all_histories(damaged))
