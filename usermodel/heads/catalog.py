"""Heads by name: the file they are in, with hyphens."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TypeVar

import usermodel.heads
from usermodel.config import Config
from usermodel.errors import ConfigError, nearest

C = TypeVar("C", bound=Config)


def heads_of(kind: type[C]) -> dict[str, type[C]]:
    """Every configuration in `usermodel.heads` that derives from ``kind``: `WatchTimeConfig` or `CtrConfig`."""
    found: dict[str, type[C]] = {}
    for info in pkgutil.iter_modules(usermodel.heads.__path__, f"{usermodel.heads.__name__}."):
        for one in vars(importlib.import_module(info.name)).values():
            if (
                isinstance(one, type)
                and issubclass(one, kind)
                and one is not kind
                and one.__module__ == info.name
            ):
                found[info.name.rpartition(".")[2].replace("_", "-")] = one
    return found


def find_head(name: str, kind: type[C]) -> C:
    """The head of a name with its defaults.

    Raises:
        ConfigError: No such head; the nearest one is named.
    """
    heads = heads_of(kind)
    if name not in heads:
        do = nearest(name, heads)
        raise ConfigError("head", expected=", ".join(heads), found=repr(name), do=do)
    return heads[name]()
