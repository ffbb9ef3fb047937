"""convert(checkpoint, store, out) -> Run: an official ICSRec checkpoint as a run of ours."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import polars as pl
import torch
from jaxtyping import Int64
from numpy import ndarray

from usermodel import manifest
from usermodel.encoders import io
from usermodel.encoders.icsrec_weights import Translated, translate
from usermodel.encoders.protocol import EncoderModule
from usermodel.encoders.weights_file import read_weights
from usermodel.errors import DataError, MismatchError
from usermodel.store.sequence_store import SequenceStore
from usermodel.training.card import write_card
from usermodel.training.recipe import Recipe
from usermodel.training.run import KIND, Run, write_history, write_recipe
from usermodel.version import VERSION


def convert(
    checkpoint: str | os.PathLike[str],
    store: SequenceStore | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    heads: int | None = None,
    max_history: int | None = None,
    overwrite: bool = False,
) -> Run:
    """Make a run of a checkpoint of the ICSRec family, on the store of the sequence file it was trained on.

    Such a checkpoint knows its items by number, 1 to n, as they stand in the sequence file. The store holds the same numbers as
    ids, perhaps as text and then in another order: each row of the item table goes to where the store's vocabulary has its id.

    The recipe of the run describes the encoder; its objective and training are our defaults and did not make the weights.

    Args:
        checkpoint: ``.pt`` (either format) or safetensors, SAS or GRU.
        store: Store or its path.
        out: Folder of the run.
        heads: Attention heads of a SAS model; None means 2.
        max_history: Length to which a GRU model pads; None means 50.
        overwrite: Replace a run that is already there.

    Raises:
        MissingError: No such checkpoint or store.
        DataError: Not a checkpoint of this family, a pickle that would run code, or item ids that are not 1 to n.
        MismatchError: Another number of items.
        ConfigError: ``heads`` does not divide the width, or a number that the model has no use for.
        OutputExistsError: ``out`` holds something.
    """
    path, out = Path(checkpoint), Path(out)
    manifest.refuse_existing(out, KIND, overwrite)
    store = store if isinstance(store, SequenceStore) else SequenceStore.open(Path(store))
    model = translate(read_weights(path), str(path), heads=heads, max_history=max_history)
    _require_items(model, store, str(path))
    module = _build(model, store)
    recipe = Recipe(encoder=model.config)
    origin = {"name": path.name, "sha256": manifest.sha256(path), "family": model.family}
    with manifest.write_directory(out, KIND, overwrite=overwrite) as draft:
        write_recipe(recipe, draft.path / "config.json")
        write_history([], draft.path / "metrics.csv")
        facts = {"split": recipe.data.split.kind, "converted_from": origin}
        io.save(draft.path / "encoder", module, model.config, store.vocabulary, meta=facts)
        draft.meta.update(_meta(module, store), **facts)
    run = Run(out, recipe, draft.meta)
    # Last, because what is in the folder before is listed in its manifest, and a card may be edited.
    write_card(run, store, module)
    return run


def _build(model: Translated, store: SequenceStore) -> EncoderModule:
    numbers = torch.from_numpy(_numbers(store).copy())
    model.state["items.weight"][1:] = model.state["items.weight"][numbers]
    with torch.random.fork_rng(devices=[]):
        module = model.config.build(store.n_items)
    module.load_state_dict(model.state)
    return module


def _require_items(model: Translated, store: SequenceStore, where: str) -> None:
    if model.n_rows != store.n_items + 2:
        expected = f"an item table of {store.n_items + 2:,} rows, for the {store.n_items:,} items of {store.path}, padding and a mask"
        do = "Ingest the sequence file that the checkpoint was trained on, without filters."
        raise MismatchError(where, expected=expected, found=f"{model.n_rows:,} rows", do=do)


def _numbers(store: SequenceStore) -> Int64[ndarray, " items"]:
    """The number that each item of the vocabulary has in the checkpoint: its id."""
    ids = store.vocabulary.ids
    numbers = ids.cast(pl.Int64, strict=False)
    # "01" and "+1" are other ids than "1". Ids are unique, so n of them between 1 and n are all of these.
    good = numbers.is_between(1, len(ids)) & (numbers.cast(ids.dtype) == ids)
    odd = ids.filter(~good.fill_null(value=False))
    if len(odd):
        expected = f"item ids 1 to {len(ids):,}, by which the checkpoint knows its items"
        found = f"{len(odd):,} others, such as {odd[0]!r}"
        do = "Ingest the sequence file that the checkpoint was trained on: usermodel ingest FILE --format sequences."
        raise DataError(str(store.path), expected=expected, found=found, do=do)
    return numbers.to_numpy()


def _meta(module: EncoderModule, store: SequenceStore) -> dict[str, object]:
    """The facts every run has; nothing was trained here."""
    versions = {"usermodel": VERSION, "torch": torch.__version__, "python": platform.python_version()}
    return {
        "store": {"path": str(store.path), "content_hash": store.content_hash},
        "epochs": 0,
        "steps": 0,
        "seconds": 0.0,
        "best_epoch": 0,
        "best": {},
        "parameters": sum(weight.numel() for weight in module.parameters()),
        "precision": "fp32",
        "hardware": f"{platform.machine()}, not trained here",
        "versions": versions,
    }
