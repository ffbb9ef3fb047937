"""What an encoder learns from a store before it is built, and the errors of stores that lack it."""

import json
import math

import numpy as np
import polars as pl
import pytest
import torch

from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.encoders import io
from usermodel.encoders.catalogue import Catalogue
from usermodel.encoders.item_columns import read_item_feature
from usermodel.encoders.transformer import TransformerConfig
from usermodel.errors import ConfigError, DataError, IntegrityError, MismatchError
from usermodel.events.readers import read_events
from usermodel.nn.inputs import InputsConfig
from usermodel.store.build import build_store

FRAME = pl.DataFrame(
    {
        "user_id": ["a", "a", "a", "b", "b"],
        "item_id": ["x", "y", "z", "y", "x"],
        "timestamp": [1_600_000_000 + t for t in (0, 60, 90, 5, 7)],
        "kind": ["play", "like", "play", "like", "play"],
        "watched": [10, 20, 30, 40, 50],
    }
)
ITEMS = pl.DataFrame(
    {
        "item_id": ["z", "x"],
        "category": ["news", "comedy"],
        "genres": [["b", "a", "b"], None],
        "length": [30, 10],
        "vector": [[1.0, 2.0], [3.0, 2.0]],
    }
)
EVERYTHING = InputsConfig(
    event_type=True,
    time_gap_buckets=10,
    watch_time_buckets=10,
    item_features=("category", "genres", "length", "vector"),
    score_item_features=True,
)


def make(tmp_path, name="store", frame=FRAME, items=ITEMS, **columns):
    columns = columns or {"event_type": "kind", "watch_time": "watched"}
    return build_store(read_events(frame, **columns), tmp_path / name, items_table=items)


def small(**changes) -> TransformerConfig:
    return TransformerConfig(dim=8, hidden=8, layers=1, max_history=5, **changes)


def test_the_catalogue_of_a_store(tmp_path):
    store = make(tmp_path)
    found = small(inputs=EVERYTHING).catalogue(store)
    assert store.vocabulary.ids.to_list() == ["x", "y", "z"]
    assert (found.n_items, found.event_types) == (3, ("like", "play"))
    category, genres, length, vector = found.item_features
    assert category.values.tolist() == [[0], [1], [0], [2]]
    assert genres.values.tolist() == [[0, 0], [0, 0], [0, 0], [2, 1]]
    assert (genres.size, genres.width) == (2, 2)
    # 30 and 10: mean 20, root mean square 10. Vectors: mean (2, 2), deviations (-1, 0) and (1, 0), root mean square 0.71.
    assert length.values.tolist() == [[0.0], [-1.0], [0.0], [1.0]]
    torch.testing.assert_close(
        vector.values, torch.tensor([[0, 0], [math.sqrt(2), 0], [0, 0], [-math.sqrt(2), 0]])
    )
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()
    assert Catalogue.from_dict(3, found.to_dict()) == found.shapes()


def test_nothing_is_read_that_no_input_names(tmp_path):
    store = make(tmp_path, items=None)
    assert small().catalogue(store) == Catalogue(3)


def test_an_exported_encoder_needs_no_store(tmp_path):
    store = make(tmp_path)
    config = small(inputs=EVERYTHING, time_bias_buckets=8)
    torch.manual_seed(0)
    encoder = config.build_for(config.catalogue(store)).eval()
    io.save(tmp_path / "encoder", encoder, config, store.vocabulary)
    loaded = UserEncoder.load(tmp_path / "encoder")
    ours = UserEncoder(io.SavedEncoder(encoder, config, store.vocabulary, ""), tmp_path).encode(store)
    assert np.array_equal(loaded.encode(store).vectors, ours.vectors)
    assert torch.equal(loaded.module.item_vectors(), encoder.item_vectors())
    table = encoder.items.vectors()
    assert not torch.equal(loaded.module.item_vectors(), table)
    # Nothing is known of y.
    assert torch.equal(loaded.module.item_vectors()[1], table[1])


def test_an_encoder_saved_before_there_were_catalogues_loads(tmp_path):
    store = make(tmp_path)
    config = small()
    io.save(tmp_path / "encoder", config.build(3), config, store.vocabulary)
    path = tmp_path / "encoder" / "config.json"
    text = json.loads(path.read_text())
    del text["catalogue"], text["encoder"]["items"], text["encoder"]["inputs"]
    path.write_text(json.dumps(text))
    (tmp_path / "encoder" / "manifest.json").unlink()
    io.manifest.seal(
        tmp_path / "encoder", io.KIND, {}, parts=("config.json", "model.safetensors", "vocabulary.parquet")
    )
    assert io.load(tmp_path / "encoder").config == config
    text["catalogue"] = {"item_features": [{"name": "a", "kind": "odd", "size": 1, "width": 1}]}
    path.write_text(json.dumps(text))
    io.manifest.seal(
        tmp_path / "encoder", io.KIND, {}, parts=("config.json", "model.safetensors", "vocabulary.parquet")
    )
    with pytest.raises(IntegrityError, match=r"config\.json.*no kind of item feature"):
        io.load(tmp_path / "encoder")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"event_type": True},
            r"encoder\.inputs\.event_type: expected a store with event_type; found watch_time_ms",
        ),
        ({"item_features": ("categry",)}, r"item_features.*found 'categry'\. Did you mean 'category'\?"),
        (
            {"item_features": ("item_id",)},
            r"item_features: expected columns of the items table; found 'item_id'",
        ),
    ],
)
def test_what_the_store_lacks_is_named_by_option(tmp_path, inputs, message):
    store = make(tmp_path, watch_time="watched")
    with pytest.raises(ConfigError, match=message):
        small(inputs=InputsConfig(**inputs)).catalogue(store)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": InputsConfig(watch_time_buckets=5)}, r"watch_time_buckets.*Ingest with --watch-time"),
        (
            {"inputs": InputsConfig(time_gap_buckets=5)},
            r"time_gap_buckets.*a store with times; found a mere order",
        ),
        ({"time_bias_buckets": 5}, r"encoder\.time_bias_buckets: expected a store with times"),
        ({"inputs": InputsConfig(item_features=("a",))}, r"a store with an items table; found none"),
    ],
)
def test_a_store_without_times_and_columns(store, changes, message):
    with pytest.raises(ConfigError, match=message):
        small(**changes).catalogue(store)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"merge": "gated"}, r"encoder\.inputs\.merge: expected an input of events to gate; found none"),
        ({"score_item_features": True}, r"encoder\.inputs\.score_item_features: expected item_features"),
        ({"event_type": True}, r"encoder\.inputs: expected a catalogue with event types and item features"),
        ({"item_features": ("a",)}, r"encoder\.inputs: expected a catalogue with event types"),
    ],
)
def test_options_without_an_effect_and_builds_without_a_catalogue(inputs, message):
    with pytest.raises(ConfigError, match=message):
        small(inputs=InputsConfig(**inputs)).build(3)


def test_a_store_in_which_event_types_mean_something_else_is_refused(tmp_path):
    store = make(tmp_path)
    config = small(inputs=InputsConfig(event_type=True))
    encoder = UserEncoder(
        io.SavedEncoder(config.build_for(config.catalogue(store)), config, store.vocabulary, ""), tmp_path
    )
    renamed = FRAME.with_columns(kind=pl.col("kind").replace({"play": "a_play"}))
    with pytest.raises(MismatchError, match="the event types like, play first; found a_play, like"):
        encoder.encode(make(tmp_path, "renamed", renamed))
    with pytest.raises(ConfigError, match=r"encoder\.inputs\.event_type"):
        encoder.encode(make(tmp_path, "without", watch_time="watched"))
    more = FRAME.with_columns(timestamp=pl.col("timestamp") + 9_000, kind=pl.lit("zap"))
    grown = store.append(read_events(more, event_type="kind", watch_time="watched"), tmp_path / "grown")
    assert grown.event_types == ("like", "play", "zap")
    assert np.isfinite(encoder.encode(grown).vectors).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1.0], [1.0, 2.0]], "vectors of one length; found lengths 1 to 2"),
        ([float("inf"), 1.0], "finite numbers; found infinity"),
        ([None, None], "text, booleans, numbers, or lists of these; found Null"),
        ([[], []], r"text, booleans, numbers, or lists of these; found List\(Null\)"),
    ],
)
def test_columns_that_can_be_no_feature(values, message):
    with pytest.raises(DataError, match=rf"column 'c': expected ({message})"):
        read_item_feature(pl.Series("c", values), np.array([1, 2]), 2)


def test_columns_that_are_empty():
    for kind in (pl.String, pl.Float64, pl.List(pl.String), pl.List(pl.Float32), pl.Array(pl.Float32, 2)):
        with pytest.raises(DataError, match="of some item; found none"):
            read_item_feature(pl.Series("c", [None, None], dtype=kind), np.array([1, 2]), 2)


def test_other_types_of_columns():
    index = np.array([2, 1])
    assert read_item_feature(pl.Series("c", [True, False]), index, 2).values.tolist() == [[0], [1], [2]]
    fixed = pl.Series("c", [[0.0, 4.0], [0.0, 0.0]], dtype=pl.Array(pl.Float32, 2))
    torch.testing.assert_close(
        read_item_feature(fixed, index, 2).values,
        torch.tensor([[0, 0], [0, -math.sqrt(2)], [0, math.sqrt(2)]]),
    )
    gaps = read_item_feature(pl.Series("c", [5.0, None]), index, 2)
    assert gaps.values.tolist() == [[0.0], [0.0], [0.0]]
    nan = read_item_feature(pl.Series("c", [float("nan"), 7.0, 9.0]), np.array([1, 2, 3]), 3)
    assert nan.values.tolist() == [[0.0], [0.0], [-1.0], [1.0]]
