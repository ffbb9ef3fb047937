"""The health of vectors as a section of any page, and what `describe` found in embeddings as a page of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from usermodel.embedding_table import EmbeddingTable
from usermodel.metrics.embedding_health import Moments, moments
from usermodel.metrics.rows import sample
from usermodel.report.advice import Finding
from usermodel.report.description import Description
from usermodel.report.figures import embedding_map, histogram, spectrum
from usermodel.report.health import flat, of_what
from usermodel.report.html import Definitions, Figure, Section, Table, write_report
from usermodel.report.project import project_2d
from usermodel.version import VERSION

#: Points of the map.
_MOST: Final = 4000


def health_section(users: EmbeddingTable, findings: Sequence[Finding]) -> Section:
    """Figures about vectors with their advice, their lengths and their spectrum, for any page.

    Args:
        users: User vectors.
        findings: What `usermodel.report.health.health` found.
    """
    columns = ["vectors", "figure", "value", "beside", "what to make of it"]
    rows = [one.row() for one in findings]
    note = "Bounds of the advice are rules of thumb. Vectors of zeros (users of whom nothing is known) are left out."
    parts = [Table(columns, rows, "Health of the vectors", note)]
    return Section("Are the vectors healthy?", _lead(of_what(users), findings), [*parts, *_pictures(users)])


def _lead(what: str, findings: Sequence[Finding]) -> str:
    ranks = [one for one in findings if (one.group, one.name) == (what, "effective_rank")]
    if not ranks or ranks[0].reference is None:
        return "There are fewer than two vectors to compare."
    return f"Vectors of {what} differ along {ranks[0].value:.1f} of {ranks[0].reference:.0f} dimensions (effective rank)."


def _pictures(users: EmbeddingTable) -> list[Figure]:
    seen = moments(flat(users))
    pictures = []
    if seen.n:
        pictures.append(
            Figure(
                histogram(seen.norms[seen.norms > 0], "length of the vector", counted=of_what(users)),
                f"Lengths of the vectors of {of_what(users)}.",
                f"Histogram of the lengths of the vectors of {of_what(users)}.",
            )
        )
    return pictures + _spectrum(seen)


def _spectrum(seen: Moments) -> list[Figure]:
    if not seen.variances.any():
        return []
    shares = seen.variances / seen.variances.sum()
    caption = "Share of the variance along each principal component; a steep fall is a low effective rank."
    return [Figure(spectrum(shares), caption, "Bars of the variance of each principal component, falling.")]


def write_embeddings_page(path: Path, description: Description, users: EmbeddingTable, name: str) -> None:
    """Write what `describe_embeddings` found as one self-contained HTML file.

    Args:
        path: The file.
        description: What was found.
        users: The vectors it was found in; of items where there are no others.
        name: Of the embeddings, for the title.
    """
    sections = [health_section(users, description.health), *_map(users), _facts(description)]
    lead = f"{len(users):,} {of_what(users)}, in vectors of {users.dim} numbers."
    write_report(
        path,
        f"Embeddings: {name}",
        lead,
        sections,
        footer=f"usermodel {VERSION}. Made by: usermodel describe",
    )


def _map(users: EmbeddingTable) -> list[Section]:
    rows = sample(np.arange(len(users)), _MOST, 0)
    vectors = users.to_numpy()
    # A dot is one vector: of users with several there is no map.
    if not len(rows) or vectors.ndim != 2:
        return []
    view = project_2d(vectors[rows])
    what, lead = of_what(users), f"Each dot is one of {len(rows):,} of {len(users):,} {of_what(users)}"
    if "n_events" in users.columns.columns:
        labels = [_events(int(n)) for n in users.columns["n_events"].to_numpy()[rows]]
        lead, title = (
            f"{lead}, coloured by the number of events.",
            f"Embeddings of {what} by number of events",
        )
    else:
        labels, lead, title = [what] * len(rows), f"{lead}.", f"Embeddings of {what}"
    picture = embedding_map(view.points, labels, title, axes_names=view.axes)
    alt = f"Scatter plot of embeddings of {what} in two dimensions."
    return [Section(f"A map of the {what}", lead, [Figure(picture, view.caption, alt)])]


def _events(n: int) -> str:
    """Groups that grow fourfold: 0, 1 to 3, 4 to 15, ..."""
    if n == 0:
        return "no events"
    low = 4 ** ((n.bit_length() - 1) // 2)
    return f"{low:,} to {4 * low - 1:,} events"


def _facts(description: Description) -> Section:
    pairs = {
        key.replace("_", " "): value for key, value in description.facts.items() if value not in ([], None)
    }
    return Section("What the folder holds", "", [Definitions(pairs)])
