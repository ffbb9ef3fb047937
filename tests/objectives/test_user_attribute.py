"""Classes of users: the loss by hand, and what is measured."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from usermodel.batch import collate
from usermodel.encoders.encode import encode
from usermodel.encoders.transformer import TransformerConfig
from usermodel.objectives.user_attribute import METRICS, UserAttributeConfig
from usermodel.sampling.protocol import Examples

ANSWERS = ("a", "b", "c")


@pytest.fixture
def parts(make_batch):
    torch.manual_seed(0)
    encoder = TransformerConfig(dim=8, hidden=16, layers=1, max_history=6, dropout=0.3, init_std=0.5).build(9)
    batch = make_batch([1, 2, 3], [4], [5, 6, 7, 8], [9, 1])
    return encoder, replace(batch, label=torch.tensor([[0], [2], [1], [2]]))


def build(encoder, **options):
    torch.manual_seed(1)
    objective = UserAttributeConfig(**options).build_labelled(encoder, ANSWERS)
    torch.nn.init.normal_(objective.head.out.weight)
    return objective


def test_the_loss_by_hand(parts):
    encoder, batch = parts
    encoder.eval()
    objective = build(encoder, hidden=5)
    output = objective(encoder, batch)
    scores = objective.head(encoder(batch).users).tolist()
    wanted = np.mean(
        [
            -np.log(np.exp(z[y]) / np.exp(z).sum())
            for z, (y,) in zip(scores, batch.label.tolist(), strict=True)
        ]
    )
    assert output.loss.item() == pytest.approx(wanted, rel=1e-5)
    assert output.n_targets == 4
    assert output.parts["classes"].item() == output.loss.item()


def test_the_head_has_the_answers_and_the_width(parts):
    encoder, _ = parts
    objective = build(encoder, hidden=5)
    assert objective.head.answers == ANSWERS
    assert (objective.head.inner.in_features, objective.head.inner.out_features) == (8, 5)
    assert build(encoder, hidden=0).head.inner is None


def test_frozen_vectors_are_those_of_encode_and_nothing_reaches_the_encoder(parts, make_store):
    encoder, _ = parts
    encoder.train()
    store = make_store([1, 2, 3], [4, 5], [6, 7, 8, 9])
    examples = Examples.histories(store, np.arange(3), store.offsets[1:], 6)
    seen = []
    objective = build(encoder, freeze=True)
    objective.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    batch = replace(collate(store, examples), label=torch.tensor([[0], [1], [2]]))
    output = objective(encoder, batch)
    output.loss.backward()
    np.testing.assert_allclose(seen[0].numpy(), encode(encoder, store, examples), atol=1e-6)
    assert all(weight.grad is None for weight in encoder.parameters())
    assert all(bool(weight.grad.any()) for weight in objective.parameters())
    # The encoder is left as it was: in training.
    assert encoder.training
    assert encoder(batch).users.requires_grad
    # Otherwise there is dropout.
    plain = build(encoder)
    plain.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    plain(encoder, batch)
    assert not torch.allclose(seen[1], seen[0], atol=1e-3)


def test_what_is_measured_equals_scikit_learn(parts, make_store):
    encoder, _ = parts
    rng = np.random.default_rng(0)
    store = make_store(*[rng.integers(1, 10, 4).tolist() for _ in range(40)], list(range(1, 10)))
    users = rng.permutation(40)
    label = rng.integers(0, 3, (40, 1))
    examples = replace(Examples.histories(store, users, store.offsets[users + 1], 6), label=label)
    objective = build(encoder)
    found = objective.measure(encoder, store, examples)
    assert tuple(found) == METRICS == UserAttributeConfig().measures
    with torch.no_grad():
        scores = objective.head(torch.from_numpy(encode(encoder, store, examples))).softmax(1).numpy()
    truth = label[:, 0]
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, scores.argmax(1)))
    assert found["macro_f1"] == pytest.approx(f1_score(truth, scores.argmax(1), average="macro"))
    assert found["auc"] == pytest.approx(roc_auc_score(truth, scores, multi_class="ovr"), abs=1e-6)


def test_what_a_run_keeps_is_encoder_and_head(parts):
    encoder, _ = parts
    objective = build(encoder, hidden=0)
    kept = objective.kept(encoder).state_dict()
    assert set(kept) == {f"encoder.{name}" for name in encoder.state_dict()} | {
        "head.out.weight", "head.out.bias",
    }  # fmt: skip
    assert kept["head.out.weight"].data_ptr() == objective.head.out.weight.data_ptr()
