"""Recipes: every built-in is a value that replays, and files say only what differs."""

import pytest

import usermodel as um
from usermodel.errors import ConfigError
from usermodel.recipes.catalog import built_in, find, parse_assignments
from usermodel.training.recipe import Recipe


@pytest.mark.parametrize("name", built_in())
def test_every_built_in_recipe_round_trips_and_has_a_line(name):
    make = built_in()[name]
    recipe = make()
    assert isinstance(recipe, Recipe)
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert make.__doc__
    assert recipe.data.split.kind == "leave-last-out"
    assert getattr(um.recipes, name.replace("-", "_"))() == recipe


def test_family_files_are_not_named_like_recipes():
    """A submodule `recipes.next_item` would shadow the recipe `um.recipes.next_item`."""
    import pkgutil

    names = {info.name for info in pkgutil.iter_modules(um.recipes.__path__)}
    assert not names & {name.replace("-", "_") for name in built_in()}


def test_toml_extends_a_base(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "sasrec"\n[encoder]\ndim = 32\n[training]\nseed = 7\n')
    recipe = find(str(path))
    assert recipe == find("sasrec").override({"encoder.dim": 32, "training.seed": 7})


def test_unknown_keys_in_a_file_are_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[training]\nlerning_rate = 9.9\n")
    with pytest.raises(ConfigError, match=r"training.lerning_rate.*Did you mean 'learning_rate'\?"):
        find(str(path))


def test_a_function_of_the_callers_own(tmp_path, monkeypatch):
    (tmp_path / "own_recipes_under_test.py").write_text(
        "from usermodel.recipes.autoregressive import next_item\n"
        "def small():\n    return next_item().override({'encoder.dim': 8})\n"
        "def wrong():\n    return 3\n"
        "def raising():\n    raise KeyError('mine')\n"
        "def misspelt():\n    return next_item().override({'encoder.dmi': 8})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert find("own_recipes_under_test:small").encoder.dim == 8
    with pytest.raises(ConfigError, match="a function that returns a Recipe; found int"):
        find("own_recipes_under_test:wrong")
    with pytest.raises(ConfigError, match="can be imported"):
        find("own_recipes_under_test:absent")
    with pytest.raises(
        ConfigError, match=r"a function that returns a Recipe; found .*raised KeyError: 'mine'"
    ):
        find("own_recipes_under_test:raising")
    with pytest.raises(ConfigError, match="Did you mean 'dim'"):
        find("own_recipes_under_test:misspelt")
    with pytest.raises(ConfigError, match="found 'os:system', which raised TypeError"):
        find("os:system")


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'next-item'"):
        find("next_itm")
    with pytest.raises(AttributeError, match="no recipe 'nope'"):
        um.recipes.nope  # noqa: B018


def test_assignments_are_json_where_they_can_be():
    given = ["a=1", "b=0.5", "c=true", "d=text", 'e="3"', "f=null", "data.split=global-time"]
    assert parse_assignments(given) == {
        "a": 1, "b": 0.5, "c": True, "d": "text", "e": "3", "f": None, "data.split": "global-time",
    }  # fmt: skip
    with pytest.raises(ConfigError, match="key=value"):
        parse_assignments(["encoder.dim"])


def test_what_is_set_of_data_holds_for_all_stages():
    """They must have the same, so no order of assignments one by one could change it."""
    changed = find("adaptssr").override(
        {"data.split": "user-ratio", "data.split.test": 0.25, "stages.0.training.max_steps": 3}
    )
    assert changed.data.split == changed.stages[0].data.split
    assert (changed.data.split.kind, changed.data.split.test) == ("user-ratio", 0.25)
    assert changed.stages[0].training.max_steps == 3
    with pytest.raises(ConfigError, match="the same data in all stages"):
        find("adaptssr").override({"stages.0.data.split": "user-ratio"})
