"""The documentation, held to its word: examples run, shown output is the output, links and paths lead somewhere.

What the fences mean, page by page and in order, in an empty folder:

- ``python`` runs; all blocks of a page share one namespace. ``python no-run`` does not.
- ``console`` runs the ``$ usermodel ...`` lines; output shown below a command must be its output, where ``...`` stands for
  anything and line breaks do not matter. ``$ echo $?`` shows the last exit code.
- any language with ``title="NAME"`` is a file: a path under ``usermodel/`` must be that file but for line breaks (refresh
  with ``python tests/test_docs.py``); every other name is written into the folder.
"""

import ast
import contextlib
import io
import re
import shlex
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
FENCE = re.compile(r"^```(?P<language>\w+)(?P<options>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    language: str
    options: str
    text: str
    line: int

    @property
    def title(self) -> str:
        found = re.search(r'title="([^"]+)"', self.options)
        return found[1] if found else ""


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(found["language"], found["options"], found["text"], text.count("\n", 0, found.start("text")))
        for found in FENCE.finditer(text)
    ]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)
pages_with_blocks = pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name_of)


@pages_with_blocks
def test_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    # A module of its own: pydantic and dataclasses look up annotations there.
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    before = set(sys.modules)
    try:
        for block in blocks(page):
            if block.title:
                place(block)
            elif block.language == "python" and "no-run" not in block.options:
                # The line numbers of a traceback are those of the page.
                exec(compile("\n" * block.line + block.text, str(page), "exec"), module.__dict__)
            elif block.language == "console":
                run_console(block, monkeypatch)
    finally:
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).is_relative_to(tmp_path):
                del sys.modules[name]


def place(block: Block) -> None:
    if not block.title.startswith("usermodel/"):
        Path(block.title).write_text(block.text, encoding="utf-8")
        return
    # The formatter wraps the lines of pages and files on its own time; everything else must be equal.
    real = (ROOT / block.title).read_text(encoding="utf-8")
    same = ast.dump(ast.parse(block.text)) == ast.dump(ast.parse(real))
    assert same, f"{block.title} has changed; run: python tests/test_docs.py"


def run_console(block: Block, monkeypatch) -> None:
    code = 0
    for part in re.split(r"^\$ ", block.text.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        words = shlex.split(command)
        if words == ["echo", "$?"]:
            printed = str(code)
        else:
            assert words[0] == "usermodel", f"cannot run {command!r}"
            code, printed = call(words, monkeypatch)
        if shown.strip():
            pattern = ".*".join(re.escape(" ".join(piece.split())) for piece in shown.split("..."))
            assert re.fullmatch(pattern, " ".join(printed.split())), f"$ {command}\n{printed}"
        elif code:
            pytest.fail(f"$ {command}\n{printed}")


def call(words: list[str], monkeypatch) -> tuple[int, str]:
    """Exit code and what a terminal would show: both streams, in order."""
    from usermodel.cli.main import main

    monkeypatch.setattr(sys, "argv", words)
    screen, code = io.StringIO(), 0
    with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, screen.getvalue()


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=name_of)
def test_relative_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    relative = [link for link in links if not re.match(r"[a-z]+:|#", link)]
    assert [link for link in relative if not (page.parent / link.partition("#")[0]).exists()] == []


@every_page
def test_named_paths_exist(page):
    """``usermodel/...`` and ``tests/...``; a part in capitals is a placeholder."""
    named = re.findall(r"(?<![\w./-])((?:usermodel|tests)/[\w./-]*[\w/])", page.read_text(encoding="utf-8"))
    concrete = {path for path in named if not re.search(r"/[A-Z]+\b", path)}
    assert sorted(path for path in concrete if not (ROOT / path).exists()) == []


def test_named_tests_exist():
    """``test_x.py::test_y`` in the text is a test function of that file."""
    missing = []
    for page in PAGES:
        for path, function in re.findall(r"(tests/[\w/]+\.py)::(\w+)", page.read_text(encoding="utf-8")):
            file = ROOT / path
            if not file.exists() or f"def {function}(" not in file.read_text(encoding="utf-8"):
                missing.append(f"{name_of(page)}: {path}::{function}")
    assert missing == []


def test_the_site_is_strict_and_its_nav_complete():
    """docs/gen_api.py adds decision records and further top-level pages; concepts, how-tos and the start are listed."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "\nstrict: true\n" in text
    named = set(re.findall(r": ([\w/]+\.md)$", text, re.MULTILINE))
    pages = {str(page.relative_to(DOCS)) for page in PAGES}
    assert named == {page for page in pages if page.startswith(("concepts/", "howto/")) or page == "index.md"}


def refresh() -> None:
    """Copy the files of the package into the pages that show them."""

    def newest(found: re.Match[str]) -> str:
        title = re.search(r'title="(usermodel/[^"]+)"', found["options"])
        if title is None:
            return found[0]
        return f"```{found['language']}{found['options']}\n{(ROOT / title[1]).read_text(encoding='utf-8')}```"

    for page in PAGES:
        page.write_text(FENCE.sub(newest, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    refresh()
