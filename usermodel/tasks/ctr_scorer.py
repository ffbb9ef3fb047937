"""A trained CTR head with all that was fitted beside it: scores rows, and is a folder of its own, see `usermodel.tasks.saved_heads`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from usermodel.heads.ctr import CtrConfig, CtrModel
from usermodel.heads.row_inputs import RowBatch
from usermodel.metrics.calibration import Calibration
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.row_features import RowFeatures
from usermodel.tasks.row_training import guesses
from usermodel.tasks.rows import Rows
from usermodel.tasks.saved_heads import load_head, require_those_vectors, save_head, with_weights

KIND: Final = "ctr-head"


@dataclass(frozen=True)
class CtrScorer:
    """From rows to probabilities of a click.

    Attributes:
        config: Of the head.
        model: The head.
        features: Read the rows as they were read for training.
        calibration: Of its log-odds.
        label: What is predicted, see `usermodel.tasks.ctr.Ctr`.
        encoder: Content hash of the encoder whose vectors it reads; empty for none.
    """

    config: CtrConfig
    model: CtrModel
    features: RowFeatures
    calibration: Calibration
    label: str
    encoder: str = ""

    @property
    def column(self) -> str:
        """Name of what `predict` gives."""
        return "probability"

    @property
    def n_parameters(self) -> int:
        """Weights of the head."""
        return sum(weight.numel() for weight in self.model.parameters())

    def log_odds(self, batch: RowBatch, at: Int64[ndarray, " at"]) -> Float64[ndarray, " at"]:
        """Of the rows at some positions, before calibration."""
        return guesses(self.model, lambda rows: self.model(batch.take(rows)), at)

    def predict(
        self, store: SequenceStore, rows: Rows, vectors: Float32[ndarray, "rows dim"] | None = None
    ) -> Float64[ndarray, " rows"]:
        """That each row is clicked.

        Args:
            store: Holds the histories, the items and what is known of both.
            rows: Of this store, see `usermodel.tasks.rows.new_rows`.
            vectors: User vectors of the encoder that the head was trained with; None for a head without.

        Raises:
            MismatchError: Vectors for a head without, none for one with, or others.
            DataError: A column that is not there any more.
        """
        require_those_vectors(self.features, vectors, rows)
        batch = self.features.batch(store, rows, vectors)
        return self.calibration.probability(self.log_odds(batch, np.arange(len(rows))))

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the folder, complete or not at all.

        Raises:
            OutputExistsError: There is one, and ``overwrite`` is false.
        """
        text = {
            "label": self.label,
            "encoder": self.encoder,
            "head": self.config.to_dict(),
            "calibration": {"kind": self.calibration.kind, "weights": self.calibration.weights},
        }
        save_head(path, KIND, text, self.model, self.features, overwrite=overwrite)

    @staticmethod
    def load(path: str | os.PathLike[str], *, allow_modules: Sequence[str] = ()) -> CtrScorer:
        """Read a folder.

        Args:
            path: What `save` wrote.
            allow_modules: Modules outside usermodel whose classes the head may name.

        Raises:
            MissingError: None there.
            IntegrityError: Damaged files.
            ConfigError: A head of a module that is not allowed.
        """
        path = Path(path)

        def rest(text: dict[str, Any]) -> tuple[Calibration, str, str, dict[str, Any]]:
            weights = tuple((float(one), float(other)) for one, other in text["calibration"]["weights"])
            calibration = Calibration(text["calibration"]["kind"], weights)
            return calibration, str(text["label"]), str(text["encoder"]), dict(text["head"])

        features, (calibration, label, encoder, head) = load_head(path, KIND, rest)
        config = CtrConfig.from_dict(head, allow_modules=allow_modules)
        model = with_weights(path, lambda: config.build(features.shape))
        return CtrScorer(config, model, features, calibration, label, encoder)
