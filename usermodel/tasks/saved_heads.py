"""What saved heads of rows have in common: the features they read rows by, and the vectors they want."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from jaxtyping import Float32
from numpy import ndarray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from usermodel import manifest
from usermodel.encoders.io import load_weights, plain_weights, save_file
from usermodel.errors import IntegrityError, MismatchError
from usermodel.events.vocabulary import Vocabulary
from usermodel.tasks.row_features import RowFeatures
from usermodel.tasks.row_training import require_vectors
from usermodel.tasks.rows import Rows

T = TypeVar("T")
M = TypeVar("M", bound=torch.nn.Module)
_VECTORS: Final = "of_vectors.safetensors"


def save_head(
    path: str | Path,
    kind: str,
    text: dict[str, Any],
    model: torch.nn.Module,
    features: RowFeatures,
    *,
    overwrite: bool,
) -> None:
    """Write config.json, model.safetensors, a Parquet file of the categories of each column, and manifest.json, or nothing."""
    text = text | {
        "features": list(features.names),
        "min_count": features.min_count,
        "max_history": features.max_history,
        "scales": features.scales,
        "categories": list(features.categories),
    }
    with manifest.write_directory(path, kind, overwrite=overwrite) as draft:
        (draft.path / "config.json").write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")
        save_file(plain_weights(model), draft.path / "model.safetensors")
        for number, known in enumerate(features.categories.values()):
            known.save(draft.path / f"categories_{number}.parquet")
        if features.of_vectors is not None:
            mean, scale = (torch.from_numpy(one) for one in features.of_vectors)
            save_file({"mean": mean, "scale": scale}, draft.path / _VECTORS)


def load_head(path: Path, kind: str, rest: Callable[[dict[str, Any]], T]) -> tuple[RowFeatures, T]:
    """The features of a folder, and what ``rest`` makes of its config.json.

    Raises:
        MissingError: None there.
        IntegrityError: Damaged files.
    """
    manifest.read(path, kind, verify=True)
    try:
        text = json.loads((path / "config.json").read_text(encoding="utf-8"))
        return _features(path, text), rest(text)
    except (ValueError, LookupError, TypeError, OSError, SafetensorError) as error:
        expected, do = "what a saved head holds", "Copy the folder again."
        raise IntegrityError(str(path), expected=expected, found=f"{error!r:.80}", do=do) from None


def with_weights(path: Path, build: Callable[[], M]) -> M:
    """A model that is built and given the weights of a folder, to be read from.

    Raises:
        IntegrityError: Weights that do not fit it.
    """
    # Building draws random weights, soon replaced; the caller's random numbers are not ours to move.
    with torch.random.fork_rng(devices=[]):
        model = build()
    load_weights(model, path / "model.safetensors")
    model.eval()
    return model


def require_those_vectors(
    features: RowFeatures, vectors: Float32[ndarray, "rows dim"] | None, rows: Rows
) -> None:
    """Raise unless there are vectors of the width that the head was trained with, or none for one without.

    Raises:
        MismatchError: Others.
        DataError: Another number than rows.
    """
    require_vectors(vectors, rows)
    known, found = features.of_vectors, None if vectors is None else vectors.shape[1]
    wanted = None if known is None else len(known[0])
    if wanted != found:
        words = ["no vectors" if one is None else f"vectors of width {one}" for one in (wanted, found)]
        do = "Encode the rows with the run that the head was trained with."
        raise MismatchError("vectors", expected=words[0], found=words[1], do=do)


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
