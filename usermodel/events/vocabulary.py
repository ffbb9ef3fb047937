"""Vocabulary: external ids <-> contiguous indices, append-only, with a hash that any extension can prove."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from jaxtyping import Int32, Int64
from numpy import ndarray

from usermodel.errors import DataError, IntegrityError, MismatchError
from usermodel.events.codes import factorize, take
from usermodel.events.parquet import read_parquet, write_parquet
from usermodel.schema import IdType

FIRST_INDEX: Final = 1
_COLUMN: Final = "id"
_DTYPES: Final[dict[str, Any]] = {"string": pl.String, "int": pl.Int64}
#: Text that polars keeps as codes; long logs come that way.
_CODED: Final = (pl.Categorical, pl.Enum)


@dataclass(frozen=True)
class Vocabulary:
    """Ids in index order; the first id has index 1, because 0 is padding.

    New ids are only ever appended, so the index of an id never moves. The hash of the first ``n`` ids does not depend
    on what follows them: a longer vocabulary proves that it extends a shorter one by hashing its own beginning.

    Attributes:
        ids: Unique ids, String or Int64.
    """

    ids: pl.Series

    @staticmethod
    def build(values: pl.Series) -> Vocabulary:
        """Unique ids in sorted order (bytes or numbers), so that the order of input rows does not matter.

        Raises:
            DataError: Empty ids, or ids that are neither text nor 64-bit integers.
        """
        return Vocabulary(_new_ids(values))

    @staticmethod
    def fit(values: pl.Series) -> tuple[Vocabulary, Int32[ndarray, " n"]]:
        """`build` and `encode` of the same values in one go; categorical columns and integers need no hashing.

        Returns:
            The vocabulary, and the position of every value in ``ids`` (index - 1).

        Raises:
            DataError: Empty ids, or ids that are neither text nor 64-bit integers.
        """
        _require_ids(values)
        ids, codes = factorize(values)
        return Vocabulary(ids.alias(_COLUMN)), codes

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def kind(self) -> IdType:
        """Type of the ids."""
        return "int" if self.ids.dtype.is_integer() else "string"

    @property
    def size(self) -> int:
        """Rows an embedding table needs: one per id and one for padding."""
        return len(self.ids) + FIRST_INDEX

    def extend(self, values: pl.Series) -> Vocabulary:
        """A vocabulary that also holds ``values``; known ids keep their index."""
        new = _new_ids(values)
        new = new.filter(pl.Series(self.encode(new) == 0))
        return Vocabulary(pl.concat([self.ids.alias(_COLUMN), new.cast(self.ids.dtype)]))

    def encode(self, values: pl.Series) -> np.ndarray:
        """Indices of ids, ``int32[n]``; unknown and empty ids get 0.

        Raises:
            DataError: Integers were given where ids are strings, or the other way round.
        """
        want = _DTYPES[self.kind]
        if isinstance(values.dtype, _CODED) and self.kind == "string":
            if values.null_count():
                index = np.zeros(len(values), dtype=np.int32)
                index[values.is_not_null().to_numpy()] = self.encode(values.drop_nulls())
                return index
            ids, codes = factorize(values)
            return take(self.encode(ids), codes)
        if values.dtype != want and len(values):
            do = f"Convert the ids to {want}: ids are {self.kind}s in this store."
            raise DataError("ids", expected=f"{want} values", found=f"{values.dtype} values", do=do)
        frame = values.cast(want).alias(_COLUMN).to_frame()
        found = frame.join(self._lookup, on=_COLUMN, how="left", maintain_order="left")["index"]
        # A copy, because polars lends its memory read-only.
        return found.fill_null(0).to_numpy().astype(np.int32)

    def decode(self, index: np.ndarray) -> pl.Series:
        """Ids of indices ``int[n]``; every index must be at least 1."""
        position = np.asarray(index, dtype=np.int64) - FIRST_INDEX
        if len(position) and (position.min() < 0 or position.max() >= len(self.ids)):
            found = f"{int(position.min()) + 1} to {int(position.max()) + 1}"
            raise DataError("index", expected=f"1 to {len(self.ids)}", found=found, do="Padding has no id.")
        return self.ids.gather(position)

    @cached_property
    def _lookup(self) -> pl.DataFrame:
        index = pl.int_range(FIRST_INDEX, self.size, dtype=pl.Int32, eager=True).alias("index")
        return pl.DataFrame({_COLUMN: self.ids, "index": index})

    @cached_property
    def hash(self) -> str:
        """Hash of all ids."""
        return self.prefix_hash(len(self.ids))

    def prefix_hash(self, n: int) -> str:
        """Hash of the first ``n`` ids and their type."""
        digest = hashlib.sha256(f"usermodel-vocabulary-1:{self.kind}:{n}:".encode())
        head = self.ids[:n]
        if self.kind == "int":
            digest.update(np.ascontiguousarray(head.to_numpy(), dtype="<i8").tobytes())
        else:
            text = pa.concat_arrays([pa.array(head.to_arrow(), type=pa.large_string())])
            lengths = head.str.len_bytes().to_numpy().astype("<i8")
            digest.update(lengths.tobytes())
            digest.update(_text_bytes(text))
        return digest.hexdigest()

    def ids_of(self, values: Iterable[str] | Iterable[int], where: str = "users") -> pl.Series:
        """Ids that a caller listed, as a series of the type of these.

        Raises:
            DataError: One text instead of a list, or values of another type; ``where`` is named.
        """
        wanted = int if self.kind == "int" else str
        listed = [values] if isinstance(values, str) else list(values)
        if wanted is int:
            listed = [int(value) if isinstance(value, np.integer) else value for value in listed]
        fits = -(2**63), 2**63 - 1
        odd = [
            value
            for value in listed
            if not isinstance(value, wanted)
            or isinstance(value, bool)
            or (isinstance(value, int) and not fits[0] <= value <= fits[1])
        ]
        if odd or isinstance(values, str):
            found = f"{odd[0] if odd else values!r} of type {type(odd[0] if odd else values).__name__}"
            do = f"Pass a list, such as {where}=['u1'], of ids as they are in the store."
            raise DataError(where, expected=f"a list of {wanted.__name__} ids", found=found, do=do)
        return pl.Series(_COLUMN, listed, dtype=_DTYPES[self.kind])

    def rows(self, ids: pl.Series, where: str) -> Int64[ndarray, " n"]:
        """Positions of user ids (index - 1).

        Raises:
            DataError: An id that is not here; ``where`` is named.
        """
        rows: ndarray = self.encode(ids).astype(np.int64) - 1
        if (rows < 0).any():
            unknown = ids.filter(pl.Series(rows < 0))
            found = f"{unknown[0]!r}" + (f" and {len(unknown) - 1} more" if len(unknown) > 1 else "")
            raise DataError(where, expected="users of this store", found=found, do="Check the ids.")
        return rows

    def is_extended_by(self, other: Vocabulary) -> bool:
        """Whether ``other`` starts with exactly these ids."""
        return (
            len(other) >= len(self) and other.kind == self.kind and other.prefix_hash(len(self)) == self.hash
        )

    def require_extended_by(self, other: Vocabulary, ours: str, theirs: str) -> None:
        """Raise `MismatchError` that names both sides unless ``other`` starts with these ids."""
        if not self.is_extended_by(other):
            kind = "" if other.kind == self.kind else f"{other.kind} "
            found = f"{len(other):,} other {kind}ids"
            if other.is_extended_by(self):
                found = f"only the first {len(other):,} of them"
            raise MismatchError(
                theirs,
                expected=f"a vocabulary that starts with the {len(self):,} ids of {ours} ({self.hash[:12]})",
                found=f"{found} ({other.hash[:12]})",
                do="Build the store from the same vocabulary, or pretrain on this store.",
            )

    def save(self, path: Path) -> None:
        """Write one Parquet column, in index order."""
        write_parquet(self.ids.alias(_COLUMN).to_frame(), path)

    @staticmethod
    def load(path: Path) -> Vocabulary:
        """Read what `save` wrote."""
        frame = read_parquet(path)
        if frame.columns != [_COLUMN] or frame[_COLUMN].dtype not in (pl.String, pl.Int64):
            raise IntegrityError(
                str(path), expected="one column of ids", found=str(frame.schema), do="Make it again."
            )
        if frame[_COLUMN].null_count() or frame[_COLUMN].n_unique() != frame.height:
            raise IntegrityError(
                str(path), expected="unique ids", found="repeated or empty ones", do="Make it again."
            )
        return Vocabulary(frame[_COLUMN])


def _require_ids(values: pl.Series) -> None:
    wrong = f"{values.null_count():,} empty ones" if values.null_count() else ""
    if values.dtype not in _DTYPES.values() and not isinstance(values.dtype, _CODED):
        wrong = f"{values.dtype} values"
    if wrong and len(values):
        do = "Convert the ids, and fill or remove empty ones."
        raise DataError("ids", expected="text or 64-bit integers", found=wrong, do=do)


def _new_ids(values: pl.Series) -> pl.Series:
    _require_ids(values)
    unique = values.unique()
    return (unique.cast(pl.String) if isinstance(values.dtype, _CODED) else unique).sort().alias(_COLUMN)


def _text_bytes(array: pa.LargeStringArray) -> bytes:
    offsets = np.frombuffer(array.buffers()[1], dtype="<i8", count=len(array) + 1 + array.offset)[
        array.offset :
    ]
    data = array.buffers()[2]
    return b"" if data is None else data.to_pybytes()[int(offsets[0]) : int(offsets[-1])]
