"""DuoRec: next-item prediction, and the contrast of a history with itself and with another one of the same target."""

from __future__ import annotations

from functools import partial

from pydantic import Field, model_validator

from usermodel.batch import JaggedBatch
from usermodel.encoders.protocol import EncoderModule
from usermodel.losses.info_nce import Similarity, info_nce
from usermodel.losses.softmax import full_softmax
from usermodel.negatives.protocol import NegativeSampler
from usermodel.objectives.protocol import Objective, ObjectiveConfig, ObjectiveOutput


class DuorecConfig(ObjectiveConfig):
    """Weights of the contrasts; the defaults are those of the released script, in which next-item prediction has weight 1.

    Attributes:
        cross: Weight of the contrast of a piece under other dropout with its partner (``us_x`` of the released code).
        unsupervised: Weight of the contrast of a piece with itself under other dropout (``un``).
        supervised: Weight of the contrast of a piece with its partner (``su``; with the one above, ``us``).
        temperature: Divides similarities.
        similarity: Of vectors as they are (``dot``), or of their directions.
    """

    cross: float = Field(default=0.1, ge=0)
    unsupervised: float = Field(default=0.0, ge=0)
    supervised: float = Field(default=0.0, ge=0)
    temperature: float = Field(default=1.0, gt=0)
    similarity: Similarity = "dot"

    @model_validator(mode="after")
    def _something_to_contrast(self) -> DuorecConfig:
        if not (self.cross or self.unsupervised or self.supervised):
            raise ValueError("one of cross, unsupervised and supervised above 0")
        return self

    @property
    def wants_partners(self) -> bool:
        """See `ObjectiveConfig.wants_partners`: pieces with the same target."""
        return bool(self.cross or self.supervised)

    def build(self, encoder: EncoderModule, negatives: NegativeSampler | None = None) -> Duorec:
        """The objective; it has no weights."""
        del encoder, negatives
        return Duorec(self)


class Duorec(Objective):
    """``L = CE + cross NCE(h', s) + unsupervised NCE(h, h') + supervised NCE(h, s)`` over pieces of histories.

    ``h`` and ``h'`` are the user vector of a piece under two dropout masks, ``s`` that of its partner, a piece with the same
    target y drawn at random; ``CE = - log softmax(h E^T)[y]``; ``NCE`` is `info_nce` over the batch without labels: pieces with
    the same target are negatives of each other, as in the released code. Source: Qiu et al., WSDM 2022 (arXiv:2110.05730),
    section 3.3. Deviation: padding is no class of the softmax.
    """

    def __init__(self, config: DuorecConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, encoder: EncoderModule, batch: JaggedBatch) -> ObjectiveOutput:
        """The last event of each history is its target; without a partner a history is its own."""
        config = self.config
        inputs, target = batch.without_last()
        first = encoder(inputs).users
        loss = full_softmax(first, encoder.item_vectors(), target - 1)
        parts = {"softmax": loss.detach()}
        again = encoder(inputs).users if config.cross or config.unsupervised else first
        partner = first
        if config.wants_partners:
            others, _ = (batch if batch.partner is None else batch.partner).without_last()
            partner = encoder(others).users
        pairs = {
            "cross": (config.cross, again, partner),
            "unsupervised": (config.unsupervised, first, again),
            "supervised": (config.supervised, first, partner),
        }
        nce = partial(info_nce, temperature=config.temperature, similarity=config.similarity)
        for name, (weight, one, other) in pairs.items():
            if weight:
                contrast = nce(one, other)
                loss, parts[name] = loss + weight * contrast, contrast.detach()
        return ObjectiveOutput(loss, len(target), parts)
