"""AdaptSSR: the four passes in their places, and what its switches reach."""

import numpy as np
import pytest
import torch

from usermodel.batch import collate
from usermodel.encoders.transformer import TransformerConfig
from usermodel.errors import ConfigError
from usermodel.losses.pairwise_ranking import RankingOptions, pairwise_ranking
from usermodel.objectives.adaptssr import AdaptSsrConfig
from usermodel.sampling.all_positions import AllPositionsConfig
from usermodel.views.crop import Crop
from usermodel.views.insert import Insert
from usermodel.views.mask import Mask

HISTORIES = [[1, 2, 3, 4, 5], [6, 7, 8], [9], [2, 4, 6, 8, 1, 3]]


def encoder_of(**options):
    torch.manual_seed(0)
    shape = {"dim": 8, "hidden": 16, "layers": 1, "causal": False, "readout": "attention", "init_std": 0.3}
    return TransformerConfig(**shape | options).build(10)


def test_two_augmentations_under_two_dropout_masks_each(make_batch):
    encoder, batch = encoder_of(dropout=0.1), make_batch(*HISTORIES)
    objective = AdaptSsrConfig(view=Crop(ratio=0.5)).build(encoder)
    seen = []
    hook = encoder.register_forward_hook(lambda _, args, out: seen.append((args[0], out.users)))
    torch.manual_seed(5)
    output = objective(encoder, batch)
    hook.remove()
    (read, users), n = seen[0], len(HISTORIES)
    assert len(seen) == 1
    parts = [read.take(torch.arange(place * n, place * n + n)) for place in range(4)]
    assert torch.equal(parts[0].item_index, parts[1].item_index)
    assert torch.equal(parts[2].item_index, parts[3].item_index)
    assert not torch.equal(parts[0].item_index, parts[2].item_index)
    a, p, s, t = users.view(4, n, -1)
    # Dropout differs between the passes of one augmentation.
    assert not torch.allclose(a, p)
    assert not torch.allclose(s, t)
    wanted = pairwise_ranking(torch.stack([a, p, s, t]), RankingOptions())
    assert output.loss.item() == pytest.approx(wanted.loss.item(), abs=1e-6)
    assert output.n_targets == n


def test_users_without_events_are_left_out(make_batch):
    encoder = encoder_of(dropout=0.0)
    objective = AdaptSsrConfig(view=Crop(ratio=1.0)).build(encoder)
    found, wanted = objective(encoder, make_batch(*HISTORIES, [])), objective(encoder, make_batch(*HISTORIES))
    assert found.loss.item() == pytest.approx(wanted.loss.item(), abs=1e-6)
    assert found.n_targets == len(HISTORIES)


@pytest.mark.parametrize(
    "change",
    [{"fusion": 0.5}, {"hard_negatives": False}, {"constraints": "implicit"}, {"smoothing": 0.1}],
)
def test_the_switches_reach_the_loss(make_batch, change):
    encoder, losses = encoder_of(mask_token=True), []
    for config in (AdaptSsrConfig(), AdaptSsrConfig(**change)):
        torch.manual_seed(1)
        losses.append(config.build(encoder)(encoder, make_batch(*HISTORIES)).loss.item())
    assert losses[0] != losses[1]


def test_views_that_put_in_similar_items_know_them_after_the_first_epoch_began(make_store):
    store = make_store(*[[1, 2, 3, 4, 5, 6, 7, 8], [2, 3, 4, 5, 6, 7, 8, 1]] * 2)
    torch.manual_seed(0)
    shape = {"dim": 8, "hidden": 16, "layers": 1, "causal": False, "max_history": 4}
    encoder = TransformerConfig(**shape).build(store.n_items)
    objective = AdaptSsrConfig(view=Insert()).build(encoder)
    rng = np.random.default_rng(0)
    # Windows of one event more than the encoder reads.
    examples = AllPositionsConfig().sample(store, store.split(), max_history=4, rng=rng)
    objective.on_epoch_start(encoder, store, examples)
    assert bool(objective.views.similar.fitted)
    assert torch.isfinite(objective(encoder, collate(store, examples)).loss)


def test_a_view_that_hides_items_needs_a_mask_token():
    with pytest.raises(ConfigError, match=r"encoder\.mask_token"):
        AdaptSsrConfig(view=Mask()).build(encoder_of())
    AdaptSsrConfig(view=Crop()).build(encoder_of())


@pytest.mark.parametrize("change", [{"hard_negatives": False}, {"constraints": "implicit"}])
def test_smoothing_needs_a_maximum(change):
    with pytest.raises(ConfigError, match="smoothing only with a maximum over other users"):
        AdaptSsrConfig.from_dict({"smoothing": 0.1} | change)
