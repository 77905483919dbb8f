# Written by tools/tangle.py from
# book/source/tokens.md
# Edit that, not this.
"""Text to the numbers that BERT reads, and back to the text.

A vocabulary is a list of pieces; a piece that continues a word
begins with `##`. The work on characters is done by the Rust library
`tokenizers`; what is put around the pieces is done here. Shapes:
`B` texts (or pairs of them), `S` pieces in the longest.
"""

import json
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
import torch
from tokenizers import (
    AddedToken,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from torch import Tensor

from minibert.data import holds_model, read_json, read_text, resolve

__all__ = [
    "SPECIAL",
    "Batch",
    "Encoding",
    "Tokenizer",
    "train_vocabulary",
]

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


UNUSED = re.compile(r"\[unused\d+\]")
STRATEGIES = ("longest_first", "only_first", "only_second")


def truncate(
    first: int, second: int, room: int, truncation: str | bool, row: int
) -> tuple[int, int]:
    """How many pieces of a text and its pair to keep.

    Args:
        first: pieces of the text.
        second: pieces of its pair, -1 where there is none.
        room: pieces that may stay, the special tokens not counted.
        truncation: see `Tokenizer.encode`.
        row: place in the batch, for the error.

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


def as_texts(texts: Iterable[str], what: str) -> list[str]:
    """Give a non-empty list of strings, or say what is wrong.

    Raises:
        TypeError: not a collection, or something in it is no string.
        ValueError: nothing in it, or half a character.
    """
    if isinstance(texts, (str, bytes)) or not isinstance(texts, Iterable):
        raise TypeError(
            f"{what}s must be a list of strings, not {texts!r} "
            f"({type(texts).__name__})"
        )
    texts = list(texts)
    if not texts:
        raise ValueError(f"no {what}s: the batch is empty")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            hint = ""
            if isinstance(text, (tuple, list)):
                hint = "; second texts go into the second argument"
            raise TypeError(
                f"{what} {i} must be a string, not {text!r} "
                f"({type(text).__name__}){hint}"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{what} {i} holds half a character (a lone surrogate, "
                f"{text[error.start]!r}) at place {error.start}"
            ) from None
    return texts


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


def beyond(
    vocabulary: Sequence[str], added: Iterable[AddedToken]
) -> list[str]:
    """Give the added tokens that the vocabulary lacks, in order."""
    known = set(vocabulary)
    names = dict.fromkeys(token.content for token in added)
    return [name for name in names if name not in known]


# Classes of transformers that cut as BERT does, and those that leave
# it to tokenizer.json; a last "Fast" is taken off.
FAMILY = "Bert ConvBert DistilBert Electra MobileBert SqueezeBert"
BACKENDS = ("TokenizersBackend", "PreTrainedTokenizer", "")
SWITCHES = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "chinese",
}
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def checked(
    found: Mapping[str, Any], key: str, kind: Any, file: Path, default: Any = None
) -> Any:
    """Take what a file says under a key, and refuse a wrong type."""
    value = found.get(key, default)
    number = isinstance(value, bool) and kind is int
    if number or not isinstance(value, kind):
        raise ValueError(
            f"{file}: {key} must not be {reprlib.repr(value)} "
            f"({type(value).__name__})"
        )
    return value


def optional(file: Path) -> dict[str, Any] | None:
    """Read a JSON object, or give None where there is no file."""
    there = file.exists() or file.is_symlink()
    return read_json(file) if there else None


def check_settings(settings: dict[str, Any], path: Path) -> bool:
    """Refuse settings of `tokenizer_config.json` that change ids.

    Returns:
        True where it names a class that cuts as BERT does, False
        where it names none, or one that reads `tokenizer.json` as it
        is.
    """
    names = {f"{t[1:-1].lower()}_token": t for t in SPECIAL}
    wanted: dict[str, Any] = {
        "do_basic_tokenize": True, "split_special_tokens": False, **names,
    }  # fmt: skip
    for key, want in wanted.items():
        value = settings.get(key, want)
        if isinstance(value, dict):
            value = value.get("content")
        if value != want:
            raise ValueError(
                f"{path} sets {key} to {value!r}; only {want!r} is known"
            )
    if settings.get("never_split"):
        raise ValueError(f"{path} sets never_split, which is not known")
    kinds = (str, type(None))
    name = checked(settings, "tokenizer_class", kinds, path) or ""
    name = name.removesuffix("Fast")
    if name in BACKENDS:
        return False
    if name.removesuffix("Tokenizer") not in FAMILY.split():
        raise ValueError(
            f"{path} names a {name}, which does not cut as BERT does; "
            "if it does, let tokenizer_class be BertTokenizer"
        )
    return True


def alone(step: Any) -> dict[str, Any]:
    """Give a step of `tokenizer.json`, also if it is one in a list."""
    if isinstance(step, dict) and step.get("type") == "Sequence":
        for steps in step.values():
            if isinstance(steps, list) and len(steps) == 1:
                return alone(steps[0])
    return step if isinstance(step, dict) else {"type": step}


def check_steps(saved: dict[str, Any], file: Path, family: bool) -> None:
    """Refuse, by name, a `tokenizer.json` that is not BERT's.

    Args:
        saved: what it holds.
        file: where, for the error.
        family: what puts [CLS] and [SEP] around a text may be
            missing.
    """
    model = checked(saved, "model", dict, file)
    kind = model.get("type", "WordPiece" if
                     "max_input_chars_per_word" in model else None)  # fmt: skip
    if kind != "WordPiece":
        raise ValueError(f"{file} is a {kind} model, not WordPiece")
    for key, want in (
        ("unk_token", "[UNK]"), ("continuing_subword_prefix", "##"),
        ("max_input_chars_per_word", 100),
    ):  # fmt: skip
        if model.get(key, want) != want:
            raise ValueError(
                f"{file} sets {key} to {model[key]!r}; only {want!r} is known"
            )
    for key, wants in (
        ("normalizer", ["BertNormalizer"]),
        ("pre_tokenizer", ["BertPreTokenizer"]),
        ("post_processor", ["BertProcessing", "TemplateProcessing"]),
    ):
        kinds = (dict, type(None))
        step = alone(checked(saved, key, kinds, file))
        if family and key == "post_processor" and step == {"type": None}:
            continue
        if step.get("type") not in wants:
            raise ValueError(
                f"{file} has the {key} {step.get('type')}, and BERT has "
                f"{wants[0]}: its ids would be others"
            )
    if alone(saved["normalizer"]).get("clean_text", True) is not True:
        raise ValueError(f"{file} sets clean_text to false, and BERT cleans")
    template = alone(saved.get("post_processor"))
    cls, a, sep, b, end = (
        {what: {"id": name, "type_id": row}} for what, name, row in (
            ("SpecialToken", "[CLS]", 0), ("Sequence", "A", 0),
            ("SpecialToken", "[SEP]", 0), ("Sequence", "B", 1),
            ("SpecialToken", "[SEP]", 1),
        )
    )  # fmt: skip
    if template["type"] == "TemplateProcessing" and (
        template.get("single") != [cls, a, sep]
        or template.get("pair") != [cls, a, sep, b, end]
    ):
        raise ValueError(
            f"{file} puts other tokens around a text than [CLS] A [SEP] "
            "and [CLS] A [SEP] B [SEP]"
        )
    ids = checked(model, "vocab", dict, file)
    given = template.get("special_tokens")
    for key in ("cls", "sep"):
        name = f"[{key.upper()}]"
        put: Any = template.get(key)
        due: list[Any] = [name, ids.get(name)]
        if isinstance(given, dict) and isinstance(given.get(name), dict):
            put, due = given[name].get("ids"), [ids.get(name)]
        if template["type"] and name in ids and put != due:
            raise ValueError(
                f"{file} puts {put} around a text, and {name} is "
                f"{ids[name]} in its vocabulary"
            )


def read_vocabulary(
    path: Path, saved: dict[str, Any] | None = None
) -> list[str]:
    """Read the pieces in the order of their ids.

    Args:
        path: a text file with one piece a line, or a
            `tokenizer.json` as `transformers` writes it.
        saved: what that one holds, where it was read already.

    Raises:
        ValueError: not UTF-8, no JSON, or ids that are no places in
            a list.
    """
    if path.suffix == ".json":
        model = checked(saved or read_json(path), "model", dict, path)
        ids = checked(model, "vocab", dict, path)
        for piece in [p for p, i in ids.items() if type(i) is not int]:
            checked(ids, piece, int, path)
        if sorted(ids.values()) != list(range(len(ids))):
            raise ValueError(
                f"{path} leaves ids out or has one twice: a list of "
                "pieces cannot say this"
            )
        return sorted(ids, key=ids.__getitem__)
    # Not splitlines(): a piece such as U+2028 would count as a line end.
    pieces = read_text(path).split("\n")
    return pieces[:-1] if pieces[-1] == "" else pieces


def to_added(found: Any, file: Path, **flags: bool) -> AddedToken:
    """Make an added token of what a file says: a string or a dict."""
    if isinstance(found, dict):
        for key in FLAGS:
            if key in found:
                flags = {key: checked(found, key, bool, file), **flags}
        found = found.get("content")
    lone = isinstance(found, str) and re.search("[\ud800-\udfff]", found)
    if not isinstance(found, str) or not found or lone:
        raise ValueError(
            f"{file}: an added token must not be {reprlib.repr(found)}"
        )
    return AddedToken(found, **flags)


def named_tokens(
    settings: dict[str, Any], file: Path
) -> Iterator[AddedToken]:
    """Give the tokens that settings name as special, in order."""
    keys = [key for key in settings if key.endswith("_token")]
    first = [key for key in ("bos_token", "eos_token") if key in keys]
    values = [settings[key] for key in dict.fromkeys([*first, *keys])]
    extra: Any = None
    for key in ("extra_special_tokens", "additional_special_tokens"):
        extra = extra or checked(
            settings, key, (dict, list, type(None)), file
        )
    more = extra.values() if isinstance(extra, dict) else extra or []
    for value in values:
        if isinstance(value, (str, dict)):
            yield to_added(value, file, special=True)
    for value in more:
        if isinstance(value, dict) and "__type" in value:
            yield to_added(value, file)  # says itself whether it is
        else:
            yield to_added(value, file, special=True)


def read_added(
    folder: Path, settings: dict[str, Any], saved: dict[str, Any] | None
) -> list[tuple[Path, int | None, AddedToken]]:
    """Collect tokens that are found before a text is cut.

    They stand in `tokenizer_config.json`, else in `added_tokens.json`
    and `tokenizer.json`; tokens that are named special follow.

    Returns:
        The file, the id where it gives one, and the token.
    """
    config = folder / "tokenizer_config.json"
    legacy, file = folder / "added_tokens.json", folder / "tokenizer.json"
    kinds = (dict, type(None))
    known = checked(settings, "added_tokens_decoder", kinds, config)
    named = list(named_tokens(settings, config))
    special = {token.content for token in named}
    found: list[tuple[Path, int | None, AddedToken]] = []
    if known is None:
        ids = optional(legacy) or {}
        for name in ids:
            checked(ids, name, int, legacy)
        for name in sorted(ids, key=ids.__getitem__):
            one = to_added(
                name, legacy, special=name in special,
                normalized=name not in special,
            )  # fmt: skip
            found.append((legacy, ids[name], one))
    for entry in checked(saved or {}, "added_tokens", list, file, []):
        if not isinstance(entry, dict):
            raise ValueError(f"{file}: {entry!r} is no added token")
        i = checked(entry, "id", int, file)
        found.append((file, i, to_added(entry, file)))
    if not all(key.isdecimal() for key in known or {}):
        raise ValueError(f"{config}: added_tokens_decoder has ids as keys")
    for key in sorted(known or {}, key=int):
        found.append((config, int(key), to_added(known[key], config)))
    for _, _, token in found:
        token.special |= token.content in special
    listed = {token.content for _, _, token in found}
    found += [(config, None, t) for t in named if t.content not in listed]
    return found


def read_folder(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Read what a folder says of its tokenizer.

    Returns:
        The file of the vocabulary, and the arguments of `Tokenizer`.

    Raises:
        FileNotFoundError: a link to nothing.
        ValueError: a file that is broken, or that says what is not
            BERT's; named.
    """
    config, file = folder / "tokenizer_config.json", folder / "tokenizer.json"
    settings, saved = optional(config) or {}, optional(file)
    family = check_settings(settings, config)
    map_file = folder / "special_tokens_map.json"
    if "added_tokens_decoder" not in settings:
        names = optional(map_file) or {}
        check_settings(names, map_file)
        settings |= names
    made: dict[str, Any] = {}
    if saved is None:
        file = folder / "vocab.txt"
    else:
        check_steps(saved, file, family)
        own = alone(saved["normalizer"])
        own["chinese"] = own.get("handle_chinese_chars", True)
        if not family:
            made = {key: own.get(key) for key in SWITCHES.values()}
    if family or saved is None or not settings.get("tokenizer_class"):
        made |= {
            ours: settings[key] for key, ours in SWITCHES.items()
            if key in settings
        }  # fmt: skip
    where = file if saved and not family else config
    for key, default in (("lowercase", True), ("chinese", True)):
        made[key] = checked(made, key, bool, where, default)
    checked(made, "strip_accents", (bool, type(None)), where)
    pieces = read_vocabulary(file, saved)
    if family and "added_tokens_decoder" in settings:
        saved = None  # what was added is read from there alone
    found = read_added(folder, settings, saved)
    added = {token.content: token for _, _, token in found}
    ids = {piece: i for i, piece in enumerate(pieces)}
    for name in beyond(pieces, added.values()):
        ids[name] = len(ids)
    for source, i, token in found:
        if i not in (None, ids[token.content]):
            raise ValueError(
                f"{source} gives {token.content!r} the id {i}, where it "
                f"comes at {ids[token.content]}: ids are left out before it"
            )
    return file, {"vocabulary": pieces, "added": [*added.values()], **made}


def train_vocabulary(
    texts: Iterable[str], size: int, lowercase: bool = True
) -> list[str]:
    """Learn a WordPiece vocabulary, the same one every time.

    The book's own file, `minibert/vocab/leads-4096.txt`, is
    `train_vocabulary([x.text for x in leads("train")], 4096)`.

    Args:
        texts: what to learn from.
        size: number of entries, the special tokens included; fewer
            come back when the texts offer no more.
        lowercase: lower-case and strip accents first.

    Returns:
        The special tokens, the characters, then the pieces in the
        order in which they were made.

    Raises:
        TypeError: a text is not a string.
        ValueError: no texts, or `size` is below their characters.

    Source: Schuster and Nakajima 2012; the trainer is that of
    `tokenizers`, which merges by count, as BPE does.
    """
    texts = as_texts(texts, "text")
    normal = normalizers.BertNormalizer(lowercase=lowercase)
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


class Batch(NamedTuple):
    """Three tensors (B, S) of int64, in the order a model takes them.

    A model takes it as `model(*batch)` or `model(**batch)`.

    Attributes:
        input_ids: rows of the embedding table.
        attention_mask: 1 for real tokens, 0 for padding.
        token_type_ids: segment, 0 or 1.
    """

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor

    def to(self, device: torch.device | str) -> "Batch":
        """Give the same batch on another device."""
        return Batch(*(tensor.to(device) for tensor in self))

    def keys(self) -> tuple[str, ...]:
        """Give the names, as a mapping does."""
        return self._fields

    def __getitem__(self, key: Any) -> Any:
        """Give a tensor by its name; or as a tuple does."""
        if isinstance(key, str):
            return self._asdict()[key]
        return tuple.__getitem__(self, key)


def surround(
    first: list[int], second: list[int] | None, cls: int, sep: int
) -> tuple[list[int], list[int]]:
    """Put special tokens around one text, or two: ids, segments."""
    ids = [cls, *first, sep]
    segments = [0] * len(ids)
    if second is not None:
        ids += [*second, sep]
        segments += [1] * (len(second) + 1)
    return ids, segments


def pad(
    rows: list[tuple[list[int], list[int]]], pad_id: int, size: int
) -> Batch:
    """Lay (ids, segments) of B rows side by side, (B, size)."""
    input_ids = torch.full((len(rows), size), pad_id)
    mask = torch.zeros(len(rows), size, dtype=torch.long)
    segments = torch.zeros(len(rows), size, dtype=torch.long)
    for row, (ids, types) in enumerate(rows):
        input_ids[row, : len(ids)] = torch.tensor(ids)
        segments[row, : len(ids)] = torch.tensor(types)
        mask[row, : len(ids)] = 1
    return Batch(input_ids, mask, segments)


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
        pieces = [*base, *beyond(base, self._added)]
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
        cls, name_or_path: str | PathLike[str]
    ) -> "Tokenizer":
        """Load a vocabulary and what is set and added beside it.

        As in `transformers`, a `tokenizer.json` comes before a
        `vocab.txt`. The switches are those of
        `tokenizer_config.json`; where it is absent, or names no class
        but a back end, those of `tokenizer.json`.

        Args:
            name_or_path: "leads-4096", the book's own vocabulary, or
                whatever `minibert.data.resolve` finds.

        Raises:
            FileNotFoundError: nothing of this name, or no vocabulary.
            ValueError: a file is broken, or sets what would change
                the ids and what this tokenizer lacks.
        """
        own = Path(str(resources.files("minibert"))) / "vocab"
        name = str(name_or_path)
        ships = name in {path.stem for path in own.glob("*.txt")}
        if ships and not holds_model(Path(name)):
            return cls(read_vocabulary(own / f"{name}.txt"))
        folder = resolve(name_or_path, ["vocab.txt|tokenizer.json"])
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
