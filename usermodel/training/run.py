"""A run: the folder that pretraining leaves behind."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from usermodel import manifest
from usermodel.config import CLASS_KEY
from usermodel.errors import ConfigError, MissingError
from usermodel.training.recipe import Recipe

KIND: Final = "run"


@dataclass(frozen=True)
class Run:
    """A finished run; usable wherever the path of one is.

    Attributes:
        path: Folder with ``config.json manifest.json metrics.csv encoder/ checkpoints/``.
        recipe: What was run.
        meta: Facts: store, steps, seconds, best validation, hardware.
    """

    path: Path
    recipe: Recipe
    meta: dict[str, Any]

    def __fspath__(self) -> str:
        return str(self.path)

    @staticmethod
    def open(path: str | os.PathLike[str], *, allow_modules: Sequence[str] = ()) -> Run:
        """Open a finished run.

        Raises:
            MissingError: No run there, or one that has not finished.
            IntegrityError: A file of the run is gone or has another size.
        """
        path = Path(path)
        if (path / "config.json").is_file() and not (path / manifest.NAME).is_file():
            do = "Finish it with --resume."
            raise MissingError(str(path), expected="a finished run", found="an unfinished one", do=do)
        meta = manifest.read(path, KIND).meta
        return Run(path, read_recipe(path / "config.json", allow_modules=allow_modules), meta)

    def history(self) -> list[dict[str, float]]:
        """One row per epoch, from metrics.csv."""
        with (self.path / "metrics.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return [{key: float(value) for key, value in row.items() if value != ""} for row in rows]


def is_run(folder: Path) -> bool:
    """Whether a folder is a run, finished or not: many programs write a config.json, but ours names its class."""
    try:
        data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and data.get(CLASS_KEY) == Recipe().to_dict()[CLASS_KEY]


def read_recipe(path: Path, *, allow_modules: Sequence[str] = ()) -> Recipe:
    """The recipe in a JSON file.

    Raises:
        MissingError: No such file.
        ConfigError: Not a recipe, or one that names a class outside usermodel and ``allow_modules``.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        do = "Check the path."
        raise MissingError(str(path), expected="a recipe file", found="nothing there", do=do) from None
    except ValueError as error:
        found, do = f"{error!s:.80}", "Correct the file."
        raise ConfigError(str(path), expected="JSON", found=found, do=do) from None
    if not isinstance(data, dict):
        found, do = type(data).__name__, "Name the config.json of a run."
        raise ConfigError(str(path), expected="a recipe", found=f"a JSON {found}", do=do)
    return Recipe.from_dict(data, allow_modules=allow_modules)


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Save a recipe as JSON."""
    manifest.write_text(path, json.dumps(recipe.to_dict(), indent=1) + "\n")


def leaves(data: Any, prefix: str = "") -> dict[str, Any]:
    """Nested plain data under dotted keys, as ``--set`` writes them."""
    if isinstance(data, list | tuple) and any(isinstance(part, dict) for part in data):
        data = dict(enumerate(data))
    if not isinstance(data, dict):
        return {prefix: data}
    found: dict[str, Any] = {}
    for name, part in data.items():
        found |= leaves(part, f"{prefix}.{name}".lstrip("."))
    return found


def write_history(history: list[dict[str, float]], path: Path) -> None:
    """Save one row per epoch as CSV."""
    names = list(dict.fromkeys(name for row in history for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    manifest.write_text(path, text.getvalue())
