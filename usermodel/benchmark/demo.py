"""The whole road on simulated logs: simulate, ingest, pretrain, embed, index, recommend, evaluate, other tasks, report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from usermodel.baselines.item_knn import ItemKnn
from usermodel.baselines.popularity import Popularity
from usermodel.baselines.untrained import untrained
from usermodel.benchmark.demo_report import DemoNumbers, write_demo_report
from usermodel.benchmark.demo_tasks import TaskGain, other_tasks
from usermodel.benchmark.evaluate import evaluate_encoder
from usermodel.embedding_table import EmbeddingTable
from usermodel.embeddings.files import save_tables
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.events.readers import read_events
from usermodel.events.simulate import SimulateConfig, simulate
from usermodel.recipes.autoregressive import next_item
from usermodel.report.health import health
from usermodel.retrieval.item_index import ItemIndex
from usermodel.store.build import build_store
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.next_item import NextItem
from usermodel.tasks.protocol import TaskResult
from usermodel.training.pretrain import pretrain
from usermodel.training.progress import OnProgress
from usermodel.training.recipe import Recipe
from usermodel.training.run import Run

#: Called with the name of a stage as it begins.
OnStage = Callable[[str], None]


@dataclass
class Demo:
    """What the demo leaves behind.

    Attributes:
        folder: ``logs/ store/ run/ users.parquet index/ report.html``.
        scores: Method -> metrics of the next-item task, worst first.
        ceiling: The same metrics of the scorer that knows the planted truth.
        tasks: What the vectors add to clicks, watch time and an attribute.
        recommendations: Top items of three users.
        seconds: Stage -> wall time.
    """

    folder: Path
    scores: dict[str, list[TaskResult]] = field(default_factory=dict)
    ceiling: dict[str, float] = field(default_factory=dict)
    tasks: list[TaskGain] = field(default_factory=list)
    recommendations: pl.DataFrame = field(default_factory=pl.DataFrame)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def report(self) -> Path:
        """The page to open."""
        return self.folder / "report.html"


def demo_recipe() -> Recipe:
    """The next-item recipe, cut to what two cores do in about a minute."""
    return next_item().override(
        {"training.max_epochs": 8, "training.patience": 3, "training.batch_events": 1024}
    )


def run_demo(
    folder: Path,
    *,
    config: SimulateConfig,
    recipe: Recipe,
    on_stage: OnStage | None = None,
    on_progress: OnProgress | None = None,
) -> Demo:
    """Walk the road.

    Args:
        folder: Where everything goes; must be empty.
        config: What to simulate.
        recipe: What to pretrain.
        on_stage: Told when a stage begins.
        on_progress: Progress of pretraining.
    """
    demo = Demo(folder)
    clock = _Clock(demo, on_stage)
    clock.begin("simulate")
    logs = simulate(config, folder / "logs")
    clock.begin("ingest")
    store = _ingest(logs, folder / "store")
    clock.begin("pretrain")
    run = pretrain(store, recipe, folder / "run", on_progress=on_progress)
    clock.begin("embed")
    encoder = UserEncoder.load(run)
    users = encoder.encode(store)
    save_tables(folder / "users.parquet", users, encoder.items())
    clock.begin("index")
    index = ItemIndex.build(run)
    index.save(folder / "index")
    clock.begin("recommend")
    demo.recommendations = _with_titles(index.recommend(_three(users), 5, exclude_seen=store), logs)
    clock.begin("evaluate")
    demo.scores = _compare(store, run, encoder)
    demo.ceiling = _ceiling(logs, store)
    clock.begin("tasks")
    demo.tasks = other_tasks(run, store)
    clock.begin("report")
    found = health(users, encoder.items(), store)
    numbers = DemoNumbers(demo.scores, demo.ceiling, demo.tasks, demo.recommendations, demo.seconds, found)
    write_demo_report(demo.report, numbers, run, users, _last_intent(logs))
    clock.end()
    return demo


def _ingest(logs: Path, folder: Path) -> SequenceStore:
    events = logs / "events.parquet"
    log = read_events(events, event_type="event_type", watch_time="watch_time_ms", duration="duration_ms")
    shown, users = logs / "impressions.parquet", logs / "users.parquet"
    return build_store(log, folder, impressions=shown, users_table=users)


class _Clock:
    def __init__(self, demo: Demo, on_stage: OnStage | None) -> None:
        self.demo, self.on_stage, self.stage, self.started = demo, on_stage, "", 0.0

    def begin(self, stage: str) -> None:
        self.end()
        self.stage, self.started = stage, time.monotonic()
        if self.on_stage is not None:
            self.on_stage(stage)

    def end(self) -> None:
        if self.stage:
            self.demo.seconds[self.stage] = time.monotonic() - self.started


def _last_intent(logs: Path) -> pl.DataFrame:
    """The planted intent behind each user's last event."""
    users = pl.read_parquet(logs / "events.parquet", columns=["user_id"])
    intents = pl.read_parquet(logs / "truth" / "events.parquet", columns=["intent"])
    return pl.concat([users, intents], how="horizontal").group_by("user_id", maintain_order=True).last()


def _three(users: EmbeddingTable) -> EmbeddingTable:
    rows = [0, len(users) // 2, len(users) - 1][: len(users)]
    return EmbeddingTable(
        users.ids.gather(rows), users.vectors[rows], users.encoder_hash, users.columns[rows]
    )


def _with_titles(rows: pl.DataFrame, logs: Path) -> pl.DataFrame:
    items = pl.read_parquet(logs / "items.parquet", columns=["item_id", "title", "category"])
    return rows.join(items, on="item_id", how="left", maintain_order="left")


def _compare(store: SequenceStore, run: Run, encoder: UserEncoder) -> dict[str, list[TaskResult]]:
    task = NextItem(split=run.recipe.data.split)
    labels, split = task.requests(store), store.split(run.recipe.data.split)
    return {
        "random encoder": evaluate_encoder(untrained(run, encoder), store, task),
        "popularity": task.score(Popularity.fit(store, split, labels), store, labels),
        "item-kNN": task.score(ItemKnn.fit(store, split, labels), store, labels),
        "pretrained encoder": evaluate_encoder(encoder, store, task),
    }


def _ceiling(logs: Path, store: SequenceStore) -> dict[str, float]:
    """Metrics of the scorer that knows the planted truth, from the ranks written by the simulator."""
    truth = pl.read_parquet(logs / "truth" / "next_item.parquet", columns=["user_id", "rank"])
    rank = (
        truth.filter(pl.col("user_id").is_in(store.users.ids.implode()))["rank"].to_numpy().astype(np.float64)
    )
    values: dict[str, float] = {}
    for k in (5, 10, 20):
        values |= {
            f"hit@{k}": float((rank <= k).mean()),
            f"ndcg@{k}": float(((rank <= k) / np.log2(rank + 1)).mean()),
        }
    return values | {"mrr": float((1 / rank).mean())}
