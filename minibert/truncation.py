# Written by tools/tangle.py from
# book/source/tokens.md
# Edit that, not this.
"""Texts and pairs of them: cut to pieces, and to a length."""

from collections.abc import Iterable, Sequence

import tokenizers

from minibert.checks import as_texts

__all__: list[str] = []

Text = str | Sequence[str]  # or its words


def as_batch(
    texts: Text | Iterable[Text], what: str, split: bool
) -> list[Text]:
    """Give one or more texts, or lists of words, as a list of them.

    Raises:
        TypeError, ValueError: as `as_texts`.
    """
    if not split:
        texts = [texts] if isinstance(texts, str) else texts
        return [*as_texts(texts, what)]  # type: ignore[arg-type]
    texts = texts if isinstance(texts, str) else list(texts)
    if not texts or all(isinstance(words, str) for words in texts):
        return [as_texts(texts, "word")]  # type: ignore[arg-type]
    return [as_texts(words, "word") if len(words) else [] for words in texts]


STRATEGIES = ("longest_first", "only_first", "only_second")


def truncate(
    first: int,
    second: int,
    room: int,
    truncation: str | bool,
    row: int,
    special: int | None = None,
) -> tuple[int, int]:
    """How many pieces of a text and its pair to keep.

    Args:
        first: pieces of the text.
        second: pieces of its pair, -1 where there is none.
        room: pieces that may stay, the special tokens not counted.
        truncation: see `Tokenizer.encode`.
        row: place in the batch, for the error.
        special: special tokens around them; None for all that go there.

    Raises:
        ValueError: an unknown strategy, or nothing may be cut.
    """
    strategy = STRATEGIES[0] if truncation is True else truncation
    if strategy is not False and strategy not in STRATEGIES:
        raise ValueError(
            f"truncation is {truncation!r}: use one of {STRATEGIES}, "
            "or False to refuse what is too long"
        )
    other = max(second, 0)
    extra = first + other - room
    if extra <= 0:
        return first, second
    if special is None:
        special = 2 if second < 0 else 3
    told = (
        f"text {row} has {first + other + special} tokens, special ones "
        f"included, and max_length is {room + special}"
    )
    if strategy is False:
        raise ValueError(f"{told}; pass truncation='longest_first'")
    if room < 0:
        raise ValueError(f"{told}: no room for the special tokens")
    if second < 0:
        if strategy == "only_second":
            raise ValueError(f"{told}; it has no pair to cut")
        return room, second
    if strategy == "longest_first":
        short = min(first, other)
        long = max(short, room - short)
        if short + long > room:
            short, long = room // 2, room - room // 2
        return (long, short) if first > other else (short, long)
    keep = first if strategy == "only_first" else other
    if extra >= keep:  # as theirs: nothing is cut away whole
        which = "the text" if strategy == "only_first" else "the pair"
        raise ValueError(f"{told}; cutting {which} alone is not enough")
    if strategy == "only_first":
        return first - extra, second
    return first, second - extra


def check_stride(
    stride: int, keep: int, lone: bool, truncation: str | bool
) -> None:
    """Refuse overlapping rows that would not get on, or say not of what."""
    if not lone and truncation not in STRATEGIES[1:]:
        raise ValueError(
            "of a pair, the rows of return_overflowing_tokens need "
            "truncation='only_first' or 'only_second'"
        )
    if not 0 <= stride < keep:
        raise ValueError(
            f"stride is {stride}, but a row has room for {keep} tokens of "
            "the text: rows must overlap by less than that"
        )


def cut_rows(
    rust: tokenizers.Tokenizer,
    texts: Text | Iterable[Text],
    pairs: Text | Iterable[Text] | None,
    max_length: int | None,
    truncation: str | bool,
    special: bool,
    split: bool,
    stride: int | None = None,
    offsets: bool = False,
) -> list[tuple[int, tokenizers.Encoding, tokenizers.Encoding | None]]:
    """Cut texts and pairs to pieces, and rows to their length.

    Args:
        rust: what cuts a text; it has no part in truncation.
        texts: with `pairs`, `max_length` and `truncation` as in
            `Tokenizer.encode`.
        pairs: as many, or None.
        max_length: most tokens, special ones included.
        truncation: what is cut where a row is longer.
        special: whether [CLS] and [SEP] will be put around.
        split: texts are lists of words.
        stride: give what is cut off rows of its own, which have so
            many tokens in common; None drops it.
        offsets: whether places in the text are asked for; counting
            them takes time.

    Returns:
        For each row the number of its text, and the pieces of the
        text and of its pair.

    Raises:
        TypeError, ValueError: as `Tokenizer.__call__`.
    """
    how = {"is_pretokenized": split, "add_special_tokens": False}
    texts = as_batch(texts, "text", split)
    cut = rust.encode_batch if offsets else rust.encode_batch_fast
    first = cut(texts, **how)
    second: Sequence[tokenizers.Encoding | None] = [None] * len(first)
    if pairs is not None:
        pairs = as_batch(pairs, "pair", split)
        if len(pairs) != len(texts):
            raise ValueError(
                f"{len(texts)} texts but {len(pairs)} pairs: each "
                "text needs its own"
            )
        second = cut(pairs, **how)
    rows = []
    for i, (a, b) in enumerate(zip(first, second, strict=True)):
        rows.append((i, a, b))
        if max_length is None:
            continue
        sizes = len(a), -1 if b is None else len(b)
        count = (2 if b is None else 3) * special
        keep = truncate(*sizes, max_length - count, truncation, i, count)
        for one, size, stay in zip((a, b), sizes, keep, strict=True):
            if one is None or stay >= size:
                continue
            if stride is not None:
                check_stride(stride, stay, b is None, truncation)
            one.truncate(stay, stride or 0)
            if stride is not None:
                more = one.overflowing
                rows += [(i, x, b) if one is a else (i, a, x) for x in more]
    return rows
