import math

import pytest
import torch

from usermodel.nn import attention_kernel
from usermodel.nn.attention_kernel import attend

SHAPE = (3, 2, 3, 5, 4)


def inputs(dtype=torch.float64, added_shape=(1, 3, 5, 5)):
    torch.manual_seed(0)
    qkv = torch.randn(SHAPE, dtype=dtype, requires_grad=True)
    added = torch.randn(added_shape, dtype=dtype)
    added = added.masked_fill(torch.ones(5, 5, dtype=torch.bool).triu(1), -torch.inf)
    return qkv, added.requires_grad_()


def require_same(ours, theirs, *inputs):
    """Values and gradients."""
    torch.testing.assert_close(ours, theirs)
    weight = torch.randn_like(theirs)
    found, wanted = (torch.autograd.grad(out, inputs, weight) for out in (ours, theirs))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("added_shape", [(1, 1, 5, 5), (1, 3, 5, 5), (2, 1, 5, 5), (2, 3, 5, 5)])
def test_values_and_gradients_equal_the_formula(added_shape):
    qkv, added = inputs(added_shape=added_shape)
    q, k, v = qkv
    theirs = torch.softmax(q @ k.mT / math.sqrt(4) + added, dim=-1) @ v
    require_same(attend(qkv, added), theirs, qkv, added)


def test_gradcheck_with_queries_that_are_a_view():
    """The layer hands over a permuted view."""
    qkv, added = inputs()
    flat = qkv.detach().permute(1, 3, 0, 2, 4).contiguous().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, a: attend(x.permute(2, 0, 3, 1, 4), a), (flat, added))


def test_dropout_acts_on_the_probabilities_and_on_their_gradient(monkeypatch):
    """With a mask that is known."""
    qkv, added = inputs()
    torch.manual_seed(3)
    mask = 2.0 * torch.randint(0, 2, (6, 5, 5)).double()
    monkeypatch.setattr(attention_kernel, "keep_mask", lambda p, drop: mask)
    q, k, v = qkv
    theirs = (torch.softmax(q @ k.mT / 2 + added, dim=-1) * mask.view(2, 3, 5, 5)) @ v
    require_same(attend(qkv, added, 0.5), theirs, qkv, added)


def test_autocast_changes_nothing_here():
    """The type is that of the input: products of a few numbers gain nothing from another."""
    qkv, added = inputs(torch.float32)
    plain = attend(qkv, added)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(attend(qkv, added), plain)
