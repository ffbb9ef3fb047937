import pytest
import torch
from torch.nn.functional import cross_entropy

from usermodel.encoders.gru import GruConfig
from usermodel.encoders.sub_model import SubModel
from usermodel.encoders.transformer import Transformer, TransformerConfig
from usermodel.errors import ConfigError
from usermodel.negatives.uniform import Uniform
from usermodel.objectives.iclrec import IclrecConfig
from usermodel.objectives.matryoshka import MatryoshkaConfig, Size
from usermodel.objectives.next_item import NextItemConfig
from usermodel.training.recipe import Recipe

HISTORIES = [[3, 1, 4, 1], [5], [2, 6], [], [9, 9, 9, 8, 7]]
SIZES = (Size(width=4, layers=2), Size(width=2, layers=1), Size(width=8, layers=1))


def build(**changes) -> Transformer:
    torch.manual_seed(0)
    config = TransformerConfig(
        dim=8, hidden=16, layers=3, max_history=8, init_std=0.5, dropout=0.0, norm="pre", mask_token=True
    )
    return config.override(changes).build(9)


def by_hand(encoder: Transformer, make_batch, distillation: float) -> torch.Tensor:
    """Cross-entropy at each size, one history at a time, from an encoder whose later blocks are taken out."""
    whole, items, blocks = encoder.items.weight[1:], [h for h in HISTORIES if len(h) > 1], encoder.blocks
    losses, users = [], []
    candidates = torch.tensor(sorted({item for history in items for item in history[:-1]})) - 1
    for layers, width in ((3, 8), (2, 4), (1, 2), (1, 8)):
        encoder.blocks = blocks[:layers]
        vectors = [encoder(make_batch(history[:-1])).events[:, :width] for history in items]
        logits = torch.cat(vectors) @ whole[:, :width].T
        target = torch.tensor([item for history in items for item in history[1:]]) - 1
        losses.append(cross_entropy(logits, target))
        last = torch.stack([one[-1] for one in vectors])
        # Two users more, of one event and of none, have no input: their vector is zero and all items are alike.
        users.append(torch.cat([last, last.new_zeros(2, width)]) @ whole[candidates, :width].T)
    encoder.blocks = blocks
    full = users[0].detach().softmax(1)
    kl = sum((full * (full.log() - one.log_softmax(1))).sum(1).mean() for one in users[1:])
    return sum(losses) + distillation * kl


@pytest.mark.parametrize("distillation", [0.0, 0.7])
def test_value_and_gradient_equal_the_sum_over_encoders_cut_by_hand(make_batch, distillation):
    encoder = build()
    config = MatryoshkaConfig(sizes=SIZES, distillation=distillation)
    output = config.build(encoder)(encoder, make_batch(*HISTORIES))
    wanted = by_hand(encoder, make_batch, distillation)
    torch.testing.assert_close(output.loss, wanted, atol=1e-5, rtol=1e-5)
    assert output.n_targets == 8
    names = ["3x8/softmax", "2x4/softmax", "1x2/softmax", "1x8/softmax"]
    assert list(output.parts) == names + (["distillation"] if distillation else [])
    used = [(name, weight) for name, weight in encoder.named_parameters() if name != "mask_token"]
    weights = [weight for _, weight in used]
    ours, theirs = (torch.autograd.grad(loss, weights) for loss in (output.loss, wanted))
    for (name, _), a, b in zip(used, ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_the_whole_size_is_the_objective_itself(make_batch):
    """Dropout, views and negatives included: the whole encoder learns as it would alone, and more."""
    encoder = build(dropout=0.2)
    for inner, n in (
        (NextItemConfig(), None),
        (IclrecConfig(next_item={"loss": "bce", "n_negatives": 5}), Uniform(9)),
    ):
        torch.manual_seed(3)
        alone = inner.build(encoder, n)(encoder, make_batch(*HISTORIES))
        torch.manual_seed(3)
        output = MatryoshkaConfig(objective=inner, sizes=SIZES).build(encoder, n)(
            encoder, make_batch(*HISTORIES)
        )
        for name, value in alone.parts.items():
            torch.testing.assert_close(output.parts[f"3x8/{name}"], value)
        assert output.n_targets == alone.n_targets


def test_all_sizes_see_the_same_draws_in_one_pass(make_batch, monkeypatch):
    """Sizes as large as the whole encoder have its very loss, dropout, views and negatives included."""
    encoder = build(dropout=0.2)
    calls, depths = [], Transformer.depths
    monkeypatch.setattr(Transformer, "depths", lambda self, batch: calls.append(batch) or depths(self, batch))
    inner = IclrecConfig(intent=0.0, next_item={"loss": "bce", "n_negatives": 5})
    objective = MatryoshkaConfig(objective=inner, sizes=SIZES).build(encoder, Uniform(9))
    objective.sizes, found = ((3, 8), (3, 8), (3, 8), (2, 8)), []
    for part in objective.objectives:
        part.register_forward_hook(lambda _module, _given, output: found.append(output.loss.item()))
    objective(encoder, make_batch(*HISTORIES))
    assert len(calls) == 2  # the histories, and both views of them
    assert found[0] == found[1] == found[2] != found[3]


def test_a_sub_model_is_the_encoder_cut_by_hand(make_batch):
    encoder, batch = build().eval(), make_batch(*HISTORIES)
    some = SubModel(encoder, 2, 5)
    assert (some.dim, some.n_items, some.max_history, some.causal, some.training) == (5, 9, 8, True, False)
    found = some(batch)
    torch.testing.assert_close(some.item_vectors(torch.tensor([4])), encoder.items.weight[4:5, :5])
    torch.testing.assert_close(some.users(batch), found.users)
    whole = SubModel(encoder, 3, 5)
    torch.testing.assert_close(whole(batch).users, encoder(batch).users[:, :5])
    torch.testing.assert_close(whole.users(batch), encoder.users(batch)[:, :5])
    encoder.blocks = encoder.blocks[:2]
    torch.testing.assert_close(found.events, encoder(batch).events[:, :5])
    torch.testing.assert_close(found.users, encoder(batch).users[:, :5])


def test_the_default_sizes():
    for layers, wanted in (
        (1, [(1, 8), (1, 4), (1, 2)]),
        (2, [(2, 8), (1, 4), (1, 2)]),
        (3, [(3, 8), (2, 4), (1, 2)]),
    ):
        assert list(MatryoshkaConfig().build(build(layers=layers)).sizes) == wanted
    gru = GruConfig(dim=8, hidden=8).build(9)
    assert list(MatryoshkaConfig().build(gru).sizes) == [(1, 8), (1, 4), (1, 2)]


@pytest.mark.parametrize(
    ("size", "found"),
    [
        (Size(width=8), "3 layers and width 8"),
        (Size(width=9, layers=1), "1 layers and width 9"),
        (Size(width=4, layers=4), "4 layers and width 4"),
    ],
    ids=str,
)
def test_sizes_that_are_no_parts_are_refused(size, found):
    with pytest.raises(ConfigError, match=f"which has 3 layers and width 8; found {found}"):
        MatryoshkaConfig(sizes=(size,)).build(build())


def test_equal_sizes_are_refused_however_they_are_spelt():
    with pytest.raises(ValueError, match="sizes that differ"):
        MatryoshkaConfig(sizes=(Size(width=4), Size(width=4)))
    with pytest.raises(ConfigError, match="sizes that differ; found 3 x 4, 3 x 4"):
        MatryoshkaConfig(sizes=(Size(width=4), Size(width=4, layers=3))).build(build())


def test_sizes_can_be_given_on_a_command_line():
    name = "usermodel.objectives.matryoshka:MatryoshkaConfig"
    given = {"objective.class": name, "objective.sizes": [{"width": 16, "layers": 1}, {"width": 32}]}
    assert Recipe().override(given).objective.sizes == (Size(width=16, layers=1), Size(width=32))
