"""The graph of an exported encoder: histories laid out as it wants them, its own padded form, zeros for empty histories."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any, Final

import jaxtyping
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from usermodel.encoders.protocol import EncoderModule
from usermodel.errors import ConfigError
from usermodel.nn.padded import PaddedBatch
from usermodel.schema import EVENT_TYPE, WATCH_TIME

#: What a graph may read, in the order of its inputs; one that its encoder does not read is left out.
COLUMNS: Final = ("item_index", "timestamps_s", EVENT_TYPE, WATCH_TIME)
OUTPUT: Final = "user_embedding"
#: Of ONNX's operators: what torch 2.13 writes unless told otherwise; onnxruntime reads it since 1.17.
OPSET: Final = 20


class Graph(nn.Module):
    """Rectangles of columns -> user vectors; shares the weights of ``encoder``.

    Args:
        encoder: In evaluation mode.
    """

    def __init__(self, encoder: EncoderModule) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(
        self,
        item_index: Int64[Tensor, "users time"],
        timestamps_s: Int64[Tensor, "users time"],
        event_type: Int64[Tensor, "users time"],
        watch_time_ms: Int64[Tensor, "users time"],
    ) -> Float[Tensor, "users dim"]:
        """Encode the latest ``max_history`` events of known items; where the index is another, there is no event."""
        known = (item_index >= 1) & (item_index <= self.encoder.n_items)
        lay = _Compact(known, self.encoder.max_history)
        features = {EVENT_TYPE: lay(event_type), WATCH_TIME: lay(watch_time_ms)}
        batch = PaddedBatch.of(lay(item_index), lay(timestamps_s), features)
        has = known.long().sum(1, keepdim=True) > 0
        return torch.where(has, self.encoder.padded(batch), 0)


class _Compact:
    """Moves the latest ``most`` events of each row to its left end, in order; the rest becomes 0."""

    def __init__(self, event: Bool[Tensor, "users time"], most: int) -> None:
        users, time = event.shape
        count = event.long().cumsum(1)
        total = event.long().sum(1, keepdim=True)
        place = count - 1 - (total - most).clamp(min=0)
        self._keep = event & (place >= 0)
        # One column more than there are events: what is dropped goes there, as padding.
        self._place = torch.where(self._keep, place, time)
        self._room = torch.zeros(users, time + 1, dtype=torch.int64)
        self._width = torch.sym_min(time + 1, most)  # type: ignore[no-untyped-call]

    def __call__(self, column: Int64[Tensor, "users time"]) -> Int64[Tensor, "users width"]:
        kept = torch.where(self._keep, column, 0)
        return self._room.scatter(1, self._place, kept).narrow(1, 0, self._width)


def trace(encoder: EncoderModule) -> Any:
    """The graph of an encoder as an ``onnx.ModelProto`` with its weights inside; both axes are free.

    Raises:
        ConfigError: The encoder has no padded form, or one with an operation that ONNX lacks.
    """
    if type(encoder).padded is EncoderModule.padded:
        raise _refused(encoder, "no method `padded`")
    # Neither size may be 0 or 1, nor may they be related: the tracer would take it for a rule.
    example = tuple(torch.ones(3, encoder.max_history + 5, dtype=torch.int64) for _ in COLUMNS)
    axes = {0: torch.export.Dim("users"), 1: torch.export.Dim("time")}
    try:
        with torch.no_grad(), _alone():
            program = torch.onnx.export(
                Graph(encoder).eval(),
                example,
                input_names=COLUMNS,
                output_names=[OUTPUT],
                dynamic_shapes=(axes,) * len(COLUMNS),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise _refused(encoder, f"{error.__cause__ or error!s:.300}") from error
    assert program is not None, "the exporter returns a program unless it is given a file"
    model = program.model_proto
    _strip(model)
    return model


def _refused(encoder: EncoderModule, why: str) -> ConfigError:
    do = "Export another encoder, or mend its method `padded`: see usermodel/nn/padded.py."
    found = f"{type(encoder).__name__}: {why}"
    return ConfigError("encoder", expected="one that ONNX can hold", found=found, do=do)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Sizes are symbols while a graph is traced, and no ``int``, so types are not checked; the exporter's remarks are its own."""
    checked = jaxtyping.config.jaxtyping_disable
    loggers = [logging.getLogger("torch.onnx"), logging.getLogger("onnxscript")]
    levels = [one.level for one in loggers]
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        for one in loggers:
            one.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", checked)
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


def _strip(model: Any) -> None:
    """Drop inputs that no encoder reads, and what the exporter notes of this machine: paths of files, stack traces."""
    graph = model.graph
    for node in graph.node:
        # All inputs have one shape, and the exporter asks any of them for it.
        if node.op_type == "Shape" and node.input[0] in COLUMNS:
            node.input[0] = COLUMNS[0]
    read = {name for node in graph.node for name in node.input}
    kept = [one for one in graph.input if one.name in read]
    del graph.input[:]
    graph.input.extend(kept)
    values = (*graph.value_info, *graph.input, *graph.output, *graph.initializer)
    for part in (model, graph, *graph.node, *values):
        del part.metadata_props[:]
        part.doc_string = ""
