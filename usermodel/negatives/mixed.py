"""Mixed negatives: some from one sampler, the others from another, each with the probability under the mixture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int64
from pydantic import Field, SerializeAsAny, model_validator
from torch import Tensor, nn

from usermodel.errors import ConfigError
from usermodel.events.splits import Split
from usermodel.negatives.in_batch import InBatchConfig
from usermodel.negatives.protocol import DrawContext, KnownLaw, Negatives, NegativeSampler, NegativesConfig
from usermodel.negatives.uniform import UniformConfig
from usermodel.store.sequence_store import SequenceStore

if TYPE_CHECKING:
    from usermodel.encoders.protocol import EncoderModule


class MixedConfig(NegativesConfig):
    """What is mixed; by default targets of the batch and uniform items, half each (Yang et al. 2020).

    Attributes:
        parts: Samplers that know the probability of any item. Their keys have numbers, such as ``negatives.parts.1.shared``;
            other parts are given as a whole, as JSON.
        shares: Of the draws, one for each part, 1 in sum.
    """

    parts: tuple[SerializeAsAny[NegativesConfig], ...] = Field(
        default=(InBatchConfig(), UniformConfig()), min_length=1
    )
    shares: tuple[float, ...] = (0.5, 0.5)

    @model_validator(mode="after")
    def _shares_fit(self) -> MixedConfig:
        if len(self.shares) != len(self.parts):
            raise ValueError(f"a share for each of {len(self.parts)} parts, got {len(self.shares)}")
        if min(self.shares) <= 0 or not math.isclose(sum(self.shares), 1, abs_tol=1e-6):
            raise ValueError(f"positive shares with the sum 1, got {self.shares}")
        return self

    @property
    def counts_targets(self) -> bool:
        """See `NegativesConfig`."""
        return any(part.counts_targets for part in self.parts)

    def build(self, store: SequenceStore, split: Split) -> Mixed:
        """Build every part.

        Raises:
            ConfigError: A part does not know the probability of any item; or what a part says of the store.
        """
        return Mixed([part.build(store, split) for part in self.parts], self.shares)


class Mixed(NegativeSampler):
    """``q(item) = sum over parts k of n_k / n q_k(item)``, where ``n_k`` of the ``n`` draws are of part k.

    The numbers ``n_k`` are fixed by the shares, not drawn: that leaves out one source of noise. The draws are then put into
    random order, so that each of them by itself has the probability ``q``; ``log_q`` of a draw is this one, whatever part it
    came from. A part that draws from the batch may have fewer than its share, and ``n`` is less by as many; the law of a
    mixture depends on that, so that mixtures cannot be mixed.

    Source: Yang et al. 2020, "Mixed Negative Sampling for Learning Two-tower Neural Networks in Recommendations".

    Args:
        parts: The samplers.
        shares: Of the draws, one for each; 1 in sum.

    Raises:
        ConfigError: A part does not know the probability of any item.
    """

    def __init__(self, parts: Sequence[NegativeSampler], shares: Sequence[float]) -> None:
        super().__init__()
        self.known: list[KnownLaw] = []
        for number, part in enumerate(parts):
            if not isinstance(part, KnownLaw):
                expected, found = "a sampler that knows the probability of any item", type(part).__name__
                do = "Mix others: Uniform, Popularity, InBatch or Category."
                raise ConfigError(f"negatives.parts.{number}", expected=expected, found=found, do=do)
            self.known.append(part)
        self.parts, self.shares = nn.ModuleList(parts), tuple(shares)
        self.from_batch = any(part.from_batch for part in parts)

    @property
    def follows(self) -> bool:
        """See `NegativeSampler`."""
        return any(part.follows for part in self.known)

    def refresh(self, encoder: EncoderModule, store: SequenceStore) -> None:
        """That of each part."""
        for part in self.known:
            part.refresh(encoder, store)

    def sample(
        self,
        positives: Int64[Tensor, " events"],
        context: DrawContext,
        *,
        n: int,
        generator: torch.Generator | None = None,
        log_q: bool = True,
    ) -> Negatives:
        """See `NegativeSampler.sample`; shared if all parts are."""
        counts = self._counts(n)
        drawn = [
            part.sample(positives, context, n=count, generator=generator, log_q=False).ids
            for part, count in counts.items()
        ]
        if any(ids.dim() == 2 for ids in drawn):
            drawn = [ids.expand(len(positives), ids.shape[-1]) for ids in drawn]
        ids = torch.cat(drawn, -1)
        order = torch.randperm(ids.shape[-1], generator=generator, device=ids.device)
        ids = ids.index_select(-1, order)
        if not log_q:
            return Negatives(ids, None)
        found = {part: own.shape[-1] / max(len(order), 1) for part, own in zip(counts, drawn, strict=True)}
        return Negatives(ids, _log_mixture(found, ids, positives, context))

    def _counts(self, n: int) -> dict[KnownLaw, int]:
        """Draws of each part that has any: borders are rounded, so that ``n`` is kept."""
        borders = [0, *(round(n * sum(self.shares[: k + 1])) for k in range(len(self.shares)))]
        borders[-1] = n
        counts = zip(self.known, borders[:-1], borders[1:], strict=True)
        return {part: stop - start for part, start, stop in counts if stop > start}


def _log_mixture(
    shares: Mapping[KnownLaw, float],
    ids: Int64[Tensor, "*rows n"],
    positives: Int64[Tensor, " events"],
    context: DrawContext,
) -> Tensor:
    logs = [
        part.log_q_of(ids, positives, context) + (math.log(share) if share else -math.inf)
        for part, share in shares.items()
    ]
    return torch.stack(logs).logsumexp(0)
