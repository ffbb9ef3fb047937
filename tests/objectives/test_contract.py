"""What every objective owes the training loop. Implementations are found by walking the package."""

import contextlib
import importlib
import itertools
import json
import math
import pkgutil
from dataclasses import replace
from typing import Literal, get_args, get_origin

import numpy as np
import pytest
import torch
from torch import nn

import usermodel.objectives
from usermodel.batch import JaggedBatch
from usermodel.encoders.catalogue import Catalogue
from usermodel.encoders.protocol import EncoderModule
from usermodel.encoders.transformer import TransformerConfig
from usermodel.errors import ConfigError
from usermodel.negatives.uniform import Uniform
from usermodel.nn.item_features import ItemFeature
from usermodel.objectives.next_item import NextItemConfig
from usermodel.objectives.protocol import Objective, ObjectiveConfig

N_ITEMS = 40
ANSWERS = tuple(f"answer {n}" for n in range(5))


def implementations() -> list[type[ObjectiveConfig]]:
    found = []
    for info in pkgutil.iter_modules(usermodel.objectives.__path__):
        module = importlib.import_module(f"{usermodel.objectives.__name__}.{info.name}")
        found += [
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, ObjectiveConfig)
            and value.__module__ == module.__name__
        ]
    return [cls for cls in found if cls is not ObjectiveConfig]


def choices(cls: type[ObjectiveConfig]) -> list[ObjectiveConfig]:
    """The configuration as it is, and once with each choice it offers."""
    found = [cls()]
    for name, field in cls.model_fields.items():
        offered = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        found += [cls(**{name: choice}) for choice in offered if choice != field.default]
        # Who wants labels may leave the encoder alone: another way through the code.
        if cls().wants_labels and field.annotation is bool:
            found.append(cls(**{name: not field.default}))
    return found


def variants() -> list[ObjectiveConfig]:
    """Every configuration with each choice it offers, and each choice of one inside it, such as the next-item loss."""
    found = []
    for cls in implementations():
        found += choices(cls)
        for name, field in cls.model_fields.items():
            if type(field.default) is NextItemConfig and cls is not NextItemConfig:
                found += [cls(**{name: one}) for one in choices(NextItemConfig)[1:]]
    return found


class Asking(Uniform):
    """Asks for all that a sampler may ask for."""

    def sample(self, positives, context, **options):
        assert context.users().shape == positives.shape
        assert context.item_vectors(positives).shape == context.vectors.shape
        return super().sample(positives, context, **options)


contract = pytest.mark.parametrize("config", variants(), ids=repr)


def build(config: ObjectiveConfig, seed: int = 0, **changes) -> tuple[EncoderModule, Objective]:
    """The objective with an encoder it accepts: causal, without a mask token and item features where it may be."""
    shape = TransformerConfig(dim=8, hidden=16, layers=1, max_history=12, init_std=0.3, dropout=0.1).override(
        changes
    )
    negatives = Asking(N_ITEMS) if config.draws_negatives(N_ITEMS) else None
    for features, mask_token, causal in itertools.product((False, True), (False, True), (True, False)):
        torch.manual_seed(seed)
        own = shape.override({"causal": causal, "mask_token": mask_token})
        encoder = own.build_for(Catalogue(N_ITEMS))
        if features:
            encoder = own.override({"inputs": FEATURES}).build_for(Catalogue(N_ITEMS, (), item_features()))
        try:
            if config.wants_labels:
                return encoder, config.build_labelled(encoder, ANSWERS)
            return encoder, config.build(encoder, negatives)
        except ConfigError:
            continue
    raise AssertionError(f"{config!r} accepts no encoder")


FEATURES = {"item_features": ["genres", "length"], "score_item_features": True}


def item_features() -> tuple[ItemFeature, ...]:
    rng = torch.Generator().manual_seed(7)
    codes = torch.randint(0, 6, (N_ITEMS + 1, 3), generator=rng, dtype=torch.int32)
    numbers = torch.randn(N_ITEMS + 1, 1, generator=rng)
    return ItemFeature("genres", "codes", 5, 3, codes), ItemFeature("length", "numbers", 1, 1, numbers)


@pytest.fixture
def make_batch(config, make_batch):
    """Lists of item indices -> a batch, with labels for those who want them: what was right, and something else."""

    def make(*histories: list[int]) -> JaggedBatch:
        batch = make_batch(*histories)
        if not config.wants_labels:
            return batch
        right = torch.tensor([sum(history) % 5 for history in histories], dtype=torch.int64)
        return replace(batch, label=torch.stack([right, (right + 1) % 5], 1))

    return make


def histories(n: int = 12) -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [rng.integers(1, N_ITEMS + 1, rng.integers(2, 13)).tolist() for _ in range(n)]


def test_the_walk_finds_next_item():
    found = {cls.__name__ for cls in implementations()}
    assert found >= {"NextItemConfig", "UserAttributeConfig", "UserChoiceConfig"}
    assert {config.loss for config in variants() if isinstance(config, NextItemConfig)} == {
        "auto", "softmax", "sampled-softmax", "gbce", "bce", "bpr", "warp",
    }  # fmt: skip


@contract
def test_the_configuration_survives_json(config):
    assert ObjectiveConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@contract
@pytest.mark.parametrize("users", [[[1, 2, 3, 4]], [[5]], [[5], [6], [7]], [[], [8]], [[], []], []], ids=str)
def test_the_loss_is_finite_for_the_smallest_batches(config, make_batch, users):
    encoder, objective = build(config)
    output = objective(encoder, make_batch(*users))
    assert output.loss.shape == ()
    assert math.isfinite(output.loss.item())
    assert output.n_targets >= 0
    output.loss.backward()
    assert all(bool(w.grad.isfinite().all()) for w in encoder.parameters() if w.grad is not None)


@contract
@torch.no_grad()
def test_the_order_of_users_does_not_matter(config, make_batch):
    encoder, objective = build(config, dropout=0.0)
    encoder.eval()
    objective.eval()

    def losses(users, seeds):
        outputs, batch = [], make_batch(*users)
        for seed in range(seeds):
            torch.manual_seed(seed)
            outputs.append(objective(encoder, batch))
        return np.array([one.loss.item() for one in outputs]), {one.n_targets for one in outputs}

    (one, n), (two, m) = losses(histories(), 2), losses(histories()[::-1], 2)
    if one[0] == one[1]:
        assert two == pytest.approx(one, abs=1e-5, rel=1e-5)
        assert n == m
    else:
        # Which user gets which draw depends on the order; the distribution does not.
        (one, _), (two, _) = losses(histories(), 60), losses(histories()[::-1], 60)
        error = (one.var(ddof=1) / len(one) + two.var(ddof=1) / len(two)) ** 0.5
        assert abs(one.mean() - two.mean()) < 4 * error


@contract
def test_the_same_seed_gives_the_same_loss_and_gradient(config, make_batch):
    def run(seed: int):
        encoder, objective = build(config)
        torch.manual_seed(seed)
        loss = objective(encoder, make_batch(*histories())).loss
        loss.backward()
        weights = [*encoder.parameters(), *objective.parameters()]
        return loss.item(), [weight.grad for weight in weights if weight.grad is not None]

    (a, first), (b, second), (c, _) = run(1), run(1), run(2)
    assert a == b
    assert all(map(torch.equal, first, second))
    # Nothing is drawn for a frozen encoder: it has no dropout.
    assert (a != c) is not getattr(config, "freeze", False)


@contract
def test_the_gradient_reaches_the_encoder_and_the_objectives_own_weights(config, make_batch):
    encoder, objective = build(config)
    ran = []
    for block in encoder.blocks:
        block.register_forward_hook(lambda *_: ran.append(True))
    output = objective(encoder, make_batch(*histories()))
    output.loss.backward()
    modules = nn.ModuleDict({"encoder": encoder, "objective": objective})
    lost = [
        name for name, weight in modules.named_parameters() if weight.grad is None or not weight.grad.any()
    ]
    if getattr(config, "freeze", False):
        assert all(weight.grad is None for weight in encoder.parameters())
        lost = [name for name in lost if not name.startswith("encoder.")]
    elif not ran:
        # A loss of items alone, for a sum with another one, leaves what reads histories as it is.
        assert not any(name.startswith("encoder.item") for name in lost)
        lost = [name for name in lost if not name.startswith("encoder.")]
    # A read-out that this objective does not use has no gradient.
    assert [name for name in lost if "pooling" not in name] == []


@contract
def test_parts_are_finite_detached_and_scalar(config, make_batch):
    encoder, objective = build(config)
    output = objective(encoder, make_batch(*histories()))
    assert output.n_targets > 0
    assert output.parts
    for value in output.parts.values():
        assert not value.requires_grad
        assert math.isfinite(value.item())


@contract
def test_an_empty_batch_has_the_parts_of_any_other(config, make_batch):
    """A rank without examples adds up the same parts as the others."""
    encoder, objective = build(config)
    full, empty = objective(encoder, make_batch(*histories())), objective(encoder, make_batch())
    assert list(empty.parts) == list(full.parts)
    assert all(math.isfinite(value.item()) for value in empty.parts.values())


@contract
def test_the_encoder_is_not_a_member(config):
    encoder, objective = build(config)
    own = {id(weight) for weight in objective.parameters()}
    assert own.isdisjoint({id(weight) for weight in encoder.parameters()})


@contract
def test_a_batch_can_be_learned(config, make_batch):
    published = None
    for key in ("prior", "next_item.prior"):
        with contextlib.suppress(ConfigError):
            published = config.override({key: False})
    batch = make_batch(*histories())
    if published is not None:
        fall_below(0.8, published, batch)
    # From the log-odds of a constant a loss begins where no constant has less, and has less far to fall.
    fall_below(0.8 if published is None else 0.9, config, batch)


def fall_below(share, config, batch):
    """Train, until the loss is a share of what it was."""
    encoder, objective = build(config)
    optimiser = torch.optim.Adam([*encoder.parameters(), *objective.parameters()], lr=0.01)

    @torch.no_grad()
    def mean_loss() -> float:
        losses = []
        for seed in range(1000, 1010):
            torch.manual_seed(seed)
            losses.append(objective(encoder, batch).loss.item())
        return float(np.mean(losses))

    losses = [mean_loss()]
    for step in range(120):
        torch.manual_seed(step)
        loss = objective(encoder, batch).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 15 == 14:
            losses.append(mean_loss())
            # Most need far fewer steps.
            if losses[-1] < share * losses[0]:
                return
    raise AssertionError(losses)
