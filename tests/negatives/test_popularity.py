import math

import numpy as np
import polars as pl
import pytest
import torch

from usermodel.events.readers import read_events
from usermodel.events.splits import LeaveLastOutConfig
from usermodel.negatives.popularity import Popularity, PopularityConfig
from usermodel.negatives.protocol import DrawContext
from usermodel.store.build import build_store

NOWHERE = DrawContext(torch.zeros(2, 3))


def test_log_q_is_that_of_the_normalised_power():
    sampler = Popularity(np.array([1.0, 16.0, 0.0, 81.0]), alpha=0.75)
    drawn = sampler.sample(torch.tensor([1, 2]), NOWHERE, n=500)
    powers = [1, 8, 1, 27]  # the count 0 is taken for 1
    expected = torch.tensor([math.log(powers[item - 1] / 37) for item in drawn.ids.tolist()])
    torch.testing.assert_close(drawn.log_q, expected)
    assert drawn.ids.unique().tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(("alpha", "expected"), [(0, [0.25] * 4), (1, [1 / 99, 16 / 99, 1 / 99, 81 / 99])])
def test_alpha_from_uniform_to_the_counts(alpha, expected):
    sampler = Popularity(np.array([1.0, 16.0, 0.0, 81.0]), alpha=alpha)
    found = sampler.log_q_of(torch.arange(1, 5), torch.tensor([1]), NOWHERE).exp()
    torch.testing.assert_close(found, torch.tensor(expected))


def test_events_of_their_own_and_no_probability_when_nobody_asks():
    drawn = Popularity(np.ones(4), shared=False).sample(torch.tensor([1, 2]), NOWHERE, n=5, log_q=False)
    assert drawn.ids.shape == (2, 5)
    assert drawn.log_q is None


def test_only_the_training_part_is_counted(tmp_path):
    """Each user's last event tests and the one before validates: of a, b, b, c only a and b are left."""
    frame = pl.DataFrame({"user_id": ["u"] * 4, "item_id": [*"abbc"], "timestamp": range(4)})
    store = build_store(read_events(frame, time_unit="order"), tmp_path / "store")
    sampler = PopularityConfig(alpha=1).build(store, store.split(LeaveLastOutConfig()))
    a, b, c = (int(store.vocabulary.encode(pl.Series([one]))[0]) for one in "abc")
    found = sampler.log_q_of(torch.tensor([a, b, c]), torch.tensor([1]), NOWHERE).exp()
    torch.testing.assert_close(found, torch.full((3,), 1 / 3))


def test_tables_are_no_part_of_checkpoints():
    """The store and the split decide them."""
    assert Popularity(np.ones(3)).state_dict() == {}
