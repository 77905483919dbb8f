"""The book's drawings: one palette, one way to show a picture, the map of BERT;
and the recorded results that chapters draw.

Chapters draw with these in cells whose input is folded. Nothing in the package
imports this module, and it imports nothing of the package. It needs matplotlib
(`pip install "minibert-book[book]"`).
"""

import io
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image

__all__ = [
    "COLOURS",
    "bert_map",
    "heatmap",
    "mask_grid",
    "new",
    "qa_map",
    "recorded",
    "recorded_names",
    "show",
    "transformer_map",
]

# Okabe and Ito's palette (2008): told apart by colour-blind eyes, and in grey.
COLOURS = {
    "token": "#0072B2",
    "segment": "#E69F00",
    "position": "#009E73",
    "query": "#D55E00",
    "key": "#56B4E9",
    "value": "#CC79A7",
    "layer": "#44546A",
    "masked": "#333333",
    "special": "#8C8C8C",
    "padding": "#D9D9D9",
    "ink": "#222222",
    "faint": "#9A9A9A",
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
                edgecolor=COLOURS["key"] if allowed else COLOURS["padding"],
            )
        )  # fmt: skip
    ax.set_xlim(-0.6, grid.shape[1] - 0.4)
    ax.set_ylim(grid.shape[0] - 0.4, -0.6)
    ax.set_aspect("equal")
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    ax.spines[:].set_visible(False)


def _box(
    ax: Axes, x: float, y: float, w: float, h: float, text: str, colour: str, lit: bool,
    size: float = 10, pale: bool = False,
) -> None:  # fmt: skip
    face = colour if lit else COLOURS["card"]
    ax.add_patch(
        FancyBboxPatch(
            (x, y), w, h, boxstyle="round,pad=0,rounding_size=0.09", linewidth=1.2,
            facecolor=face, edgecolor=colour if lit else COLOURS["faint"],
            alpha=0.25 if pale and lit else 1.0, zorder=1 if pale else 2,
        )
    )  # fmt: skip
    if text:
        ink = "white" if lit and not pale else COLOURS["ink"] if lit else "#6A6A6A"
        weight = "bold" if lit else "normal"
        ax.text(
            x + w / 2, y + h / 2, text, ha="center", va="center", color=ink,
            fontsize=size, fontweight=weight, zorder=3,
        )  # fmt: skip


def _arrow(ax: Axes, x: float, y0: float, y1: float, x1: float | None = None) -> None:
    ax.add_patch(
        FancyArrowPatch(
            (x, y0), (x if x1 is None else x1, y1), arrowstyle="-|>", mutation_scale=9,
            linewidth=1.0, color=COLOURS["faint"], zorder=1,
        )
    )  # fmt: skip


PARTS = {
    "text": "the text",
    "tokens": "its tokens",
    "token": "token embeddings",
    "segment": "segment embeddings",
    "position": "position embeddings",
    "attention": "self-attention",
    "feed-forward": "feed-forward",
    "encoder": "the stack of layers",
    "pooler": "the pooler",
    "mlm": "the masked-word head",
    "nsp": "the next-sentence head",
    "qa": "the answer head",
    "class": "the classification head",
    "sentence": "the sentence vector",
}


def bert_map(*lit: str) -> tuple[Figure, str]:
    """Draw the whole of BERT, from text (bottom) to heads (top).

    Args:
        *lit: the parts to light up, out of `text`, `tokens`, `token`, `segment`,
            `position`, `attention`, `feed-forward`, `encoder`, `pooler`, `mlm`,
            `nsp`, `qa`, `class`, `sentence`; none lights them all.

    Returns:
        The figure and its alternative text, for `show(*bert_map("attention"))`.

    Raises:
        ValueError: a part is unknown.
    """
    unknown = set(lit) - set(PARTS)
    if unknown:
        raise ValueError(f"unknown part {sorted(unknown)}; there are {list(PARTS)}")
    on = set(lit) or set(PARTS)
    fig, ax = new(6.4, 6.0)
    ax.set_xlim(0, 10)
    ax.set_ylim(0, 10.1)
    ax.axis("off")
    words = ["[CLS]", "who", "bit", "?", "[SEP]", "the", "dog", "bit", "[SEP]"]
    special = {0, 4, 8}
    left, step = 1.72, 0.905

    _box(ax, left, 0.05, 8.1, 0.62, "who bit?     the dog bit", COLOURS["ink"], "text" in on)
    _arrow(ax, 5.8, 0.7, 1.0)
    for i, word in enumerate(words):
        colour = COLOURS["special"] if i in special else COLOURS["token"]
        _box(ax, left + i * step, 1.02, 0.84, 0.62, word, colour, "tokens" in on, 9)
    ax.text(left - 0.15, 1.33, "tokens", ha="right", va="center", fontsize=10)

    rows = [("token", 1.98), ("segment", 2.68), ("position", 3.38)]
    for name, y in rows:
        ax.text(left - 0.15, y + 0.28, name, ha="right", va="center", fontsize=10)
        for i in range(len(words)):
            label = {"token": "T", "segment": "A" if i < 5 else "B", "position": str(i)}[name]
            _box(ax, left + i * step, y, 0.84, 0.56, label, COLOURS[name], name in on, 9)
        if y > 2:
            ax.text(5.8, y - 0.075, "+", ha="center", va="center", fontsize=10)
    _arrow(ax, 5.8, 3.96, 4.42)

    _box(ax, left - 0.1, 4.45, 8.3, 2.35, "", COLOURS["ink"], "encoder" in on, pale=True)
    ax.text(left - 0.2, 5.6, "× L\nlayers", ha="right", va="center", fontsize=10)
    lit_a = bool({"attention", "encoder"} & on)
    lit_f = bool({"feed-forward", "encoder"} & on)
    _box(ax, 2.1, 4.65, 7.3, 0.85, "self-attention, add, norm", COLOURS["layer"], lit_a)
    _box(ax, 2.1, 5.72, 7.3, 0.85, "feed-forward, add, norm", COLOURS["layer"], lit_f)
    _arrow(ax, 5.8, 5.5, 5.72)
    _arrow(ax, 5.8, 6.82, 7.18)

    for i in range(len(words)):
        _box(ax, left + i * step, 7.2, 0.84, 0.56, f"$h_{i}$", COLOURS["ink"], "encoder" in on, 9)
    ax.text(left - 0.15, 7.48, "vectors", ha="right", va="center", fontsize=10)

    _arrow(ax, left + 0.2, 7.78, 8.08)
    _box(ax, left, 8.1, 1.55, 0.56, "pooler", COLOURS["layer"], "pooler" in on, 9.5)
    heads = [
        ("nsp", "next\nsentence?", left), ("class", "which\nclass?", left + 1.65),
        ("mlm", "which word\nis hidden?", left + 3.3), ("qa", "where is\nthe answer?", left + 4.95),
        ("sentence", "sentence\nvector", left + 6.6),
    ]  # fmt: skip
    for name, label, x in heads:
        _box(ax, x, 9.05, 1.55, 0.95, label, COLOURS["masked"], name in on, 8.5)
    _arrow(ax, left + 0.6, 8.68, 9.03)
    _arrow(ax, left + 0.95, 8.68, 9.03, left + 2.4)
    middles = [left + 0.42 + i * step for i in range(len(words))]
    for x in middles:  # all vectors go to the other three heads
        ax.plot([x, x], [7.8, 7.93], color=COLOURS["faint"], lw=1, zorder=1)
    ax.plot([middles[0], middles[-1]], [7.93, 7.93], color=COLOURS["faint"], lw=1, zorder=1)
    for _, _, x in heads[2:]:
        _arrow(ax, x + 0.775, 7.91, 9.03)
    ax.text(left - 0.15, 9.5, "heads", ha="right", va="center", fontsize=10)

    parts = ", ".join(PARTS[name] for name in PARTS if name in on) if lit else "every part"
    alt = f"""Map of BERT from bottom to top: text, tokens, token plus segment plus
        position embeddings, L layers of self-attention and feed-forward, one vector for
        each token; heads for next sentence and class on the first vector, by way of the
        pooler, and for masked word, answer and sentence vector on all. Lit up here: {parts}."""
    return fig, " ".join(textwrap.dedent(alt).split())


def transformer_map() -> tuple[Figure, str]:
    """Draw the encoder and the decoder side by side, for `show(*transformer_map())`.

    Returns:
        The figure and its alternative text.
    """
    fig, ax = new(6.4, 4.6)
    ax.set_xlim(0, 10)
    ax.set_ylim(0, 7.6)
    ax.axis("off")
    layer, ink = COLOURS["layer"], COLOURS["ink"]
    _box(ax, 0.55, 1.95, 3.9, 2.75, "", ink, True, pale=True)
    _box(ax, 5.55, 1.95, 3.9, 4.05, "", ink, True, pale=True)
    parts = [
        (0.8, 0.0, "third of march …", ink, False), (5.8, 0.0, "^ 1 9 8", ink, False),
        (0.8, 0.95, "tokens + positions", COLOURS["token"], True),
        (5.8, 0.95, "tokens + positions", COLOURS["token"], True),
        (0.8, 2.25, "self-attention", layer, True), (0.8, 3.55, "feed-forward", layer, True),
        (5.8, 2.25, "causal self-attention", layer, True),
        (5.8, 3.55, "cross-attention", COLOURS["query"], True),
        (5.8, 4.85, "feed-forward", layer, True),
        (5.8, 6.5, "1 9 8 4", ink, False),
    ]  # fmt: skip
    for x, y, label, colour, lit in parts:
        _box(ax, x, y, 3.4, 0.75, label, colour, lit)
    for x, y0, y1 in [
        (2.5, 0.75, 0.95), (2.5, 1.7, 2.25), (2.5, 3.0, 3.55), (7.5, 0.75, 0.95),
        (7.5, 1.7, 2.25), (7.5, 3.0, 3.55), (7.5, 4.3, 4.85), (7.5, 5.6, 6.5),
    ]:  # fmt: skip
        _arrow(ax, x, y0, y1)
    ax.plot([2.5, 2.5, 5.0, 5.0], [4.3, 5.2, 5.2, 3.92], color=COLOURS["query"], lw=1.6)
    ax.add_patch(
        FancyArrowPatch(
            (5.0, 3.92), (5.8, 3.92), arrowstyle="-|>", mutation_scale=11, linewidth=1.6,
            color=COLOURS["query"], shrinkA=0, shrinkB=0,
        )
    )  # fmt: skip
    ax.text(3.6, 5.35, "keys, values", color=COLOURS["query"], ha="center", fontsize=9.5)
    ax.text(0.42, 3.3, "encoder", rotation=90, ha="right", va="center")
    ax.text(9.6, 3.9, "decoder", rotation=270, ha="left", va="center")
    alt = (
        "The transformer. Left, the encoder reads the spoken date: tokens plus positions, "
        "self-attention, feed-forward. Right, the decoder reads the characters written so "
        "far: tokens plus positions, causal self-attention, cross-attention to the "
        "encoder's output (keys and values), feed-forward, and gives each next character."
    )
    return fig, alt


def qa_map(
    pieces: Sequence[str], starts: Sequence[float], ends: Sequence[float]
) -> tuple[Figure, str]:
    """Draw BERT answering a question, from the pair (bottom) to the span (top).

    Args:
        pieces: S of them: [CLS], a question, [SEP], a text, [SEP]; two dozen at most.
        starts: S probabilities that the answer begins there.
        ends: S that it ends there.

    Returns:
        The figure and its alternative text.
    """
    fig, ax = new(6.4, 4.8)
    ax.set_xlim(0, 10)
    ax.set_ylim(-0.9, 7.4)
    ax.axis("off")
    size, border, left = len(pieces), list(pieces).index("[SEP]"), 0.25
    step = 9.6 / size
    middle = [left + (i + 0.45) * step for i in range(size)]
    for i, piece in enumerate(pieces):
        colour = COLOURS["segment" if i > border else "token"]
        if piece in ("[CLS]", "[SEP]"):
            colour = COLOURS["special"]
        _box(ax, left + i * step, -0.3, 0.92 * step, 1.45, "", colour, True)
        ax.text(middle[i], 0.42, piece, rotation=90, ha="center", va="center",
                color="white", fontsize=9, fontweight="bold")  # fmt: skip
        _arrow(ax, middle[i], 1.17, 1.5)
        _box(ax, left + i * step, 3.2, 0.92 * step, 0.55, f"$h_{{{i}}}$", COLOURS["ink"], False, 8)
        _arrow(ax, middle[i], 2.9, 3.18)
    _box(ax, left, 1.52, 9.6 - 0.08 * step, 1.36, "BERT", COLOURS["layer"], True, 13)
    for y, text, heights, name in [
        (4.3, "begins here?", starts, "query"), (5.6, "ends here?", ends, "token"),
    ]:  # fmt: skip
        ax.bar(middle, [0.9 * x for x in heights], bottom=y, width=0.7 * step,
               color=COLOURS[name])  # fmt: skip
        ax.plot([left, left + 9.6], [y, y], color=COLOURS["faint"], lw=1)
        ax.text(left, y + 0.5, text, color=COLOURS[name], fontsize=9.5)
    for first, last, text, name in [
        (1, border - 1, "the question", "token"), (border + 1, size - 2, "the text", "segment"),
    ]:  # fmt: skip
        x = (middle[first] + middle[last]) / 2
        ax.text(x, -0.8, text, ha="center", color=COLOURS[name])
    first, last = int(np.argmax(starts)), int(np.argmax(ends))
    x0, x1 = left + first * step, left + (last + 0.92) * step
    ax.plot([x0, x0, x1, x1], [6.72, 6.85, 6.85, 6.72], color=COLOURS["ink"], lw=1.4)
    ax.text((x0 + x1) / 2, 6.95, "the answer", ha="center", fontweight="bold")
    alt = f"""BERT answering a question. Below, one row: {" ".join(pieces)}. Every token goes
        through BERT and comes out as a vector; from each vector two scores are computed, for
        the answer to begin there and to end there. The highest begin is at
        '{pieces[first]}', the highest end at '{pieces[last]}': the span between is the
        answer."""
    return fig, " ".join(alt.split())


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
