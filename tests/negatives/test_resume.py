"""Runs with samplers that follow the encoder: resumed in the middle of an epoch, they go on with the same lists."""

import numpy as np
import polars as pl
import pytest

from usermodel.errors import InterruptedRunError
from usermodel.events.readers import read_events
from usermodel.negatives.cached_hard import CachedHardConfig
from usermodel.negatives.denoised import DenoisedConfig
from usermodel.negatives.hard import HardConfig
from usermodel.negatives.in_batch import InBatchConfig
from usermodel.negatives.mixed import MixedConfig
from usermodel.negatives.popularity import PopularityConfig
from usermodel.negatives.shown import ShownConfig
from usermodel.negatives.uniform import UniformConfig
from usermodel.negatives.without_false_negatives import WithoutFalseNegativesConfig
from usermodel.store.build import build_store
from usermodel.training.pretrain import pretrain
from usermodel.training.recipe import Recipe

CONFIGS = [
    HardConfig(candidates=8, top=2),
    CachedHardConfig(size=5),
    WithoutFalseNegativesConfig(source=CachedHardConfig(size=5), intents=4, seen=True),
    DenoisedConfig(dim=8),
    ShownConfig(),
    HardConfig(candidates=4, unseen=True),
    InBatchConfig(frequencies="streaming"),
    MixedConfig(
        parts=(InBatchConfig(frequencies="streaming"), UniformConfig(), PopularityConfig()),
        shares=(0.5, 0.25, 0.25),
    ),
]
SMALL = {
    "encoder.dim": 8,
    "encoder.hidden": 8,
    "encoder.layers": 1,
    "encoder.max_history": 8,
    "training.batch_events": 100,
    "training.max_epochs": 3,
    "training.learning_rate": 0.01,
    "objective.n_negatives": 6,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Each item is followed by the next one, three times out of four; others are shown."""
    rng, rows = np.random.default_rng(0), []
    for user in range(60):
        item = int(rng.integers(20))
        for time in range(int(rng.integers(3, 16))):
            rows.append((f"u{user:03d}", f"i{item:02d}", time))
            item = (item + 1) % 20 if rng.random() < 0.75 else int(rng.integers(20))
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    shown = frame.with_columns(pl.col("item_id").reverse(), clicked=pl.lit(value=False))
    folder = tmp_path_factory.mktemp("resume") / "store"
    return build_store(read_events(frame, time_unit="order"), folder, impressions=shown)


@pytest.mark.parametrize("loss", ["sampled-softmax", "bce"])
@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_a_run_learns_and_resumes_bit_for_bit(store, tmp_path, config, loss):
    recipe = Recipe(negatives=config).override(SMALL | {"objective.loss": loss})
    whole = pretrain(store, recipe, tmp_path / "whole")
    rows = whole.history()
    assert all(np.isfinite(row["loss"]) for row in rows)
    # Hard negatives of a better model are harder: the ranking has to improve, the loss need not fall.
    assert max(row["ndcg@10"] for row in rows[1:]) > 0.3
    steps = []

    def stop(progress):
        steps.append(progress)
        if len(steps) == 6:
            import signal

            signal.raise_signal(signal.SIGINT)

    with pytest.raises(InterruptedRunError):
        pretrain(store, recipe, tmp_path / "cut", on_progress=stop)
    pretrain(store, out=tmp_path / "cut", resume=True)
    ours, theirs = (
        (tmp_path / name / "encoder" / "model.safetensors").read_bytes() for name in ("cut", "whole")
    )
    assert ours == theirs
