"""Tables of pages in docs/ from committed results; each between comments such as ``<!-- ablations -->`` and ``<!-- /ablations -->``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def adaptssr_minus_others() -> str:
    """AUC of AdaptSSR minus that of every other objective, frozen vectors."""
    paths = sorted(RESULTS.glob("user_attribute_*.json"))
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    names = dict.fromkeys(run["variant"] for one in found for run in one["cells"])
    others = [name for name in names if "," not in name and name != "adaptssr"]
    rows = [
        f"| {one['data']}, {one['steps']} | {key.removesuffix('/auc')} | "
        + " | ".join(_minus(scores, name) for name in others)
        + " |"
        for one in found
        for key, scores in one["scores"].items()
        if key.endswith("/auc")
    ]
    return "\n".join(
        [f"| data, steps | attribute | {' | '.join(others)} |", "|---" * (len(others) + 2) + "|", *rows]
    )


def adaptssr_ablations() -> str:
    """AUC of the variants of AdaptSSR; a table for each data set."""
    return "\n\n".join(_ablations(name) for name in ("movielens-1m", "simulator"))


def _ablations(name: str) -> str:
    one = _read(f"user_attribute_{name}")
    scores = {key.removesuffix("/auc"): rows for key, rows in one["scores"].items() if key.endswith("/auc")}
    variants = dict.fromkeys(run["variant"] for run in one["cells"])
    rows = [
        f"| {variant} | " + " | ".join(_mean(rows.get(variant), 3) for rows in scores.values()) + " |"
        for variant in variants
        if variant.startswith(("no pretraining", "adaptssr", "clue"))
    ]
    head = f"| {name}, {one['steps']} steps | {' | '.join(scores)} |"
    return "\n".join([head, "|---" * (len(scores) + 1) + "|", *rows])


def _minus(scores: dict[str, Any], name: str) -> str:
    return _mean(scores.get(name, {}).get("adaptssr minus this"), 3, sign="+")


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def _mean(score: dict[str, Any] | None, digits: int, *, sign: str = "") -> str:
    """``mean ± half interval``; a dash where there is nothing."""
    if score is None:
        return "–"
    half = "" if score["ci95"] is None else f" ± {score['ci95']:.{digits}f}"
    return f"{score['mean']:{sign}.{digits}f}{half}"


#: Page -> mark -> what fills it.
PAGES: dict[str, dict[str, Callable[[], str]]] = {
    "docs/decisions/0011-adaptssr-on-frozen-vectors.md": {
        "adaptssr minus others": adaptssr_minus_others,
        "ablations": adaptssr_ablations,
    },
}
