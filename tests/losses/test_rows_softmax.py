"""The softmax of rows with several targets equals the plain one with each row repeated."""

import pytest
import torch

from usermodel.losses import softmax as module
from usermodel.losses.precision import products_in
from usermodel.losses.rows_softmax import rows_softmax

ROW = torch.tensor([0, 0, 0, 1, 3, 3])  # row 2 has no target
TARGET = torch.tensor([4, 1, 0, 4, 2, 2])


def inputs():
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(4, 3, dtype=torch.float64, generator=generator).requires_grad_()
    return rows, torch.randn(5, 3, dtype=torch.float64, generator=generator).requires_grad_()


@pytest.mark.parametrize("chunk", [1, 3, 256])
def test_value_and_gradients_equal_cross_entropy_of_repeated_rows(monkeypatch, chunk):
    monkeypatch.setattr(module, "CHUNK_ROWS", chunk)
    rows, items = inputs()
    ours = rows_softmax(rows, items, ROW, TARGET)
    theirs = torch.nn.functional.cross_entropy(rows[ROW] @ items.T, TARGET)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
    gradients = (torch.autograd.grad(3 * loss, (rows, items)) for loss in (ours, theirs))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-10)


def test_gradcheck():
    assert torch.autograd.gradcheck(lambda r, i: rows_softmax(r, i, ROW, TARGET), inputs())


def test_large_logits_neither_overflow_nor_vanish():
    rows, items = torch.tensor([[1000.0]]), torch.tensor([[1.0], [2.0]])
    loss = rows_softmax(rows, items, torch.tensor([0]), torch.tensor([0]))
    assert float(loss) == pytest.approx(1000.0)


def test_no_target_gives_zero_with_zero_gradient():
    rows, items = inputs()
    loss = rows_softmax(rows, items, ROW[:0], TARGET[:0])
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert not rows.grad.any()
    assert not items.grad.any()


def test_without_gradients_the_value_is_the_same():
    rows, items = inputs()
    with torch.no_grad():
        plain = rows_softmax(rows, items, ROW, TARGET)
    torch.testing.assert_close(plain, rows_softmax(rows, items, ROW, TARGET).detach())


def test_products_in_bfloat16_are_as_exact_as_their_logits():
    generator = torch.Generator().manual_seed(2)
    rows = torch.randn(40, 8, generator=generator).requires_grad_()
    items = torch.randn(300, 8, generator=generator).requires_grad_()
    row, target = (torch.randint(n, (90,), generator=generator) for n in (40, 300))
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        with products_in(dtype):
            loss = rows_softmax(rows, items, row, target)
        found.append([loss.detach(), *torch.autograd.grad(loss, (rows, items))])
    for plain, narrow in zip(*found, strict=True):
        torch.testing.assert_close(narrow, plain, atol=0.01 * float(plain.abs().max()), rtol=0)
        assert not torch.equal(narrow, plain)
