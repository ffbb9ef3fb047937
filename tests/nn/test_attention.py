from itertools import pairwise

import jaxtyping
import pytest
import torch
import torch.nn.functional as F

from usermodel.nn.attention import SelfAttention
from usermodel.nn.ragged import Layout

LENGTHS = [3, 0, 7, 1, 8, 2]
OFFSETS = torch.tensor([0, *LENGTHS]).cumsum(0)
DIM, HEADS = 12, 3


def attention(*, causal: bool, max_distance: int, dropout: float = 0.0) -> SelfAttention:
    torch.manual_seed(0)
    module = SelfAttention(DIM, HEADS, causal=causal, max_distance=max_distance, dropout=dropout)
    if module.bias is not None:
        torch.nn.init.normal_(module.bias)
    return module.eval()


def additive_mask(module: SelfAttention, n: int) -> torch.Tensor:
    """What is added to the scores, entry by entry."""
    mask = torch.zeros(HEADS, n, n)
    for query in range(n):
        for key in range(n):
            far = abs(query - key)
            if module.causal and key > query:
                mask[:, query, key] = -torch.inf
            elif module.bias is not None:
                entry = min(far, module.max_distance - 1) + (module.max_distance if key > query else 0)
                mask[:, query, key] = module.bias[:, entry]
    return mask


def reference(module: SelfAttention, x: torch.Tensor) -> torch.Tensor:
    """torch's own attention, one user at a time, with explicit masks."""
    outs = []
    for start, stop in pairwise(OFFSETS.tolist()):
        if stop == start:
            continue
        part = x[start:stop, None]
        out, _ = F.multi_head_attention_forward(
            part, part, part, DIM, HEADS, module.qkv.weight, module.qkv.bias, None, None, False, 0.0,
            module.out.weight, module.out.bias, training=False, need_weights=False,
            attn_mask=additive_mask(module, stop - start),
        )  # fmt: skip
        outs.append(out[:, 0])
    return torch.cat(outs)


@pytest.mark.parametrize("max_distance", [0, 4, 8, 20])
@pytest.mark.parametrize("causal", [True, False])
def test_equals_torch_attention_and_its_gradients(causal, max_distance):
    module = attention(causal=causal, max_distance=max_distance)
    x = torch.randn(int(OFFSETS[-1]), DIM, requires_grad=True)
    ours, theirs = module(x, Layout.of(OFFSETS)), reference(module, x)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    weight = torch.randn_like(ours)
    wanted = [x, *module.parameters()]
    for a, b in zip(
        torch.autograd.grad(ours, wanted, weight), torch.autograd.grad(theirs, wanted, weight), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("causal", [True, False])
def test_the_kernel_for_training_with_dropout_agrees_with_the_fast_one(causal):
    """A vanishing dropout takes the slow path and must not change the values."""
    module = attention(causal=causal, max_distance=0, dropout=1e-12)
    x = torch.randn(int(OFFSETS[-1]), DIM)
    layout = Layout.of(OFFSETS)
    torch.testing.assert_close(module.train()(x, layout), module.eval()(x, layout), atol=1e-6, rtol=1e-5)


def test_dropout_acts_on_the_probabilities_in_training_only():
    module = attention(causal=True, max_distance=0, dropout=0.5)
    copies, length = 2000, 5
    x = torch.randn(length, DIM).repeat(copies, 1)
    layout = Layout.of(torch.arange(0, (copies + 1) * length, length))
    wanted = module(x, layout)[:length]
    assert torch.equal(module(x, layout)[:length], wanted)
    torch.manual_seed(1)
    draws = module.train()(x, layout).view(copies, length, DIM)
    assert not torch.equal(draws[0], draws[1])
    # Scaled by 1/(1-p), dropout keeps the expectation: the output is linear in the probabilities.
    assert bool(((draws.mean(0) - wanted).abs() < 5 * draws.std(0) / copies**0.5 + 1e-6).all())


def test_no_events_at_all():
    module = attention(causal=True, max_distance=3)
    assert module(torch.zeros(0, DIM), Layout.of(torch.tensor([0, 0]))).shape == (0, DIM)


def test_shapes_are_checked_while_tests_run():
    module = attention(causal=True, max_distance=0)
    with pytest.raises(jaxtyping.TypeCheckError):
        module(torch.zeros(3, DIM, dtype=torch.int64), Layout.of(torch.tensor([0, 3])))
    with pytest.raises(jaxtyping.TypeCheckError):
        module(torch.zeros(3), Layout.of(torch.tensor([0, 3])))
