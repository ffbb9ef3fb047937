"""A recipe: the whole configuration of a pretraining run as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from usermodel.config import Config
from usermodel.encoders.protocol import EncoderConfig
from usermodel.encoders.transformer import TransformerConfig
from usermodel.events.splits import LeaveLastOutConfig, SplitConfig
from usermodel.negatives.protocol import NegativesConfig
from usermodel.negatives.uniform import UniformConfig
from usermodel.objectives.next_item import NextItemConfig
from usermodel.objectives.protocol import ObjectiveConfig
from usermodel.sampling.all_positions import AllPositionsConfig
from usermodel.sampling.protocol import SamplerConfig

#: Metrics of `usermodel.metrics.classification` that are better when higher.
OF_CLASSES: Final = ("accuracy", "macro_f1", "auc")


class DataConfig(Config):
    """What part of the store trains.

    Attributes:
        split: ``leave-last-out``, ``global-time``, ``user-ratio``, ``user-split`` or ``rolling``; saved with the run, and
            ``evaluate`` uses it.
    """

    split: SplitConfig = LeaveLastOutConfig()


class TrainingConfig(Config):
    """How the loop runs.

    Attributes:
        max_epochs: Passes over the training histories, at most.
        max_steps: Optimiser steps, at most; None means no limit.
        batch_events: Events a batch, about, over all processes.
        batch_users: Histories a batch; when given, ``batch_events`` is not used.
        accumulate: Batches whose gradients are added up before each step: the same steps as with batches that many times
            as large, in less memory, but for what is drawn: each batch draws negatives and dropout of its own.
        optimiser: ``adam`` or ``adamw`` (decoupled decay).
        learning_rate: Step size after warm-up.
        weight_decay: For ``adamw`` decoupled, for ``adam`` added to the gradient.
        row_updates: Of item tables: ``dense`` changes all rows in every step; ``lazy`` changes a row when it is read, with what
            it has missed, which is the same up to rounding and needs a loss that draws negatives; ``auto`` is lazy where
            that is possible and faster. See `usermodel.training.lazy_adam`.
        warmup_steps: Steps over which the step size rises from zero, linearly.
        schedule: What follows the warm-up: ``constant``, or a fall to zero over the rest of ``max_steps`` or of
            ``max_epochs`` epochs, whichever is less: ``cosine`` or ``linear``; or ``plateau``, which lowers the step size when
            validations count as no better. Training then goes on from the weights it has, not from the best ones.
        plateau_factor: What each fall of ``plateau`` multiplies the step size by; None means 0.2.
        plateau_drops: How many such falls there are before ``patience`` ends training; None means 2.
        clip_norm: Length to which the gradient of all weights is shortened; None means never.
        ema: Decay of a moving average of the encoder's weights, such as 0.999; validation and the finished run then use
            the average. 0 means none.
        monitor: Validation metric that decides which weights are kept; higher is better: ``hit@k``, ``ndcg@k`` or ``mrr``; with
            labels of classes ``accuracy``, ``macro_f1`` or ``auc``. ``none`` validates nothing and keeps
            the last weights: for objectives whose vectors are not meant to rank items.
        patience: Validations in a row that count as no better before training stops, or the step size of ``plateau`` falls;
            the count then begins again.
        min_improvement: Share of the best value by which a validation must exceed it to count as better; the weights of a
            lesser one are kept all the same.
        validate_every: Epochs between validations.
        checkpoint_every_s: Seconds between checkpoints.
        seed: Seed of everything random.
        precision: ``fp32``; ``bf16`` (products and probabilities of the catalogue loss in bfloat16, weights and sums in
            float32; products and attention of the encoder too, on a GPU and from 256 numbers a vector); or ``auto``: bf16
            where the processor has it.
        devices: Processes to train with on this machine, one a GPU where there are GPUs; torchrun decides for itself. N of
            them take the steps of one, up to rounding; with dropout or sampled losses, those of one that accumulates N
            batches a N-th as large, because each part of a batch draws its own numbers, the same at any rank.
        timeout_s: Seconds that a process waits for the others before it gives up; more than a ``validate`` of your own takes.
        log: ``csv`` (metrics.csv alone), or ``tensorboard`` beside it.
    """

    max_epochs: int = Field(default=200, ge=1)
    max_steps: int | None = Field(default=None, ge=1)
    batch_events: int = Field(default=512, ge=1)
    batch_users: int | None = Field(default=None, ge=1)
    accumulate: int = Field(default=1, ge=1)
    optimiser: Literal["adam", "adamw"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    row_updates: Literal["auto", "dense", "lazy"] = "auto"
    warmup_steps: int = Field(default=0, ge=0)
    schedule: Literal["constant", "cosine", "linear", "plateau"] = "constant"
    plateau_factor: float | None = Field(default=None, gt=0, lt=1)
    plateau_drops: int | None = Field(default=None, ge=1)
    clip_norm: float | None = Field(default=None, gt=0)
    ema: float = Field(default=0.0, ge=0, lt=1)
    monitor: str = Field(
        default="ndcg@10", pattern=rf"^((hit|ndcg)@[1-9]\d*|mrr|{'|'.join(OF_CLASSES)}|none)$"
    )
    patience: int = Field(default=5, ge=1)
    min_improvement: float = Field(default=0.0, ge=0)
    validate_every: int = Field(default=1, ge=1)
    checkpoint_every_s: float = Field(default=300.0, gt=0)
    seed: int = Field(default=0, ge=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    devices: int = Field(default=1, ge=1)
    timeout_s: float = Field(default=1800.0, gt=0)
    log: Literal["csv", "tensorboard"] = "csv"


class Recipe(Config):
    """Everything that decides what a run computes, beside the store itself.

    Attributes:
        data: What part of the store trains.
        sampling: Which slices become examples.
        encoder: What is trained.
        objective: What it is trained for.
        negatives: Where negatives come from, for objectives that draw any.
        training: How the loop runs.
        stages: Recipes that run before this one, in order. Each starts with the encoder of the one before it, as far as names
            and shapes of weights agree; all must hold out the same events.
    """

    data: DataConfig = DataConfig()
    sampling: SerializeAsAny[SamplerConfig] = AllPositionsConfig()
    encoder: SerializeAsAny[EncoderConfig] = TransformerConfig()
    objective: SerializeAsAny[ObjectiveConfig] = NextItemConfig()
    negatives: SerializeAsAny[NegativesConfig] = UniformConfig()
    training: TrainingConfig = TrainingConfig()
    stages: tuple[Recipe, ...] = ()

    @model_validator(mode="after")
    def _stages_fit(self) -> Recipe:
        for number, stage in enumerate(self.stages):
            if stage.stages:
                raise ValueError(f"stages without stages of their own, got some in stages.{number}")
            if stage.data != self.data:
                raise ValueError(f"the same data in all stages, got another in stages.{number}")
        return self

    def override(self, assignments: Mapping[str, Any]) -> Self:
        """See `Config.override`; what is set of ``data`` is set in all stages, because they must have the same.

        Raises:
            ConfigError: See `Config.override`.
        """
        of_data = {key: value for key, value in assignments.items() if key.partition(".")[0] == "data"}
        if not (of_data and self.stages):
            return super().override(assignments)
        data = Recipe(data=self.data).override(of_data).data
        stages = tuple(stage.model_copy(update={"data": data}) for stage in self.stages)
        same = self.model_copy(update={"data": data, "stages": stages})
        return super(Recipe, same).override({key: v for key, v in assignments.items() if key not in of_data})

    def before(self) -> Recipe | None:
        """The stage before this one, with those before it; None where nothing runs first."""
        return self.stages[-1].model_copy(update={"stages": self.stages[:-1]}) if self.stages else None
