"""The correction by log q, as benchmarks/quality/log_q.py measures it, on fewer items and draws."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "quality" / "log_q.py"


@pytest.fixture(scope="module")
def found():
    spec = importlib.util.spec_from_file_location("log_q", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.measure(6, (64, 512, 4096), 200)


@pytest.mark.parametrize("sampler", ["uniform", "popularity", "in-batch"])
def test_with_the_correction_the_error_falls_with_the_root_of_the_draws(found, sampler):
    row = found[f"{sampler}/corrected"]
    assert -0.55 < row["slope"] < -0.43
    assert row["error"]["4096"]["mean"] < 0.06


@pytest.mark.parametrize("sampler", ["popularity", "in-batch"])
def test_without_it_the_error_levels_off(found, sampler):
    row = found[f"{sampler}/uncorrected"]
    assert row["slope"] > -0.1
    assert row["error"]["4096"]["mean"] > 0.3


def test_a_constant_is_the_correction_of_uniform_draws(found):
    with_it, without = (found[f"uniform/{way}"]["error"] for way in ("corrected", "uncorrected"))
    assert [row["mean"] for row in without.values()] == pytest.approx(
        [row["mean"] for row in with_it.values()]
    )
