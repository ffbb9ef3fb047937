"""usermodel forget"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from usermodel.cli import common


def forget(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Stores to rewrite.", show_default=False)
    ],
    users: Annotated[
        Path, typer.Option(help="A file with one user id a line, exactly as in the log.", show_default=False)
    ],
    as_json: common.AsJson = False,
) -> None:
    """Remove users from stores, physically, and print a receipt. Logs, runs and embeddings made before are not touched."""
    from usermodel.store.forget import forget as remove
    from usermodel.store.sequence_store import SequenceStore

    words = _read(users)
    # All of them are opened before the first is rewritten: a wrong path is found in time.
    stores = {path.resolve(): SequenceStore.open(path, verify=True) for path in paths}
    asked = {path: _ids(words, store.users.kind, users) for path, store in stores.items()}
    receipts = []
    for path, store in stores.items():
        receipts.append(remove(store, asked[path]).to_json())
        if not as_json:
            common.results.print(_sentence(receipts[-1]), soft_wrap=True, markup=False)
    if as_json:
        common.print_json({"receipts": receipts})


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
    """Ids, byte by byte: blanks at either end belong to them."""
    from usermodel.errors import DataError, MissingError

    if not path.is_file():
        do = "Check the path."
        raise MissingError(str(path), expected="a file with one user id a line", found="no such file", do=do)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"{error.reason} at byte {error.start:,}"
        raise DataError(str(path), expected="text in UTF-8", found=found, do="Re-encode it.") from None
    words = [line for line in text.replace("\r\n", "\n").split("\n") if line]
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
