"""BPO and NBPO against the closed forms, and against finite differences of the probabilities themselves."""

import math

import pytest
import torch

from usermodel.losses.nbpo import bpo, flip_posterior, nbpo

FORMS = ["surrogate", "likelihood", "probability"]


def inputs(seed=0, rows=7, n=3):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((rows,), (rows, n), (rows,), (rows, n))
    scores = [2 * torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]
    return [score.requires_grad_() for score in scores]


def s(x):
    return 1 / (1 + math.exp(-x))


def closed_form(form, seen_positive, r, g):
    """Ascent directions (dr, dg) of one row, from the derivatives of products and sums of sigmoids."""
    if form == "surrogate":
        if seen_positive:
            return s(-g) * s(-r), -s(g) * s(r)
        return s(g) * s(-r) - s(r), s(-g) * s(r)
    if seen_positive:
        likelihood, dr, dg = s(-g) * s(r), s(-g) * s(r) * s(-r), -s(g) * s(-g) * s(r)
    else:
        likelihood, dr, dg = s(-r) + s(g) * s(r), (s(g) - 1) * s(r) * s(-r), s(g) * s(-g) * s(r)
    return (dr, dg) if form == "probability" else (dr / likelihood, dg / likelihood)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_the_closed_forms(form):
    positive, negative, positive_flip, negative_flip = tensors = inputs()
    ours = torch.autograd.grad(nbpo(*tensors, form=form), tensors)
    rows = positive.numel() + negative.numel()
    for scores, flips, dr, dg, seen in (
        (positive, positive_flip, ours[0], ours[2], True),
        (negative, negative_flip, ours[1], ours[3], False),
    ):
        for r, g, a, b in zip(
            scores.flatten().tolist(), flips.flatten().tolist(), dr.flatten(), dg.flatten(), strict=True
        ):
            assert [-a.item() * rows, -b.item() * rows] == pytest.approx(
                closed_form(form, seen, r, g), rel=1e-10
            )


@pytest.mark.parametrize("form", ["likelihood", "probability"])
def test_values_by_hand_and_gradients_by_finite_differences(form):
    tensors = inputs(1)
    positive, negative, positive_flip, negative_flip = ([x.item() for x in t.flatten()] for t in tensors)
    first = [s(-g) * s(r) for r, g in zip(positive, positive_flip, strict=True)]
    second = [s(-r) + s(g) * s(r) for r, g in zip(negative, negative_flip, strict=True)]
    chances = first + second
    wanted = -sum(p if form == "probability" else math.log(p) for p in chances) / len(chances)
    assert nbpo(*tensors, form=form).item() == pytest.approx(wanted, rel=1e-12)
    assert torch.autograd.gradcheck(lambda *t: nbpo(*t, form=form), tensors)


def test_the_two_labels_of_a_positive_row_exhaust_its_probability():
    """P(seen positive) + P(seen negative) = 1, whatever the scores."""
    r, g = torch.linspace(-6, 6, 25, dtype=torch.float64), torch.linspace(5, -7, 25, dtype=torch.float64)
    nothing = r[:0]
    for one_r, one_g in zip(r, g, strict=True):
        as_positive = nbpo(one_r[None], nothing, one_g[None], nothing, form="probability")
        as_negative = nbpo(nothing, one_r[None], nothing, one_g[None], form="probability")
        assert -(as_positive + as_negative).item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("flip", [-200.0, -1e6, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_flips_it_is_bpo_bit_for_bit(flip, dtype):
    """-200 is beyond what float32 can tell from 0; float64 has no such bits either once it is added to a number near 1."""
    positive, negative, *_ = (t.detach().to(dtype).requires_grad_() for t in inputs(2, rows=40))
    flips = [torch.full_like(t, flip) for t in (positive, negative)]
    plain = bpo(positive, negative)
    wanted = torch.autograd.grad(plain, [positive, negative])
    loss = nbpo(positive, negative, *flips, form="likelihood")
    assert torch.equal(loss, plain)
    for ours, theirs in zip(torch.autograd.grad(loss, [positive, negative]), wanted, strict=True):
        assert torch.equal(ours, theirs)
    surrogate = nbpo(positive, negative, *flips, form="surrogate")
    if math.isfinite(flip):
        for ours, theirs in zip(torch.autograd.grad(surrogate, [positive, negative]), wanted, strict=True):
            assert torch.equal(ours, theirs)


def test_bpo_is_binary_cross_entropy():
    positive, negative, *_ = inputs(3)
    scores = torch.cat([positive, negative.flatten()])
    label = torch.cat([torch.ones_like(positive), torch.zeros_like(negative.flatten())])
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(scores, label)
    torch.testing.assert_close(bpo(positive, negative), wanted)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_extreme_scores_have_finite_losses_and_gradients(form, scale):
    signs = torch.tensor([1.0, 1.0, -1.0, -1.0])
    tensors = [(scale * t).requires_grad_() for t in (signs, signs, signs.roll(1), signs.roll(1))]
    loss = nbpo(*tensors, form=form)
    assert torch.isfinite(loss)
    assert all(torch.isfinite(grad).all() for grad in torch.autograd.grad(loss, tensors))


@pytest.mark.parametrize("form", FORMS)
def test_a_weight_of_two_is_a_row_that_is_there_twice(form):
    positive, negative, positive_flip, negative_flip = inputs(4)
    weight = torch.ones_like(negative)
    weight[2, 1], weight[0, 0] = 2.0, 0.0
    weighted = nbpo(positive, negative, positive_flip, negative_flip, weight, form=form)
    rows = [(k, j) for k in range(7) for j in range(3) if (k, j) != (0, 0)] + [(2, 1)]
    again, flips = (torch.stack([x[k, j] for k, j in rows]) for x in (negative, negative_flip))
    torch.testing.assert_close(weighted, nbpo(positive, again, positive_flip, flips, form=form))
    torch.testing.assert_close(bpo(positive, negative, weight), bpo(positive, again))


def test_no_row_is_zero_with_zero_gradient():
    tensors = [t[:0].detach().requires_grad_() for t in inputs()]
    for form in FORMS:
        loss = nbpo(*tensors, form=form)
        assert loss.item() == 0.0
        torch.autograd.grad(loss, tensors)


def test_posterior_is_bayes_rule_and_safe():
    for r in (-5.0, -0.3, 0.0, 2.0, 7.0):
        for g in (-6.0, 0.0, 3.0):
            wanted = s(g) * s(r) / (s(-r) + s(g) * s(r))
            ours = flip_posterior(torch.tensor(r, dtype=torch.float64), torch.tensor(g, dtype=torch.float64))
            assert ours.item() == pytest.approx(wanted, rel=1e-12)
    # In float32 the formula as it stands divides 0 by 0 in the last of these, and is 1 instead of near 0.5 in the first.
    r = torch.tensor([120.0, 200.0, -200.0, 200.0])
    g = torch.tensor([-120.0, 200.0, -200.0, -1e4])
    torch.testing.assert_close(flip_posterior(r, g), torch.tensor([0.5, 1.0, 0.0, 0.0]))
