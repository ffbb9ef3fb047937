"""Fill README.md and tables of docs/ from committed results; ``--check`` fails when they are out of date."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pages import PAGES

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
METRICS = ("hit@5", "ndcg@5", "hit@10", "ndcg@10", "hit@20", "ndcg@20", "mrr")


def demo() -> str:
    """What ``make demo`` prints, as recorded by ``make proof-demo``."""
    text = (RESULTS / "demo.txt").read_text(encoding="utf-8").strip("\n")
    return "What `make demo` prints (recorded by `make proof-demo`):\n\n```text\n" + text + "\n```"


def results() -> str:
    """Tables of quality and of speed."""
    parts = [_next_item(), *_user_attributes(), _parity(), _training(), _serving(), _ingest()]
    return "\n\n".join(parts)


def _user_attributes() -> list[str]:
    """AUC of a linear probe on frozen vectors, by objective."""
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("user_attribute_*.json"))]
    if not found:
        return []
    # Ablations have a comma, and a table of their own.
    known = dict.fromkeys(run["variant"] for one in found for run in one["cells"])
    variants = [name for name in known if "," not in name]
    head = "**User attributes**: AUC of a linear probe on frozen vectors, cross-validated over users, mean ± 95 % interval over 5 "
    head += "pretraining seeds; within a line all objectives have the same number of optimiser steps, stages included. "
    head += "Commands: `make proof-user-attribute`; what is held equal is said in `benchmarks/quality/user_attribute.py`."
    rows = [
        f"| {one['data']} | {one['steps']} | {name.removesuffix('/auc')} | {one['scores'][name.replace('/auc', '/n')]:,} | "
        + " | ".join(_mean(scores.get(variant)) for variant in variants)
        + " |"
        for one in found
        for name, scores in one["scores"].items()
        if name.endswith("/auc")
    ]
    names = " | ".join(["data", "steps", "attribute", "users", *variants])
    return ["\n".join([head, "", f"| {names} |", "|---" * (len(variants) + 4) + "|", *rows])]


def _mean(score: dict[str, Any] | None) -> str:
    if score is None:
        return ""
    return f"{score['mean']:.3f}" + (f" ± {score['ci95']:.3f}" if score["ci95"] is not None else "")


def _parity() -> str:
    """Hits and NDCG of official weights in our encoders under our evaluator."""
    found = json.loads((RESULTS / "parity_icsrec.json").read_text())
    rows = [
        f"| {one['model']} | {one['part']} | {' / '.join(map(str, one['hits']))} | {' / '.join(f'{value:.6f}' for value in one['ndcg'])} |"
        for one in found["results"]
    ]
    head = f"**Official ICSRec weights for Beauty**, converted by `usermodel convert` and scored here: hits and NDCG at 5 / 10 / 20. Command: `{found['command']}`."
    return "\n".join([head, "", "| encoder | part | hits | NDCG |", "|---|---|---|---|", *rows])


def _training() -> str:
    """Seconds of an epoch beside its peers."""
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("train-*.json"))]
    first = found[0]
    head = f"**Training, seconds per epoch** of recipe `next-item`, softmax over the whole catalogue ({first['hardware']}, {first['precision']}), "
    head += "beside peers with the same width, layers and window in the same run, medians. Command: `make bench-train`."
    rows = [
        f"| {one['job'].partition(' ')[2]} | {one['targets']:,} | {one['seconds_per_epoch']:.1f} s, {one['peak_mb']:,.0f} MB | {one['peer']} "
        f"| {one['peer_seconds_per_epoch']:.1f} s, {one['peer_peak_mb']:,.0f} MB | {one['ratio_to_peer']:.3f} | {one['fraction_of_gemm_rate']:.2f} | {one['ndcg@10_trained_out']:.4f} |"
        for one in found
    ]
    columns = "| job | targets | usermodel | peer | its time and memory | ratio | share of the machine's product rate | NDCG@10 trained out |"
    return "\n".join([head, "", columns, "|---" * 8 + "|", *rows])


def _serving() -> str:
    """What comes after training: seconds beside peers, and the goals."""
    found = {
        name: json.loads((RESULTS / f"serve-{name}.json").read_text())
        for name in ("evaluate", "encode", "export", "faiss-by-hand", "million-items")
    }
    evaluate, encode, export, by_hand, million = found.values()
    peers = ", ".join(
        f"{name} {evaluate[f'{key}_seconds']:.1f} s"
        for name, key in (("RecBole", "recbole"), ("RecTools", "rectools"))
    )
    rows = [
        f"| full ranking of {evaluate['users']:,} users x {evaluate['items']:,} items, encoding and bootstrap intervals included | {evaluate['seconds']:.2f} s | {peers} |",
        f"| encoding {encode['events']:,} events | {encode['events_per_s']:,} events/s | {encode['peer']}: {encode['times_faster_than_peer']:.1f} times as long |",
        f"| export of {export['n_users']:,} users x {export['dim']} to Parquet | {export['parquet_seconds']:.1f} s, {export['parquet_peak_mb']:,.0f} MB | |",
        f"| searches through `ItemIndex`'s engine, the least of four ways | {by_hand['least_ratio']:.2f} of FAISS called by hand | |",
        f"| {million['n_items']:,} items, {million['type']}, recall@10 {million['recall@10']:.3f} | {million['index_qps']:,.0f} queries/s | exact search in batches: {million['flat_batched_qps']:,.0f} queries/s |",
    ]
    head = f"**Serving** ({evaluate['hardware']}), beside peers in the same run, medians. Command: `make bench-serve`. Every command after `pretrain` "
    head += "on Beauty and MovieLens-1M, with its seconds and what it found: `make proof-serving`, `benchmarks/results/serving_*.json`."
    return "\n".join([head, "", "| job | usermodel | peer |", "|---|---|---|", *rows])


def _ingest() -> str:
    """Seconds and peak memory of ingest beside its peers."""
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("ingest-*.json"))]
    found.sort(key=lambda one: (one["n_events"], one["peer"] != "plain", one["peer"], one["job"]))
    head = f"**Ingest** to a finished store with 5-core ({found[0]['hardware']}), beside twenty lines of polars and beside "
    head += "libraries in the same run, medians. Commands: `make bench-ingest`, `make bench-ingest-peers`, `make bench-ingest-large`. "
    head += "What a peer does and leaves out is said at the head of `benchmarks/speed/ingest_PEER.py`; the memory of fuxictr leaves out its worker processes."
    rows = [
        f"| {one['n_events'] / 1e6:.0f} M, {one['job'].partition(' ')[2]} | {one['seconds']:.1f} s, {one['peak_mb']:,.0f} MB{_note(one)} "
        f"| {_peer(one)} |"
        for one in found
    ]
    table = [
        "| events, input, ids | usermodel | peer | its time and memory | ratio of seconds |",
        "|---|---|---|---|---|",
        *rows,
    ]
    return "\n".join([head, "", *table])


def _note(result: dict[str, Any]) -> str:
    """What was written into a result by hand; a new run writes a new file without it."""
    return f", {result['note']}" if "note" in result else ""


def _peer(one: dict[str, Any]) -> str:
    if one["peer"] == "none":
        return "| | "
    return f"{one['peer']} | {one['peer_seconds']:.1f} s, {one['peer_peak_mb']:,.0f} MB | {one['ratio_to_peer']:.2f}"


def _next_item() -> str:
    """A row per data set and recipe."""
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("next_item_*.json"))]
    head = f"**Next item**, test split ({found[0]['protocol']}, full ranking, seen items excluded): mean ± 95 % interval over seeds, and wall seconds "
    head += "of a whole `pretrain`, validation included, which alone ends it. Seeds of one thread each ran beside other work. Commands: `make proof-beauty`, `make proof-ml-1m`, `make proof-intents`, `make proof-intents-ml-1m`, `make proof-intents-ablations`, `make proof-family`."
    names = " | ".join(["data", "recipe", "seeds", *METRICS, "seconds a seed"])
    rows = [_row(one) for one in found]
    table = "\n".join([head, "", f"| {names} |", "|---" * (len(METRICS) + 4) + "|", *rows])
    return "\n\n".join([table, *_beside_published(found)])


def _beside_published(found: list[dict[str, Any]]) -> list[str]:
    """What the literature says of the same methods, where it does."""
    names = ("hit@5", "ndcg@5", "hit@20", "ndcg@20")
    found = [one for one in found if one.get("published")]
    if not found:
        return []
    head = f"**The same beside published figures** ({found[0]['published']['source']}; its histories end at 50 events): ours / published."
    rows = [
        f"| {one['data']} | {_recipe(one)} | "
        + " | ".join(f"{one['metrics'][name]['mean']:.4f} / {one['published'][name]:.4f}" for name in names)
        + " |"
        for one in found
    ]
    return ["\n".join([head, "", f"| data | recipe | {' | '.join(names)} |", "|---" * 6 + "|", *rows])]


def _row(result: dict[str, Any]) -> str:
    cells = []
    for name in METRICS:
        value = result["metrics"][name]
        half = f" ± {value['ci95']:.4f}" if value["ci95"] is not None else ""
        cells.append(f"{value['mean']:.4f}{half}")
    seconds = result["pretrain_seconds"]
    threads = re.search(r"\d+ threads", result["hardware"])
    assert threads, "the hardware says how many threads"
    said = _note(result) or f", {threads[0].replace('1 threads', 'one thread')}"
    spent = " / ".join(f"{one:.0f}" for one in seconds) + said
    return f"| {result['data']} | {_recipe(result)} | {result['seeds']} | {' | '.join(cells)} | {spent} |"


def _recipe(result: dict[str, Any]) -> str:
    return " ".join([f"`{result['recipe']}`", *(f"`{one}`" for one in result["options"])])


def fill(text: str, parts: dict[str, Callable[[], str]]) -> str:
    """A page with every generated part replaced."""
    for name, part in parts.items():
        pattern = re.compile(f"<!-- {name} -->.*?<!-- /{name} -->", re.DOTALL)
        new = f"<!-- {name} -->\n{part()}\n<!-- /{name} -->"
        text, n = pattern.subn(lambda _, new=new: new, text)
        assert n == 1, f"one place for {name!r}, found {n}"
    return text


def main() -> None:
    """Write README.md and the pages with tables, or compare."""
    for name, parts in ({"README.md": {"demo": demo, "results": results}} | PAGES).items():
        path = ROOT / name
        old = path.read_text(encoding="utf-8")
        new = fill(old, parts)
        if "--check" not in sys.argv[1:]:
            path.write_text(new, encoding="utf-8")
        elif new != old:
            sys.exit(f"{name} is out of date. Run: python tools/readme.py")


if __name__ == "__main__":
    main()
