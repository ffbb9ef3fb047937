import json
import random
import resource
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from usermodel.errors import IntegrityError, MismatchError, StorageError
from usermodel.training import checkpoint
from usermodel.training.checkpoint import State

FILES = ["model.safetensors", "optimiser.safetensors", "best.safetensors", "state.json", "manifest.json"]


def build() -> tuple[nn.ModuleDict, torch.optim.Optimizer]:
    torch.manual_seed(0)
    modules = nn.ModuleDict({"encoder": nn.Linear(3, 4), "objective": nn.Identity()})
    return modules, torch.optim.Adam(modules.parameters(), lr=0.1, fused=True)


def step(modules: nn.ModuleDict, optimiser: torch.optim.Optimizer, number: int) -> None:
    torch.manual_seed(number)
    optimiser.zero_grad()
    modules["encoder"](torch.randn(5, 3)).square().sum().backward()
    optimiser.step()


def state_at(number: int) -> State:
    history = [{"epoch": 1, "loss": 0.1 + 0.2, "ndcg@10": 1 / 3}]
    return State(
        store="hash",
        epoch=1,
        batch=number % 7,
        step=number,
        loss_sum=2.5,
        n_targets=9,
        part_sums={"alignment": 0.7},
        metrics={"ndcg@10": 1 / 3},
        best=1 / 3,
        best_epoch=1,
        bad=4,
        drops=2,
        seconds=12.5,
        history=history,
    )


def trained(folder: Path, *steps: int) -> list[tuple[int, dict[str, torch.Tensor]]]:
    """Checkpoints after these steps, and the weights at each."""
    modules, optimiser = build()
    kept = []
    for number in range(1, max(steps) + 1):
        step(modules, optimiser, number)
        if number in steps:
            checkpoint.save(
                folder, modules, optimiser, state_at(number), {"w": torch.full((2,), float(number))}
            )
            kept.append((number, {name: value.clone() for name, value in modules.state_dict().items()}))
    return kept


def restored(folder: Path):
    modules, optimiser = build()
    return modules, optimiser, *checkpoint.restore(folder, modules, optimiser, "hash")


def assert_is(found, number: int, weights: dict[str, torch.Tensor]) -> None:
    modules, _, state, best, _ = found
    assert state == state_at(number)
    assert best["w"].tolist() == [number, number]
    assert all(torch.equal(modules.state_dict()[name], value) for name, value in weights.items())


def damage(path: Path, kind: str) -> None:
    content = bytearray(path.read_bytes())
    if kind == "gone":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 4
        path.write_bytes(content)


def test_everything_comes_back(tmp_path):
    ((number, weights),) = trained(tmp_path, 3)
    found = restored(tmp_path)
    assert_is(found, number, weights)
    assert found[-1] == []


def test_the_next_step_after_a_restore_is_the_next_step_bit_for_bit(tmp_path):
    (_, (_, wanted)) = trained(tmp_path / "all", 3, 4)
    trained(tmp_path / "some", 3)
    modules, optimiser, *_ = restored(tmp_path / "some")
    step(modules, optimiser, 4)
    assert all(torch.equal(modules.state_dict()[name], value) for name, value in wanted.items())


def test_before_the_first_validation_there_are_no_best_weights(tmp_path):
    modules, optimiser = build()
    checkpoint.save(tmp_path, modules, optimiser, State("hash"), {})
    assert restored(tmp_path)[2:] == (State("hash"), {}, [])


def test_nothing_there_is_a_fresh_start(tmp_path):
    assert restored(tmp_path / "nothing")[2:] == (State("hash"), {}, [])


def test_the_two_latest_are_kept(tmp_path):
    trained(tmp_path, 1, 2, 9, 10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-0000000009", "step-0000000010"]


def test_restored_tensors_do_not_live_in_the_file(tmp_path):
    trained(tmp_path, 1, 2)
    _, optimiser, _, best, _ = restored(tmp_path)
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(bytes(path.stat().st_size))
    assert best["w"].tolist() == [2, 2]
    moments = [value for slots in optimiser.state.values() for value in slots.values()]
    assert all(bool(value.any()) for value in moments)
    assert len(moments) == 6


@pytest.mark.parametrize("kind", ["flip", "cut", "empty", "gone"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_latest_is_skipped_by_name_and_the_one_before_used(tmp_path, name, kind):
    earlier, (latest, _) = trained(tmp_path, 4, 5)
    damage(tmp_path / f"step-{latest:010d}" / name, kind)
    found = restored(tmp_path)
    assert_is(found, *earlier)
    assert len(found[-1]) == 1
    assert f"step-{latest:010d}" in found[-1][0]
    # It must not count as one of the two latest from now on.
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000000004"]


@pytest.mark.parametrize("name", ["manifest.json", "state.json"])
def test_any_flipped_bit_is_harmless_or_skipped_never_a_crash_or_a_wrong_state(tmp_path, name):
    earlier, latest = trained(tmp_path / "clean", 4, 5)
    path = tmp_path / "clean" / "step-0000000005" / name
    content = path.read_bytes()
    for place in random.Random(0).sample(range(8 * len(content)), 60):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        shutil.copytree(tmp_path / "clean", tmp_path / "work")
        (tmp_path / "work" / "step-0000000005" / name).write_bytes(flipped)
        found = restored(tmp_path / "work")
        assert_is(found, *(earlier if found[-1] else latest))
        shutil.rmtree(tmp_path / "work")


@pytest.mark.parametrize("key", ["kind", "files", "meta", "format", "bytes", "sha256", "state.json"])
@pytest.mark.parametrize("change", ["renamed", "null"])
def test_a_manifest_that_is_json_and_yet_wrong_is_skipped(tmp_path, key, change):
    earlier, _ = trained(tmp_path, 4, 5)
    path = tmp_path / "step-0000000005" / "manifest.json"
    old = path.read_text()
    new = old.replace(f'"{key}"', f'"{key}_"') if change == "renamed" else _nulled(old, key)
    assert new != old
    path.write_text(new)
    found = restored(tmp_path)
    assert_is(found, *earlier)
    assert len(found[-1]) == 1


def _nulled(text: str, key: str) -> str:
    """Every value under this key replaced by null."""

    def walk(data):
        if isinstance(data, dict):
            return {name: None if name == key else walk(value) for name, value in data.items()}
        return data

    return json.dumps(walk(json.loads(text)))


def test_all_damaged_is_an_error_and_nothing_is_removed(tmp_path):
    trained(tmp_path, 4, 5)
    for number in (4, 5):
        damage(tmp_path / f"step-{number:010d}" / "model.safetensors", "cut")
    with pytest.raises(
        IntegrityError, match=r"expected an intact checkpoint; found .*step-0000000005.* --overwrite"
    ):
        restored(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_weights_of_another_shape_are_damage_and_another_store_is_a_mistake(tmp_path):
    trained(tmp_path, 4)
    modules, optimiser = build()
    with pytest.raises(MismatchError, match="expected to resume on store hash; found store other"):
        checkpoint.restore(tmp_path, modules, optimiser, "other")
    wider = nn.ModuleDict({"encoder": nn.Linear(4, 4), "objective": nn.Identity()})
    with pytest.raises(IntegrityError):
        checkpoint.restore(tmp_path, wider, torch.optim.Adam(wider.parameters()), "hash")


def test_what_a_killed_writer_left_is_swept(tmp_path):
    trained(tmp_path, 4)
    (tmp_path / ".step-0000000005.tmp-1-abcd").mkdir()
    (tmp_path / ".step-0000000005.tmp-1-abcd" / "model.safetensors").write_bytes(b"half")
    restored(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000000004"]


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path):
    trained(tmp_path, 4)
    modules, optimiser = build()
    checkpoint.save(tmp_path, modules, optimiser, State("hash", step=4), {})
    assert restored(tmp_path)[2].epoch == 0


def test_a_full_disk_is_said_with_the_bytes_needed_and_free_and_the_earlier_ones_stay(tmp_path):
    """The limit on the size of a file stands in for a disk that is full: the same path, another number."""
    trained(tmp_path, 4, 5)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    modules, optimiser = build()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(
            StorageError,
            match=r"step-0000000006: expected room for a checkpoint of 72 bytes; found File too large \([\d,]+ bytes free\)\. .*--resume",
        ) as caught:
            checkpoint.save(tmp_path, modules, optimiser, state_at(6), {"w": torch.zeros(2)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.exit_code == 5
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_the_average_comes_back_and_its_damage_is_damage(tmp_path):
    modules, optimiser = build()
    for number in (4, 5):
        checkpoint.save(
            tmp_path, modules, optimiser, state_at(number), {}, {"w": torch.full((2,), float(number))}
        )
    average = {"w": torch.zeros(2)}
    assert checkpoint.restore(tmp_path, modules, optimiser, "hash", average)[0].step == 5
    assert average["w"].tolist() == [5, 5]
    damage(tmp_path / "step-0000000005" / "average.safetensors", "flip")
    state, _, skipped = checkpoint.restore(tmp_path, modules, optimiser, "hash", average)
    assert (state.step, average["w"].tolist()) == (4, [4, 4])
    assert ["average.safetensors" in sentence for sentence in skipped] == [True]


def test_a_failed_save_leaves_the_earlier_ones(tmp_path, monkeypatch):
    trained(tmp_path, 4, 5)
    monkeypatch.setattr(
        checkpoint, "save_file", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    modules, optimiser = build()
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, modules, optimiser, state_at(6), {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-0000000004", "step-0000000005"]
