"""Two draws of a view: one pass, users without events left out, similar items counted once, room for what is put in."""

import numpy as np
import pytest
import torch

from usermodel.encoders.transformer import TransformerConfig
from usermodel.errors import ConfigError
from usermodel.events.splits import LeaveLastOutConfig
from usermodel.objectives.two_views import TwoViews
from usermodel.sampling.recent import RecentConfig
from usermodel.views.crop import Crop
from usermodel.views.insert import Insert
from usermodel.views.mask import Mask
from usermodel.views.similar import SIMILAR
from usermodel.views.substitute import Substitute

HISTORIES = [[1, 2, 3, 4, 5], [], [6, 7, 8, 1], [9]]


def encoder_of(**options):
    torch.manual_seed(0)
    shape = {"dim": 8, "hidden": 16, "layers": 1, "dropout": 0.0, "init_std": 0.3}
    return TransformerConfig(**shape | options).build(10)


def read_by(encoder, views, batch):
    """What the encoder read, and what came out."""
    seen = []
    hook = encoder.register_forward_hook(lambda _, args, out: seen.append(args[0]))
    out = views(encoder, batch)
    hook.remove()
    assert len(seen) == 1
    return seen[0], out


def test_two_draws_in_one_pass(make_batch):
    encoder, batch = encoder_of(), make_batch(*HISTORIES)
    read, out = read_by(encoder, TwoViews(Crop(ratio=0.5), encoder), batch)
    assert out.shape == (2, 3, 8)
    assert read.lengths.tolist() == [3, 2, 1] * 2
    half = len(read.item_index) // 2
    assert read.item_index[:half].tolist() != read.item_index[half:].tolist()
    torch.testing.assert_close(out.flatten(0, 1), encoder(read).users)


def test_without_a_view_only_dropout_differs(make_batch):
    batch = make_batch(*HISTORIES)
    still, encoder = encoder_of(), encoder_of(dropout=0.3)
    one, other = TwoViews(None, still)(still, batch)
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(one, still(make_batch(*[h for h in HISTORIES if h])).users)
    read, (one, other) = read_by(encoder, TwoViews(None, encoder), batch)
    assert read.item_index.tolist() == [item for history in HISTORIES for item in history] * 2
    assert not torch.allclose(one, other)


def test_similar_items_are_put_in_and_the_oldest_events_make_room(make_batch):
    encoder = encoder_of(max_history=4)
    views = TwoViews(Insert(ratio=1), encoder)
    views.similar.most_similar.copy_(torch.tensor([0, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]))
    read, _ = read_by(encoder, views, make_batch([1, 2, 3, 4], [9]))
    assert read.item_index.tolist() == [8, 3, 7, 4, 2, 9] * 2
    assert SIMILAR not in read.features


def test_similar_items_come_from_the_training_histories(tiny_store):
    split = tiny_store.split(LeaveLastOutConfig())
    examples = RecentConfig(min_events=1).sample(
        tiny_store, split, max_history=10, rng=np.random.default_rng(0)
    )
    encoder = TransformerConfig(dim=8).build(tiny_store.n_items)
    views = TwoViews(Substitute(), encoder)
    assert not views.similar.most_similar.any()
    views.on_epoch_start(encoder, tiny_store, examples)
    assert views.similar.most_similar.any()
    # Nothing but the training part: an item that occurs only beyond has no similar one.
    trained = {
        int(item)
        for a, b in zip(split.start, split.train_stop, strict=True)
        for item in tiny_store.items[a:b]
    }
    for item in set(range(1, tiny_store.n_items + 1)) - trained:
        assert views.similar.most_similar[item] == 0
    assert set(views.similar.most_similar.tolist()) <= trained | {0}
    # Checkpoints have it, so a resumed epoch goes on with the same.
    again = TwoViews(Substitute(), encoder)
    again.load_state_dict(views.state_dict())
    assert again.similar.most_similar.equal(views.similar.most_similar)
    assert again.similar.fitted
    # A view that needs none counts nothing, and saves nothing.
    assert not TwoViews(Crop(), encoder).state_dict()


def test_a_view_that_hides_items_needs_a_mask_token():
    with pytest.raises(ConfigError, match=r"encoder\.mask_token"):
        TwoViews(Mask(), encoder_of())
