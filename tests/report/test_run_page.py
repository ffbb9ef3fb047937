"""The page of a run: its curves, its recipe, and what is said when nothing was validated."""

import polars as pl
import pytest

from usermodel.events.readers import read_events
from usermodel.report.run_page import training_section, write_run_page
from usermodel.store.build import build_store
from usermodel.training.pretrain import pretrain
from usermodel.training.recipe import Recipe

SMALL = {
    "encoder.dim": 8,
    "encoder.hidden": 8,
    "encoder.layers": 1,
    "training.max_epochs": 2,
    "objective.class": "usermodel.objectives.packed_intents:PackedIntentsConfig",
}


@pytest.mark.parametrize("monitor", ["ndcg@10", "none"])
def test_the_page_of_a_run(tmp_path, monitor):
    rows = [(f"u{user}", f"i{(user + time) % 5}", time) for user in range(6) for time in range(6)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    store = build_store(read_events(frame, time_unit="order"), tmp_path / "store")
    run = pretrain(store, Recipe().override({**SMALL, "training.monitor": monitor}), tmp_path / "run")
    section = training_section(run)
    assert ("nothing was validated" in section.lead) == (monitor == "none")
    assert len(section.parts) == 2
    write_run_page(tmp_path / "page.html", run)
    page = (tmp_path / "page.html").read_text()
    for words in ("loss: coarse", "loss: fine", "training loss", "objective.clusters", "Run: run"):
        assert words in page
