"""What to say where no artefact is: nothing there, something else, or a run that was stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from usermodel.errors import MissingError

#: Class that the config.json of a run names.
_RECIPE: Final = "usermodel.training.recipe:Recipe"


def missing(path: Path, what: str) -> MissingError:
    """The error of a path without a manifest, where ``what`` was looked for."""
    found, do = "no manifest there" if path.exists() else "nothing there", "Check the path."
    if _is_begun(path):
        found, do = "an unfinished run", "Finish it with --resume."
    return MissingError(str(path), expected=what, found=found, do=do)


def _is_begun(folder: Path) -> bool:
    """Whether a run was stopped there: the path is right, only the time is wrong."""
    try:
        data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(data, dict) and data.get("class") == _RECIPE
