# Written by tools/tangle.py from
# book/source/qa.md
# Edit that, not this.
"""Question answering: the span of a text that answers a question.

Shapes: `B` batch, `S` sequence, `H` hidden, `n` windows.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from minibert.batching import collate
from minibert.bert import BertModel, BertPreTrainedModel, load
from minibert.checks import check_whole
from minibert.config import BertConfig
from minibert.device import Device
from minibert.losses import position_loss
from minibert.moved import moved
from minibert.squad import Question, scores
from minibert.tokens import Tokenizer
from minibert.windows import (
    Offsets,
    Windows,
    cut_windows,
    find_tokens,
    trusted_window,
)

__all__ = [
    "Answer",
    "BertForQuestionAnswering",
    "QuestionAnsweringOutput",
    "answer",
    "answer_all",
    "best_spans",
    "best_threshold",
    "question_rows",
]

if not TYPE_CHECKING:  # names of 0.2
    __getattr__ = moved(__name__)


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


class WindowScores(NamedTuple):
    """What all windows of one question gave."""

    spans: list[tuple[float, int, int]]  # score, first and last token
    null: float  # the lowest score of [CLS], of all windows
    starts: float  # log of the sum of exp over all starts
    ends: float


def score_windows(
    model: BertForQuestionAnswering,
    some: Sequence[tuple[Windows, NDArray[np.int64], int]],
    pad_id: int, longest: int, count: int,
) -> list[WindowScores]:  # fmt: skip
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
        found.append(WindowScores(spans, null[row], sums[0][row], sums[1][row]))
    return found


def merge_windows(found: Sequence[WindowScores]) -> WindowScores:
    """Put what the windows of one question gave together."""
    spans = sorted((span for one in found for span in one.spans), reverse=True)
    return WindowScores(
        spans,
        min(one.null for one in found),
        float(np.logaddexp.reduce([one.starts for one in found])),
        float(np.logaddexp.reduce([one.ends for one in found])),
    )


def to_answer(
    context: str, offsets: Offsets, found: WindowScores, others: int,
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
    parts: list[list[WindowScores]] = [[] for _ in windows]
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
        found = score_windows(bert, rows, tokenizer.pad_id, longest, others + 1)
        for (_, number, _), part in zip(some, found, strict=True):
            parts[number].append(part)
    return [
        to_answer(x.context, cut.offsets, merge_windows(part), others, threshold)
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
