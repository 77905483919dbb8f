# Written by tools/tangle.py from
# book/source/qa.md
# book/source/qa-training.md
# Edit that, not this.
"""Question answering: the span of a text that answers a question.

Shapes: `n` windows.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from minibert.checks import check_whole
from minibert.loading import (
    compute,
    load,
    row_length,
    stream,
    to_numpy,
)
from minibert.moved import moved
from minibert.spans import EMPTY, Answer, choose_answer, read_windows
from minibert.squad import Question, scores
from minibert.tokens import Tokenizer
from minibert.windows import Offsets, cut_windows, find_tokens

if TYPE_CHECKING:  # it takes a second to import
    from minibert.device import Device
else:  # names of 0.2
    __getattr__ = moved(__name__)

__all__ = [
    "answer",
    "answer_all",
    "best_threshold",
    "question_rows",
]


Loaded = tuple[Any, Tokenizer]  # a model and its tokenizer


@overload
def answer_all(
    questions: Sequence[Question],
    *,
    model: str | Path | Loaded = "minilm-qa",
    device: "Device | None" = None,
    threshold: float | None = None,
    others: int = 0,
    longest: int = 30,
    max_length: int = 384,
    doc_stride: int | None = None,
    batch_size: int = 32,
    packed: bool = False,
) -> list[Answer]: ...


@overload
def answer_all(
    questions: Iterator[Question],
    *,
    model: str | Path | Loaded = "minilm-qa",
    device: "Device | None" = None,
    threshold: float | None = None,
    others: int = 0,
    longest: int = 30,
    max_length: int = 384,
    doc_stride: int | None = None,
    batch_size: int = 32,
    packed: bool = False,
) -> Iterator[Answer]: ...


def answer_all(
    questions: Sequence[Question] | Iterator[Question],
    *,
    model: str | Path | Loaded = "minilm-qa",
    device: "Device | None" = None,
    threshold: float | None = None,
    others: int = 0,
    longest: int = 30,
    max_length: int = 384,
    doc_stride: int | None = None,
    batch_size: int = 32,
    packed: bool = False,
) -> list[Answer] | Iterator[Answer]:
    """Answer many questions, each about its own text.

    The right answers that a `Question` holds are not looked at.
    Windows of similar length are computed together. A question or a
    text without a token gets an empty answer: its `text` is "", and
    its `no_answer` inf.

    Args:
        questions: each with its text; of an iterator, they are
            read as they are needed.
        model: as in `answer`.
        device: as in `answer`.
        threshold: as in `answer`.
        others: as in `answer`, but none unless asked for.
        longest: as in `answer`.
        max_length: as in `answer`.
        doc_stride: as in `cut_windows`.
        batch_size: windows at a time.
        packed: compute no padding, as in `embed`.

    Returns:
        One for each question, in their order: a list; an iterator
        where the questions are one.

    Raises:
        TypeError: something that is no `Question`, or a number of
            another type.
        ValueError: as `answer`, but for a text without a word; a
            `batch_size` below 1; a model whose logits are nan.

    >>> one = Question("1", "", "Where does it end?", "It ends in the Black Sea.")
    >>> [found.text for found in answer_all([one])]
    ['the Black Sea']
    """
    longest, others = check_whole("longest", longest, 1), check_whole("others", others, 0)
    batch_size = check_whole("batch_size", batch_size, 1)
    max_length = check_whole("max_length", max_length, 1)
    if doc_stride is not None:
        doc_stride = check_whole("doc_stride", doc_stride, 1)
    if threshold is not None and math.isnan(threshold):
        raise ValueError("threshold is nan: give a number, or None")
    bert, tokenizer = load(model, "BertForQuestionAnswering", device)
    max_length = row_length(bert, max_length)
    if isinstance(questions, Iterator):
        return stream(questions, lambda chunk: answer_all(
            chunk, model=(bert, tokenizer), threshold=threshold, others=others,
            longest=longest, max_length=max_length, doc_stride=doc_stride,
            batch_size=batch_size, packed=packed,
        ))  # fmt: skip
    for number, question in enumerate(questions):
        if not isinstance(question, Question):
            raise TypeError(
                f"question {number} must be a Question, as minibert.Question(id, "
                f"title, question, context), not {question!r}"
            )
    windows = [
        cut_windows(x.question, x.context, tokenizer, max_length, doc_stride)
        for x in questions
    ]

    def score(rows: list[dict[str, Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        output, _ = compute(bert, rows, tokenizer.pad_id, packed)
        return to_numpy(output.start_logits), to_numpy(output.end_logits)

    results = read_windows(
        windows, score, longest=longest, count=others + 1, batch_size=batch_size
    )
    return [
        choose_answer(x.context, cut.offsets, result, others=others, threshold=threshold)
        if result else EMPTY
        for x, cut, result in zip(questions, windows, results, strict=True)
    ]  # fmt: skip


def answer(
    question: str,
    context: str,
    *,
    model: str | Path | Loaded = "minilm-qa",
    device: "Device | None" = None,
    threshold: float | None = None,
    others: int = 3,
    longest: int = 30,
    max_length: int = 384,
    doc_stride: int | None = None,
) -> Answer:
    """Find the span of a text that answers a question.

    Args:
        question: one sentence; its first 64 tokens are used.
        context: the text, of any length.
        model: a name that ships, a folder, a hub id, or a
            `BertForQuestionAnswering` and its tokenizer.
        device: where to put a model that is named; None for the
            best.
        threshold: how far the score of no answer may lie above that
            of the best span; beyond it the answer is "". None
            always gives a span.
        others: how many of the next best to give.
        longest: tokens that an answer may have.
        max_length: as in `cut_windows`; more than the model has
            positions counts as those.
        doc_stride: as in `cut_windows`.

    Raises:
        TypeError: not two strings; a number of another type.
        ValueError: a question or a text without a word; `longest`
            below 1, `others` below 0, a threshold that is nan; see
            `cut_windows`.
        FileNotFoundError, TypeError, ValueError: as `load`: among
            others a model in training mode, or one without a
            trained head.

    >>> text = "The Danube rises in Germany and ends in the Black Sea."
    >>> answer("Where does the Danube rise?", text).text
    'Germany'
    """
    for name, text in [("question", question), ("context", context)]:
        if not isinstance(text, str):
            raise TypeError(f"{name} must be a string, not {text!r}")
    result = answer_all(
        [Question("", "", question, context)],
        model=model, device=device, threshold=threshold, others=others,
        longest=longest, max_length=max_length, doc_stride=doc_stride,
    )[0]  # fmt: skip
    if result is EMPTY:
        raise ValueError(
            "question and context need a word each, but are "
            f"{question[:40]!r} and {context[:40]!r}"
        )
    return result


def answer_tokens(question: Question, offsets: Offsets) -> tuple[int, int] | None:
    """Find the first and last token of the first right answer; None without one."""
    if not question.answers:
        return None
    start, end = question.starts[0], question.starts[0] + len(question.answers[0])
    tokens = find_tokens(offsets, start, end)
    if tokens is None:
        raise ValueError(
            f"question {question.id}: no token lies at characters {start} to {end} of its text"
        )
    return tokens


def question_rows(
    questions: Iterable[Question], tokenizer: Tokenizer,
    max_length: int = 384, doc_stride: int | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Turn questions into rows to train on, one for each window.

    A window that does not hold the whole answer points at [CLS],
    column 0, as a question without an answer does. Of several
    answers the first is taken.

    Args:
        questions: with their answers; none where the text does not
            say.
        tokenizer: the model's.
        max_length: as in `cut_windows`, no more than the model has
            positions.
        doc_stride: as in `cut_windows`.

    Returns:
        Rows as `fine_tune` takes them: `input_ids`,
        `token_type_ids`, and the columns of the answer's first and
        last token, `start_positions` and `end_positions`.

    Raises:
        ValueError: as `cut_windows`; an answer without any token.

    >>> one = Question("1", "", "Who?", "Ada came.", ("Ada",), (0,))
    >>> tokenizer = Tokenizer.from_pretrained("minilm")
    >>> question_rows([one], tokenizer)[0]["start_positions"]
    4
    """
    rows = []
    for question in questions:
        windows = cut_windows(
            *question[2:4], tokenizer, max_length, doc_stride
        )
        tokens = answer_tokens(question, windows.offsets)
        for row, (begin, end) in zip(
            windows.rows, windows.spans, strict=True
        ):
            first = last = 0
            if tokens and begin <= tokens[0] and tokens[1] < end:
                shift = windows.column - begin
                first, last = tokens[0] + shift, tokens[1] + shift
            ends = {"start_positions": first, "end_positions": last}
            rows.append(row | ends)
    return rows


def best_threshold(
    questions: Sequence[Question], answers: Sequence[Answer]
) -> tuple[float, float]:
    """Choose the best `threshold` for `answer`, by a dev set.

    A text does not say where an answer's `no_answer` is above it.

    Args:
        questions: of a dev set, some without an answer.
        answers: of `answer_all`, without a threshold.

    Returns:
        The threshold with the highest F1 of SQuAD 2.0, and that F1,
        0 to 100. The threshold is -inf where no answer at all is
        the best.

    Raises:
        ValueError: no question, or not one answer for each.

    Source: `find_best_thresh` in `evaluate-v2.0.py`.
    """
    if len(questions) != len(answers) or not questions:
        raise ValueError(
            f"{len(questions)} questions with {len(answers)} answers: "
            "each needs one, and there must be one"
        )
    pairs = zip(questions, answers, strict=True)
    gains = []  # of answering too, in the order of the margins
    for question, prediction in pairs:
        gain = scores(question, prediction.text, "2.0")[1]
        if not question.answers:
            gain = -float(bool(prediction.text))
        gains.append((prediction.no_answer, gain))
    total = float(sum(not question.answers for question in questions))  # "" for all
    best, threshold = total, -math.inf
    for margin, gain in sorted(gains):
        total += gain
        if total > best:
            best, threshold = total, margin
    return threshold, 100 * best / len(gains)
