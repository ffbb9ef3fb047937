import pytest
import torch
from torch import nn

from usermodel.training.ema import Ema


def module() -> nn.Module:
    one = nn.BatchNorm1d(2)
    with torch.no_grad():
        one.weight.fill_(1.0)
    return one


def test_values_by_hand():
    """Decays of the first steps: 2/11, 3/12, then the one asked for."""
    one = module()
    ema = Ema(one, 0.25)
    wanted = 1.0
    for step, (value, decay) in enumerate([(3.0, 2 / 11), (5.0, 0.25), (-1.0, 0.25)], 1):
        with torch.no_grad():
            one.weight.fill_(value)
            one.num_batches_tracked.fill_(step)
        ema.update(step)
        wanted = decay * wanted + (1 - decay) * value
        assert ema.average["weight"].tolist() == pytest.approx([wanted] * 2, rel=1e-6)
        assert int(ema.average["num_batches_tracked"]) == step


def test_the_average_is_there_inside_and_the_weights_are_back_afterwards():
    one = module()
    ema = Ema(one, 0.9)
    with torch.no_grad():
        one.weight.copy_(torch.tensor([0.1, 1 / 3]))
    own = one.weight.clone()

    def fail():
        with ema.applied():
            assert one.weight.tolist() == [1.0, 1.0]
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.equal(one.weight, own)


def test_off_it_keeps_nothing_and_does_nothing():
    one = module()
    ema = Ema(one, 0.0)
    ema.update(1)
    assert ema.average == {}
    with ema.applied():
        assert one.weight.tolist() == [1.0, 1.0]
