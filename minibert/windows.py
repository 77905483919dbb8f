# Written by tools/tangle.py from
# book/source/qa.md
# Edit that, not this.
"""Texts longer than a row: windows that overlap.

Shapes: `n` windows, `S` sequence.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # it brings torch along
    from minibert.tokens import Tokenizer

__all__ = [
    "Windows",
    "cut_windows",
    "find_tokens",
    "trusted_window",
]


Offsets = Sequence[tuple[int, int]]  # characters of each token


def find_tokens(
    offsets: Offsets, start: int, end: int
) -> tuple[int, int] | None:
    """Find the tokens of the characters `start` to `end`.

    Args:
        offsets: of each token its first character and the one after
            its last.
        start: the first character.
        end: the one after the last.

    Returns:
        The first and the last token that overlaps those characters;
        None where no token does. Where an end lies inside a token,
        the whole token is taken.
    """
    tokens = enumerate(offsets)
    inside = [i for i, (a, b) in tokens if a < end and b > start]
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


def check_stride(stride: int, asked: int, max_length: int) -> None:
    """Refuse windows without room, or with gaps between them."""
    room = max_length - asked - 1
    if not 0 < stride <= room:
        raise ValueError(
            f"beside a question of {asked} tokens max_length "
            f"{max_length} leaves room for {max(room, 0)} of the "
            f"text, and doc_stride is {stride}, not 1 to that"
        )


def cut_windows(
    question: str, context: str, tokenizer: "Tokenizer",
    max_length: int = 384, doc_stride: int | None = None,
) -> Windows:  # fmt: skip
    """Lay a question beside each part of its text.

    Args:
        question: its first 64 tokens are used.
        context: of any length.
        tokenizer: the model's.
        max_length: tokens in a row.
        doc_stride: tokens of the text from one window's start to
            the next one's; None takes a third of `max_length`.

    Raises:
        ValueError: no room for the text, or a `doc_stride` that is
            not 1 to that room, where windows would leave tokens out
            between them; also of a text that needs one window.

    Source: `run_squad.py` of BERT's repository.
    """
    asked = tokenizer.encode(question, max_length=66).ids  # 64 + 2
    text = tokenizer.encode(context)
    ids, offsets = text.ids[1:-1], text.offsets[1:-1]
    stride = max_length // 3 if doc_stride is None else doc_stride
    check_stride(stride, len(asked), max_length)
    rows, spans, begin = [], [], 0
    while True:
        end = begin + max_length - len(asked) - 1
        part = [*ids[begin:end], tokenizer.sep_id]
        types = [0] * len(asked) + [1] * len(part)
        row = {"input_ids": asked + part, "token_type_ids": types}
        rows.append(row)
        spans.append((begin, min(end, len(ids))))
        if end >= len(ids):
            return Windows(rows, spans, len(asked), offsets)
        begin += stride


def trusted_window(
    spans: Sequence[tuple[int, int]], count: int
) -> NDArray[np.int64]:
    """Give, for each of `count` tokens, the window to trust.

    It is the one with most of the text's tokens on the token's
    shorter side, plus a hundredth of the tokens of the text in the
    window; of equals the first.

    Args:
        spans: as in `Windows`.
        count: tokens of the text.

    Returns:
        (count,) the number of each token's window, from 0.

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
