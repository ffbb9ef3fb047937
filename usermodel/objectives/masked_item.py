"""Masked item prediction: hide some items of each history, and tell them from what stands before and after."""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from usermodel.batch import JaggedBatch
from usermodel.encoders.protocol import EncoderModule
from usermodel.errors import ConfigError
from usermodel.losses.softmax import full_softmax
from usermodel.negatives.protocol import NegativeSampler
from usermodel.nn.mask_behind import hide_all_of
from usermodel.objectives.item_loss import ItemLoss, LossName
from usermodel.objectives.next_item import NextItemConfig
from usermodel.objectives.protocol import Objective, ObjectiveConfig, ObjectiveOutput
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore
from usermodel.views.mask import Mask


class MaskedItemConfig(ObjectiveConfig):
    """What is hidden, and how the hidden item is told from the others.

    Attributes:
        ratio: Share of the events of a history whose item is hidden; 0.3 in AdaptSSR's warm start, 0.2 to 0.6 in BERT4Rec.
        last_only: Share of histories that predict their last item, from the user's vector of what came before, in place of
            hidden ones: BERT4Rec's samples of which only the last item is hidden, half in RecBole, 1 in 11 in the authors' code.
            Without it nothing trains the read-out, and user vectors find the next item far less often.
        loss: As in `NextItemConfig`.
        n_negatives: As in `NextItemConfig`; None means 256.
        prior: As in `NextItemConfig`.
        bias: A learned number per item that is added to its score; only with ``loss=softmax``. It goes with the objective:
            what it has learned, such as how popular an item is, the encoder lacks.
    """

    ratio: float = Field(default=0.3, gt=0, le=1)
    last_only: float = Field(default=0.0, ge=0, lt=1)
    loss: LossName = "auto"
    n_negatives: int | None = Field(default=None, ge=1)
    prior: bool = True
    bias: bool = False

    @model_validator(mode="after")
    def _no_option_without_effect(self) -> MaskedItemConfig:
        NextItemConfig(loss=self.loss, n_negatives=self.n_negatives, prior=self.prior)
        if self.bias and self.loss != "softmax":
            raise ValueError(f"bias only with loss=softmax, got loss={self.loss}")
        return self

    def draws_negatives(self, n_items: int) -> bool:
        """See `NextItemConfig.draws_negatives`."""
        return NextItemConfig(loss=self.loss).draws_negatives(n_items)

    def build(self, encoder: EncoderModule, negatives: NegativeSampler | None = None) -> MaskedItem:
        """The objective; its only weights are those of ``bias``.

        Raises:
            ConfigError: The encoder sees no later events, or has no mask token; or the loss needs a sampler.
        """
        if encoder.causal:
            do = "Set encoder.causal=false, or choose an objective for causal encoders."
            expected, found = "a bidirectional encoder for masked items", "causal=true"
            raise ConfigError("encoder.causal", expected=expected, found=found, do=do)
        encoder.require_mask_token()
        loss = ItemLoss(self.loss, encoder.n_items, negatives, n_negatives=self.n_negatives, prior=self.prior)
        return MaskedItem(self, loss, encoder.n_items)


class MaskedItem(Objective):
    """``L = mean over hidden events t of loss(h_t . E^T + b, item_t)``; with softmax ``- log softmax(h_t . E^T + b)[item_t]``.

    ``h_t`` is the encoder's output at an event whose item it does not see, E the item table (tied), b the ``bias`` or 0. Of n
    items ``ceil(ratio n)`` are hidden, n - 1 at most, always by the mask token. Histories that are drawn for ``last_only``
    add ``loss(u . E^T + b, item_n)`` to the mean, u the user's vector of events 1 to n - 1. With ``encoder.readout=mask`` that is
    ``h_n`` of a history of which the last item alone is hidden.

    Source: BERT4Rec (Sun et al. 2019, arXiv:1904.06690, sections 3.5 and 3.6); AdaptSSR's released warm start is
    ``ratio=0.3, loss=softmax, bias=true``. Deviation from BERT4Rec: no layer between ``h_t`` and the scores, because user
    vectors are compared with item vectors as they are. With a history longer than the encoder reads, the latest events count.
    """

    def __init__(self, config: MaskedItemConfig, loss: ItemLoss, n_items: int) -> None:
        super().__init__()
        self.loss, self.last_only, self.mask = loss, config.last_only, Mask(ratio=config.ratio)
        self.bias = nn.Parameter(torch.zeros(n_items)) if config.bias else None

    def facts(self) -> dict[str, object]:
        """The loss that ``auto`` chose, and its negatives."""
        return self.loss.facts()

    def on_epoch_start(self, encoder: EncoderModule, store: SequenceStore, examples: Examples) -> None:
        """Let the sampler follow the encoder."""
        del examples
        self.loss.refresh(encoder, store)

    def forward(self, encoder: EncoderModule, batch: JaggedBatch) -> ObjectiveOutput:
        """Mean over all that is predicted, in one pass."""
        drawn = torch.rand(batch.n_users, dtype=torch.float64, device=batch.offsets.device)
        chosen = (drawn < self.last_only) & (batch.lengths > 1)
        owner = batch.user_of_event
        last = chosen[owner] & (batch.position == batch.lengths[owner] - 1)
        vectors, target, user = (self._at_masks if encoder.reads_mask else self._read_out)(
            encoder, batch, chosen, last
        )
        loss = self._loss(encoder, vectors, target, user)
        return ObjectiveOutput(loss, len(target), {self.loss.name: loss.detach()})

    def _read_out(
        self, encoder: EncoderModule, batch: JaggedBatch, chosen: Tensor, last: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Vectors, targets and whose they are, where the user's vector is that of the events."""
        inputs = self.mask.applied(batch.select(~last).latest(encoder.max_history), ~chosen)
        encoded, hidden = encoder(inputs), inputs.masked
        assert hidden is not None
        vectors = torch.cat([encoded.events[hidden], encoded.users[chosen]])
        target, owner = torch.cat([inputs.item_index[hidden], batch.item_index[last]]), inputs.owner
        if owner is None or batch.user is None:
            return vectors, target, None
        return vectors, target, torch.cat([owner[hidden], batch.user[chosen]])

    def _at_masks(
        self, encoder: EncoderModule, batch: JaggedBatch, chosen: Tensor, last: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The same, where it is that of a mask behind them: the last event takes the place of the mask, all of it hidden."""
        owner = batch.user_of_event
        kept = batch.position >= (batch.lengths - encoder.max_history - chosen.long())[owner]
        inputs = self.mask.applied(hide_all_of(batch, last).select(kept), ~chosen)
        hidden = inputs.masked
        assert hidden is not None
        whose = None if inputs.owner is None else inputs.owner[hidden]
        return encoder.events(inputs)[hidden], inputs.item_index[hidden], whose

    def _loss(self, encoder: EncoderModule, vectors: Tensor, target: Tensor, user: Tensor | None) -> Tensor:
        if self.bias is None:
            loss: Tensor = self.loss(encoder, vectors, target, user)
            return loss
        # One number more on both sides: 1 for the vector, the bias for the item.
        ones = vectors.new_ones(len(vectors), 1)
        items = torch.cat([encoder.item_vectors(), self.bias[:, None]], dim=1)
        return full_softmax(torch.cat([vectors, ones], dim=1), items, target - 1)
