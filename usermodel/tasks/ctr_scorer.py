"""A trained CTR head with all that was fitted beside it: scores rows, and is a folder of its own.

The folder holds config.json, model.safetensors, a Parquet file of the categories of each column, and manifest.json.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from usermodel import manifest
from usermodel.encoders.io import load_weights, plain_weights, save_file
from usermodel.errors import IntegrityError, MismatchError
from usermodel.events.vocabulary import Vocabulary
from usermodel.heads.ctr import CtrConfig, CtrModel
from usermodel.heads.row_inputs import RowBatch
from usermodel.metrics.calibration import Calibration
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.row_features import RowFeatures
from usermodel.tasks.row_training import guesses, require_vectors
from usermodel.tasks.rows import Rows

KIND: Final = "ctr-head"
_VECTORS: Final = "of_vectors.safetensors"


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
    def n_parameters(self) -> int:
        """Weights of the head."""
        return sum(weight.numel() for weight in self.model.parameters())

    def log_odds(self, batch: RowBatch, at: Int64[ndarray, " at"]) -> Float64[ndarray, " at"]:
        """Of the rows at some positions, before calibration."""
        return guesses(self.model, lambda rows: self.model(batch.take(rows)), at)

    def probability(
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
        require_vectors(vectors, rows)
        known, dim = self.features.of_vectors, None if vectors is None else vectors.shape[1]
        wanted = None if known is None else len(known[0])
        if wanted != dim:
            do = "Encode the rows with the run that the head was trained with."
            words = "no vectors", "vectors of width {}"
            expected, found = (words[0] if one is None else words[1].format(one) for one in (wanted, dim))
            raise MismatchError("vectors", expected=expected, found=found, do=do)
        batch = self.features.batch(store, rows, vectors)
        return self.calibration.probability(self.log_odds(batch, np.arange(len(rows))))

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the folder, complete or not at all.

        Raises:
            OutputExistsError: There is one, and ``overwrite`` is false.
        """
        features = self.features
        text = {
            "label": self.label,
            "encoder": self.encoder,
            "head": self.config.to_dict(),
            "calibration": {"kind": self.calibration.kind, "weights": self.calibration.weights},
            "features": list(features.names),
            "min_count": features.min_count,
            "max_history": features.max_history,
            "scales": features.scales,
            "categories": list(features.categories),
        }
        with manifest.write_directory(path, KIND, overwrite=overwrite) as draft:
            (draft.path / "config.json").write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")
            save_file(plain_weights(self.model), draft.path / "model.safetensors")
            for number, known in enumerate(features.categories.values()):
                known.save(draft.path / f"categories_{number}.parquet")
            if features.of_vectors is not None:
                mean, scale = (torch.from_numpy(one) for one in features.of_vectors)
                save_file({"mean": mean, "scale": scale}, draft.path / _VECTORS)

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
        manifest.read(path, KIND, verify=True)
        try:
            text = json.loads((path / "config.json").read_text(encoding="utf-8"))
            features = _features(path, text)
            calibration = Calibration(
                text["calibration"]["kind"],
                tuple((float(one), float(other)) for one, other in text["calibration"]["weights"]),
            )
            label, encoder, head = str(text["label"]), str(text["encoder"]), dict(text["head"])
        except (ValueError, LookupError, TypeError, OSError, SafetensorError) as error:
            expected, do = "what a saved head holds", "Copy the folder again."
            raise IntegrityError(str(path), expected=expected, found=f"{error!r:.80}", do=do) from None
        config = CtrConfig.from_dict(head, allow_modules=allow_modules)
        # Building draws random weights, soon replaced; the caller's random numbers are not ours to move.
        with torch.random.fork_rng(devices=[]):
            model = config.build(features.shape)
        load_weights(model, path / "model.safetensors")
        return CtrScorer(config, model.eval(), features, calibration, label, encoder)


def _features(path: Path, text: dict[str, Any]) -> RowFeatures:
    categories = {
        name: Vocabulary.load(path / f"categories_{number}.parquet")
        for number, name in enumerate(text["categories"])
    }
    scales = {name: (float(mean), float(std)) for name, (mean, std) in text["scales"].items()}
    vectors = None
    if (path / _VECTORS).exists():
        found = load_file(path / _VECTORS)
        vectors = found["mean"], found["scale"]
    names = tuple(map(str, text["features"]))
    return RowFeatures(names, int(text["min_count"]), int(text["max_history"]), categories, scales, vectors)
