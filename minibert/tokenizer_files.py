# Written by tools/tangle.py from
# book/source/tokenizer-files.md
# Edit that, not this.
"""What a folder says of its tokenizer, in Hugging Face's layout.

`vocab.txt` or `tokenizer.json` hold the pieces;
`tokenizer_config.json`, `special_tokens_map.json` and
`added_tokens.json` say what is set and added. What would change the
ids is refused by name.
"""

import json
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from minibert.files import read_json, read_text
from minibert.vocabulary import SPECIAL, new_pieces

__all__: list[str] = []


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


def checked_value(
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


def read_json_if_present(file: Path) -> dict[str, Any] | None:
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
    name = checked_value(settings, "tokenizer_class", kinds, path) or ""
    name = name.removesuffix("Fast")
    if name in BACKENDS:
        return False
    if name.removesuffix("Tokenizer") not in FAMILY.split():
        raise ValueError(
            f"{path} names a {name}, which does not cut as BERT does; "
            "if it does, let tokenizer_class be BertTokenizer"
        )
    return True


def single_step(step: Any) -> dict[str, Any]:
    """Give a step of `tokenizer.json`, also if it is one in a list."""
    if isinstance(step, dict) and step.get("type") == "Sequence":
        for steps in step.values():
            if isinstance(steps, list) and len(steps) == 1:
                return single_step(steps[0])
    return step if isinstance(step, dict) else {"type": step}


def check_steps(saved: dict[str, Any], file: Path, family: bool) -> None:
    """Refuse, by name, a `tokenizer.json` that is not BERT's.

    Args:
        saved: what it holds.
        file: where, for the error.
        family: what puts [CLS] and [SEP] around a text may be
            missing.
    """
    model = checked_value(saved, "model", dict, file)
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
        step = single_step(checked_value(saved, key, kinds, file))
        if family and key == "post_processor" and step == {"type": None}:
            continue
        if step.get("type") not in wants:
            raise ValueError(
                f"{file} has the {key} {step.get('type')}, and BERT has "
                f"{wants[0]}: its ids would be others"
            )
    if single_step(saved["normalizer"]).get("clean_text", True) is not True:
        raise ValueError(f"{file} sets clean_text to false, and BERT cleans")
    template = single_step(saved.get("post_processor"))
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
    ids = checked_value(model, "vocab", dict, file)
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
        model = checked_value(saved or read_json(path), "model", dict, path)
        ids = checked_value(model, "vocab", dict, path)
        for piece in [p for p, i in ids.items() if type(i) is not int]:
            checked_value(ids, piece, int, path)
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
                flags = {key: checked_value(found, key, bool, file), **flags}
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
        extra = extra or checked_value(
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
    known = checked_value(settings, "added_tokens_decoder", kinds, config)
    named = list(named_tokens(settings, config))
    special = {token.content for token in named}
    found: list[tuple[Path, int | None, AddedToken]] = []
    if known is None:
        ids = read_json_if_present(legacy) or {}
        for name in ids:
            checked_value(ids, name, int, legacy)
        for name in sorted(ids, key=ids.__getitem__):
            one = to_added(
                name, legacy, special=name in special,
                normalized=name not in special,
            )  # fmt: skip
            found.append((legacy, ids[name], one))
        known = {}
    for entry in checked_value(saved or {}, "added_tokens", list, file, []):
        if not isinstance(entry, dict):
            raise ValueError(f"{file}: {entry!r} is no added token")
        i = checked_value(entry, "id", int, file)
        found.append((file, i, to_added(entry, file)))
    if not all(key.isdecimal() for key in known):
        raise ValueError(f"{config}: added_tokens_decoder has ids as keys")
    for key in sorted(known, key=int):
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
    settings, saved = read_json_if_present(config) or {}, read_json_if_present(file)
    family = check_settings(settings, config)
    map_file = folder / "special_tokens_map.json"
    if "added_tokens_decoder" not in settings:
        names = read_json_if_present(map_file) or {}
        check_settings(names, map_file)
        settings |= names
    made: dict[str, Any] = {}
    if saved is None:
        file = folder / "vocab.txt"
    else:
        check_steps(saved, file, family)
        own = single_step(saved["normalizer"])
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
        made[key] = checked_value(made, key, bool, where, default)
    checked_value(made, "strip_accents", (bool, type(None)), where)
    pieces = read_vocabulary(file, saved)
    if family and "added_tokens_decoder" in settings:
        saved = None  # what was added is read from there alone
    found = read_added(folder, settings, saved)
    added = {token.content: token for _, _, token in found}
    ids = {piece: i for i, piece in enumerate(pieces)}
    for name in new_pieces(pieces, added.values()):
        ids[name] = len(ids)
    for source, i, token in found:
        if i not in (None, ids[token.content]):
            raise ValueError(
                f"{source} gives {token.content!r} the id {i}, where it "
                f"comes at {ids[token.content]}: ids are left out before it"
            )
    return file, {"vocabulary": pieces, "added": [*added.values()], **made}


def refuse_other_tokenizer(folder: Path) -> None:
    """Refuse a folder whose own file would be read instead."""
    if (folder / "tokenizer.json").exists():
        raise FileExistsError(
            f"{folder}/tokenizer.json would be read instead of the "
            "vocab.txt written here: remove it, or save elsewhere"
        )


def write_settings(
    folder: Path,
    pieces: Sequence[str],
    ids: Mapping[str, int],
    added: Sequence[AddedToken],
    **switches: bool | None,
) -> None:
    """Write `vocab.txt` and `tokenizer_config.json` into a folder."""
    settings: dict[str, Any] = {"tokenizer_class": "BertTokenizer"}
    settings |= {key: switches[ours] for key, ours in SWITCHES.items()}
    settings |= {f"{t[1:-1].lower()}_token": t for t in SPECIAL}
    if added:
        settings["added_tokens_decoder"] = {
            str(ids[token.content]): {
                "content": token.content,
                **{flag: getattr(token, flag) for flag in FLAGS},
            }
            for token in added
        }
    text = "".join(f"{piece}\n" for piece in pieces)
    (folder / "vocab.txt").write_text(text, encoding="utf-8", newline="\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps(settings, indent=2) + "\n", encoding="utf-8"
    )
