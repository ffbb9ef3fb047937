"""Attention of users of one length against the formula, one user at a time."""

import math

import pytest
import torch

from usermodel.nn.attention_groups import BLOCK_ROWS, attend_equal

HEADS, D = 2, 4


def reference(q, k, v, added):
    outs = []
    for user in range(len(k)):
        scores = torch.einsum("qhd,khd->hqk", q[user], k[user]) / math.sqrt(D)
        if added is not None:
            scores = scores + added[user if len(added) > 1 else 0]
        outs.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), v[user]).flatten(1))
    return torch.cat(outs)


@pytest.mark.parametrize("kind", ["none", "causal", "bias", "own bias"])
@pytest.mark.parametrize("length", [1, 2, 3, 5, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1])
@pytest.mark.parametrize("n", [1, 2, 7, 16, 23])
def test_equals_the_formula_for_each_user(kind, length, n):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, n, length, HEADS, D, dtype=torch.float64)
    added = {
        "none": None,
        "causal": torch.zeros(1, 1, length, length).masked_fill(
            torch.ones(length, length).triu(1).bool(), -torch.inf
        ),
        "bias": torch.randn(1, HEADS, length, length),
        "own bias": torch.randn(n, HEADS, length, length),
    }[kind]
    added = None if added is None else added.double()
    torch.testing.assert_close(
        attend_equal(q, k, v, added), reference(q, k, v, added), atol=1e-12, rtol=1e-12
    )


def test_a_huge_user_does_not_touch_its_neighbours():
    """They share a block: what one user adds to another must be exactly nothing."""
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 6, 4, HEADS, D)
    alone = attend_equal(q, k, v, None)
    k[2], v[2] = k[2] * 1e4, v[2] * 1e30
    together = attend_equal(q, k, v, None)
    assert torch.equal(together[:8], alone[:8])
    assert torch.equal(together[12:], alone[12:])
