"""What users choose among many things, learned from labels: fine-tuning, or a head on a frozen encoder."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from usermodel.batch import JaggedBatch
from usermodel.encoders.encode import encode
from usermodel.encoders.protocol import EncoderModule
from usermodel.heads.user_head import UserHead
from usermodel.metrics.ranking import Ranks
from usermodel.objectives.protocol import Objective, ObjectiveConfig, ObjectiveOutput
from usermodel.objectives.user_vectors import user_vectors
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore

METRICS = ("hit@5", "ndcg@5", "mrr@5", "hit@10", "ndcg@10", "mrr@10", "hit@20", "ndcg@20", "mrr@20")
#: Examples ranked at once.
_ROWS = 1024


class UserChoiceConfig(ObjectiveConfig):
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
        return "user-choice"

    @property
    def measures(self) -> tuple[str, ...]:
        """`METRICS`."""
        return METRICS

    def build_labelled(self, encoder: EncoderModule, answers: tuple[str, ...]) -> UserChoice:
        """The objective, whose head has a score for each thing."""
        return UserChoice(self, UserHead(encoder.dim, self.hidden, answers))


class UserChoice(Objective):
    """``L = - log sigmoid(z_y - z_n)``, with z the scores of all things, y what was chosen and n what was not; mean over choices.

    BPR (Rendle et al. 2009) on the head of `UserAttribute`; with several negatives the mean over them. Source: the tasks click
    and like of AdaptSSR (Yu et al. 2023, arXiv:2310.09706), as released.
    """

    head: UserHead

    def __init__(self, config: UserChoiceConfig, head: UserHead) -> None:
        super().__init__()
        self.config, self.head = config, head

    def forward(self, encoder: EncoderModule, batch: JaggedBatch) -> ObjectiveOutput:
        """A target is a choice."""
        assert batch.label is not None
        scores = self.head(user_vectors(encoder, batch, freeze=self.config.freeze)).float()
        found = scores.gather(1, batch.label)
        losses = -logsigmoid(found[:, :1] - found[:, 1:])
        loss = losses.mean() if batch.n_users else scores.sum()
        return ObjectiveOutput(loss, batch.n_users, {"choices": loss.detach()})

    def measure(self, encoder: EncoderModule, store: SequenceStore, examples: Examples) -> dict[str, float]:
        """Where the choice stands among all things but the user's other choices; mean over choices."""
        ranks = self.ranks(encoder, store, examples)
        return {name: float(ranks.metric(name).mean()) for name in METRICS}

    def ranks(self, encoder: EncoderModule, store: SequenceStore, examples: Examples) -> Ranks:
        """How many things stand above each choice, and level with it."""
        assert examples.label is not None
        vectors = torch.from_numpy(encode(encoder, store, examples))
        label = torch.from_numpy(examples.label)
        pieces = [
            _counts(self.head.scores(vectors[at : at + _ROWS]), label[at : at + _ROWS])
            for at in range(0, len(label), _ROWS)
        ]
        higher, equal, candidates = torch.cat(pieces, 1).numpy()
        return Ranks(higher, equal, candidates)


def _counts(scores: Float[Tensor, "n things"], label: Int64[Tensor, "n answers"]) -> Int64[Tensor, "3 n"]:
    """Things above the first answer, others level with it, and things ranked; the other answers are left out."""
    target = scores.gather(1, label[:, :1])
    out = torch.zeros_like(scores, dtype=torch.bool)
    others = label[:, 1:]
    out.scatter_(1, others.clamp(min=0), others >= 0)
    # A gap is no thing; if it stood for thing 0, that one may have been taken out or put back by the order of writing.
    out[:, 0] = (others == 0).any(1)
    out.scatter_(1, label[:, :1], value=False)
    higher = ((scores > target) & ~out).sum(1)
    equal = ((scores == target) & ~out).sum(1) - 1
    return torch.stack([higher, equal, (~out).sum(1)])
