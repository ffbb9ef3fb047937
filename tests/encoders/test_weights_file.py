"""Foreign weights: three formats, and everything that may be in a pickle."""

import os
import pickle
from collections import OrderedDict

import pytest
import torch
from icsrec import gru_weights, save_for_cuda
from safetensors.torch import save_file

from usermodel.encoders import torch_file
from usermodel.encoders.weights_file import read_weights
from usermodel.errors import DataError, MissingError


def same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].device.type == "cpu"
        assert found[name].dtype == torch.float32
        assert torch.equal(found[name], value.float())


@pytest.mark.parametrize("is_zip", [False, True], ids=["legacy", "zip"])
def test_tensors_saved_on_a_gpu_come_to_the_cpu(tmp_path, is_zip):
    path = tmp_path / "model.pt"
    save_for_cuda(gru_weights(), path, is_zip=is_zip)
    same(read_weights(path), gru_weights())


def test_safetensors_are_told_by_their_bytes_and_not_by_the_name(tmp_path):
    save_file(gru_weights(), tmp_path / "model.pt")
    same(read_weights(tmp_path / "model.pt"), gru_weights())
    save_for_cuda(gru_weights(), tmp_path / "model.safetensors")
    same(read_weights(tmp_path / "model.safetensors"), gru_weights())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_float32(tmp_path, dtype):
    weights = {name: value.to(dtype) for name, value in gru_weights().items()}
    save_file(weights, tmp_path / "model.pt")
    same(read_weights(tmp_path / "model.pt"), weights)


def test_shared_and_strided_tensors_come_out_whole(tmp_path):
    base = torch.arange(12.0).view(3, 4)
    weights = {"a": base, "b": base, "t": base.T, "wide": base[0].expand(5, 4)}
    torch.save(weights, tmp_path / "model.pt")
    same(read_weights(tmp_path / "model.pt"), weights)


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch '{self.marker}'",)


@pytest.mark.parametrize("is_zip", [False, True], ids=["legacy", "zip"])
def test_a_pickle_with_code_is_refused_by_the_name_of_the_code_and_not_run(tmp_path, is_zip, monkeypatch):
    # A variable that asks torch to drop its guard must not reach the reader.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    marker, path = tmp_path / "owned", tmp_path / "model.pt"
    torch.save(gru_weights() | {"x": Evil(marker)}, path, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(
        DataError, match=r"found a pickle that calls posix\.system, refused without running it"
    ):
        read_weights(path)
    assert not marker.exists()
    # The file would have done it.
    pickle.loads(pickle.dumps(Evil(marker)))
    assert marker.exists()


def read_here(path):
    """What the program says about a file, without its limits: a process for each would take minutes in all."""
    return torch_file.convert(path, path.with_name("out.safetensors"))


def test_a_whole_module_is_refused_by_its_class(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    assert "calls torch.nn.modules.linear.Linear" in read_here(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([torch.zeros(2)], "an object of type list"),
        (torch.zeros(2), "an object of type Tensor"),
        ({1: torch.zeros(2)}, "a key of type int"),
        ({"epoch": 3}, "'epoch' of type int, which is no plain tensor"),
        ({"model": OrderedDict(a=torch.zeros(2))}, "'model' of type OrderedDict, which is no plain tensor"),
        ({"a": torch.zeros(2, 2).to_sparse()}, "'a' of type Tensor, which is no plain tensor"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path, content, sentence):
    torch.save(content, tmp_path / "model.pt")
    assert read_here(tmp_path / "model.pt") == sentence
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (torch.zeros(2, dtype=torch.int64), "floating-point weights; found int64 in 'a'"),
        (torch.tensor([1.0, float("nan")]), "finite weights; found NaN or infinity in 'a'"),
        (torch.tensor([1e300], dtype=torch.float64), "finite weights; found NaN or infinity in 'a'"),
    ],
)
def test_values_that_are_no_weights_are_named(tmp_path, value, sentence):
    save_file({"a": value}, tmp_path / "model.pt")
    with pytest.raises(DataError, match=sentence):
        read_weights(tmp_path / "model.pt")


def test_bytes_that_are_no_checkpoint(tmp_path):
    path = tmp_path / "model.pt"
    save_for_cuda(gru_weights(), path)
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 2], b"PK\x03\x04" + whole):
        path.write_bytes(content)
        assert read_here(path).startswith("a file that torch cannot read as weights")
    with pytest.raises(
        DataError, match=r"expected a checkpoint: tensors by name.*cannot read as weights"
    ) as caught:
        read_weights(path)
    # torch's advice to switch the safety off is not passed on.
    assert "weights_only" not in str(caught.value)


def test_a_cut_safetensors_file(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(gru_weights(), path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(DataError, match="found a damaged file"):
        read_weights(path)


def test_a_small_file_cannot_ask_for_much_memory(tmp_path):
    # One number on disk, 64 GB when it is laid out.
    torch.save({"a": torch.zeros(1).expand(1 << 34)}, tmp_path / "model.pt")
    assert (tmp_path / "model.pt").stat().st_size < 4096
    with pytest.raises(DataError, match="tensors that cannot be copied"):
        read_weights(tmp_path / "model.pt")


def test_nothing_there(tmp_path):
    with pytest.raises(MissingError, match="expected a checkpoint; found no such file"):
        read_weights(tmp_path / "model.pt")
