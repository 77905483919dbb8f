"""Question answering: questions whose answers are spans of a text.

A question set is a list of `Question`. LeadQA ships with the package:
questions written for this book about the leads.
"""

import json
import random
from collections.abc import Iterable
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from minibert.data import leads

__all__ = ["Question", "leadqa_pages", "load_leadqa", "write_squad"]

SPLITS = ("train", "dev", "test")


class Question(NamedTuple):
    """A question about a text.

    Attributes:
        id: unique in its set.
        title: of the article that it is about.
        question: one sentence.
        context: the text that holds the answer, or not.
        answers: right answers, spans of `context`; none where the
            text does not say.
        starts: the character of `context` where each answer begins.
    """

    id: str
    title: str
    question: str
    context: str
    answers: tuple[str, ...]
    starts: tuple[int, ...]


def load_leadqa(split: str) -> list[Question]:
    """Read the book's own questions about leads.

    Args:
        split: "train", "dev" or "test", of the questions as of
            `minibert.data.leads`.

    Returns:
        The questions, an article's own together. Those without an
        answer are among them.

    Raises:
        ValueError: another split.
        ModuleNotFoundError: the package with the leads is missing.

    >>> question = load_leadqa("dev")[0]
    >>> start = question.starts[0]
    >>> answer = question.answers[0]
    >>> question.context[start : start + len(answer)] == answer
    True
    """
    if split not in SPLITS:  # None, every lead to `leads`, is no split
        raise ValueError(f"split must be one of {SPLITS}, not {split!r}")
    texts = {one.title: one.text for one in leads(split)}
    file = resources.files("minibert") / "leadqa" / "leadqa.jsonl"
    questions = []
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["split"] != split:
            continue
        there = row["answer"] is not None
        questions.append(
            Question(
                row["id"],
                row["title"],
                row["question"],
                texts[row["title"]],
                (row["answer"],) if there else (),
                (row["answer_start"],) if there else (),
            )
        )
    return questions


def leadqa_pages(split: str, count: int = 100, seed: int = 0) -> list[Question]:
    """Ask questions with an answer on pages of eight joined leads.

    The question's own lead stands at a random place among seven
    others of the same split, a blank line between two.

    Args:
        split: "dev" or "test" as a rule.
        count: how many questions, drawn at random.
        seed: of both draws.

    Raises:
        ValueError: another split, or more than there are.
    """
    answered = [one for one in load_leadqa(split) if one.answers]
    if not 1 <= count <= len(answered):
        raise ValueError(f"count is {count}, not 1 to {len(answered)}")
    chance = random.Random(seed)
    others = leads(split)
    pages = []
    for one in chance.sample(answered, count):
        rest = [x.text for x in others if x.title != one.title]
        texts = chance.sample(rest, 7)
        place = chance.randrange(8)
        texts.insert(place, one.context)
        shift = sum(len(text) + 2 for text in texts[:place])
        pages.append(
            one._replace(
                context="\n\n".join(texts),
                starts=tuple(start + shift for start in one.starts),
            )
        )
    return pages


def write_squad(
    questions: Iterable[Question], path: str | PathLike[str]
) -> None:
    """Write questions as a file in SQuAD 2.0's format (JSON).

    Questions on the same text stand together under it. A question
    without an answer has `is_impossible` true.

    Raises:
        ValueError: an answer is not where its start says; nothing
            is written.

    Source: Rajpurkar, Jia and Liang 2018, Know What You Don't Know.
    """
    texts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in questions:
        spans = list(zip(one.answers, one.starts, strict=True))
        for answer, start in spans:
            found = one.context[start : start + len(answer)]
            if found != answer:
                raise ValueError(
                    f"{one.id}: at {start} stands {found!r}, not the "
                    f"answer {answer!r}"
                )
        asked = {
            "id": one.id,
            "question": one.question,
            "answers": [{"text": a, "answer_start": s} for a, s in spans],
            "is_impossible": not spans,
        }
        texts.setdefault((one.title, one.context), []).append(asked)
    articles: dict[str, list[dict[str, Any]]] = {}
    for (title, context), asked_here in texts.items():
        paragraph = {"context": context, "qas": asked_here}
        articles.setdefault(title, []).append(paragraph)
    data = [
        {"title": title, "paragraphs": paragraphs}
        for title, paragraphs in articles.items()
    ]
    text = json.dumps({"version": "v2.0", "data": data}, ensure_ascii=False)
    Path(path).write_text(text + "\n", encoding="utf-8")
