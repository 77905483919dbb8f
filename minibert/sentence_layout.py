"""The folder layout of `sentence-transformers`: how a text's vector is made, in files.

`modules.json` lists the steps: the model, how its tokens' vectors are pooled, and whether
the result is divided by its length. Shapes: `B` batch, `S` sequence, `H` hidden.
"""

import json
import os
import tempfile
from functools import lru_cache
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from minibert.checks import check_whole
from minibert.config import read_config
from minibert.files import file_exists, find_folder, folder_state, read_json, read_text
from minibert.loading import row_length
from minibert.tokenizer_files import read_folder, refuse_other_tokenizer

if TYPE_CHECKING:
    from minibert.bert import BertModel
    from minibert.tokens import Tokenizer

__all__ = ["Layout", "find_layout", "max_pool", "read_layout", "save_sentence_model", "sqrt_pool"]


MODULES = "modules.json"
POOLING, SETTINGS, SENTENCES = (
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
)
POOLS = {  # our name -> the switch of a pooling's config, as all versions read it
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
}


class Layout(NamedTuple):
    """What a folder says of its sentence vectors."""

    folder: Path  # of the weights and the tokenizer
    pool: str  # one of POOLS
    normalize: bool  # whether vectors are divided by their length
    max_length: int  # tokens of a text that count
    prompt: str  # what stands before each text


Array = Any  # a tensor of torch, or an array of NumPy


def max_pool(states: Array, mask: Array) -> Array:
    """Take the largest number at each place over the real tokens: (B, S, H) -> (B, H)."""
    real = states - 1e30 * (mask[:, :, None] == 0)
    return real.amax(1) if hasattr(real, "amax") else real.max(1)


def sqrt_pool(states: Array, mask: Array) -> Array:
    """Add up the real tokens, divided by the root of their count: (B, S, H) -> (B, H)."""
    weight = mask[:, :, None]  # (B, S, 1)
    return (states * weight).sum(1) / weight.sum(1).clip(min=1) ** 0.5


def list_modules(folder: Path) -> list[tuple[str, str]]:
    """Read `modules.json`: each module's class and its folder, inside of this one.

    Raises:
        ValueError: it is no such list, or leads out of the folder.
    """
    file = folder / MODULES
    try:
        found = json.loads(read_text(file))
        modules = [(str(one["type"]), str(one["path"])) for one in found]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{file} is no list of modules, each with its type and path") from None
    for _, path in modules:
        parts = PurePosixPath(path).parts
        if path.startswith("/") or ".." in parts or ":" in path or "\\" in path:
            raise ValueError(f"{file} names {path!r}, no folder inside of {folder}")
    return modules


KINDS = ("Transformer", "Pooling", "Normalize")


def check_modules(kinds: list[str], file: Path) -> None:
    """Refuse what is no transformer, its pooling and, maybe, their length made 1."""
    for kind in kinds:
        if kind.rpartition(".")[2] not in KINDS or not kind.startswith("sentence_transformers."):
            raise ValueError(
                f"{file} asks for {kind}, and minibert computes {', '.join(KINDS)} of "
                "sentence_transformers: load it with sentence_transformers.SentenceTransformer"
            )
    names = tuple(kind.rpartition(".")[2] for kind in kinds)
    if names not in (KINDS, KINDS[:2]):
        raise ValueError(
            f"{file} lists {', '.join(names) or 'nothing'}: it must be Transformer, then "
            "Pooling, then Normalize or nothing"
        )


def read_pool(file: Path) -> str:
    """Read how the vectors of a text's tokens become one.

    Raises:
        ValueError: in several ways at once, or in one that is not computed here.
    """
    pooling = read_json(file)
    named = pooling.get("pooling_mode")
    if named is None:
        switches = {switch: name for name, switch in POOLS.items()}
        on = [key for key in pooling if key.startswith("pooling_mode_") and pooling[key] is True]
        modes = [switches.get(one, one) for one in on] or ["mean"]
    else:
        modes = [named] if isinstance(named, str) else list(named)
    if len(modes) != 1 or modes[0] not in POOLS:
        raise ValueError(
            f"{file} pools by {' and '.join(map(str, modes))}: minibert pools by one of "
            f"{', '.join(POOLS)}"
        )
    if pooling.get("include_prompt", True) is not True:
        raise ValueError(f"{file} leaves the prompt's tokens out (include_prompt): not done here")
    return str(modes[0])


STATES = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
KNOWN = {  # what sentence_bert_config.json may say beside a length and a case
    "transformer_task": ("feature-extraction",),
    "module_output_name": ("token_embeddings",),
    "modality_config": (STATES,),
}


def read_settings(folder: Path, weights: Path) -> int:
    """Read how many tokens count; refuse settings that would change the vectors.

    Raises:
        ValueError: such a setting, named.
    """
    file = weights / SETTINGS
    settings = read_json(file) if file_exists(file) else {}
    for name, value in settings.items():
        plain = name in ("max_seq_length", "do_lower_case")
        if not plain and value and value not in KNOWN.get(name, ()):
            raise ValueError(f"{file} sets {name} to {value!r}, which minibert does not know")
    if settings.get("do_lower_case") and not read_folder(weights)[1]["lowercase"]:
        raise ValueError(
            f"{file} asks for lower case (do_lower_case), and the tokenizer keeps capitals: "
            "set do_lower_case in tokenizer_config.json"
        )
    longest = read_config(weights).max_position_embeddings
    most = settings.get("max_seq_length")
    if most is None:
        own = weights / "tokenizer_config.json"
        most = read_json(own).get("model_max_length") if file_exists(own) else None
    if most is None:
        return longest
    if isinstance(most, bool) or not isinstance(most, (int, float)) or most < 2:
        raise ValueError(f"{file}: a text of {most!r} tokens has no room for [CLS] and [SEP]")
    return int(min(most, longest))


KIND = "SentenceTransformer"


def read_prompt(folder: Path) -> str:
    """Read what stands before each text, where nobody asks for another prompt.

    Raises:
        ValueError: a prompt is named that is not there.
    """
    file = folder / SENTENCES
    settings = read_json(file) if file_exists(file) else {}
    if (kind := settings.get("model_type", KIND)) != KIND:
        raise ValueError(f"{file} is of a {kind}: minibert reads a {KIND} alone")
    name, prompts = settings.get("default_prompt_name"), settings.get("prompts") or {}
    if name is None:
        return ""
    if not isinstance(prompts, dict) or not isinstance(prompts.get(name), str):
        raise ValueError(f"{file} names the prompt {name!r}, and gives none of this name")
    return str(prompts[name])


def read_layout(folder: str | PathLike[str]) -> Layout | None:
    """Read how a folder's sentence vectors are made; None where it does not say.

    Raises:
        FileNotFoundError: a file is missing that `modules.json` names.
        ValueError: a file is broken, or asks for what minibert does not compute; named.
    """
    folder = Path(folder)
    if not file_exists(folder / MODULES):
        return None
    modules = list_modules(folder)
    check_modules([kind for kind, _ in modules], folder / MODULES)
    weights, pooling = (folder / path for _, path in modules[:2])
    if not file_exists(pooling / "config.json"):
        raise FileNotFoundError(f"{folder / MODULES} names {pooling.name}: no config.json there")
    return Layout(
        weights,
        read_pool(pooling / "config.json"),
        len(modules) == len(KINDS),
        read_settings(folder, weights),
        read_prompt(folder),
    )


@lru_cache(maxsize=4)
def layout_once(folder: Path, seen: tuple[Any, ...]) -> Layout | None:
    """Read a folder's layout; what was `seen` there makes a new reading of a new file."""
    return read_layout(folder)


def find_layout(
    name_or_path: str | Path,
) -> tuple[str | Path, Layout | None]:
    """Find what to load for sentence vectors, and how its folder says they are made.

    Returns:
        The name itself, or the folder inside of it that holds the weights; and the
        layout, None where there is none.

    Raises:
        FileNotFoundError, ValueError: as `minibert.files.resolve` and `read_layout`.
    """
    folder = Path(name_or_path)
    if not file_exists(folder / MODULES):  # weights may all be further in
        folder = find_folder(name_or_path, ["config.json|modules.json"])
    layout = layout_once(folder, folder_state(folder))
    if layout is None or layout.folder == folder:
        return name_or_path, layout
    return layout.folder, layout


def save_sentence_model(
    model: "BertModel",
    tokenizer: "Tokenizer",
    folder: str | PathLike[str],
    pool: str = "mean",
    normalize: bool = True,
    max_length: int = 256,
) -> None:
    """Write a model for sentence vectors as `sentence-transformers` reads it.

    `SentenceTransformer(folder)` then gives the vectors that `minibert.embed` gives. All
    files are written beside their places and then moved in.

    Args:
        model: whose last states are pooled.
        tokenizer: its own.
        folder: where to; made if it is not there.
        pool: "mean", "cls", "max" or "mean_sqrt_len_tokens".
        normalize: whether vectors are divided by their length.
        max_length: tokens, [CLS] and [SEP] among them; at most the model's own.

    Raises:
        TypeError: no `BertModel`.
        ValueError: no such pool, or no room for [CLS] and [SEP].
        FileExistsError: as `Tokenizer.save_pretrained`.

    >>> from minibert import embed, load
    >>> save_sentence_model(*load("minilm", "BertModel", "cpu"), "mine")
    >>> embed(["The Danube is a river."], model="mine").shape
    (1, 384)
    """
    from minibert.bert import BertModel

    if not isinstance(model, BertModel):
        kind = type(model).__name__
        raise TypeError(f"the model must be a BertModel, not a {kind}: a head's is model.bert")
    if pool not in POOLS:
        raise ValueError(f"pool must be one of {', '.join(POOLS)}, not {pool!r}")
    length = row_length(model, check_whole("max_length", max_length, 2))
    folder = Path(folder)
    refuse_other_tokenizer(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as aside:
        new = Path(aside)
        model.save_pretrained(new)
        tokenizer.save_pretrained(new)
        write_layout(new, pool, normalize, length, model.config.hidden_size)
        files = [one.relative_to(new) for one in new.rglob("*") if one.is_file()]
        for file in sorted(files, key=lambda one: one.name == MODULES):  # that one last
            (folder / file).parent.mkdir(exist_ok=True)
            os.replace(new / file, folder / file)


def write_layout(folder: Path, pool: str, normalize: bool, length: int, size: int) -> None:
    """Write the files of a layout, in words that every version reads."""
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": f"{i}_{kind}" if i else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(KINDS[: 2 + normalize])
    ]
    switches = {switch: name == pool for name, switch in POOLS.items()}
    written: dict[str, Any] = {
        POOLING: {"word_embedding_dimension": size, **switches},
        SETTINGS: {"max_seq_length": length, "do_lower_case": False},
        SENTENCES: {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"},
        MODULES: modules,
    }
    for file, content in written.items():
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
