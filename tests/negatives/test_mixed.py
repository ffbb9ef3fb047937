import json

import numpy as np
import pytest
import torch

from usermodel.errors import ConfigError
from usermodel.negatives.category import Category
from usermodel.negatives.in_batch import InBatch, InBatchConfig
from usermodel.negatives.mixed import Mixed, MixedConfig
from usermodel.negatives.popularity import Popularity, PopularityConfig
from usermodel.negatives.protocol import DrawContext
from usermodel.negatives.uniform import Uniform, UniformConfig
from usermodel.negatives.unseen import Unseen
from usermodel.training.recipe import Recipe

COUNTS = np.array([6.0, 3.0, 0.0, 1.0])
CONTEXT = DrawContext(torch.zeros(4, 3))
POSITIVES = torch.tensor([1, 2, 1, 4])


def test_every_draw_has_the_probability_of_the_mixture():
    drawn = Mixed([InBatch(COUNTS), Uniform(4)], [0.5, 0.5]).sample(POSITIVES, CONTEXT, n=8)
    assert drawn.ids.shape == (8,)
    q = torch.tensor([0.0, 0.425, 0.275, 0.125, 0.175])  # half the frequency, and an eighth
    torch.testing.assert_close(drawn.log_q.exp(), q[drawn.ids])


def test_what_a_small_batch_lacks_is_missing_from_the_mixture():
    """Of 40 draws 20 are asked of a batch of 4: 4 and 20 are drawn, and the shares are those."""
    drawn = Mixed([InBatch(COUNTS), Uniform(4)], [0.5, 0.5]).sample(POSITIVES, CONTEXT, n=40)
    assert drawn.ids.shape == (24,)
    q = torch.tensor([0.0, 0.6, 0.3, 0.0, 0.1]) * 4 / 24 + 0.25 * 20 / 24
    torch.testing.assert_close(drawn.log_q.exp(), q[drawn.ids])


@pytest.mark.parametrize(
    ("n", "expected"), [(1, [0, 0, 1]), (10, [2, 3, 5]), (7, [1, 3, 3]), (1000, [200, 300, 500])]
)
def test_numbers_of_draws_follow_the_shares(n, expected):
    parts = [Uniform(4), Uniform(5), Uniform(6)]
    made = Mixed(parts, [0.2, 0.3, 0.5])
    counts = made._counts(n)
    assert [counts.get(part, 0) for part in parts] == expected


def test_a_part_with_a_law_for_each_event_makes_all_of_them_so():
    made = Mixed([Uniform(4), Category(np.array([0, 1, 1, 0]), share=1)], [0.25, 0.75])
    drawn = made.sample(POSITIVES, CONTEXT, n=4)
    assert drawn.ids.shape == (4, 4)
    same = torch.tensor([9, 0, 1, 1, 0])[drawn.ids] == torch.tensor([0, 1, 0, 0])[:, None]
    torch.testing.assert_close(drawn.log_q.exp(), 0.0625 + 0.375 * same)


def test_the_order_says_nothing_of_the_part():
    """Where a draw stands, it may come from either: the first place is as often of the one as of the other."""
    made = Mixed(
        [Popularity(np.array([1e12, 1.0]), alpha=1), Popularity(np.array([1.0, 1e12]), alpha=1)], [0.5, 0.5]
    )
    generator = torch.Generator().manual_seed(0)
    first = [int(made.sample(POSITIVES, CONTEXT, n=4, generator=generator).ids[0]) for _ in range(400)]
    assert 150 < first.count(1) < 250


def test_from_batch_if_a_part_is():
    assert Mixed([Uniform(4), InBatch(COUNTS)], [0.5, 0.5]).from_batch
    assert not Mixed([Uniform(4), Popularity(COUNTS)], [0.5, 0.5]).from_batch


def test_a_part_that_does_not_know_its_law_is_refused():
    none = np.zeros(0, dtype=np.int64)
    unseen, mixed = Unseen(none, none, 1, COUNTS), Mixed([Uniform(4)], [1.0])
    for part in (unseen, mixed):
        with pytest.raises(
            ConfigError, match=r"negatives.parts.1: expected a sampler that knows the probability"
        ):
            Mixed([Uniform(4), part], [0.5, 0.5])


@pytest.mark.parametrize("shares", [(1.0,), (0.5, 0.4), (1.0, 0.0), (1.5, -0.5)])
def test_shares_that_do_not_fit(shares):
    with pytest.raises(ConfigError, match="share"):
        MixedConfig.from_dict({"shares": shares})


def test_a_recipe_keeps_and_changes_its_parts():
    parts = (InBatchConfig(frequencies="streaming"), PopularityConfig(alpha=0.5), UniformConfig())
    recipe = Recipe(negatives=MixedConfig(parts=parts, shares=(0.5, 0.25, 0.25)))
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    changed = recipe.override({"negatives.parts.1.alpha": 0.25})
    assert changed.negatives.parts[1] == PopularityConfig(alpha=0.25)


def test_a_batch_without_targets_may_leave_nothing_to_mix():
    none = torch.zeros(0, dtype=torch.int64)
    drawn = Mixed([InBatch(COUNTS)], [1.0]).sample(none, CONTEXT, n=4)
    assert drawn.ids.shape == drawn.log_q.shape == (0,)
