"""What every pretraining objective is: an encoder and a batch in, a loss out.

The encoder is an argument, not a member: an exported encoder never carries pretraining heads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor, nn

from usermodel.batch import JaggedBatch
from usermodel.config import Config
from usermodel.encoders.protocol import EncoderModule
from usermodel.errors import ConfigError
from usermodel.heads.user_head import UserHead
from usermodel.negatives.protocol import NegativeSampler
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore


@dataclass(frozen=True)
class ObjectiveOutput:
    """The loss and what it is made of.

    Attributes:
        loss: Scalar to minimise.
        n_targets: Supervised targets behind it.
        parts: Named terms, detached, for logs; the same names in the same order for every batch, an empty one included,
            because processes add them up.
    """

    loss: Float[Tensor, ""]
    n_targets: int
    parts: dict[str, Tensor] = field(default_factory=dict)


class Objective(nn.Module, ABC):
    """A loss with, perhaps, heads of its own.

    Attributes:
        head: The one that a finished run keeps beside its encoder, because it answers questions about users; None for
            objectives that are only there to train the encoder.
    """

    head: UserHead | None

    def __init__(self) -> None:
        super().__init__()
        self.head = None

    @abstractmethod
    def forward(self, encoder: EncoderModule, batch: JaggedBatch) -> ObjectiveOutput:
        """The loss of a batch; finite for one user, one event, and no target at all."""

    def facts(self) -> dict[str, object]:
        """What the objective decided by itself, for the run's manifest; plain data."""
        return {}

    def on_epoch_start(self, encoder: EncoderModule, store: SequenceStore, examples: Examples) -> None:
        """Called before the first step of each epoch, with torch's generator seeded.

        What it computes must be kept in buffers, which checkpoints save: a resumed epoch does not start again.

        Args:
            encoder: With the weights that the epoch begins with.
            store: Holds the events.
            examples: Those of the epoch, in the order of the sampler; every rank has all of them.
        """
        del encoder, store, examples

    def measure(self, encoder: EncoderModule, store: SequenceStore, examples: Examples) -> dict[str, float]:
        """How well the head answers for held-out examples; higher is better. For objectives with a ``head``.

        Args:
            encoder: Finds the vectors.
            store: Holds the events.
            examples: See `SamplerConfig.held_out`.
        """
        raise NotImplementedError

    def kept(self, encoder: EncoderModule) -> nn.Module:
        """What a run keeps the best weights of: the encoder, and the ``head`` where there is one."""
        return encoder if self.head is None else nn.ModuleDict({"encoder": encoder, "head": self.head})


class ObjectiveConfig(Config):
    """Base of objective configurations."""

    @property
    def task(self) -> str | None:
        """The task that the head answers, for objectives that learn from labels; None for the others."""
        return None

    @property
    def wants_labels(self) -> bool:
        """Whether batches must have labels; `build_labelled` then takes the place of `build`."""
        return self.task is not None

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of what `Objective.measure` finds; for objectives that want labels."""
        return ()

    @property
    def wants_partners(self) -> bool:
        """Whether batches must have partners: ``sampling.partner`` decides."""
        return False

    def draws_negatives(self, n_items: int) -> bool:
        """Whether `build` wants a sampler of negatives for a catalogue."""
        del n_items
        return False

    def build(self, encoder: EncoderModule, negatives: NegativeSampler | None = None) -> Objective:
        """A new objective for an encoder.

        Args:
            encoder: What it will be used with; not kept.
            negatives: Given where `draws_negatives` says so.

        Raises:
            ConfigError: An objective with labels inside another one.
        """
        del encoder, negatives
        if self.wants_labels:
            name, do = type(self).__name__, "Take it as the objective of a stage of its own."
            raise ConfigError("objective", expected=f"{name} by itself", found="it inside another one", do=do)
        raise NotImplementedError

    def build_labelled(self, encoder: EncoderModule, answers: tuple[str, ...]) -> Objective:
        """A new objective with a head for some answers.

        Args:
            encoder: What it will be used with; not kept.
            answers: What the numbers of labels stand for.
        """
        raise NotImplementedError
