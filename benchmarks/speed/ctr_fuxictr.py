"""FuxiCTR's side of ctr.py: `train FOLDER BATCH EPOCHS SEED` writes out.json, `parity FOLDER` writes parity.npz.

Runs in the environment that `make peers` builds. Its trainer, loader and layers; the models are put together from them.
"""

import json
import sys
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from fuxictr.features import FeatureMap
from fuxictr.metrics import evaluate_metrics
from fuxictr.pytorch.dataloaders import RankDataLoader
from fuxictr.pytorch.layers import CrossNetV2, FactorizationMachine, FeatureEmbedding, MLP_Block
from fuxictr.pytorch.models import BaseModel
from fuxictr.pytorch.torch_utils import seed_everything
from torch import nn

SMALL = [5, 7, 11, 300]
DIM, ROWS = 6, 257


def described(sizes, folder, dim):
    """What FuxiCTR knows of columns: its preprocessing writes the same."""
    known = FeatureMap("rows", str(folder))
    known.labels = ["label"]
    known.features = OrderedDict(
        (f"f{place}", {"source": "", "type": "categorical", "padding_idx": 0, "vocab_size": size + 1})
        for place, size in enumerate(sizes)
    )
    known.num_fields, known.default_emb_dim = known.get_num_fields(), dim
    known.set_column_index()
    return known


class Model(BaseModel):
    """What both models share."""

    def __init__(self, known, folder):
        super().__init__(
            known, metrics=["AUC"], verbose=0, model_root=str(folder), reduce_lr_on_plateau=False
        )

    def ready(self):
        """With its optimiser and first weights."""
        self.compile("adam", "binary_crossentropy", 1e-3)
        self.reset_parameters()
        self.model_to_device()
        return self

    def forward(self, inputs):
        """What the trainer asks for."""
        return {"y_pred": self.output_activation(self.log_odds(self.get_inputs(inputs)))}


class DeepFM(Model):
    """A factorisation machine and a perceptron on the same vectors."""

    def __init__(self, known, folder, dim, hidden):
        super().__init__(known, folder)
        self.vectors = FeatureEmbedding(known, dim)
        self.fm = FactorizationMachine(known)
        self.mlp = MLP_Block(known.sum_emb_out_dim(), hidden_units=hidden, output_dim=1)

    def log_odds(self, columns):
        """Of each row."""
        fields = self.vectors(columns)
        return self.fm(columns, fields) + self.mlp(fields.flatten(1))


class DCNv2(Model):
    """A cross network beside a perceptron."""

    def __init__(self, known, folder, dim, hidden, layers):
        super().__init__(known, folder)
        width = known.sum_emb_out_dim()
        self.vectors = FeatureEmbedding(known, dim)
        self.cross = CrossNetV2(width, layers)
        self.mlp = MLP_Block(width, hidden_units=hidden)
        self.out = nn.Linear(width + hidden[-1], 1)

    def log_odds(self, columns):
        """Of each row."""
        flat = self.vectors(columns, flatten_emb=True)
        return self.out(torch.cat([self.cross(flat), self.mlp(flat)], 1))


class NoValidation(DeepFM):
    """`fit` of the library validates and keeps the best epoch; here all epochs are trained, and timed."""

    seconds = None

    def train_epoch(self, data):
        """The library's, with a clock."""
        started = time.perf_counter()
        super().train_epoch(data)
        self.seconds.append(time.perf_counter() - started)

    def eval_step(self):
        """After each epoch: keep it."""
        self.save_weights(self.checkpoint)


def train(folder, batch, epochs, seed):
    """Train and score one model with the library's loop and loader."""
    known = described(json.loads((folder / "sizes.json").read_text()), folder, 16)
    seed_everything(seed)
    model = NoValidation(known, folder, 16, [400, 400, 400]).ready()
    model.seconds = []
    Path(model.checkpoint).parent.mkdir(parents=True, exist_ok=True)
    data, _ = RankDataLoader(
        known, stage="train", train_data=str(folder / "train.npz"), batch_size=batch, shuffle=True
    )
    model.fit(data, epochs=epochs)
    test = RankDataLoader(
        known, stage="test", test_data=str(folder / "test.npz"), batch_size=batch, shuffle=False
    )
    with np.load(folder / "test.npz") as columns:
        score = evaluate_metrics(columns["label"], model.predict(test), ["AUC"])["AUC"]
    (folder / "out.json").write_text(json.dumps({"seconds": model.seconds, "auc": score}))


def parity(folder):
    """Small models with weights far from their start, some rows, and what the models say."""
    torch.manual_seed(0)
    known = described(SMALL, folder, DIM)
    models = {
        "deepfm": DeepFM(known, folder, DIM, [32, 16]).ready(),
        "dcn_v2": DCNv2(known, folder, DIM, [32, 16], 2).ready(),
    }
    codes = torch.stack([torch.randint(1, size + 1, (ROWS,)) for size in SMALL], 1)
    inputs = {f"f{place}": codes[:, place] for place in range(len(SMALL))}
    saved = {"codes": codes.numpy(), "sizes": np.array(SMALL), "dim": np.array(DIM)}
    for name, model in models.items():
        for weight in model.parameters():
            nn.init.normal_(weight, std=0.3)
        with torch.no_grad():
            saved[f"{name}.log_odds"] = model.eval().log_odds(model.get_inputs(inputs)).squeeze(1).numpy()
        tables(saved, f"{name}.vectors", model.vectors.embedding_layer.embedding_layers)
        layers(saved, f"{name}.mlp", model.mlp)
    lr = models["deepfm"].fm.lr_layer
    tables(saved, "deepfm.weights", lr.embedding_layer.embedding_layer.embedding_layers)
    saved["deepfm.bias"] = lr.bias.detach().numpy()
    layers(saved, "dcn_v2.cross", models["dcn_v2"].cross)
    layers(saved, "dcn_v2.out", models["dcn_v2"].out)
    np.savez(folder / "parity.npz", **saved)


def tables(saved, prefix, of_fields):
    saved.update({f"{prefix}.{name}": table.weight.detach().numpy() for name, table in of_fields.items()})


def layers(saved, prefix, module):
    """Affine layers in their order."""
    affine = [part for part in module.modules() if isinstance(part, nn.Linear)]
    for place, layer in enumerate(affine):
        saved[f"{prefix}.{place}.weight"] = layer.weight.detach().numpy()
        saved[f"{prefix}.{place}.bias"] = layer.bias.detach().numpy()


if __name__ == "__main__":
    if sys.argv[1] == "train":
        train(Path(sys.argv[2]), *map(int, sys.argv[3:6]))
    else:
        parity(Path(sys.argv[2]))
