"""What every encoder owes its callers. Implementations are found by walking the package: adding one is one file."""

import importlib
import json
import pkgutil
from typing import Literal, get_args, get_origin

import numpy as np
import polars as pl
import pytest
import torch

import usermodel.encoders
from usermodel.batch import JaggedBatch, collate
from usermodel.encoders import io
from usermodel.encoders.catalogue import Catalogue
from usermodel.encoders.encode import encode
from usermodel.encoders.protocol import Encoder, EncoderConfig, EncoderModule
from usermodel.errors import ConfigError, DataError
from usermodel.events.readers import read_events
from usermodel.events.vocabulary import Vocabulary
from usermodel.nn.inputs import InputsConfig
from usermodel.nn.item_features import ItemFeature
from usermodel.nn.item_table import HashedItemsConfig, PlainItemsConfig, hashed_rows
from usermodel.sampling.protocol import Examples
from usermodel.store.build import build_store
from usermodel.store.sequence_store import SequenceStore
from usermodel.training.run import leaves

N_ITEMS = 60
SMALL = {"dim": 16, "hidden": 24, "max_history": 20}
#: What choices of one switch do not cover: nested options, and switches that go together.
HASHED = {"kind": "hashed", "table_rows": 50}
#: What a choice cannot be had without.
NEEDED = {"mask": {"mask_token": True}}
FURTHER = {
    "GruConfig": (
        {"left_pad_to": 20},
        {"layers": 2, "biases": False},
        {"hidden": 16, "projection": False},
        {"items": HASHED},
        {"items": HASHED | {"lookups": 3, "join": "sum", "seed": 5}, "left_pad_to": 20},
    ),
    "MeanPoolConfig": (
        {"recency": "fixed", "half_life": 3.0},
        {"items": HASHED},
        {"items": HASHED | {"lookups": 4, "join": "sum"}, "recency": "learned"},
        {"inputs": {"item_features": ["genres", "vector"]}, "recency": "fixed"},
        {"inputs": {"item_features": ["vector", "category"], "score_item_features": True}},
    ),
    "TransformerConfig": (
        {"time_bias_buckets": 32},
        {"time_bias_buckets": 8, "positions": "rotary"},
        {"items": HASHED},
        {"items": HASHED | {"lookups": 3, "join": "sum", "seed": 5}},
        {"inputs": {"event_type": True, "time_gap_buckets": 20, "watch_time_buckets": 40}},
        {"inputs": {"event_type": True, "time_gap_buckets": 9, "watch_time_buckets": 9, "merge": "gated"}},
        {"inputs": {"item_features": ["genres", "vector"]}},
        {"inputs": {"item_features": ["vector", "category"], "score_item_features": True}},
        {"norm": "pre", "feed_forward": "swiglu", "residual": "gated", "positions": "from_end"},
        {"readout": "mask", "mask_token": True, "positions": "from_end", "norm": "pre"},
        {"readout": "mask", "mask_token": True, "positions": "from_start", "items": HASHED},
        {
            "readout": "mask",
            "mask_token": True,
            "time_bias_buckets": 32,
            "inputs": {
                "event_type": True,
                "time_gap_buckets": 20,
                "watch_time_buckets": 40,
                "merge": "gated",
                "item_features": ["genres", "vector"],
            },
        },
        {
            "norm": "pre",
            "norm_kind": "rms",
            "feed_forward": "swiglu",
            "residual": "gated",
            "positions": "rotary",
            "time_bias_buckets": 32,
            "items": HASHED,
            "inputs": {
                "event_type": True,
                "time_gap_buckets": 20,
                "watch_time_buckets": 40,
                "merge": "gated",
                "item_features": ["genres", "category", "vector"],
                "score_item_features": True,
            },
        },
    ),
}


def implementations() -> list[type[EncoderConfig]]:
    found = []
    for info in pkgutil.iter_modules(usermodel.encoders.__path__):
        module = importlib.import_module(f"{usermodel.encoders.__name__}.{info.name}")
        found += [
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, EncoderConfig)
            and value.__module__ == module.__name__
        ]
    return [cls for cls in found if cls is not EncoderConfig]


def variants(cls: type[EncoderConfig]) -> list[EncoderConfig]:
    """Small ones: the defaults and each choice of each switch; all of them with and without causality."""
    base = cls().override({key: value for key, value in SMALL.items() if key in cls.model_fields})
    found = [base]
    for name, field in cls.model_fields.items():
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        others = [choice for choice in choices if choice != getattr(base, name)]
        found += [base.override({name: choice} | NEEDED.get(choice, {})) for choice in others]
    found += [base.override(changes) for changes in FURTHER.get(cls.__name__, ())]
    if "causal" in cls.model_fields:
        found += [one.override({"causal": not one.causal}) for one in found]
    return found


def name_of(config: EncoderConfig) -> str:
    plain, base = leaves(config.to_dict()), leaves(type(config)().to_dict() | SMALL)
    return type(config).__name__ + "".join(
        f"-{'+'.join(value) if isinstance(value, list) else value}"
        for key, value in plain.items()
        if base.get(key) != value and not key.endswith("class")
    )


CONFIGS = [config for cls in implementations() for config in variants(cls)]
SHARED = [one for one in CONFIGS if isinstance(getattr(one, "items", None), HashedItemsConfig)]
contract = pytest.mark.parametrize("config", CONFIGS, ids=name_of)


def catalogue(config: EncoderConfig) -> Catalogue:
    """Event types and item features, where the encoder asks for them."""
    inputs = getattr(config, "inputs", InputsConfig())
    rng = torch.Generator().manual_seed(7)
    codes = torch.randint(0, 6, (N_ITEMS + 1, 3), generator=rng, dtype=torch.int32)
    features = {
        "genres": ItemFeature("genres", "codes", 5, 3, codes),
        "category": ItemFeature("category", "codes", 5, 1, codes[:, 1:2].contiguous()),
        "vector": ItemFeature("vector", "numbers", 4, 4, torch.randn(N_ITEMS + 1, 4, generator=rng)),
    }
    types = ("click", "like", "buy") if getattr(inputs, "event_type", False) else ()
    return Catalogue(N_ITEMS, types, tuple(features[name] for name in inputs.item_features))


def build(config: EncoderConfig, seed: int = 0) -> EncoderModule:
    torch.manual_seed(seed)
    encoder = config.build_for(catalogue(config))
    # Tables that begin at zero would hide what they do.
    with torch.no_grad():
        for weight in encoder.parameters():
            weight[weight == 0] = torch.randn_like(weight[weight == 0]) * 0.1
    return encoder.eval()


def histories(n: int = 6, longest: int = 20, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(1, N_ITEMS + 1, rng.integers(1, longest + 1)).tolist() for _ in range(n)]


def split(encoded: torch.Tensor, batch: JaggedBatch) -> list[torch.Tensor]:
    return list(encoded.split(batch.lengths.tolist()))


@pytest.fixture(scope="module")
def long_store(tmp_path_factory) -> SequenceStore:
    """One user with 10,000 events and one with one, with every column that an encoder can read."""
    rng, n = np.random.default_rng(0), 10_000
    item = np.concatenate([np.arange(N_ITEMS), rng.integers(0, N_ITEMS, n - N_ITEMS + 1)])
    frame = pl.DataFrame(
        {
            "user_id": ["busy"] * n + ["idle"],
            "item_id": [f"i{number:02d}" for number in item],
            "timestamp": 1_600_000_000 + np.cumsum(rng.integers(0, 10_000, n + 1)),
            "kind": rng.choice(["click", "like", "buy"], n + 1),
            "watched": rng.integers(0, 10**6, n + 1),
        }
    )
    items = pl.DataFrame(
        {
            "item_id": [f"i{number:02d}" for number in range(N_ITEMS)],
            "category": [f"c{number % 4}" for number in range(N_ITEMS)],
            "genres": [[f"g{number % 3}", f"g{number % 5}"] for number in range(N_ITEMS)],
            "vector": rng.standard_normal((N_ITEMS, 4)).tolist(),
        }
    )
    log = read_events(frame, event_type="kind", watch_time="watched")
    return build_store(log, tmp_path_factory.mktemp("long") / "store", items_table=items)


def test_the_walk_finds_the_transformer():
    assert "TransformerConfig" in {cls.__name__ for cls in implementations()}
    assert len(CONFIGS) > 10


@contract
def test_the_configuration_survives_json(config):
    assert EncoderConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ConfigError, match="unknown key"):
        config.override({"no_such_key": 1})


@contract
@torch.no_grad()
def test_the_protocol_is_kept(config, make_batch):
    encoder = build(config)
    assert isinstance(encoder, Encoder)
    assert (encoder.n_items, encoder.max_history) == (N_ITEMS, config.max_history)
    out = encoder(make_batch(*histories()))
    assert out.users.shape == (6, encoder.dim)
    assert out.events.shape[1] == encoder.dim
    assert encoder.item_vectors().shape == (N_ITEMS, encoder.dim)
    index = torch.tensor([5, 1, 5])
    # A matrix product of three rows rounds otherwise than one of all.
    torch.testing.assert_close(
        encoder.item_vectors(index), encoder.item_vectors()[index - 1], atol=1e-6, rtol=1e-6
    )
    torch.testing.assert_close(encoder.item_parts(index).sum(0), encoder.item_vectors(index))


@contract
@torch.no_grad()
def test_a_vector_does_not_depend_on_the_rest_of_the_batch(config, make_batch):
    encoder, users = build(config), histories()
    together = encoder(make_batch(*users))
    shuffled = encoder(make_batch(*users[::-1], [], *histories(4, seed=1)))
    for number, own in enumerate(users):
        alone = encoder(make_batch(own))
        torch.testing.assert_close(together.users[number], alone.users[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            shuffled.users[len(users) - 1 - number], alone.users[0], atol=1e-5, rtol=1e-5
        )
        events = split(together.events, make_batch(*users))[number]
        torch.testing.assert_close(events, alone.events, atol=1e-5, rtol=1e-5)


@contract
@torch.no_grad()
def test_users_are_those_of_a_call(config, make_batch):
    """In any order, with several of one length, with nobody, and in training, where a call draws dropout."""
    encoder, users = build(config), histories(40, seed=3)
    short = [[item] * n for n in (1, 2, 3) for item in range(1, 8)]
    for batch in (
        make_batch(*users),
        make_batch([], *sorted(users, key=len), *short),
        make_batch(*short[:3], [], *users[:2], []),
        make_batch([7]),
        make_batch([], []),
        make_batch(),
    ):
        wanted = encoder(batch).users
        torch.testing.assert_close(encoder.users(batch), wanted, atol=2e-6, rtol=1e-5)
        for n_events in (0, 10**6):
            torch.testing.assert_close(encoder.users_of_many(n_events)(batch), wanted, atol=2e-6, rtol=1e-5)
    encoder.train()
    torch.manual_seed(1)
    wanted = encoder(make_batch(*users)).users
    torch.manual_seed(1)
    torch.testing.assert_close(encoder.users(make_batch(*users)), wanted, atol=2e-6, rtol=1e-5)


@contract
def test_users_carry_a_gradient_too(config, make_batch):
    encoder, batch = build(config), make_batch(*histories(20))
    grads = []
    for users in (encoder.users(batch), encoder(batch).users):
        encoder.zero_grad()
        (users * torch.linspace(-1, 1, users.numel()).view_as(users)).sum().backward()
        grads.append([torch.zeros(1) if one.grad is None else one.grad for one in encoder.parameters()])
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@contract
@torch.no_grad()
def test_what_later_events_change(config, make_batch):
    """Nothing in a causal encoder, unless its positions or its padding count from the end; something in any other."""
    encoder, users = build(config), [own for own in histories(30) if len(own) > 1]
    whole = split(encoder(make_batch(*users)).events, make_batch(*users))
    begun = [own[: len(own) // 2 + len(own) % 2] for own in users]
    parts = split(encoder(make_batch(*begun)).events, make_batch(*begun))
    change = max(float((a[: len(b)] - b).abs().max()) for a, b in zip(whole, parts, strict=True))
    from_end = getattr(config, "positions", None) == "from_end" or getattr(config, "left_pad_to", 0) > 0
    if encoder.causal and not from_end:
        assert change < 1e-5
    else:
        assert change > 1e-3


@contract
@torch.no_grad()
def test_one_event_no_history_and_ten_thousand_events(config, make_batch):
    encoder = build(config)
    one = encoder(make_batch([], [7], []))
    assert one.events.shape == (1, encoder.dim)
    assert not one.users[[0, 2]].any()
    assert one.users[1].any()
    assert encoder(make_batch([], [])).users.tolist() == torch.zeros(2, encoder.dim).tolist()
    assert encoder(make_batch()).users.shape == (0, encoder.dim)
    many = np.random.default_rng(0).integers(1, N_ITEMS + 1, (500, 20)).tolist()
    out = encoder(make_batch(*many))
    assert out.events.shape == (10_000, encoder.dim)
    assert bool(out.events.isfinite().all() & out.users.isfinite().all())


@contract
@torch.no_grad()
def test_of_ten_thousand_events_of_one_user_the_latest_are_read(config, long_store):
    torch.manual_seed(0)
    encoder = config.build_for(config.catalogue(long_store)).eval()
    users = np.arange(long_store.n_users)
    examples = Examples.histories(long_store, users, long_store.offsets[1:], config.max_history)
    found = encode(encoder, long_store, examples)
    latest = collate(long_store, examples.take(np.array([0])))
    assert latest.n_events == min(config.max_history, 10_000)
    np.testing.assert_allclose(found[0], encoder(latest).users[0].numpy(), atol=1e-5, rtol=1e-5)
    assert np.isfinite(found).all()
    assert found.any(1).all()


def test_every_encoder_has_a_hashed_configuration_here():
    assert {type(config) for config in SHARED} == set(implementations())


@pytest.mark.parametrize("config", SHARED, ids=name_of)
@torch.no_grad()
def test_a_shared_table_is_a_plain_one_with_its_vectors(config, make_batch):
    shared, batch = build(config), make_batch(*histories())
    rows = shared.items.weight[hashed_rows(torch.arange(1, N_ITEMS + 1), config.items)]
    vectors = rows.flatten(1) if config.items.join == "concat" else rows.sum(1)
    state = shared.state_dict()
    padding = state.pop("items.own_padding", torch.zeros(config.dim))
    plain = build(config.model_copy(update={"items": PlainItemsConfig()}))
    plain.load_state_dict(state | {"items.weight": torch.cat([padding[None], vectors])})
    ours, theirs = shared(batch), plain(batch)
    torch.testing.assert_close(ours.events, theirs.events, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(ours.users, theirs.users, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(shared.item_vectors(), plain.item_vectors(), atol=1e-6, rtol=1e-6)


@contract
@pytest.mark.parametrize("wrong", [N_ITEMS + 1, -1])
def test_an_item_that_the_encoder_does_not_know_is_named(config, make_batch, wrong):
    encoder = build(config)
    with pytest.raises(DataError, match=rf"item_index: expected items 1 to {N_ITEMS}; found {wrong}"):
        encoder(make_batch([1, 2], [3, wrong]))
    with pytest.raises(DataError, match=rf"item_index: expected items 1 to {N_ITEMS}; found {wrong}"):
        encoder.users(make_batch([1, 2], [3, wrong]))
    with pytest.raises(DataError, match=rf"item_index: expected items 1 to {N_ITEMS}; found {wrong}"):
        encoder.users_of_many(10**6)(make_batch([1, 2], [3, wrong]))


@contract
def test_the_gradient_reaches_every_weight(config, make_batch):
    encoder = build(config)
    out = encoder(make_batch(*histories(20)))
    loss = (out.events * torch.randn_like(out.events)).sum() + (out.users * torch.randn_like(out.users)).sum()
    loss.backward()
    lost = [
        name for name, weight in encoder.named_parameters() if weight.grad is None or not weight.grad.any()
    ]
    assert lost == []


@contract
@torch.no_grad()
def test_saved_and_loaded_bit_for_bit(config, make_batch, tmp_path):
    encoder, batch = build(config), make_batch(*histories())
    vocabulary = Vocabulary.build(pl.Series("id", [f"i{number:03d}" for number in range(N_ITEMS)]))
    io.save(tmp_path / "encoder", encoder, config, vocabulary)
    saved = io.load(tmp_path / "encoder")
    assert saved.config == config
    assert not saved.module.training
    assert saved.vocabulary.ids.equals(vocabulary.ids)
    assert saved.module.catalogue() == catalogue(config).shapes()
    state = saved.module.state_dict()
    assert state.keys() == encoder.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in encoder.state_dict().items())
    ours, theirs = encoder(batch), saved.module(batch)
    assert torch.equal(ours.users, theirs.users)
    assert torch.equal(ours.events, theirs.events)
    assert torch.equal(encoder.item_vectors(), saved.module.item_vectors())


@contract
@torch.no_grad()
def test_the_same_seed_gives_the_same_encoder_and_the_same_dropout(config, make_batch):
    def run(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return config.build_for(catalogue(config)).train()(make_batch(*histories())).users

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
