"""What every CTR head keeps, found by walking the package; and each formula written as loops."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from usermodel.errors import ConfigError, DataError
from usermodel.heads.catalog import heads_of
from usermodel.heads.ctr import CtrConfig
from usermodel.heads.dcn_v2 import DcnV2Config
from usermodel.heads.deepfm import DeepfmConfig, pairs
from usermodel.heads.din import DinConfig
from usermodel.heads.final_mlp import FinalMlpConfig
from usermodel.heads.logistic_regression import LogisticRegressionConfig
from usermodel.heads.row_inputs import RowBatch, RowHistories, RowShape
from usermodel.heads.target_attention import TargetAttentionConfig
from usermodel.heads.wide_deep import WideDeepConfig
from usermodel.metrics.ctr import measure
from usermodel.nn.item_table import HashedItemsConfig, ItemTable, hashed_rows

SHAPE = RowShape((("user", 20), ("item", 15), ("place", 2)), ("price",), vector_dim=5, history="item")
#: Sizes that a test can bear.
SMALL = {
    "dim": 4,
    "hidden": (16,),
    "other_hidden": (8,),
    "gate_hidden": 8,
    "cross_layers": 2,
    "attention": (6,),
    "positions": 3,
}


def small(kind):
    wanted = {name: value for name, value in SMALL.items() if name in kind.model_fields}
    return kind(**{} if kind is LogisticRegressionConfig else wanted)


def discover() -> list[CtrConfig]:
    return [small(kind) for kind in heads_of(CtrConfig).values()]


every_head = pytest.mark.parametrize("config", discover(), ids=repr)


def batch(n=64, seed=0):
    g = torch.Generator().manual_seed(seed)
    codes = torch.stack([torch.randint(0, size + 1, (n,), generator=g) for _, size in SHAPE.fields], 1)
    # Ranges of one table of events; every fourth row has none.
    start = torch.randint(0, 90, (n,), generator=g)
    stop = start + torch.randint(1, 8, (n,), generator=g) * (torch.arange(n) % 4 > 0)
    histories = RowHistories(torch.randint(0, 16, (100,), generator=g), start, stop)
    return RowBatch(codes, torch.randn(n, 1, generator=g), torch.randn(n, 5, generator=g), histories)


def built(config, shape=SHAPE, seed=0):
    torch.manual_seed(seed)
    return config.build(shape)


def shaken(model):
    """Weights away from their small beginnings, so that every part of a formula shows."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return model.eval()


@every_head
def test_a_hashed_table_has_the_size_that_was_asked_for(config):
    """Whatever the number of categories; and the same code of two fields has rows of its own."""
    table = HashedItemsConfig(table_rows=11, lookups=2)
    model = built(config.override({"table": table}))
    tables = [part for part in model.modules() if isinstance(part, ItemTable)]
    assert {len(part.weight) for part in tables} == {11}
    model(batch()).square().sum().backward()
    assert all(bool(part.weight.grad.isfinite().all()) for part in tables)
    rows = [hashed_rows(torch.tensor([start + 3]), table).tolist() for start in (1, 22)]
    assert rows[0] != rows[1]


def test_the_walk_finds_them():
    names = {type(config).__name__ for config in discover()}
    assert {"LogisticRegressionConfig", "DnnConfig", "WideDeepConfig", "DeepfmConfig"} <= names
    assert {"DcnV2Config", "FinalMlpConfig", "DinConfig", "TargetAttentionConfig"} <= names


@every_head
def test_the_configuration_survives_json(config):
    assert CtrConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@every_head
def test_log_odds_are_finite_and_the_gradient_reaches_everything(config):
    model = built(config)
    z = model(batch())
    assert z.shape == (64,)
    assert bool(z.isfinite().all())
    z.square().sum().backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


@every_head
def test_no_row_one_row_and_rows_in_another_order(config):
    model, rows = shaken(built(config)), batch()
    assert model(rows.take(torch.arange(0))).shape == (0,)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model(rows.take(order)), model(rows)[order], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model(rows.take(torch.tensor([5]))), model(rows)[5:6], atol=1e-4, rtol=1e-4)


@every_head
@pytest.mark.parametrize(
    "shape", [RowShape((("item", 15),), history="item"), RowShape((), ("price",)), RowShape((), (), 5)]
)
def test_rows_of_one_kind_of_field_will_do(config, shape):
    rows = batch()
    rows = RowBatch(
        rows.codes[:, 1 : 1 + len(shape.fields)],
        rows.numbers[:, : len(shape.numbers)],
        rows.vectors[:, : shape.vector_dim],
        rows.histories,
    )
    if isinstance(config, DinConfig | TargetAttentionConfig) and not shape.history:
        with pytest.raises(ConfigError, match="rows with a history of items"):
            built(config, shape)
        return
    assert bool(built(config, shape)(rows).isfinite().all())


@every_head
def test_only_heads_that_look_at_histories_see_them(config):
    model, rows = shaken(built(config)), batch()
    past = rows.histories
    other = replace(rows, histories=RowHistories((past.codes + 1) % 16, past.start, past.stop))
    looks = isinstance(config, DinConfig | TargetAttentionConfig)
    changed = model(rows) != model(other)
    assert bool((changed == (looks & (past.stop > past.start))).all())
    if looks:
        with pytest.raises(DataError, match="expected histories"):
            model(replace(rows, histories=None))


@every_head
def test_weights_are_all_there_is(config):
    one, other = shaken(built(config)), built(config, seed=9).eval()
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(batch()), other(batch()))


@every_head
def test_it_learns_what_a_field_and_a_number_say(config):
    """Log-odds: a taste for every item, and the price."""
    rows, rng = batch(2000), np.random.default_rng(0)
    taste = torch.from_numpy(rng.normal(size=16)).float()
    z = 2 * taste[rows.codes[:, 1]] + rows.numbers[:, 0]
    clicked = torch.rand(2000, generator=torch.Generator().manual_seed(2)) < z.sigmoid()
    model = built(config).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(model(rows), clicked.float()).backward()
        optimiser.step()
    with torch.no_grad():
        found = model.eval()(rows).sigmoid().double().numpy()
    best = measure(z.sigmoid().double().numpy(), clicked.numpy(), rows.codes[:, 0].numpy())["auc"].value
    assert measure(found, clicked.numpy(), rows.codes[:, 0].numpy())["auc"].value > best - 0.02


def fields_of(model, rows):
    return model.inputs(rows).detach()


def linear_of(term, rows):
    """Each category's weight, each number times its weight, the vector's product, the constant."""
    total = term.bias.detach().repeat(len(rows))
    table, starts = term.fields.table.weight.detach(), term.fields.starts
    for field in range(rows.codes.shape[1]):
        total = total + table[starts[field] + rows.codes[:, field], 0]
    total = total + rows.numbers[:, 0] * term.fields.of_numbers.detach()[0, 0]
    return total + rows.vectors @ term.of_vectors.weight.detach()[0]


def test_the_linear_term():
    model, rows = shaken(built(LogisticRegressionConfig())), batch()
    torch.testing.assert_close(model(rows).detach(), linear_of(model.linear, rows))


def test_pairs_of_fields():
    fields = torch.randn(3, 5, 4)
    wanted = sum((fields[:, i] * fields[:, j]).sum(1) for i in range(5) for j in range(i))
    torch.testing.assert_close(pairs(fields), wanted)


def test_deepfm_is_its_three_parts():
    model, rows = shaken(built(small(DeepfmConfig))), batch()
    e = fields_of(model, rows)
    deep = model.out(torch.relu(model.mlp.layers[0](e.flatten(1)))).squeeze(1)
    torch.testing.assert_close(model(rows), linear_of(model.linear, rows) + pairs(e) + deep)


def test_wide_and_deep_is_its_two_parts():
    model, rows = shaken(built(small(WideDeepConfig))), batch()
    torch.testing.assert_close(model(rows), linear_of(model.wide, rows) + model.deep(rows))


def test_dcn_v2_is_its_formula():
    model, rows = shaken(built(small(DcnV2Config))), batch()
    first = x = fields_of(model, rows).flatten(1)
    for layer in model.cross:
        x = first * (x @ layer.weight.T + layer.bias) + x
    wanted = model.out(torch.cat([x, torch.relu(model.mlp.layers[0](first))], 1)).squeeze(1)
    torch.testing.assert_close(model(rows), wanted, atol=1e-4, rtol=1e-4)
    alone = built(DcnV2Config(dim=4, hidden=(), cross_layers=1))
    assert alone.mlp is None


@pytest.mark.parametrize("gates", [None, ((), ()), (("user",), ("item", "price"))])
def test_final_mlp_is_its_formula(gates):
    model, rows = shaken(built(small(FinalMlpConfig).override({"gates": gates}))), batch()
    e = fields_of(model, rows)
    flat, seen = e.flatten(1), []
    for stream in range(2):
        if gates is None:
            seen.append(flat)
            continue
        gate = model.gates[stream]
        named = {"user": 0, "item": 1, "price": 3}
        x = e[:, [named[name] for name in gates[stream]]].flatten(1) if gates[stream] else gate.constant
        seen.append(2 * torch.sigmoid(gate.out(torch.relu(gate.mlp.layers[0](x)))) * flat)
    one = torch.relu(model.one.layers[0](seen[0]))
    other = torch.relu(model.other.layers[0](seen[1]))
    wanted = model.of_one(one).squeeze(1) + model.of_other(other).squeeze(1)
    for head in range(4):
        a, b = one[:, 4 * head : 4 * head + 4], other[:, 2 * head : 2 * head + 2]
        wanted = wanted + ((a @ model.between[head]) * b).sum(1)
    torch.testing.assert_close(model(rows), wanted, atol=1e-4, rtol=1e-4)


def test_what_final_mlp_refuses():
    from usermodel.config import validate

    with pytest.raises(ConfigError, match="divides"):
        validate(FinalMlpConfig, {"hidden": (10,), "heads": 4}, "head")
    with pytest.raises(ConfigError, match="Did you mean 'price'"):
        built(FinalMlpConfig(gates=(("prise",), ())))


def histories_of(rows):
    past = rows.histories
    return [past.codes[a:b] for a, b in zip(past.start.tolist(), past.stop.tolist(), strict=True)]


def test_histories_end_to_end():
    past = RowHistories(torch.arange(10), torch.tensor([2, 5, 7]), torch.tensor([4, 5, 10]))
    codes, owner, distance = past.laid_out()
    assert codes.tolist() == [2, 3, 7, 8, 9]
    assert owner.tolist() == [0, 0, 2, 2, 2]
    assert distance.tolist() == [1, 0, 2, 1, 0]


def test_din_is_its_formula():
    model, rows = shaken(built(small(DinConfig))), batch()
    e, interests = fields_of(model, rows), []
    for row, codes in enumerate(histories_of(rows)):
        total = torch.zeros(4)
        for code in codes:
            one, shown = model.inputs.table.weight[model.inputs.starts[1] + code].detach(), e[row, 1]
            x = torch.cat([one, shown, one - shown, one * shown])
            weight = model.weight(torch.relu(model.attention.layers[0](x)))
            total = total + weight * one
        interests.append(total)
    x = torch.cat([e.flatten(1), torch.stack(interests)], 1)
    wanted = model.out(torch.relu(model.mlp.layers[0](x))).squeeze(1)
    torch.testing.assert_close(model(rows), wanted, atol=1e-4, rtol=1e-4)


def test_target_attention_is_its_formula():
    """Row by row, by torch's own attention; of a row without history nothing is added."""
    model, rows = shaken(built(small(TargetAttentionConfig))), batch()
    e, found = fields_of(model, rows), []
    for row, codes in enumerate(histories_of(rows)):
        shown = e[row, 1]
        h = shown
        if len(codes):
            distance = torch.arange(len(codes) - 1, -1, -1).clamp(max=2)
            events = model.inputs.table.weight[model.inputs.starts[1] + codes] + model.position(distance)
            key, value = model.key_value(model.norms[1](events)).chunk(2, 1)
            query = model.query(model.norms[0](shown))
            q, k, v = (one.view(-1, 2, 2).transpose(0, 1) for one in (query, key, value))
            asked = torch.nn.functional.scaled_dot_product_attention(q, k, v)
            h = shown + model.out_of_heads(asked.transpose(0, 1).flatten())
        found.append(h + model.feed_forward(model.norms[2](h)))
    x = torch.cat([e.flatten(1), torch.stack(found)], 1)
    wanted = model.out(torch.relu(model.mlp.layers[0](x))).squeeze(1)
    torch.testing.assert_close(model(rows), wanted, atol=1e-4, rtol=1e-4)


def test_the_gradient_of_all_pairs_is_that_of_the_sum_over_pairs():
    torch.manual_seed(0)
    fields = torch.randn(5, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(pairs, (fields,))
