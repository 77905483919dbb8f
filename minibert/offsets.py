# Written by tools/tangle.py from
# book/source/tokens.md
# Edit that, not this.
"""Where in a text its pieces lie."""

from collections.abc import Sequence
from itertools import groupby

import tokenizers
from tokenizers import pre_tokenizers

__all__: list[str] = []

# A written character, with all the signs that belong to it.
CHARACTERS = pre_tokenizers.Split(tokenizers.Regex(r"\X"), "isolated")


def whole_characters(
    text: str, offsets: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Let a piece keep the signs that belong to its characters.

    Normalisation drops accents, vowel signs, joiners, selectors. An
    offset that stops before them would cut "cafe" out of a decomposed
    "café". A piece grows to the ends of its first and last grapheme
    cluster (Unicode, annex 29), up to its neighbours.
    """
    if text.isascii():
        return offsets

    def cut(start: int, end: int) -> list[int]:
        parts = CHARACTERS.pre_tokenize_str(text[start:end])
        return [len(part) for part, _ in parts]

    whole: list[tuple[int, int]] = []
    done = 0
    for i, (start, end) in enumerate(offsets):
        if i and offsets[i - 1] == (start, end):  # of one character
            whole.append(whole[-1])
            continue
        after = i + 1
        while after < len(offsets) and offsets[after][0] < end:
            after += 1
        limit = offsets[after][0] if after < len(offsets) else len(text)
        if done < start and not text[start - 1].isspace():
            start -= cut(done, start + 1)[-1] - 1
        if end < limit and not text[end].isspace():
            end += cut(end - 1, limit)[0] - 1
        whole.append((start, end))
        done = end
    return whole


def places(
    text: str | Sequence[str], found: tokenizers.Encoding
) -> list[tuple[int, int]]:
    """Give each piece's place, in the text or in its own word."""
    if isinstance(text, str):
        return whole_characters(text, found.offsets)
    pairs = zip(found.word_ids, found.offsets, strict=True)
    return [
        place
        for word, group in groupby(pairs, key=lambda pair: pair[0])
        for place in whole_characters(text[word or 0], [own for _, own in group])
    ]
