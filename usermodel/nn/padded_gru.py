"""Gated recurrent units over rectangles, also inside an ONNX graph, where they are one operator instead of a loop of steps."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from usermodel.nn.recurrent import GruLayer


def run(
    layer: GruLayer, x: Float[Tensor, "time users dim"], start: Float[Tensor, "users hidden"] | None
) -> Float[Tensor, "time users hidden"]:
    """The state after each step; ``start`` as in `GruLayer.run`."""
    if torch.onnx.is_in_onnx_export():
        return _operator(layer, x, start)
    out: Tensor = layer(x, None if start is None else start[None])[0]
    return out


def after(layer: GruLayer, x: Float[Tensor, "steps dim"]) -> Float[Tensor, "steps+1 hidden"]:
    """`GruLayer.after`."""
    out = run(layer, x[:, None], None)[:, 0]
    return torch.cat([out.new_zeros(1, layer.hidden_size), out])


def _operator(layer: GruLayer, x: Tensor, start: Tensor | None) -> Tensor:
    """ONNX's ``GRU``, whose gates are those of torch in another order: update, reset, new."""
    from torch.onnx.ops import symbolic

    time, users, hidden = x.shape[0], x.shape[1], layer.hidden_size

    def ordered(name: str) -> Tensor:
        weight = getattr(layer, name)
        return torch.cat([weight[hidden : 2 * hidden], weight[:hidden], weight[2 * hidden :]])[None]

    weights = [ordered("weight_ih_l0"), ordered("weight_hh_l0")]
    biases = torch.cat([ordered("bias_ih_l0"), ordered("bias_hh_l0")], dim=1) if layer.bias else None
    # One user more: onnxruntime's kernel ends the process when there is none.
    x, first = pad(x, (0, 0, 0, 1)), None if start is None else pad(start, (0, 0, 0, 1))[None]
    out: Tensor = symbolic(
        "GRU",
        (x, *weights, biases, None, first),
        # linear_before_reset: the reset gate acts on U h + b, as in torch, and not on h.
        {"hidden_size": hidden, "linear_before_reset": 1},
        dtype=x.dtype,
        shape=(time, 1, users + 1, hidden),
    )
    return out[:, 0, :-1]
