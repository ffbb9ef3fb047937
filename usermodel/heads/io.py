"""A head as a folder: config.json, model.safetensors, manifest.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from usermodel import manifest
from usermodel.encoders.io import load_weights, plain_weights, save_file
from usermodel.errors import IntegrityError
from usermodel.heads.user_head import UserHead

KIND: Final = "head"
#: What loading reads and checksums cover; a run lists them in its own manifest too.
FILES: Final = ("config.json", "model.safetensors", manifest.NAME)


def save(path: Path, head: UserHead) -> None:
    """Write a head, complete or not at all; an older one is replaced."""
    hidden = 0 if head.inner is None else head.inner.out_features
    dim = (head.out if head.inner is None else head.inner).in_features
    text = {"dim": dim, "hidden": hidden, "answers": head.answers}
    with manifest.write_directory(path, KIND, overwrite=True) as draft:
        (draft.path / "config.json").write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")
        save_file(plain_weights(head), draft.path / "model.safetensors")


def load(path: Path) -> UserHead:
    """Read a head, on the processor.

    Raises:
        MissingError: None there.
        IntegrityError: Damaged files.
    """
    manifest.read(path, KIND, verify=True)
    try:
        text = json.loads((path / "config.json").read_text(encoding="utf-8"))
        head = UserHead(int(text["dim"]), int(text["hidden"]), tuple(map(str, text["answers"])))
    except (ValueError, LookupError, TypeError, OSError) as error:
        expected, do = "dim, hidden and answers", "Copy the folder again."
        raise IntegrityError(str(path), expected=expected, found=f"{error!r:.80}", do=do) from None
    load_weights(head, path / "model.safetensors")
    return head.eval()
