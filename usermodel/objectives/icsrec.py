"""ICSRec as its authors released it: intents from sub-sequences, one pass for each piece of a history.

`usermodel.objectives.packed_intents` has the same supervision from one pass over whole histories.
"""

from __future__ import annotations

from functools import partial

from pydantic import Field, model_validator

from usermodel.batch import JaggedBatch
from usermodel.encoders.encode import encode
from usermodel.encoders.protocol import EncoderModule
from usermodel.losses.info_nce import Similarity, info_nce
from usermodel.losses.softmax import full_softmax
from usermodel.negatives.protocol import NegativeSampler
from usermodel.objectives.intents import Intents
from usermodel.objectives.protocol import Objective, ObjectiveConfig, ObjectiveOutput
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore


class IcsrecConfig(ObjectiveConfig):
    """Weights of the terms, and what of them is switched on; the defaults are those of the released script for Beauty.

    Attributes:
        next_item: Weight of next-item prediction.
        coarse: Weight of the contrast of pieces with the same target item; 0 leaves it out.
        fine: Weight of the contrast with the centroid of each piece's cluster; 0 leaves it out.
        clusters: Clusters, should ``fine`` not be 0.
        temperature: Divides similarities.
        similarity: Of vectors as they are (``dot``), or of their directions.
        mask_false_negatives: Pieces with the same target, or of the same cluster, are no negatives of each other.
        shared_pass: Predict from the pass that is contrasted, as the figure of the paper shows; otherwise from a third one
            with dropout of its own, as the released code does.
    """

    next_item: float = Field(default=1.0, ge=0)
    coarse: float = Field(default=0.3, ge=0)
    fine: float = Field(default=0.1, ge=0)
    clusters: int = Field(default=256, ge=1)
    temperature: float = Field(default=1.0, gt=0)
    similarity: Similarity = "dot"
    mask_false_negatives: bool = True
    shared_pass: bool = False

    @model_validator(mode="after")
    def _something_to_learn(self) -> IcsrecConfig:
        if not (self.next_item or self.coarse or self.fine):
            raise ValueError("one of next_item, coarse and fine above 0")
        if self.shared_pass and not self.wants_partners:
            raise ValueError("shared_pass only with coarse or fine above 0, got both 0")
        return self

    @property
    def wants_partners(self) -> bool:
        """See `ObjectiveConfig.wants_partners`: the positive view of the contrasts."""
        return bool(self.coarse or self.fine)

    def build(self, encoder: EncoderModule, negatives: NegativeSampler | None = None) -> Icsrec:
        """The objective; it has no weights, and remembers centroids."""
        del negatives
        return Icsrec(self, encoder.dim)


class Icsrec(Objective):
    """``L = next_item * CE + coarse * CICL + fine * FICL`` over pieces of histories, each with a partner of the same target.

    With ``h, h+`` the user vectors of piece and partner, y the target item, k the cluster of a vector and ``c_k`` its centroid
    of length 1:

    ``CE = - log softmax(h E^T)[y]``, ``CICL = NCE(h, h+, y)``, ``FICL = NCE(h, c_k, k) + NCE(h+, c_k+, k+)``;
    NCE is `info_nce`, in which equal labels are no negatives.

    Source: Qin et al., WSDM 2024 (arXiv:2310.14318), after the released code. A cluster is the nearest centroid of the vector
    under dropout; centroids are those of k-means over all pieces at the start of the epoch. Deviation: padding and the mask
    item are no classes of the softmax.
    """

    def __init__(self, config: IcsrecConfig, dim: int) -> None:
        super().__init__()
        self.config = config
        self.intents = Intents(config.clusters, dim) if config.fine else None

    def on_epoch_start(self, encoder: EncoderModule, store: SequenceStore, examples: Examples) -> None:
        """Cluster all pieces without their targets."""
        if self.intents is not None:
            pieces = examples.shortened().thinned(self.intents.most_points)
            self.intents.fit(encode(encoder, store, pieces))

    def forward(self, encoder: EncoderModule, batch: JaggedBatch) -> ObjectiveOutput:
        """The last event of each history is its target; without a partner a history is its own, under another dropout."""
        config = self.config
        inputs, target = batch.without_last()
        partners, _ = (batch if batch.partner is None else batch.partner).without_last()
        first = encoder(inputs).users if config.wants_partners else None
        predicted = first if config.shared_pass and first is not None else encoder(inputs).users
        softmax = full_softmax(predicted, encoder.item_vectors(), target - 1)
        loss, parts = config.next_item * softmax, {"softmax": softmax.detach()}
        if first is None:
            return ObjectiveOutput(loss, len(target), parts)
        second = encoder(partners).users
        nce = partial(info_nce, temperature=config.temperature, similarity=config.similarity)
        masked = config.mask_false_negatives
        if config.coarse:
            coarse = nce(first, second, target if masked else None)
            loss, parts["coarse"] = loss + config.coarse * coarse, coarse.detach()
        if self.intents is not None:
            fine = first.new_zeros(())
            for vectors in (first, second):
                number = self.intents.of(vectors)
                fine = fine + nce(vectors, self.intents.prototypes(number), number if masked else None)
            loss, parts["fine"] = loss + config.fine * fine, fine.detach()
        return ObjectiveOutput(loss, len(target), parts)
