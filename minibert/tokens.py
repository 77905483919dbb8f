# Written by tools/tangle.py from
# book/source/tokens.md
# Edit that, not this.
"""Text to the numbers that BERT reads, and back to the text.

The work on characters is done by the Rust library `tokenizers`;
what is put around the pieces is done here. Shapes: `B` texts (or
pairs of them), `S` pieces in the longest.
"""

from collections.abc import Iterable, Sequence
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tokenizers
from tokenizers import AddedToken

from minibert.batching import (
    Batch,
    OverflowingBatch,
    Row,
    collate,
    pad,
    surround,
    to_tensors,
)
from minibert.checks import as_texts, brief
from minibert.files import (
    errors_naming,
    has_model_files,
    resolve,
)
from minibert.moved import moved
from minibert.offsets import places
from minibert.tokenizer_files import (
    read_folder,
    read_vocabulary,
    refuse_other_tokenizer,
    write_settings,
)
from minibert.truncation import Text, cut_rows
from minibert.vocabulary import (
    SPECIAL,
    backend,
    check_ids,
    check_vocabulary,
    new_pieces,
    put_words,
)

if TYPE_CHECKING:  # it takes a second to import
    from torch import Tensor
else:  # names of 0.2
    __getattr__ = moved(__name__)

__all__ = ["Encoding", "Tokenizer"]


class Encoding(NamedTuple):
    """One text, or pair, with what each of its S tokens is.

    Attributes:
        ids: rows of the embedding table.
        tokens: the pieces as strings.
        type_ids: segment, 0 for the text and 1 for its pair.
        offsets: (start, end) of the piece in the string that was
            given: of a pair's piece in the pair, of a given word's
            in the word. It spans accents that cleaning took off.
            (0, 0) for the tokens put around.
        words: which word of its text or pair the piece is of, from
            0; None for the tokens put around.
        special: True for [CLS] and [SEP] put around the text.

    >>> encoding = Tokenizer.from_pretrained("minilm").encode("Unbelievable!")
    >>> encoding.tokens
    ['[CLS]', 'unbelievable', '!', '[SEP]']
    >>> encoding.offsets[1]
    (0, 12)
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

    Attributes:
        pad_id: the id of [PAD]; likewise `unk_id`, `cls_id`,
            `sep_id` and `mask_id`.

    Raises:
        TypeError: a vocabulary that is no list of strings.
        ValueError: [PAD], [UNK], [CLS], [SEP] or [MASK] is missing,
            or a piece is twice in the vocabulary.

    Example:
        >>> from minibert.vocabulary import SPECIAL
        >>> tokenizer = Tokenizer([*SPECIAL, "dog", "##s", "bit"])
        >>> tokenizer.encode("Dogs bit").tokens
        ['[CLS]', 'dog', '##s', 'bit', '[SEP]']
        >>> tokenizer(["Dogs bit", "dog"]).input_ids.shape
        torch.Size([2, 5])
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

    def __repr__(self) -> str:
        names = ("vocab_size", "lowercase", "strip_accents", "chinese")
        parts = [f"{name}={getattr(self, name)}" for name in names]
        return f"Tokenizer({', '.join(parts)}, added={len(self._added)})"

    @property
    def vocab_size(self) -> int:
        """How many pieces there are, tokens added beside them left out.

        A model's table has `len(tokenizer)` rows, which counts them.
        """
        return self._base

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

    def tokens(self, ids: "Tensor | Iterable[int]") -> list[str]:
        """Give the piece of each id.

        Raises:
            IndexError: an id lies outside the vocabulary.
        """
        return [self._pieces[i] for i in check_ids(ids, len(self))]

    def decode(
        self,
        ids: "Tensor | Iterable[int]",
        skip_special_tokens: bool = True,
    ) -> str:
        """Join the pieces of one row of `ids` to a text.

        What normalisation took away (case, accents, spacing) stays
        away: to quote the original, cut it at the offsets.

        Args:
            ids: (S,).
            skip_special_tokens: leave out [CLS] and its like.

        Raises:
            IndexError: an id lies outside the vocabulary.
        """
        numbers = check_ids(ids, len(self))
        return str(self._rust.decode(numbers, skip_special_tokens))

    def batch_decode(
        self,
        rows: "Iterable[Tensor | Iterable[int]]",
        skip_special_tokens: bool = True,
    ) -> list[str]:
        """Do `decode` for each of B rows."""
        return [self.decode(ids, skip_special_tokens) for ids in rows]

    def pad(self, rows: Sequence[Row]) -> "dict[str, Tensor]":
        """Fill rows of ids to the longest, with their mask (B, S).

        Args:
            rows: dictionaries with `input_ids` and what lies beside
                them, as `minibert.batching.collate` takes them.

        Returns:
            Tensors by their names, `attention_mask` among them, as
            `collate` gives them.
        """
        return collate(rows, self.pad_id)

    def encode(
        self,
        text: Text,
        pair: Text | None = None,
        *,
        max_length: int | None = None,
        truncation: str | bool = "longest_first",
        add_special_tokens: bool = True,
        is_split_into_words: bool = False,
    ) -> Encoding:
        """Cut one text, or a pair, and say where each piece lies.

        Args:
            text: becomes `[CLS] text [SEP]`, segment 0.
            pair: follows as `pair [SEP]`, segment 1.
            max_length: most tokens, special ones included; None
                for no limit, not even the model's.
            truncation: what is cut when `max_length` is exceeded:
                "longest_first" (or True), "only_first",
                "only_second"; False refuses instead.
            add_special_tokens: False leaves [CLS] and [SEP] away.
            is_split_into_words: a text is a list of its words;
                offsets then count from the start of their word.

        Raises:
            TypeError: `text` or `pair` is not a string or, with
                `is_split_into_words`, no list of strings.
            ValueError: too long where nothing may be cut, half a
                character, or an unknown `truncation`.
        """
        pairs = None if pair is None else [pair]
        ((_, a, b),) = cut_rows(
            self._rust, [text], pairs, max_length, truncation, add_special_tokens,
            is_split_into_words, offsets=True,
        )  # fmt: skip
        ids, types = self._around(a, b, add_special_tokens)
        around = [True] if add_special_tokens else []
        nowhere = [(0, 0) for _ in around]
        offsets = [*nowhere, *places(text, a), *nowhere]
        words = [*[None for _ in around], *a.word_ids, *[None for _ in around]]
        special = [*around, *[False] * len(a), *around]
        if b is not None and pair is not None:
            offsets += [*places(pair, b), *nowhere]
            words += [*b.word_ids, *[None for _ in around]]
            special += [*[False] * len(b), *around]
        tokens = [self._pieces[i] for i in ids]
        return Encoding(ids, tokens, types, offsets, words, special)

    def __call__(
        self,
        texts: Text | Iterable[Text],
        pairs: Text | Iterable[Text] | None = None,
        *,
        max_length: int | None = None,
        truncation: str | bool = "longest_first",
        padding: str | bool = True,
        add_special_tokens: bool = True,
        is_split_into_words: bool = False,
        padding_side: str = "right",
        pad_to_multiple_of: int | None = None,
        return_overflowing_tokens: bool = False,
        stride: int = 0,
        return_tensors: str = "pt",
    ) -> Batch:
        """Turn texts, or pairs of texts, into a batch for a model.

        Args:
            texts: B strings; one string counts as a batch of one.
            pairs: B strings that follow as segment 1.
            max_length: most tokens in a row; None for no limit.
            truncation: as in `encode`.
            padding: True (or "longest") fills to the longest row,
                "max_length" to `max_length`.
            add_special_tokens: as in `encode`.
            is_split_into_words: as in `encode`; B lists of strings.
            padding_side: "left" pads there. Positions count from the
                first column on: give the model `position_ids`.
            pad_to_multiple_of: make rows longer until it divides S.
            return_overflowing_tokens: give what `max_length` cuts
                off rows of its own, in an `OverflowingBatch`. Of a
                pair, `truncation` must name the one that is cut.
            stride: tokens that such a row has in common with the one
                before it.
            return_tensors: "pt" for tensors of torch, "np" for
                arrays of NumPy, which need no torch.

        Returns:
            A `Batch`: `input_ids`, `attention_mask` and
            `token_type_ids`, (B, S). With overflowing tokens there
            may be more rows than texts, and beside them is
            `overflow_to_sample_mapping`, the number of each row's
            text: take it before `to`, which leaves it behind.

        Raises:
            TypeError: something is not a string.
            ValueError: no texts, not as many pairs as texts, too
                long where nothing may be cut, or options that are
                unknown or do not go together.
        """
        if stride and not return_overflowing_tokens:
            raise ValueError(
                f"stride is {stride}, which says nothing without "
                "return_overflowing_tokens=True"
            )
        rows = cut_rows(
            self._rust, texts, pairs, max_length, truncation, add_special_tokens,
            is_split_into_words, stride if return_overflowing_tokens else None,
        )  # fmt: skip
        around = [self._around(a, b, add_special_tokens) for _, a, b in rows]
        size = max(len(ids) for ids, _ in around)
        if padding == "max_length" and max_length is not None:
            size = max_length
        elif padding not in (True, "longest"):
            raise ValueError(
                f"padding is {padding!r}: use True (to the longest), or "
                '"max_length" together with max_length=...'
            )
        size += -size % (pad_to_multiple_of or 1)
        if return_tensors not in ("pt", "np"):
            raise ValueError(f'return_tensors is {return_tensors!r}, not "pt" or "np"')
        arrays = pad(around, self.pad_id, size, padding_side)
        arrays.append(np.array([i for i, _, _ in rows], np.int64))
        given: list[Any] = to_tensors(arrays) if return_tensors == "pt" else arrays
        if not return_overflowing_tokens:
            return Batch(*given[:3])
        batch = OverflowingBatch(*given[:3])
        batch.overflow_to_sample_mapping = given[3]
        return batch

    def ids(
        self, texts: Sequence[str], *, max_length: int | None = None
    ) -> list[list[int]]:
        """Give each text's ids, with [CLS] and [SEP], unpadded.

        Args:
            texts: any number of them, none included.
            max_length: most tokens, special ones included; what is
                beyond is cut off.

        Raises:
            TypeError: something that is not a string.
            ValueError: `max_length` leaves no room for [CLS] and [SEP].

        >>> Tokenizer.from_pretrained("minilm").ids(["One.", "", "One, two."])[1]
        [101, 102]
        """
        if len(texts) == 0:
            return []
        rows = cut_rows(self._rust, texts, None, max_length, True, True, False)
        return [self._around(a, b, True)[0] for _, a, b in rows]

    def _around(
        self,
        a: tokenizers.Encoding,
        b: tokenizers.Encoding | None,
        special: bool,
    ) -> tuple[list[int], list[int]]:
        second = None if b is None else b.ids
        if special:
            return surround(a.ids, second, self.cls_id, self.sep_id)
        ids = [*a.ids, *(second or [])]
        return ids, [0] * len(a) + [1] * (len(ids) - len(a))

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
        entries = []
        for word in as_texts(words, "word"):
            parts = self._split(word)
            if len(parts) != 1:
                raise ValueError(
                    f"{word!r} cannot be an entry: it is cut into "
                    f"{parts} before the vocabulary is looked up"
                )
            entries += parts
        kept = {token.content for token in self._added}
        pieces, ids = put_words(self._pieces, entries, kept, append)
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
        `vocab.txt`. `lowercase`, `strip_accents` and `chinese` are
        what `tokenizer_config.json` says. Where that names a class
        such as `PreTrainedTokenizerFast`, they are what
        `tokenizer.json` says; where it is absent or names none,
        that says what it leaves open.

        Args:
            name_or_path: "leads-4096", the book's own vocabulary, or
                whatever `minibert.files.resolve` finds.
            revision: a hub id's branch, tag or commit; None for the
                one that is pinned here, else what the hub's cache
                holds, else the newest.

        Raises:
            FileNotFoundError: nothing of this name, or no pieces.
            ModuleNotFoundError: "minilm" without `[models]`.
            ValueError: a file is broken, or asks for what this
                tokenizer does not do and what would change the ids.
        """
        own = Path(str(resources.files("minibert"))) / "vocab"
        name = str(name_or_path)
        ships = name in {path.stem for path in own.glob("*.txt")}
        if ships and not has_model_files(Path(name)):
            return cls(read_vocabulary(own / f"{name}.txt"))
        files = ["vocab.txt|tokenizer.json"]
        folder = resolve(name_or_path, files, revision)
        try:
            file, found = read_folder(folder)
            with errors_naming(file):
                return cls(**found)
        except ValueError as error:
            raise ValueError(brief(error, 1500)) from None

    def save_pretrained(self, path: str | PathLike[str]) -> None:
        """Write `vocab.txt` and `tokenizer_config.json` to a folder.

        Raises:
            FileExistsError: the folder holds a `tokenizer.json`, which
                `transformers` would read instead of these.
        """
        folder = Path(path)
        refuse_other_tokenizer(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_settings(
            folder, self._pieces[: self._base], self._ids, self._added,
            lowercase=self.lowercase, strip_accents=self.strip_accents,
            chinese=self.chinese,
        )  # fmt: skip
