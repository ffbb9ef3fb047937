import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from usermodel.errors import ConfigError
from usermodel.training.checkpoint import State
from usermodel.training.recipe import TrainingConfig
from usermodel.training.schedule import count, planned_steps, rate, require_effect


def rates(n: int, planned: int, drops: int = 0, **changes) -> list[float]:
    config = TrainingConfig(learning_rate=0.4, **changes)
    return [rate(config, step, planned, drops) for step in range(n)]


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


def test_drops_lower_the_whole_rate_and_that_of_the_warm_up():
    plateau = {"schedule": "plateau", "warmup_steps": 2}
    assert rates(3, 0, 0, **plateau) == pytest.approx([0.2, 0.4, 0.4])
    assert rates(3, 0, 1, **plateau) == pytest.approx([0.04, 0.08, 0.08])
    assert rates(3, 0, 2, **plateau, plateau_factor=0.5) == pytest.approx([0.05, 0.1, 0.1])


def drops_after(config: TrainingConfig, *values: float) -> list[tuple[int, int]]:
    """Drops and bad validations after each validation, as the loop counts them."""
    state, found = State(), []
    for value in values:
        count(config, state, value)
        state.best = value if state.best is None else max(state.best, value)
        found.append((state.drops, state.bad))
    return found


def test_drops_come_after_patience_and_end_by_hand():
    config = TrainingConfig(schedule="plateau", patience=2)
    drops, bad = zip(*drops_after(config, 1, 1, 2, 0, 2, 1, 3, 3, 3, 2, 1), strict=True)
    assert drops == (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2)
    assert bad == (0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 2)
    once = TrainingConfig(schedule="plateau", patience=1, plateau_drops=1)
    assert drops_after(once, 1, 1, 1) == [(0, 0), (1, 0), (1, 1)]
    assert drops_after(TrainingConfig(patience=1), 1, 1, 1) == [(0, 0), (0, 1), (0, 2)]


def test_a_small_improvement_counts_against_patience_by_hand():
    config = TrainingConfig(patience=9, min_improvement=0.1)
    bad = [count for _, count in drops_after(config, 1.0, 1.05, 1.1, 1.22, 1.34, 0.5)]
    # 1.1 is not 1.05 + 10 %; 1.22 is more than 1.1 + 10 %, and 1.34 is 1.22 + 9.8 %.
    assert bad == [0, 1, 2, 0, 1, 2]
    # Of a negative metric the share is of its size.
    assert [count for _, count in drops_after(config, -1.0, -0.95, -0.8)] == [0, 1, 0]
    assert drops_after(TrainingConfig(), 0.0, 0.0)[1] == (0, 1)


@given(st.lists(st.integers(0, 8), max_size=40), st.integers(1, 4))
def test_rates_are_those_of_pytorch(metrics, patience):
    """Whose patience is the number of bad validations that are still borne."""
    config = TrainingConfig(
        schedule="plateau", learning_rate=0.4, patience=patience, plateau_factor=0.5, plateau_drops=40
    )
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
    peer = torch.optim.lr_scheduler.ReduceLROnPlateau(
        sgd, mode="max", factor=0.5, patience=patience - 1, threshold=0.0, eps=0.0
    )
    for value, (drops, _) in zip(metrics, drops_after(config, *metrics), strict=True):
        peer.step(value)
        assert rate(config, 0, 0, drops) == pytest.approx(sgd.param_groups[0]["lr"], rel=1e-9)


@pytest.mark.parametrize("option", [{"plateau_factor": 0.2}, {"plateau_drops": 2}])
def test_options_of_plateau_are_refused_elsewhere(option):
    require_effect(TrainingConfig(schedule="plateau", **option))
    ((name, value),) = option.items()
    found = f"expected no value without schedule=plateau; found {value} with schedule=cosine"
    with pytest.raises(ConfigError, match=rf"training\.{name}: {found}\. Drop it"):
        require_effect(TrainingConfig(schedule="cosine", **option))
