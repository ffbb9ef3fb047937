"""The published figures of ICSRec, from its official weights through our converter, encoders and evaluator."""

import os
from pathlib import Path

import pytest

from usermodel.benchmark.evaluate import evaluate
from usermodel.events.readers import read_events
from usermodel.store.build import build_store
from usermodel.training.convert import convert

pytestmark = [pytest.mark.data, pytest.mark.checkpoints]


@pytest.fixture(scope="module")
def beauty(data_dir, tmp_path_factory):
    log = read_events(data_dir / "amazon-beauty" / "Beauty.txt.gz", format="sequences")
    return build_store(log, tmp_path_factory.mktemp("parity") / "store")


@pytest.mark.parametrize(
    ("model", "hits", "ndcg"),
    [
        ("sas", [1560, 2146, 2902], [0.049435, 0.057851, 0.066343]),
        ("gru", [1150, 1653, 2268], [0.036425, 0.043673, 0.050609]),
    ],
)
def test_the_official_weights_give_their_published_figures(beauty, tmp_path, model, hits, ndcg):
    file = Path(os.environ["USERMODEL_CHECKPOINTS_DIR"]) / f"icsrec-{model}-beauty.safetensors"
    found = {one.metric: one for one in evaluate(convert(file, beauty, tmp_path / "run"), beauty)}
    assert found["mrr"].n == 22_363
    counts = [found[f"hit@{k}"].value * found["mrr"].n for k in (5, 10, 20)]
    assert counts == pytest.approx(hits, abs=2)
    assert [found[f"ndcg@{k}"].value for k in (5, 10, 20)] == pytest.approx(ndcg, abs=1e-4)
