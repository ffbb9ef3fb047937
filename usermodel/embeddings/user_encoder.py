"""UserEncoder: a saved encoder that turns logs into a table of user vectors, keyed by the caller's own ids."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray

from usermodel import manifest
from usermodel.config import validate
from usermodel.embedding_table import EmbeddingTable
from usermodel.embeddings.blocks import How, blocks_of, encode_block, facts, stops
from usermodel.embeddings.export import Encode, ExportConfig, Exported, Plan, export
from usermodel.embeddings.inputs import as_sequences
from usermodel.embeddings.moments import Moment, moment
from usermodel.embeddings.workers import Task, encode_blocks
from usermodel.encoders import io
from usermodel.encoders.encode import BATCH_EVENTS
from usermodel.encoders.protocol import EncoderModule
from usermodel.errors import ConfigError, DataError
from usermodel.events.vocabulary import Vocabulary
from usermodel.schema import PLAUSIBLE, USER
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.sequences import Sequences

OnProgress = Callable[[int, int], None]


class UserEncoder:
    """An encoder, the items it knows, and the hash that ties its vectors to it.

    Attributes:
        module: The network.
        vocabulary: Item ids in the order of its item table.
        content_hash: Identity of the saved encoder; every table it makes carries it.
        path: Where it was loaded from.
        device: Where it computes.
    """

    def __init__(self, saved: io.SavedEncoder, path: Path, allow_modules: Sequence[str] = ()) -> None:
        self.module: EncoderModule = saved.module
        self.config = saved.config
        self.vocabulary: Vocabulary = saved.vocabulary
        self.content_hash = saved.content_hash
        self.path, self._allow_modules = path.resolve(), tuple(allow_modules)

    def __repr__(self) -> str:
        size = f"{len(self.vocabulary):,} items, width {self.module.dim}, reads {self.module.max_history:,} events"
        return f"UserEncoder({type(self.module).__name__}: {size}, {self.content_hash[:12]})"

    @staticmethod
    def load(
        path: str | os.PathLike[str], *, device: str = "cpu", allow_modules: Sequence[str] = ()
    ) -> UserEncoder:
        """Load a run or its ``encoder/`` folder; no training data is needed.

        Args:
            path: Folder.
            device: Where to compute.
            allow_modules: Modules outside usermodel whose classes the saved configuration may name.
        """
        return UserEncoder(
            io.load(Path(path), device=device, allow_modules=allow_modules), Path(path), allow_modules
        )

    def save_pretrained(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Copy the encoder folder: configuration, weights, vocabulary and card, all that `load` needs.

        Raises:
            MismatchError: The folder it was loaded from has changed since.
        """
        source = self.path / "encoder" if (self.path / "encoder").is_dir() else self.path
        found = manifest.read(source, io.KIND, verify=True)
        if found.content_hash != self.content_hash:
            raise io.changed(source, self.content_hash, found.content_hash)
        with manifest.write_directory(Path(path), io.KIND, overwrite=overwrite) as draft:
            for name in found.files:
                (draft.path / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(source / name, draft.path / name)
            draft.meta.update(found.meta)
        if (source / io.CARD).is_file():
            io.write_card(Path(path), (source / io.CARD).read_text(encoding="utf-8"))

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.module.parameters()).device

    def encode(
        self,
        source: Any,
        *,
        users: Iterable[str] | Iterable[int] | None = None,
        as_of: Moment | None = None,
        normalize: bool = False,
        batch_events: int = BATCH_EVENTS,
        processes: int = 1,
        on_progress: OnProgress | None = None,
        reading: Mapping[str, Any] | None = None,
    ) -> EmbeddingTable:
        """Embed users, whether or not the encoder has seen them, from all their events, held-out ones included.

        Events of unknown items are skipped: the encoder reads the latest ``max_history`` events that it knows. A user of
        whom nothing is known gets a vector of zeros and ``is_cold``.

        Args:
            source: A store, an `EventLog`, a polars or pandas frame, or the path of any of these on disk; one history as
                a list of (item, time) pairs, whose user is ``"user"``; or ``{user: [(item, time), ...]}``. Times of pairs
                are datetimes with a zone, or any 64-bit integers: microseconds since 1970 UTC. A store must extend the
                encoder's vocabulary; of everything else, items are found by id.
            users: External ids; None means everyone, in the order of the store, or sorted for logs and frames.
            as_of: Embed everyone as they were then, from the events before that time: a datetime or ISO-8601 text with a
                zone, or a number in the unit of the store's times.
            normalize: Scale vectors to length 1. Their inner products with item vectors are then no longer the scores
                of training, but rank the items of one user alike.
            batch_events: Events per forward pass, about.
            processes: Processes that encode, each with its share of the threads; needs a store. Whoever asks for several
                in a script guards it by ``if __name__ == "__main__":``.
            on_progress: Called with (users done, users in all).
            reading: Options of `read_events` for files and frames, such as ``{"user": "uid"}``.

        Returns:
            One row per user, with ``n_events`` (how many events the user has), ``n_unknown`` (how many of them are of
            unknown items), ``is_cold`` and ``prediction_time`` (one after the last event, or ``as_of``).

        Raises:
            MismatchError: A store of another vocabulary: an older one, or one that begins otherwise.
            ConfigError: The encoder reads a column that the source lacks.
            DataError: An id that is not there, or rows that are no events.
        """
        sequences = self._sequences(source, reading)
        rows = self._rows(sequences, users)
        how = self._how(sequences, as_of, normalize, batch_events, processes)
        return self._collect(sequences, rows, how, self._encode(sequences, how, processes), on_progress)

    def export(
        self,
        source: Any,
        out: str | os.PathLike[str],
        *,
        users: Iterable[str] | Iterable[int] | None = None,
        overwrite: bool = False,
        on_progress: OnProgress | None = None,
        reading: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Exported:
        """`encode` to disk, for more users than memory holds; item vectors lie beside them in a folder.

        Args:
            source: See `encode`.
            out: ``NAME.parquet`` or ``NAME.safetensors`` is one file of users; any other name is a folder.
            users: See `encode`.
            overwrite: Replace an older export.
            on_progress: Called with (users done, users in all).
            reading: See `encode`.
            **options: Fields of `ExportConfig`: ``format dtype normalize as_of since ids key processes batch_events``.

        Raises:
            OutputExistsError: ``out`` exists.
        """
        paths = {name: Path(options[name]) for name in ("since", "key") if options.get(name) is not None}
        config = validate(ExportConfig, options | paths)
        sequences = self._sequences(source, reading)
        how = self._how(sequences, config.as_of, config.normalize, config.batch_events)
        encode = self._encode(sequences, how, config.processes)
        plan = Plan(self.content_hash, self.items(), sequences, self._rows(sequences, users), how, encode)
        return export(plan, Path(out), config, overwrite=overwrite, on_progress=on_progress)

    def _collect(
        self,
        sequences: Sequences,
        rows: Int64[ndarray, " n"],
        how: How,
        encode: Encode,
        on_progress: OnProgress | None,
    ) -> EmbeddingTable:
        vectors, done = [], 0
        for block in encode(blocks_of(rows)):
            vectors.append(block)
            done += len(block)
            if on_progress is not None:
                on_progress(done, len(rows))
        stop = stops(sequences, rows, how.as_of)
        columns = facts(sequences, self.module.n_items, sequences.offsets[rows], stop, how.as_of)
        ids = sequences.users.decode(rows + 1).alias(USER)
        return EmbeddingTable(ids, np.concatenate(vectors), self.content_hash, columns)

    def _sequences(self, source: Any, reading: Mapping[str, Any] | None) -> Sequences:
        types = self.module.catalogue().event_types
        found = as_sequences(
            source, self.vocabulary, clock=self.config.reads_clock, event_types=types, reading=reading
        )
        if isinstance(found, SequenceStore):
            self.require(found)
        elif len(found.items):
            self.config.require(found)
        return found

    def _how(
        self,
        sequences: Sequences,
        as_of: Moment | None,
        normalize: bool,
        batch_events: int,
        processes: int = 1,
    ) -> How:
        for name, value in (("batch_events", batch_events), ("processes", processes)):
            if value < 1:
                raise ConfigError(name, expected="a whole number from 1", found=f"{value}", do="Correct it.")
        # Histories given as pairs may count time in any way; then only the unit of their own times tells.
        first = sequences.times[:1]
        calendar = sequences.time_kind == "utc" and bool(
            ((first >= PLAUSIBLE[0]) & (first <= PLAUSIBLE[1])).any()
        )
        then = None if as_of is None else moment(as_of, sequences.time_kind, calendar=calendar)
        return How(then, normalize, batch_events)

    def _rows(
        self, sequences: Sequences, users: Iterable[str] | Iterable[int] | None
    ) -> Int64[ndarray, " n"]:
        if users is None:
            return np.arange(sequences.n_users)
        asked = sequences.users.ids_of(users)
        if asked.n_unique() < len(asked):
            found = f"{asked.filter(asked.is_duplicated())[0]!r} again"
            raise DataError("users", expected="unique ids", found=found, do="Name each user once.")
        return sequences.users.rows(asked, str(sequences.path))

    def _encode(self, sequences: Sequences, how: How, processes: int) -> Encode:
        if processes == 1:
            return lambda blocks: (encode_block(self.module, sequences, rows, how) for rows in blocks)
        if not isinstance(sequences, SequenceStore):
            do = "Ingest it, or use one process."
            raise ConfigError(
                "processes",
                expected="a store, which every process can open",
                found=str(sequences.path),
                do=do,
            )
        threads = max(1, torch.get_num_threads() // processes)
        folder = self.path / "encoder" if (self.path / "encoder").is_dir() else self.path
        task = Task(folder, self.content_hash, sequences, str(self.device), self._allow_modules, threads)
        return lambda blocks: encode_blocks(task, blocks, how, processes)

    def items(self) -> EmbeddingTable:
        """Item vectors, in the space of the users: their inner product is the score."""
        with torch.no_grad():
            vectors = self.module.item_vectors().float().cpu().numpy().copy()
        return EmbeddingTable(
            self.vocabulary.ids.alias("item_id"), vectors, self.content_hash, name="item_id"
        )

    def require(self, store: SequenceStore) -> None:
        """Check that a store belongs to the encoder.

        Raises:
            MismatchError: An item, or an event type that the encoder reads, has another code; more of both may follow.
            ConfigError: The store lacks a column that the encoder reads.
        """
        self.vocabulary.require_extended_by(store.vocabulary, "the encoder", str(store.path))
        self.config.require(store)
        self.module.catalogue().require_event_types(store)

    def n_unknown_items(self, store: SequenceStore) -> int:
        """Items that the store has gained since the encoder was trained."""
        return max(0, store.n_items - len(self.vocabulary))
