"""Running means counted by hand, and against a loop over all pairs of events."""

import math

import pytest
import torch

from usermodel.encoders.catalogue import Catalogue
from usermodel.encoders.mean_pool import MeanPool, MeanPoolConfig
from usermodel.errors import ConfigError
from usermodel.nn.item_features import ItemFeature


def build(**changes) -> MeanPool:
    torch.manual_seed(0)
    return MeanPoolConfig(**({"dim": 2} | changes)).build(3).eval()


def set_items(encoder: MeanPool) -> None:
    with torch.no_grad():
        encoder.items.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 4.0], [2.0, 2.0]]))


@torch.no_grad()
def test_running_means_by_hand(make_batch):
    encoder = build()
    set_items(encoder)
    out = encoder(make_batch([1, 2, 3], [], [2]))
    assert out.events.tolist() == [[1, 0], [0.5, 2], [1, 2], [0, 4]]
    assert out.users.tolist() == [[1, 2], [0, 0], [0, 4]]


@torch.no_grad()
@pytest.mark.parametrize("recency", ["fixed", "learned"])
def test_a_half_life_of_one_event_by_hand(make_batch, recency):
    encoder = build(recency=recency, half_life=1.0)
    set_items(encoder)
    # Weights 1/4, 1/2, 1: the sums are (.25 + 2, 2 + 2), the weights add up to 1.75.
    out = encoder(make_batch([1, 2, 3]))
    torch.testing.assert_close(out.users, torch.tensor([[2.25 / 1.75, 4 / 1.75]]))
    torch.testing.assert_close(out.events[1], torch.tensor([0.5 / 1.5, 4 / 1.5]))


@torch.no_grad()
@pytest.mark.parametrize(("recency", "half_life"), [("equal", math.inf), ("fixed", 10.0), ("learned", 10.0)])
def test_equals_the_loop_over_pairs(make_batch, recency, half_life):
    encoder = build(recency=recency, dim=5)
    users = [[1 + (7 * n + u) % 3 for n in range(length)] for u, length in enumerate([1, 2, 3, 8, 17, 64])]
    wanted = []
    for own in users:
        x = encoder.items(torch.tensor(own)).double()
        for last in range(len(own)):
            weight = torch.tensor([0.5 ** ((last - place) / half_life) for place in range(last + 1)])
            wanted.append((weight[:, None] * x[: last + 1]).sum(0) / weight.sum())
    found = encoder(make_batch(*users)).events
    torch.testing.assert_close(found, torch.stack(wanted).float(), atol=1e-5, rtol=1e-5)


def test_the_gradient_of_the_half_life_is_that_of_the_formula(make_batch):
    encoder = build(recency="learned", half_life=3.0)
    set_items(encoder)
    encoder(make_batch([1, 2])).users[0, 0].backward()
    # u = w / (1 + w), w = 2^(-1/h); du/dlog h = w' / (1 + w)^2 with dw/dlog h = w ln 2 / h.
    w = 0.5 ** (1 / 3)
    wanted = w * math.log(2) / 3 / (1 + w) ** 2
    assert encoder.log_half_life.grad.item() == pytest.approx(wanted, rel=1e-5)


@torch.no_grad()
def test_large_neighbours_leave_no_rounding_behind(make_batch):
    encoder = build()
    set_items(encoder)
    encoder.items.weight[3] = 1e30
    assert torch.equal(encoder(make_batch([3], [1, 2])).users[1], encoder(make_batch([1, 2])).users[0])


def test_ten_thousand_events_of_one_user(make_batch):
    encoder = build(recency="fixed", max_history=10_000)
    set_items(encoder)
    with torch.no_grad():
        out = encoder(make_batch([1] * 10_000))
    torch.testing.assert_close(out.users, torch.tensor([[1.0, 0.0]]))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"half_life": 3.0}, "no half_life with recency=equal"),
        ({"half_life": 0.0, "recency": "fixed"}, "half_life"),
        ({"recency": "squared"}, "recency"),
    ],
)
def test_values_that_cannot_be_are_refused(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        MeanPoolConfig().override(changes)


@torch.no_grad()
@pytest.mark.parametrize("scored", [False, True])
def test_item_features_are_part_of_the_items_that_are_read_and_perhaps_of_those_that_are_scored(
    make_batch, scored
):
    codes = torch.tensor([[0], [1], [2], [1]], dtype=torch.int32)
    inputs = {"item_features": ("kind",), "score_item_features": scored}
    config = MeanPoolConfig(dim=2, inputs=inputs, recency="fixed", half_life=1.0)
    encoder = config.build_for(Catalogue(3, (), (ItemFeature("kind", "codes", 2, 1, codes),))).eval()
    set_items(encoder)
    encoder.item_features.parts[0].weights.weight.copy_(torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 20.0]]))
    # What is read: (11, 0), (0, 24), (12, 2); weights 1/4, 1/2, 1.
    found = encoder(make_batch([1, 2, 3])).users
    torch.testing.assert_close(found, torch.tensor([[14.75 / 1.75, 14 / 1.75]]))
    scores = [[11.0, 0.0], [0.0, 24.0], [12.0, 2.0]] if scored else [[1.0, 0.0], [0.0, 4.0], [2.0, 2.0]]
    assert encoder.item_vectors().tolist() == scores
    assert (encoder.scored_features() is not None) == scored
    with pytest.raises(
        ConfigError, match=r"encoder\.inputs: expected a catalogue with event types and item features"
    ):
        config.build(3)
