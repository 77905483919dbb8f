# Written by tools/tangle.py from
# book/source/bert.md
# Edit that, not this.
"""A model and its tokenizer, for the functions on strings.

They need no torch: what it computed, or ONNX Runtime, comes to
them as arrays of NumPy. Shapes: `B` rows, `S` tokens.
"""

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.util import find_spec
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from minibert.batching import Row, lay_rows, pack, unpack
from minibert.checks import check_whole
from minibert.exported import (
    ExportedModel,
    find_exported,
    holds_exported,
    open_exported,
)
from minibert.files import find_folder, folder_state
from minibert.tokens import Tokenizer

if TYPE_CHECKING:  # it takes a second to import
    import torch

    from minibert.device import Device

__all__ = ["load"]

Given = TypeVar("Given")
Made = TypeVar("Made")


def load(
    model: str | Path | tuple[Any, Tokenizer],
    kind: "type[Any] | str | None" = None,
    device: "Device | None" = None,
    *,
    dtype: "torch.dtype | str | None" = None,
    backend: str | None = None,
    file_name: str | None = None,
    threads: int | None = None,
) -> tuple[Any, Tokenizer]:
    """Get a model and its tokenizer, for a function on strings.

    Args:
        model: a shipped name, a folder or a hub id; read once for
            all who ask, and again when its files change. Or the two,
            already loaded, which stay as they are.
        kind: the class, such as `BertModel`, or its name; None for
            the one that the config names.
        device: where to put what is named; None for the best.
        dtype: in which numbers to compute what is named, such as
            `torch.bfloat16` or "bfloat16"; None for float32.
        backend: "torch"; or "onnx" for what `minibert.export` wrote,
            which needs no torch. None for "onnx" where a folder
            holds nothing else, or no torch is installed.
        file_name: of several that were exported, such as
            "onnx/model_quantized.onnx": for "onnx".
        threads: how many compute, for "onnx"; None for one for each
            core. Those of torch are the whole process's:
            `torch.set_num_threads`.

    Returns:
        The model, in eval mode, and its tokenizer; with "onnx" an
        `ExportedModel`, which gives arrays. All who name a model
        share these two: to train it, or to add words, take those
        of `from_pretrained`. A `BertModel` whose file lacks the
        pooler has none.

    Raises:
        TypeError: `model` is neither a name, a folder nor the two;
            or a loaded or exported model is of another class.
        ValueError: a model in training mode; a device or a dtype
            for one that is loaded or exported; an unknown backend;
            a `file_name` for torch; a device that is not there;
            `threads` for torch or a loaded model; no class here
            nor in the config.
        Untrained: a `ValueError`; the file lacks the head, and a
            random one would answer, too. Training starts with
            `from_pretrained`, which gives one.
        ModuleNotFoundError: the backend is not installed.
        FileNotFoundError, ValueError: see `from_pretrained`.

    >>> bert, tokenizer = load("minilm", "BertModel")
    >>> type(bert).__name__, len(tokenizer)
    ('BertModel', 30522)
    """
    if isinstance(model, type):  # their order in version 0.2
        model, kind = kind, model  # pyright: ignore[reportAssignmentType]
    if isinstance(model, tuple):
        refuse_threads(threads)
        ours, tokenizer = model
        check_loaded(ours, kind, device, dtype)
    elif not isinstance(model, (str, PathLike)):
        raise TypeError(
            "model must be a name, a folder, or a model and its "
            f"tokenizer, (model, tokenizer), not a {type(model).__name__}"
        )
    elif backend not in (None, "torch", "onnx"):
        raise ValueError(f'backend is {backend!r}, not "torch" or "onnx"')
    elif file_name is not None and backend == "torch":
        raise ValueError(f"file_name is {file_name!r}, and torch reads model.safetensors")
    elif backend == "onnx" or file_name is not None or (
        backend is None and holds_exported(Path(model), alone=has_torch())
    ):
        folder, file = find_exported(model, file_name)
        if threads is not None:
            check_whole("threads", threads, 1)
        ours, tokenizer = open_exported(folder, file, folder_state(folder), threads)
        check_kind(ours, kind)
        check_cpu(device, dtype)
    else:
        refuse_threads(threads)
        folder = find_folder(model, ["*.safetensors", "config.json"])
        ours, tokenizer = load_torch(folder, kind, device, dtype)
    if ours.training:
        raise ValueError(
            "the model is in training mode, where dropout makes every "
            "answer another: call model.eval() first"
        )
    return ours, tokenizer


def refuse_threads(threads: int | None) -> None:
    """Refuse a number of threads where no file of ONNX is opened."""
    if threads is not None:
        raise ValueError(
            f"threads is {threads}, and it is for a file of ONNX that is opened here: "
            "for torch, call torch.set_num_threads"
        )


def has_torch() -> bool:
    """Whether torch is installed."""
    try:
        return find_spec("torch") is not None
    except ValueError:  # it was made unavailable on purpose
        return False


def check_loaded(
    ours: Any, kind: "type[Any] | str | None", device: Any, dtype: Any
) -> None:
    """Refuse a loaded model that is another's, or told to change."""
    for name, value in (("device", device), ("dtype", dtype)):
        if value is not None:
            raise ValueError(
                f"the model is loaded, with {getattr(ours, name)} as its {name}: "
                f"leave {name} out, or call model.to({name}) first"
            )
    check_kind(ours, kind)


def check_kind(ours: Any, kind: "type[Any] | str | None") -> None:
    """Refuse a model of another class; a chapter's own goes by its name."""
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", None)
    if isinstance(ours, ExportedModel):
        found = [ours.kind]
    else:
        found = [one.__name__ for one in type(ours).__mro__]
    if name is not None and name not in found:
        raise TypeError(f"the model must be a {name}, not a {found[0]}")


def check_cpu(device: Any, dtype: Any) -> None:
    """Refuse another device than the CPU for an exported model, and a dtype."""
    if device is not None and str(device) != "cpu":
        raise ValueError(
            f"an exported model runs on the CPU here, not on {device}: leave device out"
        )
    if dtype is not None:
        raise ValueError(
            f"an exported model computes as its file says, not in {dtype}: leave dtype out"
        )


def load_torch(
    folder: Path,
    kind: "type[Any] | str | None",
    device: "Device | None",
    dtype: "torch.dtype | str | None",
) -> tuple[Any, Tokenizer]:
    """Read a folder's weights, or give what was read before."""
    try:
        import torch
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f'{folder} holds weights for torch: pip install "minibert-book[torch]", '
            "or export it to ONNX where torch is"
        ) from None
    import minibert
    from minibert.config import named_class, read_config
    from minibert.device import best_device, find_device

    if kind is None:
        kind = named_class(read_config(folder))
        if kind not in minibert.__all__:
            raise ValueError(
                f"the config of {folder} names {kind} as its class: say which "
                "one you want, as in load(model, BertModel)"
            )
    cls: Any = getattr(minibert, kind) if isinstance(kind, str) else kind
    where = best_device() if device is None else find_device(device)
    if dtype is None:
        dtype = torch.float32
    elif isinstance(dtype, str):
        dtype = getattr(torch, dtype, dtype)
    return load_once(cls, folder.resolve(), folder_state(folder), where, dtype)


class Untrained(ValueError):
    """A part of a model would be random: its file lacks it."""


LOADING = threading.Lock()


@lru_cache(maxsize=4)
def load_once(
    kind: type[Any], folder: Path, seen: tuple[Any, ...], device: "torch.device",
    dtype: "torch.dtype",
) -> tuple[Any, Tokenizer]:  # fmt: skip
    """Read a folder; what was `seen` there makes a new reading of a new file."""
    import torch

    # Kept for all who ask: no tensors of one caller's inference mode. One at a
    # time, since what warnings are shown is a matter of the whole process.
    with LOADING, torch.inference_mode(False), warnings.catch_warnings():
        # of other heads in the file
        only = r"(?s)(?!.*not in the file).*has no use for it"
        warnings.filterwarnings("ignore", only)
        random = r"(?s).*not in the file, so random"
        warnings.filterwarnings("error", random, UserWarning)
        try:
            model = kind.from_pretrained(folder, dtype=dtype)
        except UserWarning:
            if kind.__name__ != "BertModel":
                raise Untrained(
                    f"{folder} has no trained head for a {kind.__name__}: train one, "
                    "or take a model that has it"
                ) from None
            # What is done with a text's vectors needs no pooler.
            model = kind.from_pretrained(
                folder, dtype=dtype, add_pooling_layer=False
            )
    return model.to(device), Tokenizer.from_pretrained(folder)


def stream(
    items: Iterator[Given], function: Callable[[list[Given]], Iterable[Made]], size: int = 256
) -> Iterator[Made]:
    """Apply a function of lists to an iterator, `size` items at a time."""
    while chunk := list(islice(items, size)):
        yield from function(chunk)


def row_length(model: Any, max_length: int | None = None) -> int:
    """Give how many tokens a row may have.

    Args:
        model: it has so many positions, and no row is longer.
        max_length: a smaller number that somebody asked for.

    Raises:
        TypeError, ValueError: `max_length` is no number of tokens.
    """
    longest: int = model.config.max_position_embeddings
    if max_length is None:
        return longest
    return min(check_whole("max_length", max_length, 1), longest)


def compute(
    model: Any, rows: Sequence[Row], pad_id: int, packed: bool = False, **options: Any
) -> tuple[Any, Any]:
    """Run a model on rows, without gradients.

    Args:
        model: in torch, or exported.
        rows: what it is called with.
        pad_id: the id of [PAD].
        packed: compute no padding; see `pack`.
        **options: for the model.

    Returns:
        What it gives, and the rows' attention mask (B, S): tensors
        on its device, or arrays of an exported model.

    Raises:
        ValueError: an exported model, and `packed`.
    """
    batch = lay_rows(rows, pad_id)
    if isinstance(model, ExportedModel):
        if packed:
            raise ValueError(
                f"{model.file} was exported, and takes padded rows alone: leave "
                "packed out, or load the model in torch"
            )
        output = model(**batch, **options)  # type: ignore[arg-type]
        return output, batch["attention_mask"]
    import torch

    size = int(batch["attention_mask"].sum())
    packed = packed and len(rows) > 1  # one has no padding
    tensors = {
        name: torch.from_numpy(x).to(model.device)
        for name, x in (pack(batch) if packed else batch).items()
    }
    mask = tensors["attention_mask"]
    with torch.no_grad():
        output = model(**tensors, **options)
    return unpack_output(output, mask, size) if packed else output, mask


def unpack_output(output: Any, mask: "torch.Tensor", size: int) -> Any:
    """Do `unpack` to all that a model gives for each of `size` tokens."""
    if isinstance(output, tuple):
        parts = [unpack_output(part, mask, size) for part in output]
        return type(output)(*parts) if hasattr(output, "_fields") else tuple(parts)
    if output is None or output.shape[:2] != (1, size):
        return output
    return unpack(output, mask)


def to_numpy(values: Any) -> NDArray[np.float32]:
    """Bring what a model computed to NumPy, in float32."""
    if isinstance(values, np.ndarray):
        return values.astype(np.float32, copy=False)
    array: NDArray[np.float32] = values.detach().float().cpu().numpy()
    return array


def score_rows(
    model: Any, rows: Sequence[Row], pad_id: int, batch_size: int = 32, packed: bool = False
) -> list[NDArray[np.float32]]:
    """Give a head's logits for each row, in the rows' order.

    Rows of similar length are computed together, packed where asked.

    Returns:
        For each row (C,), or (S, C) where tokens are scored.
    """
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))
    out: list[Any] = [None] * len(rows)
    for at in range(0, len(order), batch_size):
        chosen = order[at : at + batch_size]
        without = [
            {k: x for k, x in rows[i].items() if k != "labels"}
            for i in chosen
        ]
        output, _ = compute(model, without, pad_id, packed)
        for i, scores in zip(chosen, to_numpy(output.logits), strict=True):
            size = len(rows[i]["input_ids"])
            out[i] = scores[:size] if scores.ndim == 2 else scores
    return out
