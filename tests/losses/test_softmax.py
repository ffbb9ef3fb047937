import jaxtyping
import pytest
import torch
import torch.nn.functional as F

from usermodel.losses import softmax
from usermodel.losses.precision import products_in
from usermodel.losses.softmax import full_softmax


def inputs(rows: int = 150, classes: int = 41, dim: int = 7, scale: float = 1.0):
    torch.manual_seed(rows + classes)
    events = (scale * torch.randn(rows, dim)).requires_grad_()
    items = torch.randn(classes, dim, requires_grad=True)
    return events, items, torch.randint(classes, (rows,))


def gradients(loss, *of):
    return torch.autograd.grad(loss, of)


@pytest.mark.parametrize(
    ("rows", "logits"), [(64, 1 << 25), (1, 1 << 25), (149, 1 << 25), (10_000, 1 << 25), (64, 100), (64, 1)]
)
def test_value_and_gradients_equal_torchs_for_every_chunk_size(monkeypatch, rows, logits):
    monkeypatch.setattr(softmax, "CHUNK_ROWS", rows)
    monkeypatch.setattr(softmax, "CHUNK_LOGITS", logits)
    events, items, target = inputs()
    ours, theirs = full_softmax(events, items, target), F.cross_entropy(events @ items.T, target)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    for a, b in zip(gradients(ours, events, items), gradients(theirs, events, items), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_chunks_shrink_for_large_catalogues():
    like = torch.zeros(1)
    assert softmax.rows_of_chunk(10_000, 12_101, like) == softmax.CHUNK_ROWS
    assert softmax.rows_of_chunk(10_000, 12_101, like.bfloat16()) == 2 * softmax.CHUNK_ROWS
    assert softmax.rows_of_chunk(10_000, 10**6, like) * 10**6 <= softmax.CHUNK_LOGITS
    assert softmax.rows_of_chunk(10_000, 10**9, like) == 1


def test_double_precision_passes_gradcheck():
    events, items, target = inputs(rows=9, classes=5, dim=3)
    double = [x.detach().double().requires_grad_() for x in (events, items)]
    assert torch.autograd.gradcheck(lambda e, i: full_softmax(e, i, target), double)


def test_bfloat16_autocast_is_within_two_percent():
    """bf16 keeps 8 bits: 0.4 % per number. Stated tolerance: 1 % of the loss, 2 % of a gradient's norm."""
    events, items, target = inputs(rows=512, classes=300, dim=32)
    theirs = F.cross_entropy(events @ items.T, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = full_softmax(events, items, target)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=0)
    for a, b in zip(gradients(ours, events, items), gradients(theirs, events, items), strict=True):
        assert a.dtype == torch.float32
        assert float((a - b).norm() / b.norm()) < 2e-2


def test_float16_autocast_is_computed_in_float32():
    """70,000 equal logits: their exponentials sum to more than float16 can hold."""
    events, items = torch.zeros(2, 3, requires_grad=True), torch.ones(70_000, 3, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.float16):
        loss = full_softmax(events, items, torch.tensor([0, 1]))
    torch.testing.assert_close(loss, torch.tensor(70_000.0).log())
    assert all(bool(g.isfinite().all()) for g in gradients(loss, events, items))


def test_the_incoming_gradient_scales():
    events, items, target = inputs()
    once = gradients(full_softmax(events, items, target), events, items)
    thrice = gradients(3 * full_softmax(events, items, target), events, items)
    for a, b in zip(once, thrice, strict=True):
        torch.testing.assert_close(3 * a, b)


def test_no_rows_is_zero_with_zero_gradients():
    _, items, _ = inputs()
    events = torch.zeros(0, 7, requires_grad=True)
    loss = full_softmax(events, items, torch.zeros(0, dtype=torch.int64))
    assert loss.item() == 0.0
    grad_events, grad_items = gradients(loss, events, items)
    assert grad_events.shape == (0, 7)
    assert not grad_items.any()


@pytest.mark.parametrize("scale", [1e4, 1e15])
def test_huge_logits_do_not_overflow(scale):
    events, items, target = inputs(scale=scale)
    ours, theirs = full_softmax(events, items, target), F.cross_entropy(events @ items.T, target)
    assert bool(ours.isfinite())
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)
    assert all(bool(g.isfinite().all()) for g in gradients(ours, events, items))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_vanishing_target_probability_stays_finite(dtype):
    """The probability of the target underflows to 0 in any precision; its logarithm must not. bf16 keeps 8 bits."""
    events = torch.tensor([[100.0]], requires_grad=True)
    items = torch.tensor([[10.0], [-10.0]], requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        loss = full_softmax(events, items, torch.tensor([1]))
    bits = 8 if dtype == torch.bfloat16 else 23
    assert loss.item() == pytest.approx(2000.0, rel=2**-bits)
    grad_events, grad_items = gradients(loss, events, items)
    assert grad_events.item() == pytest.approx(20.0, rel=2**-bits)
    assert grad_items.flatten().tolist() == [100.0, -100.0]


@pytest.mark.parametrize("scale", [1.0, 20.0])
@pytest.mark.parametrize("rows", [1, 31, 32, 33, 300])
def test_bfloat16_rows_that_are_no_multiple_of_a_kernels_agree(rows, scale):
    """Rows are filled up with zeros, which must count for nothing; with and without the largest logit taken off."""
    events, items, target = inputs(rows=rows, classes=97, dim=16, scale=scale)
    assert softmax.is_safe(events, items) == (scale == 1.0)
    theirs = F.cross_entropy(events @ items.T, target)
    with products_in(torch.bfloat16):
        ours = full_softmax(events, items, target)
    torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=0)
    for a, b in zip(gradients(ours, events, items), gradients(theirs, events, items), strict=True):
        assert a.shape == b.shape
        assert float((a - b).norm() / b.norm()) < 5e-2


def test_the_largest_logit_is_taken_off_only_where_it_matters():
    """Both ways give the same loss and gradients."""
    events, items, target = inputs()
    assert softmax.is_safe(events, items)
    for factor in (1.0, 4.0, 9.0):
        e, i = (factor * events).detach().requires_grad_(), items.detach().requires_grad_()
        ours, theirs = full_softmax(e, i, target), F.cross_entropy(e @ i.T, target)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
        for a, b in zip(gradients(ours, e, i), gradients(theirs, e, i), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert not softmax.is_safe(e, i)
    assert not softmax.is_safe(events * torch.nan, items)


def test_only_the_gradients_that_are_needed_are_computed():
    events, items, target = inputs()
    wanted = gradients(full_softmax(events, items, target), events, items)
    (alone,) = gradients(full_softmax(events, items.detach(), target), events)
    assert torch.equal(alone, wanted[0])
    (alone,) = gradients(full_softmax(events.detach(), items, target), items)
    assert torch.equal(alone, wanted[1])
    with torch.no_grad():
        loss = full_softmax(events, items, target)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, F.cross_entropy(events @ items.T, target))


def test_gradients_of_gradients_are_refused_and_not_silently_wrong():
    events, items, target = inputs()
    (grad,) = torch.autograd.grad(full_softmax(events, items, target).square(), events, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.square().sum().backward()
    # Without a graph through the incoming gradient there is nothing to differentiate at all.
    (grad,) = torch.autograd.grad(full_softmax(events, items, target), events, create_graph=True)
    assert not grad.requires_grad


def test_a_target_outside_the_catalogue_is_an_error():
    events, items, _ = inputs(rows=2)
    for wrong in (-1, len(items)):
        with pytest.raises(RuntimeError, match="out of bounds"):
            full_softmax(events, items, torch.tensor([0, wrong]))


def test_widths_that_differ_are_an_error():
    events, items, target = inputs()
    with pytest.raises(jaxtyping.TypeCheckError):
        full_softmax(events, items[:, :-1], target)
