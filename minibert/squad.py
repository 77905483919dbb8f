# Written by tools/tangle.py from
# book/source/qa-training.md
# book/source/texts.md
# Edit that, not this.
"""Questions with answers in a text: LeadQA, SQuAD, their metric.

The metric is that of SQuAD's official scripts, 1.1 and 2.0.
"""

import gzip
import json
import os
import random
import re
import string
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minibert.checks import brief, check_whole
from minibert.data import leads
from minibert.files import download

__all__ = [
    "Question",
    "evaluate",
    "exact_match",
    "f1",
    "leadqa_pages",
    "load_leadqa",
    "load_squad",
    "normalise_answer",
    "read_squad",
    "write_squad",
]


def normalise_answer(text: str) -> str:
    """Take away what counts for nothing when answers are compared.

    What stays is in lower case, without ASCII punctuation, without
    *a*, *an* and *the*, and with one space between words.

    Source: the official evaluation script of SQuAD.
    """
    text = text.lower()
    text = "".join(c for c in text if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_match(prediction: str, answer: str) -> float:
    """Give 1 if both are equal after `normalise_answer`, else 0."""
    same = normalise_answer(prediction) == normalise_answer(answer)
    return float(same)


def f1(prediction: str, answer: str, version: str = "1.1") -> float:
    """Give the F1 of the words that two answers share, 0 to 1.

    If one or both have no word left, version "1.1" gives 0;
    version "2.0" gives 1 if both have none, else 0.
    """
    found = normalise_answer(prediction).split()
    wanted = normalise_answer(answer).split()
    if version == "2.0" and not (found and wanted):
        return float(found == wanted)
    both = (Counter(found) & Counter(wanted)).total()
    return 2 * both / (len(found) + len(wanted)) if both else 0.0


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

    >>> asked = Question("1", "A dog", "Who was bitten?", "It bit him.")
    >>> asked.answers
    ()
    """

    id: str
    title: str
    question: str
    context: str
    answers: tuple[str, ...] = ()
    starts: tuple[int, ...] = ()


def scores(
    question: Question, prediction: str, version: str
) -> tuple[float, float]:
    """Give exact match and F1 with the best of the right answers."""
    wanted: Sequence[str] = question.answers
    if version == "2.0":
        wanted = [x for x in wanted if normalise_answer(x)] or [""]
    return (
        max(exact_match(prediction, x) for x in wanted),
        max(f1(prediction, x, version) for x in wanted),
    )


def evaluate(
    questions: Sequence[Question],
    predictions: Mapping[str, str],
    version: str | None = None,
) -> dict[str, float]:
    """Score predictions as SQuAD's official scripts do.

    Args:
        questions: with all their right answers.
        predictions: an answer for each question's id; "" for none.
            A question without one counts as wrong.
        version: of the script, "1.1" or "2.0"; None takes 2.0 where
            a question has no answer.

    Returns:
        `exact_match` and `f1`, 0 to 100, and `count`; for 2.0 also
        each of the three with `answerable_` and `unanswerable_`
        before it.

    Raises:
        TypeError: predictions that are no mapping to strings.
        ValueError: no questions, an id twice, another version, or
            a question without an answer under 1.1.

    Source: `evaluate-v1.1.py` and `evaluate-v2.0.py` of SQuAD.
    """
    if len({question.id for question in questions}) < len(questions) or not questions:
        raise ValueError(
            f"{len(questions)} questions with {len({x.id for x in questions})} "
            "different ids: each needs its own, and there must be one"
        )
    if not isinstance(predictions, Mapping):
        raise TypeError(f"predictions must map ids to answers, not be {type(predictions).__name__}")
    for question in questions:
        if not isinstance(text := predictions.get(question.id, ""), str):
            raise TypeError(f'{question.id}: an answer must be a string, "" for none, not {text!r}')
    open_ended = any(not question.answers for question in questions)
    version = version or ("2.0" if open_ended else "1.1")
    if version not in ("1.1", "2.0"):
        raise ValueError(f'version must be "1.1" or "2.0", not {version!r}')
    if open_ended and version == "1.1":
        raise ValueError(
            "a question without an answer has no score in version "
            '1.1: use "2.0"'
        )
    table = np.array([
        scores(question, predictions[question.id], version)
        if question.id in predictions else (0.0, 0.0)
        for question in questions
    ])  # fmt: skip
    parts = {"": np.ones(len(questions), bool)}
    if version == "2.0":
        there = np.array([bool(question.answers) for question in questions])
        parts |= {"answerable_": there, "unanswerable_": ~there}
    out: dict[str, float] = {}
    for name, chosen in parts.items():
        if chosen.any():
            exact, overlap = 100 * table[chosen].mean(0)
            out[f"{name}exact_match"] = float(exact)
            out[f"{name}f1"] = float(overlap)
        out[f"{name}count"] = int(chosen.sum())
    return out


SPLITS = ("train", "dev", "test")


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
    texts = {lead.title: lead.text for lead in leads(split)}
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
    """Give questions whose text is a page of eight joined leads.

    All have an answer, and `starts` counts in the page.

    The question's own lead stands at a random place among seven
    others of the same split, a blank line between two.

    Args:
        split: "dev" or "test" as a rule.
        count: how many questions, drawn at random.
        seed: of both draws.

    Raises:
        ValueError: another split, or more than there are.
    """
    answered = [x for x in load_leadqa(split) if x.answers]
    count = check_whole("count", count, 1, len(answered))
    chance = random.Random(seed)
    others = leads(split)
    pages = []
    for question in chance.sample(answered, count):
        rest = [x.text for x in others if x.title != question.title]
        texts = chance.sample(rest, 7)
        place = chance.randrange(8)
        texts.insert(place, question.context)
        shift = sum(len(text) + 2 for text in texts[:place])
        pages.append(
            question._replace(
                context="\n\n".join(texts),
                starts=tuple(start + shift for start in question.starts),
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
        check_answers(one)
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


def read_squad(path: str | PathLike[str]) -> list[Question]:
    """Read a file in SQuAD's format, 1.1 or 2.0, plain or gzipped.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is cut short or of another format, or an
            answer is not where its start says.
    """
    path = Path(path)
    data = path.read_bytes()
    try:
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        articles = json.loads(data)["data"]
        return [
            read_question(asked, str(article.get("title", "")), part["context"])
            for article in articles
            for part in article["paragraphs"]
            for asked in part["qas"]
        ]
    except (EOFError, zlib.error, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is cut short or damaged: {error}") from None
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path} is no SQuAD file, {{'data': [{{'paragraphs': [{{'context': ..., "
            f"'qas': [{{'id', 'question', 'answers'}}]}}]}}]}}: {brief(repr(error))}"
        ) from None
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path}: {brief(error)}") from None


def read_question(asked: Mapping[str, Any], title: str, context: str) -> Question:
    """Read one question of a SQuAD file."""
    spans = [] if asked.get("is_impossible") else asked.get("answers", [])
    one = Question(
        str(asked["id"]),
        title,
        asked["question"],
        context,
        tuple(x["text"] for x in spans),
        tuple(int(x["answer_start"]) for x in spans),
    )
    check_answers(one)
    return one


def check_answers(one: Question) -> None:
    """Refuse an answer that is not where its start says."""
    for answer, start in zip(one.answers, one.starts, strict=True):
        found = one.context[start : start + len(answer)]
        if found != answer:
            raise ValueError(
                f"{one.id}: at {start} stands {found!r}, not the answer {answer!r}"
            )


SQUAD = "rajpurkar/squad"
SQUAD_REVISION = "7b6d24c440a36b6815f21b70d25016731768db1f"
SQUAD_FILES = {  # the hub's name of a split, and names in a folder
    "train": ("train", ["squad-train-v1.1.json", "train-v1.1.json", "train-v2.0.json"]),
    "dev": ("validation", ["squad-dev-v1.1.json", "dev-v1.1.json", "dev-v2.0.json"]),
}


def load_squad(
    split: str = "train", path: str | PathLike[str] | None = None
) -> list[Question]:
    """Read SQuAD: from a file, a folder, or the hub.

    Args:
        split: "train" or "dev".
        path: a file, or a folder with files of the official names,
            plain or with `.gz`; None takes the folder that the
            variable `MINIBERT_SQUAD` names, and without one the
            hub's `rajpurkar/squad` (1.1) at a pinned revision.

    Raises:
        FileNotFoundError: nowhere found, with what was tried.
        ValueError: another split; see `read_squad`.
        ModuleNotFoundError: the hub's file needs pyarrow.

    Source: Rajpurkar, Zhang, Lopyrev and Liang 2016; CC BY-SA 4.0.
    """
    if split not in SQUAD_FILES:
        raise ValueError(f"split must be one of {list(SQUAD_FILES)}, not {split!r}")
    hub_name, names = SQUAD_FILES[split]
    path = path or os.environ.get("MINIBERT_SQUAD")
    if not path:
        return squad_from_hub(hub_name)
    path = Path(path)
    if path.is_dir():
        tried = [path / f"{name}{end}" for name in names for end in ("", ".gz")]
        found = [one for one in tried if one.is_file()]
        if not found:
            wanted = ", ".join(names)
            raise FileNotFoundError(f"{path} has none of {wanted}, nor one with .gz")
        path = found[0]
    return read_squad(path)


def squad_from_hub(split: str) -> list[Question]:
    """Read the hub's copy of SQuAD 1.1, from its cache where it is there."""
    try:
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "the hub's SQuAD is a parquet file, which pyarrow reads:\n"
            "    pip install pyarrow\n"
            "or let MINIBERT_SQUAD name a folder with train-v1.1.json"
        ) from None
    file = f"plain_text/{split}-00000-of-00001.parquet"
    try:
        folder = download(
            SQUAD, [file], SQUAD_REVISION, [file], repo_type="dataset"
        )
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}\nMINIBERT_SQUAD may name a folder with train-v1.1.json"
        ) from None
    return [
        Question(
            row["id"], row["title"], row["question"], row["context"],
            tuple(row["answers"]["text"]), tuple(row["answers"]["answer_start"]),
        )
        for row in pyarrow.parquet.read_table(folder / file).to_pylist()
    ]  # fmt: skip
