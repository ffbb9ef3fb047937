"""The supervision of ICSRec from one pass over whole histories: every prefix is there already."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from pydantic import Field, model_validator
from torch import Tensor

from usermodel.batch import JaggedBatch
from usermodel.encoders.encode import encode_events
from usermodel.encoders.protocol import EncoderModule
from usermodel.losses.info_nce import Similarity, info_nce
from usermodel.negatives.protocol import NegativeSampler
from usermodel.objectives.intents import QUICK, Intents
from usermodel.objectives.next_item import NextItem, NextItemConfig
from usermodel.objectives.protocol import Objective, ObjectiveConfig, ObjectiveOutput
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore

#: Prefixes that count for less than this take no part: on dense logs nearly all, which saves the time of their contrasts.
_LEAST: Final = 0.1


class PackedIntentsConfig(ObjectiveConfig):
    """Weights of the terms, and how the contrasts are made.

    Attributes:
        next_item: The loss of next-item prediction.
        coarse: Weight of the contrast of prefixes with the same target item; 0 leaves it out.
        fine: Weight of the contrast with the centroid of each prefix's cluster; 0 leaves it out.
        clusters: Clusters, should ``fine`` not be 0.
        temperature: Divides the similarities of the coarse contrast; those of the fine one are dot products as they are.
        similarity: Of the coarse contrast: ``cosine``, or ``dot``.
        second_pass: The other side of the coarse contrast comes from a second pass, under dropout of its own, and a prefix
            that shares its target with no other is its own partner. Without it both sides come from the pass that predicts,
            and such a prefix takes no part.
        group: Prefixes contrasted with each other, about; the rest of the batch is no negative.
        rare: A prefix whose next item is the target of n prefixes of the epoch counts ``min(1, rare / n)`` in both contrasts, and
            takes no part if that is less than a tenth: the less is told of an item by its own events, the more a shared intent
            can add. None: all prefixes count alike.
    """

    next_item: NextItemConfig = NextItemConfig()
    coarse: float = Field(default=0.18, ge=0)
    fine: float = Field(default=0.035, ge=0)
    clusters: int = Field(default=256, ge=1)
    temperature: float = Field(default=0.1, gt=0)
    similarity: Similarity = "cosine"
    second_pass: bool = True
    group: int = Field(default=256, ge=2)
    rare: float | None = Field(default=10.0, gt=0)

    @model_validator(mode="after")
    def _no_option_without_effect(self) -> PackedIntentsConfig:
        if not (self.coarse or self.fine):
            raise ValueError("coarse or fine above 0; without both it is NextItemConfig")
        if not self.coarse and "second_pass" in self.model_fields_set and self.second_pass:
            raise ValueError("second_pass only with coarse above 0, got coarse=0")
        return self

    def draws_negatives(self, n_items: int) -> bool:
        """See `NextItemConfig.draws_negatives`."""
        return self.next_item.draws_negatives(n_items)

    def build(self, encoder: EncoderModule, negatives: NegativeSampler | None = None) -> PackedIntents:
        """The objective; it has no weights, and remembers centroids.

        Raises:
            ConfigError: See `NextItemConfig.build`.
        """
        return PackedIntents(self, self.next_item.build(encoder, negatives), encoder)


class PackedIntents(Objective):
    """``L = L_next + coarse * w_t NCE(h_t, g_t', y_t) + fine * w_t NCE(h_t, c_k(t), k(t))`` over all prefixes t of the batch.

    ``h_t`` is the vector after event t, ``g`` the same under another dropout mask, ``y_t`` the item that follows, t' another
    prefix of the batch with the same target, drawn at random, or t itself if there is none; ``c_k(t)`` is the nearest centroid,
    of length 1; ``w_t = min(1, rare / n)`` with n the prefixes that have the target y_t. NCE is `info_nce` within random groups of
    prefixes, in which equal labels are no negatives.

    The intents of ICSRec (Qin et al. 2024, arXiv:2310.14318; `Icsrec` is the released form) without a pass for each piece.
    Deviations: prefixes of the whole batch, with partners drawn from it, in place of pieces with fixed partners; two passes,
    where the released code has three; cosines in the coarse contrast, because dot products of vectors that are not normalised
    slow the first epochs down; clusters of fewer vectors, from one start (`QUICK`); one term per prefix in the fine contrast instead of two, the other side's being another
    prefix's own.
    """

    def __init__(self, config: PackedIntentsConfig, next_item: NextItem, encoder: EncoderModule) -> None:
        super().__init__()
        self.config, self.next_item = config, next_item
        self.intents = Intents(config.clusters, encoder.dim, QUICK) if config.fine else None
        self.register_buffer("weight", torch.ones(encoder.n_items + 1))
        self.weight: Tensor

    def facts(self) -> dict[str, object]:
        """See `NextItem.facts`."""
        return self.next_item.facts()

    def on_epoch_start(self, encoder: EncoderModule, store: SequenceStore, examples: Examples) -> None:
        """Let the sampler follow the encoder, count targets, and cluster the prefixes of as many events as clusters need."""
        self.next_item.on_epoch_start(encoder, store, examples)
        if self.config.rare is not None:
            counts = _target_counts(store, examples, len(self.weight))
            self.weight.copy_(torch.from_numpy(np.minimum(1.0, self.config.rare / np.maximum(counts, 1))))
        if self.intents is not None and len(examples):
            inputs = examples.shortened()
            enough = self.intents.most_points * len(inputs) // max(int(inputs.lengths.sum()), 1)
            self.intents.fit(encode_events(encoder, store, inputs.thinned(max(enough, 1))))

    def forward(self, encoder: EncoderModule, batch: JaggedBatch) -> ObjectiveOutput:
        """Mean over all prefixes of the batch."""
        config = self.config
        inputs, target = batch.shifted()
        events = encoder(inputs).events
        item_loss = self.next_item.loss
        loss = item_loss(encoder, events, target, inputs.owner)
        parts = {item_loss.name: loss.detach()}
        if config.coarse:
            coarse = self._coarse(encoder, inputs, target, events)
            loss, parts["coarse"] = loss + config.coarse * coarse, coarse.detach()
        if self.intents is not None:
            fine = self._fine(self.intents, target, events)
            loss, parts["fine"] = loss + config.fine * fine, fine.detach()
        return ObjectiveOutput(loss, len(target), parts)

    def _fine(
        self, intents: Intents, target: Tensor, events: Float[Tensor, "prefixes dim"]
    ) -> Float[Tensor, ""]:
        """The contrast of prefixes with the centroids of their clusters."""
        taking_part = torch.nonzero(self.weight[target] >= _LEAST).squeeze(1)
        rows = _groups(taking_part, self.config.group)
        number = intents.of(events)
        prototypes = intents.prototypes(number).to(events.dtype)
        mean = info_nce(events[rows], prototypes[rows], number[rows], weight=self.weight[target[rows]])
        return mean * (len(taking_part) / max(len(target), 1))

    def _coarse(
        self,
        encoder: EncoderModule,
        inputs: JaggedBatch,
        target: Tensor,
        events: Float[Tensor, "prefixes dim"],
    ) -> Float[Tensor, ""]:
        """The contrast of prefixes with the same target."""
        config = self.config
        partner, taking_part = other_with_same_label(target), self.weight[target] >= _LEAST
        if config.second_pass:
            others, own = encoder(inputs).events, torch.arange(len(target), device=target.device)
            partner = torch.where(partner < 0, own, partner)
        else:
            others, taking_part = events, taking_part & (partner >= 0)
        chosen = torch.nonzero(taking_part).squeeze(1)
        rows = _groups(chosen, config.group)
        mean = info_nce(
            events[rows],
            others[partner[rows]],
            target[rows],
            temperature=config.temperature,
            similarity=config.similarity,
            weight=self.weight[target[rows]],
        )
        return mean * (len(chosen) / max(len(target), 1))


def other_with_same_label(label: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """For each row another one with the same label, at random; -1 for a label that occurs once."""
    n = len(label)
    if not n:
        return label
    # Rows of a label stand together, in random order, and each takes the next one, in a circle.
    shuffled = torch.randperm(n, device=label.device)
    order = shuffled[torch.argsort(label[shuffled], stable=True)]
    _, count = torch.unique_consecutive(label[order], return_counts=True)
    begin = (count.cumsum(0) - count).repeat_interleave(count, output_size=n)
    count = count.repeat_interleave(count, output_size=n)
    place = torch.arange(n, device=label.device) - begin
    following = order[begin + (place + 1) % count]
    other = torch.empty_like(order)
    other[order] = torch.where(count > 1, following, -1)
    return other


def _target_counts(store: SequenceStore, examples: Examples, size: int) -> Int64[ndarray, " size"]:
    """How often each item follows another within the slices."""
    starts, lengths = examples.start + 1, np.maximum(examples.lengths - 1, 0)
    first = np.cumsum(lengths) - lengths
    rows = np.repeat(starts - first, lengths) + np.arange(int(lengths.sum()))
    return np.bincount(store.items[rows], minlength=size)


def _groups(rows: Int64[Tensor, " n"], size: int) -> Int64[Tensor, "groups size"]:
    """Rows in random groups of equal size, about ``size``; fewer rows than there are groups are left out."""
    n_groups = max(1, round(len(rows) / size))
    each = len(rows) // n_groups
    shuffled = rows[torch.randperm(len(rows), device=rows.device)]
    return shuffled[: n_groups * each].view(n_groups, each)
