"""usermodel index"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from usermodel.cli import common

if TYPE_CHECKING:
    from usermodel.retrieval.item_index import ItemIndex
    from usermodel.retrieval.user_index import UserIndex


def index(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|EMB", help="A run, or embeddings made by 'usermodel embed'.", show_default=False
        ),
    ],
    out: common.Out,
    of: Annotated[
        Literal["items", "users"],
        typer.Option(help="Items, to recommend; or the users of embeddings, to find those who are alike."),
    ] = "items",
    type_: Annotated[
        Literal["auto", "flat", "sq8", "ivf-flat", "ivf-pq", "hnsw"],
        typer.Option("--type", help="auto: flat, which is exact, up to 200,000 vectors; hnsw beyond."),
    ] = "auto",
    metric: Annotated[
        Literal["inner-product", "cosine"] | None,
        typer.Option(help="What a score is.", show_default="inner-product for items, cosine for users"),
    ] = None,
    recall: Annotated[
        float, typer.Option(help="Share of the exact best ten that an approximate type is to find.")
    ] = 0.95,
    store: Annotated[
        Path | None,
        typer.Option(
            help="Of a run: tune with users of this store. Embeddings are tuned with their own users.",
            show_default=False,
        ),
    ] = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="Build and tune for a GPU.")] = False,
    allow_module: common.AllowModule = None,
    overwrite: common.Overwrite = False,
) -> None:
    """Index items or users for retrieval with FAISS. A folder stands alone; a file such as items.faiss needs its run."""
    from usermodel.errors import ConfigError
    from usermodel.manifest import refuse_existing
    from usermodel.retrieval.files import KIND
    from usermodel.retrieval.item_index import ItemIndex
    from usermodel.retrieval.user_index import UserIndex
    from usermodel.store.sequence_store import SequenceStore

    refuse_existing(out, KIND, overwrite)
    if of == "users" and (store is not None or out.suffix):
        wrong = "--store" if store is not None else f"the file {out.name}"
        do = "Name a folder, and drop --store: users are tuned with themselves."
        raise ConfigError("--of users", expected="embeddings and a folder", found=wrong, do=do)
    options: dict[str, Any] = {"kind": type_, "recall": recall, "gpu": gpu}
    options |= {"metric": metric} if metric else {}
    built: ItemIndex | UserIndex
    with common.progress("indexing", of) as update:
        if of == "users":
            built = UserIndex.build(source, on_progress=update, **options)
        else:
            users = None if store is None else SequenceStore.open(store)
            built = ItemIndex.build(
                source, users=users, on_progress=update, allow_modules=allow_module or (), **options
            )
    built.save(out, overwrite=overwrite)
    _tell(built)
    kind = built.search.index.kind
    common.say(f"wrote {'an' if kind[0] in 'ih' else 'a'} {kind} index of {len(built):,} {of} to {out}")


def _tell(built: ItemIndex | UserIndex) -> None:
    found = built.measured
    if found is None:
        return
    effort = ", ".join(f"{name} {value:,}" for name, value in built.search.index.effort.items())
    what = "users" if found.on == "users" else "of its own vectors, for lack of users: users are harder"
    common.say(f"{effort}, chosen on {found.n_tuned:,} {what}")
    whom = f"{found.n_queries:,} others, held out" if found.held_out else "the same one"
    speed = f"{found.latency_ms:.3f} ms a query, {found.queries_per_s:,.0f} queries/s together"
    common.say(f"recall@10 {found.recall:.3f} of exact on {whom}; {speed}")
    if not found.reached:
        do = "ask for more, or choose another --type"
        common.say(f"warning: recall is below the {found.target:g} that was asked for; {do}")
