"""SVG as text: colours that follow the page, and markup that can be trusted inside it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Final

from usermodel.errors import DataError
from usermodel.report.style import LIGHT, SANS
from usermodel.report.text import escape

_TAG: Final = re.compile(r"<[^<>]+>")
_LONG_NUMBER: Final = re.compile(r"(?<![\w.])-?\d+\.\d{3,}")
_USES: Final = re.compile(
    r'<g([^<>]*)>\n((?:<use [^<>]* style="([^"<>]*)"/>\n)(?:<use [^<>]* style="\3"/>\n)*)</g>'
)
_NAMES: Final = {
    colour: f"var(--{name}, {colour})" for name, colour in LIGHT.items() if name not in {"accent", "surface"}
}
_COLOUR: Final = re.compile("|".join(_NAMES))
_SHAPES: Final = {"path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "image"}
_WORDS: Final = {"text", "tspan"}
_GROUPS: Final = {"svg", "g", "defs", "clippath", "use", "symbol", "marker"}
_FILLS: Final = {"lineargradient", "radialgradient", "stop"}
_ELEMENTS: Final = _SHAPES | _WORDS | _GROUPS | _FILLS


def theme(svg: str) -> str:
    """Turn matplotlib's SVG document into one that can stand in a page.

    Prologue, comments, the page-wide style rule and the ids of groups go; coordinates keep two decimals; palette colours
    become CSS variables with the light colour as fallback; text is set in the reader's own sans-serif. Only tags are touched,
    never text.
    """
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = _TAG.sub(lambda match: _theme_tag(match[0]), svg)
    svg = re.sub(r">\s*\n\s*<", ">\n<", svg)
    svg = _USES.sub(_share_style, svg)
    svg = svg.replace("<svg ", '<svg stroke-linejoin="round" stroke-linecap="butt" ', 1)
    return svg.replace("<defs>\n</defs>\n", "")


def _theme_tag(tag: str) -> str:
    if tag.startswith("<g "):
        tag = re.sub(r' id="[^"]*"', "", tag)
    tag = tag.replace("'DejaVu Sans'", SANS)
    tag = _LONG_NUMBER.sub(lambda match: f"{float(match[0]):.2f}", tag)
    return _COLOUR.sub(lambda match: _NAMES[match[0]], tag)


def _share_style(match: re.Match[str]) -> str:
    """Points drawn alike say so once: thousands of them take a third of the bytes."""
    attributes, uses, style = match.groups()
    points = uses.replace(f' style="{style}"', "")
    return f'<g{attributes} style="{style}">\n{points}</g>'


def embed(svg: str, *, alt: str, prefix: str) -> str:
    """Markup for a page that holds several figures: described, its ids made its own by ``prefix``.

    Raises:
        DataError: The SVG holds a script, an event handler, a foreign element, or a reference to another file.
    """
    svg = svg.strip()
    _Guard().inspect(svg)

    def own(match: re.Match[str]) -> str:
        return re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{prefix}-", match[0])

    label = f'<svg role="img" aria-label="{escape(alt)}" '
    return _TAG.sub(own, svg).replace("<svg ", label, 1)


class _Guard(HTMLParser):
    """Refuses an SVG that could run code, load something, or break out of its figure."""

    def inspect(self, svg: str) -> None:
        """Check the whole text."""
        self.open: list[str] = []
        if not (svg.startswith("<svg ") and svg.endswith("</svg>") and svg.lower().count("</svg") == 1):
            self._refuse("other text")
        self.feed(svg)
        self.close()
        if self.open:
            self._refuse(f"<{self.open[-1]}> without its end")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Elements and attributes, by name and by what they point to."""
        if tag not in _ELEMENTS or (tag == "svg" and self.open):
            self._refuse(f"the element <{tag}>")
        self.open.append(tag)
        for name, value in attrs:
            text = (value or "").strip().lower()
            points = name.rpartition(":")[2] in {"href", "src"}
            outside = points and not text.startswith(("#", "data:image/png;base64,"))
            if name.startswith("on") or outside or re.search(r"url\((?!#)|@import|image-set", text):
                self._refuse(f"the attribute {name}={value!r:.60}")

    def handle_endtag(self, tag: str) -> None:
        """Ends match beginnings, so that nothing closes the page around the figure."""
        if not self.open or self.open.pop() != tag:
            self._refuse(f"a stray </{tag}>")

    def handle_comment(self, data: str) -> None:
        """Comments have no business here."""
        self._refuse(f"a comment {data!r:.60}")

    def handle_decl(self, decl: str) -> None:
        """Nor have declarations."""
        self._refuse(f"a declaration {decl!r:.60}")

    def handle_pi(self, data: str) -> None:
        """Nor have processing instructions."""
        self._refuse(f"an instruction {data!r:.60}")

    def unknown_decl(self, data: str) -> None:
        """Nor have marked sections."""
        self._refuse(f"a section {data!r:.60}")

    def _refuse(self, found: str) -> None:
        expected = "one <svg> element that neither runs code nor loads anything"
        raise DataError("figure", expected=expected, found=found, do="Draw it with usermodel.report.figures.")
