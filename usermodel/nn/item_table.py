"""The table of item vectors: a row per item, or a few hashed rows of a shared table that is smaller than the catalogue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import torch
from jaxtyping import Float, Int64, Shaped
from pydantic import BeforeValidator, Field
from torch import Tensor, nn
from torch.nn.functional import embedding

from usermodel.config import Config
from usermodel.errors import ConfigError, DataError
from usermodel.nn.row_reads import distinct, repeat_rows

#: Items per chunk of `ItemTable.vectors`: their row numbers take 16 MiB with two lookups.
CHUNK: Final = 1 << 20
_WORD: Final = 1 << 64


class PlainItemsConfig(Config):
    """A row per item; no options."""

    kind: Literal["plain"] = "plain"


class HashedItemsConfig(Config):
    """Feature multiplexing (Unified Embedding, Coleman et al. 2023): ``lookups`` hashed rows of one shared table an item.

    Attributes:
        kind: ``hashed``.
        table_rows: Rows of the table, whatever the number of items.
        lookups: Rows an item; two items share all of them with probability ``table_rows ** -lookups``.
        join: ``concat`` lays rows of ``dim / lookups`` side by side, as the paper does; ``sum`` adds rows of ``dim``.
        seed: Of the hash; saved with the encoder, because other rows are other vectors.
    """

    kind: Literal["hashed"] = "hashed"
    table_rows: int = Field(default=1_000_000, ge=1, lt=1 << 31)
    lookups: int = Field(default=2, ge=1, le=16)
    join: Literal["concat", "sum"] = "concat"
    seed: int = Field(default=0, ge=0, lt=1 << 32)


def _from_name(value: object) -> object:
    """``--set encoder.items=hashed`` means a hashed table with its defaults."""
    return {"kind": value} if isinstance(value, str) else value


ItemsConfig = Annotated[
    PlainItemsConfig | HashedItemsConfig, Field(discriminator="kind"), BeforeValidator(_from_name)
]


class ItemTable(nn.Module):
    """Vectors of items 1 to ``n_items``; index 0 is padding and has the zero vector, unless that is learned.

    Args:
        n_items: Items.
        dim: Width of a vector.
        config: How they are stored.
        learn_padding: Whether the vector of the padding is trained like any other; it begins at zero.

    Attributes:
        weight: ``[n_items + 1, dim]``, or the shared table ``[table_rows, width]``.
        own_padding: A learned vector of the padding beside a shared table, none of whose rows is its own; else None.
        before_read: Called with row numbers before rows are read while gradients are recorded; the gradient is then sparse.
            Of an optimiser that changes rows only when they are needed; None for a dense gradient.

    Raises:
        ConfigError: ``lookups`` does not divide ``dim``.
    """

    def __init__(
        self,
        n_items: int,
        dim: int,
        config: PlainItemsConfig | HashedItemsConfig | None = None,
        *,
        learn_padding: bool = False,
    ) -> None:
        super().__init__()
        self.n_items, self.dim = n_items, dim
        self._padding_index = None if learn_padding else 0
        self.hashed = config if isinstance(config, HashedItemsConfig) else None
        rows, width = n_items + 1, dim
        if self.hashed is not None:
            rows, width = self.hashed.table_rows, _width(dim, self.hashed)
        self.weight = nn.Parameter(torch.empty(rows, width))
        beside = learn_padding and self.hashed is not None
        self.own_padding = nn.Parameter(torch.empty(dim)) if beside else None
        self.before_read: Callable[[Tensor], None] | None = None
        self.reset(1.0)

    def __getstate__(self) -> dict[str, Any]:
        """Of a copy: it is nobody's to update, and must not take the optimiser along."""
        return {**self.__dict__, "before_read": None}

    def reset(self, std: float) -> None:
        """Draw new weights, so that each number of an item's vector has the given standard deviation."""
        if self.hashed is not None and self.hashed.join == "sum":
            std /= self.hashed.lookups**0.5
        nn.init.normal_(self.weight, std=std)
        with torch.no_grad():
            if self.hashed is None:
                self.weight[0].zero_()
            if self.own_padding is not None:
                self.own_padding.zero_()

    def forward(self, index: Int64[Tensor, " n"]) -> Float[Tensor, "n dim"]:
        """Vectors of item indices, 0 to n_items.

        Raises:
            DataError: Another index, where looking is free: on the CPU.
        """
        require_known(index, self.n_items)
        if self.hashed is None:
            return self._read(index, padding=self._padding_index)
        rows = self._read(hashed_rows(index, self.hashed))
        vectors = rows.flatten(1) if self.hashed.join == "concat" else rows.sum(1)
        real = (index != 0)[:, None]
        return vectors * real if self.own_padding is None else torch.where(real, vectors, self.own_padding)

    def padding(self) -> Float[Tensor, " dim"]:
        """The vector of index 0, with a gradient where it is learned."""
        out: Tensor = self(torch.zeros(1, dtype=torch.int64, device=self.weight.device))
        return out[0]

    def _read(self, rows: Int64[Tensor, " *n"], padding: int | None = None) -> Float[Tensor, "*n width"]:
        announce = self._announce
        if announce is None:
            return embedding(rows, self.weight, padding_idx=padding)
        once, place = distinct(rows, len(self.weight))
        announce(once)
        return repeat_rows(embedding(once, self.weight, padding_idx=padding, sparse=True), place)

    @property
    def _announce(self) -> Callable[[Tensor], None] | None:
        return self.before_read if torch.is_grad_enabled() else None

    def vectors(self, index: Int64[Tensor, " n"] | None = None) -> Float[Tensor, "n dim"]:
        """Vectors of item indices, or of 1 to n_items in order; of a plain table the latter is a view."""
        if index is None and self.hashed is None and self._announce is None:
            return self.weight[1:]
        index = self.indices(index)
        if self.hashed is None or len(index) <= CHUNK:
            out: Tensor = self(index)
            return out
        return torch.cat([self(part) for part in torch.split(index, CHUNK)])

    def indices(self, index: Int64[Tensor, " n"] | None) -> Int64[Tensor, " n"]:
        """Those given, or 1 to n_items."""
        return torch.arange(1, self.n_items + 1, device=self.weight.device) if index is None else index


def require_known(index: Shaped[Tensor, " n"], n_items: int) -> None:
    """Raise `DataError` unless every index is 0 to ``n_items``; on other devices looking would stop the queue."""
    if index.device.type != "cpu" or torch.compiler.is_compiling() or not len(index):
        return
    low, high = (int(bound) for bound in torch.aminmax(index))
    if low < 0 or high > n_items:
        found, do = f"{low if low < 0 else high:,}", "Leave out the events of items that it does not know."
        raise DataError("item_index", expected=f"items 1 to {n_items:,}", found=found, do=do)


def hashed_rows(index: Int64[Tensor, " n"], config: HashedItemsConfig) -> Int64[Tensor, "n lookups"]:
    """Rows of each item: splitmix64 (Steele et al. 2014) of ``seed, lookup`` salts and index, modulo the rows."""
    salts = [_signed(splitmix64(config.seed * 16 + lookup)) for lookup in range(config.lookups)]
    x = index[:, None] + torch.tensor(salts, device=index.device)
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    # Without the sign, so that the remainder is that of a number that is not negative.
    return (x ^ _shift(x, 31)).bitwise_and(0x7FFFFFFFFFFFFFFF) % config.table_rows


def splitmix64(x: int) -> int:
    """The generator's output after the state ``x``, on whole numbers."""
    x = (x + 0x9E3779B97F4A7C15) % _WORD
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % _WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % _WORD
    return x ^ (x >> 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Shift to the right as if there were no sign."""
    return (x >> bits).bitwise_and((1 << (64 - bits)) - 1)


def _signed(x: int) -> int:
    return x - _WORD if x >= _WORD // 2 else x


def _width(dim: int, config: HashedItemsConfig) -> int:
    if config.join == "sum":
        return dim
    if dim % config.lookups:
        found: Any = f"dim={dim} and lookups={config.lookups}"
        do = "Change one of them, or set encoder.items.join=sum."
        raise ConfigError("encoder.items.lookups", expected="a divisor of dim", found=found, do=do)
    return dim // config.lookups
