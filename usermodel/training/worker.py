"""A process that rank 0 starts: ``python -m usermodel.training.worker RUN STORE MODULES PLACE``, the last two as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from usermodel.errors import InterruptedRunError, NumericError, UserModelError
from usermodel.store.sequence_store import SequenceStore
from usermodel.training.place import Place
from usermodel.training.pretrain import follow
from usermodel.training.processes import Team
from usermodel.training.run import read_recipe


def main() -> int:
    """Train along; returns the exit code. What rank 0 says anyway is not said twice."""
    folder, store, modules, place = sys.argv[1:]
    try:
        recipe = read_recipe(Path(folder) / "config.json", allow_modules=json.loads(modules))
        team = Team(recipe.training, Place(*json.loads(place)))
        follow(SequenceStore.open(store), recipe, Path(folder), team)
    except (InterruptedRunError, NumericError) as error:
        return error.exit_code
    except UserModelError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
