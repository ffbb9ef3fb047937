"""An encoder as one ONNX file, for services that have no torch: onnxruntime and numpy are enough to run it.

The file holds the user side: columns of events as rectangles in, ``user_embedding`` ``[users, dim]`` float32 out. It is written
only after onnxruntime has given the vectors of the encoder itself on a batch of histories of every length.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy import ndarray

from usermodel import manifest
from usermodel.batch import JaggedBatch
from usermodel.encoders.io import SavedEncoder
from usermodel.encoders.onnx_graph import COLUMNS, OPSET, trace
from usermodel.encoders.protocol import EncoderModule
from usermodel.errors import ConfigError, MissingError, NumericError
from usermodel.schema import EVENT_TYPE, WATCH_TIME
from usermodel.version import VERSION

KIND: Final = "onnx encoder"
#: Largest difference of any number of any vector from the encoder's own.
TOLERANCE: Final = 1e-4
#: A protobuf message ends at 2 GiB; the graph itself needs far less than the rest.
MOST_BYTES: Final = (1 << 31) - (1 << 24)


@dataclass(frozen=True)
class Exported:
    """What `export` wrote.

    Attributes:
        opset: Version of ONNX's operators.
        inputs: Columns that the graph reads, in order.
        bytes: Size of the file.
        parity: Largest difference from the encoder that was measured.
    """

    opset: int
    inputs: tuple[str, ...]
    bytes: int
    parity: float


def export(saved: SavedEncoder, target: Path, *, overwrite: bool = False) -> Exported:
    """Write the user side of an encoder as an ONNX file, with its manifest beside it.

    Args:
        saved: From `usermodel.encoders.io.load`, on the CPU.
        target: File.
        overwrite: Replace an earlier export.

    Raises:
        MissingError: The extra ``onnx`` is not installed.
        ConfigError: More than 2 GiB of weights, or an encoder that has no form in ONNX.
        NumericError: The file does not give the vectors of the encoder; nothing is written.
        OutputExistsError, StorageError: See `usermodel.manifest.write_file`.
    """
    onnx, runtime = libraries()
    manifest.refuse_existing(target, KIND, overwrite)
    encoder = saved.module.eval()
    _require_room(encoder)
    model = trace(encoder)
    inputs = tuple(one.name for one in model.graph.input)
    facts = {
        "dim": encoder.dim,
        "encoder_hash": saved.content_hash,
        "event_types": list(encoder.catalogue().event_types),
        "inputs": list(inputs),
        "max_history": encoder.max_history,
        "n_items": encoder.n_items,
        "usermodel": VERSION,
        "vocabulary_hash": saved.vocabulary.hash,
    }
    onnx.helper.set_model_props(model, {key: _text(value) for key, value in facts.items()})
    with manifest.write_file(target, KIND, overwrite=overwrite) as draft:
        draft.path.write_bytes(model.SerializeToString(deterministic=True))
        onnx.checker.check_model(str(draft.path), full_check=True)
        parity = measure(encoder, draft.path, runtime)
        draft.meta.update(facts, opset=OPSET)
        size = draft.path.stat().st_size
    return Exported(OPSET, inputs, size, parity)


def libraries() -> tuple[ModuleType, ModuleType]:
    """The modules ``onnx`` and ``onnxruntime``; torch's exporter also wants ``onnxscript``.

    Raises:
        MissingError: One of the three is not installed.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        do = "Install them with: pip install 'usermodel[onnx]'."
        expected = "onnx, onnxscript and onnxruntime"
        raise MissingError("onnx", expected=expected, found=f"no module {error.name}", do=do) from None
    return onnx, onnxruntime


def measure(encoder: EncoderModule, file: Path, runtime: ModuleType) -> float:
    """Largest difference between the vectors of a file and those of the encoder, on a fixed batch.

    Raises:
        NumericError: It exceeds `TOLERANCE`, or is no number.
    """
    columns = probe(encoder)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    feed = {one.name: columns[one.name] for one in session.get_inputs()}
    found: Float32[ndarray, "users dim"] = session.run(None, feed)[0]
    with torch.no_grad():
        wanted = encoder(ragged(encoder, columns)).users.numpy()
    parity = float(np.abs(found - wanted).max())
    if not parity <= TOLERANCE:
        expected, do = (
            f"vectors within {TOLERANCE:g} of the encoder's",
            "Nothing was written. Report this encoder.",
        )
        raise NumericError(
            "the exported graph", expected=expected, found=f"a difference of {parity:g}", do=do
        )
    return parity


def probe(encoder: EncoderModule, seed: int = 0) -> dict[str, Int64[ndarray, "users time"]]:
    """Columns of made-up histories: none, one event, up to and beyond ``max_history``, with and without gaps."""
    rng, most = np.random.default_rng(seed), encoder.max_history
    lengths = np.array([0, 1, 2, most - 1, most, most + 1, 2 * most + 3, *rng.integers(1, most + 1, 9)])
    shape = len(lengths), int(lengths.max())
    items = rng.integers(1, encoder.n_items + 1, shape) * (np.arange(shape[1]) < lengths[:, None])
    # Every third row has events of unknown items, which have their place but are not read.
    items[::3] *= rng.random(items[::3].shape) < 0.7
    seconds = np.exp(rng.uniform(0, np.log(1e7), shape)).astype(np.int64)
    watched = np.where(
        rng.random(shape) < 0.2, -1, np.exp(rng.uniform(0, np.log(1e7), shape)).astype(np.int64)
    )
    types = rng.integers(0, len(encoder.catalogue().event_types) + 2, shape)
    return dict(zip(COLUMNS, (items, 1_600_000_000 + seconds.cumsum(1), types, watched), strict=True))


def ragged(encoder: EncoderModule, columns: dict[str, Int64[ndarray, "users time"]]) -> JaggedBatch:
    """The batch that stands for the inputs of a graph: the latest ``max_history`` events of known items."""
    items = columns["item_index"]
    event = (items >= 1) & (items <= encoder.n_items)
    event &= event[:, ::-1].cumsum(1)[:, ::-1] <= encoder.max_history
    flat = {name: torch.from_numpy(column[event].astype(np.int64)) for name, column in columns.items()}
    offsets = torch.from_numpy(np.concatenate([[0], event.sum(1).cumsum()]))
    features = {name: flat[name] for name in (EVENT_TYPE, WATCH_TIME)}
    return JaggedBatch(flat["item_index"], flat["timestamps_s"], offsets, features)


def _require_room(encoder: EncoderModule) -> None:
    size = sum(value.numel() * value.element_size() for value in encoder.state_dict().values())
    if size > MOST_BYTES:
        do = "Use a hashed item table (encoder.items=hashed) or a smaller encoder.dim."
        expected, found = "at most 2 GiB of weights, for an ONNX file", f"{size / (1 << 30):.1f} GiB"
        raise ConfigError("encoder", expected=expected, found=found, do=do)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
