"""EventLog -> SequenceStore."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

import numpy as np
import polars as pl
import pyarrow as pa

from usermodel import manifest
from usermodel.errors import DataError
from usermodel.events.codes import take
from usermodel.events.event_log import Columnwise, EventLog
from usermodel.events.readers import read_events
from usermodel.events.rejects import QUARANTINE, write_quarantine
from usermodel.events.vocabulary import Vocabulary
from usermodel.schema import TIME, has_codes, is_coded
from usermodel.store.coding import Coded, Known, code_events
from usermodel.store.contents import Contents, categories_of, feature_columns, log_facts, row_counts
from usermodel.store.order import Grouped, by_time, by_user
from usermodel.store.sequence_store import KIND, SequenceStore
from usermodel.store.steps import BY_TIME, BY_USER, SEAL, SIDE_TABLES, OnStep, Steps, steps_of_a_build
from usermodel.store.table_input import SideTables, read_tables
from usermodel.store.tables import FOLDER, write_tables


def build_store(
    log: EventLog | Any,
    out: str | Path,
    *,
    min_user_events: int = 1,
    min_item_events: int = 1,
    vocabulary: SequenceStore | tuple[Vocabulary, Vocabulary] | None = None,
    overwrite: bool = False,
    on_progress: OnStep | None = None,
    **tables: Unpack[SideTables],
) -> SequenceStore:
    """Turn a log into memory-mapped per-user sequences.

    Args:
        log: An `EventLog`, or whatever `read_events` takes when its columns are named ``user_id item_id timestamp``.
        out: Folder to create.
        min_user_events: k-core: events every user must have after filtering.
        min_item_events: k-core: events every item must have after filtering.
        vocabulary: Users and items that keep their index, with or without events here: a pair of vocabularies, or an
            older store, whose categories and sessions then keep their codes too. New ones follow, sorted among themselves.
        overwrite: Replace a store that is already there.
        on_progress: Called as each step begins, with the steps done, the steps in all and its name; ends at the total.
        **tables: ``impressions= labels= items_table= users_table=``: frames, or paths of Parquet or CSV files in the
            types of `schema`. Rows about users or items that are not in the store are counted and left out.

    Returns:
        The opened store. The vocabulary and the k-core are fitted on all events, and the manifest says so.

    Raises:
        DataError: Nothing is left, or the ids are of another type than those of ``vocabulary``.
        OutputExistsError: ``out`` exists.
    """
    manifest.refuse_existing(out, KIND, overwrite)
    log = log if isinstance(log, EventLog) else read_events(log)
    core = (min_user_events, min_item_events)
    side = read_tables(tables, log.user_type, log.item_type, log.time_kind)
    steps = steps_of_a_build(log.features, tables=bool(side), watch=on_progress)
    events, coded, grouped, known = _read(log, core, vocabulary, steps)
    contents = _contents(log, events, coded, grouped, known, steps)
    with manifest.write_directory(out, KIND, overwrite=overwrite) as draft:
        contents.write(draft.path, steps)
        draft.meta.update(contents.facts(), **_facts(log, events.height, coded, core))
        if log.rejects:
            write_quarantine(log.rejects, draft.path / QUARANTINE)
        if side:
            steps.begin(SIDE_TABLES)
            draft.meta[FOLDER] = write_tables(side, coded.users, coded.items, draft.path)
        steps.begin(SEAL)
    steps.end()
    return SequenceStore.open(out)


def _facts(log: EventLog, n_rows: int, coded: Coded, core: tuple[int, int]) -> dict[str, Any]:
    """What the manifest says about the log and what became of its rows."""
    rounds = [list(one) for one in coded.rounds]
    coded_too = any(is_coded(name, log.context) for name in log.features)
    fitted = ["vocabulary", "k_core", *(["categories"] if coded_too else [])]
    return log_facts(log) | {
        "fitted_on": dict.fromkeys(fitted, "all"),
        "k_core": {"min_user_events": core[0], "min_item_events": core[1], "rounds": rounds},
        "rows": row_counts(log, n_rows, len(coded.item)),
    }


def _read(
    log: EventLog,
    core: tuple[int, int],
    vocabulary: SequenceStore | tuple[Vocabulary, Vocabulary] | None,
    steps: Steps,
) -> tuple[pl.DataFrame | Columnwise, Coded, Grouped, Known | None]:
    """Rows of the log, coded and grouped by user."""
    known = Known(*vocabulary) if isinstance(vocabulary, tuple) else None
    if isinstance(vocabulary, SequenceStore):
        known = Known(vocabulary.users, vocabulary.vocabulary, vocabulary.all_categories())
    # What the reader of a file has freed goes back to the system before the columns of the store take their place.
    pa.default_memory_pool().release_unused()
    events = log.rows()
    coded, user = code_events(events, core, known, steps)
    if not len(user):
        found = f"none of {events.height:,} after the {core[0]}/{core[1]}-core"
        do = "Lower --min-user-events and --min-item-events."
        if not events.height:
            found, do = "none", "Check the log and its filters."
        raise DataError(", ".join(log.sources), expected="at least one event", found=found, do=do)
    steps.begin(BY_USER)
    return events, coded, by_user(user, len(coded.users)), known


def _contents(
    log: EventLog,
    events: pl.DataFrame | Columnwise,
    coded: Coded,
    grouped: Grouped,
    known: Known | None,
    steps: Steps,
) -> Contents:
    """Rows by user and time. Ties in time stay in input order: it decides which event is the test target."""
    steps.begin(BY_TIME)
    times = by_time(grouped, coded.of_events(events[TIME].to_numpy()))
    item_index = take(coded.item, grouped.order)
    item_index += 1
    categories = {}
    for name in log.features:
        if has_codes(name, log.context):
            values = events[name] if coded.keep is None else events[name].filter(pl.Series(coded.keep))
            categories[name] = categories_of(values, known.categories.get(name) if known else None)
    rows = grouped.order
    if log.features and coded.keep is not None:
        rows = take(np.flatnonzero(coded.keep).astype(rows.dtype), rows)
    features = feature_columns(log, events, categories, rows)
    context = {name: kind for name, kind in log.context.items() if name in features}
    return Contents(
        coded.users, coded.items, grouped.offsets, item_index, times, features, categories, context
    )
