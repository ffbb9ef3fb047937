"""Next-item prediction at every position of every history, in one pass."""

from __future__ import annotations

from pydantic import Field, model_validator

from usermodel.batch import JaggedBatch
from usermodel.encoders.protocol import EncoderModule
from usermodel.errors import ConfigError
from usermodel.negatives.protocol import NegativeSampler
from usermodel.objectives.item_loss import BINARY, ItemLoss, LossName, resolve
from usermodel.objectives.protocol import Objective, ObjectiveConfig, ObjectiveOutput
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore


class NextItemConfig(ObjectiveConfig):
    """How the next item is told from the others.

    Attributes:
        loss: ``softmax`` over the whole catalogue, exact; ``sampled-softmax``, ``gbce``, ``bce``, ``bpr`` and ``warp`` draw
            negatives; ``auto`` is the softmax up to 100,000 items and the sampled softmax above.
        n_negatives: Draws, per event or shared, as the ``negatives`` group says; None means 256. Shared ones are drawn
            once for each part of a batch: see ``devices`` and ``accumulate`` of `TrainingConfig`.
        calibration: ``t`` of ``gbce``, 0 to 1; None means 0.75.
        log_q: Whether ``sampled-softmax`` divides each draw by its probability. Without, each counts once, as in the plain
            in-batch softmax, and items that are drawn often are recommended less.
        prior: Whether ``bce`` and ``gbce`` measure scores from the log-odds of a constant, so that scores of 0 are where training
            may begin. Without, as published, many negatives a positive draw all users' vectors into one point in large batches.
    """

    loss: LossName = "auto"
    n_negatives: int | None = Field(default=None, ge=1)
    calibration: float | None = Field(default=None, ge=0, le=1)
    log_q: bool = True
    prior: bool = True

    @model_validator(mode="after")
    def _no_option_without_effect(self) -> NextItemConfig:
        if self.loss == "softmax" and self.n_negatives is not None:
            raise ValueError("n_negatives only with a loss that draws negatives, got loss=softmax")
        if self.loss != "gbce" and self.calibration is not None:
            raise ValueError(f"calibration only with loss=gbce, got loss={self.loss}")
        if self.loss != "sampled-softmax" and not self.log_q:
            raise ValueError(f"log_q=false only with loss=sampled-softmax, got loss={self.loss}")
        if self.loss not in BINARY and not self.prior:
            raise ValueError(f"prior=false only with loss=bce or gbce, got loss={self.loss}")
        return self

    def draws_negatives(self, n_items: int) -> bool:
        """Every loss but the full softmax does."""
        return resolve(self.loss, n_items) != "softmax"

    def build(self, encoder: EncoderModule, negatives: NegativeSampler | None = None) -> NextItem:
        """The objective; it has no weights.

        Raises:
            ConfigError: The encoder sees later events, among which are the targets; or the loss needs a sampler.
        """
        require_causal(encoder)
        return NextItem(self.build_loss(encoder, negatives))

    def build_loss(self, encoder: EncoderModule, negatives: NegativeSampler | None = None) -> ItemLoss:
        """The loss alone, for objectives that choose events and targets otherwise.

        Raises:
            ConfigError: The loss needs a sampler.
        """
        return ItemLoss(
            self.loss,
            encoder.n_items,
            negatives,
            n_negatives=self.n_negatives,
            calibration=self.calibration,
            log_q=self.log_q,
            prior=self.prior,
        )


def require_causal(encoder: EncoderModule) -> None:
    """Raise `ConfigError` if an encoder sees later events: targets are among them."""
    if not encoder.causal:
        do = "Set encoder.causal=true, or choose an objective for bidirectional encoders."
        expected, found = "a causal encoder for next-item training", "causal=false"
        raise ConfigError("encoder.causal", expected=expected, found=found, do=do)


class NextItem(Objective):
    """``L = mean over events t of loss(h_t . E^T, item_{t+1})``; with softmax ``- log softmax(h_t . E^T)[item_{t+1}]``.

    ``h_t`` is the encoder's output at event t, E the item table (tied). Source: SASRec (Kang & McAuley 2018, section
    III.E) with the softmax of GRU4Rec and SASRec+ (Klenitskiy & Vasilev 2023) instead of one negative per target; gBCE is
    that of gSASRec (Petrov & Macdonald 2023). Deviations: padding is not a class, as it is in several implementations; scores of
    ``bce`` and ``gbce`` are measured from the log-odds of a constant, unless ``prior`` is false.
    """

    def __init__(self, loss: ItemLoss) -> None:
        super().__init__()
        self.loss = loss

    def facts(self) -> dict[str, object]:
        """The loss that ``auto`` chose, and its negatives."""
        return self.loss.facts()

    def on_epoch_start(self, encoder: EncoderModule, store: SequenceStore, examples: Examples) -> None:
        """Let the sampler follow the encoder."""
        del examples
        self.loss.refresh(encoder, store)

    def forward(self, encoder: EncoderModule, batch: JaggedBatch) -> ObjectiveOutput:
        """Mean over all positions of the batch."""
        inputs, target = batch.shifted()
        loss = self.loss(encoder, encoder(inputs).events, target, inputs.owner)
        return ObjectiveOutput(loss, len(target), {self.loss.name: loss.detach()})
