"""The head on user vectors, and its folder."""

import json

import pytest
import torch

from usermodel import manifest
from usermodel.errors import IntegrityError, MissingError, NumericError
from usermodel.heads import io
from usermodel.heads.user_head import UserHead

ANSWERS = ("a", "b", "ü, with a comma")


def head(hidden=5, seed=0):
    torch.manual_seed(seed)
    return UserHead(4, hidden, ANSWERS)


def test_two_layers_by_hand():
    made, u = head(), torch.randn(6, 4)
    inside = (u @ made.inner.weight.T + made.inner.bias).clamp(min=0)
    torch.testing.assert_close(made(u), inside @ made.out.weight.T + made.out.bias)
    assert made(u).shape == (6, 3)


def test_one_layer_by_hand():
    made, u = head(hidden=0), torch.randn(6, 4)
    assert made.inner is None
    torch.testing.assert_close(made(u), u @ made.out.weight.T + made.out.bias)


def test_weights_begin_as_published():
    torch.manual_seed(0)
    made = UserHead(200, 200, tuple(map(str, range(200))))
    for layer in (made.inner, made.out):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.02)
        assert layer.weight.mean().item() == pytest.approx(0, abs=5e-4)
        assert not layer.bias.any()


def test_scores_are_plain_numbers_and_finite():
    made = head()
    found = made.scores(torch.randn(2, 4))
    assert (found.requires_grad, found.dtype) == (False, torch.float32)
    with pytest.raises(NumericError, match="scores of the head"):
        made.scores(torch.tensor([[float("nan"), 0, 0, 0]]))


@pytest.mark.parametrize("hidden", [0, 5])
def test_a_saved_head_is_the_same_head(tmp_path, hidden):
    made, u = head(hidden), torch.randn(3, 4)
    io.save(tmp_path / "head", made)
    loaded = io.load(tmp_path / "head")
    assert loaded.answers == ANSWERS
    assert not loaded.training
    assert torch.equal(loaded(u), made(u))
    assert sorted(path.name for path in (tmp_path / "head").iterdir()) == sorted(io.FILES)


def test_saving_again_replaces(tmp_path):
    io.save(tmp_path / "head", head(seed=0))
    io.save(tmp_path / "head", head(hidden=0, seed=1))
    assert torch.equal(io.load(tmp_path / "head").out.weight, head(hidden=0, seed=1).out.weight)


def test_damage_is_found(tmp_path):
    with pytest.raises(MissingError):
        io.load(tmp_path / "head")
    for name in ("config.json", "model.safetensors"):
        io.save(tmp_path / "head", head())
        path = tmp_path / "head" / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(IntegrityError):
            io.load(tmp_path / "head")


@pytest.mark.parametrize("text", ["{}", "[]", '{"dim": "x", "hidden": 1, "answers": []}', "null"])
def test_a_configuration_of_something_else_is_refused(tmp_path, text):
    path = tmp_path / "head"
    with manifest.write_directory(path, io.KIND) as draft:
        (draft.path / "config.json").write_text(text)
    with pytest.raises(IntegrityError, match="dim, hidden and answers"):
        io.load(path)


def test_weights_of_another_shape_are_refused(tmp_path):
    with manifest.write_directory(tmp_path / "head", io.KIND) as draft:
        text = {"dim": 3, "hidden": 5, "answers": ANSWERS}
        (draft.path / "config.json").write_text(json.dumps(text))
        io.save(tmp_path / "good", head())
        (draft.path / "model.safetensors").write_bytes((tmp_path / "good" / "model.safetensors").read_bytes())
    with pytest.raises(IntegrityError):
        io.load(tmp_path / "head")
