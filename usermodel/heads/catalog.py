"""Watch-time heads by name: the file they are in, with hyphens."""

from __future__ import annotations

import importlib
import pkgutil

import usermodel.heads
from usermodel.errors import ConfigError, nearest
from usermodel.heads.watch_time import WatchTimeConfig


def watch_time_heads() -> dict[str, type[WatchTimeConfig]]:
    """Every configuration of a watch-time head in `usermodel.heads`."""
    found: dict[str, type[WatchTimeConfig]] = {}
    for info in pkgutil.iter_modules(usermodel.heads.__path__, f"{usermodel.heads.__name__}."):
        for kind in vars(importlib.import_module(info.name)).values():
            own = isinstance(kind, type) and issubclass(kind, WatchTimeConfig) and kind is not WatchTimeConfig
            if own and kind.__module__ == info.name:
                found[info.name.rpartition(".")[2].replace("_", "-")] = kind
    return found


def find_watch_time_head(name: str) -> WatchTimeConfig:
    """The head of a name with its defaults.

    Raises:
        ConfigError: No such head; the nearest one is named.
    """
    heads = watch_time_heads()
    if name not in heads:
        do = nearest(name, heads)
        raise ConfigError("head", expected=", ".join(heads), found=repr(name), do=do)
    return heads[name]()
