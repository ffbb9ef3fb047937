"""Baselines that take a run: its encoder before training, and means of its items."""

import numpy as np
import pytest
import tiny
import torch

from usermodel.baselines.mean_of_items import mean_of_items
from usermodel.baselines.untrained import untrained
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.training.pretrain import pretrain


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tiny.make_store(tmp_path_factory.mktemp("runs") / "store")


def test_untrained_is_the_encoder_at_step_0(store, tmp_path):
    """A rate so small that no weight moves leaves what training began with."""
    still = tiny.RECIPE.override(
        {"training.learning_rate": 1e-30, "training.max_epochs": 1, "training.seed": 3}
    )
    run = pretrain(store, still, tmp_path / "run")
    encoder = UserEncoder.load(run)
    found = untrained(run, encoder)
    for (name, ours), theirs in zip(
        found.module.state_dict().items(), encoder.module.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12, msg=name)
    assert found.vocabulary.hash == encoder.vocabulary.hash
    state = torch.get_rng_state()
    untrained(run, encoder)
    assert torch.equal(state, torch.get_rng_state())


def test_untrained_knows_the_items_of_the_run_when_the_store_has_grown(store, tmp_path):
    run = pretrain(store, tiny.RECIPE.override({"training.max_epochs": 1}), tmp_path / "run")
    more = tiny.frame(n_users=3).with_columns(
        item_id="new" + tiny.pl.col("item_id"), timestamp=tiny.pl.col("timestamp") + 10**6
    )
    grown = store.append(more, tmp_path / "grown")
    assert grown.n_items > store.n_items
    found = untrained(run, UserEncoder.load(run))
    assert found.module.n_items == store.n_items
    assert found.n_unknown_items(grown) == grown.n_items - store.n_items


def test_untrained_of_stages_is_the_first_stage(store, tmp_path):
    second = tiny.RECIPE.override({"training.max_epochs": 1, "training.seed": 9})
    both = second.model_copy(update={"stages": (second.override({"training.seed": 4}),)})
    run = pretrain(store, both, tmp_path / "run")
    assert untrained(run, UserEncoder.load(run)).content_hash.startswith("untrained, seed")
    alone = pretrain(store, second.override({"training.seed": 4}), tmp_path / "alone")
    ours, theirs = (untrained(one, UserEncoder.load(one)).module.items.weight for one in (run, alone))
    assert torch.equal(ours, theirs)


def test_mean_of_items_by_hand(store, tmp_path):
    run = pretrain(store, tiny.RECIPE.override({"training.max_epochs": 1}), tmp_path / "run")
    encoder = UserEncoder.load(run)
    found = mean_of_items(encoder)
    items, most = encoder.items().to_numpy(), encoder.module.max_history
    vectors = found.encode(store).vectors
    for user in range(store.n_users):
        latest = np.asarray(store.items[store.offsets[user] : store.offsets[user + 1]])[-most:]
        assert vectors[user] == pytest.approx(items[latest - 1].mean(0), abs=1e-6)
    assert found.items().to_numpy() == pytest.approx(items)
    assert found.content_hash != encoder.content_hash
