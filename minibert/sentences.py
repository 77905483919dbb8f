# Written by tools/tangle.py from
# book/source/sentences.md
# Edit that, not this.
"""Sentence vectors, nearest neighbours, extractive summaries.

Shapes: `B` batch, `S` sequence, `H` hidden, `n` texts or sentences.
"""

import html
import json
import random
import re
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from minibert.bert import BertModel, load
from minibert.classification import collate
from minibert.data import leads, require, sentences
from minibert.device import Device
from minibert.qa import PLAIN, check_whole
from minibert.tokens import Tokenizer

__all__ = [
    "METHODS",
    "Reference",
    "Summary",
    "embed",
    "evaluate_summaries",
    "first_token",
    "highlight_summary",
    "mean_pool",
    "mixed_pages",
    "nearest",
    "read_summaries",
    "rouge",
    "summarize",
    "whiten",
]


def mean_pool(states: Tensor, mask: Tensor) -> Tensor:
    """Average the vectors of real tokens: (B, S, H) -> (B, H).

    Args:
        states: what a layer gives for each token.
        mask: (B, S), 1 for real tokens, [CLS] and [SEP] among them.
            A row with none gives zeros.

    Source: Reimers and Gurevych 2019, Sentence-BERT, section 3.
    """
    weight = mask.to(states.dtype)[:, :, None]  # (B, S, 1)
    return (states * weight).sum(1) / weight.sum(1).clamp(min=1)


def first_token(states: Tensor, mask: Tensor) -> Tensor:
    """Take the vector of [CLS]: (B, S, H) -> (B, H)."""
    return states[:, 0]


Vectors = NDArray[np.float32]
Pool = Callable[[Tensor, Tensor], Tensor]


def to_unit(vectors: NDArray[Any]) -> NDArray[Any]:
    """Divide vectors by their lengths; zeros stay."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1).astype(vectors.dtype)


@torch.inference_mode()
def embed(
    texts: Sequence[str],
    *,
    model: str | Path | tuple[BertModel, Tokenizer] = "minilm",
    device: Device | None = None,
    pool: Pool = mean_pool,
    layer: int | None = -1,
    unit: bool = True,
    max_length: int = 256,
    batch_size: int = 32,
    progress: bool = False,
) -> Vectors:
    """Turn each text into one vector.

    Texts of like length are computed together; the company a text
    keeps does not change its vector.

    Args:
        texts: what is beyond `max_length` tokens is cut off.
        model: a shipped name, a folder, a hub id, or a BertModel and
            its tokenizer.
        device: where to put a model that is named; None for the
            best.
        pool: makes one vector of a text's tokens.
        layer: after how many layers to pool: 0 the embeddings, -1
            all; None pools after each.
        unit: whether to divide each vector by its length, so that a
            product of two is their cosine.
        max_length: tokens, at most the model's own; 256 is what
            MiniLM was tuned with.
        batch_size: texts at a time.
        progress: whether to draw a bar, on a terminal.

    Returns:
        (n, H), in the order of `texts`; (L + 1, n, H) of all layers.

    Raises:
        TypeError: one string, or something that is none; a number
            of another type.
        ValueError: no such layer, no room for [CLS] and [SEP],
            or a `batch_size` below 1.

    >>> embed(["The Danube is a river.", ""]).shape
    (2, 384)
    """
    if isinstance(texts, str):
        raise TypeError("texts must be a list of strings; for one text, give [text]")
    batch_size = check_whole("batch_size", batch_size, 1)
    max_length = check_whole("max_length", max_length, 2)  # [CLS] and [SEP]
    bert, tokenizer = load(BertModel, model, device)
    max_length = min(max_length, bert.config.max_position_embeddings)
    last = bert.config.num_hidden_layers
    if layer is not None:
        layer = check_whole("layer", layer, -last - 1, last)
    layers = range(last + 1) if layer is None else [layer]
    size = len(layers), len(texts), bert.config.hidden_size
    vectors = np.empty(size, np.float32)
    ids = [tokenizer.encode(text, max_length=max_length).ids for text in texts]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    starts = range(0, len(order), batch_size)
    for at in tqdm(starts, unit="batch", disable=None if progress else True):
        some = order[at : at + batch_size]
        batch = collate([{"input_ids": ids[i]} for i in some], tokenizer.pad_id)
        output = bert(
            batch["input_ids"].to(bert.device),
            mask := batch["attention_mask"].to(bert.device),
            output_hidden_states=True,
        )
        for i, one in enumerate(layers):
            pooled = pool(output.hidden_states[one], mask).float()  # (B, H)
            if unit:
                pooled = torch.nn.functional.normalize(pooled, dim=1)
            vectors[i, some] = pooled.cpu().numpy()
    return vectors if layer is None else vectors[0]


def nearest(query: Vectors, vectors: Vectors, count: int) -> tuple[NDArray[np.int64], Vectors]:
    """Find the vectors with the highest product: exactly, all are looked at.

    Args:
        query: (n, H), or one, (H,).
        vectors: (m, H), of length 1 for cosines.
        count: how many; all m where there are fewer.

    Returns:
        Which, and their products, (n, count) or (count,), the highest
        first, of equal ones the earlier.

    Raises:
        TypeError: a count that is no whole number.
        ValueError: widths that differ, or `count` below 1.
    """
    count = check_whole("count", count, 1)
    if query.shape[-1] != vectors.shape[-1]:
        raise ValueError(
            f"query {query.shape} and vectors {vectors.shape} must agree in width"
        )
    products = query @ vectors.T  # (n, m)
    best = np.argsort(-products, axis=-1, kind="stable")[..., :count]
    return best, np.take_along_axis(products, best, -1)


def whiten(vectors: Vectors, others: Vectors | None = None, keep: int | None = None) -> Vectors:
    """Shift and turn vectors so that all directions vary alike, (n, H) -> (n, keep).

    Args:
        vectors: whose mean and covariance are taken.
        others: to be changed in their place; None changes `vectors`.
        keep: of the directions, those that vary most; None keeps all.

    Raises:
        ValueError: more directions than n vectors vary in, n - 1 or
            their width, or none; others of another width.

    Source: Su, Cao, Liu and Ou 2021, Whitening sentence representations.
    """
    others = vectors if others is None else others
    if vectors.ndim != 2 or others.shape[-1] != vectors.shape[1]:
        raise ValueError(
            f"vectors {vectors.shape} must be (n, H), and others {others.shape} as wide"
        )
    count, width = vectors.shape
    keep, most = width if keep is None else keep, min(count - 1, width)
    if not 1 <= keep <= most:
        raise ValueError(
            f"{keep} directions were asked for, and {count} vectors vary in {most} at "
            "most: give more vectors, or another keep"
        )
    mean = vectors.mean(0)
    values, turn = np.linalg.eigh(np.cov(vectors.astype(np.float64), rowvar=False))
    chosen = np.argsort(-values)[:keep]
    matrix = turn[:, chosen] / np.sqrt(np.maximum(values[chosen], 1e-9))
    return (others - mean) @ matrix.astype(np.float32)


class Summary(NamedTuple):
    """Sentences of a text, each with a weight, and the chosen ones.

    Attributes:
        sentences: all, in their order.
        weights: (n,) what the method gave each; higher is better.
        chosen: which make the summary, in their order.
    """

    sentences: list[str]
    weights: NDArray[np.float64]
    chosen: tuple[int, ...]

    @property
    def text(self) -> str:
        """The summary."""
        return " ".join(self.sentences[i] for i in self.chosen)


def by_centroid(vectors: Vectors, count: int, seed: int) -> NDArray[np.float64]:
    """Weigh sentences by the cosine with their mean."""
    return (vectors @ to_unit(vectors.mean(0))).astype(np.float64)


BLOCK = 1024  # rows of cosines at a time
KEPT = 10_240  # sentences whose cosines are kept: 420 MB


def by_graph(vectors: Vectors, count: int, seed: int) -> NDArray[np.float64]:
    """Weigh sentences by PageRank on their cosines.

    Up to `BLOCK` sentences in float64, beyond in float32; beyond
    `KEPT` the cosines are computed again in every round.

    Source: Erkan and Radev 2004, LexRank.
    """
    n = len(vectors)
    kind = np.float64 if n <= BLOCK else np.float32

    def cosines(at: int) -> NDArray[Any]:
        alike = vectors[at : at + BLOCK] @ vectors.T  # (BLOCK, n)
        np.maximum(alike, 0, out=alike)
        np.fill_diagonal(alike[:, at:], 0)
        return alike.astype(kind, copy=False)

    starts = range(0, n, BLOCK)
    kept = [cosines(at) for at in starts] if n <= KEPT else None

    def votes(of: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = kept or map(cosines, starts)
        return np.concatenate([some @ of.astype(kind) for some in rows]).astype(np.float64)

    given = votes(np.ones(n))  # (n,) in all; none by one that resembles no other
    rank = np.full(n, 1 / n)
    for _ in range(100):
        before, alone = rank, rank[given == 0].sum()
        share = np.divide(rank, given, out=np.zeros(n), where=given > 0)
        rank = 0.15 / n + 0.85 * (votes(share) + alone / n)
        if np.abs(rank - before).sum() < 1e-7:
            break
    return rank


def by_clusters(vectors: Vectors, count: int, seed: int) -> NDArray[np.float64]:
    """Weigh sentences by k-means: the one nearest to each centre first.

    The nearest of each of `count` clusters gets 1 plus its share of
    the sentences, of equally near ones, as two by themselves are, the
    earlier; the others their cosine with their own centre, less 1.
    Of vectors all alike (*Stop.* and *stop.*) one is in a cluster's
    place, so there may be fewer clusters.

    Source: Miller 2019, Leveraging BERT for extractive summarization.
    """
    from sklearn.cluster import KMeans

    vectors = to_unit(vectors.astype(np.float64))
    count = min(count, len(np.unique(vectors.round(5), axis=0)))
    found = KMeans(count, n_init=30, random_state=seed).fit(vectors)
    own = found.cluster_centers_[found.labels_]  # (n, H)
    near = (vectors * to_unit(own)).sum(1).round(9)
    weights = near - 1
    for cluster in np.unique(found.labels_):
        mine = np.flatnonzero(found.labels_ == cluster)
        weights[mine[near[mine].argmax()]] = 1 + len(mine) / len(vectors)
    return weights


def by_place(vectors: Vectors, count: int, seed: int) -> NDArray[np.float64]:
    """Weigh sentences by their place: the first ones first."""
    return -np.arange(len(vectors), dtype=np.float64)


def by_chance(vectors: Vectors, count: int, seed: int) -> NDArray[np.float64]:
    """Weigh sentences at random."""
    return np.random.default_rng(seed).random(len(vectors))


Method = Callable[[Vectors, int, int], NDArray[np.float64]]
METHODS: dict[str, Method] = {
    "graph": by_graph,
    "centroid": by_centroid,
    "clusters": by_clusters,
    "first": by_place,
    "random": by_chance,
}
NEEDS = {"clusters": ["sklearn"]}
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
ROMAN = re.compile("M*(CM|CD|D?C{0,3})(XC|XL|L?X{0,3})(IX|IV|V?I{0,3})")


def unspaced(letter: str) -> bool:
    """Say whether a letter's script puts no space between words."""
    return not letter.isascii() and unicodedata.name(letter, "").startswith(UNSPACED)


def cut_words(text: str) -> list[str]:
    """Cut a text into its words: runs of letters, marks and digits, in any script.

    Where a script puts no space between words, as Chinese and Thai,
    each letter with its marks is one.
    """
    out = [""]
    for sign in unicodedata.normalize("NFKC", text):
        kind = unicodedata.category(sign)[0]
        if kind in "LN":
            if out[-1] and (unspaced(sign) or unspaced(out[-1][0])):
                out.append("")
            out[-1] += sign
        elif kind == "M" and out[-1]:
            out[-1] += sign
        else:
            out.append("")
    return [word for word in out if word]


def is_label(part: str) -> bool:
    """Say whether a part holds no word, or one and its number.

    *1.*, *3.3.2024.*, *II.*, *Q1.* and a star hold none; *Step 1.* one.
    """
    found = cut_words(part)
    names = [
        word for word in found
        if not any(map(str.isnumeric, word))
        and not ROMAN.fullmatch(word.upper() if word.islower() else word)
        and (len(word) > 1 or unspaced(word))
    ]  # fmt: skip
    return not names or (len(names) == 1 and found[-1] != names[0])


def to_parts(text: str | Sequence[str]) -> list[str]:
    """Cut a text into sentences; a label joins what follows, at the end what is before.

    A list of sentences stays as it is.
    """
    if not isinstance(text, str):
        return list(text)
    out: list[str] = []
    waiting: list[str] = []
    for part in sentences(text):
        waiting.append(part)
        if not is_label(part):
            out.append(" ".join(waiting))
            waiting = []
    return [*out[:-1], " ".join([*out[-1:], *waiting])] if out or waiting else []


def check_choice(count: int, methods: Sequence[str], seed: int = 0) -> None:
    """Refuse a choice that cannot be made, before anything is computed."""
    check_whole("count", count, 1)
    check_whole("seed", seed, 0, 2**32 - 1)
    for method in methods:
        if method not in [*METHODS]:  # a list is no key
            raise ValueError(f"method must be one of {list(METHODS)}, not {method!r}")
        require("book", *NEEDS.get(method, []))


def pick(
    parts: Sequence[str], vectors: Vectors, count: int, method: str, seed: int = 0
) -> Summary:
    """Choose among sentences whose vectors, of length 1, are known.

    A part without a word is chosen only where all are such.

    Raises:
        ValueError, ModuleNotFoundError: as `summarize`.
    """
    check_choice(count, [method], seed)
    first = {part: i for i, part in reversed(list(enumerate(parts)))}
    every = sorted(first.values())
    different = [i for i in every if not is_label(parts[i])] or every
    weights = np.ones(len(different))
    if len(different) > count:
        weights = METHODS[method](vectors[different], count, seed)
    best = np.argsort(-weights, kind="stable")[:count]
    of = dict.fromkeys(every, weights.min())  # a label's
    of |= zip(different, weights, strict=True)
    return Summary(
        list(parts),
        np.array([of[first[part]] for part in parts]),
        tuple(sorted(different[i] for i in best)),
    )


def summarize(
    text: str | Sequence[str],
    count: int = 3,
    *,
    method: str = "graph",
    model: str | Path | tuple[BertModel, Tokenizer] = "minilm",
    device: Device | None = None,
    seed: int = 0,
) -> Summary:
    """Choose the sentences that stand for a text.

    A sentence that occurs twice, letter for letter, is one: its
    first place counts. A text with no more than `count` different
    sentences is its own summary. Of a sentence longer than 256
    tokens the beginning is read. What holds no word, such as *1.*,
    or one and its number, as *Step 1.*, belongs to the sentence
    after it.

    Args:
        text: of any length, or its sentences already; of these one
            without a word is not chosen.
        count: sentences in the summary.
        method: "graph", "centroid" or "clusters"; "first" and
            "random" to compare with.
        model: as in `embed`.
        device: as there.
        seed: of "clusters" and of "random".

    Raises:
        TypeError: no text; a count or seed that is no whole number.
        ValueError: no sentence, a count below 1, a seed below 0,
            another method.
        ModuleNotFoundError: "clusters" needs scikit-learn.

    >>> summary = summarize(["One is odd.", "Two is even."], 1)
    >>> summary.text
    'One is odd.'
    """
    check_choice(count, [method], seed)
    parts = to_parts(text)
    if not parts:
        raise ValueError("the text has no sentence")
    vectors = embed(parts, model=model, device=device)
    return pick(parts, vectors, count, method, seed)


def highlight_summary(summary: Summary) -> str:
    """Show a text with its summary marked and each weight beside it: HTML."""
    low, high = summary.weights.min(), summary.weights.max()
    rows = []
    for i, (part, weight) in enumerate(zip(summary.sentences, summary.weights, strict=True)):
        share = (weight - low) / (high - low) if high > low else 1.0
        bar = (
            f'<span style="display: inline-block; width: {4 * share:.2f}em; height: 0.7em; '
            f'background: #E69F00" title="{weight:.3f}"></span>'
        )
        text = html.escape(part)
        if i in summary.chosen:
            text = f'<mark style="background: #F7D774; color: #222">{text}</mark>'
        rows.append(
            f'<tr><td style="width: 4.5em; vertical-align: top; padding-top: 0.5em">{bar}</td>'
            f'<td style="text-align: left">{text}</td></tr>'
        )
    return f'<table class="{PLAIN}">{"".join(rows)}</table>'


class Page(NamedTuple):
    """Sentences of several leads, mixed, one lead's among them.

    Attributes:
        title: of the lead that most of them come from.
        sentences: in random order.
        wanted: which are that lead's.
    """

    title: str
    sentences: list[str]
    wanted: tuple[int, ...]


def mixed_pages(split: str, count: int = 200, seed: int = 0) -> list[Page]:
    """Mix four sentences of one lead with one each of four others.

    Args:
        split: as in `leads`.
        count: pages, drawn at random.
        seed: of the draw.

    Raises:
        TypeError: a count that is no whole number.
        ValueError: more pages than leads with four sentences.
    """
    chance = random.Random(seed)
    parts = [(one.title, sentences(one.text)) for one in leads(split)]
    long = [one for one in parts if len(one[1]) >= 4]
    count = check_whole("count", count, 1, len(long))
    pages = []
    for title, mine in chance.sample(long, count):
        rest = [one for one in parts if one[0] != title]
        page = [(part, True) for part in mine[:4]]
        page += [(chance.choice(one), False) for _, one in chance.sample(rest, 4)]
        chance.shuffle(page)
        wanted = tuple(i for i, (_, is_mine) in enumerate(page) if is_mine)
        pages.append(Page(title, [part for part, _ in page], wanted))
    return pages


def interval(
    values: NDArray[np.float64], draws: int = 1000
) -> tuple[float, float, float]:
    """Give a mean and the ends of its 95 % bootstrap interval."""
    chance, n = np.random.default_rng(0), len(values)
    drawn = values[chance.integers(0, n, (draws, n))]
    low, high = np.quantile(drawn.mean(1), [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


class Reference(NamedTuple):
    """A text with a summary that somebody wrote."""

    article: str
    summary: str


def read_summaries(path: str | PathLike[str]) -> list[Reference]:
    """Read JSON lines of `{"article": ..., "summary": ...}`.

    Where one of the two is blank, the line is left out with a
    warning: there is nothing to summarise, or to compare with.

    Raises:
        ValueError: a line that is none, with its number; no line;
            no UTF-8.
    """
    out, blank = [], []
    try:
        # Not splitlines(): U+2028 inside a string would count as a line end.
        with open(path, encoding="utf-8-sig") as file:
            lines = list(file)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where} is not one JSON object: {error}") from None
        if not isinstance(row, dict) or not row.keys() >= {*Reference._fields}:
            held = list(row) if isinstance(row, dict) else f"a {type(row).__name__}"
            raise ValueError(f'{where} must be {{"article": ..., "summary": ...}}; it has {held}')
        one = Reference(row["article"], row["summary"])
        if not all(isinstance(part, str) for part in one):
            raise ValueError(f"{where}: article and summary must be strings")
        if all(part.strip() for part in one):
            out.append(one)
        else:
            blank.append(number)
    if not out:
        raise ValueError(f"{path} holds no text with a summary")
    if blank:
        warnings.warn(f"{path}: left out, with a blank article or summary: lines {blank}",
                      stacklevel=2)  # fmt: skip
    return out


ROUGE = ("rouge1", "rouge2", "rougeL")


class Stems:
    """What `RougeScorer` asks for words: `cut_words`, lower-case, the long ones by their stems."""

    def __init__(self) -> None:
        from nltk.stem.porter import PorterStemmer  # type: ignore[import-untyped]

        self.stem = PorterStemmer().stem

    def tokenize(self, text: str) -> list[str]:
        found = [word.lower() for word in cut_words(text)]
        return [self.stem(word) if len(word) > 3 else word for word in found]


def rouge(summary: str, reference: str) -> dict[str, float]:
    """Give ROUGE-1, -2 and -L, F-measures from 0 to 1, of stemmed words.

    ROUGE-L takes each text as one row of words. Papers on news often
    mean `rougeLsum`, which goes sentence by sentence and is mostly
    higher. Words are those of any script, where rouge-score by itself
    knows a to z and digits; of ASCII text the figures are its own.
    Stems are English; Chinese and Thai go by letters.

    Raises:
        TypeError: not two strings.
        ModuleNotFoundError: rouge-score is not installed.

    Source: Lin 2004, ROUGE; the package rouge-score.
    """
    require("book", "rouge_score")
    from rouge_score.rouge_scorer import RougeScorer

    for name, text in [("summary", summary), ("reference", reference)]:
        if not isinstance(text, str):
            raise TypeError(f"{name} must be a string, not {text!r}")
    found = RougeScorer(ROUGE, tokenizer=Stems()).score(reference, summary)
    return {name: float(found[name].fmeasure) for name in ROUGE}


def evaluate_summaries(
    references: Sequence[Reference],
    count: int = 3,
    *,
    methods: Sequence[str] = tuple(METHODS),
    model: str | Path | tuple[BertModel, Tokenizer] = "minilm",
    device: Device | None = None,
    draws: int = 1000,
    progress: bool = False,
) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Score all methods on the same texts; of "clusters" and
    "random" the first text has seed 0, the next 1, and so on.

    Args:
        references: texts with a summary each.
        count: sentences in a summary.
        methods: of `METHODS`.
        model: as in `embed`.
        device: as there.
        draws: of the bootstrap over the texts.
        progress: whether to draw bars, on a terminal.

    Returns:
        For each method the mean of ROUGE-1, -2 and -L, 0 to 100, and
        the ends of its 95 % bootstrap interval.

    Raises:
        TypeError: methods that are one string; a count or draws of
            another type.
        ValueError: no text, or one without a sentence; a count or
            draws below 1, another method.
        ModuleNotFoundError: rouge-score is not installed, or what a
            method needs.
    """
    if isinstance(methods, str):
        raise TypeError(f"methods must be a list; for one, give [{methods!r}]")
    draws = check_whole("draws", draws, 1)
    check_choice(count, methods)
    require("book", "rouge_score")
    if not references:
        raise ValueError("there is no text to summarise")
    parts = [to_parts(one.article) for one in references]
    if [] in parts:
        number = parts.index([]) + 1
        raise ValueError(f"text {number} of {len(parts)} has no sentence: leave it out")
    every = [part for one in parts for part in one]
    vectors = embed(every, model=model, device=device, progress=progress)
    ends = np.cumsum([len(one) for one in parts])
    each = np.split(vectors, ends[:-1])
    table: dict[str, dict[str, tuple[float, float, float]]] = {}
    for method in tqdm(methods, unit="method", disable=None if progress else True):
        found = [
            rouge(pick(one, mine, count, method, seed).text, reference.summary)
            for seed, (one, mine, reference) in enumerate(
                zip(parts, each, references, strict=True)
            )
        ]
        table[method] = {
            name: interval(100 * np.array([one[name] for one in found]), draws)
            for name in ROUGE
        }
    return table
