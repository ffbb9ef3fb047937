"""An encoder as a folder: config.json, model.safetensors, vocabulary.parquet, manifest.json. No pickle anywhere.

A README.md beside them is the model card. No manifest lists it, so it may be edited or missing.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save_file as write_tensors
from torch import Tensor

from usermodel import manifest
from usermodel.encoders.catalogue import Catalogue
from usermodel.encoders.protocol import EncoderConfig, EncoderModule
from usermodel.errors import ConfigError, IntegrityError, MismatchError
from usermodel.events.vocabulary import Vocabulary

KIND: Final = "encoder"
#: What loading reads and checksums cover; a run lists them in its own manifest too.
FILES: Final = ("config.json", "model.safetensors", "vocabulary.parquet", manifest.NAME)
CARD: Final = "README.md"


@dataclass(frozen=True)
class SavedEncoder:
    """What `load` returns: the weights, what made them, and the items they know."""

    module: EncoderModule
    config: EncoderConfig
    vocabulary: Vocabulary
    content_hash: str


def save(
    path: Path,
    module: EncoderModule,
    config: EncoderConfig,
    vocabulary: Vocabulary,
    *,
    meta: dict[str, Any] | None = None,
) -> None:
    """Write an encoder folder, complete or not at all; an older one is replaced.

    Raises:
        MismatchError: The vocabulary has another number of items than the module.
    """
    if len(vocabulary) != module.n_items:
        found, do = f"{len(vocabulary):,}", "Save the vocabulary it was trained with."
        raise MismatchError(
            "vocabulary", expected=f"the encoder's {module.n_items:,} items", found=found, do=do
        )
    with manifest.write_directory(path, KIND, overwrite=True) as draft:
        text = {
            "n_items": module.n_items,
            "catalogue": module.catalogue().to_dict(),
            "encoder": config.to_dict(),
        }
        (draft.path / "config.json").write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")
        save_file(plain_weights(module), draft.path / "model.safetensors")
        vocabulary.save(draft.path / "vocabulary.parquet")
        draft.meta.update(meta or {}, vocabulary_hash=vocabulary.hash)


def write_card(folder: Path, text: str) -> None:
    """Put the model card beside a saved encoder; an older one is replaced."""
    manifest.write_text(folder / CARD, text)


def load(
    path: str | os.PathLike[str], *, device: str = "cpu", allow_modules: Sequence[str] = ()
) -> SavedEncoder:
    """Read an encoder folder, or the run that holds one.

    Args:
        path: Folder.
        device: Where the weights go.
        allow_modules: Modules outside usermodel whose classes the saved configuration may name.

    Raises:
        MissingError: No encoder there.
        IntegrityError: Damaged files, or weights that do not fit the configuration.
        ConfigError: The configuration names a class that is not allowed; or there is no such device.
    """
    path = Path(path)
    path = path / "encoder" if (path / "encoder").is_dir() else path
    facts = manifest.read(path, KIND, verify=True)
    config, catalogue = _read_config(path / "config.json", allow_modules)
    vocabulary = Vocabulary.load(path / "vocabulary.parquet")
    if len(vocabulary) != catalogue.n_items:
        found, do = f"{len(vocabulary):,} ids", "Copy the folder again."
        raise IntegrityError(str(path), expected=f"{catalogue.n_items:,} ids", found=found, do=do)
    # Building draws random weights, soon replaced; the caller's random numbers are not ours to move.
    with torch.random.fork_rng(devices=[]):
        module = config.build_for(catalogue)
    load_weights(module, path / "model.safetensors")
    try:
        module.to(device).eval()
    except (RuntimeError, AssertionError) as error:
        found, do = f"{device!r}: {str(error).splitlines()[0]:.80}", "Use cpu, or a GPU that is there."
        raise ConfigError("device", expected="a device of this machine", found=found, do=do) from None
    return SavedEncoder(module, config, vocabulary, facts.content_hash)


def changed(path: Path, expected: str, found: str) -> MismatchError:
    """The error of a folder that holds another encoder than it did."""
    do = "Load the encoder again."
    return MismatchError(str(path), expected=f"encoder {expected[:12]}", found=found[:12], do=do)


def _read_config(path: Path, allow_modules: Sequence[str]) -> tuple[EncoderConfig, Catalogue]:
    try:
        text = json.loads(path.read_text(encoding="utf-8"))
        encoder = dict(text["encoder"])
        # Encoders that were saved before there were inputs have no catalogue.
        catalogue = Catalogue.from_dict(int(text["n_items"]), dict(text.get("catalogue", {})))
    except (ValueError, LookupError, TypeError, OSError) as error:
        expected, do = "n_items and encoder", "Copy the folder again."
        raise IntegrityError(str(path), expected=expected, found=f"{error!r:.80}", do=do) from None
    return EncoderConfig.from_dict(encoder, allow_modules=allow_modules), catalogue


def plain_weights(module: torch.nn.Module) -> dict[str, Tensor]:
    """The weights as safetensors wants them: on the CPU, contiguous, without a graph."""
    return {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}


def save_file(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file; a disk that refuses is an `OSError` with its number, which safetensors hides in a text."""
    try:
        write_tensors(tensors, path)
    except SafetensorError as error:
        if found := re.search(r"os error (\d+)", str(error)):
            number = int(found[1])
            raise OSError(number, os.strerror(number), str(path)) from error
        raise


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Fill a module from a safetensors file; names, shapes and finiteness must fit.

    Raises:
        IntegrityError: They do not; the module is as it was.
    """
    try:
        weights: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        found, do = f"{error!s:.80}", "Copy it again."
        raise IntegrityError(str(path), expected="a safetensors file", found=found, do=do) from None
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    odd = sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
    if odd:
        expected = f"{odd[0]} {wanted.get(odd[0], 'absent')}, as its config.json says"
        found = f"{odd[0]} {given.get(odd[0], 'absent')}"
        raise IntegrityError(str(path), expected=expected, found=found, do="Keep both files together.")
    for name, value in weights.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            found, do = f"NaN or infinity in {name}", "Use an earlier checkpoint."
            raise IntegrityError(str(path), expected="finite weights", found=found, do=do)
    module.load_state_dict(weights)
