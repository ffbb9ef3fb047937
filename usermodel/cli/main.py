"""The ``usermodel`` command."""

from __future__ import annotations

import importlib
import sys
from typing import Annotated

import typer

from usermodel.cli import common
from usermodel.cli.interrupts import as_ctrl_c
from usermodel.errors import UserModelError
from usermodel.version import VERSION

#: The commands, in the order of the road; each is the function of that name in the file of that name.
COMMANDS = (
    "demo",
    "simulate",
    "data",
    "ingest",
    "describe",
    "recipes",
    "pretrain",
    "finetune",
    "convert",
    "embed",
    "export",
    "index",
    "recommend",
    "similar",
    "evaluate",
    "score",
    "append",
    "forget",
)

app = typer.Typer(
    name="usermodel",
    help="Behaviour logs in, one reusable vector per user out. Start with: usermodel demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    if version:
        typer.echo(VERSION)
        raise typer.Exit


for _name in COMMANDS:
    app.command(_name)(getattr(importlib.import_module(f"usermodel.cli.{_name}"), _name))


def main() -> None:
    """Run the command; expected errors become one message and an exit code, never a traceback.

    Codes: 0 done, 2 usage or data, 4 integrity, 5 storage, 6 numeric, 7 interrupted and resumable, 130 interrupted (Ctrl-C,
    SIGTERM, or a terminal that closes).
    """
    try:
        with as_ctrl_c():
            app()
    except UserModelError as error:
        common.fail(str(error))
        sys.exit(error.exit_code)
