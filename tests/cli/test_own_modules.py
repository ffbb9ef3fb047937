"""Recipes and encoders of the caller's own, in the working folder, as the installed command finds them."""

import sys

import pytest
import tiny
from command import usermodel

MODULE = '''
from usermodel.encoders.mean_pool import MeanPoolConfig
from usermodel.recipes.autoregressive import next_item


class OwnConfig(MeanPoolConfig):
    """An encoder under another name."""


def recipe():
    return next_item().model_copy(update={"encoder": OwnConfig(dim=8)}).override({"training.max_epochs": 1})
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder that is not on the path, which is put back afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one not in {"", str(tmp_path)}])
    yield tmp_path
    sys.modules.pop("own_encoder", None)


def forget_it(folder):
    """As a new process begins: nothing imported, and the folder not on the path."""
    sys.modules.pop("own_encoder", None)
    sys.path[:] = [one for one in sys.path if one != str(folder)]


def test_the_working_folder_is_seen_where_a_module_is_named(folder):
    (folder / "own_encoder.py").write_text(MODULE)
    tiny.make_store(folder / "store")
    usermodel("pretrain", "store", "-o", "run", "--recipe", "own_encoder:recipe")
    forget_it(folder)
    _, err = usermodel("embed", "run", "store", "-o", "vectors.parquet", code=2)
    assert "pass --allow-module own_encoder" in err
    assert str(folder) not in sys.path
    usermodel("embed", "run", "store", "-o", "vectors.parquet", "--allow-module", "own_encoder")
    forget_it(folder)
    words = "recommend", "run", "store", "--users", "u001", "-k", 1, "--format", "csv"
    assert usermodel(*words, "--allow-module", "own_encoder")[0].startswith("user_id,rank")
    forget_it(folder)
    # In a recipe file, too.
    (folder / "own.toml").write_text('base = "own_encoder:recipe"\n')
    usermodel("pretrain", "store", "-o", "again", "--recipe", "own.toml")


def test_a_module_of_the_folder_hides_none(folder):
    (folder / "json.py").write_text("raise SystemExit('hidden')\n")
    sys.modules.pop("own_encoder", None)
    _, err = usermodel("pretrain", "none", "-o", "run", "--recipe", "json:loads", code=2)
    assert "which raised TypeError: loads() missing" in err
    assert sys.path[-1] == str(folder)


def test_a_module_that_is_nowhere_is_named(folder):
    (folder / "own_encoder.py").write_text(MODULE)
    tiny.make_store(folder / "store")
    usermodel("pretrain", "store", "-o", "run", "--recipe", "own_encoder:recipe")
    forget_it(folder)
    (folder / "own_encoder.py").unlink()
    words = "embed", "run", "store", "-o", "vectors.parquet", "--allow-module", "own_encoder"
    _, err = usermodel(*words, code=2)
    assert (
        "found 'own_encoder:OwnConfig': No module named 'own_encoder'. Check the spelling, or work where"
        in err
    )
