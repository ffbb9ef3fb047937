"""usermodel forget"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from usermodel.cli import common

if TYPE_CHECKING:
    from usermodel.store.forget import Receipt


def forget(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...", help="Stores, embeddings and indexes to rewrite.", show_default=False
        ),
    ],
    users: Annotated[
        Path, typer.Option(help="A file with one user id a line, exactly as in the log.", show_default=False)
    ],
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Key of embeddings made with --ids hmac.", show_default=False),
    ] = None,
    as_json: common.AsJson = False,
) -> None:
    """Remove users from stores, embeddings and indexes, physically, and print a receipt. Logs and runs are not touched."""
    words = _read(users)
    # All of them are opened before the first is rewritten: a wrong path is found in time.
    jobs = [_job(path, words, users, key) for path in {path.resolve(): path for path in paths}.values()]
    receipts: list[dict[str, Any]] = []
    try:
        for job in jobs:
            receipts.append(job().to_json())
            if not as_json:
                common.results.print(_sentence(receipts[-1]), soft_wrap=True, markup=False)
    finally:
        # What was removed before another one failed is removed.
        if as_json:
            common.print_json({"receipts": receipts})


def _job(path: Path, words: list[str], users: Path, key: Path | None) -> Callable[[], Receipt]:
    """What is to be done to one artefact."""
    from usermodel import manifest
    from usermodel.embeddings.files import KIND
    from usermodel.embeddings.forget import Forgetful
    from usermodel.embeddings.keys import IdKey
    from usermodel.retrieval.files import KIND as INDEX
    from usermodel.retrieval.forget import ForgetfulIndex
    from usermodel.store.forget import forget as forget_events
    from usermodel.store.sequence_store import SequenceStore

    kinds: dict[str, Any] = {KIND: Forgetful, INDEX: ForgetfulIndex}
    kind = manifest.read(path).kind if path.exists() else None
    if kind in kinds:
        made = kinds[kind].open(path, IdKey.read(key) if key is not None else None)
        whose = _ids(words, made.kind, users)
        return lambda: made.forget(whose)
    store = SequenceStore.open(path, verify=True)
    ids = _ids(words, store.users.kind, users)
    return lambda: forget_events(store, ids)


def _sentence(receipt: dict[str, Any]) -> str:
    counts = {"events": receipt["events"], **dict(sorted(receipt["tables"].items()))}
    if receipt["quarantined"]:
        counts["quarantined rows"] = receipt["quarantined"]
    removed = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return (
        f"{receipt['path']}: asked {receipt['asked']:,} users = found {receipt['found']:,} + unknown "
        f"{receipt['unknown']:,}; removed {removed}"
    )


def _read(path: Path) -> list[str]:
    from usermodel.cli.ids import id_lines
    from usermodel.errors import DataError, MissingError

    if not path.is_file():
        do = "Check the path."
        raise MissingError(str(path), expected="a file with one user id a line", found="no such file", do=do)
    words = id_lines(path)
    if not words:
        do = "Write one user id a line."
        raise DataError(str(path), expected="at least one user id", found="none", do=do)
    return words


def _ids(words: list[str], kind: str, path: Path) -> Any:
    import polars as pl

    from usermodel.errors import DataError

    ids = pl.Series("user_id", words, dtype=pl.String)
    if kind == "string":
        return ids
    numbers = ids.cast(pl.Int64, strict=False)
    if numbers.null_count():
        wrong = ids.filter(numbers.is_null())[0]
        do = "Check the ids."
        raise DataError(str(path), expected="integer ids, as in this store", found=repr(wrong), do=do)
    return numbers
