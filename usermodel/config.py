"""Frozen configuration values that survive a round trip through JSON.

A configuration is owned by the component it configures. In a file it names its class by import path
(``"class": "usermodel.encoders.transformer:TransformerConfig"``), so there is no registry. Only classes under
``usermodel.`` may be named, unless the caller lists further modules; that is checked before anything is imported,
because importing a module runs it.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from usermodel.errors import ConfigError, nearest

CLASS_KEY: Final = "class"
#: The field that tells the members of a union apart.
_KIND_KEY: Final = "kind"
#: Beginnings of pydantic's sentences, and what fits after "expected".
_PHRASES: Final = {
    "Input should be ": "",
    "Value error, ": "",
    "String should match ": "text that matches ",
    "String should have ": "text with ",
}
C = TypeVar("C", bound="Config")


class Config(BaseModel):
    """Base of every configuration: frozen, no unknown keys, comparable, JSON in and out."""

    # Infinity and NaN have no spelling in JSON.
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)

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
        if not isinstance(data, Mapping):
            raise ConfigError(
                cls.__name__, expected="keys and values", found=f"{data!r:.80}", do="Correct the file."
            )
        value = _revive(data, allow_modules)
        if isinstance(value, cls):
            return value
        if isinstance(value, Config):
            found, do = type(value).__name__, "Use the file that fits."
            raise ConfigError(CLASS_KEY, expected=cls.__name__, found=found, do=do)
        return validate(cls, value)

    def override(self, assignments: Mapping[str, Any]) -> Self:
        """A copy with dotted keys replaced: ``{"encoder.dim": 128}``.

        ``data.split=global-time``, ``data.split.kind=global-time`` and ``encoder.class=usermodel...`` swap a part for
        another one with its own defaults; such keys are assigned first, because they decide which others exist.

        Raises:
            ConfigError: The key does not exist (its nearest valid neighbour is named) or the value does not fit.
        """
        value, together = self, dict[str, dict[str, Any]]()
        swaps = {CLASS_KEY, _KIND_KEY}
        for key, new in sorted(assignments.items(), key=lambda pair: pair[0].rpartition(".")[2] not in swaps):
            parent, _, name = key.rpartition(".")
            # Keys of one part are set at once: what one alone would break, another may mend.
            group = f"{parent}.{name}" if name in swaps else parent
            together.setdefault(group, {})[key] = _revive(new, (), key)
        for news in together.values():
            parent = next(iter(news)).rpartition(".")[0]
            names = {key.rpartition(".")[2]: new for key, new in news.items()}
            value = _assign(value, parent.split(".") if parent else [], names, parent)
        return value


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return value.to_dict()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _revive(data: Any, allow_modules: Sequence[str], prefix: str = "") -> Any:
    if isinstance(data, Mapping):
        fields = {
            key: _revive(value, allow_modules, f"{prefix}.{key}".lstrip("."))
            for key, value in data.items()
            if key != CLASS_KEY
        }
        return (
            validate(_find(data[CLASS_KEY], allow_modules), fields, prefix) if CLASS_KEY in data else fields
        )
    if isinstance(data, (list, tuple)):
        return tuple(_revive(item, allow_modules, prefix) for item in data)
    return data


def _find(path: Any, allow_modules: Sequence[str]) -> type[Config]:
    module, _, name = str(path).partition(":")
    if not any(module == base or module.startswith(base + ".") for base in ("usermodel", *allow_modules)):
        raise ConfigError(
            CLASS_KEY,
            expected="a class under usermodel, or under a module that was allowed by name",
            found=repr(path),
            do=f"If you trust it, pass --allow-module {module or 'NAME'}.",
        )
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        expected, why = "the import path of a configuration class, module:Class", f"{path!r}: {error}"
        do = "Check the spelling, or work where the module is found."
        raise ConfigError(CLASS_KEY, expected=expected, found=why, do=do) from None
    if not (isinstance(found, type) and issubclass(found, Config)):
        expected = "the import path of a configuration class, module:Class"
        raise ConfigError(CLASS_KEY, expected=expected, found=repr(path), do="Check the spelling.")
    return found


def validate(cls: type[C], fields: Mapping[str, Any], prefix: str = "") -> C:
    """Build ``cls`` from plain fields; pydantic's report becomes one sentence about the first wrong key.

    Types must fit as they are: ``true`` is no number, and neither is ``"128"``.
    """
    try:
        return cls.model_validate(dict(fields), strict=True)
    except ValidationError as error:
        raise _explain(cls, error.errors()[0], prefix) from None


def _explain(cls: type[Config], error: ErrorDetails, prefix: str) -> ConfigError:
    kind, found, context = error["type"], error["input"], error.get("ctx", {})
    path, owners = _locate(cls, error["loc"])
    if kind == "extra_forbidden":
        path, unknown = [*path, str(error["loc"][-1])], str(error["loc"][-1])
        expected, found = f"a key of {_names(owners)}", "an unknown key"
        do = nearest(unknown, {name for owner in owners for name in owner.model_fields})
    elif kind == "missing":
        expected, found, do = "a value", "none", "Give one."
    elif kind in {"model_type", "model_attributes_type"}:
        expected, found, do = f"the keys of {_names(owners)}", repr(found), "Change the value."
    else:
        found = context.get("tag", found)
        text = str(context.get("expected_tags", error["msg"]))
        words = re.findall(r"'([^']*)'", text) if kind in {"literal_error", "union_tag_invalid"} else []
        start = next((start for start in _PHRASES if text.startswith(start)), "")
        expected = _PHRASES.get(start, "") + text.removeprefix(start)
        do = nearest(found, words) if words and isinstance(found, str) else "Change the value."
        found = repr(found)
    key = ".".join([*([prefix] if prefix else []), *path]) or cls.__name__
    return ConfigError(key, expected=expected, found=found[:80], do=do)


def _names(kinds: Sequence[type[Config]]) -> str:
    return " or ".join(kind.__name__ for kind in kinds)


def _locate(cls: type[Config], loc: Sequence[int | str]) -> tuple[list[str], list[type[Config]]]:
    """The keys of a path that the caller wrote, and the classes that may stand at its end.

    pydantic also puts the tag of a union into the path.
    """
    path: list[str] = []
    kinds = [cls]
    for part in loc:
        fields = [kind.model_fields[str(part)] for kind in kinds if str(part) in kind.model_fields]
        if fields or isinstance(part, int):
            path.append(str(part))
        if fields:
            kinds = [kind for field in fields for kind in _configs(field.annotation)]
        else:
            tagged = [kind for kind in kinds if part == kind.__name__ or part == _tag(kind)]
            kinds = tagged or kinds
    return path, kinds


def _tag(kind: type[Config]) -> Any:
    field = kind.model_fields.get(_KIND_KEY)
    return field.default if field else None


def _configs(annotation: Any) -> Iterator[type[Config]]:
    """Every configuration class inside a type."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        yield annotation
    for part in get_args(annotation):
        yield from _configs(part)


def _assign(value: C, parents: list[str], news: Mapping[str, Any], full: str) -> C:
    """With ``news`` at the end of a path of parts.

    Args:
        value: Holds the path.
        parents: What is left of the path.
        news: Keys of the last part, with their values.
        full: The whole path, for messages.
    """
    cls, name = type(value), (parents or list(news))[0]
    path = full.split(".") if full else []
    for one in parents[:1] or news:
        if one not in cls.model_fields:
            found, do = f"an unknown key {one!r}", nearest(one, cls.model_fields)
            key = ".".join([*path, next(iter(news)) if parents else one])
            raise ConfigError(key, expected=f"a key of {cls.__name__}", found=found, do=do)
    prefix = ".".join(path[: len(path) - len(parents)])
    fields = {key: getattr(value, key) for key in cls.model_fields}
    if not parents:
        return validate(cls, fields | dict(news), prefix)
    rest, old = parents[1:], fields[name]
    place = int(rest[0]) if isinstance(old, tuple) and rest and rest[0].isdigit() else -1
    if isinstance(old, tuple) and 0 <= place < len(old) and isinstance(old[place], Config):
        new: Any = (*old[:place], _assign(old[place], rest[1:], news, full), *old[place + 1 :])
    elif not isinstance(old, Config):
        expected, found = f"{name!r} to hold further keys", f"the value {old!r}"
        raise ConfigError(
            ".".join([*path, next(iter(news))]), expected=expected, found=found, do="Shorten the key."
        )
    elif not rest and CLASS_KEY in news:
        new = validate(_find(news[CLASS_KEY], ()), {}, ".".join([*path, CLASS_KEY]))
    elif not rest and news.get(_KIND_KEY, _tag(type(old))) != _tag(type(old)):
        new = {_KIND_KEY: news[_KIND_KEY]}
    else:
        new = _assign(old, rest, news, full)
    return validate(cls, fields | {name: new}, prefix)
