"""SVG that may stand in a page, and colours that follow it."""

import re

import numpy as np
import pytest

from usermodel.errors import DataError
from usermodel.report import figures
from usermodel.report.style import CSS, DARK, LIGHT, SERIES
from usermodel.report.svg import embed, theme


@pytest.mark.parametrize(
    "inner",
    [
        "<script>alert(1)</script>",
        "<foreignObject><p>x</p></foreignObject>",
        "<style>@import 'x'</style>",
        '<g onload="alert(1)"></g>',
        '<g OnClick="alert(1)"></g>',
        '<image href="http://evil.example/x.png"/>',
        '<image xlink:href="//evil.example/x.png"/>',
        '<image href="data:image/svg+xml;base64,AAAA"/>',
        '<a href="javascript:alert(1)"><text>x</text></a>',
        '<path style="fill: url(http://evil.example/x)"/>',
        '<path fill="url( &quot;//evil.example/x&quot; )"/>',
        '<use href="other.svg#a"/>',
        "</svg><p>x</p><svg >",
        "</figure>",
        "<g>",
        "</g>",
        "<svg ></svg>",
        "<!-- x -->",
        "<!DOCTYPE html>",
        "<?xml version='1.0'?>",
        "<![CDATA[<script>]]>",
        "<title><script>alert(1)</script></title>",
    ],
)
def test_unsafe_svg_is_refused(inner):
    with pytest.raises(DataError, match="figure: expected one <svg>"):
        embed(f'<svg viewBox="0 0 1 1">{inner}</svg>', alt="x", prefix="f1")


@pytest.mark.parametrize("text", ["", "plain", "<p>x</p>", "x<svg ></svg>", "<svg ></svg>x"])
def test_only_one_svg_is_accepted(text):
    with pytest.raises(DataError, match="figure"):
        embed(text, alt="x", prefix="f1")


def test_ids_belong_to_their_figure():
    svg = '<svg viewBox="0 0 1 1"><defs><path id="a"/></defs><use href="#a"/><g clip-path="url(#b)"><text>id="a" #a</text></g></svg>'
    got = embed(svg, alt='"quoted"', prefix="f7")
    assert '<path id="f7-a"/>' in got
    assert '<use href="#f7-a"/>' in got
    assert "url(#f7-b)" in got
    assert '<text>id="a" #a</text>' in got
    assert got.startswith('<svg role="img" aria-label="&quot;quoted&quot;" ')


def test_theme_touches_tags_only():
    blue = LIGHT["series-1"]
    raw = f'<?xml version="1.0"?>\n<!DOCTYPE svg>\n<svg width="1">\n <g id="axes_1">\n  <text style="fill: {blue}">{blue} 1.23456</text>\n </g>\n</svg>\n'
    got = theme(raw)
    assert f'style="fill: var(--series-1, {blue})">{blue} 1.23456</text>' in got
    assert got.startswith("<svg ")
    assert 'id="' not in got


def test_no_drawn_colour_is_left_outside_the_palette():
    drawn = [
        figures.learning_curve([{"loss": 1.0, "m": 0.1}, {"loss": 0.5, "m": 0.2}], "m"),
        figures.metric_bars(
            [("a", 0.1, 0.05, 0.2), ("b", float("nan"), None, None)],
            "m",
            highlight=["b"],
            references={"x": 0.1},
        ),
        figures.embedding_map(np.arange(40.0).reshape(20, 2), [*"abcdefghij", None, *"abcdefghi"], "t"),
        figures.histogram([1.0, 5.0, 9.0], "x", log=True, log_counts=True),
    ]
    for svg in drawn:
        tags = " ".join(re.findall(r"<[^>]+>", svg))
        bare = re.sub(r"var\(--[\w-]+, #\w{6}\)", "", tags)
        assert not re.search(r"#[0-9a-fA-F]{6}\b(?!\w)", re.sub(r'(href="#|url\(#)\w+', "", bare))


def luminance(colour: str) -> float:
    channels = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK])
def test_contrast_meets_wcag(colours):
    for name in ("ink", "muted", "accent"):
        assert contrast(colours[name], colours["paper"]) >= 4.5
        assert contrast(colours[name], colours["surface"]) >= 4.5
    for number in range(1, 8):
        assert contrast(colours[f"series-{number}"], colours["paper"]) >= 3
    assert contrast(colours["rest"], colours["paper"]) >= 3


# Machado, Oliveira and Fernandes (2009), severity 1.0
COLOUR_BLINDNESS = {
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}


def lab(colour: str, matrix: list[list[float]]) -> np.ndarray:
    channels = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(matrix) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ seen
    f = np.cbrt(xyz / [0.9505, 1, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("colours", [LIGHT, DARK])
@pytest.mark.parametrize("kind", COLOUR_BLINDNESS)
def test_series_stay_apart_for_colour_blind_readers(colours, kind):
    names = [*(f"series-{number}" for number in range(1, 8)), "rest"]
    seen = np.stack([lab(colours[name], COLOUR_BLINDNESS[kind]) for name in names])
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    assert apart[np.triu_indices(len(names), 1)].min() >= 20


def test_style_sheet_names_every_colour():
    assert LIGHT.keys() == DARK.keys()
    assert len(SERIES) == 7
    assert set(re.findall(r"var\(--([\w-]+)\)", CSS)) <= LIGHT.keys()
    assert CSS.count("{") == CSS.count("}")
