"""Another sampler's draws without those that are probably positives nobody has recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from jaxtyping import Bool, Int64
from pydantic import Field, SerializeAsAny, model_validator
from torch import Tensor
from torch.nn.functional import cosine_similarity

from usermodel.ann.kmeans import kmeans
from usermodel.events.splits import Split
from usermodel.negatives.protocol import DrawContext, Negatives, NegativeSampler, NegativesConfig
from usermodel.negatives.uniform import UniformConfig
from usermodel.negatives.user_lists import UserLists
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.training_events import training_events

if TYPE_CHECKING:
    from usermodel.encoders.protocol import EncoderModule

#: Numbers gathered at once: 16 MiB of float32.
NUMBERS: Final = 1 << 22


class WithoutFalseNegativesConfig(NegativesConfig):
    """Weight 0 for draws that are too much like the target, or that the user has taken; at least one filter.

    Attributes:
        source: Where draws come from. A set that all events share is laid out for each, because weights are an event's own.
        similarity: Cosine of the vectors of draw and target, as they are now, above which a draw is out; None means no such
            filter.
        intents: Clusters of item vectors, found by k-means at each refresh; a draw in the target's cluster is out. None means
            no such filter.
        seen: Whether what is in the user's training history is out.
    """

    source: SerializeAsAny[NegativesConfig] = UniformConfig(shared=False)
    similarity: float | None = Field(default=0.9, gt=-1, lt=1)
    intents: int | None = Field(default=None, ge=2)
    seen: bool = False

    @model_validator(mode="after")
    def _some_filter(self) -> WithoutFalseNegativesConfig:
        if self.similarity is None and self.intents is None and not self.seen:
            raise ValueError("similarity, intents or seen; without any it is its source")
        return self

    @property
    def counts_targets(self) -> bool:
        """See `NegativesConfig`."""
        return self.source.counts_targets

    def build(self, store: SequenceStore, split: Split) -> WithoutFalseNegatives:
        """The source's sampler in a filter; only training events count as seen."""
        seen = UserLists.of(*training_events(store, split), store.n_users) if self.seen else None
        source = self.source.build(store, split)
        return WithoutFalseNegatives(
            source, store.n_items, similarity=self.similarity, intents=self.intents, seen=seen
        )


class WithoutFalseNegatives(NegativeSampler):
    """``w_j = 0`` where ``cos(e_j, e_target) > similarity``, or j is in the target's cluster or in the user's history; else as it was.

    ``log_q`` stays that of the source, because the draws do: a sampled softmax then estimates the sum over all items that pass,
    without bias, and a binary loss the mean over all items with those out counted as 0. Drawing only what passes would spend
    every draw; this costs a look at each.

    Source: false negatives by similarity to the positive, as in Chuang et al. 2020 (debiased) and Huynh et al. 2022
    (arXiv:2011.11765, elimination); by the intent both belong to, as ICLRec (Chen et al. 2022) does for users. Deviations: a
    threshold on item vectors, and clusters of items.

    Args:
        source: Draws.
        n_items: Items of the catalogue.
        similarity: See `WithoutFalseNegativesConfig`.
        intents: See `WithoutFalseNegativesConfig`.
        seen: What is out for each user; None means nothing.
    """

    def __init__(
        self,
        source: NegativeSampler,
        n_items: int,
        *,
        similarity: float | None = None,
        intents: int | None = None,
        seen: UserLists | None = None,
    ) -> None:
        super().__init__()
        self.source, self.similarity, self.intents, self.seen = source, similarity, intents, seen
        self.from_batch = source.from_batch
        if intents is not None:
            # Before the first refresh each item is a cluster of its own.
            self.register_buffer("intent", torch.arange(n_items + 1))
            self.intent: Tensor

    def sample(
        self,
        positives: Int64[Tensor, " events"],
        context: DrawContext,
        *,
        n: int,
        generator: torch.Generator | None = None,
        log_q: bool = True,
    ) -> Negatives:
        """See `NegativeSampler.sample`; draws are an event's own, or laid out for each.

        Raises:
            ConfigError: Whoever draws lacks the vectors of items or the users, and a filter needs them.
        """
        drawn = self.source.sample(positives, context, n=n, generator=generator, log_q=log_q)
        # A source that draws from the batch may have fewer than n.
        shape = (len(positives), drawn.ids.shape[-1])
        ids = drawn.ids.expand(shape)
        out = torch.zeros_like(ids, dtype=torch.bool)
        if self.similarity is not None:
            out |= _alike(positives, ids, context, self.similarity)
        if self.intents is not None:
            out |= self.intent[ids] == self.intent[positives][:, None]
        if self.seen is not None:
            out |= self.seen.contains(context.users(), ids)
        weight = torch.ones_like(ids, dtype=torch.float32) if drawn.weight is None else drawn.weight
        probability = None if drawn.log_q is None else drawn.log_q.expand(shape)
        return Negatives(ids, probability, weight.expand(shape).masked_fill(out, 0.0))

    @property
    def follows(self) -> bool:
        """See `NegativeSampler`."""
        return self.intents is not None or self.source.follows

    @torch.no_grad()
    def refresh(self, encoder: EncoderModule, store: SequenceStore) -> None:
        """Refresh the source, and cluster the items anew where clusters are asked for.

        Raises:
            NumericError: A vector is not finite.
            MissingError: FAISS is not installed, and clusters are asked for.
        """
        self.source.refresh(encoder, store)
        if self.intents is None:
            return
        vectors = encoder.item_vectors().float()
        centroids = torch.from_numpy(kmeans(vectors.cpu().numpy(), self.intents)).to(vectors.device)
        step = max(1, NUMBERS // self.intents)
        half = centroids.square().sum(1) / 2
        nearest = [(half - part @ centroids.T).argmin(1) for part in torch.split(vectors, step)]
        self.intent[1:] = torch.cat(nearest)


@torch.no_grad()
def _alike(
    positives: Int64[Tensor, " events"], ids: Int64[Tensor, "events n"], context: DrawContext, most: float
) -> Bool[Tensor, "events n"]:
    """Whether the cosine of each draw and its target is above ``most``; a zero vector is like nothing."""
    # The vectors of what takes part, not of the whole catalogue.
    target = context.item_vectors(positives).float()
    step = max(1, NUMBERS // max(ids.shape[1] * target.shape[1], 1))
    cosines = []
    for some, own in zip(torch.split(ids, step), torch.split(target, step), strict=True):
        vectors = context.item_vectors(some.flatten()).float().view(*some.shape, own.shape[1])
        cosines.append(cosine_similarity(vectors, own[:, None], dim=2, eps=1e-12))
    return torch.cat(cosines) > most
