"""Finding recipes: built in by name, from a TOML or JSON file, or from the caller's own ``module:function``."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import usermodel.recipes
from usermodel.errors import ConfigError, UserModelError, nearest
from usermodel.training.recipe import Recipe
from usermodel.training.run import read_recipe


def built_in() -> dict[str, Callable[[], Recipe]]:
    """Every function of a family file that returns a `Recipe`, under its name with hyphens."""
    found: dict[str, Callable[[], Recipe]] = {}
    for info in pkgutil.iter_modules(usermodel.recipes.__path__):
        if info.name != __name__.rpartition(".")[2]:
            found |= _recipes_of(importlib.import_module(f"{usermodel.recipes.__name__}.{info.name}"))
    return dict(sorted(found.items()))


def _recipes_of(module: ModuleType) -> dict[str, Callable[[], Recipe]]:
    members = inspect.getmembers(module, inspect.isfunction)
    own = [
        (name, value)
        for name, value in members
        if value.__module__ == module.__name__ and not name.startswith("_")
    ]
    return {name.replace("_", "-"): value for name, value in own}


def find(name: str, *, allow_modules: Sequence[str] = ()) -> Recipe:
    """A recipe by built-in name, ``FILE.toml``, ``FILE.json`` (a saved run's config.json), or ``module:function``.

    A TOML file may begin with ``base = "next-item"`` and then sets only what differs, in groups such as ``[encoder]``.

    Raises:
        ConfigError: Nothing of that name, or the file does not describe a recipe.
    """
    recipes = built_in()
    if name in recipes:
        return recipes[name]()
    if name.endswith(".json"):
        return read_recipe(Path(name), allow_modules=allow_modules)
    if name.endswith(".toml"):
        return _from_toml(Path(name), allow_modules)
    if ":" in name:
        return _from_function(name)
    do = nearest(name, recipes)
    raise ConfigError(
        "--recipe",
        expected="a built-in recipe, a .toml or .json file, or module:function",
        found=repr(name),
        do=do,
    )


def _from_toml(path: Path, allow_modules: Sequence[str]) -> Recipe:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            str(path), expected="a recipe file", found=f"{error.strerror}", do="Check the path."
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), expected="TOML", found=str(error), do="Correct the file.") from None
    base = find(str(data.pop("base", "next-item")), allow_modules=allow_modules)
    return base.override(_dotted(data))


def _dotted(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= _dotted(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _from_function(name: str) -> Recipe:
    module, _, function = name.partition(":")
    try:
        recipe = getattr(importlib.import_module(module), function)()
    except UserModelError:
        raise
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            "--recipe",
            expected="module:function that can be imported",
            found=f"{name!r}: {error}",
            do="Check it.",
        ) from None
    except Exception as error:
        found = f"{name!r}, which raised {type(error).__name__}: {error}"
        raise ConfigError(
            "--recipe", expected="a function that returns a Recipe", found=found, do="Mend it."
        ) from error
    if not isinstance(recipe, Recipe):
        raise ConfigError(
            "--recipe",
            expected="a function that returns a Recipe",
            found=type(recipe).__name__,
            do="Mend it.",
        )
    return recipe


def parse_assignments(pairs: Sequence[str]) -> dict[str, Any]:
    """``["encoder.dim=128"]`` -> ``{"encoder.dim": 128}``; values are JSON where they can be, text otherwise."""
    assignments: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise ConfigError(
                "--set", expected="key=value", found=repr(pair), do="For example --set encoder.dim=128."
            )
        try:
            assignments[key.strip()] = json.loads(text)
        except ValueError:
            assignments[key.strip()] = text
    return assignments
