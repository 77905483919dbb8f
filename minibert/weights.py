# Written by tools/tangle.py from
# book/source/weights.md
# Edit that, not this.
"""Weights in files, and how they get into a model.

A folder holds `model.safetensors`, or several such files and an
index; a weight goes by its Hugging Face name. Each error names the
file and the weight.
"""

import os
import re
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from minibert.checks import brief
from minibert.config import BertConfig, read_config
from minibert.files import (
    WEIGHTS,
    errors_naming,
    file_exists,
    find_folder,
    read_json,
    refuse_format,
    shipped_names,
)
from minibert.huggingface import (
    current_names,
    from_huggingface,
    to_huggingface,
)

__all__: list[str] = []

Made = TypeVar("Made", bound=nn.Module)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read `model.safetensors`, or the pieces its index names."""
    whole = folder / "model.safetensors"
    index = folder / "model.safetensors.index.json"
    if file_exists(whole):
        state = read_safetensors(whole)
        refuse_quantised(state, whole)
        return current_names(state)
    if file_exists(index):
        state = read_pieces(index)
        refuse_quantised(state, folder)
        return current_names(state)
    for file in sorted(folder.iterdir()):
        if file.suffix in WEIGHTS:
            refuse_format(file)
    raise FileNotFoundError(
        f"there is no model.safetensors in {folder}, nor its index; "
        f"there are {sorted(file.name for file in folder.iterdir())}"
    )


QUANTISED = (
    "a quantised file, and minibert reads float weights alone: take the "
    "model it was made from, or use transformers.AutoModel.from_pretrained"
)
# How GPTQ and AWQ, bitsandbytes and compressed-tensors name their parts.
PARTS = {
    "qweight", "qzeros", "g_idx", "SCB", "absmax", "quant_state",
    "weight_packed", "weight_scale",
}  # fmt: skip


def refuse_quantised(state: Mapping[str, Tensor], file: Path) -> None:
    """Refuse numbers of one byte, and what belongs to them."""
    for name, tensor in state.items():
        part = not PARTS.isdisjoint(name.split("."))
        byte = tensor.element_size() == 1 and tensor.dtype != torch.bool
        if part or byte:
            raise ValueError(f"{file}: {name} is {tensor.dtype}: {QUANTISED}")


def named_base(config: BertConfig, folder: Path) -> str | None:
    """Give the `base_model` of a config, if it ships.

    Raises:
        ValueError: it is elsewhere: a file is not followed there.
    """
    name: str | None = config.extra.get("base_model")
    if not name:
        return None
    known = shipped_names(["*.safetensors"])
    if name not in known:
        raise ValueError(
            f"{folder} holds only what was trained, on top of {name!r}, which "
            f"does not ship with this package ({', '.join(known)} do): if you "
            f"trust it, give base={name!r}"
        )
    return name


def base_weights(name: str | Path, config: BertConfig) -> dict[str, Tensor]:
    """Read the encoder that a folder's weights were trained on."""
    folder = find_folder(name, ["*.safetensors"])
    state = read_weights(folder)
    if file_exists(folder / "config.json"):  # it may have a base of its own
        further = named_base(read_config(folder), folder)
        if further is not None:
            state = base_weights(further, config) | state
    kept = {}
    for key, tensor in state.items():
        if in_encoder(key) and layer_of(key) < config.num_hidden_layers:
            kept["bert." + key.removeprefix("bert.")] = tensor
    return kept


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """Read one file whole, or say that it is broken."""
    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        refuse_format(file)
        size = file.stat().st_size
        raise ValueError(
            f"{file} ({size:,} bytes) is cut short or no safetensors "
            f"file: fetch it again ({brief(error)})"
        ) from None


def read_pieces(index: Path) -> dict[str, Tensor]:
    """Read every piece that an index names, and miss none."""
    try:
        pieces = read_json(index)["weight_map"]
        files = sorted(set(pieces.values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(
            f"{index} is no index: it needs a weight_map from names to files"
        ) from None
    state: dict[str, Tensor] = {}
    for name in files:
        file = index.parent / str(name)
        if file.name != name or file.suffix != ".safetensors":
            raise ValueError(f"{index} names {brief(repr(name))}, no file beside it")
        if not file_exists(file):
            raise FileNotFoundError(f"{index} names {name}, which is missing")
        state |= read_safetensors(file)
    lost = [name for name in pieces if name not in state]
    if lost:
        raise ValueError(f"{index} promises {list_names(lost)}; no piece holds it")
    return state


# What a weight outside of the encoder is for, by how its name begins.
MEANING = {
    "pooler.": "the pooler",
    "cls.predictions.": "a masked-word head",
    "cls.seq_relationship.": "a next-sentence head",
    "qa_outputs.": "a question-answering head",
    "classifier.": "a classification head",
}


def list_names(names: Iterable[str]) -> str:
    """List names in order, the first four in full."""
    ordered = sorted(names)
    more = f" and {len(ordered) - 4} more" if len(ordered) > 4 else ""
    return ", ".join(map(brief, ordered[:4])) + more


def in_encoder(name: str) -> bool:
    """Whether a name of theirs is of the embeddings or a layer."""
    bare = name.removeprefix("bert.")
    return bare.startswith(("embeddings.", "encoder."))


def layer_of(name: str) -> int:
    """Give the layer that a name of theirs is of, from 0; -1 for none."""
    found = re.search(r"encoder\.layer\.(\d+)\.", name)
    return int(found[1]) if found else -1


def same_prefix(
    found: dict[str, Tensor], wanted: Iterable[str]
) -> dict[str, Tensor]:
    """Add or strip `bert.` where file and model differ in it."""
    ours = any(name.startswith("bert.") for name in wanted)
    if not ours:
        return {k.removeprefix("bert."): v for k, v in found.items()}
    parts = ("embeddings.", "encoder.", "pooler.")
    return {
        f"bert.{k}" if k.startswith(parts) else k: v
        for k, v in found.items()
    }


def drop_tied(
    tied: Mapping[str, str], found: dict[str, Tensor], folder: Path
) -> None:
    """Take out copies of a tied weight; refuse one that differs."""
    for name, original in tied.items():
        copy, kept = found.pop(name, None), found.get(original)
        if copy is not None and kept is None:
            found[original] = copy  # under the other of its two names
        elif copy is not None and kept is not None and not copy.equal(kept):
            raise ValueError(
                f"{folder}: {name} differs from {original}, but in this "
                "model they are one"
            )


def check_depth(
    config: BertConfig, state: Mapping[str, Tensor], folder: Path
) -> None:
    """Compare the numbers of layers before so many are made."""
    deep = 1 + max(map(layer_of, state), default=-1)
    if not deep:
        raise ValueError(
            f"{folder} lacks weights of the encoder. It holds {list_names(state)}"
        )
    if deep != config.num_hidden_layers:
        raise ValueError(
            f"{folder}: the file has {deep} layers, but num_hidden_layers "
            f"is {config.num_hidden_layers}"
        )


def make_empty(make: Callable[[], Made], kind: type, folder: Path) -> Made:
    """Make a model without numbers, on meta; name the folder in its errors.

    That is for the classes of this package, which hold parameters that
    `initialise` draws, and nothing else. Another is made as it says.
    """
    ours = kind.__module__.partition(".")[0] == __name__.partition(".")[0]
    where = "meta" if ours else torch.get_default_device()
    with errors_naming(folder), torch.device(where):
        return make()


def set_parameter(model: nn.Module, name: str, tensor: Tensor) -> None:
    """Put a tensor in the place of a parameter."""
    place, _, last = name.rpartition(".")
    module, old = model.get_submodule(place), model.get_parameter(name)
    setattr(module, last, nn.Parameter(tensor, old.requires_grad))


def load_state(
    model: nn.Module,
    state: dict[str, Tensor],
    folder: Path,
    dtype: torch.dtype,
    tied: Mapping[str, str],
    ignore_mismatched_sizes: bool = False,
) -> set[str]:
    """Put a file's weights into a model; say by name what is off.

    Returns:
        The parameters that the file lacks: they have memory now, and
        no numbers yet.
    """
    wanted = to_huggingface(model.state_dict())
    found = same_prefix(state, wanted)
    drop_tied(tied, found, folder)
    resized = {
        name
        for name in wanted.keys() & found.keys()
        if ignore_mismatched_sizes
        and not in_encoder(name)
        and found[name].shape != wanted[name].shape
    }
    found = {k: v for k, v in found.items() if k not in resized}
    missing, left = wanted.keys() - found.keys(), found.keys() - wanted.keys()
    lost = [name for name in missing if in_encoder(name)]
    if lost:
        raise ValueError(
            f"{folder} lacks weights of the encoder: {list_names(lost)}. "
            f"It holds {list_names(found)}"
        )
    over = [name for name in left if in_encoder(name)]
    if over:
        raise ValueError(
            f"{folder} holds weights that this model has no place for: "
            f"{list_names(over)}"
        )
    for name in sorted(wanted.keys() & found.keys()):
        check_tensor(name, found[name], wanted[name], folder)
    warn_names(model, missing, left, resized, folder)
    device = torch.get_default_device()
    kept = from_huggingface({k: v for k, v in found.items() if k in wanted})
    own = {  # what was joined is new already
        name: to_own_memory(x, device, dtype, copy=".qkv." not in name)
        for name, x in kept.items()
    }
    empty = any(one.is_meta for one in model.parameters())
    model.load_state_dict(own, strict=False, assign=empty)
    new = {name for name, one in model.named_parameters() if one.is_meta}
    for name in new:
        like = model.get_parameter(name)
        set_parameter(model, name, torch.empty_like(like, dtype=dtype, device=device))
    return new


def to_own_memory(
    tensor: Tensor, device: torch.device, dtype: torch.dtype, copy: bool
) -> Tensor:
    """Bring a tensor to its place, and its numbers to a type.

    One that was read hangs on its file, and holds it open: `copy` it,
    where that has not been done on the way.
    """
    to = dtype if tensor.is_floating_point() else tensor.dtype
    moved = tensor.to(device, to)
    if moved is not tensor or not copy:
        return moved
    if to == torch.float32:  # numpy takes large pages: 4 times as fast
        return torch.from_numpy(tensor.numpy().copy())
    return tensor.clone()


def check_tensor(
    name: str, tensor: Tensor, wanted: Tensor, folder: Path
) -> None:
    """Refuse a weight of another shape, or of whole numbers."""
    hint = ""
    if not in_encoder(name):
        hint = ": to start it anew, give ignore_mismatched_sizes=True"
    if tensor.shape != wanted.shape:
        raise ValueError(
            f"{folder}: {name} is {tuple(tensor.shape)}, but the config "
            f"makes it {tuple(wanted.shape)}{hint}"
        )
    if wanted.is_floating_point() and not tensor.is_floating_point():
        raise ValueError(f"{folder}: {name} is {tensor.dtype}: {QUANTISED}")


def purpose_of(name: str) -> str:
    """Say what a weight outside of the encoder is for."""
    bare = name.removeprefix("bert.")
    for begin, what in MEANING.items():
        if bare.startswith(begin):
            return what
    return "unknown to BERT"


def warn_names(
    model: nn.Module,
    missing: Iterable[str],
    left: Iterable[str],
    resized: Collection[str],
    folder: Path,
) -> None:
    """Say what each name outside of the encoder means for the user."""
    notes = []
    for what in dict.fromkeys(map(purpose_of, sorted(missing))):
        names = list_names(n for n in missing if purpose_of(n) == what)
        mend = "train it before use"
        if what == MEANING["pooler."]:
            mend += ", or go without: add_pooling_layer=False"
        found = "another size" if names.split(",")[0] in resized else "not"
        notes.append(f"{names} ({what}): {found} in the file, so random; {mend}")
    for what in dict.fromkeys(map(purpose_of, sorted(left))):
        names = list_names(n for n in left if purpose_of(n) == what)
        if what != MEANING["pooler."]:  # left away on purpose
            user = type(model).__name__
            notes.append(f"{names} ({what}): {user} has no use for it")
    if notes:
        warnings.warn("; ".join([f"{folder}", *notes]), stacklevel=4)


def own_memory(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give each tensor memory of its own on the CPU, as safetensors wants it."""
    out: dict[str, Tensor] = {}
    seen = set()
    for name, tensor in state.items():
        one = tensor.detach().contiguous().cpu()
        place = one.untyped_storage().data_ptr()
        out[name] = one.clone() if place in seen else one
        seen.add(place)
    return out


def write_folder(folder: Path, model: nn.Module, config: BertConfig) -> None:
    """Write a model's files aside, then move them into place."""
    state = to_huggingface(model.state_dict())
    if any(tensor.is_meta for tensor in state.values()):
        raise ValueError("a model on the meta device has no numbers to save")
    dtype = next(iter(state.values())).dtype
    # said by dtype; the file is whole; what is tied here stays tied
    gone = ("torch_dtype", "base_model", "tie_word_embeddings")
    extra = {k: v for k, v in config.extra.items() if k not in gone}
    extra["architectures"] = [type(model).__name__]
    extra["dtype"] = str(dtype).removeprefix("torch.")
    config = replace(config, extra=extra)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as aside:
        new = Path(aside)
        (new / "config.json").write_text(config.to_json(), encoding="utf-8")
        save_file(own_memory(state), new / "model.safetensors", metadata={"format": "pt"})
        # safetensors lets only the owner read; let whom config.json lets
        mode = (new / "config.json").stat().st_mode & 0o777
        os.chmod(new / "model.safetensors", mode)
        for name in ("model.safetensors", "config.json"):
            os.replace(new / name, folder / name)
