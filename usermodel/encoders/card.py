"""The model card of an encoder folder: README.md with the front matter that the Hugging Face hub reads.

Pure: the same facts give the same text. Nothing is asked of a clock or a machine; what is not known is said to be unknown.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from usermodel.config import CLASS_KEY

_TAGS: Final = ("user-embeddings", "sequential-recommendation", "recommender-system")


@dataclass(frozen=True)
class Metric:
    """A number and what it is.

    Attributes:
        name: As printed, such as ``ndcg@10``.
        value: The number.
        part: What it was measured on: ``validation`` or ``test``.
        definition: Target set, mask and tie rule; empty where the caller measured by a rule of their own.
    """

    name: str
    value: float
    part: str
    definition: str = ""


@dataclass(frozen=True)
class CardFacts:
    """What a card may say; a part without facts is left out, or said to be unknown.

    Attributes:
        encoder: The encoder's configuration as plain data, its class named.
        size: Label -> value: width, items, parameters.
        data: Label -> value: counts, times, filters, split, hashes.
        recipe: The whole recipe as plain data; empty where no recipe made the weights.
        metrics: What was measured.
        training: Label -> value: epochs, seconds, hardware, versions.
        origin: Label -> value of a checkpoint that the weights came from; empty when they were trained here.
    """

    encoder: Mapping[str, Any]
    size: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    metrics: Sequence[Metric] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)


def card(facts: CardFacts) -> str:
    """Markdown of the card.

    The licence is its owner's to choose: the front matter has a comment in its place.
    """
    name = _class_name(facts.encoder)
    modules = foreign_modules(facts.recipe or {"encoder": facts.encoder})
    parts = [
        _front(name),
        f"# User encoder: {_inline(name)}",
        _WHAT,
        _table(facts.size),
        "## How to load it",
        _load(modules),
        "## Data",
        _table(facts.data) or "Not recorded.",
        *_origin(facts.origin),
        "## Metrics",
        *_metrics(facts.metrics),
        "## Training",
        *_training(facts, modules),
        "## Intended use",
        _USE,
        "## Limits",
        _LIMITS,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


_WHAT: Final = """Turns the history of a user (items in order of time) into one vector. Its inner product with the vector of an item is
the score of that item."""
_USE: Final = """Recall of candidate items, look-alike search, and features of users for models downstream, for users of the service
that the data come from."""
_LIMITS: Final = """- A user without events has a vector of zeros, which is like nobody.
- Items that the encoder does not know are skipped; a user all of whose items are unknown has a vector of zeros.
- It reads the latest `max_history` events of a user, and none before them.
- It repeats what the data hold, popularity and other biases among them. Vectors may give away what a user did: treat them
  like the events themselves.
- Vectors of two encoders live in two spaces and cannot be compared."""


def foreign_modules(data: Any) -> list[str]:
    """Modules outside usermodel whose classes some plain configuration names."""
    if isinstance(data, Mapping):
        module = str(data.get(CLASS_KEY, "usermodel")).partition(":")[0]
        own = module == "usermodel" or module.startswith("usermodel.")
        inner = {name for part in data.values() for name in foreign_modules(part)}
        return sorted(inner | (set() if own else {module}))
    if isinstance(data, (list, tuple)):
        return sorted({name for part in data for name in foreign_modules(part)})
    return []


def _class_name(encoder: Mapping[str, Any]) -> str:
    return str(encoder.get(CLASS_KEY, "")).rpartition(":")[2].removesuffix("Config") or "unknown"


def _front(name: str) -> str:
    """YAML front matter (https://huggingface.co/docs/hub/model-cards)."""
    tags = [*_TAGS, *([name.lower()] if name.isascii() and name.isidentifier() else [])]
    listed = "\n".join(f"- {tag}" for tag in tags)
    return f"""---
# license: choose one before publishing
library_name: usermodel
pipeline_tag: feature-extraction
tags:
{listed}
---"""


def _load(modules: Sequence[str]) -> str:
    allowed = f", allow_modules={list(modules)!r}" if modules else ""
    return f"""```python
import usermodel as um

encoder = um.UserEncoder.load("path/to/this/folder"{allowed})
users = encoder.encode("store")  # made by `usermodel ingest` from logs with the same item ids
```"""


def _origin(origin: Mapping[str, Any]) -> list[str]:
    return (
        ["The weights were converted from a checkpoint that was trained elsewhere:", _table(origin)]
        if origin
        else []
    )


def _metrics(metrics: Sequence[Metric]) -> list[str]:
    parts = []
    if metrics:
        rows = "\n".join(
            f"| {_inline(one.name)} | {one.value:.4f} | {_inline(one.part)} |" for one in metrics
        )
        parts.append(f"| metric | value | measured on |\n|---|---|---|\n{rows}")
        parts.append(
            "\n".join(f"- {one.name}: {_inline(one.definition)}." for one in metrics if one.definition)
        )
    if not any(one.part == "validation" for one in metrics):
        parts.append("Validation: not measured.")
    if not any(one.part == "test" for one in metrics):
        parts.append(
            "Test: not measured when this card was written; `usermodel evaluate RUN STORE` measures it."
        )
    return parts


def _training(facts: CardFacts, modules: Sequence[str]) -> list[str]:
    if not facts.recipe:
        return ["Not trained here.", _table(facts.training), _block(facts.encoder, "The encoder:")]
    allowed = "".join(f" --allow-module {shlex.quote(name)}" for name in modules)
    command = f"usermodel pretrain STORE -o RUN --recipe recipe.json{allowed}"
    return [
        _table(facts.training),
        f"To repeat it, with the recipe below as `recipe.json`:\n\n```bash\n{command}\n```",
        _block(facts.recipe, ""),
    ]


def _block(data: Mapping[str, Any], title: str) -> str:
    # Texts in a recipe hold no line breaks once they are JSON, so none of them can end the fence.
    text = f"```json\n{json.dumps(data, indent=1)}\n```"
    return f"{title}\n\n{text}" if title else text


def _table(pairs: Mapping[str, Any]) -> str:
    if not pairs:
        return ""
    rows = "\n".join(f"| {_inline(key)} | {_inline(_value(value))} |" for key, value in pairs.items())
    return f"| | |\n|---|---|\n{rows}"


def _value(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _inline(text: str) -> str:
    """Text from elsewhere in one cell: no markup, no end of the cell, no end of the line."""
    line = " ".join(str(text).split())
    for character in "\\`*_{}[]<>|#~":
        line = line.replace(character, f"\\{character}" if character != "<" else "&lt;")
    return line
