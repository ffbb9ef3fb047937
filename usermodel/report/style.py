"""Colours and style sheet of the report: light, dark, phone, desktop and paper.

A figure is drawn in the light colours and refers to them by name (``var(--series-1, #3979eb)``), so that one SVG
follows the page into the dark and still stands alone. The seven series colours keep a contrast of 3 : 1 to the page in both
schemes and, with the grey ``rest``, a distance of at least 20 (CIE 1976) under simulated deuteranopia, protanopia and
tritanopia (Machado et al. 2009); the embedding map adds a shape to each.
"""

from __future__ import annotations

from typing import Final

#: Name -> colour on a white page.
LIGHT: Final = {
    "paper": "#ffffff",
    "surface": "#f4f6f8",
    "ink": "#1b2027",
    "muted": "#58616c",
    "line": "#d4d9df",
    "accent": "#0b5cad",
    "rest": "#8a929b",
    "series-1": "#3979eb",
    "series-2": "#d87c16",
    "series-3": "#0fa768",
    "series-4": "#7b152c",
    "series-5": "#531c8c",
    "series-6": "#0f4767",
    "series-7": "#8a5b21",
}

#: The same names on a dark page.
DARK: Final = {
    "paper": "#13161a",
    "surface": "#1c2025",
    "ink": "#e7eaee",
    "muted": "#a0a9b4",
    "line": "#363c44",
    "accent": "#73b4f6",
    "rest": "#7d8691",
    "series-1": "#4e81f0",
    "series-2": "#eae677",
    "series-3": "#18dca1",
    "series-4": "#dc503f",
    "series-5": "#d2a6f7",
    "series-6": "#c2e7f2",
    "series-7": "#eb8a15",
}

SERIES: Final = tuple(LIGHT[f"series-{number}"] for number in range(1, 8))

#: Every font here is on the reader's machine already.
SANS: Final = (
    "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Liberation Sans', sans-serif"
)
_MONO: Final = (
    "ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', 'DejaVu Sans Mono', monospace"
)


def _variables(colours: dict[str, str]) -> str:
    return ":root{" + "".join(f"--{name}:{value};" for name, value in colours.items()) + "}"


_RULES: Final = """
*,*::before,*::after{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:400 1.0625rem/1.6 SANS;overflow-wrap:break-word}
header,main,footer{max-width:56rem;margin-inline:auto;padding-inline:1.5rem}
header{padding-top:3.5rem}
h1,h2{line-height:1.2;text-wrap:balance;letter-spacing:-.012em;font-weight:650}
h1{margin:0 0 .75rem;font-size:clamp(1.7rem,1.35rem + 1.6vw,2.35rem)}
h2{margin:0 0 .5rem;font-size:clamp(1.25rem,1.15rem + .5vw,1.5rem)}
p{margin:0 0 1rem;max-width:42rem;text-wrap:pretty}
h1{max-width:46rem}
.answer{font-size:clamp(1.15rem,1.05rem + .5vw,1.35rem);line-height:1.45;margin:0}
nav{margin-top:1.75rem;padding-block:.75rem;border-block:1px solid var(--line);font-size:.9375rem}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1.5rem;margin:0;padding:0;list-style:none}
nav a{display:inline-block;padding-block:.25rem}
a{color:var(--accent);text-underline-offset:.2em;text-decoration-thickness:1px}
a:hover{text-decoration-thickness:2px}
:focus-visible{outline:2px solid var(--accent);outline-offset:3px;border-radius:2px}
section{margin-top:3.25rem;scroll-margin-top:1rem}
.lead{color:var(--muted);margin-bottom:1.25rem}
figure{margin:1.75rem 0 2rem}
figcaption{color:var(--muted);font-size:.9375rem;line-height:1.5;max-width:38rem}
.picture svg{display:block;width:100%;max-width:35rem;height:auto}
.picture figcaption{margin-top:.625rem}
.grid figcaption{color:var(--ink);font-weight:600;margin-bottom:.5rem}
.scroll{overflow-x:auto;border-block:1px solid var(--line);
background:linear-gradient(to left,var(--paper) 1rem,transparent) right/2.5rem 100% no-repeat local,
linear-gradient(to left,var(--line),transparent) right/.75rem 100% no-repeat scroll}
table{border-collapse:separate;border-spacing:0;width:100%;font-size:.9375rem;line-height:1.4}
th,td{padding:.5rem .75rem;text-align:left;vertical-align:baseline}
th:first-child,td:first-child{padding-left:0}
th:last-child,td:last-child{padding-right:.25rem}
thead th{color:var(--muted);font-weight:600;white-space:nowrap;border-bottom:1px solid var(--line)}
tbody tr+tr>*{border-top:1px solid var(--line)}
tbody th{font-weight:400;position:sticky;left:0;background:var(--paper);min-width:7rem}
.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums lining-nums}
.note{color:var(--muted);font-size:.875rem;line-height:1.5;margin:.625rem 0 0}
pre{margin:1.25rem 0 1.5rem;padding:.875rem 1rem;overflow-x:auto;background:var(--surface);border-radius:6px;
font:400 .875rem/1.55 MONO;tab-size:4}
code{font:inherit}
dl{display:grid;grid-template-columns:minmax(8rem,auto) minmax(0,1fr);gap:.375rem 1.5rem;margin:1.25rem 0 1.5rem;font-size:.9375rem;max-width:46rem}
dt{color:var(--muted)}
dd{margin:0;font-variant-numeric:tabular-nums lining-nums}
footer{margin-block:4rem 3rem;color:var(--muted);font-size:.875rem}
footer p{margin:0 0 .375rem}
footer p:first-child{padding-top:1rem;border-top:1px solid var(--line)}
@media (max-width:36rem){
body{font-size:1rem}
header,main,footer{padding-inline:1rem}
header{padding-top:2rem}
section{margin-top:2.5rem}
nav ul{flex-direction:column;gap:0}
.picture svg{width:calc(100% + 1rem);margin-inline:-.5rem}
tbody th{max-width:45vw}
dl{grid-template-columns:minmax(0,1fr);gap:0}
dd{margin-bottom:.75rem}
}
@media print{
@page{margin:18mm 16mm}
body{font-size:10.5pt}
header,main,footer{max-width:none;padding-inline:0}
header{padding-top:0}
nav{display:none}
section{margin-top:1.75rem}
h2,.lead,.grid figcaption{break-after:avoid}
.picture,tr,pre,dl>*{break-inside:avoid}
.picture svg{max-width:11.5cm}
thead{display:table-header-group}
.scroll{overflow:visible;background:none}
table{font-size:9pt}
thead th,.number{white-space:normal}
tbody th{position:static}
pre{white-space:pre-wrap;border:1px solid var(--line)}
a{color:inherit;text-decoration:none}
}
"""

CSS: Final = (
    "".join(
        [
            ":root{color-scheme:light dark}",
            _variables(LIGHT),
            f"@media screen and (prefers-color-scheme:dark){{{_variables(DARK)}}}",
            _RULES.replace("SANS", SANS).replace("MONO", _MONO),
        ]
    )
).strip()
