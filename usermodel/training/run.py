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
            return [{key: float(value) for key, value in row.items() if value != ""} for row in csv.DictReader(file)]


def read_recipe(path: Path, *, allow_modules: Sequence[str] = ()) -> Recipe:
    """The recipe in a JSON file."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingError(str(path), expected="a recipe file", found="nothing there", do="Check the path.") from None
    except ValueError as error:
        raise ConfigError(str(path), expected="JSON", found=f"{error!s:.80}", do="Correct the file.") from None
    return Recipe.from_dict(data, allow_modules=allow_modules)


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Save a recipe as JSON."""
    manifest.write_text(path, json.dumps(recipe.to_dict(), indent=1) + "\n")


def write_history(history: list[dict[str, float]], path: Path) -> None:
    """Save one row per epoch as CSV."""
    names = list(dict.fromkeys(name for row in history for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    manifest.write_text(path, text.getvalue())
