"""How a run went, as a section of any page and as a page of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from usermodel.report.figures import further_curves, learning_curve
from usermodel.report.html import Definitions, Figure, Section, write_report
from usermodel.training.run import Run, leaves
from usermodel.version import VERSION


def training_section(run: Run) -> Section:
    """The curves of a run: the loss and the metric that chose the weights, each part of the loss, and the spread of vectors."""
    monitor, meta, history = run.recipe.training.monitor, run.meta, run.history()
    best = meta["best"].get(monitor)
    chosen = "the last weights are kept; nothing was validated"
    if best is not None:
        chosen = f"best validation {monitor} {best:.4f} in epoch {meta['best_epoch']}"
    curves = [
        Figure(
            learning_curve(history, monitor),
            "Training loss and validation metric per epoch; the weights of the best epoch are kept."
            if best is not None
            else "Training loss per epoch.",
            f"Curves over epochs: training loss{'' if best is None else f', and validation {monitor}'}.",
        )
    ]
    more = further_curves(history)
    if more is not None:
        caption = (
            "Parts of the loss before their weights, and vectors of the same users after each epoch. A rank that falls towards 1, or "
            "a uniformity that rises towards 0, is a collapse."
        )
        curves.append(
            Figure(more, caption, "Curves over epochs: parts of the loss, effective rank and uniformity.")
        )
    lead = f"{meta['parameters']:,} parameters, {meta['epochs']} epochs, {meta['seconds']:.0f} seconds; {chosen}."
    title = "Fine-tuning" if run.recipe.sampling.draws_labels else "Pretraining"
    return Section(title, lead, curves)


def write_run_page(path: Path, run: Run) -> None:
    """Write how a run went as one self-contained HTML file.

    Args:
        path: The file.
        run: A finished run.
    """
    recipe = Section("The recipe", "", [Definitions(_plain(leaves(run.recipe.to_dict())))])
    facts = Section("Facts", "", [Definitions(_plain(leaves(run.meta)))])
    title, footer = f"Run: {run.path.name}", f"usermodel {VERSION}. Made by: usermodel describe"
    write_report(
        path, title, f"Trained on {run.meta['split']}.", [training_section(run), recipe, facts], footer=footer
    )


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in ([], None, ())}
