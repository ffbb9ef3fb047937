"""Pseudonyms for user ids: HMAC-SHA256 with a key of the caller's, so that exports can be joined but not read."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from usermodel.errors import DataError, MissingError

#: RFC 2104 discourages keys shorter than the hash's output; this is the least that cannot be guessed.
LEAST_BYTES: Final = 16


@dataclass(frozen=True)
class IdKey:
    """A secret key.

    Attributes:
        secret: Its bytes.
    """

    secret: bytes

    @staticmethod
    def read(path: Path) -> IdKey:
        """The bytes of a file, without line ends after them.

        Raises:
            MissingError: No such file.
            DataError: Too short a key.
        """
        if not path.is_file():
            do = "Make one, for example with: openssl rand -hex 32 > key"
            raise MissingError(str(path), expected="a file with a key", found="no such file", do=do)
        secret = path.read_bytes().rstrip(b"\r\n")
        if len(secret) < LEAST_BYTES:
            do = "Make one, for example with: openssl rand -hex 32 > key"
            raise DataError(
                str(path), expected=f"a key of at least {LEAST_BYTES} bytes", found=f"{len(secret)}", do=do
            )
        return IdKey(secret)

    def __repr__(self) -> str:
        return f"IdKey({self.check})"

    @property
    def check(self) -> str:
        """Tells two keys apart without telling anything of them."""
        return self._digest(b"usermodel-key-check")[:16]

    def of(self, ids: pl.Series) -> pl.Series:
        """64 hexadecimal digits for each id: the HMAC-SHA256 of its text in UTF-8 (of a number, its decimal digits)."""
        digests = [self._digest(str(one).encode()) for one in ids]
        return pl.Series(ids.name, digests, dtype=pl.String)

    def _digest(self, text: bytes) -> str:
        return hmac.new(self.secret, text, hashlib.sha256).hexdigest()
