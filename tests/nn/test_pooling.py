from itertools import pairwise

import pytest
import torch

from usermodel.nn.pooling import Pooling

DIM = 6
OFFSETS = torch.tensor([0, 3, 3, 4, 12, 12])


def pooling(readout: str) -> Pooling:
    torch.manual_seed(0)
    module = Pooling(readout, DIM)
    if module.query is not None:
        torch.nn.init.normal_(module.query)
    return module


def reference(module: Pooling, readout: str, events: torch.Tensor) -> torch.Tensor:
    rows = []
    for start, stop in pairwise(OFFSETS.tolist()):
        own = events[start:stop]
        if not len(own):
            rows.append(torch.zeros(DIM, dtype=events.dtype))
        elif readout == "last":
            rows.append(own[-1])
        elif readout == "mean":
            rows.append(own.mean(0))
        else:
            rows.append(torch.softmax(own @ module.query, 0) @ own)
    return torch.stack(rows)


@pytest.mark.parametrize("readout", ["last", "mean", "attention"])
def test_equals_a_loop_over_users_and_its_gradients(readout):
    module = pooling(readout)
    events = torch.randn(12, DIM, requires_grad=True)
    ours, theirs = module(events, OFFSETS), reference(module, readout, events)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    weight = torch.randn_like(ours)
    wanted = [events, *module.parameters()]
    for a, b in zip(
        torch.autograd.grad(ours, wanted, weight), torch.autograd.grad(theirs, wanted, weight), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("readout", ["last", "mean", "attention"])
def test_users_without_events_get_zeros_and_no_gradient_trouble(readout):
    module = pooling(readout)
    events = torch.randn(0, DIM, requires_grad=True)
    users = module(events, torch.tensor([0, 0, 0]))
    assert torch.equal(users, torch.zeros(2, DIM))
    users.sum().backward()
    assert module(events, torch.tensor([0])).shape == (0, DIM)


def test_attention_weights_do_not_overflow():
    module = pooling("attention")
    events = 1e4 * torch.randn(12, DIM)
    users = module(events, OFFSETS)
    assert bool(users.isfinite().all())
    torch.testing.assert_close(users, reference(module, "attention", events), atol=1e-2, rtol=1e-5)


@pytest.mark.parametrize("readout", ["last", "mean", "attention"])
def test_autocast_does_not_round_sums_over_a_history(readout):
    module = pooling(readout)
    events, offsets = torch.randn(3000, DIM), torch.tensor([0, 3000])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = module(events, offsets)
    assert torch.equal(rounded, module(events, offsets))


@pytest.mark.parametrize("readout", ["last", "mean", "attention"])
def test_gradients_in_double_precision(readout):
    module = pooling(readout).double()
    events = torch.randn(12, DIM, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: module(x, OFFSETS), (events,))
