"""Our side of ctr.py: `train FOLDER BATCH EPOCHS SEED` writes out.json, `parity FOLDER` reads what the peer wrote there."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from usermodel.heads.ctr import CtrModel
from usermodel.heads.dcn_v2 import DcnV2, DcnV2Config
from usermodel.heads.deepfm import Deepfm, DeepfmConfig
from usermodel.heads.row_inputs import RowBatch, RowInputs, RowShape
from usermodel.metrics.classification import auc
from usermodel.training.fit_rows import FitRowsConfig, fit_rows

BLOCK = 1 << 14


def read(path: Path) -> tuple[RowBatch, Tensor]:
    """Rows of a file of columns."""
    with np.load(path) as columns:
        names = [name for name in columns if name != "label"]
        codes = np.empty((len(columns["label"]), len(names)), dtype=np.int64)
        for place, name in enumerate(names):
            codes[:, place] = columns[name]
        none = torch.zeros(len(codes), 0)
        return RowBatch(torch.from_numpy(codes), none, none), torch.from_numpy(columns["label"])


@torch.no_grad()
def log_odds(model: CtrModel, rows: RowBatch) -> ndarray:
    found = [model(rows.take(block)) for block in torch.arange(len(rows)).split(BLOCK)]
    z: ndarray = torch.cat(found).numpy()
    return z


def train(folder: Path, batch: int, epochs: int, seed: int) -> None:
    """Train and score one model."""
    sizes = json.loads((folder / "sizes.json").read_text())
    shape = RowShape(tuple((f"f{place}", size) for place, size in enumerate(sizes)))
    rows, y = read(folder / "train.npz")
    torch.manual_seed(seed)
    model = DeepfmConfig(dim=16, hidden=(400, 400, 400), init_std=1e-4).build(shape)
    config = FitRowsConfig(epochs=epochs, batch_rows=batch, learning_rate=1e-3, seed=seed)
    started = time.perf_counter()

    def loss(at: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(model(rows.take(at)), y[at])

    fitted = fit_rows(model, loss, len(rows), config)
    whole = time.perf_counter() - started
    test, clicked = read(folder / "test.npz")
    z = log_odds(model, test).astype(np.float64)
    score = auc(np.column_stack([-z, z]), clicked.numpy().astype(np.int64)).value
    seconds = [epoch.seconds for epoch in fitted.epochs]
    out = {"seconds": seconds, "whole": whole, "auc": score}
    (folder / "out.json").write_text(json.dumps(out))


def parity(folder: Path) -> None:
    """Largest difference of log-odds with the peer's weights, relative to the largest of them."""
    found = {}
    with np.load(folder / "parity.npz") as given:
        codes = torch.from_numpy(given["codes"])
        sizes = given["sizes"].tolist()
        none = torch.zeros(len(codes), 0)
        rows = RowBatch(codes, none, none)
        shape = RowShape(tuple((f"f{place}", size) for place, size in enumerate(sizes)))
        dim = int(given["dim"])
        deepfm = DeepfmConfig(dim=dim, hidden=(32, 16)).build(shape)
        dcn = DcnV2Config(dim=dim, hidden=(32, 16), cross_layers=2).build(shape)
        fill_deepfm(deepfm, given, len(sizes))
        fill_dcn(dcn, given, len(sizes))
        for name, model in (("deepfm", deepfm), ("dcn_v2", dcn)):
            wanted, z = given[f"{name}.log_odds"], log_odds(model.eval(), rows)
            found[name] = float(abs(z - wanted).max() / abs(wanted).max())
    (folder / "parity.json").write_text(json.dumps(found))


def copy(weight: Tensor, values: ndarray) -> None:
    with torch.no_grad():
        weight.copy_(torch.from_numpy(values).reshape(weight.shape))


def fill_fields(inputs: RowInputs, given: np.lib.npyio.NpzFile, prefix: str, n_fields: int) -> None:
    """The tables of all fields, one below the other."""
    for field in range(n_fields):
        values = given[f"{prefix}.f{field}"]
        start = int(inputs.starts[field])
        copy(inputs.table.weight[start : start + len(values)], values)


def fill_linear(layers: list[torch.nn.Linear], given: np.lib.npyio.NpzFile, prefix: str) -> None:
    for place, layer in enumerate(layers):
        copy(layer.weight, given[f"{prefix}.{place}.weight"])
        copy(layer.bias, given[f"{prefix}.{place}.bias"])


def linears(module: torch.nn.Module) -> list[torch.nn.Linear]:
    return [part for part in module.modules() if isinstance(part, torch.nn.Linear)]


def fill_deepfm(model: Deepfm, given: np.lib.npyio.NpzFile, n_fields: int) -> None:
    fill_fields(model.inputs, given, "deepfm.vectors", n_fields)
    fill_fields(model.linear.fields, given, "deepfm.weights", n_fields)
    copy(model.linear.bias, given["deepfm.bias"])
    fill_linear([*linears(model.mlp), model.out], given, "deepfm.mlp")


def fill_dcn(model: DcnV2, given: np.lib.npyio.NpzFile, n_fields: int) -> None:
    fill_fields(model.inputs, given, "dcn_v2.vectors", n_fields)
    fill_linear(linears(model.cross), given, "dcn_v2.cross")
    assert model.mlp is not None
    fill_linear(linears(model.mlp), given, "dcn_v2.mlp")
    fill_linear([model.out], given, "dcn_v2.out")


if __name__ == "__main__":
    if sys.argv[1] == "train":
        train(Path(sys.argv[2]), *map(int, sys.argv[3:6]))
    else:
        parity(Path(sys.argv[2]))
