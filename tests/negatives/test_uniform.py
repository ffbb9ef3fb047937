import math

import pytest
import torch

from usermodel.negatives.protocol import DrawContext, Negatives
from usermodel.negatives.uniform import Uniform


@pytest.mark.parametrize(("shared", "shape"), [(True, (5,)), (False, (3, 5))])
def test_shape_and_probability(shared, shape):
    drawn = Uniform(8, shared=shared).sample(torch.tensor([1, 2, 3]), DrawContext(torch.zeros(3, 2)), n=5)
    assert drawn.ids.shape == shape
    assert drawn.is_shared == shared
    assert drawn.weight is None
    torch.testing.assert_close(drawn.log_q, torch.full(shape, math.log(1 / 8)))


def test_no_event_is_no_draw_of_its_own():
    drawn = Uniform(8, shared=False).sample(
        torch.zeros(0, dtype=torch.int64), DrawContext(torch.zeros(0, 2)), n=5
    )
    assert drawn.ids.shape == (0, 5)


def test_first_and_last_item_are_drawn():
    ids = Uniform(3).sample(torch.tensor([1]), DrawContext(torch.zeros(1, 2)), n=200).ids
    assert ids.unique().tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "wrong", [{"log_q": torch.zeros(3)}, {"weight": torch.ones(3)}, {"ids": torch.zeros(2)}]
)
def test_negatives_that_do_not_fit_together_are_refused(wrong):
    right = {"ids": torch.tensor([1, 2]), "log_q": torch.zeros(2), "weight": None}
    Negatives(**right)
    with pytest.raises(AssertionError):
        Negatives(**(right | wrong))
