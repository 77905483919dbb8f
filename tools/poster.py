"""A poster, BERT on one page, for a wall or a desk: python tools/poster.py

A3, landscape, drawn by code in vectors, legible in grey. It is written as PDF, to print, and
as SVG, for the page *Teaching with this book*; the site gets both when it is built. The
counts are computed from the config, the probabilities by the models that the book ships.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from source import ROOT
from sphinx.application import Sphinx

from minibert import diagrams, figures
from minibert.config import BertConfig
from minibert.counting import SIZES, parameters, total
from minibert.heads import BertForQuestionAnswering
from minibert.loading import load
from minibert.pretraining import BertForPreTraining
from minibert.tokens import Tokenizer

OUT = ROOT / "_build" / "poster"
WIDE, HIGH = 16.54, 11.69  # A3, inches
COLUMN, GAP, EDGE = 4.98, 0.3, 0.5
COLOURS = figures.COLOURS
SIZES_SHOWN = {"tiny": (2, 128), "mini": (4, 256), "small": (4, 512), "medium": (8, 512)}
ALT = (
    "BERT on one page: the whole machine with the size of each table and matrix, its parameters "
    "as a bar and those of six sizes as a table; three rows added for each token; the formula "
    "of attention with arrows from one word; the mask over padding; a layer; the two games of "
    "pre-training on one pair; and a question answered by a start and an end."
)


@dataclass
class Readings:
    """What the book's models say of the poster's two rows of text."""

    pair: list[str]
    words: dict[int, dict[str, float]]
    follows: float
    question: list[str]
    starts: list[float]
    ends: list[float]


@torch.no_grad()
def read() -> Readings:
    """Let leads-small fill two gaps, and minilm-qa answer a question."""
    model, tokenizer = load("leads-small", BertForPreTraining, device="cpu")
    row = tokenizer(["The Danube is a river in Europe."], ["It flows into the Black Sea."])
    pieces = tokenizer.tokens(row.input_ids[0])
    places = [pieces.index("is"), pieces.index("sea")]
    row.input_ids[0, places] = tokenizer.mask_id
    output = model(*row)
    best = output.prediction_logits[0, places].softmax(-1).topk(3)
    words = {
        place: dict(zip(tokenizer.tokens(ids), shares.tolist(), strict=True))
        for place, ids, shares in zip(places, best.indices, best.values, strict=True)
    }
    reader, tokens = load("minilm-qa", BertForQuestionAnswering, device="cpu")
    asked = tokens(
        ["Where does the Danube end?"], ["The Danube rises in Germany and ends in the Black Sea."]
    )
    _, starts, ends, *_ = reader(*asked)
    return Readings(
        tokenizer.tokens(row.input_ids[0]), words,
        output.seq_relationship_logits[0].softmax(-1)[0].item(),
        tokens.tokens(asked.input_ids[0]),
        starts[0].softmax(-1).tolist(), ends[0].softmax(-1).tolist(),
    )  # fmt: skip


class Page:
    """A sheet on which things are placed in inches from the upper left corner."""

    def __init__(self) -> None:
        with plt.rc_context(figures.STYLE):
            self.fig = plt.figure(figsize=(WIDE, HIGH))

    def axes(self, column: int, y: float, height: float, left: float = 0, right: float = 0) -> Axes:
        """Give a part of a column to draw on."""
        x, width = EDGE + column * (COLUMN + GAP) + left, COLUMN - left - right
        with plt.rc_context(figures.STYLE):
            return self.fig.add_axes(
                (x / WIDE, 1 - (y + height) / HIGH, width / WIDE, height / HIGH)
            )

    def say(self, column: int, y: float, text: str, size: float = 10.5, **style: str) -> None:
        """Write a line, or lines, with the upper edge at `y`."""
        x = EDGE + column * (COLUMN + GAP)
        self.fig.text(
            x / WIDE, 1 - y / HIGH, text, fontsize=size, va="top", color=COLOURS["ink"],
            fontfamily="DejaVu Sans", linespacing=1.35, **style,
        )  # fmt: skip

    def head(self, column: int, y: float, text: str) -> None:
        """Write a heading with a line above it."""
        x = EDGE + column * (COLUMN + GAP)
        ends = [x / WIDE, (x + COLUMN) / WIDE], [1 - y / HIGH] * 2
        self.fig.add_artist(plt.Line2D(*ends, color=COLOURS["ink"], lw=1.5))
        self.say(column, y + 0.09, text, 15, fontweight="bold")


def bar(ax: Axes, config: BertConfig) -> None:
    """Draw all parameters as one bar, from the input to the output."""
    parts, left = parameters(config), 0
    kinds = {
        "token table": ("token", ["token table"]),
        "other tables": ("position", ["segment table", "position table", "embedding norm"]),
        "attention": ("query", ["query, key, value", "attention output", "attention norm"]),
        "feed-forward": ("layer", ["feed-forward up", "feed-forward down", "feed-forward norm"]),
        "pooler": ("masked", ["pooler"]),
    }
    assert sorted(parts) == sorted(part for _, all_ in kinds.values() for part in all_)
    for kind, (colour, names) in kinds.items():
        count = sum(parts[name] for name in names)
        ax.barh(0, count, left=left, height=1, color=COLOURS[colour], edgecolor="white", lw=0.3)
        text = f"{kind}\n{count / 1e6:.1f} M"
        if count > total(parts) / 8:
            ax.text(
                left + count / 2, 0, text, ha="center", va="center", fontsize=10,
                color=figures.ink_on(COLOURS[colour]), fontweight="bold",
            )  # fmt: skip
        else:  # too narrow for its text, which goes below
            side = "right" if kind == "pooler" else "center"
            ax.text(left + count, -0.62, text.replace("\n", " "), va="top", ha=side, fontsize=9.5)
        left += count
    ax.set_xlim(0, left)
    ax.set_ylim(-1.1, 0.5)
    ax.axis("off")


def sizes(ax: Axes) -> None:
    """Write the published sizes and their parameters as a table."""
    shown = {
        name: SIZES[f"google/bert_uncased_L-{n}_H-{h}_A-{h // 64}"]
        for name, (n, h) in SIZES_SHOWN.items()
    }
    for name in "base", "large":
        (shown[name],) = (SIZES[known] for known in SIZES if known.endswith(f"{name}-uncased"))
    lines = [("", "layers L", "width H", "heads A", "parameters")]
    lines += [
        (name, f"{c.num_hidden_layers}", f"{c.hidden_size:,}", f"{c.num_attention_heads}",
         f"{total(parameters(c)):,}")
        for name, c in shown.items()
    ]  # fmt: skip
    ax.set_xlim(0, 10)
    ax.set_ylim(len(lines) - 0.4, -0.6)
    ax.axis("off")
    for i, line in enumerate(lines):
        for x, text in zip((0, 3.3, 5.2, 7.0, 10), line, strict=True):
            ax.text(
                x, i, text, ha="right" if x else "left", va="center", fontsize=10.5,
                fontweight="bold" if not i or text == "base" else "normal",
            )  # fmt: skip


def draw(readings: Readings) -> Figure:
    """Draw the poster."""
    page, config = Page(), BertConfig()
    count = total(parameters(config))
    page.say(0, 0.38, "BERT on one page", 38, fontweight="bold")
    page.fig.text(
        1 - EDGE / WIDE, 1 - 0.52 / HIGH, "Bidirectional Encoder Representations from Transformers"
        "\nDevlin, Chang, Lee and Toutanova, 2018. Sizes are those of BERT-base.",
        ha="right", va="top", fontsize=12, color=COLOURS["ink"], linespacing=1.5,
        fontfamily="DejaVu Sans",
    )  # fmt: skip

    page.head(0, 1.3, "The whole machine, from below")
    diagrams.bert_map(sizes=config, ax=page.axes(0, 1.75, 5.4, left=0.12))
    page.head(0, 7.4, f"{count:,} parameters")
    bar(page.axes(0, 7.9, 0.95), config)
    sizes(page.axes(0, 9.0, 1.95))

    page.head(1, 1.3, "1  Three rows, added")
    page.say(1, 1.78, r"$x_i = T_{\mathrm{id}_i} + S_{\mathrm{segment}_i} + P_i$,  then norm", 13)
    row = Tokenizer.from_pretrained("minilm").encode("who bit?", "the dog")
    diagrams.embedding_rows(row.tokens, row.ids, row.type_ids, ax=page.axes(1, 2.15, 2.6))

    page.head(1, 5.0, "2  Attention: each word looks at all")
    page.say(
        1, 5.52, r"$\mathrm{attention}(Q, K, V) = "
        r"\mathrm{softmax}\!\left(\frac{Q K^{\mathsf{T}}}{\sqrt{D}}\right) V$", 15,
    )  # fmt: skip
    scores = np.array([0, 4, 0, 0, 4]) / math.sqrt(2)  # *bit*, in the chapter Attention
    weights = np.exp(scores) / np.exp(scores).sum()
    words = ["the", "dog", "bit", "the", "man"]
    diagrams.attention_arrows(words, weights.tolist(), 2, ax=page.axes(1, 6.1, 1.95))
    page.say(
        1, 8.1, "A query asks, a key is found, a value is fetched, in shares\n"
        "that sum to 1. The row of bit becomes 46% dog, 46% man, …", 10,
    )  # fmt: skip

    page.head(1, 8.8, "3  A layer, twelve times over")
    page.say(
        1, 9.32, "$x \\leftarrow \\mathrm{norm}(x + \\mathrm{attention}(x))$\n"
        "$x \\leftarrow \\mathrm{norm}(x + W_2\\,\\mathrm{GELU}(W_1 x))$\n"
        "\nPadding is masked:\nno query (row) may\nlook at it (column).", 11,
    )  # fmt: skip
    real = np.array([True, True, True, False])
    mask = page.axes(1, 9.55, 1.45, left=3.2)
    names = ["the", "dog", "bit", "[PAD]"]
    figures.mask_grid(mask, np.tile(real, (4, 1)), names, names)
    mask.tick_params(labelsize=8.5)

    page.head(2, 1.3, "4  Pre-training: two games without labels")
    diagrams.heads_map(readings.pair, readings.words, readings.follows, ax=page.axes(2, 1.75, 4.4))
    page.say(2, 6.2, "15% of tokens are chosen: 80% masked, 10% swapped, 10% kept.", 9.5)
    page.head(2, 6.6, "5  Fine-tuning: for a task, another head")
    diagrams.qa_map(readings.question, readings.starts, readings.ends, ax=page.axes(2, 7.1, 3.9))

    page.fig.text(
        0.5, 0.28 / HIGH, "Numbers in 4 are leads-small's and in 5 minilm-qa's, two small BERTs of "
        "the book BERT from one matrix product up: minibert-book.github.io/minibert-book",
        ha="center", va="center", fontsize=9.5, color=COLOURS["ink"], fontfamily="DejaVu Sans",
    )  # fmt: skip
    return page.fig


def write(fig: Figure, out: Path) -> list[Path]:
    """Write the poster as PDF and SVG, the same bytes each time; give the files."""
    out.mkdir(parents=True, exist_ok=True)
    files = [out / "poster.pdf", out / "poster.svg"]
    with plt.rc_context({"pdf.fonttype": 42, "svg.hashsalt": "poster"}):
        fig.savefig(files[0], metadata={"Title": "BERT on one page", "CreationDate": None})
        fig.savefig(files[1], metadata={"Title": ALT, "Date": None})
    plt.close(fig)
    return files


def hang(app: Sphinx, error: Exception | None) -> None:
    """Put the poster into the site that was built."""
    if error is None and app.builder.format == "html":
        write(draw(read()), Path(app.outdir) / "poster")


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx know."""
    app.connect("build-finished", hang)
    return {"parallel_read_safe": True}


def main() -> int:
    """Write the poster."""
    for path in write(draw(read()), OUT):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
