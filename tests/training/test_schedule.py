import math

import pytest

from usermodel.training.recipe import TrainingConfig
from usermodel.training.schedule import planned_steps, rate


def rates(n: int, planned: int, **changes) -> list[float]:
    config = TrainingConfig(learning_rate=0.4, **changes)
    return [rate(config, step, planned) for step in range(n)]


def test_values_by_hand():
    assert rates(5, 0, warmup_steps=4) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])
    assert rates(6, 4, schedule="linear") == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.0, 0.0])
    assert rates(5, 6, schedule="linear", warmup_steps=2) == pytest.approx([0.2, 0.4, 0.4, 0.3, 0.2])
    half = 0.2 * math.sqrt(2)
    assert rates(5, 4, schedule="cosine") == pytest.approx([0.4, 0.2 + half / 2, 0.2, 0.2 - half / 2, 0.0])


def test_a_warm_up_longer_than_the_run_is_all_there_is():
    assert rates(3, 3, schedule="cosine", warmup_steps=8) == pytest.approx([0.05, 0.1, 0.15])
    assert rates(3, 2, schedule="linear", warmup_steps=2) == pytest.approx([0.2, 0.4, 0.4])


def test_planned_steps_are_those_of_the_epochs_or_the_limit_whichever_is_less():
    assert planned_steps(TrainingConfig(max_epochs=3), 7) == 21
    assert planned_steps(TrainingConfig(max_epochs=3, max_steps=20), 7) == 20
    assert planned_steps(TrainingConfig(max_epochs=3, max_steps=22), 7) == 21
