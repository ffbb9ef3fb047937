"""The page: escaping, self-containedness, structure, determinism, atomic writing."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from usermodel import manifest
from usermodel.errors import DataError, StorageError
from usermodel.report import figures
from usermodel.report.html import Code, Definitions, Figure, Section, Table, Text, render, write_report

VOID = {"meta", "link", "br", "img", "hr", "input"}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style></svg></figure><script src=http://evil.example/x.js></script>",
    "&lt;b&gt; & &#60;",
    "javascript:alert(1)",
    "nul\x00 bell\x07 half\ud800 none\uffff",
    "$\\frac{1}$ $x$ <!-- --> ]]> {0} %s",
    "שלום \u202e مرحبا 你好 👩‍🚀",
]


class Page(HTMLParser):
    """What a page holds; fails on unbalanced tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        assert len({name for name, _ in attrs}) == len(attrs), tag
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def named(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def every_part(text: str) -> list[Section]:
    bars = figures.metric_bars(
        [(text, 0.3, 0.2, 0.4), ("other", 0.1, None, None)], text, references={text: 0.05}
    )
    points = np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 1.0]])
    scatter = figures.embedding_map(points, [text, "b", None], text, axes_names=(text, text))
    values = figures.histogram([1.0, 2.0, 2.0], text, counted=text)
    table = Table([text, "value"], [[text, 0.5], ["x", None]], text, text, bold=[(0, 0)])
    return [
        Section(text, text, [Text([text, text]), Code(text), Definitions([(text, text)]), table]),
        Section(text, text, [Figure(bars, text, text), Figure(scatter, text, text)]),
        Section("third", "", [Figure(values, text, text), Figure(bars, text, text), Text(text)]),
    ]


def page_of(text: str) -> str:
    return render(text, text, every_part(text), footer=[text])


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_stays_text(hostile):
    source = page_of(hostile)
    source.encode("utf-8")
    page, plain = Page(source), Page(page_of("plain"))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(attrs) for _, attrs in page.tags] == [sorted(attrs) for _, attrs in plain.tags]
    clean = re.sub("[\x00\x07\ud800\uffff]", "\ufffd", hostile)
    assert page.words.count(clean) >= 10
    assert not re.search("[\x00-\x08\ud800-\udfff]", source)


def test_page_loads_nothing():
    source = page_of("plain")
    page = Page(source)
    for tag, attrs in page.tags:
        assert tag not in {"script", "iframe", "object", "embed", "base", "form", "img"}
        for name, value in attrs.items():
            assert not name.startswith("on")
            if name.rpartition(":")[2] in {"src", "href"}:
                assert value.startswith(("#", "data:"))
    assert not re.search(r"@import|url\((?!#)|@font-face", source)
    policy = next(attrs["content"] for attrs in page.named("meta") if "http-equiv" in attrs)
    assert policy.startswith("default-src 'none'")
    outside_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"', "", source)
    assert "http:" not in outside_namespaces
    assert "https:" not in outside_namespaces


def test_structure_is_accessible():
    page = Page(page_of("plain"))
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert headings == [1, 2, 2, 2]
    assert page.named("html") == [{"lang": "en"}]
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in page.named("svg"))
    assert len(page.named("figcaption")) == len(page.named("figure")) == 5
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    used = re.findall(r'(?:href="#|url\(#|aria-labelledby=")([\w-]+)', page_of("plain"))
    assert set(used) <= set(ids)
    assert len(page.named("nav")) == 1


def test_the_page_opens_with_the_answer():
    source = render("Title", "The answer.", [Section("One", "", [])])
    body = source[source.index("<body>") :]
    assert re.match(
        r'<body>\s*<header>\s*<h1>Title</h1>\s*<p class="answer">The answer\.</p>\s*</header>', body
    )
    assert "<nav" not in source
    assert "<footer>" not in source
    Page(render("Title", "The answer.", []))


def test_numbers_of_a_column_are_written_alike():
    rows = [
        ["a", 0.5, 12345, -1.5, "0.1 ± 0.02", True],
        ["b", np.float32(0.12345), None, float("nan"), "–", np.True_],
    ]
    source = Table(["name", "small", "count", "mixed", "interval", "flag"], rows, "numbers").html(1)
    cells = re.findall(r"<t[hd][^>]*>(?:<strong>)?([^<]*)", source.partition("<tbody>")[2])
    assert cells == [
        "a",
        "0.5000",
        "12,345",
        "−1.500",
        "0.1 ± 0.02",
        "yes",
        "b",
        "0.1235",
        "–",
        "–",
        "–",
        "yes",
    ]
    right = re.findall(r'<td( class="number")?>', source.partition("<tbody>")[2])
    assert [bool(part) for part in right[:5]] == [True] * 4 + [False]


def test_table_from_frame_and_empty_table():
    frame = pl.DataFrame({"method": ["a", "b"], "ndcg@10": [0.25, None]})
    page = Page(Table.from_frame(frame, "scores").html(3))
    assert [word for word in page.words if word.strip()] == [
        "scores",
        "method",
        "ndcg@10",
        "a",
        "0.2500",
        "b",
        "–",
    ]
    Page(Table(["a"], [], "nothing").html(1))
    Page(Table.from_frame(frame.clear(), "nothing").html(1))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Table(["a", "b"], [[1]], "ragged"),
        lambda: Table([], [], "no columns"),
        lambda: Table(["a"], [], " "),
        lambda: Figure("<svg ></svg>", "caption", ""),
        lambda: Figure("<svg ></svg>", "", "alt"),
        lambda: render("title", "", []),
        lambda: render("", "lead", []),
        lambda: render("title", "lead", [Section("", "lead", [])]),
    ],
)
def test_a_reader_would_miss_it(make):
    with pytest.raises(DataError, match="expected"):
        make()


def test_equal_input_equal_bytes(tmp_path):
    first = write_report(tmp_path / "a.html", "t", "l", every_part("plain"))
    second = write_report(tmp_path / "b.html", "t", "l", every_part("plain"))
    assert first.read_bytes() == second.read_bytes()


def test_written_atomically(tmp_path, monkeypatch):
    path = write_report(tmp_path / "new folder" / "report.html", "t", "first", [])
    before = path.read_bytes()
    with pytest.raises(DataError):
        write_report(path, "t", "second", [Section("s", "l", [Figure("<svg ><script/></svg>", "c", "a")])])

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(manifest.os, "fsync", full)
        with pytest.raises(StorageError, match="No space left"):
            write_report(path, "t", "second", [])
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        with pytest.raises(StorageError):
            write_report(path, "t", "second", [])
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]
    write_report(path, "t", "second", [])
    assert "second" in path.read_text()
    with pytest.raises(DataError, match="folder"):
        write_report(path.parent, "t", "l", [])
