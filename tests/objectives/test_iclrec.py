import math

import numpy as np
import pytest
import torch

from usermodel.batch import collate
from usermodel.encoders.transformer import Transformer, TransformerConfig
from usermodel.errors import ConfigError
from usermodel.events.splits import LeaveLastOutConfig
from usermodel.objectives.iclrec import IclrecConfig
from usermodel.objectives.next_item import NextItemConfig
from usermodel.sampling.all_positions import AllPositionsConfig
from usermodel.views.crop import Crop
from usermodel.views.reorder import Reorder

HISTORIES = [[3, 1, 4, 1], [5], [2, 6], [], [9, 9, 9, 8, 7], [6, 5, 3], [1, 2, 8, 8]]
#: Two clusters that these three users share, and the views of each: half of the inputs, the middle draw.
CENTROIDS = torch.tensor([[2.0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0.5], [0, 3, 0, 0, 0, 0, 0, 0]])


def build(**changes) -> Transformer:
    torch.manual_seed(0)
    config = TransformerConfig(dim=8, hidden=16, max_history=8, init_std=0.3, dropout=0.0, mask_token=True)
    return config.override(changes).build(9)


def nce(first, second, labels=None) -> float:
    """The loss of each row of both views, one similarity at a time."""
    rows, n = [*first, *second], len(first)
    losses = []
    for i, row in enumerate(rows):
        partner = (i + n) % (2 * n)
        negatives = [
            j
            for j in range(2 * n)
            if j not in (i, partner) and (labels is None or labels[j % n] != labels[i % n])
        ]
        exponentials = [math.exp(float(row @ rows[j])) for j in (partner, *negatives)]
        losses.append(-math.log(exponentials[0] / sum(exponentials)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("masked", [True, False])
def test_value_by_hand(make_batch, monkeypatch, masked):
    """Equal draws: both views of a history are the first ``ceil(0.5 n)`` inputs from place ``floor(0.4 (n - ceil(0.5 n) + 1))``."""
    monkeypatch.setattr(torch, "rand", lambda *shape, **kind: torch.full(shape, 0.4, **kind))
    encoder = build()
    config = IclrecConfig(
        sequence=0.2, intent=0.3, clusters=3, view=Crop(ratio=0.5), mask_false_negatives=masked
    )
    objective = config.build(encoder)
    objective.intents.centroids.copy_(CENTROIDS)
    batch = make_batch(*HISTORIES)
    output = objective(encoder, batch)

    users, views = [], []
    for items in HISTORIES:
        inputs = items[:-1]
        if not inputs:
            continue
        size = math.ceil(0.5 * len(inputs))
        start = math.floor(0.4 * (len(inputs) - size + 1))
        users.append(encoder(make_batch(inputs)).users[0].detach())
        views.append(encoder(make_batch(inputs[start : start + size])).users[0].detach())
    labels = [int((CENTROIDS - user).square().sum(1).argmin()) for user in users]
    assert 1 < len(set(labels)) < len(labels)
    centroids = [CENTROIDS[label] / CENTROIDS[label].norm() for label in labels]
    sequence = nce(views, views)
    intent = 2 * nce(views, centroids, labels if masked else None)
    next_item = NextItemConfig().build(encoder)(encoder, batch)
    assert output.parts["sequence"].item() == pytest.approx(sequence, abs=1e-5)
    assert output.parts["intent"].item() == pytest.approx(intent, abs=1e-5)
    assert torch.equal(output.parts["softmax"], next_item.loss.detach())
    assert output.loss.item() == pytest.approx(
        next_item.loss.item() + 0.2 * sequence + 0.3 * intent, abs=1e-5
    )
    assert output.n_targets == next_item.n_targets == 13


def test_the_two_views_are_drawn_independently(make_batch, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "usermodel.objectives.iclrec.info_nce",
        lambda first, second, label=None, **_: seen.append((first, second)) or first.sum() * 0,
    )
    encoder = build()
    objective = IclrecConfig(intent=0.0, view=Reorder(ratio=1.0)).build(encoder)
    torch.manual_seed(0)
    objective(encoder, make_batch(*[[1, 2, 3, 4, 5, 6]] * 30))
    first, second = seen[0]
    assert first.shape == (30, 8)
    assert not torch.isclose(first, second).all(1).all()


def test_a_weight_of_0_leaves_its_term_out(make_batch):
    encoder = build()
    outputs = {}
    for name, config in {
        "sequence": IclrecConfig(intent=0.0),
        "intent": IclrecConfig(sequence=0.0),
    }.items():
        objective = config.build(encoder)
        outputs[name] = list(objective(encoder, make_batch(*HISTORIES)).parts)
        assert (objective.intents is None) == (name == "sequence")
    assert outputs == {"sequence": ["softmax", "sequence"], "intent": ["softmax", "intent"]}
    with pytest.raises(ValueError, match="sequence or intent above 0"):
        IclrecConfig(sequence=0.0, intent=0.0)


def test_each_epoch_clusters_the_histories_without_their_last_event(make_store):
    """With as many clusters as histories, centroids are the user vectors themselves."""
    store = make_store([1, 2, 3, 4, 5], [6, 7, 8, 9], [1, 2, 3, 4, 5, 6])
    split = store.split(LeaveLastOutConfig())
    examples = AllPositionsConfig().sample(store, split, max_history=8, rng=np.random.default_rng(0))
    encoder = build()
    objective = IclrecConfig(clusters=3).build(encoder)
    objective.on_epoch_start(encoder, store, examples)
    # Two events of each are held out, and the last of the rest is a target. Histories may stand in any order.
    batch = collate(store, examples.shortened())
    assert sorted(batch.lengths.tolist()) == [1, 2, 3]
    vectors = encoder.eval()(batch).users
    torch.testing.assert_close(objective.intents.centroids, vectors.detach(), atol=1e-5, rtol=1e-5)
    assert objective.intents.of(vectors).tolist() == [0, 1, 2]


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match=r"encoder\.causal"):
        IclrecConfig().build(build(causal=False))
    with pytest.raises(ConfigError, match=r"encoder\.mask_token"):
        IclrecConfig().build(build(mask_token=False))
    IclrecConfig(view=Crop()).build(build(mask_token=False))
    with pytest.raises(ValueError, match="n_negatives only"):
        IclrecConfig(next_item={"loss": "softmax", "n_negatives": 3})
