"""Draw the logo, which is also the favicon: five words, each looking at the others.

python tools/logo.py        write book/static/logo.svg
"""

from __future__ import annotations

from itertools import combinations

from source import ROOT

PATH = ROOT / "book" / "static" / "logo.svg"
WORDS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"]  # the book's palette
LIT = 3  # the word whose looks are drawn bold


def svg() -> str:
    """The logo as text: dots on a line, an arc for each pair of them."""
    x = [6 + 13 * i for i in range(len(WORDS))]
    lines = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" role="img">']
    lines.append("<title>Five words, each looking at the others</title>")
    for i, j in sorted(combinations(range(len(WORDS)), 2), key=lambda pair: LIT in pair):
        colour, width = (WORDS[LIT], 2.6) if LIT in (i, j) else ("#9A9A9A", 1.4)
        radius = (x[j] - x[i]) / 2
        lines.append(
            f'<path d="M{x[i]} 46A{radius:g} {radius * 1.45:g} 0 0 1 {x[j]} 46"'
            f' fill="none" stroke="{colour}" stroke-width="{width}"/>'
        )
    for centre, colour in zip(x, WORDS, strict=True):
        lines.append(f'<circle cx="{centre}" cy="46" r="5.5" fill="{colour}"/>')
    return "\n".join([*lines, "</svg>\n"])


if __name__ == "__main__":
    PATH.write_text(svg(), encoding="utf-8")
    print(f"wrote {PATH.relative_to(ROOT)}")
