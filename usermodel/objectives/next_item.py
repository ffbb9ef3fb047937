"""Next-item prediction at every position of every history, in one pass."""

from __future__ import annotations

from usermodel.batch import JaggedBatch
from usermodel.encoders.protocol import EncoderModule
from usermodel.errors import ConfigError
from usermodel.losses.softmax import full_softmax
from usermodel.objectives.protocol import Objective, ObjectiveConfig, ObjectiveOutput


class NextItemConfig(ObjectiveConfig):
    """Softmax over the whole catalogue; no options."""

    def build(self, encoder: EncoderModule) -> NextItem:
        """The objective; it has no weights.

        Raises:
            ConfigError: The encoder sees later events, among which are the targets.
        """
        if not encoder.causal:
            do = "Set encoder.causal=true, or choose an objective for bidirectional encoders."
            raise ConfigError(
                "encoder.causal",
                expected="a causal encoder for next-item training",
                found="causal=false",
                do=do,
            )
        return NextItem()


class NextItem(Objective):
    """``L = - mean over events t of log softmax(h_t . E^T)[item_{t+1}]``.

    ``h_t`` is the encoder's output at event t, E the item table (tied). Source: SASRec (Kang & McAuley 2018, section
    III.E) with the softmax of GRU4Rec and SASRec+ (Klenitskiy & Vasilev 2023) instead of one negative per target.
    Deviation from several implementations: padding is not a class.
    """

    def forward(self, encoder: EncoderModule, batch: JaggedBatch) -> ObjectiveOutput:
        """Mean over all positions of the batch."""
        inputs, target = batch.shifted()
        loss = full_softmax(encoder(inputs).events, encoder.item_vectors(), target - 1)
        return ObjectiveOutput(loss, len(target), {"softmax": loss.detach()})
