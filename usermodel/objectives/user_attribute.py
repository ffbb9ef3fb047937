"""Classes of users, learned from labels: fine-tuning, or a head on a frozen encoder."""

from __future__ import annotations

import torch
from pydantic import Field
from torch.nn.functional import cross_entropy

from usermodel.batch import JaggedBatch
from usermodel.encoders.encode import encode
from usermodel.encoders.protocol import EncoderModule
from usermodel.heads.user_head import UserHead
from usermodel.metrics import classification
from usermodel.metrics.estimate import Estimate
from usermodel.objectives.protocol import Objective, ObjectiveConfig, ObjectiveOutput
from usermodel.objectives.user_vectors import user_vectors
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore

METRICS = ("accuracy", "macro_f1", "auc")


class UserAttributeConfig(ObjectiveConfig):
    """The head, and what is trained.

    Attributes:
        hidden: Inner width of the head; 0 makes it linear.
        freeze: Train the head only; the encoder stays as it is, without dropout.
    """

    hidden: int = Field(default=64, ge=0)
    freeze: bool = False

    @property
    def task(self) -> str:
        """See `ObjectiveConfig.task`."""
        return "user-attribute"

    @property
    def measures(self) -> tuple[str, ...]:
        """Those of classes that are better when higher."""
        return METRICS

    def build_labelled(self, encoder: EncoderModule, answers: tuple[str, ...]) -> UserAttribute:
        """The objective, whose head has a score for each class."""
        return UserAttribute(self, UserHead(encoder.dim, self.hidden, answers))


class UserAttribute(Objective):
    """``L = - log softmax(head(u))_y``, with u the vector of a user and y the user's class; mean over users.

    Source: the fine-tuning of AdaptSSR (Yu et al. 2023, arXiv:2310.09706), as released: two linear layers on the vector, and
    everything is trained. Dropout is the encoder's.
    """

    head: UserHead

    def __init__(self, config: UserAttributeConfig, head: UserHead) -> None:
        super().__init__()
        self.config, self.head = config, head

    def forward(self, encoder: EncoderModule, batch: JaggedBatch) -> ObjectiveOutput:
        """A target is a user."""
        assert batch.label is not None
        scores = self.head(user_vectors(encoder, batch, freeze=self.config.freeze)).float()
        # The mean over no user would not be a number.
        loss = cross_entropy(scores, batch.label[:, 0]) if batch.n_users else scores.sum()
        return ObjectiveOutput(loss, batch.n_users, {"classes": loss.detach()})

    def measure(self, encoder: EncoderModule, store: SequenceStore, examples: Examples) -> dict[str, float]:
        """Accuracy, macro-F1 and AUC: see `usermodel.metrics.classification`."""
        found = self.estimates(encoder, store, examples)
        return {name: found[name].value for name in METRICS}

    def estimates(
        self, encoder: EncoderModule, store: SequenceStore, examples: Examples
    ) -> dict[str, Estimate]:
        """All metrics of `usermodel.metrics.classification`, with what every user contributes."""
        assert examples.label is not None
        vectors = torch.from_numpy(encode(encoder, store, examples))
        probability = self.head.scores(vectors).double().softmax(1).numpy()
        return classification.measure(probability, examples.label[:, 0])
