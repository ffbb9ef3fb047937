"""One encoder, many sizes: any objective at several depths and widths of the encoder at once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
from pydantic import Field, SerializeAsAny, model_validator
from torch import Tensor, nn
from torch.nn.functional import kl_div

from usermodel.batch import JaggedBatch
from usermodel.config import Config
from usermodel.encoders.protocol import EncoderModule
from usermodel.encoders.sub_model import Passes, SubModel
from usermodel.errors import ConfigError
from usermodel.negatives.protocol import NegativeSampler
from usermodel.objectives.next_item import NextItemConfig
from usermodel.objectives.protocol import Objective, ObjectiveConfig, ObjectiveOutput
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore


class Size(Config):
    """A part of an encoder.

    Attributes:
        width: Numbers of each vector that are used, the first ones.
        layers: Layers that are used, the first ones; None means all.
    """

    width: int = Field(ge=1)
    layers: int | None = Field(default=None, ge=1)


class MatryoshkaConfig(ObjectiveConfig):
    """What is trained at which sizes.

    Attributes:
        objective: Any.
        sizes: Beside the whole encoder; None means one layer less at half the width and two less at a quarter, one layer at
            least. On a command line: ``objective.sizes=[{"width": 16, "layers": 1}]``.
        distillation: Weight of each size's distance from the scores of the whole encoder; 0 leaves it out.
    """

    objective: SerializeAsAny[ObjectiveConfig] = NextItemConfig()
    sizes: tuple[Size, ...] | None = Field(default=None, min_length=1)
    distillation: float = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _sizes_differ(self) -> MatryoshkaConfig:
        if self.sizes is not None and len(set(self.sizes)) < len(self.sizes):
            raise ValueError("sizes that differ")
        return self

    @property
    def wants_partners(self) -> bool:
        """See `ObjectiveConfig.wants_partners`."""
        return self.objective.wants_partners

    def draws_negatives(self, n_items: int) -> bool:
        """As the objective does."""
        return self.objective.draws_negatives(n_items)

    def build(self, encoder: EncoderModule, negatives: NegativeSampler | None = None) -> Matryoshka:
        """The objective once for each size, each with weights, memory and a sampler of its own.

        Raises:
            ConfigError: A size that is no part of the encoder; or what the objective says of the encoder or of a sampler.
        """
        whole = (encoder.n_depths, encoder.dim)
        sizes = _halves(*whole) if self.sizes is None else [_size(one, *whole) for one in self.sizes]
        if len(set(sizes)) < len(sizes):
            found = ", ".join(f"{layers} x {width}" for layers, width in sizes)
            do = "Drop one of them."
            raise ConfigError("objective.sizes", expected="sizes that differ", found=found, do=do)
        sizes = [whole, *sizes]
        built = [self.objective.build(SubModel(encoder, *size), copy.deepcopy(negatives)) for size in sizes]
        return Matryoshka(sizes, built, self.distillation)


class Matryoshka(Objective):
    """``L = sum_p L_objective(h^(layers_p)[:width_p] , E[:, :width_p]) + distillation * sum_p KL_p``, p over all sizes.

    ``h^(l)`` is what the first l layers give, E the item table. ``KL_p`` compares scores of each user for the items of the
    batch: ``KL(softmax(u E^T) || softmax(u_p E_p^T))``, the whole encoder's without gradient; the mean over users and passes.
    The encoder runs once for all sizes, so these see the same dropout, views and negatives.

    Source: 2-D Matryoshka (Li et al. 2024, arXiv:2402.14776) with fixed pairs of depth and width, all of them in every step,
    as in Starbucks (Zhuang et al. 2024, arXiv:2410.13230). Deviations: scores are of users and items, in Starbucks of queries
    and documents; no pretraining with masks at each size: put `MaskedItemConfig` inside for that.
    """

    def __init__(
        self, sizes: Sequence[tuple[int, int]], objectives: Sequence[Objective], distillation: float
    ) -> None:
        super().__init__()
        self.sizes, self.objectives, self.distillation = tuple(sizes), nn.ModuleList(objectives), distillation

    def facts(self) -> dict[str, object]:
        """Those of the objective, and the sizes."""
        sizes = [{"layers": layers, "width": width} for layers, width in self.sizes]
        return cast("Objective", self.objectives[0]).facts() | {"sizes": sizes}

    def on_epoch_start(self, encoder: EncoderModule, store: SequenceStore, examples: Examples) -> None:
        """That of each size."""
        for size, objective in zip(self.sizes, self.objectives, strict=True):
            cast("Objective", objective).on_epoch_start(SubModel(encoder, *size), store, examples)

    def forward(self, encoder: EncoderModule, batch: JaggedBatch) -> ObjectiveOutput:
        """The sum; ``parts`` are those of each size behind ``layers x width``, as in ``1x32/softmax``; targets count once."""
        passes = Passes(encoder)
        outputs: list[ObjectiveOutput] = []
        for size, objective in zip(self.sizes, self.objectives, strict=True):
            passes.rewind()
            outputs.append(objective(SubModel(passes, *size), batch))
        loss = torch.stack([output.loss for output in outputs]).sum()
        parts = {
            f"{layers}x{width}/{name}": value
            for (layers, width), output in zip(self.sizes, outputs, strict=True)
            for name, value in output.parts.items()
        }
        if self.distillation:
            distance = self._distance(passes)
            loss, parts["distillation"] = loss + self.distillation * distance, distance.detach()
        return ObjectiveOutput(loss, outputs[0].n_targets, parts)

    def _distance(self, passes: Passes) -> Tensor:
        """Sum over sizes, mean over users and passes."""
        total, n = passes.item_vectors()[:0].sum(), 0
        for one in passes.kept:
            items = passes.item_vectors(torch.unique(one.batch.item_index))
            wanted = (one.depths[-1].users @ items.T).detach().softmax(1)
            n += one.batch.n_users
            for layers, width in self.sizes[1:]:
                scores = one.depths[layers - 1].users[:, :width] @ items[:, :width].T
                total = total + kl_div(scores.log_softmax(1), wanted, reduction="sum")
        return total / max(n, 1)


def _halves(layers: int, width: int) -> list[tuple[int, int]]:
    found = [(max(layers - i, 1), width >> i) for i in (1, 2) if width >> i]
    if not found:
        expected, do = "an encoder of at least 2 numbers a vector", "Raise encoder.dim."
        raise ConfigError("objective.sizes", expected=expected, found=f"dim={width}", do=do)
    return found


def _size(size: Size, layers: int, width: int) -> tuple[int, int]:
    pair = (size.layers or layers, size.width)
    if pair == (layers, width) or pair[0] > layers or pair[1] > width:
        expected = f"sizes less than the whole encoder, which has {layers} layers and width {width}"
        found = f"{pair[0]} layers and width {pair[1]}"
        raise ConfigError("objective.sizes", expected=expected, found=found, do="Change the size.")
    return pair
