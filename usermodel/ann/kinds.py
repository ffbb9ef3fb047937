"""The kinds of index there are: one file each in this folder, found by its name."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

from usermodel.ann.base import FaissIndex
from usermodel.errors import ConfigError, nearest


def kinds() -> dict[str, type[FaissIndex]]:
    """Every kind by name."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py"))
    modules = [importlib.import_module(f"usermodel.ann.{name}") for name in names if name != "__init__"]
    found = [
        one
        for module in modules
        for one in vars(module).values()
        if inspect.isclass(one) and issubclass(one, FaissIndex) and one.__module__ == module.__name__
    ]
    return {one.kind: one for one in found if not inspect.isabstract(one)}


def kind_of(name: str) -> type[FaissIndex]:
    """The kind of that name.

    Raises:
        ConfigError: There is none; the nearest name is given.
    """
    known = kinds()
    if name not in known:
        do = nearest(str(name), [*known, "auto"])
        raise ConfigError("type", expected="a known type of index", found=repr(name), do=do)
    return known[name]
