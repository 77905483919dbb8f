"""Drawings of BERT and its parts: the map of the whole, rows of embeddings, attention as
arrows, the heads.

Each gives a figure and its alternative text, for `figures.show`. Chapters draw with these in
cells whose input is folded; nothing in the package imports this module.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Bezier

from minibert.figures import COLOURS, ink_on, new

__all__ = [
    "attention_arrows",
    "bert_map",
    "embedding_rows",
    "heads_map",
    "qa_map",
    "transformer_map",
]


def _start(
    ax: Axes | None, width: float, height: float, top: float, bottom: float = 0.0
) -> tuple[Figure, Axes]:
    """Begin a drawing ten units wide, on `ax` or on a figure of its own."""
    if ax is None:
        ax = cast(Axes, new(width, height)[1])
    ax.set_xlim(0, 10)
    ax.set_ylim(bottom, top)
    ax.axis("off")
    return cast(Figure, ax.figure), ax


def _box(
    ax: Axes, x: float, y: float, w: float, h: float, text: str, colour: str, lit: bool = True,
    size: float = 10, pale: bool = False, turn: int = 0,
) -> None:  # fmt: skip
    face = colour if lit else COLOURS["card"]
    ax.add_patch(
        FancyBboxPatch(
            (x, y), w, h, boxstyle="round,pad=0,rounding_size=0.09", linewidth=1.2,
            facecolor=face, edgecolor=colour if lit else COLOURS["faint"],
            alpha=0.25 if pale and lit else 1.0, zorder=1 if pale else 2,
        )
    )  # fmt: skip
    ax.text(
        x + w / 2, y + h / 2, text, ha="center", va="center", rotation=turn,
        color=ink_on(colour) if lit else "#6A6A6A",
        fontsize=size, fontweight="bold" if lit else "normal", zorder=3,
    )  # fmt: skip


def _row(
    ax: Axes, y: float, h: float, texts: Sequence[str], colours: str | Sequence[str],
    lit: bool = True, size: float = 8.5, left: float = 1.72, right: float = 9.86, turn: int = 0,
) -> list[float]:  # fmt: skip
    """Draw a box for each text from `left` to `right`; give the middles."""
    step = (right - left) / len(texts)
    if isinstance(colours, str):
        colours = [colours] * len(texts)
    for i, (text, colour) in enumerate(zip(texts, colours, strict=True)):
        _box(ax, left + i * step, y, 0.92 * step, h, text, colour, lit, size, turn=turn)
    return [left + (i + 0.46) * step for i in range(len(texts))]


def _piece_colours(pieces: Sequence[str], second: str = "token") -> list[str]:
    """Give the colour of each piece; `second` is for what follows the first [SEP]."""
    after = [i > list(pieces).index("[SEP]") for i in range(len(pieces))]
    special = {"[CLS]": "special", "[SEP]": "special", "[MASK]": "masked"}
    return [
        COLOURS[special.get(piece, second if later else "token")]
        for piece, later in zip(pieces, after, strict=True)
    ]


def _side(ax: Axes, y: float, text: str) -> None:
    ax.text(1.57, y, text, ha="right", va="center", fontsize=8.5, linespacing=1.1)


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


def bert_map(*lit: str, sizes: Any = None, ax: Axes | None = None) -> tuple[Figure, str]:
    """Draw the whole of BERT, from text (bottom) to heads (top).

    Args:
        *lit: the parts to light up, out of `text`, `tokens`, `token`, `segment`,
            `position`, `attention`, `feed-forward`, `encoder`, `pooler`, `mlm`,
            `nsp`, `qa`, `class`, `sentence`; none lights them all.
        sizes: a `BertConfig`; the map then says how large each table and matrix is.
        ax: where to draw; None makes a figure. So it is for all maps here.

    Returns:
        The figure and its alternative text, for `show(*bert_map("attention"))`.

    Raises:
        ValueError: a part is unknown.
    """
    unknown = set(lit) - set(PARTS)
    if unknown:
        raise ValueError(f"unknown part {sorted(unknown)}; there are {list(PARTS)}")
    on = set(lit) or set(PARTS)
    fig, ax = _start(ax, 5.4, 5.6, 10.1)
    words = ["[CLS]", "who", "bit", "?", "[SEP]", "the", "dog", "bit", "[SEP]"]
    shapes = _shapes(sizes, len(words)) if sizes else {}
    more = {name: "\n" + shape for name, shape in shapes.items()}

    _box(ax, 1.72, 0.05, 8.1, 0.62, "who bit?     the dog bit", COLOURS["ink"], "text" in on)
    _arrow(ax, 5.8, 0.7, 1.0)
    _row(ax, 1.02, 0.62, words, _piece_colours(words), "tokens" in on, 8)
    _side(ax, 1.33, "tokens")
    rows = {"token": ["T"] * 9, "segment": [*"AAAAABBBB"], "position": [*"012345678"]}
    for y, (name, labels) in zip((1.98, 2.68, 3.38), rows.items(), strict=True):
        _side(ax, y + 0.28, name + more.get(name, ""))
        _row(ax, y, 0.56, labels, COLOURS[name], name in on)
        if name != "token":
            ax.text(5.8, y - 0.075, "+", ha="center", va="center", fontsize=10)
    _arrow(ax, 5.8, 3.96, 4.42)

    _box(ax, 1.62, 4.45, 8.3, 2.35, "", COLOURS["ink"], "encoder" in on, pale=True)
    _side(ax, 5.6, f"× {sizes.num_hidden_layers if sizes else 'L'}\nlayers")
    for y, name in (4.65, "attention"), (5.72, "feed-forward"):
        text = f"{PARTS[name]}, add, norm{more.get(name, '')}"
        _box(ax, 2.1, y, 7.3, 0.85, text, COLOURS["layer"], bool({name, "encoder"} & on), 9.5)
    _arrow(ax, 5.8, 5.5, 5.72)
    _arrow(ax, 5.8, 6.82, 7.18)

    vectors = [f"$h_{i}$" for i in range(len(words))]
    middles = _row(ax, 7.2, 0.56, vectors, COLOURS["ink"], "encoder" in on)
    _side(ax, 7.48, "vectors" + more.get("vectors", ""))

    _arrow(ax, 1.92, 7.78, 8.08)
    _box(ax, 1.72, 8.1, 1.55, 0.56, "pooler", COLOURS["layer"], "pooler" in on, 9)
    _side(ax, 8.38, shapes.get("pooler", ""))
    heads = {
        "nsp": "next\nsentence?", "class": "which\nclass?", "mlm": "which word\nis hidden?",
        "qa": "where is\nthe answer?", "sentence": "sentence\nvector",
    }  # fmt: skip
    for i, (name, label) in enumerate(heads.items()):
        x = 1.72 + 1.65 * i
        text = label + more.get(name, "")
        _box(ax, x, 9.05, 1.55, 1.0, text, COLOURS["masked"], name in on, 7.5)
        if i > 1:
            _arrow(ax, x + 0.775, 7.91, 9.03)
    _arrow(ax, 2.32, 8.68, 9.03)
    _arrow(ax, 2.67, 8.68, 9.03, 4.12)
    for x in middles:  # all vectors go to the other three heads
        ax.plot([x, x], [7.8, 7.93], color=COLOURS["faint"], lw=1, zorder=1)
    ax.plot([middles[0], middles[-1]], [7.93, 7.93], color=COLOURS["faint"], lw=1, zorder=1)
    _side(ax, 9.5, "heads")

    parts = ", ".join(PARTS[name] for name in PARTS if name in on) if lit else "every part"
    alt = f"""Map of BERT from bottom to top: text, tokens, token plus segment plus
        position embeddings, L layers of self-attention and feed-forward, one vector for
        each token; heads for next sentence and class on the first vector, by way of the
        pooler, and for masked word, answer and sentence vector on all. Lit up here: {parts}."""
    if sizes:
        told = "; ".join(f"{PARTS.get(k, k)} {shape}" for k, shape in shapes.items())
        alt += f" Sizes, with L = {sizes.num_hidden_layers}: {told}."
    return fig, " ".join(alt.split())


def _shapes(sizes: Any, count: int) -> dict[str, str]:
    """Say how large the tables, matrices and outputs are, with `count` tokens."""
    words, wide, inner = sizes.vocab_size, sizes.hidden_size, sizes.intermediate_size
    heads = sizes.num_attention_heads
    return {
        "token": f"{words:,} × {wide}",
        "segment": f"{sizes.type_vocab_size} × {wide}",
        "position": f"{sizes.max_position_embeddings} × {wide}",
        "attention": f"4 matrices {wide} × {wide}; {heads} heads of {wide // heads}",
        "feed-forward": f"{wide} × {inner:,} and {inner:,} × {wide}",
        "vectors": f"{count} × {wide}",
        "pooler": f"{wide} × {wide}",
        "nsp": f"{wide} × 2",
        "class": f"{wide} × k",
        "mlm": f"{wide} × {words:,}",
        "qa": f"{wide} × 2",
        "sentence": "the mean",
    }


def attention_arrows(
    words: Sequence[str], weights: Sequence[float], query: int, *, ax: Axes | None = None
) -> tuple[Figure, str]:
    """Draw from one word an arrow to each word that it looks at, as thick as the weight.

    Args:
        words: S of them.
        weights: S, how much the query looks at each.
        query: which word looks.
        ax: as in `bert_map`.

    Returns:
        The figure and its alternative text.
    """
    fig, ax = _start(ax, 5.4, 2.3, 3.2, -0.75)
    colours = [COLOURS["query" if i == query else "key"] for i in range(len(words))]
    at = _row(ax, 0, 0.75, words, colours, size=11, left=0.1, right=9.98)
    high = 2.9 / max(abs(x - at[query]) for x in at)
    for i, weight in enumerate(weights):
        reach = at[i] - at[query]
        start, end, lean = at[query] + 0.07 * reach, at[i], 0.1 * reach
        top = 0.8 + high * abs(reach)
        if i == query:  # a loop
            start, end, lean, top = at[i] - 0.2, at[i] + 0.2, -0.35, 1.7
        path = Bezier([(start, 0.8), (start + lean, top), (end - lean, top), (end, 0.8)],
                      [1, 4, 4, 4])  # fmt: skip
        ax.add_patch(
            FancyArrowPatch(
                path=path, arrowstyle="-|>", mutation_scale=8 + 12 * weight,
                linewidth=0.8 + 6 * weight, color=COLOURS["query"], shrinkA=0, shrinkB=0,
                zorder=1 + weight,
            )
        )  # fmt: skip
        ax.text(at[i], -0.42, f"{weight:.0%}", ha="center", va="center", fontsize=11)
    told = ", ".join(f"{word} {x:.0%}" for word, x in zip(words, weights, strict=True))
    return fig, (
        f"Arrows over the words {' '.join(words)}: from '{words[query]}' to each word, itself "
        f"among them, as thick as its weight: {told}."
    )


def embedding_rows(
    pieces: Sequence[str], ids: Sequence[int], types: Sequence[int], *, ax: Axes | None = None
) -> tuple[Figure, str]:
    """Draw which row of each table BERT adds for each token.

    Args:
        pieces: S tokens, a dozen at most.
        ids: S rows of the token table.
        types: S rows of the segment table, 0 or 1.
        ax: as in `bert_map`.

    Returns:
        The figure and its alternative text.
    """
    fig, ax = _start(ax, 5.4, 3.0, 5.5)
    size = len(pieces)
    rows: list[tuple[str, Sequence[object], str | list[str]]] = [
        ("tokens", pieces, _piece_colours(pieces)),
        ("token row", ids, COLOURS["token"]),
        ("+ segment", types, COLOURS["segment"]),
        ("+ position", range(size), COLOURS["position"]),
        ("= vector", [f"$x_{{{i}}}$" for i in range(size)], COLOURS["ink"]),
    ]
    for (name, labels, colour), y in zip(rows, (0.1, 1.3, 2.2, 3.1, 4.3), strict=True):
        at = _row(ax, y, 0.75, [str(label) for label in labels], colour, size=8)
        _side(ax, y + 0.38, name)
    for x in at:
        _arrow(ax, x, 0.87, 1.28)
        _arrow(ax, x, 3.87, 4.28)
    return fig, (
        f"Above each token of {' '.join(pieces)}: its row in the token table "
        f"({', '.join(map(str, ids))}), its row in the segment table "
        f"({', '.join(map(str, types))}) and its position, 0 to {size - 1}; the three rows, "
        "added, are the vector that goes in."
    )


def transformer_map(ax: Axes | None = None) -> tuple[Figure, str]:
    """Draw the encoder and the decoder side by side, for `show(*transformer_map())`.

    Args:
        ax: as in `bert_map`.

    Returns:
        The figure and its alternative text.
    """
    fig, ax = _start(ax, 6.4, 4.6, 7.6, -0.1)
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
    ax.plot([2.5, 2.5, 5.0, 5.0], [4.3, 5.2, 5.2, 3.92], color=COLOURS["key"], lw=1.6)
    ax.add_patch(
        FancyArrowPatch(
            (5.0, 3.92), (5.8, 3.92), arrowstyle="-|>", mutation_scale=11, linewidth=1.6,
            color=COLOURS["key"], shrinkA=0, shrinkB=0,
        )
    )  # fmt: skip
    ax.text(3.6, 5.35, "keys, values", ha="center", fontsize=9.5)
    ax.text(0.42, 3.3, "encoder", rotation=90, ha="right", va="center")
    ax.text(9.6, 3.9, "decoder", rotation=270, ha="left", va="center")
    alt = (
        "The transformer. Left, the encoder reads the spoken date: tokens plus positions, "
        "self-attention, feed-forward. Right, the decoder reads the characters written so "
        "far: tokens plus positions, causal self-attention, cross-attention to the "
        "encoder's output (keys and values), feed-forward, and gives each next character."
    )
    return fig, alt


def _pass(ax: Axes, pieces: Sequence[str]) -> list[float]:
    """Draw a pair of texts on its way through BERT; give the middles of the vectors."""
    colours = _piece_colours(pieces, "segment")
    at = _row(ax, -0.3, 1.45, pieces, colours, size=8.5, left=0.2, right=9.9, turn=90)
    vectors = [f"$h_{{{i}}}$" for i in range(len(pieces))]
    _row(ax, 3.2, 0.55, vectors, COLOURS["ink"], False, 7.5, left=0.2, right=9.9)
    for x in at:
        _arrow(ax, x, 1.17, 1.5)
        _arrow(ax, x, 2.9, 3.18)
    _box(ax, 0.2, 1.52, 9.6, 1.36, "BERT", COLOURS["layer"], size=13)
    return at


def heads_map(
    pieces: Sequence[str],
    words: dict[int, dict[str, float]],
    follows: float,
    *,
    ax: Axes | None = None,
) -> tuple[Figure, str]:
    """Draw the two heads of pre-training on one pair of texts.

    Args:
        pieces: S of them: [CLS], a text, [SEP], another, [SEP]; two dozen at most.
        words: for each place that is hidden its likeliest words and their probabilities.
        follows: the probability that the second text followed the first.
        ax: as in `bert_map`.

    Returns:
        The figure and its alternative text.
    """
    fig, ax = _start(ax, 5.4, 5.0, 8.4, -0.4)
    at = _pass(ax, pieces)
    _box(ax, 0.2, 4.15, 1.5, 0.6, "pooler", COLOURS["layer"], size=9)
    _box(ax, 0.2, 5.1, 2.6, 0.75, "next sentence?", COLOURS["masked"], size=9)
    _box(ax, 3.2, 5.1, 6.6, 0.75, "which word is hidden?", COLOURS["masked"], size=9)
    _arrow(ax, at[0], 3.8, 4.13)
    _arrow(ax, at[0], 4.77, 5.08)
    lists = {0.2: {"is next": follows, "is not": 1 - follows}}
    for i, (place, best) in enumerate(words.items()):
        x = 3.2 + i * 6.6 / len(words)
        _arrow(ax, at[place], 3.8, 5.08, max(at[place], 3.4))
        lists[x] = best
        ax.text(x, 8.1, f"for $h_{{{place}}}$", fontsize=9, va="center")
    for x, shares in lists.items():
        _arrow(ax, x + 0.3, 5.87, 6.15)
        for i, (word, share) in enumerate(shares.items()):
            y = 7.5 - 0.52 * i
            ax.barh(y, 2.0 * share, left=x, height=0.44, color=COLOURS["padding"])
            ax.text(x + 0.05, y, f"{word} {share:.0%}", va="center", fontsize=9)
    told = "; ".join(
        f"at place {place} " + ", ".join(f"{w} {x:.0%}" for w, x in best.items())
        for place, best in words.items()
    )
    return fig, (
        f"Both heads of pre-training. Below, one row: {' '.join(pieces)}. It goes through BERT. "
        "From the first vector, by way of the pooler, one head says whether the second text "
        f"follows: {follows:.0%}. From the vectors of the hidden places the other gives words: "
        f"{told}."
    )


def qa_map(
    pieces: Sequence[str],
    starts: Sequence[float],
    ends: Sequence[float],
    *,
    ax: Axes | None = None,
) -> tuple[Figure, str]:
    """Draw BERT answering a question, from the pair (bottom) to the span (top).

    Args:
        pieces: S of them: [CLS], a question, [SEP], a text, [SEP]; two dozen at most.
        starts: S probabilities that the answer begins there.
        ends: S that it ends there.
        ax: as in `bert_map`.

    Returns:
        The figure and its alternative text.
    """
    fig, ax = _start(ax, 5.4, 4.8, 7.4, -0.9)
    size, border, left = len(pieces), list(pieces).index("[SEP]"), 0.2
    middle = _pass(ax, pieces)
    step = 9.7 / size
    for y, text, heights in (4.3, "begins here?", starts), (5.6, "ends here?", ends):
        ax.bar(middle, [0.9 * x for x in heights], bottom=y, width=0.7 * step,
               color=COLOURS["masked"])  # fmt: skip
        ax.plot([left, 9.8], [y, y], color=COLOURS["faint"], lw=1)
        ax.text(left, y + 0.5, text)
    for first, last, text in (1, border - 1, "the question"), (border + 1, size - 2, "the text"):
        ax.text((middle[first] + middle[last]) / 2, -0.8, text, ha="center")
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
