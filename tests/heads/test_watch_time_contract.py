"""What every watch-time head keeps, found by walking the package: a new file is tested without a line here."""

import json
from typing import Literal, get_args, get_origin

import numpy as np
import pytest
import torch

from usermodel.errors import DataError
from usermodel.heads.catalog import heads_of
from usermodel.heads.watch_time import WatchTimeConfig
from usermodel.metrics.watch_time import xauc

DIM, ROWS = 6, 400
#: Small, where the default is not.
EXAMPLES = {
    "GenerativeRegressionConfig": {"dim": 16, "heads": 2, "hidden": 32, "layers": 1, "curriculum_steps": 60}
}


def discover() -> list[WatchTimeConfig]:
    """Every configuration of a watch-time head, and it with each other choice of a field that has some."""
    found = []
    for kind in heads_of(WatchTimeConfig).values():
        plain = kind(**EXAMPLES.get(kind.__name__, {}))
        found.append(plain)
        for name, field in kind.model_fields.items():
            if get_origin(field.annotation) is Literal:
                others = [one for one in get_args(field.annotation) if one != getattr(plain, name)]
                found += [plain.override({name: other}) for other in others]
    return found


every_head = pytest.mark.parametrize("config", discover(), ids=repr)


def rows(n=ROWS, seed=0):
    """Vectors, labels and durations: half of the label's logarithm is said by the vector, the rest is duration and chance."""
    rng = np.random.default_rng(seed)
    x, duration = rng.normal(size=(n, DIM)), rng.choice([5.0, 15.0, 60.0], n)
    label = np.round(duration * np.exp(x[:, 0] - 1 + 0.3 * rng.normal(size=n)), 3)
    label[:: max(n // 10, 2)] = 0.0
    return torch.from_numpy(x).float(), torch.from_numpy(label).float(), torch.from_numpy(duration).float()


def fitted(config, seed=0, n=ROWS):
    _, label, duration = rows(n)
    torch.manual_seed(seed)
    return config.fit(DIM, label.double().numpy(), duration.double().numpy())


def test_the_walk_finds_them():
    names = {type(config).__name__ for config in discover()}
    assert {"ValueRegressionConfig", "WlrConfig", "D2qConfig", "TpmConfig", "CreadConfig"} <= names
    assert "GenerativeRegressionConfig" in names


@every_head
def test_the_configuration_survives_json(config):
    assert WatchTimeConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@every_head
def test_loss_is_finite_and_its_gradient_reaches_everything(config):
    head, (x, label, duration) = fitted(config), rows()
    x.requires_grad_()
    loss = head.loss(x, label, duration)
    assert loss.ndim == 0
    assert bool(loss.isfinite())
    loss.backward()
    assert float(x.grad.abs().sum()) > 0
    untouched = [name for name, weight in head.named_parameters() if weight.grad is None]
    assert untouched == []
    assert all(bool(weight.grad.isfinite().all()) for weight in head.parameters())


@every_head
def test_no_row_and_one_row(config):
    head, (x, label, duration) = fitted(config), rows()
    nothing = head.loss(x[:0], label[:0], duration[:0])
    assert float(nothing.detach()) == 0.0
    nothing.backward()
    assert all(not weight.grad.any() for weight in head.parameters() if weight.grad is not None)
    assert head(x[:0], duration[:0]).shape == (0,)
    assert bool(head.loss(x[:1], label[:1], duration[:1]).isfinite())


@every_head
def test_the_order_of_rows_does_not_matter(config):
    head, (x, _, duration) = fitted(config).eval(), rows()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        one, other = head(x, duration), head(x[order], duration[order])
    torch.testing.assert_close(other, one[order], atol=1e-4, rtol=1e-4)


@every_head
def test_equal_seeds_give_equal_bits(config):
    losses, guesses = [], []
    x, label, duration = rows()
    for _ in range(2):
        head = fitted(config)
        torch.manual_seed(7)
        losses.append(head.loss(x, label, duration))
        guesses.append(head.eval()(x, duration))
    assert torch.equal(*losses)
    assert torch.equal(*guesses)


@every_head
def test_guesses_are_watch_times(config):
    head, (x, _, duration) = fitted(config).eval(), rows()
    with torch.no_grad():
        found = head(50 * x, duration)
    assert found.shape == (ROWS,)
    assert found.dtype == torch.float32
    assert bool(found.isfinite().all())
    assert float(found.min()) >= 0


@every_head
def test_weights_and_statistics_are_all_there_is(config):
    """A head that is built from saved statistics and given the weights guesses the same bits."""
    head, (x, label, duration) = fitted(config), rows()
    head.loss(x, label, duration)
    statistics = config.statistics(label.double().numpy(), duration.double().numpy())
    torch.manual_seed(99)
    other = config.build(DIM, statistics)
    other.load_state_dict(head.state_dict())
    with torch.no_grad():
        assert torch.equal(head.eval()(x, duration), other.eval()(x, duration))


@every_head
def test_it_learns(config):
    """Chance is 0.5, the durations alone 0.7."""
    x, label, duration = rows(2000)
    head = fitted(config, n=2000).train()
    # What duration says is part of the vector, as in a task.
    x[:, 1] = duration.log() - duration.log().mean()
    optimiser = torch.optim.Adam(head.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        batch = torch.randint(len(x), (256,), generator=generator)
        optimiser.zero_grad()
        head.loss(x[batch], label[batch], duration[batch]).backward()
        optimiser.step()
    with torch.no_grad():
        guess = head.eval()(x, duration)
    assert xauc(guess.double().numpy(), label.double().numpy()).value > 0.8


@every_head
def test_durations_may_be_unknown(config):
    x, label, duration = rows()
    duration[::3] = 0.0
    duration[1::3] = float("nan")
    head = config.fit(DIM, label.double().numpy(), duration.double().numpy())
    assert bool(head.loss(x, label, duration).isfinite())
    with torch.no_grad():
        assert bool(head.eval()(x, duration).isfinite().all())


@every_head
def test_equal_labels_are_learned(config):
    """One value only: every statistic of spread is degenerate."""
    x, label, duration = rows(50)
    label = torch.full_like(label, 3.0)
    head = config.fit(DIM, label.double().numpy(), duration.double().numpy())
    assert bool(head.loss(x, label, duration).isfinite())
    with torch.no_grad():
        assert bool(head.eval()(x, duration).isfinite().all())


@every_head
@pytest.mark.parametrize(
    ("label", "message"),
    [([], "training rows"), ([1.0, -1.0], "at least 0"), ([np.nan], "finite"), ([0.0], "above 0")],
)
def test_labels_to_learn_nothing_from_are_refused(config, label, message):
    with pytest.raises(DataError, match=message):
        config.fit(DIM, np.array(label), np.ones(len(label)))


def test_a_duration_for_each_label():
    with pytest.raises(DataError, match="a duration for each label"):
        discover()[0].fit(DIM, np.ones(3), np.ones(2))
