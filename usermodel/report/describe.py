"""What a log, store, run, embedding table or index holds, as facts and distributions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy import ndarray

from usermodel import manifest
from usermodel.embeddings.files import KIND as EMBEDDINGS
from usermodel.errors import ConfigError
from usermodel.events.event_log import EventLog
from usermodel.heads import io as heads
from usermodel.report.description import Description, spread
from usermodel.report.embeddings import describe_embeddings
from usermodel.schema import ITEM, TIME, USER, feature_names, has_codes
from usermodel.store.sequence_store import SequenceStore
from usermodel.training.run import Run

#: Answers of a head that are shown.
_ANSWERS: Final = 20


def describe(path: str | Path, store: SequenceStore | None = None) -> Description:
    """Describe any artefact of this package.

    Args:
        path: The artefact.
        store: For embeddings: what they were made from, for the figures that need events.

    Raises:
        MissingError: Nothing there, or nothing of ours.
        ConfigError: A store for something that is no folder of embeddings.
        NumericError: An embedding is not finite.
    """
    found = manifest.read(path)
    if found.kind == EMBEDDINGS:
        description = describe_embeddings(Path(path), found, store)
    elif store is not None:
        do = "Name embeddings, or leave the store out."
        raise ConfigError("--store", expected=f"it beside {EMBEDDINGS}", found=f"a {found.kind}", do=do)
    else:
        description = _TELL.get(found.kind, _plain)(Path(path), found)
    return replace(description, facts=description.facts | {"content_hash": found.content_hash})


def _plain(path: Path, found: manifest.Manifest) -> Description:
    del path
    return Description(
        found.kind, {key: value for key, value in found.meta.items() if not isinstance(value, list)}
    )


def _store(path: Path, found: manifest.Manifest) -> Description:
    del found
    store = SequenceStore.open(path, verify=True)
    lengths, counts = np.diff(store.offsets), np.bincount(store.items, minlength=store.n_items + 1)[1:]
    facts = {
        key: store.meta[key]
        for key in ("n_users", "n_items", "n_events", "time_kind", "user_type", "item_type", "features")
    }
    facts["columns"] = {name: _column(store, name) for name in store.features}
    facts |= spread("history_length", lengths) | spread("item_events", counts)
    facts["item_events_share_of_top_1_percent"] = _top_share(counts)
    if store.time_kind == "utc":
        facts |= {"first_event": _clock(int(store.times.min())), "last_event": _clock(int(store.times.max()))}
    facts |= {
        "k_core": store.meta["k_core"],
        "rows": store.meta["rows"],
        "fitted_on": store.meta["fitted_on"],
    }
    facts["suggested_split"] = _advice(store)
    return Description("store", facts, {"events per user": _bars(lengths), "events per item": _bars(counts)})


def _column(store: SequenceStore, name: str) -> dict[str, Any]:
    """Kind, number of events that have a value, share of those that have none; and what the values are."""
    values = store.feature(name)
    coded = has_codes(name, store.context)
    known = values > 0 if coded else ~np.isnan(values) if values.dtype.kind == "f" else values != -1
    n = int(known.sum())
    facts = {
        "kind": store.context.get(name, "categorical" if coded else "numeric"),
        "n_values": n,
        "share_missing": round(1 - n / len(values), 6),
    }
    if coded:
        return facts | {"n_categories": len(store.categories(name))}
    there = values[known]
    spread = {"min": there.min, "mean": lambda: there.mean(dtype=np.float64), "max": there.max}
    return facts | ({key: round(float(look()), 6) for key, look in spread.items()} if n else {})


def _advice(store: SequenceStore) -> str:
    if store.time_kind == "order":
        return "leave-last-out (the store knows an order and no times, so global-time is refused)"
    days = (int(store.times.max()) - int(store.times.min())) / 86_400e6
    if days < 7:
        return f"leave-last-out (the log spans {days:.1f} days: too short for a cut in time)"
    production = "global-time" if days < 60 else "global-time or rolling"
    return f"leave-last-out to compare methods with papers; {production} ({days:.0f} days) for what you would see in production; user-split for new users"


def _log(path: Path, found: manifest.Manifest) -> Description:
    log = EventLog.open(path) if found.kind == "event-log" else None
    frame = pl.scan_parquet(path / "events.parquet") if log is None else log.frame
    names = feature_names(frame.collect_schema().names(), {} if log is None else log.context)
    users = frame.group_by(USER).len().collect(engine="streaming")["len"].to_numpy()
    items = frame.group_by(ITEM).len().collect(engine="streaming")["len"].to_numpy()
    span = frame.select(pl.col(TIME).min().alias("a"), pl.col(TIME).max().alias("b")).collect()
    facts: dict[str, Any] = {"n_users": len(users), "n_items": len(items), "n_events": int(users.sum())}
    counts = frame.select(pl.col(names).count()).collect(engine="streaming")
    facts["columns"] = {
        name: {
            "n_values": counts[name][0],
            "share_missing": round(1 - counts[name][0] / facts["n_events"], 6),
        }
        for name in names
    }
    facts |= spread("history_length", users) | spread("item_events", items)
    if found.meta.get("time_kind", "utc") == "utc":
        facts |= {"first_event": _clock(span["a"][0]), "last_event": _clock(span["b"][0])}
    return Description(found.kind, facts, {"events per user": _bars(users), "events per item": _bars(items)})


def _run(path: Path, found: manifest.Manifest) -> Description:
    run = Run.open(path)
    facts = {key: value for key, value in found.meta.items() if key not in {"store", "versions"}}
    facts |= {
        "store": found.meta["store"]["path"],
        "recipe": run.recipe.to_dict(),
        "versions": found.meta["versions"],
    }
    if (path / "head").is_dir():
        answers = heads.load(path / "head").answers
        facts["head"] = {"n_answers": len(answers), "answers": list(answers[:_ANSWERS])}
    losses = [(f"epoch {int(row['epoch'])}", round(1000 * row["loss"])) for row in run.history()]
    step = max(1, len(losses) // 12)
    return Description("run", facts, {"training loss x 1000": losses[::step]})


_TELL: Final[dict[str, Callable[[Path, manifest.Manifest], Description]]] = {
    "store": _store,
    "event-log": _log,
    "simulated-logs": _log,
    "run": _run,
}


def _top_share(counts: ndarray) -> float:
    top = np.sort(counts)[::-1][: max(1, len(counts) // 100)]
    return round(float(top.sum() / max(counts.sum(), 1)), 4)


def _bars(values: ndarray) -> list[tuple[str, int]]:
    """Counts in powers of two: logs are heavy-tailed, and equal bins would show one bar."""
    group = np.floor(np.log2(np.maximum(values, 1))).astype(int)
    counts = np.bincount(group)
    return [
        (f"{2**k}" if k == 0 else f"{2**k} - {2 ** (k + 1) - 1}", int(n))
        for k, n in enumerate(counts)
        if k >= group.min()
    ]


def _clock(microseconds: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)).isoformat()
