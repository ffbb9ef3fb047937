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
from usermodel.errors import ConfigError
from usermodel.events.readers import read_events
from usermodel.events.splits import LeaveLastOutConfig
from usermodel.negatives.hard import HardConfig
from usermodel.negatives.mixed import Mixed
from usermodel.negatives.popularity import PopularityConfig
from usermodel.negatives.protocol import DrawContext, KnownLaw, NegativesConfig
from usermodel.negatives.uniform import UniformConfig
from usermodel.store.build import build_store

N_ITEMS, N_EVENTS, N_DRAWS, SEEDS = 12, 40, 2_000, range(10)
#: Arguments without a default, by the name of the configuration.
EXAMPLES: dict[str, dict[str, object]] = {}
#: Settings beside the default that draw by another law, by the name of the configuration.
OTHERS: dict[str, list[dict[str, object]]] = {
    "CachedHardConfig": [{"size": 3, "uniform": 0.2}],
    "CategoryConfig": [{"share": 0.9}],
    "DenoisedConfig": [{"hard.candidates": 3, "hard.unseen": True, "min_weight": 0.5}],
    "HardConfig": [{"candidates": 5, "top": 3}, {"candidates": 5, "top": 5, "unseen": True}],
    "MixedConfig": [
        {"shares": (0.2, 0.8)},
        {"parts": (PopularityConfig(shared=False), UniformConfig(shared=False)), "shares": (0.7, 0.3)},
    ],
    "PopularityConfig": [{"alpha": 0.0}, {"alpha": 1.0}, {"alpha": 0.5, "shared": False}],
    "ShownConfig": [{"uniform": 0.1}],
    "UnseenConfig": [{"alpha": 1.0}],
    "WithoutFalseNegativesConfig": [
        {"source": PopularityConfig(shared=False), "seen": True},
        {"intents": 3, "similarity": None},
        {"source": HardConfig(candidates=3), "similarity": 0.5},
    ],
}


def discover() -> list[NegativesConfig]:
    """Every configuration in `usermodel.negatives`: as it is, with each switch turned, and with `OTHERS`."""
    found = []
    for info in pkgutil.iter_modules(usermodel.negatives.__path__, "usermodel.negatives."):
        module = importlib.import_module(info.name)
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, Config) and kind.__module__ == info.name:
                if kind is NegativesConfig:
                    continue
                plain = kind(**EXAMPLES.get(kind.__name__, {}))
                found.append(plain)
                switches = [name for name, field in kind.model_fields.items() if field.annotation is bool]
                found += [plain.override({name: not getattr(plain, name)}) for name in switches]
                found += [plain.override(other) for other in OTHERS.get(kind.__name__, [])]
    return found


def fixed_context(store, n_events=N_EVENTS):
    """Events that know nothing, so that all items are level; users in turn."""
    vectors, user = torch.eye(4).repeat(3, 1), torch.arange(n_events) % store.n_users
    return DrawContext(
        torch.zeros(n_events, 4), lambda index: vectors if index is None else vectors[index - 1], user
    )


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
    table = pl.DataFrame(
        {"item_id": [f"i{item}" for item in range(N_ITEMS)], "category": [*"aaabbbbcc", None, None, ""]}
    )
    log = read_events(frame, time_unit="order")
    shown = frame.select(
        "user_id", pl.col("item_id").reverse(), pl.col("timestamp") // 2, pl.lit(value=False).alias("clicked")
    )
    folder = tmp_path_factory.mktemp("negatives") / "store"
    return build_store(log, folder, items_table=table, impressions=shown)


@pytest.fixture(scope="module")
def law(store):
    """Items of training events: what positives are drawn from."""
    counts = store.item_counts(store.split(LeaveLastOutConfig()).train_stop)
    return torch.from_numpy(np.repeat(np.arange(N_ITEMS + 1), counts))


@pytest.fixture
def draw(store, law):
    """(config, seed, n) -> negatives, for the same positives and contexts.

    Samplers that draw from the batch get other positives with each seed, as many as they are asked for: their probability
    is one over batches.
    """

    def make(config, seed=0, n=50, device="cpu"):
        torch.manual_seed(0)
        encoder = TransformerConfig(dim=4, heads=1, hidden=4, layers=1).build(store.n_items)
        sampler = config.build(store, store.split(LeaveLastOutConfig()))
        # Before refresh, which may draw.
        vectors = torch.randn(max(n, N_EVENTS), 4)
        # Where there are numbers: the meta device has none to search or to fit.
        sampler.refresh(encoder, store)
        encoder, sampler = encoder.to(device), sampler.to(device)
        positives = torch.arange(N_EVENTS) % store.n_items + 1
        if sampler.from_batch:
            chosen = np.random.default_rng(seed).integers(len(law), size=max(n, N_EVENTS))
            positives = law[torch.from_numpy(chosen)]
        user = (torch.arange(len(positives)) % store.n_users).to(device)
        context = DrawContext.of(encoder, vectors[: len(positives)].to(device), user)
        generator = torch.Generator(device).manual_seed(seed) if device == "cpu" else None
        return sampler.sample(positives.to(device), context, n=n, generator=generator)

    return make


def test_the_walk_finds_both_kinds_of_uniform():
    assert sum(type(config).__name__ == "UniformConfig" for config in discover()) == 2


def test_other_settings_are_of_configurations_that_exist():
    assert OTHERS.keys() <= {type(config).__name__ for config in discover()}


@every_sampler
def test_the_configuration_survives_json(config):
    assert NegativesConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@every_sampler
@pytest.mark.parametrize("n", [1, 7])
def test_shapes_types_and_range(config, draw, n):
    drawn = draw(config, n=n)
    assert drawn.ids.shape in {(n,), (N_EVENTS, n)}  # the batch is no smaller than n
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
    drawn = []
    positives = torch.arange(N_EVENTS) % N_ITEMS + 1
    context = fixed_context(store)
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(sampler.sample(positives, context, n=30).ids)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@every_sampler
def test_draws_are_made_on_the_device_of_the_positives(config, draw):
    """The meta device computes shapes and nothing else: whatever stayed on the CPU would be seen."""
    drawn = draw(config, device="meta")
    assert {drawn.ids.device.type, drawn.log_q.device.type} == {"meta"}


@every_sampler
@pytest.mark.parametrize("event", [0, 7])
def test_frequencies_are_those_that_log_q_states(config, event, draw):
    """Chi-square over ten seeds, of one event where the law is its own; the seeds are fixed."""
    draws = [draw(config, seed, n=N_DRAWS) for seed in SEEDS]
    shared = draws[0].is_shared
    ids = torch.cat([d.ids if shared else d.ids[event] for d in draws]).numpy()
    log_q = torch.cat([d.log_q if shared else d.log_q[event] for d in draws]).numpy()
    probability = np.zeros(N_ITEMS + 1)
    probability[ids] = np.exp(log_q)
    np.testing.assert_allclose(np.exp(log_q), probability[ids], rtol=1e-6)  # one item, one probability
    # What was never drawn has so little mass that this happens more than once in a thousand times.
    assert -1e-5 < 1.0 - probability.sum() < -np.log(1e-3) / len(ids)
    counts = np.bincount(ids, minlength=N_ITEMS + 1)
    expected = probability / probability.sum() * len(ids)
    # Chi-square wants five expected in a cell: rarer items share one.
    often = expected >= 5
    cells = [np.append(one[often], one[~often].sum()) for one in (counts, expected)]
    filled = cells[1] > 0
    assert stats.chisquare(cells[0][filled], cells[1][filled]).pvalue > 1e-3


@every_sampler
def test_a_sampler_that_knows_its_law_tells_the_same_of_any_item(config, store):
    """``log_q`` of a draw is ``log_q_of`` of its item; and over all items the probabilities have the sum 1.

    A sampler that knows the probability of its own draws only is refused where mixtures would ask for more.
    """
    sampler = config.build(store, store.split(LeaveLastOutConfig()))
    if not isinstance(sampler, KnownLaw):
        with pytest.raises(ConfigError, match="knows the probability of any item"):
            Mixed([sampler], (1.0,))
        return
    positives = torch.arange(N_EVENTS) % N_ITEMS + 1
    context = fixed_context(store)
    drawn = sampler.sample(positives, context, n=30)
    torch.testing.assert_close(sampler.log_q_of(drawn.ids, positives, context), drawn.log_q)
    every = torch.arange(1, N_ITEMS + 1).expand(N_EVENTS, -1)
    total = sampler.log_q_of(every, positives, context).exp().sum(1)
    torch.testing.assert_close(total, torch.ones(N_EVENTS))


@every_sampler
def test_without_log_q_the_draws_are_the_same(config, store):
    sampler = config.build(store, store.split(LeaveLastOutConfig()))
    positives = torch.arange(N_EVENTS) % N_ITEMS + 1
    context = fixed_context(store)
    one, other = (
        sampler.sample(positives, context, n=30, generator=torch.Generator().manual_seed(1), log_q=log_q)
        for log_q in (True, False)
    )
    assert torch.equal(one.ids, other.ids)


@every_sampler
def test_no_event_is_no_row(config, store):
    sampler = config.build(store, store.split(LeaveLastOutConfig()))
    none = torch.zeros(0, dtype=torch.int64)
    drawn = sampler.sample(none, fixed_context(store, 0), n=5)
    assert drawn.is_shared or drawn.ids.shape == (0, 5)


@every_sampler
def test_draws_are_independent(config, draw):
    """Pairs of neighbouring draws fill the table of all pairs as independent ones do."""
    draws = [draw(config, seed, n=N_DRAWS).ids for seed in SEEDS]
    ids = torch.cat([drawn if drawn.dim() == 1 else drawn[0] for drawn in draws]).numpy()
    pairs = np.bincount((ids[::2] - 1) * N_ITEMS + ids[1::2] - 1, minlength=N_ITEMS**2)
    table = pairs.reshape(N_ITEMS, N_ITEMS)
    assert stats.chi2_contingency(table[table.sum(1) > 0][:, table.sum(0) > 0]).pvalue > 1e-3
