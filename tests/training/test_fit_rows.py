"""The trainer of rows: by torch's own loop, lazily and densely, reproducible, the best epoch stays."""

import pytest
import torch
from torch import nn

from usermodel.errors import DataError, NumericError
from usermodel.loader import generator
from usermodel.nn.item_table import ItemTable
from usermodel.training.fit_rows import FitRowsConfig, fit_rows

N = 300


class Model(nn.Module):
    """A vector of an item, and a linear map of it."""

    def __init__(self, n_items=50):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.out = ItemTable(n_items, 4), nn.Linear(4, 1)
        self.item = torch.randint(1, n_items + 1, (N,))
        self.y = torch.randn(n_items + 1)[self.item]

    def loss(self, rows):
        return (self.out(self.table(self.item[rows])).squeeze(1) - self.y[rows]).square().mean()


def test_equals_torch_written_out():
    model, plain = Model(), Model()
    config = FitRowsConfig(epochs=3, batch_rows=64, learning_rate=0.01, seed=5, row_updates="dense")
    done = fit_rows(model, model.loss, N, config)
    optimiser = torch.optim.AdamW(plain.parameters(), lr=0.01, weight_decay=0.0)
    losses = []
    for epoch in (1, 2, 3):
        total = 0.0
        for rows in torch.from_numpy(generator(5, "order", epoch).permutation(N)).split(64):
            loss = plain.loss(rows)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(rows)
        losses.append(total / N)
    assert [one.loss for one in done.epochs] == pytest.approx(losses, rel=1e-5)
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    assert done.best_epoch == 3
    assert not model.training


def test_lazy_rows_end_where_dense_ones_do():
    weights = []
    for updates in ("lazy", "dense"):
        model = Model(200)
        fit_rows(
            model,
            model.loss,
            N,
            FitRowsConfig(epochs=4, batch_rows=16, learning_rate=0.01, row_updates=updates),
        )
        assert model.table.before_read is None
        weights.append(model.table.weight.detach())
    torch.testing.assert_close(*weights, atol=2e-4, rtol=1e-3)


def test_equal_seeds_give_equal_bits_and_leave_the_callers_generator_alone():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(3)
        model = Model()
        torch.random.set_rng_state(before)
        fit_rows(model, model.loss, N, FitRowsConfig(epochs=2, batch_rows=64, seed=seed))
        found.append(model.out.weight.detach())
        assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_the_best_weights_come_back_and_patience_ends_it():
    model, seen = Model(), []
    values = iter([1.0, 3.0, 2.0, 2.5, 9.0])

    def validate():
        assert not model.training
        seen.append(model.out.weight.detach().clone())
        return next(values)

    config = FitRowsConfig(epochs=9, batch_rows=64, patience=2)
    done = fit_rows(model, model.loss, N, config, validate=validate)
    assert [one.validation for one in done.epochs] == [1.0, 3.0, 2.0, 2.5]
    assert done.best_epoch == 2
    assert torch.equal(model.out.weight, seen[1])


def test_what_cannot_be_is_refused():
    model = Model()
    with pytest.raises(DataError, match="training rows"):
        fit_rows(model, model.loss, 0, FitRowsConfig())
    with pytest.raises(NumericError, match="finite loss"):
        fit_rows(model, lambda rows: model.loss(rows) * float("nan"), N, FitRowsConfig(epochs=1))
    assert model.table.before_read is None
