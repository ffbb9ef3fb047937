"""A command line, run in this process."""

import contextlib
import io
import os
import sys
from pathlib import Path
from unittest import mock

from usermodel.cli.main import main


def usermodel(*words, cwd: Path | str = ".", columns: int = 250, code: int = 0) -> tuple[str, str]:
    """What it prints, and what it says; its exit code must be ``code``."""
    out, err = io.StringIO(), io.StringIO()
    argv = mock.patch.object(sys, "argv", ["usermodel", *map(str, words)])
    environment = mock.patch.dict(os.environ, {"COLUMNS": str(columns), "NO_COLOR": "1"})
    streams = contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)
    with contextlib.chdir(cwd), argv, environment, streams[0], streams[1]:
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code or 0
    assert status == code, out.getvalue() + err.getvalue()
    return out.getvalue(), err.getvalue()
