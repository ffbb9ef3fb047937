"""Frozen configuration values that survive a round trip through JSON.

A configuration is owned by the component it configures. In a file it names its class by import path
(``"class": "usermodel.encoders.transformer:TransformerConfig"``), so there is no registry. Only classes under
``usermodel.`` may be named, unless the caller lists further modules; that is checked before anything is imported,
because importing a module runs it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from usermodel.errors import ConfigError, nearest

CLASS_KEY = "class"
C = TypeVar("C", bound="Config")


class Config(BaseModel):
    """Base of every configuration: frozen, no unknown keys, comparable, JSON in and out."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with the class of every nested configuration named by its import path."""
        cls = type(self)
        fields = {name: _plain(getattr(self, name)) for name in cls.model_fields}
        return {CLASS_KEY: f"{cls.__module__}:{cls.__qualname__}", **fields}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, allow_modules: Sequence[str] = ()) -> Self:
        """Rebuild a value written by `to_dict`.

        Raises:
            ConfigError: An unknown key, a wrong type, or a class outside the allowed modules.
        """
        value = _revive(data, allow_modules)
        if isinstance(value, cls):
            return value
        if isinstance(value, Config):
            raise ConfigError(CLASS_KEY, expected=cls.__name__, found=type(value).__name__, do="Use the file that fits.")
        return validate(cls, cast("dict[str, Any]", value))

    def override(self, assignments: Mapping[str, Any]) -> Self:
        """A copy with dotted keys replaced: ``{"encoder.dim": 128}``.

        Raises:
            ConfigError: The key does not exist (its nearest valid neighbour is named) or the value does not fit.
        """
        value = self
        for key, new in assignments.items():
            value = _assign(value, key.split("."), new, key)
        return value


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return value.to_dict()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _revive(data: Any, allow_modules: Sequence[str]) -> Any:
    if isinstance(data, Mapping):
        fields = {key: _revive(value, allow_modules) for key, value in data.items() if key != CLASS_KEY}
        return validate(_find(data[CLASS_KEY], allow_modules), fields) if CLASS_KEY in data else fields
    if isinstance(data, list):
        return tuple(_revive(item, allow_modules) for item in data)
    return data


def _find(path: Any, allow_modules: Sequence[str]) -> type[Config]:
    module, _, name = str(path).partition(":")
    if not any(module == allowed or module.startswith(allowed + ".") for allowed in ("usermodel", *allow_modules)):
        raise ConfigError(
            CLASS_KEY,
            expected="a class under usermodel, or under a module that was allowed by name",
            found=repr(path),
            do=f"If you trust it, pass --allow-module {module or 'NAME'}.",
        )
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError:
        found = None
    if not (isinstance(found, type) and issubclass(found, Config)):
        raise ConfigError(CLASS_KEY, expected="the import path of a configuration class", found=repr(path), do="Check it.")
    return found


def validate(cls: type[C], fields: Mapping[str, Any], prefix: str = "") -> C:
    """Build ``cls`` from plain fields; pydantic's report becomes one sentence about the first wrong key."""
    try:
        return cls.model_validate(dict(fields))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join([*([prefix] if prefix else []), *map(str, first["loc"])]) or cls.__name__
        if first["type"] == "extra_forbidden":
            do = nearest(str(first["loc"][-1]), cls.model_fields)
            raise ConfigError(key, expected=f"a key of {cls.__name__}", found="an unknown key", do=do) from None
        what = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        raise ConfigError(key, expected=what, found=repr(first["input"])[:80], do="Change the value.") from None


def _assign(value: C, path: list[str], new: Any, full: str) -> C:
    name, rest = path[0], path[1:]
    cls = type(value)
    if name not in cls.model_fields:
        do = nearest(name, cls.model_fields)
        raise ConfigError(full, expected=f"a key of {cls.__name__}", found=f"an unknown key {name!r}", do=do)
    old = getattr(value, name)
    if rest:
        if not isinstance(old, Config):
            raise ConfigError(full, expected=f"{name!r} to hold further keys", found=f"the value {old!r}", do="Shorten the key.")
        new = _assign(old, rest, new, full)
    fields = {key: getattr(value, key) for key in cls.model_fields} | {name: new}
    return validate(cls, fields, prefix=full.rpartition(".")[0] if not rest else "")
