"""What models of user and item ids have in common: a vector for each, learned from who took what, without histories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import normalize

from usermodel.embedding_table import DotScorer, Scorer
from usermodel.errors import ConfigError
from usermodel.negatives.protocol import Negatives
from usermodel.nn.item_table import ItemTable

Geometry = Literal["product", "distance"]


class Tables(NamedTuple):
    """Vectors that are scored: row ``u`` of ``users`` is user ``u``, row 0 of ``items`` is item 1."""

    users: Float[Tensor, "n_users dim"]
    items: Float[Tensor, "n_items dim"]


@dataclass(frozen=True)
class PairBatch:
    """Some pairs of user and item, and what their loss is computed from.

    Vectors stand in two tables, of all users and items or of those that take part; ``*_row`` says where. Losses read the
    vectors through the rows, and ids only for parameters of their own.

    Attributes:
        user: User of each pair, 0 to n_users - 1. Pairs of a user stand together where `PairLoss.whole_users` asks for it.
        item: Item of each pair, 1 to n_items.
        users: Vectors of users.
        items: Vectors of items.
        user_row: Row of each pair's user in ``users``.
        item_row: Row of each pair's item in ``items``.
        negatives: Drawn items: ids 1 to n_items, log_q, weight; None where the loss draws none.
        negative_row: Row of each drawn item in ``items``, same shape as its ids.
    """

    user: Int64[Tensor, " pairs"]
    item: Int64[Tensor, " pairs"]
    users: Float[Tensor, "rows dim"]
    items: Float[Tensor, "classes dim"]
    user_row: Int64[Tensor, " pairs"]
    item_row: Int64[Tensor, " pairs"]
    negatives: Negatives | None = None
    negative_row: Int64[Tensor, "*pairs n"] | None = None

    def __len__(self) -> int:
        return len(self.user)

    def drawn(self) -> tuple[Negatives, Int64[Tensor, "*pairs n"]]:
        """The negatives and their rows, for losses that draw some."""
        assert self.negatives is not None
        assert self.negative_row is not None
        return self.negatives, self.negative_row


class PairLoss(nn.Module):
    """A loss of pairs. Parameters of its own are trained along.

    Attributes:
        n_negatives: Items to draw, for each pair or for all; 0 means none.
        corrects: Whether it asks for the probabilities of the draws.
        whole_users: Whether a batch is made of all pairs of some users, which stand together.
        whole_catalogue: Whether ``items`` must be the vectors of 1 to n_items in order.
        geometry: What it makes of two vectors; a model with another one ranks by something else than was trained.
    """

    n_negatives: int = 0
    corrects: ClassVar[bool] = False
    whole_users: ClassVar[bool] = False
    whole_catalogue: ClassVar[bool] = False
    geometry: ClassVar[Geometry] = "product"

    def forward(self, batch: PairBatch) -> Float[Tensor, ""]:
        """Mean over the pairs."""
        raise NotImplementedError


class FactorModel(nn.Module):
    """Learned vectors of users and items; scores are their inner products.

    Args:
        n_users: Users.
        n_items: Items.
        dim: Width of a vector.
        std: Standard deviation of the normal distribution that the vectors are drawn from, by torch's generator.
        cosine: Whether the vectors that are scored have length 1. Losses then need a temperature.

    Attributes:
        users: Table of users; row ``u + 1`` is user ``u``.
        items: Table of items; row ``i`` is item ``i``.
        reads_rows: Whether the vector that is scored is the row of the table, so that a step needs only the rows of its
            batch; false where vectors depend on each other.
        projects: Whether `after_step` moves vectors; they are then brought up to date in every step.
        geometry: Whether scores are inner products, or fall with the distance.
    """

    projects: ClassVar[bool] = False
    geometry: ClassVar[Geometry] = "product"

    def __init__(
        self, n_users: int, n_items: int, dim: int = 64, *, std: float = 0.1, cosine: bool = False
    ) -> None:
        super().__init__()
        self.n_users, self.n_items, self.dim, self.cosine = n_users, n_items, dim, cosine
        self.users, self.items = ItemTable(n_users, dim), ItemTable(n_items, dim)
        self.users.reset(std)
        self.items.reset(std)

    @property
    def reads_rows(self) -> bool:
        """See the class."""
        return not self.cosine

    @property
    def max_history(self) -> int:
        """What samplers ask for that encode histories.

        Raises:
            ConfigError: Always: users have vectors here without histories.
        """
        do = "Choose one that looks at scores or counts only."
        raise ConfigError(
            "sampler",
            expected="one that encodes no histories",
            found="one that does, such as CachedHard or Denoised",
            do=do,
        )

    def layer_0(self) -> Tables:
        """The learned vectors."""
        return Tables(self.users.vectors(), self.items.vectors())

    def combined(self) -> Tables:
        """What becomes of the learned vectors before their lengths are looked at; for models to override."""
        return self.layer_0()

    def tables(self) -> Tables:
        """The vectors that are scored, with their gradient."""
        users, items = self.combined()
        return (
            Tables(normalize(users, dim=1), normalize(items, dim=1)) if self.cosine else Tables(users, items)
        )

    def item_vectors(self, index: Int64[Tensor, " n"] | None = None) -> Float[Tensor, "n dim"]:
        """The vectors of items, 1 to n_items, that are scored; None means all. What samplers that follow an encoder ask for."""
        if self.reads_rows:
            return self.items.vectors(index)
        items = self.tables().items
        return items if index is None else items[index - 1]

    def queries(self, users: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows width"]:
        """Users as samplers and indexes see them: inner products with `keys` order items as the scores do."""
        return users

    def keys(self, items: Float[Tensor, "classes dim"]) -> Float[Tensor, "classes width"]:
        """Items as samplers and indexes see them, see `queries`."""
        return items

    def penalty(self, batch: PairBatch) -> Float[Tensor, ""]:
        """Half the squared norms of the learned vectors of a batch, over its pairs (LightGCN, eq. 15, as it is coded).

        Users and items of all pairs count, and so does each drawn negative, as often as they occur.
        """
        users, items = (batch.users, batch.items) if self.reads_rows else self.layer_0()
        rows = [users[batch.user_row], items[batch.item_row]]
        if batch.negative_row is not None:
            rows.append(items[batch.negative_row.flatten()])
        total = torch.stack([vectors.square().sum() for vectors in rows]).sum()
        return 0.5 * total / max(len(batch), 1)

    def after_step(
        self, users: Int64[Tensor, " rows"] | None = None, items: Int64[Tensor, " classes"] | None = None
    ) -> None:
        """Called after each step, without gradients: a projection, for models that have one.

        Args:
            users: Users (from 0) whose vectors may have changed; None means all.
            items: Items (from 1) whose vectors may have changed; None means all.
        """
        del users, items

    @torch.no_grad()
    def scorer(self) -> Scorer:
        """What a task sees: a copy of the vectors as they are now, without dropout, on the CPU."""
        training = self.training
        self.eval()
        tables = self.tables()
        self.train(training)
        users, items = self.queries(tables.users.detach()), self.keys(tables.items.detach())
        return DotScorer(users.cpu().clone(), items.cpu().clone())
