"""usermodel evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast

import typer

from usermodel.cli import common
from usermodel.cli.evaluate_all import WantedAll, score_all
from usermodel.cli.evaluate_labels import WantedLabels, score_labels
from usermodel.cli.evaluate_rows import Wanted, score_rows
from usermodel.cli.outputs import refuse_outputs
from usermodel.cli.results import print_results, write_results

if TYPE_CHECKING:
    from usermodel.metrics.groups import By
    from usermodel.tasks.next_item import NextItemOptions

#: Tasks whose rows are events or impressions, and the tasks that each option of some is for.
ROWS: Final = ("ctr", "watch-time")
OF_ROWS: Final = {
    "--head": ROWS,
    "--features": ROWS,
    "--target": ("watch-time",),
    "--calibration": ("ctr",),
    "--set": ROWS,
    "--save-head": ROWS,
    "--fine-tune": ROWS,
    "--beside": ("all",),
    "--html": ("all",),
}

OF_LABELS: Final = ("--label", "--labels", "--probe", "--labelled", "--scale")


def evaluate(
    run: common.RunPath,
    store: common.StorePath,
    task: Annotated[
        Literal["next-item", "user-attribute", "user-choice", "ctr", "watch-time", "all"],
        typer.Option(
            help="What to score: items that users took next; a linear probe of --label on frozen vectors, or the head of a "
            "fine-tuned run; what users chose, by such a head; clicks on what was shown, and how long events were watched, by a "
            "--head on frozen vectors; or all for which the store has rows."
        ),
    ] = "next-item",
    head: Annotated[
        str | None,
        typer.Option(
            help="ctr: logistic-regression dnn wide-deep deepfm dcn-v2 final-mlp din target-attention; watch-time: value-regression wlr d2q tpm cread "
            "generative-regression.",
            show_default="deepfm, or value-regression",
        ),
    ] = None,
    target: Annotated[
        Literal["seconds", "ratio"] | None,
        typer.Option(help="watch-time: in seconds, or over the duration.", show_default="seconds"),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="ctr, watch-time: what the head knows beside the user's vector. With commas: user_id item_id duration hour weekday, "
            "declared columns or those of the impressions, items.COLUMN users.COLUMN.",
            show_default="user_id,item_id, and for watch-time duration, where it is known",
        ),
    ] = None,
    calibration: Annotated[
        Literal["none", "platt", "isotonic"] | None,
        typer.Option(help="ctr: of probabilities, fitted on the validation part.", show_default="none"),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="user-attribute: with commas, columns of the users table of the store, or of --labels, to probe vectors for. all: of "
            "these only; ctr: clicked, or events as rows by COLUMN>=NUMBER or COLUMN=VALUE.",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="user-attribute: Parquet or CSV with user_id and the columns of --label; without --label, where the labels of "
            "the run's head now are."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="ctr, watch-time: change the head or its training, such as model.dim=32, model.head.bins=20 or fit.epochs=5. Repeatable.",
        ),
    ] = None,
    save_head: Annotated[
        Path | None,
        typer.Option(
            help="ctr, watch-time: also write the trained head to this folder; usermodel score takes it."
        ),
    ] = None,
    fine_tune: Annotated[
        bool,
        typer.Option(
            "--fine-tune", help="ctr, watch-time: a copy of the run's encoder learns with the head."
        ),
    ] = False,
    probe: Annotated[
        Literal["linear", "mlp"] | None,
        typer.Option(help="user-attribute: what reads --label off the vectors.", show_default="linear"),
    ] = None,
    labelled: Annotated[
        int | None,
        typer.Option(
            help="user-attribute: users whose labels each probe is told, as if labels were scarce.",
            show_default="four fifths of all",
            min=2,
        ),
    ] = None,
    scale: Annotated[
        Literal["nominal", "ordinal", "number"] | None,
        typer.Option(
            help="user-attribute: what values of --label are: classes, classes in an order, or numbers.",
            show_default="nominal",
        ),
    ] = None,
    part: Annotated[
        Literal["test", "valid"] | None,
        typer.Option(
            help="Which targets of the run's split, or of the labels of its head.",
            show_default="test",
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="With commas: hit@K recall@K ndcg@K map@K mrr@K mrr auc gauc, and of lists, which score everything once more: "
            "coverage@K novelty@K arp@K popularity_bias@K.",
            show_default="hit@5,ndcg@5,hit@10,ndcg@10,hit@20,ndcg@20,mrr",
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="With a comma: history-length, popularity. Also score groups of users, by how long their history is or how "
            "popular their target is.",
        ),
    ] = None,
    as_: Annotated[
        Literal["recbole", "rectools", "bars"] | None,
        typer.Option("--as", help="Use the definitions of this tool instead of ours."),
    ] = None,
    interval: Annotated[
        Literal["bootstrap", "normal"] | None,
        typer.Option(help="How 95 % intervals over users are made.", show_default="bootstrap"),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            help="An index of the run's items: how much of the exact best it finds for these users."
        ),
    ] = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN",
            help="all: score this run, too, and what needs no pretraining: no vectors, statistics of histories, means of item vectors, "
            "the encoder before its first step. Repeatable.",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="all: score what needs no pretraining, too, and write a page with pictures; the file must not exist, unless --overwrite.",
        ),
    ] = None,
    json_out: Annotated[
        Path | None,
        typer.Option(
            "--json",
            help="Also write the scores, counts and definitions to this file, which must not exist, unless --overwrite.",
        ),
    ] = None,
    allow_module: common.AllowModule = None,
    overwrite: common.Overwrite = False,
) -> None:
    """Score a run, with intervals and definitions: next items in a full ranking, or what is known of users."""
    from usermodel.benchmark.evaluate import evaluate as score
    from usermodel.benchmark.evaluate import facts, flat
    from usermodel.store.sequence_store import SequenceStore
    from usermodel.training.run import Run

    allowed = allow_module or []
    of_items = {"--metrics": metrics, "--by": by, "--as": as_, "--interval": interval, "--index": index}
    rows_given = (head, features, target, calibration, set_, save_head, fine_tune or None, beside, html)
    of_rows = dict(zip(OF_ROWS, rows_given, strict=True))
    of_labels = dict(zip(OF_LABELS, (label, labels, probe, labelled, scale), strict=True))
    _require_effect(task, of_items, of_labels, part, of_rows)
    refuse_outputs([out for out in (json_out, html) if out is not None], overwrite)
    part = part or "test"
    opened, finished = SequenceStore.open(store, verify=True), Run.open(run, allow_modules=allowed)
    about_run = facts(finished, opened)
    if task == "all":
        every = WantedAll(_names(label or ""), part, beside or [], html, json_out)
        score_all(finished, opened, every, allowed)
        return
    if task != "next-item":
        if task in ROWS:
            out = None if save_head is None else (save_head, overwrite)
            names = _names(features or "")
            wanted = Wanted(task, head, names, target, label, calibration, set_ or [], out, fine_tune)
            found = score_rows(finished, opened, wanted, part, allowed)
            about = f"{part} part of the run's split"
        else:
            asked = WantedLabels(_names(label or ""), labels, probe or "linear", labelled, scale or "nominal")
            with common.plain_warnings():
                found = score_labels(finished, opened, task, asked, part, allowed)
            about = f"probe of {label}" if label else f"{part} part of the run's labels"
        counted = {"user-attribute": "users", "user-choice": "choices"}.get(task, "rows")
        print_results(found, f"{task}, {about}", counted=counted)
        if json_out is not None:
            part_of = {} if task not in ROWS and label else {"split": part}
            write_results(json_out, flat(found, task=task, **part_of, **about_run))
        return
    options = _item_options(metrics, by, as_, interval)
    with common.progress("encoding", "users") as update:
        found = score(
            finished, opened, part=part, index=index, allow_modules=allowed, on_progress=update, **options
        )
    print_results(found, f"{task}, {part} targets" + (f", as {as_}" if as_ else ""))
    if json_out is not None:
        preset = {"as": as_} if as_ else {}
        write_results(json_out, flat(found, task=task, split=part, **preset, **about_run))


def _item_options(
    metrics: str | None,
    by: str | None,
    as_: Literal["recbole", "rectools", "bars"] | None,
    interval: Literal["bootstrap", "normal"] | None,
) -> NextItemOptions:
    options: NextItemOptions = {
        "as_": as_,
        "interval": interval or "bootstrap",
        "by": cast("tuple[By, ...]", _names(by or "")),
    }
    if metrics is not None:
        options["metrics"] = _names(metrics)
    return options


def _require_effect(
    task: str,
    of_items: dict[str, Any],
    of_attributes: dict[str, Any],
    part: str | None,
    of_rows: dict[str, Any],
) -> None:
    """Raise `ConfigError` where an option has no meaning for the task."""
    from usermodel.errors import ConfigError

    idle = {} if task == "next-item" else of_items
    idle = idle | {name: value for name, value in of_rows.items() if task not in OF_ROWS[name]}
    beside = tuple(name for name in of_attributes if name != "--label")
    of_label = {"user-attribute": (), "ctr": beside, "all": beside}.get(task, tuple(of_attributes))
    idle = idle | {name: of_attributes[name] for name in of_label}
    for option, value in idle.items():
        if value is not None:
            do = "Drop the option, or choose another task."
            raise ConfigError(option, expected=f"an option of --task {task}", found=str(value), do=do)
    named = of_rows["--features"]
    if named is not None and not _names(named):
        do = "Name columns, or drop the option."
        raise ConfigError("--features", expected="a column at least", found=repr(named), do=do)
    label = of_attributes["--label"]
    for option in ("--probe", "--labelled", "--scale"):
        if label is None and of_attributes[option] is not None:
            do = "Name columns with --label, or drop the option."
            raise ConfigError(option, expected="a --label to probe for", found="none", do=do)
    if label is not None and not _names(label):
        do = "Name columns, or drop it to score the head of the run."
        raise ConfigError("--label", expected="a column at least", found=repr(label), do=do)
    if task == "user-attribute" and label is not None and part is not None:
        do = "Drop the option: a probe is cross-validated over all users."
        raise ConfigError("--part", expected="none beside --label", found=part, do=do)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
