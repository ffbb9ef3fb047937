"""The facts of a run, for the model card of its encoder."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from usermodel.encoders import io
from usermodel.encoders.card import CardFacts, Metric, card
from usermodel.encoders.protocol import EncoderModule
from usermodel.metrics import classification
from usermodel.metrics.definitions import definition
from usermodel.metrics.names import parse
from usermodel.store.sequence_store import SequenceStore
from usermodel.training.recipe import OF_CLASSES
from usermodel.training.run import Run


def write_card(
    run: Run, store: SequenceStore, encoder: EncoderModule, *, own_validation: bool = False
) -> None:
    """Write ``encoder/README.md`` of a run.

    No manifest lists it: whoever publishes the folder completes it, and seconds and hardware, which differ between two runs
    that made the same weights, are no part of the encoder's content.

    Args:
        run: Its meta complete, its metrics and its encoder on disk.
        store: What it was trained on.
        encoder: The module.
        own_validation: The caller measured validation metrics, by rules that only the caller knows.
    """
    trained = run.meta["epochs"] > 0
    facts = CardFacts(
        encoder=run.recipe.encoder.to_dict(),
        size={
            "vectors": f"{encoder.dim} numbers",
            "items": encoder.n_items,
            "parameters": run.meta["parameters"],
        },
        data=_data(run, store),
        recipe=run.recipe.to_dict() if trained else {},
        metrics=_metrics(run, own_validation),
        training=_training(run.meta) if trained else _versions(run.meta),
        origin=run.meta.get("converted_from", {}),
    )
    io.write_card(run.path / "encoder", card(facts))


def _data(run: Run, store: SequenceStore) -> dict[str, Any]:
    meta = store.meta
    k_core = f"{meta['k_core']['min_user_events']} events a user, {meta['k_core']['min_item_events']} an item"
    if store.time_kind == "utc" and store.n_events:
        times = f"{_day(int(store.times.min()))} to {_day(int(store.times.max()))} (UTC)"
    else:
        times = "an order of events, without times"
    return {
        "users": store.n_users,
        "items": store.n_items,
        "events": store.n_events,
        "times": times,
        "further columns": ", ".join(store.features) or "none",
        "at least (k-core)": k_core,
        "fitted on": ", ".join(f"{name} on {part}" for name, part in sorted(meta["fitted_on"].items())),
        "split": run.meta["split"],
        "store (content hash)": store.content_hash,
    }


def _metrics(run: Run, own_validation: bool) -> list[Metric]:
    """Metrics of the best epoch, the monitored one first."""
    best = [row for row in run.history() if row.get("epoch") == run.meta["best_epoch"]]
    measured = {
        name: value
        for row in best
        for name, value in row.items()
        if re.fullmatch(rf"(hit|ndcg|mrr)@\d+|mrr|{'|'.join(OF_CLASSES)}", name)
    }
    return [
        Metric(name, value, "validation", "" if own_validation else _definition(run, name))
        for name, value in (run.meta["best"] | measured).items()
    ]


def _definition(run: Run, name: str) -> str:
    if name in OF_CLASSES:
        return classification.DEFINITIONS[name]
    if run.recipe.sampling.draws_labels:
        return "rank of the choice among all things, the user's other choices left out; mean over choices"
    return definition(parse(name), part="valid")


def _training(meta: dict[str, Any]) -> dict[str, Any]:
    facts = {
        "loss": meta.get("loss", "not recorded"),
        "epochs": f"{meta['epochs']}, of which epoch {meta['best_epoch']} is kept",
        "steps": meta["steps"],
        "seconds": meta["seconds"],
        "hardware": meta["hardware"],
        "processes": meta["processes"],
        "precision": meta["precision"],
    }
    return facts | _versions(meta)


def _versions(meta: dict[str, Any]) -> dict[str, Any]:
    return {"versions": ", ".join(f"{name} {version}" for name, version in meta["versions"].items())}


def _day(microseconds: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)).date().isoformat()
