"""Several objectives at once: the weighted sum of their losses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from pydantic import Field, SerializeAsAny, model_validator
from torch import Tensor, nn

from usermodel.batch import JaggedBatch
from usermodel.config import Config
from usermodel.encoders.protocol import EncoderModule
from usermodel.negatives.protocol import NegativeSampler
from usermodel.objectives.next_item import NextItemConfig
from usermodel.objectives.protocol import Objective, ObjectiveConfig, ObjectiveOutput
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore


class Term(Config):
    """One objective of a sum.

    Attributes:
        objective: Any.
        weight: What its loss is multiplied by.
        name: Stands before the names of its parts; empty means the name of its file, such as ``next_item``.
    """

    objective: SerializeAsAny[ObjectiveConfig] = NextItemConfig()
    weight: float = Field(default=1.0, gt=0)
    name: str = Field(default="", pattern=r"^[a-z0-9_]*$")

    @property
    def title(self) -> str:
        """The name, or what stands for it."""
        return self.name or type(self.objective).__module__.rpartition(".")[2]


class WeightedSumConfig(ObjectiveConfig):
    """What is added up.

    Attributes:
        terms: Objectives and their weights; no two of the same name. Their keys have numbers, such as
            ``objective.terms.0.weight``; other terms are given as a whole, as JSON.
    """

    terms: tuple[Term, ...] = Field(default=(Term(),), min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> WeightedSumConfig:
        titles = [term.title for term in self.terms]
        twice = sorted({title for title in titles if titles.count(title) > 1})
        if twice:
            raise ValueError(f"terms with names that differ (set name), got {', '.join(twice)} twice")
        return self

    @property
    def wants_partners(self) -> bool:
        """See `ObjectiveConfig.wants_partners`: one of them does."""
        return any(term.objective.wants_partners for term in self.terms)

    def draws_negatives(self, n_items: int) -> bool:
        """One of them does."""
        return any(term.objective.draws_negatives(n_items) for term in self.terms)

    def build(self, encoder: EncoderModule, negatives: NegativeSampler | None = None) -> WeightedSum:
        """All of them, with one sampler for those that draw negatives.

        Raises:
            ConfigError: What any of them says of the encoder, or of a sampler that is missing.
        """
        built = [
            term.objective.build(
                encoder, negatives if term.objective.draws_negatives(encoder.n_items) else None
            )
            for term in self.terms
        ]
        return WeightedSum([(term.title, term.weight) for term in self.terms], built)


class WeightedSum(Objective):
    """``L = sum_i w_i L_i``, each term on the whole batch, one after the other, with random draws of its own.

    Each ``L_i`` is the mean over its own targets. ``n_targets`` counts those of all terms: where a batch is cut into parts
    (several processes, ``accumulate``), the mean over parts is that of the uncut batch as far as all terms have targets in
    the same proportion.
    """

    def __init__(self, terms: Sequence[tuple[str, float]], objectives: Sequence[Objective]) -> None:
        super().__init__()
        self.terms, self.objectives = tuple(terms), nn.ModuleList(objectives)

    def facts(self) -> dict[str, object]:
        """The sum in words, and what each term says, behind its name and a slash."""
        found: dict[str, object] = {"loss": " + ".join(f"{weight:g} {title}" for title, weight in self.terms)}
        for title, _, objective in self._each():
            found |= {f"{title}/{key}": fact for key, fact in objective.facts().items()}
        return found

    def on_epoch_start(self, encoder: EncoderModule, store: SequenceStore, examples: Examples) -> None:
        """That of each term."""
        for _, _, objective in self._each():
            objective.on_epoch_start(encoder, store, examples)

    def forward(self, encoder: EncoderModule, batch: JaggedBatch) -> ObjectiveOutput:
        """The sum; ``parts`` are those of each term, without its weight, behind its name and a slash."""
        losses, n_targets = [], 0
        parts: dict[str, Tensor] = {}
        for title, weight, objective in self._each():
            output: ObjectiveOutput = objective(encoder, batch)
            losses.append(weight * output.loss)
            n_targets += output.n_targets
            parts |= {f"{title}/{part}": value for part, value in output.parts.items()}
        return ObjectiveOutput(torch.stack(losses).sum(), n_targets, parts)

    def _each(self) -> Iterator[tuple[str, float, Objective]]:
        for (title, weight), objective in zip(self.terms, self.objectives, strict=True):
            yield title, weight, cast("Objective", objective)
