import numpy as np
import polars as pl
import pytest
import torch

from usermodel.batch import JaggedBatch
from usermodel.errors import DataError
from usermodel.events.readers import read_events
from usermodel.sampling.protocol import Examples
from usermodel.store.build import build_store
from usermodel.training.validation import next_item_validation


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
