# Written by tools/tangle.py from
# book/source/tokens.md
# Edit that, not this.
"""Which pieces there are: learned, checked, looked up.

A vocabulary is a list of pieces; a piece that continues a word
begins with `##`, and a piece's id is its place in the list.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import tokenizers
from tokenizers import (
    AddedToken,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from minibert.checks import as_texts

__all__ = ["SPECIAL", "train_vocabulary"]


SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def backend(
    vocabulary: Sequence[str],
    lowercase: bool = True,
    strip_accents: bool | None = None,
    chinese: bool = True,
    added: Sequence[AddedToken] = (),
) -> tokenizers.Tokenizer:
    """Set `tokenizers` up to clean, cut, look up as BERT does."""
    ids = {piece: i for i, piece in enumerate(vocabulary)}
    rust = tokenizers.Tokenizer(
        models.WordPiece(ids, unk_token="[UNK]")
    )
    rust.normalizer = normalizers.BertNormalizer(
        handle_chinese_chars=chinese,
        strip_accents=strip_accents,
        lowercase=lowercase,
    )
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rust.decoder = decoders.WordPiece()
    named = {token.content for token in added}
    rust.add_special_tokens([t for t in SPECIAL if t not in named])
    rust.add_tokens(list(added))
    return rust


def check_vocabulary(
    vocabulary: Sequence[str], added: Sequence[AddedToken] = ()
) -> None:
    """Refuse a vocabulary that lacks a special token or repeats one."""
    if isinstance(vocabulary, (str, bytes)):
        raise TypeError("a vocabulary is a list of pieces, not a string")
    places: dict[str, int] = {}
    for i, piece in enumerate(vocabulary):
        if not isinstance(piece, str):
            raise TypeError(f"entry {i} is {piece!r}, not a string")
        if piece in places:
            raise ValueError(
                f"{piece!r} is twice in the vocabulary, at "
                f"{places[piece]} and {i}"
            )
        places[piece] = i
    try:
        "".join(places).encode()
    except UnicodeEncodeError:  # half a character: which entry?
        as_texts(places, "entry")
    names = {*places, *(token.content for token in added)} - {"[UNK]"}
    names |= {"[UNK]"} & set(places)  # the look-up itself needs it
    missing = [token for token in SPECIAL if token not in names]
    if missing:
        raise ValueError(f"the vocabulary lacks {', '.join(missing)}")


def new_pieces(
    vocabulary: Sequence[str], added: Iterable[AddedToken]
) -> list[str]:
    """Give the added tokens that the vocabulary lacks, in order."""
    known = set(vocabulary)
    names = dict.fromkeys(token.content for token in added)
    return [name for name in names if name not in known]


def check_ids(ids: Any, size: int) -> list[int]:
    """Give a row of ids, of a tensor too, as a list.

    Raises:
        TypeError: it is no row of integers.
        IndexError: an id lies outside a vocabulary of `size`.
    """
    values = ids.tolist() if hasattr(ids, "tolist") else ids
    if not isinstance(values, Iterable):
        raise TypeError(f"ids must be a row of integers, not {values!r}")
    numbers = []
    for place, i in enumerate(values):
        if not hasattr(i, "__index__"):
            raise TypeError(
                f"id {i!r} at place {place} is no integer: pass one "
                "row of ids at a time"
            )
        if not 0 <= i < size:
            raise IndexError(
                f"id {i} at place {place} is outside the "
                f"vocabulary of {size}"
            )
        numbers.append(int(i))
    return numbers


UNUSED = re.compile(r"\[unused\d+\]")


def put_words(
    vocabulary: Sequence[str], words: Sequence[str], kept: Collection[str], append: bool
) -> tuple[list[str], list[int]]:
    """Give words a place each: their own, an `[unusedN]`, or a new one.

    Args:
        vocabulary: the pieces.
        words: as they are looked up.
        kept: pieces that stay.
        append: leave every `[unusedN]` alone.

    Returns:
        The pieces, and the words' ids.
    """
    pieces = list(vocabulary)
    ids = {piece: i for i, piece in enumerate(pieces)}
    free = [
        i for piece, i in ids.items()
        if not append and UNUSED.fullmatch(piece) and piece not in kept
    ]  # fmt: skip
    free.reverse()
    for word in words:
        if word in ids:
            continue
        if free:
            ids[word] = free.pop()
            pieces[ids[word]] = word
        else:
            ids[word] = len(pieces)
            pieces.append(word)
    return pieces, [ids[word] for word in words]


def train_vocabulary(
    texts: Iterable[str],
    size: int,
    lowercase: bool = True,
    strip_accents: bool | None = None,
) -> list[str]:
    """Learn a WordPiece vocabulary, the same one every time.

    The book's own file, `minibert/vocab/leads-4096.txt`, is
    `train_vocabulary([x.text for x in leads("train")], 4096)`.

    Args:
        texts: what to learn from.
        size: number of entries, the special tokens included; fewer
            come back when the texts offer no more.
        lowercase: lower-case the texts first.
        strip_accents: take accents off; None does so exactly when
            lower-casing. Give the `Tokenizer` the same.

    Returns:
        The special tokens, the characters, then the pieces in the
        order in which they were made.

    Raises:
        TypeError: a text is not a string.
        ValueError: no texts, or `size` has no room for the special
            tokens and the characters, which count as they begin a
            word, `c`, and as they continue one, `##c`.

    Source: Schuster and Nakajima 2012; the trainer is that of
    `tokenizers`, which merges by count, as BPE does.

    >>> train_vocabulary(["low lower lowest"], 20)[-2:]
    ['##ow', 'low']
    """
    texts = as_texts(texts, "text")
    normal = normalizers.BertNormalizer(
        lowercase=lowercase, strip_accents=strip_accents
    )
    cut = pre_tokenizers.BertPreTokenizer()
    alphabet: set[str] = set()
    for text in texts:
        clean = normal.normalize_str(text)
        for word, _ in cut.pre_tokenize_str(clean):
            alphabet |= {"##" + c for c in word[1:]} | {word[0]}
    if size < len(SPECIAL) + len(alphabet):
        raise ValueError(
            f"size {size} is too small: the texts need "
            f"{len(alphabet)} entries for characters and "
            f"{len(SPECIAL)} special tokens"
        )
    # Left to itself the trainer numbers the ##c in a random order.
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        special_tokens=[*SPECIAL, *sorted(alphabet)],
        show_progress=False,
    )
    empty = models.WordPiece(unk_token="[UNK]")
    model = tokenizers.Tokenizer(empty)
    model.normalizer, model.pre_tokenizer = normal, cut
    model.train_from_iterator(texts, trainer)
    ids = model.get_vocab()
    return sorted(ids, key=ids.__getitem__)
