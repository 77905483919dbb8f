"""Draw the logo, which is also the favicon: five words, each looking at the others.

python tools/logo.py        write book/static/logo.svg, and preview.png beside it

The preview is what is shown where somebody shares a link to the site.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

from source import ROOT

PATH = ROOT / "book" / "static" / "logo.svg"
PREVIEW = PATH.with_name("preview.png")
WORDS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"]  # the book's palette
X = [6 + 13 * i for i in range(len(WORDS))]
LIT = 3  # the word whose looks are drawn bold
TITLE = "BERT from one matrix product up"
BELOW = "A book whose chapters write a tested library"


def arcs() -> list[tuple[int, int, str, float]]:
    """Where the arc of each pair starts and ends, its colour and width; the bold ones last."""
    pairs = sorted(combinations(range(len(WORDS)), 2), key=lambda pair: LIT in pair)
    return [
        (X[i], X[j], *((WORDS[LIT], 2.6) if LIT in (i, j) else ("#9A9A9A", 1.4)))
        for i, j in pairs
    ]


def svg() -> str:
    """The logo as text: dots on a line, an arc for each pair of them."""
    lines = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" role="img">']
    lines.append("<title>Five words, each looking at the others</title>")
    for start, end, colour, width in arcs():
        radius = (end - start) / 2
        lines.append(
            f'<path d="M{start} 46A{radius:g} {radius * 1.45:g} 0 0 1 {end} 46"'
            f' fill="none" stroke="{colour}" stroke-width="{width}"/>'
        )
    for centre, colour in zip(X, WORDS, strict=True):
        lines.append(f'<circle cx="{centre}" cy="46" r="5.5" fill="{colour}"/>')
    return "\n".join([*lines, "</svg>\n"])


def draw_preview(path: Path) -> None:
    """Write the preview: the logo, and the title below it; 1200 by 630, which previews have."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Arc, Circle

    figure = pyplot.figure(figsize=(12, 6.3), dpi=100, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-28, 92), ylim=(63, 0))
    axes.set_axis_off()
    for start, end, colour, width in arcs():
        size, middle = end - start, (start + end) / 2
        axes.add_patch(Arc((middle, 40), size, size * 1.2, theta1=180, theta2=360,
                           edgecolor=colour, linewidth=width * 6))  # fmt: skip
    for centre, colour in zip(X, WORDS, strict=True):
        axes.add_patch(Circle((centre, 40), 5, color=colour, zorder=2))
    axes.text(32, 52.5, TITLE, ha="center", fontsize=40, weight="bold", color="#222222")
    axes.text(32, 59, BELOW, ha="center", fontsize=26, color="#555555")
    figure.savefig(path, metadata={"Software": None})


if __name__ == "__main__":
    PATH.write_text(svg(), encoding="utf-8")
    draw_preview(PREVIEW)
    print(f"wrote {PATH.relative_to(ROOT)} and {PREVIEW.relative_to(ROOT)}")
