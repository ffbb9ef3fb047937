"""User vectors to disk, for more users than memory holds: a block is encoded, written, and forgotten."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Float32, Int64
from numpy import ndarray
from pydantic import Field

from usermodel import manifest
from usermodel.config import Config
from usermodel.embedding_files.precision import Dtype, Loss, Stored, store
from usermodel.embedding_files.rows import Rows, Writer
from usermodel.embedding_files.table import SINGLE, Format, file_writer, open_writer
from usermodel.embedding_table import SUMS, EmbeddingTable
from usermodel.embeddings.blocks import How, blocks_of, facts, stops
from usermodel.embeddings.files import ITEMS, KIND, USERS
from usermodel.embeddings.keys import IdKey
from usermodel.embeddings.moments import Moment
from usermodel.embeddings.since import Earlier
from usermodel.encoders.encode import BATCH_EVENTS
from usermodel.errors import ConfigError, DataError
from usermodel.schema import USER
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.sequences import Sequences

OnProgress = Callable[[int, int], None]
UserBlock = Int64[ndarray, " block"]
#: Blocks of users by position -> their vectors, in order.
Encode = Callable[[Iterable[UserBlock]], Iterator[Float32[ndarray, "block dim"]]]


class ExportConfig(Config):
    """What is exported, and how it is written.

    Attributes:
        format: Format inside a folder: ``parquet`` (the default), ``npy`` or ``safetensors``; a name with a suffix says it itself.
        dtype: ``float32``, ``float16`` or ``int8``; the manifest says what it has cost.
        normalize: Scale vectors to length 1.
        as_of: Embed everyone as they were then, from the events before that time.
        since: An earlier export with the same options: only users with new events are encoded.
        ids: ``raw``, or ``hmac``: pseudonyms made with the key in the file ``key``.
        key: File with the key.
        processes: Processes that encode.
        batch_events: Events per forward pass, about.
    """

    format: Format | None = None
    dtype: Dtype = "float32"
    normalize: bool = False
    as_of: Moment | None = None
    since: Path | None = None
    ids: Literal["raw", "hmac"] = "raw"
    key: Path | None = None
    processes: int = Field(default=1, ge=1)
    batch_events: int = Field(default=BATCH_EVENTS, ge=1)


@dataclass(frozen=True)
class Plan:
    """Everything an export needs to know of its encoder.

    Attributes:
        encoder_hash: Identity of the encoder.
        items: Item vectors.
        sequences: Histories.
        rows: Users to embed, by position.
        how: What is asked of a vector.
        encode: Makes them.
    """

    encoder_hash: str
    items: EmbeddingTable
    sequences: Sequences
    rows: Int64[ndarray, " n"]
    how: How
    encode: Encode


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: Where.
        n_users: Users in the export.
        n_encoded: Those of them that were encoded; the others were copied from an earlier export.
        meta: Facts of the manifest.
    """

    path: Path
    n_users: int
    n_encoded: int
    meta: dict[str, Any]


def export(
    plan: Plan,
    out: Path,
    config: ExportConfig,
    *,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> Exported:
    """Write the vectors of a plan, complete or not at all.

    Args:
        plan: What to embed.
        out: ``NAME.parquet`` or ``NAME.safetensors`` is one file of users; any other name a folder that holds the items too.
        config: How to write it; what ``plan`` already obeys is only noted.
        overwrite: Replace an older export.
        on_progress: Called with (users done, users in all).
    """
    key = _key(config)
    if out.suffix in {".npy", ".csv", ".json"}:
        do = "Name a .parquet or .safetensors file, or a folder with --format npy: ids need a file of their own there."
        raise DataError(
            str(out),
            expected="NAME.parquet, NAME.safetensors or a folder",
            found=f"the suffix {out.suffix}",
            do=do,
        )
    suffix = out.suffix.lower()
    if config.format and suffix in SINGLE and suffix != f".{config.format}":
        found, do = f"the name {out.name}", "Name a folder, or drop --format."
        raise ConfigError("--format", expected=f"a name that fits {config.format}", found=found, do=do)
    manifest.refuse_existing(out, KIND, overwrite)
    wanted: dict[str, Any] = {
        "encoder_hash": plan.encoder_hash,
        "dtype": config.dtype,
        "normalize": config.normalize,
        "as_of": plan.how.as_of,
        "ids": config.ids,
        "time_kind": plan.sequences.time_kind,
    } | ({"key_check": key.check} if key else {})
    if isinstance(plan.sequences, SequenceStore):
        wanted["store_hash"] = plan.sequences.content_hash
    earlier = _earlier(plan, config, wanted)
    form = suffix[1:] if suffix in SINGLE else config.format or "parquet"
    with _drafted(out, config.format or "parquet", plan.items, overwrite) as (writer, meta):
        written = _Writing(plan, config.dtype, key, earlier, writer).run(on_progress)
        meta.update(wanted, **written, n_users=len(plan.rows), dim=plan.items.dim, format=form)
        n_encoded = meta.pop("n_encoded")
    return Exported(out, len(plan.rows), n_encoded, dict(meta))


def _key(config: ExportConfig) -> IdKey | None:
    if (config.ids == "hmac") != (config.key is not None):
        expected, found = (
            ("--key FILE", "none") if config.key is None else ("--ids hmac beside --key", "raw ids")
        )
        raise ConfigError("--ids", expected=expected, found=found, do="Give both, or neither.")
    return IdKey.read(config.key) if config.key else None


def _earlier(plan: Plan, config: ExportConfig, wanted: dict[str, Any]) -> Earlier | None:
    if config.since is None:
        return None
    if not isinstance(plan.sequences, SequenceStore):
        do = "Append the new events to the store: it remembers what it has grown from."
        raise ConfigError("--since", expected="a store", found=str(plan.sequences.path), do=do)
    return Earlier.open(config.since, plan.sequences, wanted)


@contextlib.contextmanager
def _drafted(
    out: Path, form: Format, items: EmbeddingTable, overwrite: bool
) -> Iterator[tuple[Writer, dict[str, Any]]]:
    if out.suffix.lower() in SINGLE:
        with manifest.write_file(out, KIND, overwrite=overwrite) as draft:
            yield file_writer(draft.path, out.suffix.lower()), draft.meta
        return
    with manifest.write_directory(out, KIND, overwrite=overwrite) as draft:
        draft.meta.update(items.write(open_writer(draft.path, ITEMS, form)))
        yield open_writer(draft.path, USERS, form), draft.meta


class _Writing:
    """The loop over blocks."""

    def __init__(
        self, plan: Plan, dtype: Dtype, key: IdKey | None, earlier: Earlier | None, writer: Writer
    ) -> None:
        self.plan, self.dtype, self.writer = plan, dtype, writer
        self.loss, self.earlier = Loss(), earlier
        self.rows, self.ids = plan.rows, plan.sequences.users.decode(plan.rows + 1).alias(USER)
        if key is not None:
            # In the order of their pseudonyms: that of the store would tell who they are.
            names = key.of(self.ids)
            order = names.arg_sort().to_numpy()
            self.rows, self.ids = plan.rows[order], names.gather(order)
        self.old = np.full(len(self.rows), -1)
        if earlier is not None:
            first = plan.sequences.offsets[self.rows]
            self.old = earlier.unchanged(self.ids, stops(plan.sequences, self.rows, plan.how.as_of) - first)
            self.loss.carry(int((self.old >= 0).sum()), earlier.meta.get("loss", {}))

    def run(self, on_progress: OnProgress | None) -> dict[str, Any]:
        """Write every block; returns the sums for the manifest."""
        sums = {"n_encoded": 0, **dict.fromkeys(SUMS.values(), 0)}
        done = 0
        # Blocks that are being encoded.
        waiting: deque[slice] = deque()

        def fresh() -> Iterator[UserBlock]:
            for places in blocks_of(np.arange(len(self.rows))):
                waiting.append(slice(places[0], places[-1] + 1) if len(places) else slice(0, 0))
                yield self.rows[places[self.old[places] < 0]]

        with self.writer:
            for vectors in self.plan.encode(fresh()):
                part = waiting.popleft()
                columns = self._facts(self.rows[part])
                self.writer.add(Rows(self.ids[part], columns, self._stored(self.old[part], vectors)))
                done += len(columns)
                sums["n_encoded"] += len(vectors)
                for column, name in SUMS.items():
                    sums[name] += int(columns[column].sum())
                if on_progress is not None:
                    on_progress(done, len(self.plan.rows))
        return sums | ({} if self.dtype == "float32" else {"loss": self.loss.facts()})

    def _facts(self, rows: UserBlock) -> pl.DataFrame:
        plan = self.plan
        stop = stops(plan.sequences, rows, plan.how.as_of)
        return facts(plan.sequences, len(plan.items), plan.sequences.offsets[rows], stop, plan.how.as_of)

    def _stored(self, old: Int64[ndarray, " block"], vectors: Float32[ndarray, "fresh dim"]) -> Stored:
        """Fresh vectors and copied ones, in the order of the block."""
        fresh = store(vectors, self.dtype)
        self.loss.add(vectors, fresh)
        if self.earlier is None or not (old >= 0).any():
            return fresh
        kept = self.earlier.take(old[old >= 0])
        values = np.empty((len(old), *kept.values.shape[1:]), dtype=kept.values.dtype)
        values[old < 0], values[old >= 0] = fresh.values, kept.values
        if kept.scale is None or fresh.scale is None:
            return Stored(values)
        scale = np.empty(len(old), dtype=np.float32)
        scale[old < 0], scale[old >= 0] = fresh.scale, kept.scale
        return Stored(values, scale)
