# Written by tools/tangle.py from
# book/source/sentences.md
# Edit that, not this.
"""Extractive summaries: the sentences that stand for a text.

Shapes: `n` sentences, `H` hidden.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minibert.checks import as_texts, check_whole
from minibert.data import sentences
from minibert.files import require
from minibert.highlight import highlight_summary
from minibert.sentences import Vectors, embed, to_unit
from minibert.tokens import Tokenizer

if TYPE_CHECKING:  # it takes a second to import
    from minibert.device import Device

__all__ = ["METHODS", "Summary", "summarize"]


class Summary(NamedTuple):
    """Sentences of a text, each with a weight, and the chosen ones.

    Attributes:
        sentences: all, in their order.
        weights: (n,) what the method gave each; higher is better,
            on the method's own scale. All are 1 where the text has
            no more sentences than asked for. Of a list, an item
            like *1.* has the lowest of the others.
        chosen: which make the summary, in their order.

    >>> Summary(["One.", "Two."], np.array([0.2, 0.8]), (1,)).chosen
    (1,)
    """

    sentences: list[str]
    weights: NDArray[np.float64]
    chosen: tuple[int, ...]

    @property
    def text(self) -> str:
        """The summary."""
        return " ".join(self.sentences[i] for i in self.chosen)

    def _repr_html_(self) -> str:
        return highlight_summary(self)


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
        return np.concatenate([part @ of.astype(kind) for part in rows]).astype(np.float64)

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
    # pyright guesses n_init's type from its default, "auto"
    clustering = KMeans(count, n_init=30, random_state=seed)  # pyright: ignore[reportArgumentType]
    labels = clustering.fit_predict(vectors)
    own = clustering.cluster_centers_[labels]  # (n, H)
    near = (vectors * to_unit(own)).sum(1).round(9)
    weights = near - 1
    for cluster in np.unique(labels):
        mine = np.flatnonzero(labels == cluster)
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
    words = cut_words(part)
    names = [
        word for word in words
        if not any(map(str.isnumeric, word))
        and not ROMAN.fullmatch(word.upper() if word.islower() else word)
        and (len(word) > 1 or unspaced(word))
    ]  # fmt: skip
    return not names or (len(names) == 1 and words[-1] != names[0])


def to_parts(text: str | Sequence[str]) -> list[str]:
    """Cut a text into sentences; a label joins what follows, at the end what is before.

    A list of sentences stays as it is.
    """
    if not isinstance(text, str):
        return as_texts(text, "sentence", empty=True)
    out: list[str] = []
    waiting: list[str] = []
    for part in sentences(*as_texts([text], "text")):
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

    A part like *1.* or *Step 1.* is chosen only if all parts are like that.

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
    model: str | Path | tuple[Any, Tokenizer] = "minilm",
    device: "Device | None" = None,
    seed: int = 0,
) -> Summary:
    """Choose the sentences that stand for a text.

    A sentence that occurs twice, letter for letter, is one: its
    first place counts. A text with no more than `count` different
    sentences is its own summary. Of a sentence longer than `embed`
    reads, 256 tokens for MiniLM, the beginning counts. In a text, a
    bare number (*1.*) or a word with its number (*Step 1.*) is
    joined to the sentence after it.

    Args:
        text: of any length, cut into sentences by the rules of
            English; or a list of its sentences, of which one like
            *1.* or *Step 1.* is chosen only if all are like that.
        count: sentences in the summary.
        method: how sentences are weighed. "graph": PageRank on
            their cosines, as LexRank, Erkan and Radev 2004.
            "centroid": the cosine with their mean. "clusters":
            k-means, of each cluster the one nearest to its centre,
            as Miller 2019. "first" and "random" to compare with.
        model: as in `embed`.
        device: as there.
        seed: of "clusters" and of "random".

    Raises:
        TypeError: no text; a count or seed that is no whole number.
        ValueError: no sentence, a count below 1, a seed below 0,
            another method.
        ModuleNotFoundError: a text that is one string needs
            `sentencex`, of the extra `data`; "clusters" needs
            scikit-learn.

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
