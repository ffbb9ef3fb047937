"""The page that the demo ends in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from usermodel.benchmark.demo_tasks import TaskGain
from usermodel.embedding_table import EmbeddingTable
from usermodel.report.advice import Finding
from usermodel.report.embeddings_page import health_section
from usermodel.report.figures import embedding_map, metric_bars
from usermodel.report.html import Code, Definitions, Figure, Section, Table, Text, write_report
from usermodel.report.project import map_neighbours
from usermodel.report.run_page import training_section
from usermodel.tasks.protocol import TaskResult
from usermodel.training.run import Run
from usermodel.version import VERSION

METRICS = ("hit@5", "ndcg@5", "hit@10", "ndcg@10", "hit@20", "ndcg@20", "mrr")


@dataclass(frozen=True)
class DemoNumbers:
    """What the page shows.

    Attributes:
        scores: Method -> results of the next-item task.
        ceiling: Metrics of the scorer that knows the planted truth.
        tasks: What the vectors add to other tasks.
        recommendations: Top items of some users, with titles.
        seconds: Stage -> wall time.
        health: Figures about the vectors.
    """

    scores: Mapping[str, Sequence[TaskResult]]
    ceiling: Mapping[str, float]
    tasks: Sequence[TaskGain]
    recommendations: pl.DataFrame
    seconds: Mapping[str, float]
    health: Sequence[Finding]


def write_demo_report(
    path: Path, numbers: DemoNumbers, run: Run, users: EmbeddingTable, intents: pl.DataFrame
) -> None:
    """Write ``report.html``.

    Args:
        path: The file.
        numbers: Scores, recommendations, times.
        run: The pretraining run.
        users: User vectors.
        intents: Planted truth: columns ``user_id`` and ``intent``, the active one at the user's last event.
    """
    value = {name: {one.metric: one.value for one in found} for name, found in numbers.scores.items()}
    ours, most_popular = value["pretrained encoder"]["ndcg@10"], value["popularity"]["ndcg@10"]
    lead = (
        f"On simulated logs the pretrained encoder ranks the next item with NDCG@10 {ours:.3f}, "
        f"{ours / most_popular:.1f} times popularity ({most_popular:.3f}); whoever knows the planted truth reaches "
        f"{numbers.ceiling['ndcg@10']:.3f}."
    )
    sections = [
        _comparison(numbers),
        _tasks(numbers),
        training_section(run),
        _map(users, intents),
        health_section(users, numbers.health),
        _recommendations(numbers),
        _making(numbers, run),
    ]
    footer = f"usermodel {VERSION}. Made by: usermodel demo --seed {run.recipe.training.seed}"
    write_report(path, "usermodel demo", lead, sections, footer=footer)


def _comparison(numbers: DemoNumbers) -> Section:
    bars = []
    for name, found in numbers.scores.items():
        main = next(one for one in found if one.metric == "ndcg@10")
        bars.append((name, main.value, main.low, main.high))
    reference = {"knows the planted truth": numbers.ceiling["ndcg@10"]}
    rows = [[name, *(one.value for one in found)] for name, found in numbers.scores.items()]
    rows.append(["knows the planted truth", *(numbers.ceiling[name] for name in METRICS)])
    definitions = {one.metric: one.definition for one in next(iter(numbers.scores.values()))}
    return Section(
        "Which item comes next?",
        "One target per user, the last event; every item is a candidate; what a user already took is left out.",
        [
            Figure(
                metric_bars(bars, "ndcg@10", highlight=["pretrained encoder"], references=reference),
                "NDCG@10 with 95 % intervals over users.",
                "Bars of NDCG@10 for a random encoder, popularity, item-kNN and the pretrained encoder.",
            ),
            Table(
                ["method", *METRICS],
                rows,
                "Next-item metrics, test targets",
                "The last row is the best any scorer can do.",
            ),
            Definitions(definitions),
        ],
    )


def _tasks(numbers: DemoNumbers) -> Section:
    bars = [
        (f"{one.task}, {name}", row.value, row.low, row.high)
        for one in numbers.tasks
        for name, row in (("without vectors", one.without), ("with vectors", one.with_vectors))
    ]
    rows = [[one.task, one.metric, one.without.value, one.with_vectors.value] for one in numbers.tasks]
    marked = [name for name, *_ in bars if name.endswith("with vectors")]
    return Section(
        "What else are the vectors for?",
        "Will a shown item be clicked, how long is it watched, which device does a user have: the same small head without the "
        "user's vector and with it. Without vectors, the device is always the most frequent one.",
        [
            Figure(
                metric_bars(bars, "AUC, XAUC, accuracy", highlight=marked, references={}),
                "With 95 % intervals over users.",
                "Bars of AUC of clicks, XAUC of watch time and accuracy of the device, without user vectors and with them.",
            ),
            Table(["task", "metric", "without vectors", "with vectors"], rows, "Other tasks, test rows"),
            Definitions({one.metric: one.with_vectors.definition for one in numbers.tasks}),
        ],
    )


def _map(users: EmbeddingTable, intents: pl.DataFrame) -> Section:
    view = map_neighbours(users.to_numpy())
    joined = users.ids.to_frame().join(intents, on="user_id", how="left", maintain_order="left")
    labels = [f"intent {value}" for value in joined["intent"].gather(view.rows).to_list()]
    return Section(
        "A map of the users",
        "Each dot is a user vector, coloured by the intent planted behind the user's last event, which the encoder has never seen.",
        [
            Figure(
                embedding_map(view.points, labels, "User embeddings by planted intent", axes_names=("", "")),
                view.caption,
                "Scatter plot of user embeddings in two dimensions, coloured by planted intent.",
            )
        ],
    )


def _recommendations(numbers: DemoNumbers) -> Section:
    columns = ["user_id", "rank", "item_id", "title", "category", "score"]
    rows = numbers.recommendations.select(columns).rows()
    return Section(
        "Recommendations",
        "Five items for three users, from the FAISS index.",
        [Table(columns, rows, "Top items")],
    )


def _making(numbers: DemoNumbers, run: Run) -> Section:
    rows = [[stage, seconds] for stage, seconds in numbers.seconds.items()]
    commands = """usermodel simulate -o logs
usermodel ingest logs/events.parquet -o store --event-type event_type --watch-time watch_time_ms --duration duration_ms \\
  --impressions logs/impressions.parquet --users-table logs/users.parquet
usermodel pretrain store -o run
usermodel embed run store -o vectors
usermodel describe vectors --store store
usermodel index run -o index
usermodel recommend run store --users u000000 -k 5
usermodel evaluate run store
usermodel evaluate run store --task all"""
    return Section(
        "How this was made",
        f"On {run.meta['hardware']}.",
        [
            Table(["stage", "seconds"], rows, "Wall time of each stage"),
            Text("The same road by hand; 'usermodel COMMAND --help' tells more:"),
            Code(commands),
        ],
    )
