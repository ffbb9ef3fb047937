"""One table of vectors, whatever its format."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from usermodel.embedding_files.npy import NpyReader, NpyWriter
from usermodel.embedding_files.parquet import ParquetReader, ParquetWriter
from usermodel.embedding_files.rows import Reader, Writer
from usermodel.embedding_files.safetensors import SafetensorsReader, SafetensorsWriter
from usermodel.errors import MissingError

Format = Literal["parquet", "npy", "safetensors"]
#: Formats whose whole table is one file.
SINGLE: Final = (".parquet", ".safetensors")


def open_writer(folder: Path, name: str, form: Format) -> Writer:
    """A writer of the table ``name`` inside a folder."""
    if form == "npy":
        return NpyWriter(folder, name)
    return file_writer(folder / f"{name}.{form}", f".{form}")


def file_writer(path: Path, suffix: str) -> Writer:
    """A writer of one file in the format of ``suffix``, whatever the name it has for the time being."""
    return ParquetWriter(path) if suffix == ".parquet" else SafetensorsWriter(path)


def open_reader(path: Path, name: str) -> Reader:
    """A reader of the file ``path``, or of the table ``name`` inside a folder.

    Raises:
        MissingError: The folder has no such table.
        IntegrityError: Damaged files.
    """
    for suffix, reader in ((".parquet", ParquetReader), (".safetensors", SafetensorsReader)):
        if path.is_file() and path.suffix == suffix:
            return reader(path)
        if (path / f"{name}{suffix}").is_file():
            return reader(path / f"{name}{suffix}")
    if (path / f"{name}.npy").is_file():
        return NpyReader(path, name)
    do = "Embed into a folder: a single file holds the users only."
    raise MissingError(str(path), expected=f"a table of {name}", found="none", do=do)
