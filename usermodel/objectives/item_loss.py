"""The loss of predicting one item of the catalogue: exact, or from some negatives."""

from __future__ import annotations

import math
from typing import Final, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from usermodel.encoders.protocol import EncoderModule
from usermodel.errors import ConfigError
from usermodel.losses.binary import binary_cross_entropy, gbce_beta, prior_log_odds
from usermodel.losses.bpr import bpr
from usermodel.losses.sampled import sampled_softmax
from usermodel.losses.softmax import full_softmax
from usermodel.losses.warp import warp
from usermodel.negatives.protocol import DrawContext, Negatives, NegativeSampler
from usermodel.store.sequence_store import SequenceStore

LossName = Literal["auto", "softmax", "sampled-softmax", "gbce", "bce", "bpr", "warp"]
#: Items up to which ``auto`` takes the full softmax. There it takes about 25 times as long as 256 shared negatives on two
#: cores, and a fifth of a second for 512 targets (benchmarks/results/catalogue-loss.json); the ratio grows beyond.
AUTO_ITEMS: Final = 100_000
N_NEGATIVES: Final = 256
CALIBRATION: Final = 0.75
#: Losses of scores by themselves, which `prior_log_odds` is for.
BINARY: Final = frozenset({"bce", "gbce"})


def resolve(loss: LossName, n_items: int) -> str:
    """What ``auto`` means for a catalogue; any other name is itself."""
    if loss != "auto":
        return loss
    return "softmax" if n_items <= AUTO_ITEMS else "sampled-softmax"


class ItemLoss(nn.Module):
    """A loss by name; one that draws negatives has its sampler as a part.

    Args:
        loss: See `resolve`.
        n_items: Items of the catalogue.
        negatives: Needed unless the loss is the full softmax.
        n_negatives: Draws; None means `N_NEGATIVES`.
        calibration: ``t`` of gBCE; None means `CALIBRATION`.
        log_q: Whether the sampled softmax divides each draw by its probability; without, each counts once.
        prior: Whether scores of ``bce`` and ``gbce`` are measured from `prior_log_odds`.

    Raises:
        ConfigError: A sampler is missing, or a number of negatives is given to a loss that draws none.
    """

    def __init__(
        self,
        loss: LossName,
        n_items: int,
        negatives: NegativeSampler | None,
        *,
        n_negatives: int | None = None,
        calibration: float | None = None,
        log_q: bool = True,
        prior: bool = True,
    ) -> None:
        super().__init__()
        self.name = resolve(loss, n_items)
        self.n, self.n_items = n_negatives or N_NEGATIVES, n_items
        _require_sense(loss, self.name, n_items, negatives, n_negatives)
        self.negatives = None if self.name == "softmax" else negatives
        self.calibration = CALIBRATION if calibration is None else calibration
        self.log_q, self.prior = log_q, prior

    def facts(self) -> dict[str, object]:
        """What is computed, for the run's manifest."""
        found: dict[str, object] = {"loss": self.name}
        if self.negatives is not None:
            found["n_negatives"] = self.n
        if self.name in BINARY:
            found["prior"] = self.prior
        return found

    def refresh(self, encoder: EncoderModule, store: SequenceStore) -> None:
        """Let the sampler, if there is one, follow the encoder; to be called before each epoch."""
        if self.negatives is not None:
            self.negatives.refresh(encoder, store)

    def forward(
        self,
        encoder: EncoderModule,
        events: Float[Tensor, "targets dim"],
        target: Int64[Tensor, " targets"],
        user: Int64[Tensor, " targets"] | None = None,
    ) -> Float[Tensor, ""]:
        """Mean loss of event vectors and their targets, item indices; ``user`` is for samplers that look at it."""
        if self.negatives is None:
            return full_softmax(events, encoder.item_vectors(), target - 1)
        corrected = self.name == "warp" or (self.name == "sampled-softmax" and self.log_q)
        context = DrawContext.of(encoder, events, user)
        drawn = self.negatives.sample(target, context, n=self.n, log_q=corrected)
        # Only the rows that take part, unless that is most of the table anyway.
        if drawn.ids.numel() + len(target) < encoder.n_items:
            both = torch.cat([target, drawn.ids.flatten()])
            known, place = torch.unique(both, return_inverse=True)
            items, ids = encoder.item_vectors(known), place[len(target) :].view_as(drawn.ids)
            target = place[: len(target)]
        else:
            items, target, ids = encoder.item_vectors(), target - 1, drawn.ids - 1
        return self._of(events, items, target, ids, drawn)

    def _of(
        self, events: Tensor, items: Tensor, target: Tensor, ids: Tensor, drawn: Negatives
    ) -> Float[Tensor, ""]:
        """The loss by its name; classes are rows of ``items``."""
        if self.name == "bpr":
            return bpr(events, items, target, ids, drawn.weight)
        if self.name in BINARY:
            # Of the draws there are: a sampler that draws from the batch may have fewer than were asked for.
            n = ids.shape[-1]
            beta = gbce_beta(n, self.n_items, self.calibration) if self.name == "gbce" else 1.0
            log_odds = prior_log_odds(n, beta) if self.prior else 0.0
            return binary_cross_entropy(
                events, items, target, ids, drawn.weight, beta=beta, log_odds=log_odds
            )
        if self.name == "warp":
            assert drawn.log_q is not None
            return warp(events, items, target, ids, drawn.log_q, drawn.weight, n_items=self.n_items)
        # With probabilities of 1 / n the n draws count once each.
        log_q = events.new_full(ids.shape, -math.log(max(ids.shape[-1], 1)))
        if self.log_q:
            assert drawn.log_q is not None
            log_q = drawn.log_q
        return sampled_softmax(events, items, target, ids, log_q, drawn.weight)


def _require_sense(
    loss: LossName, name: str, n_items: int, negatives: NegativeSampler | None, n_negatives: int | None
) -> None:
    if name == "softmax" and n_negatives is not None:
        raise ConfigError(
            "objective.n_negatives",
            expected="a loss that draws negatives",
            found=f"loss={loss}, which is the full softmax for {n_items:,} items",
            do="Drop it, or choose objective.loss=sampled-softmax.",
        )
    if name != "softmax" and negatives is None:
        raise ConfigError(
            "negatives",
            expected=f"a sampler for loss={name}",
            found="none",
            do="Hand one to build, such as Uniform(encoder.n_items).",
        )
