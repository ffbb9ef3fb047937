import json
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

from usermodel import manifest
from usermodel.encoders import io
from usermodel.encoders.gru import GruConfig
from usermodel.encoders.mean_pool import MeanPoolConfig
from usermodel.encoders.transformer import Transformer, TransformerConfig
from usermodel.errors import ConfigError, IntegrityError, MismatchError, MissingError, OutputExistsError
from usermodel.events.vocabulary import Vocabulary

CONFIG = TransformerConfig(dim=8, hidden=16, layers=1, max_history=5)
VOCABULARY = Vocabulary(pl.Series("id", ["b", "a", "é", "", "z\n"]))


def build() -> Transformer:
    torch.manual_seed(0)
    return CONFIG.build(len(VOCABULARY))


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "run" / "encoder"
    io.save(path, build(), CONFIG, VOCABULARY, meta={"split": "mine"})
    return path


def reseal(folder: Path) -> None:
    """Make the manifest true again, as someone who edits a file and its hash would."""
    manifest.seal(folder, io.KIND, {}, parts=("config.json", "model.safetensors", "vocabulary.parquet"))


def test_the_folder_holds_plain_files_and_no_pickle(folder):
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["config.json", "manifest.json", "model.safetensors", "vocabulary.parquet"]
    assert json.loads((folder / "config.json").read_text())["n_items"] == len(VOCABULARY)
    meta = manifest.read(folder, io.KIND, verify=True).meta
    assert meta == {"split": "mine", "vocabulary_hash": VOCABULARY.hash}


def test_loads_from_the_folder_or_its_run(folder):
    for path in (folder, str(folder), folder.parent):
        saved = io.load(path)
        assert saved.config == CONFIG
        assert saved.vocabulary.ids.to_list() == VOCABULARY.ids.to_list()
        assert all(
            torch.equal(saved.module.state_dict()[name], value)
            for name, value in build().state_dict().items()
        )


def test_the_same_encoder_has_the_same_hash_and_another_has_not(folder, tmp_path):
    io.save(tmp_path / "again", build(), CONFIG, VOCABULARY, meta={"split": "mine"})
    assert io.load(tmp_path / "again").content_hash == io.load(folder).content_hash
    other = build()
    with torch.no_grad():
        other.items.weight[1, 0] += 1e-3
    io.save(tmp_path / "other", other, CONFIG, VOCABULARY, meta={"split": "mine"})
    assert io.load(tmp_path / "other").content_hash != io.load(folder).content_hash


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (GruConfig(dim=8, hidden=8, left_pad_to=50, projection=False, biases=False), ["weight_ih_l0", "weight_hh_l0"]),
        (MeanPoolConfig(dim=8), []),
    ],
)  # fmt: skip
def test_an_encoder_from_before_there_was_a_choice_of_item_tables_still_loads(tmp_path, config, names):
    """Its configuration has no word for it, and row 0 of its table is the vector of the padding."""
    torch.manual_seed(0)
    weights = {f"layers.0.{name}": torch.randn(24, 8) for name in names}
    weights["items.weight"] = torch.randn(len(VOCABULARY) + 1, 8)
    io.save(tmp_path, config.build(len(VOCABULARY)), config, VOCABULARY)
    text = json.loads((tmp_path / "config.json").read_text())
    del text["encoder"]["items"]
    (tmp_path / "config.json").write_text(json.dumps(text))
    save_file(weights, tmp_path / "model.safetensors")
    reseal(tmp_path)
    saved = io.load(tmp_path)
    assert saved.config == config
    assert torch.equal(saved.module.item_vectors(), weights["items.weight"][1:])
    if names:
        assert torch.equal(saved.module.items.padding(), weights["items.weight"][0])


def test_loading_leaves_the_callers_random_numbers_alone(folder):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    io.load(folder)
    assert torch.equal(torch.rand(3), wanted)


def test_an_older_encoder_is_replaced_and_a_foreign_folder_is_not(folder, tmp_path):
    changed = build()
    with torch.no_grad():
        changed.items.weight.zero_()
    io.save(folder, changed, CONFIG, VOCABULARY)
    assert not io.load(folder).module.items.weight.any()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputExistsError):
        io.save(tmp_path / "foreign", build(), CONFIG, VOCABULARY)
    assert (tmp_path / "foreign" / "thesis.tex").read_text() == "years of work"


def test_a_vocabulary_of_another_size_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(MismatchError, match="expected the encoder's 5 items; found 4"):
        io.save(tmp_path / "encoder", build(), CONFIG, Vocabulary(VOCABULARY.ids[:4]))
    assert list(tmp_path.iterdir()) == []


def test_nothing_there(tmp_path):
    with pytest.raises(MissingError):
        io.load(tmp_path / "nothing")
    with pytest.raises(MissingError):
        io.load(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocabulary.parquet"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_damage_is_named(folder, name, damage):
    path = folder / name
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-1])
    else:
        path.unlink()
    with pytest.raises(IntegrityError, match=name.replace(".", r"\.")):
        io.load(folder)


def test_weights_that_are_not_finite_are_refused_by_name(folder):
    weights = load_file(folder / "model.safetensors")
    weights["blocks.0.attention.qkv.bias"][3] = float("nan")
    save_file(weights, folder / "model.safetensors")
    reseal(folder)
    with pytest.raises(IntegrityError, match=r"NaN or infinity in blocks\.0\.attention\.qkv\.bias"):
        io.load(folder)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_weights_that_do_not_fit_are_refused_by_name(folder, change):
    weights = {name: value.clone() for name, value in load_file(folder / "model.safetensors").items()}
    if change == "missing":
        del weights["norm_in.bias"]
    elif change == "extra":
        weights["surplus"] = torch.zeros(2)
    else:
        weights["norm_in.bias"] = torch.zeros(9)
    save_file(weights, folder / "model.safetensors")
    reseal(folder)
    with pytest.raises(IntegrityError, match="surplus" if change == "extra" else r"norm_in\.bias"):
        io.load(folder)


@pytest.mark.parametrize(
    "text", ["{}", "[]", "not json", '{"n_items": "many", "encoder": {}}', '{"n_items": 5, "encoder": 3}']
)
def test_a_configuration_that_is_none_is_named(folder, text):
    (folder / "config.json").write_text(text)
    reseal(folder)
    with pytest.raises(IntegrityError, match=r"config\.json: expected n_items and encoder"):
        io.load(folder)


def test_another_number_of_items_is_named(folder):
    text = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(text | {"n_items": 6}))
    reseal(folder)
    with pytest.raises(IntegrityError, match="expected 6 ids; found 5 ids"):
        io.load(folder)


def test_a_class_from_elsewhere_is_not_imported_unless_allowed(folder, tmp_path, monkeypatch):
    (tmp_path / "elsewhere.py").write_text(
        "from usermodel.encoders.transformer import TransformerConfig\nclass Mine(TransformerConfig): pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    text = json.loads((folder / "config.json").read_text())
    text["encoder"]["class"] = "elsewhere:Mine"
    (folder / "config.json").write_text(json.dumps(text))
    reseal(folder)
    import sys

    with pytest.raises(ConfigError, match="--allow-module elsewhere"):
        io.load(folder)
    assert "elsewhere" not in sys.modules
    assert type(io.load(folder, allow_modules=["elsewhere"]).config).__name__ == "Mine"
