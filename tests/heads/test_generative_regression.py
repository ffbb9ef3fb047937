"""GR: identity on training labels, the curriculum, decoding, and that it learns to say a number."""

import numpy as np
import pytest
import torch

from usermodel.errors import ConfigError
from usermodel.heads.generative_regression import GenerativeRegressionConfig
from usermodel.heads.value_tokens import END, FIRST

SMALL = {"dim": 16, "heads": 2, "layers": 1, "hidden": 32, "dropout": 0.0}


def head_of(label, **options):
    torch.manual_seed(0)
    return GenerativeRegressionConfig(**SMALL | options).fit(
        2, np.array(label, dtype=float), np.zeros(len(label))
    )


def test_sums_of_codes_are_the_training_labels():
    label = np.round(np.random.default_rng(0).lognormal(2, 1, 500), 3)
    head = head_of(label)
    tokens = head.encode(torch.from_numpy(label))
    torch.testing.assert_close(head.decode(tokens), torch.from_numpy(label), atol=1e-9, rtol=0)
    value = torch.where(tokens >= FIRST, tokens, 10_000)
    assert bool((value.diff(dim=1) >= 0).all())  # larger tokens are smaller values


@pytest.mark.parametrize(("kind", "half"), [("linear", 0.5), ("exponential", 0.1), ("sigmoid", 0.5)])
def test_the_curriculum_falls_from_one_to_zero_over_the_whole_training(kind, half):
    head = head_of([1.0, 2.0], curriculum=kind, curriculum_steps=10).train()
    seen = []
    for _ in range(12):
        seen.append(head.keep_probability())
        head.loss(torch.zeros(2, 2), torch.tensor([1.0, 2.0]), torch.zeros(2))
    assert seen[0] == 1.0
    assert seen[5] == pytest.approx(half)
    assert seen[10:] == [0.0, 0.0]
    assert (np.diff(seen) <= 0).all()
    head.eval().loss(torch.zeros(1, 2), torch.ones(1), torch.zeros(1))
    assert int(head.steps) == 12  # looking is no step


def test_the_last_input_is_the_decoders_own_law():
    """With p = 0 true tokens matter only as targets: what is said does not change with the tokens before."""
    head = head_of([1.5, 2.0, 7.0], curriculum_steps=1, error=0.0).train()
    x = torch.randn(1, 2)
    head.loss(x, torch.tensor([1.5]), torch.zeros(1))
    seen = []
    head.decoder.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].detach()))
    head.loss(x, torch.tensor([1.5]), torch.zeros(1))
    first, second = seen
    assert torch.equal(first[:, 0], second[:, 0])
    assert not torch.equal(first[:, 1:], second[:, 1:])


def test_decoding_by_hand():
    """Laws that are put in place: the first is sure of the value 5, the second of the end."""
    head = head_of([5.0, 5.0, 5.0]).eval()
    assert head.values.tolist() == [5000]
    laws = iter([FIRST, FIRST, END])

    def says(inputs, memory):
        logits = torch.full((len(inputs), inputs.shape[1], 4), -50.0)
        logits[:, -1, next(laws)] = 50.0
        return logits

    head._logits = says
    assert head(torch.zeros(1, 2), torch.zeros(1)).tolist() == pytest.approx([10.0])


def test_it_says_two_numbers_apart():
    label = torch.tensor([1.25, 40.0]).repeat(50)
    x = torch.stack([label.log(), torch.ones(100)], 1)
    head = head_of(label.numpy(), curriculum_steps=100).train()
    optimiser = torch.optim.Adam(head.parameters(), lr=3e-3)
    for _ in range(200):
        optimiser.zero_grad()
        head.loss(x, label, torch.zeros(100)).backward()
        optimiser.step()
    with torch.no_grad():
        found = head.eval()(x[:2], torch.zeros(2))
    # Local expectation mixes in what is still thought possible: a thousandth of 40 is 0.04.
    assert found.tolist() == pytest.approx([1.25, 40.0], rel=0.1)


def test_heads_divide_the_width():
    from usermodel.config import validate

    with pytest.raises(ConfigError, match="dim divisible by heads"):
        validate(GenerativeRegressionConfig, {"dim": 10, "heads": 4}, "head")
