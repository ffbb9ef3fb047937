"""An exported encoder gives the vectors of the encoder itself, for every variant that the contract of encoders walks."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest
import torch
from encoders.test_contract import CONFIGS, N_ITEMS, build, name_of

from usermodel import manifest
from usermodel.batch import JaggedBatch
from usermodel.encoders import io
from usermodel.encoders import onnx as exporting
from usermodel.encoders.gru import GruConfig
from usermodel.encoders.mean_pool import MeanPoolConfig
from usermodel.encoders.onnx_graph import COLUMNS, Graph, trace
from usermodel.encoders.protocol import EncoderConfig, EncoderModule
from usermodel.encoders.transformer import TransformerConfig
from usermodel.errors import ConfigError, MissingError, NumericError, OutputExistsError
from usermodel.events.vocabulary import Vocabulary
from usermodel.nn.inputs import InputsConfig
from usermodel.version import VERSION

MOST = 20
#: Tracing takes seconds, so the fast tests trace few graphs that between them hold every switch; the slow ones trace all.
HASHED = {"kind": "hashed", "table_rows": 50}
EMPTY = np.zeros((0, 4), dtype=np.int64)
EVERYTHING = {
    "dim": 16, "hidden": 24, "max_history": MOST, "layers": 1, "norm": "pre", "norm_kind": "rms", "feed_forward": "swiglu",
    "residual": "gated", "positions": "rotary", "time_bias_buckets": 32, "items": HASHED, "readout": "attention",
    "inputs": {
        "event_type": True, "time_gap_buckets": 20, "watch_time_buckets": 40, "merge": "gated",
        "item_features": ["genres", "category", "vector"], "score_item_features": True,
    },
}  # fmt: skip
SMALL = {"dim": 16, "hidden": 24, "max_history": MOST, "layers": 1}
GRU = GruConfig().override(SMALL | {"layers": 2, "items": HASHED | {"join": "sum"}, "left_pad_to": 25})
PLAIN = TransformerConfig().override(SMALL)
EVERY = TransformerConfig().override(EVERYTHING)
#: A small one that reads every column.
READER = PLAIN.override({"inputs": {"event_type": True, "time_gap_buckets": 9, "watch_time_buckets": 9}})
COVER = [
    MeanPoolConfig(dim=16, max_history=MOST, recency="learned", items=HASHED),
    GRU,
    GruConfig().override(SMALL | {"biases": False, "readout": "mean"}),
    PLAIN,
    TransformerConfig().override(SMALL | {"causal": False, "positions": "from_end", "readout": "mean"}),
    EVERY,
    TransformerConfig().override(
        EVERYTHING
        | {"causal": False, "positions": "relative", "inputs": {"watch_time_buckets": 9}}
        | {"readout": "mask", "mask_token": True}
    ),
]
WHOLE = [pytest.param(one, marks=pytest.mark.slow, id=name_of(one)) for one in CONFIGS]


def histories(seed=1):
    """Rows of (item, second, event type, watch time), oldest first; of lengths 0, 1, ... and beyond ``max_history``."""
    rng = np.random.default_rng(seed)
    found = []
    for length in (0, 3, 1, MOST - 1, MOST, MOST + 1, 3 * MOST, 7):
        items = rng.integers(1, N_ITEMS + 1, length)
        times = 1_500_000_000 + rng.integers(0, 10**6, length).cumsum()
        watched = rng.integers(-1, 10**5, length)
        found.append(np.stack([items, times, rng.integers(0, 5, length), watched], axis=1))
    return found


def wanted(encoder, rows):
    """The encoder's vectors, of the latest events of items that it knows."""
    rows = [row[(row[:, 0] >= 1) & (row[:, 0] <= N_ITEMS)][-MOST:] for row in rows]
    flat = torch.from_numpy(np.concatenate(rows))
    offsets = torch.tensor([0, *map(len, rows)]).cumsum(0)
    features = {"event_type": flat[:, 2].int(), "watch_time_ms": flat[:, 3]}
    with torch.no_grad():
        return encoder(JaggedBatch(flat[:, 0], flat[:, 1], offsets, features)).users.numpy()


def rectangles(rows, width=None, *, left=False, filler=0):
    """Columns by name; the padding of all but the items is ``filler``."""
    width = max(map(len, rows)) if width is None else width
    out = np.full((4, len(rows), width), filler, dtype=np.int64)
    out[0] = 0
    for number, row in enumerate(rows):
        out[:, number, width - len(row) if left else 0 : width if left else len(row)] = row.T
    return dict(zip(COLUMNS, out, strict=True))


def start(model):
    """The model in onnxruntime, as a function of columns."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    names = [one.name for one in session.get_inputs()]
    return lambda columns: session.run(["user_embedding"], {name: columns[name] for name in names})[0]


@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
def test_the_padded_form_is_the_encoder(config):
    encoder, rows = build(config), histories()
    with torch.no_grad():
        found = Graph(encoder)(*map(torch.from_numpy, rectangles(rows).values())).numpy()
    np.testing.assert_allclose(found, wanted(encoder, rows), rtol=0, atol=1e-5)
    assert not found[0].any()


def test_few_graphs_hold_every_switch():
    """What the fast tests trace has, between them, each value of each switch but these, which the slow tests have."""

    def values(configs):
        fields = {(type(one), name, getattr(one, name)) for one in configs for name in ("readout", "positions", "norm",
                  "norm_kind", "feed_forward", "residual", "causal", "recency", "biases") if hasattr(one, name)}  # fmt: skip
        return fields | {(type(one), "hashed", one.items.kind) for one in configs}

    left = {(cls.__name__, name, value) for cls, name, value in values(CONFIGS) - values(COVER)}
    assert left == {
        ("GruConfig", "readout", "attention"),
        ("MeanPoolConfig", "recency", "equal"),
        ("MeanPoolConfig", "recency", "fixed"),
        ("MeanPoolConfig", "hashed", "plain"),
        ("TransformerConfig", "positions", "none"),
        ("TransformerConfig", "positions", "from_start"),
    }


@pytest.mark.parametrize(
    "config", [*(pytest.param(one, id=f"cover-{name_of(one)}") for one in COVER), *WHOLE]
)
def test_onnxruntime_gives_the_vectors_of_the_encoder(config):
    encoder = build(config)
    model = trace(encoder)
    assert {one.name for one in model.graph.input} == columns_read(config)
    run = start(model)
    lengths_of_all_kinds(encoder, run)
    neither_padding_nor_other_users_change_a_vector(encoder, run)
    events_of_unknown_items_are_skipped(encoder, run)
    # A rectangle of no columns holds empty histories.
    assert np.array_equal(run(rectangles([EMPTY] * 3)), np.zeros((3, encoder.dim)))
    if isinstance(config, GruConfig):
        # Without users the recurrent kernel of onnxruntime would end the process.
        assert run(rectangles([], width=4)).shape == (0, encoder.dim)


def columns_read(config):
    inputs = getattr(config, "inputs", InputsConfig())
    # Some know items only.
    inputs = inputs if isinstance(inputs, InputsConfig) else InputsConfig()
    found = {
        "timestamps_s": inputs.time_gap_buckets or getattr(config, "time_bias_buckets", 0),
        "event_type": inputs.event_type,
        "watch_time_ms": inputs.watch_time_buckets,
    }
    return {"item_index", *(name for name, read in found.items() if read)}


def lengths_of_all_kinds(encoder, run):
    everything = histories()
    short = [row for row in everything if len(row) < 8]
    for rows in (everything, short, [EMPTY] * 2, *([row] for row in everything)):
        found = run(rectangles(rows))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted(encoder, rows), rtol=0, atol=1e-4)


def neither_padding_nor_other_users_change_a_vector(encoder, run):
    rows = histories(2)
    alone = np.concatenate([run(rectangles([row])) for row in rows])
    wide = run(rectangles(rows, width=90, filler=12_345))
    left = run(rectangles(rows, left=True, filler=-3))
    turned = run(rectangles(rows[::-1]))[::-1]
    for found in (wide, left, turned):
        np.testing.assert_allclose(found, alone, rtol=0, atol=1e-5)


def events_of_unknown_items_are_skipped(encoder, run):
    rows = histories(3)
    for place, item in ((0, 0), (-1, N_ITEMS + 1), (1, 2**40), (2, -1)):
        for row in rows[3:]:
            row[place, 0] = item
    rows.append(np.array([[N_ITEMS + 5, 9, 1, 1]]))
    found = run(rectangles(rows))
    np.testing.assert_allclose(found, wanted(encoder, rows), rtol=0, atol=1e-4)
    assert not found[-1].any()


def saved(config=PLAIN) -> io.SavedEncoder:
    vocabulary = Vocabulary.build(pl.Series([f"i{number:03d}" for number in range(N_ITEMS)]))
    return io.SavedEncoder(build(config), config, vocabulary, "5" * 64)


@pytest.fixture(scope="module")
def model():
    return trace(build(READER))


def test_the_file_says_what_it_is(tmp_path, model):
    one = saved(READER)
    done = exporting.export(one, tmp_path / "encoder.onnx")
    written = onnx.load(tmp_path / "encoder.onnx")
    assert {entry.key: entry.value for entry in written.metadata_props} == {
        "dim": "16",
        "encoder_hash": "5" * 64,
        "event_types": '["click", "like", "buy"]',
        "inputs": json.dumps(list(COLUMNS)),
        "max_history": "20",
        "n_items": "60",
        "usermodel": VERSION,
        "vocabulary_hash": one.vocabulary.hash,
    }
    assert done.inputs == COLUMNS == tuple(entry.name for entry in written.graph.input)
    assert done.bytes == (tmp_path / "encoder.onnx").stat().st_size
    assert done.opset == next(entry.version for entry in written.opset_import if not entry.domain) == 20
    assert done.parity <= 1e-5
    notes = manifest.read(tmp_path / "encoder.onnx", "onnx encoder", verify=True)
    assert (notes.meta["encoder_hash"], notes.meta["inputs"]) == ("5" * 64, list(COLUMNS))
    assert b".py" not in written.SerializeToString()
    # Traced twice, the same bytes.
    del written.metadata_props[:]
    assert written.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


@pytest.fixture
def traced(monkeypatch, model):
    """Exports of this test take a graph that is there already."""
    monkeypatch.setattr(exporting, "trace", lambda _: onnx.ModelProto.FromString(model.SerializeToString()))


def test_an_export_is_replaced_only_when_told(tmp_path, traced):
    target = tmp_path / "encoder.onnx"
    exporting.export(saved(READER), target)
    before = target.read_bytes()
    with pytest.raises(OutputExistsError):
        exporting.export(saved(READER), target)
    exporting.export(saved(READER), target, overwrite=True)
    assert target.read_bytes() == before


@pytest.mark.parametrize("wrong", [1e-2, float("nan")])
def test_a_graph_that_differs_is_not_written(tmp_path, traced, wrong):
    one = saved(READER)
    with torch.no_grad():
        one.module.norm_in.weight += wrong
    with pytest.raises(NumericError, match=r"vectors within 0\.0001 of the encoder's"):
        exporting.export(one, tmp_path / "encoder.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_without_a_padded_form_is_refused(tmp_path):
    class Bare(EncoderModule):
        pass

    bare = io.SavedEncoder(Bare(), EncoderConfig(), Vocabulary.build(pl.Series(["a"])), "0")
    with pytest.raises(ConfigError, match="Bare: no method `padded`"):
        exporting.export(bare, tmp_path / "encoder.onnx")


def test_an_operation_that_no_graph_holds_is_named(tmp_path):
    one = saved(COVER[0])
    one.module.padded = lambda batch: batch.item_index.unique()[: int(batch.real.sum())]
    with pytest.raises(ConfigError, match="encoder: expected one that ONNX can hold; found MeanPool: "):
        exporting.export(one, tmp_path / "encoder.onnx")
    assert list(tmp_path.iterdir()) == []


def test_more_weights_than_a_file_holds_are_refused(tmp_path):
    one = saved(COVER[0])
    with torch.device("meta"):
        one.module.items.weight = torch.nn.Parameter(torch.empty(1 << 20, 600))
    with pytest.raises(ConfigError, match=r"for an ONNX file; found 2\.3 GiB"):
        exporting.export(one, tmp_path / "encoder.onnx")


@pytest.mark.parametrize("name", ["onnx", "onnxscript", "onnxruntime"])
def test_without_the_extra_the_message_names_it(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingError, match=r"pip install 'usermodel\[onnx\]'"):
        exporting.export(saved(), tmp_path / "encoder.onnx")
