"""A trained watch-time head with all that was fitted beside it: guesses rows to come, and is a folder of its own, see `usermodel.tasks.saved_heads`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray
from safetensors.torch import load_file

from usermodel.heads.row_inputs import RowBatch
from usermodel.heads.watch_time_model import WatchTimeModel, WatchTimeModelConfig
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.row_columns import durations
from usermodel.tasks.row_features import RowFeatures
from usermodel.tasks.row_training import guesses
from usermodel.tasks.rows import Rows
from usermodel.tasks.saved_heads import load_head, require_those_vectors, save_head, with_weights

KIND: Final = "watch-time-head"
Target = Literal["seconds", "ratio"]


@dataclass(frozen=True)
class WatchTimeScorer:
    """From rows to watch times.

    Attributes:
        config: Of the model.
        model: The model, with the statistics of its training labels.
        features: Read the rows as they were read for training.
        target: What is guessed: seconds, or the ratio of watch time to duration.
        encoder: Content hash of the encoder whose vectors it reads; empty for none.
    """

    config: WatchTimeModelConfig
    model: WatchTimeModel
    features: RowFeatures
    target: Target
    encoder: str = ""

    @property
    def column(self) -> str:
        """Name of what `predict` gives."""
        return "watch_time_s" if self.target == "seconds" else "watch_ratio"

    @property
    def label(self) -> str:
        """What is predicted, in words."""
        return "watch time in seconds" if self.target == "seconds" else "watch time over duration"

    def guess(
        self, batch: RowBatch, duration: Float64[ndarray, " rows"], at: Int64[ndarray, " at"]
    ) -> Float64[ndarray, " at"]:
        """Of the rows at some positions."""
        of = torch.from_numpy(duration).float()
        return guesses(self.model, lambda rows: self.model(batch.take(rows), of[rows]), at)

    def predict(
        self, store: SequenceStore, rows: Rows, vectors: Float32[ndarray, "rows dim"] | None = None
    ) -> Float64[ndarray, " rows"]:
        """Watch time of each row, if it is watched.

        Args:
            store: Holds the histories, the items and what is known of both.
            rows: Of this store, see `usermodel.tasks.rows.new_rows`. Durations are those of their column ``duration_ms``, or of the item's
                last event before.
            vectors: User vectors of the encoder that the head was trained with; None for a head without.

        Raises:
            MismatchError: Vectors for a head without, none for one with, or others.
            DataError: A column that is not there any more.
        """
        require_those_vectors(self.features, vectors, rows)
        batch = self.features.batch(store, rows, vectors)
        return self.guess(batch, durations(store, rows), np.arange(len(rows)))

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the folder, complete or not at all.

        Raises:
            OutputExistsError: There is one, and ``overwrite`` is false.
        """
        text = {"target": self.target, "encoder": self.encoder, "model": self.config.to_dict()}
        save_head(path, KIND, text, self.model, self.features, overwrite=overwrite)

    @staticmethod
    def load(path: str | os.PathLike[str], *, allow_modules: Sequence[str] = ()) -> WatchTimeScorer:
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

        def rest(text: dict[str, Any]) -> tuple[Target, str, dict[str, Any], dict[str, torch.Tensor]]:
            target: Target = "ratio" if text["target"] == "ratio" else "seconds"
            weights = load_file(path / "model.safetensors")
            return target, str(text["encoder"]), dict(text["model"]), weights

        features, (target, encoder, saved, weights) = load_head(path, KIND, rest)
        config = WatchTimeModelConfig.from_dict(saved, allow_modules=allow_modules)
        statistics = {
            name.removeprefix("head."): one for name, one in weights.items() if name.startswith("head.")
        }
        model = with_weights(path, lambda: config.build(features.shape, statistics))
        return WatchTimeScorer(config, model, features, target, encoder)
