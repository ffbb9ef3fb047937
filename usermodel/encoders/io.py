"""An encoder as a folder: config.json, model.safetensors, vocabulary.parquet, manifest.json. No pickle anywhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from usermodel import manifest
from usermodel.encoders.protocol import EncoderConfig, EncoderModule
from usermodel.errors import IntegrityError
from usermodel.events.vocabulary import Vocabulary

KIND: Final = "encoder"


@dataclass(frozen=True)
class SavedEncoder:
    """What `load` returns: the weights, what made them, and the items they know."""

    module: EncoderModule
    config: EncoderConfig
    vocabulary: Vocabulary
    content_hash: str


def save(
    path: Path, module: EncoderModule, config: EncoderConfig, vocabulary: Vocabulary, *, meta: dict[str, Any] | None = None
) -> None:
    """Write an encoder folder, complete or not at all; an older one is replaced."""
    with manifest.write_directory(path, KIND, overwrite=True) as draft:
        text = {"n_items": module.n_items, "encoder": config.to_dict()}
        (draft.path / "config.json").write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")
        weights = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
        save_file(weights, draft.path / "model.safetensors")
        vocabulary.save(draft.path / "vocabulary.parquet")
        draft.meta.update(meta or {}, vocabulary_hash=vocabulary.hash)


def load(path: str | Path, *, device: str = "cpu", allow_modules: Sequence[str] = ()) -> SavedEncoder:
    """Read an encoder folder, or the run that holds one.

    Raises:
        MissingError: No encoder there.
        IntegrityError: Damaged files, or weights that do not fit the configuration.
    """
    path = Path(path)
    path = path / "encoder" if (path / "encoder").is_dir() else path
    facts = manifest.read(path, KIND, verify=True)
    text = json.loads((path / "config.json").read_text(encoding="utf-8"))
    config = EncoderConfig.from_dict(text["encoder"], allow_modules=allow_modules)
    vocabulary = Vocabulary.load(path / "vocabulary.parquet")
    if len(vocabulary) != text["n_items"]:
        found = f"{len(vocabulary):,} ids"
        raise IntegrityError(str(path), expected=f"{text['n_items']:,} ids", found=found, do="Copy the folder again.")
    module = config.build(text["n_items"])
    load_weights(module, path / "model.safetensors")
    module.to(device).eval()
    return SavedEncoder(module, config, vocabulary, facts.content_hash)


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Fill a module from a safetensors file; names, shapes and finiteness must fit."""
    try:
        weights: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise IntegrityError(str(path), expected="a safetensors file", found=f"{error!s:.80}", do="Copy it again.") from None
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    if wanted != given:
        odd = sorted(set(wanted.items()) ^ set(given.items()))[0]
        raise IntegrityError(str(path), expected="the weights of its config.json", found=f"{odd[0]} {odd[1]}", do="Keep both together.")
    bad = [name for name, value in weights.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if bad:
        raise IntegrityError(str(path), expected="finite weights", found=f"NaN or infinity in {bad[0]}", do="Use an earlier checkpoint.")
    module.load_state_dict(weights)
