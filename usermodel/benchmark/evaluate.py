"""A run and a store -> task results."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, Unpack

import torch

from usermodel.embedding_table import DotScorer, EmbeddingTable
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.encoders.encode import encode
from usermodel.errors import MismatchError
from usermodel.retrieval.item_index import ItemIndex
from usermodel.schema import USER
from usermodel.store.append import GROWN_FROM
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.next_item import NextItem, NextItemOptions
from usermodel.tasks.protocol import TaskResult
from usermodel.training.run import Run


def evaluate(
    run: Run | str | os.PathLike[str],
    store: SequenceStore | str | os.PathLike[str],
    *,
    part: Literal["valid", "test"] = "test",
    index: str | os.PathLike[str] | None = None,
    allow_modules: Sequence[str] = (),
    on_progress: Callable[[int, int], None] | None = None,
    **options: Unpack[NextItemOptions],
) -> list[TaskResult]:
    """Score a run on the next-item task.

    Args:
        run: A finished run; its split decides the targets.
        store: The store it was trained on, or what that has grown into by ``append``.
        part: ``test`` or ``valid``.
        index: An index of the run's items, as the first of two stages: how much of the exact best it finds for these users
            comes after the metrics, as ``index_recall@10`` and ``@100``.
        allow_modules: Modules outside usermodel whose classes the run may name.
        on_progress: Called with (users encoded, users in all).
        **options: ``metrics``, ``by``, ``as_`` and ``interval`` of `NextItem`.

    Returns:
        One row per metric, then one per metric and group.

    Raises:
        ConfigError: Options that `NextItem` refuses.
        MismatchError: Another store, or cuts that move as a store grows: its targets may have been training data.
    """
    run = run if isinstance(run, Run) else Run.open(run, allow_modules=allow_modules)
    task = NextItem(part=part, split=run.recipe.data.split, **options)
    store = store if isinstance(store, SequenceStore) else SequenceStore.open(store)
    encoder = UserEncoder.load(run, allow_modules=allow_modules)
    encoder.require(store)
    require_untrained_targets(run, store)
    stage = None if index is None else ItemIndex.load(index, allow_modules=allow_modules)
    return evaluate_encoder(encoder, store, task, index=stage, on_progress=on_progress)


def require_untrained_targets(run: Run, store: SequenceStore) -> None:
    """Raise `MismatchError` unless no target of the store can have been one in training."""
    trained, split = run.meta["store"]["content_hash"], run.recipe.data.split
    if store.content_hash == trained:
        return
    if trained not in store.meta.get(GROWN_FROM, ()):
        expected = f"the store of the run ({trained[:12]}), or what it has grown into by append"
        found, do = (
            f"another one ({store.content_hash[:12]})",
            "Evaluate on the store the run was trained on.",
        )
        raise MismatchError(str(store.path), expected=expected, found=found, do=do)
    if not split.holds_when_grown:
        expected = (
            f"the store of the run ({trained[:12]}), because the cuts of {split.kind} move with new events"
        )
        found = f"one that has grown from it ({store.content_hash[:12]})"
        do = "Evaluate on the old store, or pretrain with a split whose cuts stay, such as leave-last-out."
        raise MismatchError(str(store.path), expected=expected, found=found, do=do)


def evaluate_encoder(
    encoder: UserEncoder,
    store: SequenceStore,
    task: NextItem,
    *,
    index: ItemIndex | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[TaskResult]:
    """Embed what the task asks for, as far as the encoder reads and knows it, and score it in float32."""
    module, n_unknown = encoder.module, encoder.n_unknown_items(store)
    task = dataclasses.replace(task, max_history=module.max_history, n_items=module.n_items)
    requests = task.requests(store)
    vectors = torch.from_numpy(encode(module, store, requests, on_progress=on_progress))
    items = torch.from_numpy(encoder.items().to_numpy())
    scorer = DotScorer(vectors, items, rows=requests.user, n_unknown=n_unknown)
    results = task.score(scorer, store, requests)
    if index is None:
        return results
    ids = store.users.decode(requests.user + 1).alias(USER)
    return results + _first_stage(index, EmbeddingTable(ids, vectors.numpy(), encoder.content_hash))


def _first_stage(index: ItemIndex, users: EmbeddingTable) -> list[TaskResult]:
    """Recall of an index against exact search; nothing is filtered, because filters are exact whatever the index."""
    card = (
        "share of the exact best {k} items that the index returns, nothing excluded; a result that is level with the last of "
        "them counts; mean over users"
    )
    return [
        TaskResult(f"index_recall@{k}", index.recall(users, k), len(users), None, None, card.format(k=k))
        for k in (10, 100)
    ]


def flat(results: list[TaskResult], **facts: Any) -> dict[str, Any]:
    """One flat object for machines: metric values beside ``n``, ``n_unknown_targets``, intervals and definitions.

    Rows of groups, if there are any, are under ``by`` and the name of the breakdown, lowest group first.
    """
    whole = [result for result in results if not result.by]
    values: dict[str, Any] = {result.metric: result.value for result in whole}
    intervals = {result.metric: [result.low, result.high] for result in whole}
    definitions = {result.metric: result.definition for result in whole}
    counts = {"n": max(result.n for result in whole), "n_unknown_targets": whole[0].n_unknown_targets}
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        if result.by:
            row = {key: value for key, value in result.row().items() if key not in ("by", "definition")}
            groups.setdefault(result.by, []).append(row)
    by = {"by": groups} if groups else {}
    return values | facts | counts | {"intervals": intervals, "definitions": definitions} | by


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
