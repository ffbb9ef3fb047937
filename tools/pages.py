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


def ctr_heads() -> str:
    """All heads on all their labels, without vectors."""
    return _ctr(
        "head",
        lambda one: [name for name in one["scores"] if not any(mark in name for mark in (",", "%"))],
        {"auc": "auc", "gauc": "gauc", "logloss": "logloss"},
    )


def ctr_vectors() -> str:
    """AUC with vectors, and how far it is above the same without, by share of the labels."""
    rows = []
    for one in _ctr_results():
        for name, row in one["scores"].items():
            if name.endswith(", with vectors"):
                gain = _mean(row["auc"].get("minus itself without vectors"), 4, sign="+")
                title = name.removesuffix(", with vectors")
                rows.append(f"| {one['data']} | {title} | {_mean(row['auc'], 4)} | {gain} |")
    head = "| data | head, labels | auc with vectors | minus without |"
    return "\n".join([head, "|---" * 4 + "|", *rows])


def ctr_tables() -> str:
    """DeepFM with hashed tables of several sizes."""
    rows = []
    for one in _ctr_results():
        size = {run["variant"]: run["bytes"] for run in one["cells"]}
        for name, row in one["scores"].items():
            if name == "deepfm" or "hashed" in name:
                minus = _mean(row["auc"].get("minus the full table"), 4, sign="+")
                title = name.replace("deepfm, ", "")
                rows.append(
                    f"| {one['data']} | {title} | {size[name] / 1e6:.2f} MB | {_mean(row['auc'], 4)} | {minus} |"
                )
    head = "| data | table of `deepfm` | weights in all | auc | minus the full table |"
    return "\n".join([head, "|---" * 5 + "|", *rows])


def ctr_speed() -> str:
    """DeepFM beside FuxiCTR."""
    one = _read("ctr-deepfm-fuxictr")
    rows = [
        f"| {title} | {one[f'{side}_rows_per_second']:,.0f} | "
        f"{sum(one[f'{side}_test_auc']) / len(one[f'{side}_test_auc']):.4f} | {one[f'{side}_peak_mb']:,.0f} |"
        for title, side in (("ours", "ours"), ("FuxiCTR 2.3.10", "peer"))
    ]
    head = f"| {one['hardware']} | rows a second | test auc, mean of {len(one['ours_test_auc'])} seeds | peak MB |"
    reached = (
        f"That is {one['times_as_fast']:.2f} times as many rows a second; the goal is {one['goal_times_as_fast']:g} times. "
        f"With the peer's weights our log-odds differ by {one['parity_deepfm']:.0e} (DeepFM) and {one['parity_dcn_v2']:.0e} "
        "(DCN-V2) of the largest."
    )
    return "\n".join([head, "|---" * 4 + "|", *rows, "", reached])


def which_negatives() -> str:
    """One encoder with every loss and sampler: quality, cost of an epoch beside the full softmax, and what the lists hold."""
    one = _read("which_negatives_beauty")
    full = one["scores"]["softmax"]["seconds_per_epoch"]
    rows = [
        f"| {name} | {_mean(row['ndcg@10'], 4)} | {_mean(row['ndcg@10'].get('minus softmax'), 4, sign='+')} | "
        f"{row['seconds_per_epoch'] / full:.2f} | {', '.join(map(str, row['epochs']))} | {_mean(row['arp@10'], 0)} | "
        f"{_mean(row['popularity_bias@10'], 2, sign='+')} | {_mean(row['coverage@10'], 2)} |"
        for name, row in one["scores"].items()
    ]
    head = "| loss, negatives | ndcg@10 | minus softmax | cost | epochs | arp@10 | popularity bias@10 | coverage@10 |"
    return "\n".join([head, "|---" * 8 + "|", *rows])


def all_tasks() -> str:
    """Main metrics of all tasks by vectors, a table for each data set."""
    return "\n\n".join(_tasks(path.stem) for path in sorted(RESULTS.glob("all_tasks_*.json")))


def _tasks(name: str) -> str:
    one = _read(name)
    tasks = {task.partition(" ")[2] if "/" in task else task: rows for task, rows in one["scores"].items()}
    titles = dict.fromkeys(title for rows in tasks.values() for title in rows)
    rows = [
        f"| {title} | " + " | ".join(_mean(scores.get(title), 3) for scores in tasks.values()) + " |"
        for title in titles
    ]
    return "\n".join([f"| {one['data']} | {' | '.join(tasks)} |", "|---" * (len(tasks) + 1) + "|", *rows])


def attribute_curves() -> str:
    """What each kind of vector tells, by the number of labels."""
    rows, sources = [], dict[str, None]()
    for path in sorted(RESULTS.glob("attribute_curves_*.json")):
        one = _read(path.stem)
        table: dict[tuple[str, str], dict[str, str]] = {}
        for title, row in one["scores"].items():
            what, labels, source = title.split(", ", 2)
            table.setdefault((what, labels), {})[source] = _mean(row, 3)
            sources[source] = None
        rows += [
            f"| {one['data']} | {what} | {labels.removesuffix(' labels')} | "
            + " | ".join(found.get(source, "–") for source in sources)
            + " |"
            for (what, labels), found in table.items()
        ]
    head = f"| data | attribute | labels | {' | '.join(sources)} |"
    return "\n".join([head, "|---" * (3 + len(sources)) + "|", *rows])


def attribute_reached() -> str:
    """On simulated users, how much of the way from chance to the law that attributes were drawn from."""
    one = _read("attribute_curves_simulator")
    rows, sources = dict[str, dict[str, str]](), dict[str, None]()
    for title, row in one["scores"].items():
        what, labels, source = title.split(", ", 2)
        if labels == "all labels" and "reached" in row:
            rows.setdefault(what, {})[source] = f"{row['reached']:.2f}"
            sources[source] = None
    head = f"| attribute | best there is | {' | '.join(sources)} |"
    body = [
        f"| {what} | {one['law'][what]:.3f} | {' | '.join(found[source] for source in sources)} |"
        for what, found in rows.items()
    ]
    return "\n".join([head, "|---" * (2 + len(sources)) + "|", *body])


def _ctr(title: str, names: Callable[[dict[str, Any]], list[str]], metrics: dict[str, str]) -> str:
    rows = [
        f"| {one['data']} | {name} | "
        + " | ".join(_mean(one["scores"][name][metric], 4) for metric in metrics)
        + " |"
        for one in _ctr_results()
        for name in names(one)
    ]
    head = f"| data | {title} | {' | '.join(metrics.values())} |"
    return "\n".join([head, "|---" * (len(metrics) + 2) + "|", *rows])


def _ctr_results() -> list[dict[str, Any]]:
    return [_read(path.stem) for path in sorted(RESULTS.glob("ctr_*.json"))]


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
    "docs/howto/which_negatives.md": {"beauty": which_negatives},
    "docs/howto/fine_tune.md": {"curves": attribute_curves, "reached": attribute_reached},
    "docs/howto/all_tasks.md": {"results": all_tasks},
    "docs/howto/ctr.md": {
        "heads": ctr_heads,
        "vectors": ctr_vectors,
        "tables": ctr_tables,
        "speed": ctr_speed,
    },
}
