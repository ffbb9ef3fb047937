"""What counts as a click: labels as text, such as ``rating>=4``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from usermodel.errors import ConfigError
from usermodel.schema import EVENT_TYPE, VALUE
from usermodel.store.sequence_store import SequenceStore

_LABEL: Final = re.compile(r"(\w+)\s*(>=|=)\s*(.+)")
_RELATIONS: Final[dict[str, Callable[[Any, float], ndarray]]] = {
    ">=": operator.ge,
    "=": operator.eq,
    ">": operator.gt,
}


def parse_label(label: str) -> tuple[str, str, str]:
    """Name, relation and text of a label.

    Raises:
        ConfigError: It says nothing.
    """
    found = _LABEL.fullmatch(label.strip())
    if label.strip() == VALUE:
        return VALUE, ">", "0"
    if found is None:
        do = "Write clicked, value, rating>=4 or event_type=like."
        raise ConfigError(
            "label", expected="clicked, value, COLUMN>=NUMBER or COLUMN=VALUE", found=repr(label), do=do
        )
    name, relation, text = found.groups()
    return name, relation, text


def number_of(name: str, text: str) -> float:
    """The number of a label.

    Raises:
        ConfigError: It is none.
    """
    try:
        return float(text)
    except ValueError:
        raise ConfigError(
            "label", expected=f"{name}>=NUMBER", found=repr(text), do="Write a number."
        ) from None


def event_flags(
    store: SequenceStore, name: str, relation: str, text: str
) -> tuple[Bool[ndarray, " events"], Bool[ndarray, " events"]]:
    """Events whose label is known, and those that are positive.

    Raises:
        ConfigError: Another relation than equality for names, or a name that no event has.
    """
    values = np.asarray(store.feature(name))
    if name == EVENT_TYPE or (name in store.context and values.dtype.kind != "f"):
        names = store.categories(name).ids.cast(str).to_list()
        if relation != "=" or text not in names:
            do = "Name one of them."
            raise ConfigError(
                "label",
                expected=f"{name}= one of {', '.join(names)}",
                found=f"{name}{relation}{text}",
                do=do,
            )
        return values > 0, values == names.index(text) + 1
    known = np.isfinite(values) if values.dtype.kind == "f" else values >= 0
    return known, compare(values, relation, number_of(name, text)) & known


def compare(values: ndarray, relation: str, number: float) -> Bool[ndarray, " n"]:
    """Whether each value is as the label says."""
    found: ndarray = _RELATIONS[relation](values, number)
    return found
