"""What every sampler of negatives keeps, found by walking the package: a new file is tested without a line here."""

import importlib
import json
import pkgutil

import numpy as np
import polars as pl
import pytest
import torch
from scipy import stats

import usermodel.negatives
from usermodel.config import Config
from usermodel.encoders.transformer import TransformerConfig
from usermodel.events.readers import read_events
from usermodel.events.splits import LeaveLastOutConfig
from usermodel.negatives.protocol import DrawContext, NegativesConfig
from usermodel.store.build import build_store

N_ITEMS, N_EVENTS = 12, 40


def discover() -> list[NegativesConfig]:
    """Every configuration in `usermodel.negatives`, once as it is and once with each switch turned."""
    found = []
    for info in pkgutil.iter_modules(usermodel.negatives.__path__, "usermodel.negatives."):
        module = importlib.import_module(info.name)
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, Config) and kind.__module__ == info.name:
                if kind is NegativesConfig:
                    continue
                found.append(kind())
                switches = [name for name, field in kind.model_fields.items() if field.annotation is bool]
                found += [kind(**{name: not getattr(kind(), name)}) for name in switches]
    return found


every_sampler = pytest.mark.parametrize("config", discover(), ids=repr)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Skewed histories, in which each item occurs."""
    rng = np.random.default_rng(0)
    items = np.concatenate([np.arange(N_ITEMS), rng.integers(0, N_ITEMS, 60) ** 2 % N_ITEMS])
    frame = pl.DataFrame(
        {
            "user_id": [f"u{row % 9}" for row in range(len(items))],
            "item_id": [f"i{item}" for item in items],
            "timestamp": range(len(items)),
        }
    )
    shown = frame.select(
        "user_id", pl.col("item_id").reverse(), pl.col("timestamp") // 2, pl.lit(value=False).alias("clicked")
    )
    folder = tmp_path_factory.mktemp("negatives") / "store"
    return build_store(read_events(frame, time_unit="order"), folder, impressions=shown)


@pytest.fixture
def draw(store):
    """(config, seed, n) -> negatives, for the same positives and contexts."""

    def make(config, seed=0, n=50, device="cpu"):
        torch.manual_seed(0)
        encoder = TransformerConfig(dim=4, heads=1, hidden=4, layers=1).build(store.n_items)
        sampler = config.build(store, store.split(LeaveLastOutConfig()))
        # Before refresh, which may draw.
        vectors = torch.randn(N_EVENTS, 4)
        # Where there are numbers: the meta device has none to search or to fit.
        sampler.refresh(encoder, store)
        encoder, sampler = encoder.to(device), sampler.to(device)
        positives = (torch.arange(N_EVENTS) % store.n_items + 1).to(device)
        user = (torch.arange(N_EVENTS) % store.n_users).to(device)
        context = DrawContext.of(encoder, vectors.to(device), user)
        generator = torch.Generator(device).manual_seed(seed) if device == "cpu" else None
        return sampler.sample(positives, context, n=n, generator=generator)

    return make


def test_the_walk_finds_both_kinds_of_uniform():
    assert sum(type(config).__name__ == "UniformConfig" for config in discover()) == 2


@every_sampler
def test_the_configuration_survives_json(config):
    assert NegativesConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@every_sampler
@pytest.mark.parametrize("n", [1, 7])
def test_shapes_types_and_range(config, draw, n):
    drawn = draw(config, n=n)
    assert drawn.ids.shape in {(n,), (N_EVENTS, n)}
    assert drawn.ids.dtype == torch.int64
    assert 1 <= int(drawn.ids.min()) <= int(drawn.ids.max()) <= N_ITEMS
    assert bool((drawn.log_q <= 0).all())
    assert not drawn.log_q.requires_grad


@every_sampler
def test_equal_seeds_draw_equal_negatives_and_others_do_not(config, draw):
    one, same, other = draw(config, 3), draw(config, 3), draw(config, 4)
    assert torch.equal(one.ids, same.ids)
    assert torch.equal(one.log_q, same.log_q)
    assert not torch.equal(one.ids, other.ids)


@every_sampler
def test_without_a_generator_torchs_own_decides(config, store):
    sampler = config.build(store, store.split(LeaveLastOutConfig()))
    vectors = torch.eye(4).repeat(3, 1)
    context = DrawContext(
        torch.zeros(5, 4), lambda index: vectors if index is None else vectors[index - 1], torch.arange(5)
    )
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(sampler.sample(torch.arange(1, 6), context, n=30).ids)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@every_sampler
def test_draws_are_made_on_the_device_of_the_positives(config, draw):
    """The meta device computes shapes and nothing else: whatever stayed on the CPU would be seen."""
    drawn = draw(config, device="meta")
    assert {drawn.ids.device.type, drawn.log_q.device.type} == {"meta"}


@every_sampler
def test_frequencies_are_those_that_log_q_states(config, draw):
    """Chi-square over ten seeds; a true sampler fails once in 10,000 times, and the seeds are fixed."""
    draws = [draw(config, seed, n=2_000) for seed in range(10)]
    shared = draws[0].is_shared
    ids = torch.cat([d.ids if shared else d.ids[0] for d in draws]).numpy()
    log_q = torch.cat([d.log_q if shared else d.log_q[0] for d in draws]).numpy()
    probability = np.zeros(N_ITEMS + 1)
    probability[ids] = np.exp(log_q)
    np.testing.assert_allclose(np.exp(log_q), probability[ids], rtol=1e-6)  # one item, one probability
    np.testing.assert_allclose(probability.sum(), 1.0, rtol=1e-5)
    counts = np.bincount(ids, minlength=N_ITEMS + 1)
    seen = probability > 0
    expected = probability[seen] / probability.sum() * len(ids)
    assert stats.chisquare(counts[seen], expected).pvalue > 1e-4


@every_sampler
def test_draws_are_independent(config, draw):
    """Pairs of neighbouring draws fill the table of all pairs as independent ones do."""
    ids = torch.cat([draw(config, seed, n=2_000).ids.flatten()[:2_000] for seed in range(10)]).numpy()
    pairs = np.bincount((ids[::2] - 1) * N_ITEMS + ids[1::2] - 1, minlength=N_ITEMS**2)
    table = pairs.reshape(N_ITEMS, N_ITEMS)
    assert stats.chi2_contingency(table[table.sum(1) > 0][:, table.sum(0) > 0]).pvalue > 1e-4
