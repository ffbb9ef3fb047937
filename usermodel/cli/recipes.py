"""usermodel recipes"""

from __future__ import annotations

import inspect

from usermodel.cli import common


def recipes(as_json: common.AsJson = False) -> None:
    """List the built-in recipes, a line each."""
    from usermodel.recipes.catalog import built_in

    lines = {name: (inspect.getdoc(make) or "").partition("\n")[0] for name, make in built_in().items()}
    if as_json:
        common.print_json(lines)
        return
    common.print_table(
        "Recipes for usermodel pretrain --recipe NAME", ["name", "what it does"], list(lines.items())
    )
