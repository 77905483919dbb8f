# Written by tools/tangle.py from
# book/source/qa.md
# Edit that, not this.
"""Question answering: the span of a text that answers a question.

Shapes: `B` batch, `S` sequence, `H` hidden, `n` rows.
"""

import gzip
import html
import json
import math
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
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from minibert.bert import (
    BertConfig,
    BertModel,
    BertPreTrainedModel,
    load,
)
from minibert.classification import class_loss, collate
from minibert.data import leads
from minibert.device import Device
from minibert.tokens import Tokenizer

__all__ = [
    "Answer",
    "BertForQuestionAnswering",
    "Question",
    "QuestionAnsweringOutput",
    "Windows",
    "answer",
    "answer_all",
    "best_spans",
    "best_threshold",
    "cut_windows",
    "evaluate",
    "exact_match",
    "f1",
    "find_tokens",
    "highlight",
    "leadqa_pages",
    "load_leadqa",
    "load_squad",
    "normalise_answer",
    "question_rows",
    "read_squad",
    "trusted_window",
    "write_squad",
]


class QuestionAnsweringOutput(NamedTuple):
    """What `BertForQuestionAnswering` returns."""

    loss: Tensor | None  # nats, the mean of start's and end's
    start_logits: Tensor  # (B, S)
    end_logits: Tensor  # (B, S)
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class BertForQuestionAnswering(BertPreTrainedModel):
    """BERT with two scores on each token: begins here, ends here.

    Args:
        config: its numbers.

    Source: Devlin et al. 2019, section 4.2.

    >>> model = BertForQuestionAnswering(BertConfig())
    >>> model(torch.tensor([[101, 2040, 102]])).start_logits.shape
    torch.Size([1, 3])
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)
        self.initialise()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> QuestionAnsweringOutput:
        """Score each token as first and as last of the answer.

        Args:
            input_ids: (B, S); the next three as in `BertModel`.
            attention_mask: (B, S) or (B, S, S).
            token_type_ids: (B, S), 1 in the text.
            position_ids: (B, S).
            start_positions: (B,) the column of the answer's first
                token; 0, that of [CLS], where there is none.
            end_positions: (B,) the column of its last token.
            output_hidden_states: as in `BertModel`.
            output_attentions: as in `BertModel`.

        Raises:
            TypeError, ValueError, IndexError: as in `BertModel`;
                positions of another type, shape or range, or one
                of the two alone.
        """
        output = self.bert(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        scores = self.qa_outputs(
            output.last_hidden_state
        )  # (B, S, 2)
        start, end = scores.unbind(-1)  # (B, S) each
        loss = None
        if start_positions is not None or end_positions is not None:
            first = position_loss(start, start_positions, "start")
            last = position_loss(end, end_positions, "end")
            loss = (first + last) / 2
        return QuestionAnsweringOutput(
            loss, start, end, *output[2:]
        )


def position_loss(scores: Tensor, positions: Tensor | None, which: str) -> Tensor:
    """Do as `class_loss` over the columns of `scores` (B, S).

    Raises:
        TypeError, IndexError: as there.
        ValueError: none, or not one a row.
    """
    name = f"{which}_positions"
    if positions is None:
        raise ValueError(f"{name} is missing: the loss needs both ends")
    return class_loss(scores, positions, name, ": where the answer is cut off, give 0")


def best_spans(
    start: Tensor, end: Tensor, longest: int, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Find the spans with the highest start + end.

    Args:
        start: (B, S) scores; -inf where no span may begin.
        end: (B, S) scores; -inf where none may end.
        longest: tokens in a span.
        count: how many to find.

    Returns:
        Scores, first and last columns, (B, count) each, the best
        first; fewer where there are fewer pairs of columns, and
        -inf where the pair is no span.
    """
    size = start.shape[1]
    longest = min(longest, size)
    padded = F.pad(end, (0, longest - 1), value=-math.inf)
    ends = padded.unfold(1, longest, 1)  # (B, S, longest)
    scores = start[:, :, None] + ends
    flat = scores.flatten(1)  # (B, S * longest)
    best, place = flat.topk(min(count, flat.shape[1]))
    first = place // longest
    return best, first, first + place % longest


Offsets = Sequence[tuple[int, int]]  # characters of each token


def find_tokens(
    offsets: Offsets, start: int, end: int
) -> tuple[int, int] | None:
    """Find the tokens of the characters `start` to `end`.

    Returns:
        The first and the last token that has one of them; None
        where none has. Where an end lies inside a token, the whole
        token is taken.
    """
    inside = [
        i
        for i, (a, b) in enumerate(offsets)
        if a < end and b > start
    ]
    return (inside[0], inside[-1]) if inside else None


class Windows(NamedTuple):
    """A question and its text, cut into rows for a model.

    Attributes:
        rows: of each window, as `collate` takes them:
            [CLS] question [SEP] part of the text [SEP].
        spans: the text's tokens in each: the first, and the one
            after the last.
        column: where the text begins in every row.
        offsets: the characters of each of the text's tokens.
    """

    rows: list[dict[str, Any]]
    spans: list[tuple[int, int]]
    column: int
    offsets: Offsets


def cut_windows(
    question: str,
    context: str,
    tokenizer: Tokenizer,
    max_length: int = 384,
    doc_stride: int | None = None,
) -> Windows:
    """Lay a question beside each part of its text.

    Args:
        question: its first 64 tokens are used.
        context: of any length.
        tokenizer: the model's.
        max_length: tokens in a row.
        doc_stride: tokens of the text from one window's begin to
            the next one's; None takes a third of `max_length`.

    Raises:
        ValueError: no room for the text, or windows that would
            leave tokens out between them.

    Source: `run_squad.py` of BERT's repository.
    """
    asked = tokenizer.encode(question, max_length=66).ids  # 64 + 2
    text = tokenizer.encode(context)
    ids, offsets = text.ids[1:-1], text.offsets[1:-1]
    room = max_length - len(asked) - 1
    doc_stride = (
        max_length // 3 if doc_stride is None else doc_stride
    )
    if not 0 < doc_stride <= room:
        raise ValueError(
            f"beside a question of {len(asked)} tokens max_length "
            f"{max_length} leaves room for {max(room, 0)} of the "
            f"text, and doc_stride is {doc_stride}, not 1 to that"
        )
    rows, spans, begin = [], [], 0
    while True:
        end = min(begin + room, len(ids))
        part = [*ids[begin:end], tokenizer.sep_id]
        types = [0] * len(asked) + [1] * len(part)
        rows.append(
            {"input_ids": asked + part, "token_type_ids": types}
        )
        spans.append((begin, end))
        if end == len(ids):
            return Windows(rows, spans, len(asked), offsets)
        begin += doc_stride


def trusted_window(
    spans: Sequence[tuple[int, int]], count: int
) -> NDArray[np.int64]:
    """Give, for each of `count` tokens, the window to believe.

    It is the one that shows most of the text on the token's poorer
    side, with a hundredth of its length added; of equals the first.

    Source: `_check_is_max_context` in `run_squad.py`.
    """
    best = np.full(count, -1.0)
    trusted = np.zeros(count, np.int64)
    for window, (begin, end) in enumerate(spans):
        token = np.arange(begin, end)
        sides = np.minimum(token - begin, end - 1 - token)
        score = sides + 0.01 * (end - begin)
        better = score > best[begin:end]
        trusted[begin:end][better] = window
        best[begin:end][better] = score[better]
    return trusted


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
    answers: tuple[str, ...] = ()
    starts: tuple[int, ...] = ()


def question_rows(
    questions: Iterable[Question],
    tokenizer: Tokenizer,
    max_length: int = 384,
    doc_stride: int | None = None,
) -> list[dict[str, Any]]:
    """Turn questions into rows to train on, one for each window.

    A window that does not hold the whole answer points at [CLS],
    column 0, as a question without an answer does. Of several
    answers the first is taken.

    Args:
        questions: with their answers.
        tokenizer: the model's.
        max_length: as in `cut_windows`.
        doc_stride: as there.

    Raises:
        ValueError: as `cut_windows`; an answer without any token.
    """
    rows = []
    for one in questions:
        windows = cut_windows(
            one.question,
            one.context,
            tokenizer,
            max_length,
            doc_stride,
        )
        found = None
        if one.answers:
            start, end = (
                one.starts[0],
                one.starts[0] + len(one.answers[0]),
            )
            found = find_tokens(windows.offsets, start, end)
            if found is None:
                raise ValueError(
                    f"question {one.id}: no token lies at "
                    f"characters {start} to {end} of its text"
                )
        for row, (begin, end) in zip(
            windows.rows, windows.spans, strict=True
        ):
            first = last = 0
            if found and begin <= found[0] and found[1] < end:
                first = windows.column + found[0] - begin
                last = windows.column + found[1] - begin
            rows.append(
                row
                | {"start_positions": first, "end_positions": last}
            )
    return rows


class Answer(NamedTuple):
    """A span of a text, as the answer to a question.

    Attributes:
        text: `context[start:end]`; "" where it is no answer.
        start: the character where it begins.
        end: the one after its last.
        score: start's logit plus end's.
        probability: of this span, among all that may begin and end
            somewhere in the text and no answer.
        no_answer: the score of no answer, less that of the best
            span: above the threshold, the text does not say.
        others: the next best ones.
    """

    text: str
    start: int
    end: int
    score: float
    probability: float
    no_answer: float
    others: tuple["Answer", ...] = ()


Reader = tuple[BertForQuestionAnswering, Tokenizer]


class Found(NamedTuple):
    """What all windows of one question gave."""

    spans: list[tuple[float, int, int]]  # score, first and last token
    null: float  # the lowest score of [CLS], of all windows
    starts: float  # log of the sum of exp over all starts
    ends: float


def look(
    model: BertForQuestionAnswering,
    some: Sequence[tuple[Windows, NDArray[np.int64], int]],
    pad_id: int, longest: int, count: int,
) -> list[Found]:  # fmt: skip
    """Read one window each of several questions."""
    batch = collate([windows.rows[i] for windows, _, i in some], pad_id)
    begin, end = np.zeros((2, *batch["input_ids"].shape), bool)
    for row, (windows, trusted, i) in enumerate(some):
        first, last = windows.spans[i]
        text = slice(windows.column, windows.column + last - first)
        begin[row, text] = trusted[first:last] == i
        end[row, text] = True
    output = model(**{name: x.to(model.device) for name, x in batch.items()})
    starts, ends = (
        scores.float().cpu().masked_fill(~torch.from_numpy(where), -math.inf)
        for scores, where in [(output.start_logits, begin), (output.end_logits, end)]
    )
    null = (output.start_logits[:, 0] + output.end_logits[:, 0]).float().tolist()
    sums = [x.logsumexp(1).tolist() for x in (starts, ends)]
    scores, firsts, lasts = (x.tolist() for x in best_spans(starts, ends, longest, count))
    found = []
    for row, (windows, _, i) in enumerate(some):
        shift = windows.spans[i][0] - windows.column
        spans = [
            (score, first + shift, last + shift)
            for score, first, last in zip(
                scores[row], firsts[row], lasts[row], strict=True
            )
            if score > -math.inf
        ]
        found.append(Found(spans, null[row], sums[0][row], sums[1][row]))
    return found


def join(found: Sequence[Found]) -> Found:
    """Put what the windows of one question gave together."""
    spans = sorted((span for one in found for span in one.spans), reverse=True)
    return Found(
        spans,
        min(one.null for one in found),
        float(np.logaddexp.reduce([one.starts for one in found])),
        float(np.logaddexp.reduce([one.ends for one in found])),
    )


def to_answer(
    context: str, offsets: Offsets, found: Found, others: int,
    threshold: float | None,
) -> Answer:  # fmt: skip
    """Choose the best span, or none; keep the next ones."""
    every = float(np.logaddexp(found.starts + found.ends, found.null))
    margin = found.null - found.spans[0][0]
    answers = []
    for score, first, last in found.spans[: others + 1]:
        start, end = offsets[first][0], offsets[last][1]
        sure = math.exp(score - every)
        answers.append(Answer(context[start:end], start, end, score, sure, margin))
    if threshold is not None and margin > threshold:
        sure = math.exp(found.null - every)
        answers.insert(0, Answer("", 0, 0, found.null, sure, margin))
    return answers[0]._replace(others=tuple(answers[1 : 1 + others]))


EMPTY = Answer("", 0, 0, 0.0, 1.0, math.inf)  # of a text without a token


def check_whole(name: str, value: int, least: int, most: int | None = None) -> int:
    """Give back an argument that must be a whole number of a range.

    Raises:
        TypeError, ValueError: it is not; they name it.
    """
    if not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if value < least or (most is not None and value > most):
        end = "or more" if most is None else f"to {most}"
        raise ValueError(f"{name} is {value}, not {least} {end}")
    return int(value)


@torch.no_grad()
def answer_all(
    questions: Sequence[Question],
    *,
    model: str | Path | Reader = "minilm-qa",
    device: Device | None = None,
    threshold: float | None = None,
    others: int = 0,
    longest: int = 30,
    max_length: int = 384,
    doc_stride: int | None = None,
    batch_size: int = 32,
) -> list[Answer]:
    """Answer many questions; what is right is not looked at.

    Windows of like length are computed together. A question or a
    text without a token gets an empty answer.

    Args:
        questions: each with its text.
        model: as in `answer`, and the next four.
        device: see there.
        threshold: see there.
        others: see there.
        longest: see there.
        max_length: as in `cut_windows`, at most the model's own.
        doc_stride: as there.
        batch_size: windows at a time.

    Returns:
        One for each question, in their order.

    Raises:
        TypeError: something that is no `Question`, or a number of
            another type.
        ValueError: as `answer`, but for a text without a word; a
            `batch_size` below 1.
    """
    for number, one in enumerate(questions):
        if not isinstance(one, Question):
            raise TypeError(f"question {number} must be a Question, not {one!r}")
    longest, others = check_whole("longest", longest, 1), check_whole("others", others, 0)
    batch_size = check_whole("batch_size", batch_size, 1)
    max_length = check_whole("max_length", max_length, 1)
    if doc_stride is not None:
        doc_stride = check_whole("doc_stride", doc_stride, 1)
    if threshold is not None and math.isnan(threshold):
        raise ValueError("threshold is nan: give a number, or None")
    bert, tokenizer = load(BertForQuestionAnswering, model, device)
    max_length = min(max_length, bert.config.max_position_embeddings)
    windows = [
        cut_windows(x.question, x.context, tokenizer, max_length, doc_stride)
        for x in questions
    ]
    parts: list[list[Found]] = [[] for _ in windows]
    trusted = [trusted_window(x.spans, len(x.offsets)) for x in windows]
    todo = [
        (len(row["input_ids"]), number, i)
        for number, cut in enumerate(windows)
        if cut.offsets and cut.column > 2
        for i, row in enumerate(cut.rows)
    ]
    todo.sort()
    for at in range(0, len(todo), batch_size):
        some = todo[at : at + batch_size]
        rows = [(windows[n], trusted[n], i) for _, n, i in some]
        found = look(bert, rows, tokenizer.pad_id, longest, others + 1)
        for (_, number, _), part in zip(some, found, strict=True):
            parts[number].append(part)
    return [
        to_answer(x.context, cut.offsets, join(part), others, threshold)
        if part else EMPTY
        for x, cut, part in zip(questions, windows, parts, strict=True)
    ]  # fmt: skip


def answer(
    question: str,
    context: str,
    *,
    model: str | Path | Reader = "minilm-qa",
    device: Device | None = None,
    threshold: float | None = None,
    others: int = 3,
    longest: int = 30,
    max_length: int = 384,
    doc_stride: int | None = None,
) -> Answer:
    """Find the span of a text that answers a question.

    Args:
        question: one sentence.
        context: the text, of any length.
        model: a name that ships, a folder, a hub id, or a model and
            its tokenizer.
        device: where to put a model that is named; None for the
            best.
        threshold: how far the score of no answer may lie above that
            of the best span; beyond it the answer is "". None
            always gives a span.
        others: how many of the next best to give.
        longest: tokens in an answer.
        max_length: as in `cut_windows`, at most the model's own.
        doc_stride: as there.

    Raises:
        TypeError: not two strings; a number of another type.
        ValueError: a question or a text without a word; `longest`
            below 1, `others` below 0, a threshold that is no number;
            see `cut_windows`.

    >>> text = "The Danube rises in Germany and ends in the Black Sea."
    >>> answer("Where does the Danube rise?", text).text
    'Germany'
    """
    for name, text in [("question", question), ("context", context)]:
        if not isinstance(text, str):
            raise TypeError(f"{name} must be a string, not {text!r}")
    one = answer_all(
        [Question("", "", question, context)],
        model=model, device=device, threshold=threshold, others=others,
        longest=longest, max_length=max_length, doc_stride=doc_stride,
    )[0]  # fmt: skip
    if one is EMPTY:
        raise ValueError(
            "question and context need a word each, but are "
            f"{question[:40]!r} and {context[:40]!r}"
        )
    return one


PLAIN = "mathjax_ignore tex2jax_ignore"  # the class of text without formulas


def highlight(context: str, found: Answer) -> str:
    """Mark an answer in its text, and underline the next best: HTML.

    Where spans overlap, the better one is kept. Of a long text
    400 characters before the first and after the last are shown.
    A page takes no *$5 and $10* in it for a formula.

    Raises:
        ValueError: the answer is of another text.
    """
    kept: list[Answer] = []
    for one in (found, *found.others):
        if context[one.start : one.end] != one.text:
            raise ValueError(f"{one.text!r} is not at {one.start} of this text")
        if one.text and all(one.end <= x.start or one.start >= x.end for x in kept):
            kept.append(one)
    kept.sort(key=lambda one: one.start)
    begin = max(min((x.start for x in kept), default=0) - 400, 0)
    end = max((x.end for x in kept), default=400) + 400
    out, at = ["… " if begin else ""], begin
    for one in kept:
        mark = 'mark style="background: #F7D774; color: #222"'
        if one is not found:
            mark = 'span style="border-bottom: 2px solid #E69F00"'
        sure = f' title="{one.probability:.0%}"'
        out += [
            html.escape(context[at : one.start]),
            f"<{mark}{sure}>{html.escape(one.text)}</{mark.split()[0]}>",
        ]
        at = one.end
    out += [html.escape(context[at:end]), " …" if end < len(context) else ""]
    text = "".join(out).replace("\n", "<br>")
    return f'<span class="{PLAIN}">{text}</span>'


def normalise_answer(text: str) -> str:
    """Take away what counts for nothing when answers are compared.

    Case, ASCII punctuation, the words *a*, *an* and *the*, and
    spaces but one.

    Source: the official evaluation script of SQuAD.
    """
    text = text.lower()
    text = "".join(c for c in text if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_match(prediction: str, answer: str) -> float:
    """Give 1 where the two are one after `normalise_answer`."""
    same = normalise_answer(prediction) == normalise_answer(answer)
    return float(same)


def f1(prediction: str, answer: str, version: str = "1.1") -> float:
    """Give the F1 of the words that two answers share, 0 to 1.

    Where one of the two has no word left, version "2.0" gives 1 if
    neither has, "1.1" gives 0.
    """
    found = normalise_answer(prediction).split()
    wanted = normalise_answer(answer).split()
    if version == "2.0" and not (found and wanted):
        return float(found == wanted)
    both = (Counter(found) & Counter(wanted)).total()
    return 2 * both / (len(found) + len(wanted)) if both else 0.0


def scores(
    one: Question, prediction: str, version: str
) -> tuple[float, float]:
    """Give exact match and F1 with the best of the right answers."""
    wanted: Sequence[str] = one.answers
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
    if len({one.id for one in questions}) < len(questions) or not questions:
        raise ValueError(
            f"{len(questions)} questions with {len({x.id for x in questions})} "
            "different ids: each needs its own, and there must be one"
        )
    if not isinstance(predictions, Mapping):
        raise TypeError(f"predictions must map ids to answers, not be {type(predictions).__name__}")
    for one in questions:
        if not isinstance(said := predictions.get(one.id, ""), str):
            raise TypeError(f'{one.id}: an answer must be a string, "" for none, not {said!r}')
    open_ended = any(not one.answers for one in questions)
    version = version or ("2.0" if open_ended else "1.1")
    if version not in ("1.1", "2.0"):
        raise ValueError(f'version must be "1.1" or "2.0", not {version!r}')
    if open_ended and version == "1.1":
        raise ValueError(
            "a question without an answer has no score in version "
            '1.1: use "2.0"'
        )
    table = np.array([
        scores(one, predictions[one.id], version)
        if one.id in predictions else (0.0, 0.0)
        for one in questions
    ])  # fmt: skip
    parts = {"": np.ones(len(questions), bool)}
    if version == "2.0":
        there = np.array([bool(one.answers) for one in questions])
        parts |= {"answerable_": there, "unanswerable_": ~there}
    out: dict[str, float] = {}
    for name, chosen in parts.items():
        if chosen.any():
            exact, overlap = 100 * table[chosen].mean(0)
            out[f"{name}exact_match"] = float(exact)
            out[f"{name}f1"] = float(overlap)
        out[f"{name}count"] = int(chosen.sum())
    return out


def best_threshold(
    questions: Sequence[Question], answers: Sequence[Answer]
) -> tuple[float, float]:
    """Choose from which `no_answer` on a text does not say.

    Args:
        questions: of a dev set, some without an answer.
        answers: of `answer_all`, without a threshold.

    Returns:
        The threshold with the highest F1, and that F1, 0 to 100.

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
    for one, found in pairs:
        gain = scores(one, found.text, "2.0")[1]
        if not one.answers:
            gain = -float(bool(found.text))
        gains.append((found.no_answer, gain))
    total = float(sum(not one.answers for one in questions))  # "" for all
    best, threshold = total, -math.inf
    for margin, gain in sorted(gains):
        total += gain
        if total > best:
            best, threshold = total, margin
    return threshold, 100 * best / len(gains)


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
    count = check_whole("count", count, 1, len(answered))
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
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is no SQuAD file, {{'data': [{{'paragraphs': [{{'context': ..., "
            f"'qas': [{{'id', 'question', 'answers'}}]}}]}}]}}: {error!r}"
        ) from None


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
            said = ", ".join(names)
            raise FileNotFoundError(f"{path} has none of {said}, nor one with .gz")
        path = found[0]
    return read_squad(path)


def squad_from_hub(split: str) -> list[Question]:
    """Read the hub's copy of SQuAD 1.1, from its cache where it is there."""
    import huggingface_hub

    try:
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "the hub's SQuAD is a parquet file, which pyarrow reads:\n"
            "    pip install pyarrow\n"
            "or let MINIBERT_SQUAD name a folder with train-v1.1.json"
        ) from None
    file = f"plain_text/{split}-00000-of-00001.parquet"
    tried = []
    for offline in (True, False):
        try:
            found = huggingface_hub.hf_hub_download(
                SQUAD, file, repo_type="dataset", revision=SQUAD_REVISION,
                local_files_only=offline,
            )  # fmt: skip
            break
        except Exception as error:  # the network fails in many ways
            reason = str(error).strip().split("\n")[0]
            tried.append(f"\n- {'its cache' if offline else 'the hub'}: {reason}")
    else:
        raise FileNotFoundError(
            f"cannot find {SQUAD} at revision {SQUAD_REVISION}. Tried:"
            f"{''.join(tried)}\nMINIBERT_SQUAD may name a folder with train-v1.1.json"
        )
    return [
        Question(
            row["id"], row["title"], row["question"], row["context"],
            tuple(row["answers"]["text"]), tuple(row["answers"]["answer_start"]),
        )
        for row in pyarrow.parquet.read_table(found).to_pylist()
    ]  # fmt: skip
