# Written by tools/tangle.py from
# book/source/qa.md
# Edit that, not this.
"""From scores to answers: the spans of a text, in NumPy alone.

Shapes: `B` windows, `S` sequence.
"""

import html
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from minibert.highlight import PLAIN
from minibert.windows import Offsets, Windows, trusted_window

__all__ = [
    "Answer",
    "WindowScores",
    "best_spans",
    "choose_answer",
    "merge_windows",
    "read_windows",
]

Floats = NDArray[np.floating[Any]]
Columns = NDArray[np.int64]


def best_spans(
    start: Floats, end: Floats, longest: int, count: int
) -> tuple[Floats, Columns, Columns]:
    """Find the spans with the highest start + end.

    Args:
        start: (B, S) scores; -inf where no span may begin.
        end: (B, S) scores; -inf where none may end.
        longest: tokens in a span, 1 or more.
        count: how many to find, 1 or more.

    Returns:
        Scores, first columns and last columns, (B, count) each, in
        falling order; of equal scores the span that begins earlier,
        then the shorter. If fewer spans are possible, pairs that
        score -inf fill up to `count`, while there are pairs.
    """
    rows, size = start.shape
    longest = min(longest, size)
    room = ((0, 0), (0, longest - 1))
    padded = np.pad(end, room, constant_values=-np.inf)
    ends = sliding_window_view(padded, longest, axis=1)
    scores = start[:, :, None] + ends  # (B, S, longest)
    flat = scores.reshape(rows, size * longest)
    count = min(count, size * longest)
    least = np.partition(flat, -count)[:, -count, None]
    place = np.zeros((rows, count), np.int64)
    for row, good in enumerate(~(flat < least)):  # with all ties
        found = np.flatnonzero(good)
        order = np.argsort(-flat[row, found], kind="stable")
        place[row] = found[order[:count]]
    first, more = np.divmod(place, longest)
    return np.take_along_axis(flat, place, 1), first, first + more


class Answer(NamedTuple):
    """A span of a text, as the answer to a question.

    Attributes:
        text: `context[start:end]`; "" where it is no answer.
        start: the character where it begins.
        end: the one after its last.
        score: start's logit plus end's; of no answer those of
            [CLS], in the window where they are lowest.
        probability: of this span, or of no answer where `text` is
            "": exp(score), divided by the sum of it over no answer
            and all pairs of a start and an end in one window. A
            start counts in one window alone: see `trusted_window`.
        no_answer: the score of no answer, less that of the best
            span: if above the threshold, the text does not say. The
            same in `others`; inf of a text without a token.
        others: the next best ones.

    >>> from minibert import answer
    >>> found = answer("Where does it end?", "It ends in the Black Sea.")
    >>> found.text, found.start, found.end
    ('the Black Sea', 11, 24)
    """

    text: str
    start: int
    end: int
    score: float
    probability: float
    no_answer: float
    others: tuple["Answer", ...] = ()

    def _repr_html_(self) -> str:
        """Draw it in a notebook: the next best ones below."""
        rows = [
            f"<tr><td>{html.escape(one.text) or '<i>no answer</i>'}</td>"
            f"<td>{one.probability:.2f}</td></tr>"
            for one in (self, *self.others)
        ]
        head = "<tr><th>answer</th><th>probability</th></tr>"
        return f'<table class="{PLAIN}">{head}{"".join(rows)}</table>'


EMPTY = Answer("", 0, 0, 0.0, 1.0, math.inf)  # of a text without a token


class WindowScores(NamedTuple):
    """What one window of a question gave, or all of them merged.

    Attributes:
        spans: of each its score, and its first and last token,
            counted in the whole text; best first.
        null: the score of [CLS]; of several windows the lowest.
        every: log of the sum of exp(start + end) over each start
            with each end of its window; that of [CLS] is not in it.
    """

    spans: list[tuple[float, int, int]]
    null: float
    every: float


Place = tuple[Windows, Columns, int]  # windows, the trusted one of each token, which
Score = Callable[[list[dict[str, Any]]], tuple[Floats, Floats]]


def score_windows(
    start: Floats, end: Floats, places: Sequence[Place], longest: int, count: int
) -> list[WindowScores]:
    """Take from the logits (B, S) of each window what may be said there."""
    if np.isnan(start).any() or np.isnan(end).any():
        raise ValueError("the model's logits hold nan: look at its weights, or compute in float32")
    begins, ends = np.full_like(start, -np.inf), np.full_like(end, -np.inf)
    for row, (windows, trusted, i) in enumerate(places):
        first, last = windows.spans[i]
        text = slice(windows.column, windows.column + last - first)
        begins[row, text] = np.where(trusted[first:last] == i, start[row, text], -np.inf)
        ends[row, text] = end[row, text]
    null = (start[:, 0] + end[:, 0]).tolist()
    either = [np.logaddexp.reduce(x, axis=1, dtype=np.float64) for x in (begins, ends)]
    every = (either[0] + either[1]).tolist()
    scores, firsts, lasts = (x.tolist() for x in best_spans(begins, ends, longest, count))
    results = []
    for row, (windows, _, i) in enumerate(places):
        shift = windows.spans[i][0] - windows.column
        spans = [
            (score, first + shift, last + shift)
            for score, first, last in zip(scores[row], firsts[row], lasts[row], strict=True)
            if score > -math.inf
        ]
        results.append(WindowScores(spans, null[row], every[row]))
    return results


def merge_windows(parts: Sequence[WindowScores]) -> WindowScores:
    """Put what the windows of one question gave together.

    Args:
        parts: of each window, one or more.

    Returns:
        All spans, the best first, of equals the one that begins
        first; the lowest score of [CLS]; the sum over all windows.
    """
    spans = [span for part in parts for span in part.spans]
    spans.sort(key=lambda span: (-span[0], *span[1:]))
    null = min(part.null for part in parts)
    return WindowScores(spans, null, float(np.logaddexp.reduce([part.every for part in parts])))


def read_windows(
    windows: Sequence[Windows], score: Score, *, longest: int, count: int, batch_size: int
) -> list[WindowScores | None]:
    """Score the windows of many questions, those of similar length together.

    A token's start counts only in the window that is trusted
    for it (`trusted_window`).

    Args:
        windows: of each question, by `cut_windows`.
        score: the model: takes rows, as in `Windows`, and gives the
            logits of start and end, (B, S) each, S the longest's.
        longest: tokens in a span.
        count: how many spans to keep of each window.
        batch_size: windows at a time.

    Returns:
        For each question its windows, merged; None where the
        question or the text has no token.

    Raises:
        ValueError: logits that are nan.
    """
    trusted = [trusted_window(x.spans, len(x.offsets)) for x in windows]
    todo = sorted(
        (len(row["input_ids"]), number, i)
        for number, cut in enumerate(windows)
        if cut.offsets and cut.column > 2
        for i, row in enumerate(cut.rows)
    )
    parts: list[list[WindowScores]] = [[] for _ in windows]
    for at in range(0, len(todo), batch_size):
        numbers = [number for _, number, _ in todo[at : at + batch_size]]
        places = [(windows[n], trusted[n], i) for _, n, i in todo[at : at + batch_size]]
        start, end = score([cut.rows[i] for cut, _, i in places])
        results = score_windows(start, end, places, longest, count)
        for number, part in zip(numbers, results, strict=True):
            parts[number].append(part)
    return [merge_windows(part) if part else None for part in parts]


def choose_answer(
    context: str, offsets: Offsets, scores: WindowScores, *,
    others: int = 0, threshold: float | None = None,
) -> Answer:  # fmt: skip
    """Choose the best span, or none; keep the next ones.

    Args:
        context: the text.
        offsets: the characters of each of its tokens.
        scores: of all its windows, merged.
        others: how many of the next best to keep.
        threshold: how far the score of no answer may lie above that
            of the best span; None always gives a span.
    """
    every = float(np.logaddexp(scores.every, scores.null))
    margin = scores.null - scores.spans[0][0]
    answers = []
    for score, first, last in scores.spans[: others + 1]:
        start, end = offsets[first][0], offsets[last][1]
        sure = math.exp(score - every)
        answers.append(Answer(context[start:end], start, end, score, sure, margin))
    if threshold is not None and margin > threshold:
        sure = math.exp(scores.null - every)
        answers.insert(0, Answer("", 0, 0, scores.null, sure, margin))
    return answers[0]._replace(others=tuple(answers[1 : 1 + others]))
