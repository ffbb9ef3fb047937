import pytest
import torch

from usermodel.encoders.transformer import Transformer, TransformerConfig
from usermodel.errors import ConfigError
from usermodel.objectives.next_item import NextItemConfig

HISTORIES = [[3, 1, 4, 1], [5], [2, 6], [], [9, 9, 9, 8, 7]]


def build(**changes) -> Transformer:
    torch.manual_seed(0)
    config = TransformerConfig(dim=8, hidden=16, max_history=8, init_std=0.3, dropout=0.0)
    return config.override(changes).build(9)


def naive(encoder: Transformer, make_batch) -> torch.Tensor:
    """One prefix at a time: log of the normalised exponential of the score of the item that came next."""
    losses = []
    for items in HISTORIES:
        for end in range(1, len(items)):
            user = encoder(make_batch(items[:end])).users[0]
            scores = torch.stack([user @ encoder.items.weight[item] for item in range(1, 10)])
            losses.append(-(scores[items[end] - 1].exp() / scores.exp().sum()).log())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("positions", ["relative", "from_start", "none"])
def test_value_and_gradient_equal_the_formula_prefix_by_prefix(make_batch, positions):
    encoder = build(positions=positions)
    output = NextItemConfig().build(encoder)(encoder, make_batch(*HISTORIES))
    wanted = naive(encoder, make_batch)
    torch.testing.assert_close(output.loss, wanted, atol=1e-6, rtol=1e-6)
    assert output.n_targets == sum(max(len(items) - 1, 0) for items in HISTORIES)
    assert torch.equal(output.parts["softmax"], output.loss.detach())
    names, weights = zip(*encoder.named_parameters(), strict=True)
    ours, theirs = (torch.autograd.grad(loss, weights) for loss in (output.loss, wanted))
    for name, a, b in zip(names, ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_no_target_is_no_loss_and_no_gradient(make_batch):
    encoder = build()
    output = NextItemConfig().build(encoder)(encoder, make_batch([4], [], [7]))
    assert (output.loss.item(), output.n_targets) == (0.0, 0)
    output.loss.backward()
    assert not any(weight.grad.any() for weight in encoder.parameters() if weight.grad is not None)


def test_padding_is_not_a_class(make_batch):
    """The loss of an untrained encoder with equal scores is the logarithm of the number of items, not one more."""
    encoder = build()
    with torch.no_grad():
        encoder.items.weight.zero_()
    loss = NextItemConfig().build(encoder)(encoder, make_batch(*HISTORIES)).loss
    torch.testing.assert_close(loss.detach(), torch.tensor(9.0).log())


def test_an_encoder_that_sees_the_targets_is_refused():
    with pytest.raises(ConfigError) as caught:
        NextItemConfig().build(build(causal=False))
    assert str(caught.value) == (
        "encoder.causal: expected a causal encoder for next-item training; found causal=false. "
        "Set encoder.causal=true, or choose an objective for bidirectional encoders."
    )
