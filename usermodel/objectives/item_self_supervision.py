"""Self-supervision of the item tower: two views of an item, each without some of its features, are nearest to each other."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Bool, Integer
from numpy import ndarray
from pydantic import Field
from torch import Tensor, nn

from usermodel.batch import JaggedBatch
from usermodel.encoders.protocol import EncoderModule
from usermodel.errors import ConfigError
from usermodel.losses.info_nce import info_nce
from usermodel.negatives.protocol import NegativeSampler
from usermodel.nn.item_features import ItemFeatures
from usermodel.objectives.feature_information import information_matrix, masked_together, numbers_as_codes
from usermodel.objectives.protocol import Objective, ObjectiveConfig, ObjectiveOutput

Masking = Literal["correlated", "random"]
#: What is counted as a feature beside the columns.
ID: Final = "item_id"
#: Items from which mutual information is counted, at most; they are evenly spaced.
COUNTED: Final = 1 << 18
#: Of the vectors that stand for hidden features; that of other tables.
INIT_STD: Final = 0.02


class ItemSelfSupervisionConfig(ObjectiveConfig):
    """Which items are compared, and what is hidden of them. A term of `WeightedSumConfig`, whose weight is the paper's alpha.

    Attributes:
        masking: ``correlated``: a feature, drawn for each batch, and those that tell most about it; ``random``: a half of them.
        batch_items: Items drawn for each batch.
        temperature: Divides the cosines.
        value_dropout: Probability with which each value is left out of a feature that has several, such as genres.
    """

    masking: Masking = "correlated"
    batch_items: int = Field(default=256, ge=2)
    temperature: float = Field(default=0.1, gt=0)
    value_dropout: float = Field(default=0.1, ge=0, lt=1)

    def build(self, encoder: EncoderModule, negatives: NegativeSampler | None = None) -> ItemSelfSupervision:
        """The objective; its weights are the vectors that stand for hidden features.

        Raises:
            ConfigError: The encoder knows nothing of items but their ids, or does not score with what it knows.
        """
        del negatives
        features = encoder.scored_features()
        if features is None:
            do = "Name columns in encoder.inputs.item_features, and set encoder.inputs.score_item_features=true."
            expected = "item features that score, because some are hidden"
            raise ConfigError("encoder.inputs", expected=expected, found="none", do=do)
        names = [ID, *(one.name for one in encoder.catalogue().item_features)]
        return ItemSelfSupervision(self, encoder, features, names)


class ItemSelfSupervision(Objective):
    """``L = mean over items i, both ways, of - log( exp(cos(z_i, z'_i) / t) / sum_j exp(cos(z_i, z'_j) / t) )``.

    Items are drawn evenly from the catalogue, whatever the batch holds. ``z`` is the item's vector with learned vectors in place of
    the features of a mask, ``z'`` that with the mask's complement; single values of features with several are left out at random.
    The id is one of the features. With ``correlated`` masks a feature, drawn for each batch, is hidden together with the
    ``floor(k / 2)`` of the k features whose mutual information with it is largest (fewer if nothing would be left); because the id
    tells everything about any feature, it is then always on the side of the drawn one.

    Source: Yao et al. 2021 (arXiv:2007.12865, section 3). Deviations: item vectors are sums, without layers above; both views are
    anchors in turn; the same item drawn twice is no negative of itself. Temperature, dropout and number of items are not from the
    paper.
    """

    def __init__(
        self,
        config: ItemSelfSupervisionConfig,
        encoder: EncoderModule,
        features: ItemFeatures,
        names: list[str],
    ) -> None:
        super().__init__()
        self.config, self.names = config, names
        self.hidden = nn.Parameter(torch.randn(len(names), encoder.dim) * INIT_STD)
        if config.masking == "correlated":
            together = masked_together(information_matrix(_values(features, encoder.n_items)))
            self.register_buffer("together", torch.from_numpy(together))
            self.together: Tensor

    def facts(self) -> dict[str, object]:
        """What is hidden, and with what."""
        if self.config.masking == "random":
            return {"loss": "info_nce"}
        together = {
            name: [other for other, marked in zip(self.names, row, strict=True) if marked and other != name]
            for name, row in zip(self.names, self.together.tolist(), strict=True)
        }
        return {"loss": "info_nce", "hidden_with": together}

    def draw_mask(self) -> Bool[Tensor, " features"]:
        """What the first view hides, the id first; the second hides the others. Each hides something and shows something."""
        k, device = len(self.names), self.hidden.device
        if self.config.masking == "correlated":
            return self.together[torch.randint(k, (), device=device)]
        return torch.randperm(k, device=device) < k // 2

    def forward(self, encoder: EncoderModule, batch: JaggedBatch) -> ObjectiveOutput:
        """The same whatever the batch: it says where to compute only."""
        config, device = self.config, batch.item_index.device
        index = torch.randint(1, encoder.n_items + 1, (config.batch_items,), device=device)
        # Each feature is shown in one view: one look at each serves both.
        parts = encoder.item_parts(index, value_dropout=config.value_dropout)
        mask, hidden = self.draw_mask()[:, None, None], self.hidden[:, None]
        first = torch.where(mask, hidden, parts).sum(0)
        second = torch.where(mask, parts, hidden).sum(0)
        loss = info_nce(
            first,
            second,
            index,
            temperature=config.temperature,
            similarity="cosine",
            # Items that share all that a view shows are alike in it, and no fault of the vectors.
            negatives="other",
        )
        return ObjectiveOutput(loss, len(index), {"info_nce": loss.detach()})


def _values(features: ItemFeatures, n_items: int) -> list[Integer[ndarray, "items _"]]:
    """Of the id and of each feature, as codes, of all items or of some evenly spaced ones."""
    index = np.arange(1, n_items + 1, -(-n_items // COUNTED))
    found: list[Integer[ndarray, "items _"]] = [index[:, None]]
    for values in features.tables():
        own = values.detach().cpu().numpy()[index]
        found.append(own if np.issubdtype(own.dtype, np.integer) else numbers_as_codes(own))
    return found
