# Written by tools/tangle.py from
# book/source/tokens.md
# Edit that, not this.
"""Text to the numbers that BERT reads, and back to the text.

The work on characters is done by the Rust library `tokenizers`;
what is put around the pieces is done here. Shapes: `B` texts (or
pairs of them), `S` pieces in the longest.
"""

import json
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import tokenizers
from tokenizers import (
    AddedToken,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
)
from torch import Tensor

from minibert.batching import Batch, pad, surround, truncate
from minibert.checks import as_texts
from minibert.files import has_model_files, resolve
from minibert.moved import moved
from minibert.tokenizer_files import (
    FLAGS,
    read_folder,
    read_vocabulary,
)
from minibert.vocabulary import (
    SPECIAL,
    check_vocabulary,
    new_pieces,
)

__all__ = ["Encoding", "Tokenizer"]

if not TYPE_CHECKING:  # names of 0.2
    __getattr__ = moved(__name__)


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


UNUSED = re.compile(r"\[unused\d+\]")
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


class Encoding(NamedTuple):
    """One text, or pair, with what each of its S tokens is.

    Attributes:
        ids: rows of the embedding table.
        tokens: the pieces as strings.
        type_ids: segment, 0 for the text and 1 for its pair.
        offsets: (start, end) in the original string of the piece's
            own text, with the accents and signs that cleaning took
            off its letters; (0, 0) for the tokens put around it.
        words: index of the word in its own text, None for those.
        special: True for [CLS] and [SEP] put around the text.
    """

    ids: list[int]
    tokens: list[str]
    type_ids: list[int]
    offsets: list[tuple[int, int]]
    words: list[int | None]
    special: list[bool]


class Tokenizer:
    """Text to pieces to ids, as BERT was published.

    Args:
        vocabulary: the pieces; a piece's id is its place.
        lowercase: lower-case the text first.
        strip_accents: take accents off; None does so exactly when
            lower-casing, as published.
        chinese: cut every Chinese character from its neighbours.
        added: tokens that are found in a text before it is cut, as
            `tokenizers` defines them; those that the vocabulary lacks
            have the ids after it.

    Raises:
        ValueError: a special token is missing or a piece is twice in
            the vocabulary.

    Example:
        >>> tokenizer = Tokenizer([*SPECIAL, "dog", "##s", "bit"])
        >>> tokenizer.encode("Dogs bit").tokens
        ['[CLS]', 'dog', '##s', 'bit', '[SEP]']
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        *,
        lowercase: bool = True,
        strip_accents: bool | None = None,
        chinese: bool = True,
        added: Sequence[AddedToken] = (),
    ) -> None:
        self.lowercase = lowercase
        self.strip_accents = strip_accents
        self.chinese = chinese
        self._added = list(added)
        check_vocabulary(vocabulary, added)
        self._set_vocabulary(list(vocabulary))

    def _set_vocabulary(self, base: list[str]) -> None:
        pieces = [*base, *new_pieces(base, self._added)]
        ids = {piece: i for i, piece in enumerate(pieces)}
        self._base, self._pieces, self._ids = len(base), pieces, ids
        self._rust = backend(
            base, self.lowercase, self.strip_accents, self.chinese,
            self._added,
        )  # fmt: skip
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            ids[token] for token in SPECIAL
        )

    def __len__(self) -> int:
        return len(self._pieces)

    @property
    def vocabulary(self) -> list[str]:
        """The pieces in the order of their ids (a copy)."""
        return list(self._pieces)

    def id(self, token: str) -> int:
        """Give the id of one piece.

        Raises:
            LookupError: the vocabulary lacks it.
        """
        if token not in self._ids:
            raise LookupError(
                f"{token!r} is not in the vocabulary of {len(self)}"
            )
        return self._ids[token]

    def tokens(self, ids: Tensor | Iterable[int]) -> list[str]:
        """Give the piece of each id.

        Raises:
            IndexError: an id lies outside the vocabulary.
        """
        return [self._pieces[i] for i in self._checked(ids)]

    def decode(self, ids: Tensor | Iterable[int]) -> str:
        """Join the pieces of `ids` to a text, special tokens left out.

        What normalisation took away (case, accents, spacing) stays
        away: to quote the original, cut it at the offsets.

        Raises:
            IndexError: an id lies outside the vocabulary.
        """
        return str(self._rust.decode(self._checked(ids)))

    def _checked(self, ids: Tensor | Iterable[int]) -> list[int]:
        values = ids.tolist() if isinstance(ids, Tensor) else ids
        if not isinstance(values, Iterable):
            raise TypeError(f"ids must be a row of integers, not {values!r}")
        numbers = []
        for place, i in enumerate(values):
            if not hasattr(i, "__index__"):
                raise TypeError(
                    f"id {i!r} at place {place} is no integer: pass one "
                    "row of ids at a time"
                )
            if not 0 <= i < len(self):
                raise IndexError(
                    f"id {i} at place {place} is outside the "
                    f"vocabulary of {len(self)}"
                )
            numbers.append(int(i))
        return numbers

    def encode(
        self,
        text: str,
        pair: str | None = None,
        *,
        max_length: int | None = None,
        truncation: str | bool = "longest_first",
    ) -> Encoding:
        """Cut one text, or a pair, and say where each piece lies.

        Args:
            text: becomes `[CLS] text [SEP]`, segment 0.
            pair: follows as `pair [SEP]`, segment 1.
            max_length: most tokens; None for no limit.
            truncation: what is cut when `max_length` is exceeded:
                "longest_first" (or True), "only_first",
                "only_second"; False refuses instead.

        Raises:
            TypeError: `text` or `pair` is not a string.
            ValueError: too long where nothing may be cut.
        """
        pairs = None if pair is None else [pair]
        rows = self._rows([text], pairs, max_length, truncation)
        a, b = rows[0]
        ids, types = self._around(a, b)
        offsets = [(0, 0), *whole_characters(text, a.offsets), (0, 0)]
        words: list[int | None] = [None, *a.word_ids, None]
        special = [True, *[False] * len(a), True]
        if b is not None and pair is not None:
            offsets += [*whole_characters(pair, b.offsets), (0, 0)]
            words += [*b.word_ids, None]
            special += [*[False] * len(b), True]
        tokens = [self._pieces[i] for i in ids]
        return Encoding(ids, tokens, types, offsets, words, special)

    def __call__(
        self,
        texts: str | Iterable[str],
        pairs: str | Iterable[str] | None = None,
        *,
        max_length: int | None = None,
        truncation: str | bool = "longest_first",
        padding: str | bool = True,
    ) -> Batch:
        """Turn texts, or pairs of texts, into a batch for a model.

        Args:
            texts: B strings; one string counts as a batch of one.
            pairs: B strings that follow as segment 1.
            max_length: most tokens in a row; None for no limit.
            truncation: as in `encode`.
            padding: True fills to the longest row, "max_length" to
                `max_length`.

        Returns:
            `input_ids`, `attention_mask`, `token_type_ids`, (B, S).

        Raises:
            TypeError: something is not a string.
            ValueError: no texts, not as many pairs as texts, or too
                long where nothing may be cut.
        """
        texts = [texts] if isinstance(texts, str) else texts
        pairs = [pairs] if isinstance(pairs, str) else pairs
        rows = [
            self._around(a, b)
            for a, b in self._rows(texts, pairs, max_length, truncation)
        ]
        size = max(len(ids) for ids, _ in rows)
        if padding == "max_length" and max_length is not None:
            size = max_length
        elif padding is not True:
            raise ValueError(
                f"padding is {padding!r}: use True (to the longest), or "
                '"max_length" together with max_length=...'
            )
        return pad(rows, self.pad_id, size)

    def _around(
        self, a: tokenizers.Encoding, b: tokenizers.Encoding | None
    ) -> tuple[list[int], list[int]]:
        second = None if b is None else b.ids
        return surround(a.ids, second, self.cls_id, self.sep_id)

    def _rows(
        self,
        texts: Iterable[str],
        pairs: Iterable[str] | None,
        max_length: int | None,
        truncation: str | bool,
    ) -> list[tuple[tokenizers.Encoding, tokenizers.Encoding | None]]:
        texts = as_texts(texts, "text")
        first = self._rust.encode_batch(texts, add_special_tokens=False)
        second: Sequence[tokenizers.Encoding | None] = [None] * len(first)
        if pairs is not None:
            pairs = as_texts(pairs, "pair")
            if len(pairs) != len(texts):
                raise ValueError(
                    f"{len(texts)} texts but {len(pairs)} pairs: each "
                    "text needs its own"
                )
            second = self._rust.encode_batch(
                pairs, add_special_tokens=False
            )
        rows = list(zip(first, second, strict=True))
        if max_length is not None:
            for i, (a, b) in enumerate(rows):
                sizes = len(a), -1 if b is None else len(b)
                room = max_length - (2 if b is None else 3)
                keep = truncate(*sizes, room, truncation, i)
                if keep[0] < sizes[0]:
                    a.truncate(keep[0])
                if b is not None and keep[1] < sizes[1]:
                    b.truncate(keep[1])
        return rows

    def add(
        self, words: str | Iterable[str], *, append: bool = False
    ) -> list[int]:
        """Give words an entry of their own, and return their ids.

        A new word takes the row of an `[unusedN]` entry while there
        are any, else a row at the end: then `len(tokenizer)` grows,
        and the model's token table must grow with it, by
        `resize_token_embeddings`. A word that is there already keeps
        its id. Words are normalised first, as every text is.

        Args:
            words: one or more; each without spaces or punctuation.
            append: leave `[unusedN]` alone, always append.

        Raises:
            TypeError: a word is not a string.
            ValueError: a word would be cut before it is looked up.
        """
        words = [words] if isinstance(words, str) else words
        words = as_texts(words, "word")
        pieces = list(self._pieces)
        known = dict(self._ids)
        kept = {token.content for token in self._added}
        free = [] if append else [
            i for i, p in enumerate(pieces)
            if UNUSED.fullmatch(p) and p not in kept
        ]  # fmt: skip
        free.reverse()
        ids = []
        for word in words:
            parts = self._split(word)
            if len(parts) != 1:
                raise ValueError(
                    f"{word!r} cannot be an entry: it is cut into "
                    f"{parts} before the vocabulary is looked up"
                )
            if parts[0] not in known:
                if free:
                    known[parts[0]] = free.pop()
                    pieces[known[parts[0]]] = parts[0]
                else:
                    known[parts[0]] = len(pieces)
                    pieces.append(parts[0])
            ids.append(known[parts[0]])
        self._set_vocabulary(pieces)
        return ids

    def _split(self, text: str) -> list[str]:
        """Normalise and cut into words, as before the look-up."""
        normal = self._rust.normalizer.normalize_str(text)
        cut = self._rust.pre_tokenizer.pre_tokenize_str(normal)
        return [word for word, _ in cut]

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | PathLike[str],
        *,
        revision: str | None = None,
    ) -> "Tokenizer":
        """Load a vocabulary and what is set and added beside it.

        As in `transformers`, a `tokenizer.json` comes before a
        `vocab.txt`. The switches are those of
        `tokenizer_config.json`; where it is absent, or names no class
        but a back end, those of `tokenizer.json`.

        Args:
            name_or_path: "leads-4096", the book's own vocabulary, or
                whatever `minibert.files.resolve` finds.
            revision: a hub id's branch, tag or commit; None for the
                one that is pinned here, else the newest.

        Raises:
            FileNotFoundError: nothing of this name, or no vocabulary.
            ValueError: a file is broken, or sets what would change
                the ids and what this tokenizer lacks.
        """
        own = Path(str(resources.files("minibert"))) / "vocab"
        name = str(name_or_path)
        ships = name in {path.stem for path in own.glob("*.txt")}
        if ships and not has_model_files(Path(name)):
            return cls(read_vocabulary(own / f"{name}.txt"))
        files = ["vocab.txt|tokenizer.json"]
        folder = resolve(name_or_path, files, revision)
        file, found = read_folder(folder)
        try:
            return cls(**found)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None

    def save_pretrained(self, path: str | PathLike[str]) -> None:
        """Write `vocab.txt` and `tokenizer_config.json` to a folder.

        Raises:
            FileExistsError: the folder holds a `tokenizer.json`, which
                `transformers` would read instead of these.
        """
        folder = Path(path)
        if (folder / "tokenizer.json").exists():
            raise FileExistsError(
                f"{folder}/tokenizer.json would be read instead of the "
                "vocab.txt written here: remove it, or save elsewhere"
            )
        folder.mkdir(parents=True, exist_ok=True)
        settings: dict[str, Any] = {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": self.lowercase,
            "strip_accents": self.strip_accents,
            "tokenize_chinese_chars": self.chinese,
        }
        settings |= {
            f"{token[1:-1].lower()}_token": token for token in SPECIAL
        }
        if self._added:
            settings["added_tokens_decoder"] = {
                str(self._ids[token.content]): {
                    "content": token.content,
                    **{flag: getattr(token, flag) for flag in FLAGS},
                }
                for token in self._added
            }
        pieces = self._pieces[: self._base]
        (folder / "vocab.txt").write_text(
            "".join(f"{piece}\n" for piece in pieces),
            encoding="utf-8",
            newline="\n",
        )
        (folder / "tokenizer_config.json").write_text(
            json.dumps(settings, indent=2) + "\n", encoding="utf-8"
        )
