"""The book's pictures: one palette, one way to show a picture, heat maps; and the
recorded results that chapters draw. What BERT looks like is drawn by `diagrams`.

Chapters draw with these in cells whose input is folded. In the package only `diagrams`
imports this module. It needs matplotlib (`pip install "minibert-book[book]"`).
"""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from minibert.moved import moved

if not TYPE_CHECKING:  # names of 0.2
    __getattr__ = moved(__name__)

__all__ = [
    "COLOURS",
    "heatmap",
    "ink_on",
    "mask_grid",
    "new",
    "recorded",
    "recorded_names",
    "show",
]

# Okabe and Ito's hues (2008), told apart by colour-blind eyes; here so dark that each
# stands out from the card, and so far apart in lightness that grey print tells them apart.
COLOURS = {
    "token": "#0468A2",
    "segment": "#C38600",
    "position": "#02543C",
    "query": "#BA5101",
    "key": "#069CD6",
    "value": "#872E64",
    "layer": "#44546A",
    "masked": "#333333",
    "special": "#767676",
    "padding": "#D9D9D9",
    "ink": "#222222",
    "faint": "#949494",
    "card": "#FFFFFF",
}

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": COLOURS["faint"],
    "axes.labelcolor": COLOURS["ink"],
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["ink"],
    "ytick.color": COLOURS["ink"],
    "figure.facecolor": COLOURS["card"],
    "axes.facecolor": COLOURS["card"],
    "legend.frameon": False,
    "axes.grid": False,
}


def new(
    width: float = 6.4, height: float = 3.6, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, Any]:
    """Make a figure in the book's style: like `plt.subplots`, sized in inches.

    Args:
        width: inches; 6.4 fills the page's column and stays legible on a phone.
        height: inches.
        rows: rows of axes.
        columns: columns of axes.
        **options: passed on to `plt.subplots`.

    Returns:
        The figure and its axes (one, or an array).
    """
    with plt.rc_context(STYLE):
        return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", **options)


def show(fig: Figure, alt: str) -> None:
    """Show `fig` as a PNG with alternative text, and close it.

    Args:
        fig: the picture.
        alt: one or two sentences for who cannot see it, built from the plotted numbers.

    Raises:
        ValueError: `alt` is empty.
    """
    if not alt.strip():
        raise ValueError("a picture needs alternative text: show(fig, alt)")
    from IPython import display

    file = io.BytesIO()
    fig.savefig(
        file,
        format="png",
        dpi=150,
        bbox_inches="tight",
        facecolor=COLOURS["card"],
        metadata={"Software": None},
    )
    plt.close(fig)
    text = " ".join(alt.split())
    display.display(  # type: ignore[no-untyped-call]
        display.Image(light(file.getvalue()), alt=text),  # type: ignore[no-untyped-call]
        metadata={"image/png": {"alt": text}},
    )


def light(png: bytes) -> bytes:
    """Store an opaque PNG with 256 colours, which look the same in a third of the bytes."""
    file = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture = picture.quantize(256, kmeans=1, dither=Image.Dither.NONE)
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def ink_on(colour: str) -> str:
    """Give the colour of text that stands out from a box of `colour`."""
    light = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in to_rgb(colour)]
    return "white" if np.dot([0.2126, 0.7152, 0.0722], light) < 0.19 else COLOURS["ink"]


def heatmap(
    ax: Axes,
    values: Any,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    number: str | None = None,
    low: float = 0.0,
    high: float = 1.0,
    colours: str = "Blues",
) -> None:
    """Draw a matrix on `ax` with a word beside each row and above each column.

    Args:
        ax: where to draw.
        values: (R, C), anything that numpy reads.
        rows: R labels.
        columns: C labels.
        number: a format such as `".2f"` to print each value in its cell.
        low: the value of the palest colour.
        high: the value of the darkest colour.
        colours: a matplotlib colour map.
    """
    grid = np.asarray(values, dtype=float)
    ax.imshow(grid, cmap=colours, vmin=low, vmax=high, aspect="auto")
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    ax.spines[:].set_visible(False)
    if number is not None:
        dark = low + 0.6 * (high - low)
        for (i, j), value in np.ndenumerate(grid):
            colour = "white" if value > dark else COLOURS["ink"]
            ax.text(j, i, format(value, number), ha="center", va="center", color=colour)


def mask_grid(ax: Axes, mask: Any, rows: Sequence[str], columns: Sequence[str]) -> None:
    """Draw a boolean mask: filled where a query (row) may look at a key (column).

    Args:
        ax: where to draw.
        mask: (S, S), True where looking is allowed.
        rows: S labels of the queries.
        columns: S labels of the keys.
    """
    grid = np.asarray(mask, dtype=bool)
    for (i, j), allowed in np.ndenumerate(grid):
        ax.add_patch(
            FancyBboxPatch(
                (j - 0.4, i - 0.4), 0.8, 0.8, boxstyle="round,pad=0,rounding_size=0.12",
                facecolor=COLOURS["key"] if allowed else COLOURS["card"],
                edgecolor=COLOURS["key" if allowed else "faint"],
            )
        )  # fmt: skip
    ax.set_xlim(-0.6, grid.shape[1] - 0.4)
    ax.set_ylim(grid.shape[0] - 0.4, -0.6)
    ax.set_aspect("equal")
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    ax.spines[:].set_visible(False)


def results_folder() -> Path:
    """Give the folder of the records.

    An installed package has it in itself, a checkout beside it: a notebook that travels
    alone asks no network.
    """
    package = Path(__file__).resolve().parent
    inside = package / "results"
    return inside if inside.is_dir() else package.parent / "results"


def recorded_names() -> list[str]:
    """List what `recorded` can read."""
    return sorted(path.stem for path in results_folder().glob("*.json"))


def recorded(name: str) -> Any:
    """Read `results/NAME.json`: what a run said that no page can wait for."""
    return json.loads((results_folder() / f"{name}.json").read_text(encoding="utf-8"))
