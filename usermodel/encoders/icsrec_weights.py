"""Checkpoints of the ICSRec family (Qin et al. 2024), SAS and GRU -> the configuration and weights of our encoders.

Names and shapes are those of the state_dict that the official code saves. The item table has V = n + 2 rows: row 0
is padding, rows 1 to n are the items, row n + 1 is a mask that is never an input. In training rows 0 and n + 1 are classes of
the softmax; a ranking covers the items only, so both are needless as classes. Our table has n + 1 rows: the mask is dropped,
and row 0 is what the encoder makes of padding: zeros for SAS, which never sees it, and the trained vector for GRU, which runs
over it (``left_pad_to``).

SAS counts positions from the start of a left-padded input of fixed length, so the newest event stands at the last one: our
``from_end`` positions are its table turned round. Dropout is not in a checkpoint; the defaults of our encoders stand.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from usermodel.encoders.gru import GruConfig
from usermodel.encoders.protocol import EncoderConfig
from usermodel.encoders.transformer import TransformerConfig
from usermodel.errors import ConfigError, DataError, shorten

_ITEMS: Final = "item_embeddings.weight"
_PLACES: Final = "position_embeddings.weight"
_DO: Final = "Give a file of ICSRec that holds the state_dict of the whole model, and nothing else."
#: What the GRU pads to; its weights do not tell.
MAX_LEN: Final = 50
HEADS: Final = 2
Weights = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Translated:
    """A checkpoint in our words.

    Attributes:
        family: ``icsrec-sas`` or ``icsrec-gru``.
        config: Shape of the encoder.
        state: Its weights; row k of ``items.weight`` is item k of the checkpoint, row 0 padding.
        n_rows: Rows of the item table in the checkpoint, two more than items.
    """

    family: Literal["icsrec-sas", "icsrec-gru"]
    config: EncoderConfig
    state: Weights
    n_rows: int


def translate(
    weights: Weights, where: str, *, heads: int | None = None, max_history: int | None = None
) -> Translated:
    """Recognise a model by its names, find its sizes in its shapes, and rename.

    Args:
        weights: Tensors by the names of the official code, float32.
        where: The file, for messages.
        heads: Attention heads of a SAS model, which its shapes do not tell; None means 2.
        max_history: Length to which a GRU model pads, which its shapes do not tell; None means 50.

    Raises:
        DataError: Another model, a name missing or unknown, or a wrong shape.
        ConfigError: ``heads`` does not divide the width, or a number that the other model has no use for.
    """
    if any(name.startswith("item_encoder.") for name in weights):
        _refuse("--max-history", max_history, "for a SAS model, whose position table tells its length")
        return _sas(weights, where, HEADS if heads is None else heads)
    if any(name.startswith("gru_layers.") for name in weights):
        _refuse("--heads", heads, "for a GRU model")
        return _gru(weights, where, MAX_LEN if max_history is None else max_history)
    found = f"the tensors {shorten(sorted(weights), 4)}" if weights else "no tensor"
    raise DataError(where, expected="an ICSRec model, SAS or GRU", found=found, do=_DO)


def _sas(weights: Weights, where: str, heads: int) -> Translated:
    layers = _count(weights, "item_encoder.layer.", "")
    shapes: Shapes = {_ITEMS: (0, 0), _PLACES: (0, 0), "LayerNorm.weight": (0,), "LayerNorm.bias": (0,)}
    prefixes = [f"item_encoder.layer.{number}." for number in range(layers)]
    for prefix in prefixes:
        shapes |= {prefix + name: () for name in _layer_shapes(1, 1)}
    _require_names(weights, shapes, f"an ICSRec SAS model of {layers} layers", where)
    n_rows, dim = _matrix(weights, _ITEMS, where)
    max_len, _ = _matrix(weights, _PLACES, where)
    hidden, _ = _matrix(weights, prefixes[0] + "intermediate.dense_1.weight", where)
    shapes = {_ITEMS: (n_rows, dim), _PLACES: (max_len, dim), "LayerNorm.weight": (dim,)}
    shapes |= {"LayerNorm.bias": (dim,)}
    for prefix in prefixes:
        shapes |= {prefix + name: shape for name, shape in _layer_shapes(dim, hidden).items()}
    _require_shapes(weights, shapes, where)
    if heads < 1 or dim % heads:
        found, do = f"{heads}", "Name the number of heads that the model was trained with."
        raise ConfigError("--heads", expected=f"a divisor of the width {dim}", found=found, do=do)
    config = TransformerConfig(
        dim=dim, max_history=max_len, layers=layers, heads=heads, hidden=hidden, positions="from_end"
    )
    items = weights[_ITEMS][: n_rows - 1].clone()
    items[0] = 0
    state = {"items.weight": items, "places.weight": weights[_PLACES].flip(0)}
    state |= {f"norm_in.{kind}": weights[f"LayerNorm.{kind}"] for kind in ("weight", "bias")}
    for number, prefix in enumerate(prefixes):
        state |= _block(weights, prefix, f"blocks.{number}.")
    return Translated("icsrec-sas", config, state, n_rows)


def _layer_shapes(dim: int, hidden: int) -> Shapes:
    """Tensors of one layer, without their prefix."""
    square = [f"attention.{name}" for name in ("query", "key", "value", "dense")]
    norms = ["attention.LayerNorm", "intermediate.LayerNorm"]
    shapes: Shapes = {f"{name}.weight": (dim, dim) for name in square}
    shapes |= {f"{name}.weight": (dim,) for name in norms}
    shapes |= {f"{name}.bias": (dim,) for name in [*square, *norms, "intermediate.dense_2"]}
    shapes |= {"intermediate.dense_1.weight": (hidden, dim), "intermediate.dense_1.bias": (hidden,)}
    return shapes | {"intermediate.dense_2.weight": (dim, hidden)}


def _block(weights: Weights, theirs: str, ours: str) -> Weights:
    pairs = {
        "attention.out": "attention.dense",
        "norm_attention": "attention.LayerNorm",
        "feed_forward.up": "intermediate.dense_1",
        "feed_forward.down": "intermediate.dense_2",
        "norm_feed_forward": "intermediate.LayerNorm",
    }
    state = {}
    for kind in ("weight", "bias"):
        parts = [weights[f"{theirs}attention.{name}.{kind}"] for name in ("query", "key", "value")]
        state[f"{ours}attention.qkv.{kind}"] = torch.cat(parts)
        state |= {f"{ours}{own}.{kind}": weights[f"{theirs}{name}.{kind}"] for own, name in pairs.items()}
    return state


def _gru(weights: Weights, where: str, max_len: int) -> Translated:
    layers = _count(weights, "gru_layers.", "weight_ih_l")
    names = [f"gru_layers.weight_{kind}_l{number}" for number in range(layers) for kind in ("ih", "hh")]
    _require_names(
        weights,
        [_ITEMS, *names, "dense.weight", "dense.bias"],
        f"an ICSRec GRU model of {layers} layers",
        where,
    )
    n_rows, dim = _matrix(weights, _ITEMS, where)
    _, hidden = _matrix(weights, "gru_layers.weight_hh_l0", where)
    shapes: Shapes = {_ITEMS: (n_rows, dim), "dense.weight": (dim, hidden), "dense.bias": (dim,)}
    shapes |= dict.fromkeys(names, (3 * hidden, hidden)) | {names[0]: (3 * hidden, dim)}
    _require_shapes(weights, shapes, where)
    if max_len < 1:
        do = "Name the length that the model was trained with."
        raise ConfigError("--max-history", expected="at least 1", found=f"{max_len}", do=do)
    config = GruConfig(
        dim=dim, max_history=max_len, hidden=hidden, layers=layers, biases=False, left_pad_to=max_len
    )
    state = {"items.weight": weights[_ITEMS][: n_rows - 1].clone()}
    state |= {f"projection.{kind}": weights[f"dense.{kind}"] for kind in ("weight", "bias")}
    for name in names:
        kind, _, number = name.removeprefix("gru_layers.").rpartition("_l")
        state[f"layers.{number}.{kind}_l0"] = weights[name]
    return Translated("icsrec-gru", config, state, n_rows)


def _count(weights: Weights, prefix: str, stem: str) -> int:
    """Layers, numbered from 0 behind ``prefix + stem``; at least one."""
    rests = [
        name.removeprefix(prefix + stem).partition(".")[0]
        for name in weights
        if name.startswith(prefix + stem)
    ]
    return max((int(rest) + 1 for rest in rests if rest.isdecimal() and len(rest) < 4), default=1)


def _require_names(weights: Weights, wanted: Collection[str], model: str, where: str) -> None:
    missing = [name for name in wanted if name not in weights]
    unknown = [name for name in weights if name not in wanted]
    if missing or unknown:
        found = f"no {shorten(missing, 3)}" if missing else f"the unknown {shorten(unknown, 3)}"
        raise DataError(where, expected=f"the {len(wanted)} tensors of {model}", found=found, do=_DO)


def _matrix(weights: Weights, name: str, where: str) -> tuple[int, int]:
    shape = tuple(weights[name].shape)
    if len(shape) != 2 or min(shape) < 1 or (name == _ITEMS and shape[0] < 3):
        raise DataError(where, expected=f"{name} to be a matrix", found=f"shape {shape}", do=_DO)
    return shape[0], shape[1]


def _require_shapes(weights: Weights, wanted: Shapes, where: str) -> None:
    for name, shape in wanted.items():
        given = tuple(weights[name].shape)
        if given != shape:
            expected = f"{name} of shape {shape}, as the other tensors ask for"
            raise DataError(where, expected=expected, found=f"{given}", do=_DO)


def _refuse(option: str, value: int | None, reason: str) -> None:
    if value is not None:
        raise ConfigError(option, expected=f"no value {reason}", found=f"{value}", do=f"Drop {option}.")
