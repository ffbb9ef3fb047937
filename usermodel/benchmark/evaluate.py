"""A run and a store -> task results."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from usermodel.embedding_table import DotScorer
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.encoders.encode import encode
from usermodel.errors import MismatchError
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.next_item import NextItem
from usermodel.tasks.protocol import TaskResult
from usermodel.training.run import Run


def evaluate(
    run: Run | str | os.PathLike[str],
    store: SequenceStore | str | os.PathLike[str],
    *,
    part: Literal["valid", "test"] = "test",
    allow_modules: Sequence[str] = (),
    on_progress: Callable[[int, int], None] | None = None,
) -> list[TaskResult]:
    """Score a run on the next-item task.

    Args:
        run: A finished run; its split decides the targets.
        store: The store it was trained on.
        part: ``test`` or ``valid``.
        allow_modules: Modules outside usermodel whose classes the run may name.
        on_progress: Called with (users encoded, users in all).

    Returns:
        One row per metric.

    Raises:
        MismatchError: Another store: its targets may have been training data.
    """
    run = run if isinstance(run, Run) else Run.open(run, allow_modules=allow_modules)
    store = store if isinstance(store, SequenceStore) else SequenceStore.open(store)
    encoder = UserEncoder.load(run, allow_modules=allow_modules)
    encoder.require(store)
    trained = run.meta["store"]["content_hash"]
    if store.content_hash != trained:
        found, do = (
            f"another one ({store.content_hash[:12]})",
            "Evaluate on the store the run was trained on.",
        )
        raise MismatchError(
            str(store.path), expected=f"the store of the run ({trained[:12]})", found=found, do=do
        )
    task = NextItem(part=part, split=run.recipe.data.split, max_history=encoder.module.max_history)
    return evaluate_encoder(encoder, store, task, on_progress=on_progress)


def evaluate_encoder(
    encoder: UserEncoder,
    store: SequenceStore,
    task: NextItem,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[TaskResult]:
    """Embed what the task asks for and score it in float32."""
    requests = task.requests(store)
    vectors = torch.from_numpy(encode(encoder.module, store, requests, on_progress=on_progress))
    items = torch.from_numpy(encoder.items().to_numpy())
    return task.score(DotScorer(vectors, items, rows=requests.user), store, requests)


def flat(results: list[TaskResult], **facts: Any) -> dict[str, Any]:
    """One flat object for machines: metric values beside ``n``, intervals and definitions."""
    values: dict[str, Any] = {result.metric: result.value for result in results}
    intervals = {result.metric: [result.low, result.high] for result in results}
    definitions = {result.metric: result.definition for result in results}
    return values | facts | {"n": results[0].n, "intervals": intervals, "definitions": definitions}


def facts(run: Run, store: SequenceStore) -> dict[str, Any]:
    """What a number stands on: data, protocol, model size, seed, time, hardware."""
    keys = ("parameters", "epochs", "steps", "seconds", "best_epoch", "hardware", "versions")
    return {
        "protocol": run.meta["split"],
        "n_users": store.n_users,
        "n_items": store.n_items,
        "n_events": store.n_events,
        "store_hash": store.content_hash,
        "fitted_on": store.meta["fitted_on"],
        "seed": run.recipe.training.seed,
        **{key: run.meta[key] for key in keys},
    }
