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
from usermodel.batch import JaggedBatch
from usermodel.encoders import io
from usermodel.encoders.protocol import Encoder, EncoderConfig, EncoderModule
from usermodel.errors import ConfigError
from usermodel.events.vocabulary import Vocabulary

N_ITEMS = 60
SMALL = {"dim": 16, "hidden": 24, "max_history": 20}


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
        found += [base.override({name: choice}) for choice in choices if choice != getattr(base, name)]
    if "causal" in cls.model_fields:
        found += [one.override({"causal": not one.causal}) for one in found]
    return found


def name_of(config: EncoderConfig) -> str:
    plain, base = config.to_dict(), type(config)().to_dict() | SMALL
    return type(config).__name__ + "".join(
        f"-{value}" for key, value in plain.items() if base.get(key) != value
    )


CONFIGS = [config for cls in implementations() for config in variants(cls)]
contract = pytest.mark.parametrize("config", CONFIGS, ids=name_of)


def build(config: EncoderConfig, seed: int = 0) -> EncoderModule:
    torch.manual_seed(seed)
    encoder = config.build(N_ITEMS)
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
    assert torch.equal(encoder.item_vectors(index), encoder.item_vectors()[index - 1])


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
def test_what_later_events_change(config, make_batch):
    """Nothing in a causal encoder, unless its positions count from the end; something in any other."""
    encoder, users = build(config), [own for own in histories(30) if len(own) > 1]
    whole = split(encoder(make_batch(*users)).events, make_batch(*users))
    begun = [own[: len(own) // 2 + len(own) % 2] for own in users]
    parts = split(encoder(make_batch(*begun)).events, make_batch(*begun))
    change = max(float((a[: len(b)] - b).abs().max()) for a, b in zip(whole, parts, strict=True))
    if encoder.causal and getattr(config, "positions", None) != "from_end":
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
    state = saved.module.state_dict()
    assert state.keys() == encoder.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in encoder.state_dict().items())
    ours, theirs = encoder(batch), saved.module(batch)
    assert torch.equal(ours.users, theirs.users)
    assert torch.equal(ours.events, theirs.events)


@contract
@torch.no_grad()
def test_the_same_seed_gives_the_same_encoder_and_the_same_dropout(config, make_batch):
    def run(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return config.build(N_ITEMS).train()(make_batch(*histories())).users

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
