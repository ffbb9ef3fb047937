"""Lazy updates of item tables: dense Adam, up to rounding, for whoever reads a row."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from usermodel.encoders.gru import GruConfig
from usermodel.encoders.mean_pool import MeanPoolConfig
from usermodel.encoders.protocol import EncoderConfig, EncoderModule
from usermodel.errors import ConfigError, InterruptedRunError
from usermodel.nn.item_table import HashedItemsConfig, ItemTable, hashed_rows
from usermodel.training import lazy_adam, optimiser
from usermodel.training.lazy_adam import LazyAdam
from usermodel.training.loop import Loop
from usermodel.training.pretrain import pretrain
from usermodel.training.recipe import Recipe
from usermodel.training.row_gradients import rows_of_grad, sum_rows
from usermodel.training.validation import next_item_validation

N_ITEMS, DIM = 200, 4


def rate_at(step: int) -> float:
    return 0.01 * (1 + 0.5 * math.sin(step / 5))


class DenseAdam:
    """AdamW on a table as its paper has it, in float64: every row in every step."""

    def __init__(self, weight: torch.Tensor, decay: float) -> None:
        self.w = weight.detach().numpy().astype(np.float64)
        self.m, self.v, self.t, self.decay = np.zeros_like(self.w), np.zeros_like(self.w), 0, decay

    def step(self, rows, grads, lr: float) -> None:
        g = np.zeros_like(self.w)
        np.add.at(g, rows, grads)
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * g
        self.v = 0.999 * self.v + 0.001 * g * g
        m, v = self.m / (1 - 0.9**self.t), self.v / (1 - 0.999**self.t)
        self.w = self.w * (1 - lr * self.decay) - lr * m / (np.sqrt(v) + 1e-8)


def lazy(table: ItemTable, decay: float = 0.0, lr: float = 0.015) -> LazyAdam:
    return LazyAdam([table], [nn.Parameter(torch.zeros(3))], lr=lr, decay=decay)


def take(table: ItemTable, adam: torch.optim.Optimizer, index, grads, lr: float) -> torch.Tensor:
    """A step whose gradients of the vectors of ``index`` are ``grads``; returns the vectors that were read."""
    for group in adam.param_groups:
        group["lr"] = lr
    adam.zero_grad()
    vectors = table(index)
    (vectors * grads).sum().backward()
    adam.step()
    return vectors.detach()


@pytest.mark.parametrize("decay", [0.0, 0.2])
@pytest.mark.parametrize("period", [7, 1 << 14])
@pytest.mark.parametrize("scale", [1.0, 1e-2])
def test_rows_that_are_read_are_those_of_dense_adam(decay, period, scale, monkeypatch):
    monkeypatch.setattr(lazy_adam, "PERIOD", period)
    torch.manual_seed(0)
    table = ItemTable(N_ITEMS, DIM)
    dense, adam = DenseAdam(table.weight, decay), lazy(table, decay)
    rng = np.random.default_rng(0)
    behind = 0
    for step in range(600):
        # A few items all the time, most of them rarely, some twice in a step.
        index = torch.from_numpy(np.minimum(1 + (rng.pareto(0.7, 6)).astype(np.int64), N_ITEMS))
        grads = scale * torch.randn(6, DIM)
        wanted = dense.w[index]
        stale = table.weight.detach()[index]
        found = take(table, adam, index, grads, rate_at(step))
        behind += int((found != stale).any())
        np.testing.assert_allclose(found.numpy(), wanted, atol=5e-6, rtol=0)
        dense.step(index.numpy(), grads.double().numpy(), rate_at(step))
    assert behind > 100, "rows were never behind: nothing was lazy"
    adam.settle()
    np.testing.assert_allclose(table.weight.detach().numpy(), dense.w, atol=5e-6, rtol=0)
    assert np.abs(dense.w - table.weight.detach().numpy().mean()).max() > 0.5


@pytest.mark.parametrize("join", ["concat", "sum"])
def test_hashed_rows_too(join):
    torch.manual_seed(1)
    config = HashedItemsConfig(table_rows=50, lookups=2, join=join)
    table = ItemTable(1000, DIM, config)
    dense, adam = DenseAdam(table.weight, 0.1), lazy(table, 0.1)
    for step in range(300):
        index, grads = torch.randint(1, 1001, (5,)), torch.randn(5, DIM)
        take(table, adam, index, grads, rate_at(step))
        rows = hashed_rows(index, config).numpy()
        parts = (
            grads.view(5, 2, DIM // 2) if join == "concat" else grads[:, None].expand(5, 2, DIM)
        ).double()
        dense.step(rows, parts.numpy(), rate_at(step))
    adam.settle()
    np.testing.assert_allclose(table.weight.detach().numpy(), dense.w, atol=5e-6, rtol=0)


def test_gradients_as_small_as_eps_are_half_a_percent_off():
    torch.manual_seed(2)
    table = ItemTable(N_ITEMS, DIM)
    dense, adam = DenseAdam(table.weight, 0.0), lazy(table)
    start = dense.w
    for _ in range(600):
        index, grads = torch.randint(1, N_ITEMS + 1, (2,)), 1e-7 * torch.randn(2, DIM)
        take(table, adam, index, grads, 0.01)
        dense.step(index.numpy(), grads.double().numpy(), 0.01)
    adam.settle()
    way = np.abs(dense.w - start).max()
    off = np.abs(table.weight.detach().numpy() - dense.w).max()
    assert way > 0.1
    assert off < 0.005 * way


def test_where_every_row_is_read_in_every_step_all_three_of_torch_agree():
    torch.manual_seed(3)
    tables = [ItemTable(9, DIM) for _ in range(3)]
    for table in tables[1:]:
        table.load_state_dict(tables[0].state_dict())
    rest = [nn.Parameter(torch.ones(3)) for _ in range(2)]
    mine = LazyAdam(tables[:1], rest[:1], lr=0.01)
    others = [torch.optim.Adam([*tables[1].parameters(), rest[1]], lr=0.01, fused=True)]
    others.append(torch.optim.SparseAdam(tables[2].parameters(), lr=0.01))
    tables[2].before_read = lambda rows: None
    every = torch.arange(1, 10)
    for step in range(20):
        grads = torch.randn(9, DIM)
        for weight in rest:
            weight.grad = torch.full((3,), float(step - 4))
        for table, adam in zip(tables, [mine, *others], strict=True):
            table.weight.grad = None
            (table(every) * grads).sum().backward()
            adam.step()
    for table in tables[1:]:
        torch.testing.assert_close(tables[0].weight, table.weight, atol=1e-6, rtol=1e-6)
    assert torch.equal(*rest)


def test_rows_that_nobody_reads_are_not_touched_until_all_are_settled():
    torch.manual_seed(4)
    table = ItemTable(20, DIM)
    adam = lazy(table)
    take(table, adam, torch.arange(1, 21), torch.ones(20, DIM), 0.01)
    before = table.weight.detach().clone()
    for _ in range(3):
        take(table, adam, torch.tensor([2, 5]), torch.ones(2, DIM), 0.01)
    moved = (table.weight != before).any(1).nonzero().flatten().tolist()
    assert moved == [2, 5]
    with torch.no_grad():
        assert torch.equal(table.vectors()[6], before[7])
    adam.settle()
    assert (table.weight != before).any(1).nonzero().flatten().tolist() == list(range(1, 21))
    settled = table.weight.detach().clone()
    adam.settle()
    assert torch.equal(table.weight, settled)


def test_a_decay_that_leaves_nothing_of_a_row_in_a_few_steps():
    """The product of 1 - lr decay would be 0 in float64 after 36 steps of the last one."""
    for decay in (0.3, 30.0, 99.9999999):
        torch.manual_seed(5)
        table = ItemTable(5, DIM)
        dense, adam = DenseAdam(table.weight, decay), lazy(table, decay, lr=0.01)
        for step in range(60):
            index, grads = torch.tensor([1 + step % 2]), torch.randn(1, DIM)
            take(table, adam, index, grads, 0.01)
            dense.step(index.numpy(), grads.double().numpy(), 0.01)
        adam.settle()
        np.testing.assert_allclose(table.weight.detach().numpy(), dense.w, atol=5e-6, rtol=0)


def test_a_saved_state_continues_bit_for_bit():
    torch.manual_seed(6)
    table = ItemTable(30, DIM)
    adam = lazy(table, 0.1)
    draws = [(torch.randint(1, 31, (3,)), torch.randn(3, DIM)) for _ in range(40)]
    for index, grads in draws[:25]:
        take(table, adam, index, grads, 0.01)
    saved = {
        "state": {n: {k: v.clone() for k, v in s.items()} for n, s in adam.state_dict()["state"].items()}
    }
    saved["param_groups"] = adam.state_dict()["param_groups"]
    other = ItemTable(30, DIM)
    other.load_state_dict({name: value.clone() for name, value in table.state_dict().items()})
    again = lazy(other, 0.1)
    again.load_state_dict(saved)
    for index, grads in draws[25:]:
        for one, its in ((table, adam), (other, again)):
            take(one, its, index, grads, 0.01)
    assert torch.equal(table.weight, other.weight)
    ours, theirs = adam.state[table.weight], again.state[other.weight]
    assert ours["past"].dtype == torch.float64
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype
        assert torch.equal(value, theirs[name])
    adam.settle()
    again.settle()
    assert torch.equal(table.weight, other.weight)


def test_a_gradient_of_the_whole_table_is_refused():
    table = ItemTable(5, DIM)
    adam = lazy(table)
    (table(torch.tensor([1])).sum() + table.weight.sum()).backward()
    with pytest.raises(
        ConfigError, match=r"training\.row_updates: .* reads the whole item table\. Set .*dense"
    ):
        adam.step()


def test_rows_of_several_ranks_are_added_up():
    """Rank 1 of 3, with what the others would add."""
    table = ItemTable(9, 2)
    table.before_read = lambda rows: None
    (table(torch.tensor([4, 2, 4])) * torch.tensor([[1.0], [10.0], [100.0]])).sum().backward()
    theirs = iter([[2, 0, 1], [4, 9, 0, 0, 2], [[1.0] * 2, [5.0] * 2, [0.0] * 2, [0.0] * 2, [7.0] * 2]])
    sum_rows(table.weight, lambda mine: mine.add_(torch.tensor(next(theirs), dtype=mine.dtype)), 1, 3)
    grad = table.weight.grad
    assert grad.is_coalesced()
    assert grad.indices().tolist() == [[2, 4, 9]]
    assert grad.values()[:, 0].tolist() == [17.0, 102.0, 5.0]


@pytest.fixture(scope="module")
def wide(tmp_path_factory, make_store):
    """More items than a step reads."""
    return make_store(tmp_path_factory.mktemp("wide") / "store", users=60, items=400)


@pytest.fixture(scope="module")
def rows(recipe) -> Recipe:
    changes = {
        "objective.loss": "sampled-softmax",
        "objective.n_negatives": 32,
        "training.row_updates": "lazy",
    }
    return recipe.override(changes)


def losses_of(store, recipe: Recipe, folder, stop_at=None, **changes) -> tuple[list[float], Loop]:
    """Loss of each step from where the folder stands, and the loop at the end; perhaps ask to stop at a step."""
    folder.mkdir(exist_ok=True)
    recipe = recipe.override({f"training.{key}": value for key, value in changes.items()})
    loop = Loop(store, store.split(), recipe, folder)
    seen, step = [], loop._step

    def spy(examples):
        before = loop.state.loss_sum, loop.state.n_targets
        step(examples)
        seen.append((loop.state.loss_sum - before[0]) / (loop.state.n_targets - before[1]))
        loop.stop_requested |= loop.state.step == stop_at

    loop._step = spy
    loop.restore()
    loop.run(next_item_validation(store, loop.split, loop.encoder.max_history, "ndcg@10"))
    return seen, loop


@pytest.mark.parametrize(
    "changes",
    [
        {"objective.loss": "gbce"},
        {"objective.loss": "bce", "training.clip_norm": 0.01, "negatives.shared": False},
        {
            "encoder.items": "hashed",
            "encoder.items.table_rows": 60,
            "training.schedule": "linear",
            "training.accumulate": 3,
            "training.batch_events": 33,
        },
        {"training.optimiser": "adamw", "training.weight_decay": 0.5, "training.clip_norm": 0.05},
    ],
)
def test_training_is_that_of_dense_updates(wide, rows, tmp_path, changes):
    recipe = rows.override(changes)
    ours, loop = losses_of(wide, recipe, tmp_path / "lazy")
    wanted, plain = losses_of(wide, recipe, tmp_path / "dense", row_updates="dense")
    assert isinstance(loop.optimiser, LazyAdam)
    assert not isinstance(plain.optimiser, LazyAdam)
    assert ours == pytest.approx(wanted, rel=1e-4)
    fresh = Loop(wide, wide.split(), recipe, tmp_path).encoder.items.weight.detach()
    assert float((loop.encoder.items.weight.detach() - fresh).abs().max()) > 0.02, (
        "ten times the tolerance below"
    )
    assert loop.state.metrics == pytest.approx(plain.state.metrics, rel=1e-3)
    for name, value in plain.encoder.state_dict().items():
        torch.testing.assert_close(loop.encoder.state_dict()[name], value, atol=2e-3, rtol=0)


def test_stopped_at_any_step_and_resumed_equals_uninterrupted(wide, rows, tmp_path, monkeypatch):
    """Also between what rows have missed and its settlement, in the middle of a period."""
    monkeypatch.setattr(lazy_adam, "PERIOD", 4)
    changes = {"optimiser": "adamw", "weight_decay": 0.1, "accumulate": 2, "batch_events": 40}
    recipe = rows.override({f"training.{key}": value for key, value in changes.items()})
    wanted, whole = losses_of(wide, recipe, tmp_path / "whole")
    for stop in (1, 3, 4, 9, len(wanted) - 1):
        folder = tmp_path / f"cut{stop}"
        with pytest.raises(InterruptedRunError):
            losses_of(wide, recipe, folder, stop_at=stop)
        rest, loop = losses_of(wide, recipe, folder)
        assert rest == wanted[stop:]
        for name, value in whole.modules.state_dict().items():
            assert torch.equal(value, loop.modules.state_dict()[name])


def test_a_catalogue_smaller_than_what_is_drawn(store, rows, tmp_path):
    """Then the loss reads the whole table."""
    ours, _ = losses_of(store, rows, tmp_path / "lazy")
    wanted, _ = losses_of(store, rows, tmp_path / "dense", row_updates="dense")
    assert ours == pytest.approx(wanted, rel=1e-4)


def test_two_processes_take_the_steps_of_one_that_accumulates(wide, rows, tmp_path):
    """With dropout: the parts of a batch draw the same numbers wherever they are computed."""
    curves, weights = [], []
    for name, changes in (("two", {"devices": 2}), ("one", {"accumulate": 2, "batch_events": 50})):
        seen = []
        recipe = rows.override({f"training.{key}": value for key, value in changes.items()})
        run = pretrain(wide, recipe, tmp_path / name, on_progress=seen.append)
        assert run.meta["row_updates"] == "lazy"
        curves.append([now.loss for now in seen])
        weights.append((run.history()[-1]["ndcg@10"], run.meta["steps"]))
    assert curves[0] == pytest.approx(curves[1], rel=1e-5)
    assert weights[0] == pytest.approx(weights[1], rel=1e-5)
    assert len(curves[0]) > 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": {"loss": "softmax"}}, r"expected a loss that draws negatives .*; found one that reads all 20 rows"),
        ({"training.ema": 0.9}, r"expected no average of all weights .*; found ema=0\.9"),
        ({"training.optimiser": "adamw", "training.weight_decay": 100.0}, r"expected learning_rate x weight_decay less than 1 .*; found 0\.01 x 100"),
        ({"training.weight_decay": 0.1}, r"expected optimiser=adamw .*; found optimiser=adam and weight_decay=0\.1"),
    ],
)  # fmt: skip
def test_what_lazy_updates_cannot_do(store, rows, tmp_path, changes, message, monkeypatch):
    recipe = rows.override(changes) if "objective" not in changes else rows.model_copy(
        update={"objective": type(rows.objective)(loss="softmax")}
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"training\.row_updates: " + message):
        pretrain(store, recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(optimiser, "AUTO_ROWS", 2)
    auto = recipe.override({"training.row_updates": "auto"})
    assert not isinstance(Loop(store, store.split(), auto, tmp_path).optimiser, LazyAdam)


class BareConfig(EncoderConfig):
    """A caller's own encoder."""

    max_history: int = 5

    def build(self, n_items: int) -> "Bare":
        return Bare(n_items)


class Bare(EncoderModule):
    """Items in a table of torch's."""

    def __init__(self, n_items: int) -> None:
        super().__init__()
        self.n_items, self.dim, self.max_history, self.causal = n_items, 4, 5, True
        self.items = torch.nn.Embedding(n_items + 1, 4)


def test_an_encoder_without_an_item_table_is_named(store, rows, tmp_path):
    recipe = rows.model_copy(update={"encoder": BareConfig()})
    with pytest.raises(ConfigError, match=r"expected an encoder with an ItemTable .*; found Bare"):
        Loop(store, store.split(), recipe, tmp_path)


@pytest.mark.parametrize(
    "encoder", [GruConfig(dim=8, hidden=8), GruConfig(dim=8, hidden=8, left_pad_to=50), MeanPoolConfig(dim=8)]
)
def test_every_encoder_of_ours_can_be_updated_row_by_row(wide, rows, tmp_path, encoder):
    recipe = rows.model_copy(update={"encoder": encoder})
    ours, loop = losses_of(wide, recipe, tmp_path / "lazy", max_epochs=2)
    wanted, _ = losses_of(wide, recipe, tmp_path / "dense", max_epochs=2, row_updates="dense")
    assert isinstance(loop.optimiser, LazyAdam)
    assert ours == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(("rows_needed", "kind"), [(305, "lazy"), (306, "dense")])
def test_auto_goes_by_the_rows_of_the_table(wide, rows, tmp_path, monkeypatch, rows_needed, kind):
    monkeypatch.setattr(optimiser, "AUTO_ROWS", rows_needed)
    auto = rows.override({"training.row_updates": "auto", "training.max_steps": 2})
    assert wide.n_items == 304
    run = pretrain(wide, auto, tmp_path / "run")
    assert run.meta["row_updates"] == kind


def test_a_table_that_no_step_reads_has_a_gradient_of_no_row():
    weight = torch.nn.Parameter(torch.ones(6, 3))
    rows, values = rows_of_grad(weight)
    assert rows.shape == (0,)
    assert values.shape == (0, 3)


def test_a_frozen_table_is_not_updated_row_by_row(wide, rows, tmp_path):
    """Nor does weight decay move it."""
    recipe = rows.override({"training.optimiser": "adamw", "training.weight_decay": 0.5})
    encoder = recipe.encoder.build(wide.n_items)
    encoder.items.weight.requires_grad_(False)
    with pytest.raises(ConfigError, match="expected an encoder with an ItemTable"):
        optimiser.build(recipe, encoder, encoder)


@pytest.mark.parametrize("way", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_of_an_encoder_is_free_of_the_optimiser(wide, rows, tmp_path, way):
    loop = Loop(wide, wide.split(), rows, tmp_path)
    twin = way(loop.encoder)
    assert loop.encoder.items.before_read is not None
    assert twin.items.before_read is None
    twin.items(torch.tensor([1, 2])).sum().backward()
    assert not twin.items.weight.grad.is_sparse
