"""ItemIndex: the best items for a user vector; what was seen, denied or not allowed is left out, exactly."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from usermodel import manifest
from usermodel.ann.base import Metric
from usermodel.embedding_table import EmbeddingTable
from usermodel.errors import DataError, IntegrityError, MismatchError, UserModelError
from usermodel.events.vocabulary import Vocabulary
from usermodel.retrieval import files
from usermodel.retrieval.allowed import allowed_by
from usermodel.retrieval.filtering import best
from usermodel.retrieval.rebuilding import KEPT, tell_and_write
from usermodel.retrieval.seen import Histories, Listed
from usermodel.retrieval.sources import around, has_users, items_of, sample_of
from usermodel.retrieval.tuning import Measured, recall
from usermodel.retrieval.vector_index import OnProgress, VectorIndex, Wish
from usermodel.store.sequence_store import SequenceStore

KIND = files.KIND


class ItemIndex:
    """Items searchable with user vectors.

    Attributes:
        search: Vectors and FAISS index; row p is item index p + 1 of the encoder.
        table: Item vectors by id.
        vocabulary: Item ids in that order.
        source: Run or embeddings folder the vectors came from.
        users_of: The store whose users it was tuned with; None when it was tuned otherwise.
    """

    def __init__(
        self, search: VectorIndex, table: EmbeddingTable, source: Path, users_of: Path | None = None
    ) -> None:
        self.search, self.table, self.source, self.users_of = search, table, source, users_of
        self.vocabulary = Vocabulary(table.ids.alias("id"))

    def __len__(self) -> int:
        return len(self.search)

    def __repr__(self) -> str:
        kind = self.search.index.kind
        return f"ItemIndex({kind}, {len(self):,} items of width {self.table.dim}, encoder {self.encoder_hash[:12]})"

    @property
    def encoder_hash(self) -> str:
        """The encoder whose vectors these are; users of another one are refused."""
        return self.table.encoder_hash

    @property
    def measured(self) -> Measured | None:
        """Recall and speed that tuning found; None for brute force."""
        return self.search.measured

    @staticmethod
    def build(
        source: str | os.PathLike[str],
        *,
        kind: str = "auto",
        metric: Metric = "inner-product",
        recall: float = 0.95,
        users: EmbeddingTable | SequenceStore | None = None,
        gpu: bool = False,
        on_progress: OnProgress | None = None,
        allow_modules: Sequence[str] = (),
    ) -> ItemIndex:
        """Index the items of a run, an encoder folder, or a folder made by ``usermodel embed``.

        Args:
            source: The folder.
            kind: ``flat``, ``sq8``, ``ivf-flat``, ``ivf-pq``, ``hnsw``, or ``auto``: flat up to 200,000 items, hnsw beyond.
            metric: ``inner-product``, the score of training, or ``cosine``.
            recall: Share of the exact best ten that an approximate kind is to find.
            users: Users that it is tuned with, because they lie elsewhere than items: their vectors, or a store, of which up to
                2,000 are embedded. None means the users of an embeddings folder, or, of a run, the items themselves.
            gpu: Search on a GPU.
            on_progress: Called with (items added, items in all).
            allow_modules: Modules outside usermodel whose classes the saved encoder may name.

        Raises:
            ConfigError: An unknown kind or metric, or no GPU.
            MismatchError: Users of another encoder.
        """
        path = Path(source)
        table = items_of(path, allow_modules)
        store = users if isinstance(users, SequenceStore) else None
        if isinstance(users, SequenceStore):
            users = sample_of(path, users, allow_modules)
        elif users is None and has_users(path):
            users = EmbeddingTable.load(path, "users")
        if users is not None:
            _require_same(users, table.encoder_hash, "build")
        queries = None if users is None or not len(users) else users.vectors
        search = VectorIndex.build(table.to_numpy(), Wish(kind, metric, recall, gpu), queries, on_progress)
        return ItemIndex(search, table, path, None if store is None else store.path)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the index.

        Args:
            path: ``NAME.faiss`` (any suffix) is the FAISS file alone, which finds its vectors in ``source``; a folder also
                holds ids and vectors and needs nothing else.
            overwrite: Replace an older one.
        """
        path = Path(path)
        if not path.suffix:
            files.save(path, self.search, self.table, "items", overwrite=overwrite)
            return
        with manifest.write_file(path, KIND, overwrite=overwrite) as draft:
            self.search.index.save(draft.path)
            facts = {"encoder_hash": self.encoder_hash, "vocabulary_hash": self.vocabulary.hash}
            for name, other in (("source", self.source), ("users_of", self.users_of)):
                if other is not None:
                    facts[name] = os.path.relpath(other.resolve(), path.parent.resolve())
            draft.meta.update(self.search.facts(), of="items", n_items=len(self), **facts)

    @staticmethod
    def load(
        path: str | os.PathLike[str],
        *,
        rebuild: bool = False,
        gpu: bool = False,
        allow_modules: Sequence[str] = (),
    ) -> ItemIndex:
        """Open an index written by `save`; hashes are checked before FAISS sees the file.

        Args:
            path: The file or the folder.
            rebuild: Build an index again whose FAISS file is damaged, or whose run holds other vectors by now; a warning says
                what was wrong, and the new one is written in place of the old. It is tuned as the first one was: for the same
                vectors the effort stays, for others it is tuned anew on users of the same store or embeddings, or, where
                these are not to be had, on the items, which the warning says.
            gpu: Search on a GPU.
            allow_modules: As in `build`; needed for a file only, which reads its vectors from the run.

        Raises:
            MissingError: No index of items, or the run it points to is gone.
            IntegrityError: A damaged index; with ``rebuild``, one whose manifest, vectors or ids are damaged.
            MismatchError: The run it points to has changed.
            ConfigError: No GPU, or a kind that FAISS does not have for one.
        """
        path = Path(path)
        try:
            found = ItemIndex._open(path, files.read_facts(path, "items"), allow_modules)
        except (IntegrityError, MismatchError) as error:
            if not rebuild:
                raise
            found = ItemIndex._again(path, error, allow_modules)
        if gpu:
            found.search.index.to_gpu()
        return found

    @staticmethod
    def _open(path: Path, facts: dict[str, Any], allow_modules: Sequence[str]) -> ItemIndex:
        plan = files.Plan.of(path, facts)
        if path.is_dir():
            table = files.load_table(path, "items", facts)
            return ItemIndex(plan.load(path / files.FILE, table), table, path)
        table, source, users_of = around(path, facts, allow_modules)
        if table.encoder_hash != facts.get("encoder_hash"):
            found = f"encoder {table.encoder_hash[:12]}"
            do = "Build the index again, or pass --rebuild (rebuild=True)."
            expected = (
                f"the vectors of encoder {str(facts.get('encoder_hash'))[:12]}, which it was built from"
            )
            raise MismatchError(str(path), expected=expected, found=found, do=do)
        return ItemIndex(plan.load(path, table), table, source, users_of)

    @staticmethod
    def _again(path: Path, cause: UserModelError, allow_modules: Sequence[str]) -> ItemIndex:
        """The index built again from vectors that are whole, and written back."""
        facts = files.read_facts(path, "items", damaged=True)
        plan = files.Plan.of(path, facts)
        users_of = None
        if path.is_dir():
            table, source = files.load_table(path, "items", facts), path
        else:
            table, source, users_of = around(path, facts, allow_modules)
        if table.encoder_hash == facts.get("encoder_hash"):
            built, how = ItemIndex(plan.make(table), table, source, users_of), KEPT
        else:
            built, how = _tuned_anew(plan, source, users_of, allow_modules)
        tell_and_write(path, cause, built.search, how, lambda: built.save(path, overwrite=True))
        return built

    def recommend(
        self,
        users: EmbeddingTable,
        k: int = 10,
        *,
        exclude_seen: SequenceStore | str | os.PathLike[str] | None = None,
        allow: Iterable[Any] | None = None,
        deny: Iterable[Any] | None = None,
    ) -> pl.DataFrame:
        """The ``k`` best items of each user. Users with several vectors get the items that one of them is nearest to.

        Args:
            users: User vectors of the same encoder.
            k: Items a user; fewer only when nothing else is left.
            exclude_seen: A store whose events of a user are left out of the user's list; it may have grown since.
            allow: Ids of the only items that may be recommended; ids that the index lacks are counted in a warning.
            deny: Ids of items that may not.

        Returns:
            Columns ``user_id rank item_id score``, ranks from 1, best first.

        Raises:
            MismatchError: Users of another encoder.
            DataError: ``k`` is below 1; or none of the allowed items is in the index.
        """
        require_k(k)
        _require_same(users, self.encoder_hash, "recommend")
        seen = Listed.none(len(users)) if exclude_seen is None else self._seen(users, exclude_seen)
        found = best(
            self.search, users.vectors, k, seen=seen, allowed=allowed_by(self.vocabulary, allow, deny)
        )
        return pl.DataFrame(
            {
                users.name: users.ids.gather(found.owner),
                "rank": found.rank.astype(np.int32),
                "item_id": self.vocabulary.ids.gather(found.position),
                "score": found.score,
            }
        )

    def recall(self, users: EmbeddingTable, k: int = 10) -> float:
        """Share of the exact ``k`` best items of these users that the index finds, ties by score counted as found.

        Of users with several vectors the ``k`` best are those of all vectors together, as in `recommend`.
        """
        require_k(k)
        _require_same(users, self.encoder_hash, "recall")
        return recall(self.search, users.vectors, k)

    def _seen(self, users: EmbeddingTable, store: SequenceStore | str | os.PathLike[str]) -> Histories:
        """What each user has taken; items that came after the index have no row here."""
        store = store if isinstance(store, SequenceStore) else SequenceStore.open(store)
        self.vocabulary.require_extended_by(store.vocabulary, "the index", str(store.path))
        return Histories(store, store.user_rows(users.ids))


def require_k(k: object) -> None:
    """Raise `DataError` unless ``k`` is a whole number, at least 1."""
    if not isinstance(k, int) or k < 1:
        do = "Ask for some."
        raise DataError("k", expected="a whole number, at least 1", found=repr(k), do=do)


def _require_same(users: EmbeddingTable, encoder_hash: str, where: str) -> None:
    if users.encoder_hash != encoder_hash:
        found, do = f"users of encoder {users.encoder_hash[:12]}", "Build both from one run."
        raise MismatchError(where, expected=f"users of encoder {encoder_hash[:12]}", found=found, do=do)


def _tuned_anew(
    plan: files.Plan, source: Path, users_of: Path | None, allow_modules: Sequence[str]
) -> tuple[ItemIndex, str]:
    """The index of a source that holds other vectors by now; and from what it was built and how it was tuned, in words."""
    options: dict[str, Any] = {"kind": plan.kind.kind, "metric": plan.spec.metric}
    options |= {"allow_modules": allow_modules}
    options |= {"recall": plan.measured.target} if plan.measured else {}
    built, on = None, "the items, as before"
    if users_of is not None:
        try:
            built = ItemIndex.build(source, users=SequenceStore.open(users_of), **options)
        except UserModelError as error:
            on = f"the items, because users of {users_of} are not to be had ({error.found})"
        else:
            on = f"users of {users_of}"
    elif has_users(source):
        on = "its users"
    elif plan.measured and plan.measured.on == "users":
        on = "the items, because the users whom it was tuned on are not kept with it"
    built = built or ItemIndex.build(source, **options)
    return built, f"from what {source} holds now{f', tuned on {on}' if built.measured else ''}"
