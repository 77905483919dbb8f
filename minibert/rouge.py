# Written by tools/tangle.py from
# book/source/sentences.md
# Edit that, not this.
"""How good a summary is: by ROUGE, and by pages mixed on purpose."""

import json
import random
import warnings
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from minibert.checks import check_whole
from minibert.data import leads, sentences
from minibert.files import require
from minibert.sentences import embed
from minibert.summaries import (
    METHODS,
    check_choice,
    cut_words,
    pick,
    to_parts,
)
from minibert.tokens import Tokenizer

if TYPE_CHECKING:  # it takes a second to import
    from minibert.device import Device

__all__ = [
    "Reference",
    "evaluate_summaries",
    "mixed_pages",
    "read_summaries",
    "rouge",
]


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

    Returns:
        Pages of eight sentences, each with its `title`, that of the
        lead with four, `sentences` in random order, and `wanted`,
        the places of the four.

    Raises:
        TypeError: a count that is no whole number.
        ValueError: a count below 1, or above the number of leads
            with four sentences; another split.
        ModuleNotFoundError: the extra `data` is not installed.
    """
    chance = random.Random(seed)
    parts = [(article.title, sentences(article.text)) for article in leads(split)]
    long = [article for article in parts if len(article[1]) >= 4]
    count = check_whole("count", count, 1, len(long))
    pages = []
    for title, mine in chance.sample(long, count):
        rest = [article for article in parts if article[0] != title]
        page = [(part, True) for part in mine[:4]]
        page += [(chance.choice(other), False) for _, other in chance.sample(rest, 4)]
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
        reference = Reference(row["article"], row["summary"])
        if not all(isinstance(part, str) for part in reference):
            raise ValueError(f"{where}: article and summary must be strings")
        if all(part.strip() for part in reference):
            out.append(reference)
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

    Args:
        summary: the one to be scored.
        reference: the one to compare it with.

    Returns:
        The F-measures under "rouge1", "rouge2" and "rougeL".

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
    model: str | Path | tuple[Any, Tokenizer] = "minilm",
    device: "Device | None" = None,
    draws: int = 1000,
    progress: bool = False,
) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Score methods of `summarize` on the same texts, by ROUGE.

    Of "clusters" and "random" the first text has seed 0, the next
    1, and so on.

    Args:
        references: texts with a summary each.
        count: sentences in a summary.
        methods: some of the keys of `METHODS`, which are the
            methods of `summarize`; all where left out.
        model: as in `embed`.
        device: as there.
        draws: of the bootstrap over the texts.
        progress: whether to draw bars, on a terminal.

    Returns:
        For each method a dict with "rouge1", "rouge2" and "rougeL",
        and of each three numbers, 0 to 100: the mean over the texts
        and the lower and upper end of its 95 % bootstrap interval.

    Raises:
        TypeError: methods that are one string; a count or draws of
            another type.
        ValueError: no text, or one without a sentence; a count or
            draws below 1, another method.
        ModuleNotFoundError: rouge-score, `sentencex` of the extra
            `data`, or what a method needs is not installed.
    """
    if isinstance(methods, str):
        raise TypeError(f"methods must be a list; for one, give [{methods!r}]")
    draws = check_whole("draws", draws, 1)
    check_choice(count, methods)
    require("book", "rouge_score")
    if not references:
        raise ValueError("there is no text to summarise")
    parts = [to_parts(text.article) for text in references]
    if [] in parts:
        number = parts.index([]) + 1
        raise ValueError(f"text {number} of {len(parts)} has no sentence: leave it out")
    every = [part for text in parts for part in text]
    vectors = embed(every, model=model, device=device, progress=progress)
    ends = np.cumsum([len(text) for text in parts])
    each = np.split(vectors, ends[:-1])
    table: dict[str, dict[str, tuple[float, float, float]]] = {}
    for method in tqdm(methods, unit="method", disable=None if progress else True):
        rouges = [
            rouge(pick(text, mine, count, method, seed).text, reference.summary)
            for seed, (text, mine, reference) in enumerate(
                zip(parts, each, references, strict=True)
            )
        ]
        table[method] = {
            name: interval(100 * np.array([scores[name] for scores in rouges]), draws)
            for name in ROUGE
        }
    return table
