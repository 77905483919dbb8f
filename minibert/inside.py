# Written by tools/tangle.py from
# book/source/inside.md
# Edit that, not this.
"""Looking inside a trained BERT: attention, heads, layers.

Shapes: `B` batch, `S` sequence, `H` hidden, `A` heads, `L` layers, `D` = H / A.
"""

import copy
import html
import json
import re
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from minibert.bert import BertModel
from minibert.checks import as_texts
from minibert.device import Device
from minibert.files import require
from minibert.loading import load, row_length
from minibert.tokens import Tokenizer

__all__ = [
    "Attention",
    "attend",
    "attention_view",
    "cka",
    "head_table",
    "switch_off",
    "word_states",
]

if TYPE_CHECKING:
    import pandas as pd

MOST = 64  # tokens in a figure to point at


class Attention(NamedTuple):
    """Who looks at whom, in every layer and head.

    Attributes:
        pieces: the S tokens.
        types: their segments, 0 or 1.
        weights: (L, A, S, S); row i holds the shares of token i's
            attention, and sums to 1.
    """

    pieces: list[str]
    types: list[int]
    weights: NDArray[np.float32]

    def _repr_html_(self) -> str | None:
        """Draw it in a notebook, if it is short enough."""
        short = len(self.pieces) <= MOST
        return attention_view(self) if short else None

    def table(
        self, layers: Collection[int] | None = None
    ) -> "pd.DataFrame":
        """Give one row for each weight, for pandas and seaborn.

        Args:
            layers: which; -1 is the last; None gives all.

        Returns:
            The columns `layer`, `head`, `query`, `key` (places),
            `query_token`, `key_token`, `weight`.

        Raises:
            IndexError: a layer that there is not.
            ModuleNotFoundError: pandas is not installed.
        """
        require("book", "pandas")
        import pandas as pd

        count, heads, size, _ = self.weights.shape
        numbers = range(count)
        wanted = numbers if layers is None else layers
        chosen = sorted({numbers[layer] for layer in wanted})
        index = pd.MultiIndex.from_product(
            [chosen, range(heads), range(size), range(size)],
            names=["layer", "head", "query", "key"],
        )
        weights = self.weights[chosen].ravel()
        frame = pd.DataFrame({"weight": weights}, index)
        frame = frame.reset_index()
        pieces = np.array(self.pieces)
        for name in ("query", "key"):
            frame[f"{name}_token"] = pieces[frame[name]]
        return frame


Loaded = str | Path | tuple[BertModel, Tokenizer]


@torch.no_grad()
def attend(
    text: str, pair: str | None = None, *, model: Loaded = "minilm",
    device: Device | None = None, max_length: int = 128,
) -> Attention:
    """Compute the attention of a text, or of a pair of texts.

    Args:
        text: the first.
        pair: the second, segment 1.
        model: a shipped name, a folder, a hub id, or a BertModel with
            its tokenizer.
        device: where to put a model that is named; None for the
            best.
        max_length: tokens, at most the model's own; what is beyond is
            cut off.

    Raises:
        TypeError: not a string, or a model that is no BertModel:
            where a classifier is on top, give `model.bert`.
        ValueError: no room for [CLS] and [SEP]; an exported model,
            which gives no attention.
        FileNotFoundError, ValueError: as `load`.

    >>> attend("The dog bit the man.").weights.shape
    (6, 12, 8, 8)
    """
    bert, tokenizer = load(model, BertModel, device)
    max_length = row_length(bert, max_length)
    second = None if pair is None else [pair]
    batch = tokenizer([text], second, max_length=max_length)
    maps = bert(*batch.to(bert.device), output_attentions=True).attentions
    return Attention(
        tokenizer.tokens(batch.input_ids[0]),
        batch.token_type_ids[0].tolist(),
        torch.cat(maps).float().cpu().numpy(),
    )


VIEW = """
<div id="ID" class="mathjax_ignore tex2jax_ignore"
style="max-width: 40em; font-size: 15px; line-height: 1.6">
<p style="margin: 0 0 0.5em"><label>layer <select class="l"></select></label>
<label>head <select class="h"></select></label>
<span class="hint">point at a word</span></p>
<p class="t" style="margin: 0">STATIC</p>
</div>
<script>
(() => {
  const root = document.querySelector("#ID:not([data-drawn])"), data = DATA;
  root.dataset.drawn = "yes";  // the next figure of this text is another
  const line = root.querySelector(".t");
  const layer = root.querySelector(".l"), head = root.querySelector(".h");
  const words = data.pieces.map((piece, i) => {
    const one = document.createElement("span");
    one.textContent = piece;
    one.tabIndex = 0;
    one.style.cssText = "padding: 0.1em 0.25em; margin: 0.1em; border-radius: 4px; "
      + "display: inline-block; cursor: pointer";
    for (const name of ["mouseenter", "focus", "click"])
      one.addEventListener(name, () => { chosen = i; paint(); });
    return one;
  });
  let chosen = QUERY;
  const paint = () => {
    const row = data.weights[layer.value][head.value][chosen];
    words.forEach((one, j) => {
      const share = row[j] / 255;
      one.style.background = `rgba(230, 159, 0, ${share.toFixed(3)})`;
      one.style.outline = j === chosen ? "2px solid #0072B2" : "none";
      one.title = share.toFixed(2);
    });
  };
  const fill = (select, count, first) => {
    for (let i = 0; i < count; i++) select.add(new Option(i, i));
    select.value = first;
    select.addEventListener("change", paint);
  };
  fill(layer, data.weights.length, LAYER);
  fill(head, data.weights[0].length, HEAD);
  line.replaceChildren(...words);
  paint();
})();
</script>
"""


def attention_view(attention: Attention, layer: int = 0, head: int = 0, query: int = 1) -> str:
    """Make a figure to point at: who does this word look at?

    HTML that needs nothing else: no network, no library. Where
    scripts do not run, it shows this one row.

    Args:
        attention: of a text of at most 64 tokens.
        layer: shown first; like the next two from 0 on, and not
            negative.
        head: shown first.
        query: the token whose row is shown first; 0 is [CLS].

    Raises:
        ValueError: a longer text.
        IndexError: a layer, head or token that there is not.

    >>> attention_view(attend("The Danube is long.")).count("<script>")
    1
    """
    layers, heads, size, _ = attention.weights.shape
    if size > MOST:
        raise ValueError(f"{size} tokens are too many to point at: {MOST} is the most")
    if not (0 <= layer < layers and 0 <= head < heads and 0 <= query < size):
        raise IndexError(
            f"layer {layer}, head {head}, token {query}: there are {layers} layers of "
            f"{heads} heads, and {size} tokens"
        )
    row = attention.weights[layer, head, query]
    static = " ".join(
        f'<span style="background: rgba(230, 159, 0, {share:.3f})" title="{share:.2f}">'
        f"{html.escape(piece)}</span>"
        for piece, share in zip(attention.pieces, row, strict=True)
    )
    weights = np.rint(255 * attention.weights).astype(int).tolist()
    data = json.dumps({"pieces": attention.pieces, "weights": weights}, separators=(",", ":"))
    name = f"attention-{zlib.crc32(data.encode()):08x}"
    parts = {
        "ID": name, "STATIC": static, "DATA": data.replace("</", "<\\/"),
        "LAYER": str(layer), "HEAD": str(head), "QUERY": str(query),
    }  # fmt: skip
    return re.sub("|".join(parts), lambda found: parts[found.group()], VIEW)


def head_measures(
    maps: Attention,
) -> dict[str, NDArray[np.float64]]:
    """Measure each head on one text: means over tokens, (L, A).

    What share of its attention does a token give to the one before
    it, the one after it, itself, others of the same piece, [CLS],
    [SEP], the other segment; and how evenly is it spread (its
    entropy, from 0, all on one, to 1)? The rows of [CLS] and [SEP]
    do not count. `same piece` is measured only on tokens whose
    piece occurs again, and is nan where there is none.

    Raises:
        ValueError: no token but [CLS] and [SEP].
    """
    weights = maps.weights.astype(np.float64)
    size = len(maps.pieces)
    pieces, types = np.array(maps.pieces), np.array(maps.types)
    special = np.isin(pieces, ["[CLS]", "[SEP]"])
    if special.all():
        raise ValueError("a text without a word cannot be measured")
    place = np.arange(size)
    step = place[None, :] - place[:, None]  # key minus query
    same = (pieces[:, None] == pieces[None, :]) & (step != 0)
    where = {
        "previous": step == -1,
        "next": step == 1,
        "itself": step == 0,
        "[CLS]": np.broadcast_to(pieces == "[CLS]", same.shape),
        "[SEP]": np.broadcast_to(pieces == "[SEP]", same.shape),
        "other segment": (types[:, None] != types) & ~special,
    }
    rows = weights[:, :, ~special]  # (L, A, n, S)
    out = {
        name: (rows * mask[~special]).sum(-1).mean(-1)
        for name, mask in where.items()
    }
    same = same[~special]
    again = same.any(1)  # (n,) those that come again
    twins = (rows * same).sum(-1)[:, :, again]
    out["same piece"] = (
        twins.mean(-1) if again.any() else twins.sum(-1) + np.nan
    )
    log = np.log(np.maximum(rows, 1e-12))
    spread = -(rows * log).sum(-1).mean(-1) / np.log(size)
    return out | {"spread": spread}


def head_table(
    texts: Iterable[str], pairs: Iterable[str] | None = None, *, model: Loaded = "minilm",
    device: Device | None = None, max_length: int = 64,
) -> "pd.DataFrame":  # fmt: skip
    """Measure every head over many texts; say what it does most.

    Each measure is a share of a token's attention, averaged over
    the tokens but [CLS] and [SEP] and then over the texts.

    Args:
        texts: one or more, each with a word.
        pairs: of each text a second one, segment 1.
        model: as in `attend`.
        device: as there.
        max_length: as there.

    Returns:
        One row for each layer and head, with the columns `layer`,
        `head`; the shares `previous`, `next`, `itself`, `[CLS]`,
        `[SEP]`, `other segment` and `same piece` (other tokens of
        the same piece, over those that have some, else nan);
        `spread`, the entropy, from 0, all on one, to 1; and `kind`:
        the largest share if it is half or more, else "even" where
        `spread` is above 0.8, else "mixed".

    Raises:
        TypeError: one string, or something that is none.
        ValueError: no texts, one without a word, or another number
            of pairs.
        ModuleNotFoundError: pandas is not installed.
    """
    require("book", "pandas")
    import pandas as pd

    texts = as_texts(texts, "text")
    second: list[str] | list[None] = [None] * len(texts)
    if pairs is not None:
        second = as_texts(pairs, "pair")
    if len(second) != len(texts):
        raise ValueError(f"{len(texts)} texts and {len(second)} pairs: give each text its own")
    tables = []
    for text, pair in zip(texts, second, strict=True):
        attention = attend(text, pair, model=model, device=device, max_length=max_length)
        index = pd.MultiIndex.from_product(
            [*map(range, attention.weights.shape[:2])], names=["layer", "head"]
        )
        measures = {name: values.ravel() for name, values in head_measures(attention).items()}
        tables.append(pd.DataFrame(measures, index))
    by_head = pd.concat(tables).groupby(level=["layer", "head"])
    frame = by_head.agg("mean").reset_index()  # passes over nan
    shares = frame.drop(columns=["layer", "head", "spread"])
    kind = shares.idxmax(axis=1).where(shares.max(axis=1) >= 0.5, "mixed")
    frame["kind"] = kind.mask((kind == "mixed") & (frame["spread"] > 0.8), "even")
    return frame


@torch.no_grad()
def word_states(
    texts: Iterable[str], word: str, *, model: Loaded = "minilm",
    device: Device | None = None, max_length: int = 128,
) -> tuple[list[int], NDArray[np.float32]]:
    """Find a word in texts; give its vector after every layer.

    A word of several pieces gets the mean of theirs. Of each text
    the first place counts; texts without the word are left out.

    Args:
        texts: one or more.
        word: found where it stands as a whole word.
        model: as in `attend`.
        device: as there.
        max_length: tokens of a text; beyond them nothing is
            searched.

    Returns:
        The numbers of the n texts that hold it, and its vectors
        there, (n, L + 1, H): the embeddings first, then those after
        each layer.

    Raises:
        TypeError: one string, or something that is none.
        ValueError: no text has it, or `word` is empty or [UNK].
    """
    texts = as_texts(texts, "text")
    bert, tokenizer = load(model, BertModel, device)
    max_length = row_length(bert, max_length)
    wanted = tokenizer.encode(word).tokens[1:-1]
    if "[UNK]" in wanted:
        raise ValueError(f"{word!r} is [UNK] to this model, as other words are: choose another")
    which, states = [], []
    for number, text in enumerate(texts if wanted else []):
        encoding = tokenizer.encode(text, max_length=max_length)
        at = find_places(encoding.tokens, encoding.words, wanted)
        if at is None:
            continue
        ids = torch.tensor([encoding.ids], device=bert.device)
        layers = bert(ids, output_hidden_states=True).hidden_states
        vectors = [x[0, at : at + len(wanted)].mean(0) for x in layers]
        which.append(number)
        states.append(torch.stack(vectors).float().cpu().numpy())
    if not which:
        raise ValueError(f"{word!r} stands as a word in none of the {len(texts)} texts")
    return which, np.stack(states)


def find_places(tokens: list[str], words: Sequence[int | None], wanted: list[str]) -> int | None:
    """Find pieces that make a whole word; where the first stands."""
    size = len(wanted)
    for at in range(1, len(tokens) - size):
        inside = tokens[at : at + size] == wanted
        if inside and words[at - 1] != words[at] and words[at + size] != words[at + size - 1]:
            return at
    return None


def cka(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Compare two sets of vectors of the same things, 0 to 1.

    1 where one is a rotation, shift or scaling of the other.

    Args:
        a: (n, H).
        b: (n, K).

    Raises:
        ValueError: another number of rows.

    Source: Kornblith, Norouzi, Lee and Hinton 2019, Similarity of
    neural network representations revisited, linear CKA.

    >>> x = np.random.default_rng(0).normal(size=(9, 4))
    >>> round(cka(x, 3 * x[:, ::-1] + 1), 6)
    1.0
    """
    if len(a) != len(b):
        raise ValueError(
            f"{len(a)} rows against {len(b)}: of other things"
        )
    x, y = (z.astype(np.float64) - z.mean(0) for z in (a, b))
    shared = np.linalg.norm(x.T @ y) ** 2
    own = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(shared / own)


Model = TypeVar("Model", bound=nn.Module)


def switch_off(
    model: Model, heads: Mapping[int, Collection[int]]
) -> Model:
    """Give a copy in which heads add nothing to their layer.

    The columns of the layer's output matrix that take the head's
    values become 0, until they are trained again. The sizes stay,
    so the copy is saved and loaded like any model, here and in
    `transformers`.

    Args:
        model: a BertModel, or a model with one inside.
        heads: for a layer, which of its heads; both from 0 on.

    Raises:
        TypeError: a model without a BertModel in it.
        IndexError: a layer or head that there is not.

    Source: Michel, Levy and Neubig 2019, Are sixteen heads really
    better than one?
    """
    twin = copy.deepcopy(model)
    body = getattr(twin, "bert", twin)
    if not isinstance(body, BertModel):
        name = type(model).__name__
        raise TypeError(f"a {name} has no BertModel in it")
    layers: Any = body.encoder.layers
    count = body.config.num_attention_heads
    size = body.config.hidden_size // count  # D
    for layer, chosen in heads.items():
        strange = set(chosen) - set(range(count))
        if layer not in range(len(layers)) or strange:
            raise IndexError(
                f"layer {layer}, heads {list(chosen)}: there are "
                f"{len(layers)} layers of {count}"
            )
        matrix = layers[layer].attention.output.weight
        for head in chosen:
            start = head * size
            matrix.data[:, start : start + size] = 0  # (H, D)
    return twin
