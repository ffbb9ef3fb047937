"""InfoNCE against the fixture of ICSRec's released function, and against a loop over rows."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from usermodel.losses.info_nce import info_nce

FIRST = torch.tensor([[1.0, 0], [0, 1], [1, 1]], dtype=torch.float64)
SECOND = torch.tensor([[1, 0.5], [-1, 1], [0, 2]], dtype=torch.float64)
LABEL = torch.tensor([5, 7, 5])


@pytest.mark.parametrize(
    ("similarity", "label", "wanted"),
    [
        ("dot", LABEL, 0.958139),
        ("dot", None, 1.324303),
        ("cosine", LABEL, 0.985739),
        ("cosine", None, 1.347056),
    ],
)
def test_the_numbers_of_the_released_function(similarity, label, wanted):
    """Measured with the official code on this input; temperature 1."""
    found = info_nce(FIRST, SECOND, label, similarity=similarity)
    assert found.item() == pytest.approx(wanted, abs=5e-7)


def by_loop(first, second, label, temperature, cosine):
    rows = [*first.tolist(), *second.tolist()]
    n, total = len(first), 0.0

    def similarity(a, b):
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return (dot / (math.hypot(*a) * math.hypot(*b)) if cosine else dot) / temperature

    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        others = [
            j
            for j in range(2 * n)
            if j not in (i, partner) and (label is None or label[j % n] != label[i % n])
        ]
        positive = math.exp(similarity(rows[i], rows[partner]))
        total -= math.log(positive / (positive + sum(math.exp(similarity(rows[i], rows[j])) for j in others)))
    return total / (2 * n)


@given(st.integers(1, 6), st.sampled_from([0.1, 0.5, 1.0]), st.booleans(), st.booleans(), st.integers(0, 99))
def test_equals_a_loop_over_rows(n, temperature, cosine, with_labels, seed):
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, n, 3, generator=generator, dtype=torch.float64)
    label = torch.randint(0, 3, (n,), generator=generator) if with_labels else None
    found = info_nce(first, second, label, temperature=temperature, similarity="cosine" if cosine else "dot")
    wanted = by_loop(first, second, None if label is None else label.tolist(), temperature, cosine)
    assert found.item() == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_groups_do_not_see_each_other():
    torch.manual_seed(0)
    first, second = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    label = torch.randint(0, 2, (3, 5))
    apart = [info_nce(a, b, c).item() for a, b, c in zip(first, second, label, strict=True)]
    assert info_nce(first, second, label).item() == pytest.approx(sum(apart) / 3, rel=1e-12)


@pytest.mark.parametrize("label", [None, torch.tensor([4])])
def test_one_example_has_no_negatives_and_no_loss(label):
    first = torch.randn(1, 4, requires_grad=True)
    loss = info_nce(first, torch.randn(1, 4), label)
    loss.backward()
    assert loss.item() == 0
    assert first.grad.eq(0).all()


def test_nobody_is_no_loss():
    first = torch.zeros(0, 4, requires_grad=True)
    loss = info_nce(first, torch.zeros(0, 4))
    loss.backward()
    assert loss.item() == 0


def test_examples_of_one_label_are_no_negatives_and_large_similarities_stay_finite():
    first = torch.full((4, 3), 1e3, requires_grad=True)
    loss = info_nce(first, first.detach(), torch.zeros(4, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(first.grad).all()
    apart = info_nce(first, -first.detach(), torch.arange(4))
    assert torch.isfinite(apart)
    assert apart > 1e6


def test_zero_vectors_have_a_gradient_under_cosine():
    first = torch.zeros(3, 4, requires_grad=True)
    info_nce(first, torch.randn(3, 4), similarity="cosine").backward()
    assert torch.isfinite(first.grad).all()


def test_weights_multiply_both_rows_of_an_example():
    """The mean stays one over rows, so that weights of 1 change nothing and a weight of 0 leaves a row out of the sum alone."""
    alone = [
        info_nce(FIRST, SECOND, LABEL, weight=torch.eye(3, dtype=torch.float64)[row]) for row in range(3)
    ]
    torch.testing.assert_close(sum(alone), info_nce(FIRST, SECOND, LABEL))
    weight = torch.tensor([0.5, 2.0, 0.0], dtype=torch.float64)
    found = info_nce(FIRST, SECOND, LABEL, weight=weight)
    torch.testing.assert_close(found, 0.5 * alone[0] + 2.0 * alone[1])


@pytest.mark.parametrize("label", [None, LABEL])
def test_rows_of_the_other_view_only(label):
    """Cross-entropy of each row among those of the other view; rows of its own label but its partner are left out."""
    scores, losses = FIRST @ SECOND.T / 0.5, []
    for table in (scores, scores.T):
        for i in range(3):
            kept = [j for j in range(3) if j == i or label is None or label[j] != label[i]]
            losses.append(torch.logsumexp(table[i, kept], 0) - table[i, i])
    found = info_nce(FIRST, SECOND, label, temperature=0.5, negatives="other")
    torch.testing.assert_close(found, torch.stack(losses).mean())
