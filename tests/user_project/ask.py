"""What a user writes to ask, search, sort and sum up: every value with its type."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import minibert
from minibert import Answer, Summary, answer, answer_all, embed, nearest, summarize
from minibert.squad import Question


def ask(question: str, text: str, sure: float = 0.5) -> str | None:
    """The answer's words, or None when the model is not sure."""
    found: Answer = answer(question, text, model="minilm-qa", others=1)
    return found.text if found.probability >= sure else None


def ask_many(questions: Sequence[str], text: str) -> list[tuple[int, int]]:
    """Where each answer stands."""
    asked = [Question(str(i), "page", one, text) for i, one in enumerate(questions)]
    return [(one.start, one.end) for one in answer_all(asked)]


def search(query: str, texts: list[str], count: int = 3) -> list[tuple[str, float]]:
    """The texts nearest to a query, with their similarity."""
    vectors: NDArray[np.float32] = embed(texts, batch_size=8)
    at, scores = nearest(embed([query]), vectors, count)
    return [(texts[int(i)], float(score)) for i, score in zip(at[0], scores[0], strict=True)]


def sum_up(page: Path) -> list[str]:
    """The sentences that stand for a page."""
    found: Summary = summarize(page.read_text(encoding="utf-8"), 2)
    return [found.sentences[i] for i in found.chosen]


def sort(text: str, folder: Path) -> str:
    """The likeliest class."""
    scores: dict[str, float] = minibert.classify(text, model=folder)
    return max(scores, key=lambda name: scores[name])


def names(text: str, folder: Path) -> list[str]:
    """What a tagger marks."""
    return [text[one.start : one.end] for one in minibert.tag(text, model=folder)]


def guess(text: str) -> list[str]:
    """The likeliest words of each blank."""
    return [one.words[0] for one in minibert.fill_mask(text, k=3)]


def follows(first: str, second: str) -> bool:
    """Whether the second text goes on with the first."""
    return minibert.next_sentence(first, second) > 0.5


def offered() -> dict[str, int]:
    """The models that load without a network, and their size."""
    return {one.name: one.size for one in minibert.models()}
