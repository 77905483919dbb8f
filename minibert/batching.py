# Written by tools/tangle.py from
# book/source/tokens.md
# book/source/mlm.md
# book/source/finetuning.md
# Edit that, not this.
"""Rows of ids, side by side: truncated, padded, with their mask.

Shapes: `B` rows, `S` tokens in the longest.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # it takes a second to import
    import torch
    from torch import Tensor

__all__ = ["IGNORE", "Batch", "collate", "pack", "unpack"]


def by_name(fields: tuple[Any, ...], key: Any) -> Any:
    """Give what a named tuple holds by its name; or as a tuple does.

    It is the `__getitem__` of every batch and of all that models
    return.
    """
    if not isinstance(key, str):
        return tuple.__getitem__(fields, key)
    own = getattr(fields, "__dict__", {})  # a mapping of rows to texts
    names = [*fields._fields, *own]  # type: ignore[attr-defined]
    if key not in names:
        raise KeyError(f"{key!r} is none of {', '.join(names)}")
    return getattr(fields, key)


class Batch(NamedTuple):
    """Three tensors (B, S) of int64, in the order of a model.

    A model takes it as `model(*batch)` or `model(**batch)`. They
    are arrays of NumPy where a tokenizer was asked for those; `to`
    moves tensors alone.

    Attributes:
        input_ids: rows of the embedding table.
        attention_mask: 1 for real tokens, 0 for padding.
        token_type_ids: segment, 0 or 1.

    >>> from minibert import Tokenizer
    >>> tokenizer = Tokenizer.from_pretrained("minilm")
    >>> tokenizer(["One.", "One, two."]).input_ids.shape
    torch.Size([2, 6])
    """

    input_ids: "Tensor"
    attention_mask: "Tensor"
    token_type_ids: "Tensor"

    def to(self, device: "torch.device | str") -> "Batch":
        """Give the same batch on another device."""
        return Batch(*(tensor.to(device) for tensor in self))

    def keys(self) -> tuple[str, ...]:
        """Give the names, as a mapping does."""
        return self._fields

    def items(self) -> Iterable[tuple[str, "Tensor"]]:
        """Give names and tensors, as a mapping does."""
        return self._asdict().items()

    def __getitem__(self, key: Any) -> Any:
        """Give a tensor by its name; or as a tuple does."""
        return by_name(self, key)


class OverflowingBatch(Batch):
    """A batch in which a long text has several rows.

    Attributes:
        overflow_to_sample_mapping: (B,) the number of each row's text.
    """

    overflow_to_sample_mapping: "Tensor"


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
    rows: list[tuple[list[int], list[int]]],
    pad_id: int,
    size: int,
    padding_side: str = "right",
) -> list[NDArray[np.int64]]:
    """Lay (ids, segments) of B rows side by side.

    Returns:
        The ids, their mask and the segments, (B, size) each.
    """
    if padding_side not in ("left", "right"):
        raise ValueError(
            f"padding_side is {padding_side!r}, not 'left' or 'right'"
        )
    input_ids = np.full((len(rows), size), pad_id, np.int64)
    mask, segments = np.zeros((2, len(rows), size), np.int64)
    for row, (ids, types) in enumerate(rows):
        start = size - len(ids) if padding_side == "left" else 0
        own = slice(start, start + len(ids))
        input_ids[row, own] = ids
        segments[row, own] = types
        mask[row, own] = 1
    return [input_ids, mask, segments]


def to_tensors(arrays: Iterable[NDArray[Any]]) -> "list[Tensor]":
    """Make tensors of arrays, which share their memory."""
    import torch

    return [torch.from_numpy(array) for array in arrays]


IGNORE = -100  # the label of a place that was not chosen


Row = Mapping[str, Any]  # ids, and lists or numbers beside them
KINDS: dict[str, Any] = {"i": np.int64, "u": np.int64, "f": np.float32}


def lay_rows(
    rows: Sequence[Row], pad_id: int
) -> dict[str, NDArray[Any]]:
    """Lay rows side by side: (B, S), with their attention mask.

    Lists are filled up: ids with `pad_id`, a `labels` list with
    IGNORE, all others with 0; but not lists of floats. Numbers
    become (B,).
    """
    sizes = np.array([len(row["input_ids"]) for row in rows])
    longest = int(sizes.max())
    fill = {"input_ids": pad_id, "labels": IGNORE}
    mask = np.arange(longest) < sizes[:, None]  # (B, S)
    batch = {"attention_mask": mask.astype(np.int64)}
    for name, first in rows[0].items():  # or a row's own mask
        column = [row[name] for row in rows]
        if np.ndim(first) and not isinstance(first[0], float):
            rest = fill.get(name, 0)
            column = [
                [*ids, *[rest] * (longest - len(ids))]
                for ids in column
            ]
        array = np.array(column)
        kind = KINDS.get(array.dtype.kind, array.dtype)
        batch[name] = array.astype(kind, copy=False)
    return batch


def pack(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Leave the padding out: one row (1, P) of all P real tokens.

    The mask stays (B, S), one row for each text, and tells a model
    where the texts begin and end: each attends to itself alone, at
    positions from 0. What is a number for each text stays, too.

    Args:
        batch: tensors or arrays, `attention_mask` among them.

    Returns:
        The same names. What a model then gives for each token has
        the shape (1, P, ...): see `unpack`.

    >>> rows = [{"input_ids": [2, 7, 3]}, {"input_ids": [2, 3]}]
    >>> pack(collate(rows, pad_id=0))["input_ids"].tolist()
    [[2, 7, 3, 2, 3]]
    """
    mask = batch["attention_mask"]
    real, out = mask != 0, dict(batch)
    for name, x in batch.items():
        of_tokens = x.shape == mask.shape and "float" not in str(x.dtype)
        if of_tokens and name != "attention_mask":
            out[name] = x[real][None]
    return out


def unpack(x: "Tensor", attention_mask: "Tensor") -> "Tensor":
    """Give each text a row again: (1, P, ...) -> (B, S, ...).

    Where the mask (B, S) is 0, so is what comes out.

    Raises:
        ValueError: `x` is of another row than the mask.

    >>> rows = [{"input_ids": [2, 7, 3]}, {"input_ids": [2, 3]}]
    >>> batch = pack(collate(rows, pad_id=0))
    >>> unpack(batch["input_ids"], batch["attention_mask"]).tolist()
    [[2, 7, 3], [2, 3, 0]]
    """
    real = attention_mask != 0
    if x.shape[:2] != (1, int(real.sum())):
        raise ValueError(
            f"x is {tuple(x.shape)}, and the mask has "
            f"{int(real.sum())} ones: no packed row of these texts"
        )
    out = x.new_zeros(*real.shape, *x.shape[2:])
    out[real] = x[0]
    return out


def collate(
    rows: Sequence[Row], pad_id: int
) -> "dict[str, Tensor]":
    """Lay rows side by side, as tensors, with their mask (B, S).

    Args:
        rows: B dictionaries with the same keys: `input_ids`, a
            list, and lists as long or single numbers beside it.
        pad_id: what fills up `input_ids`, the id of [PAD].

    Returns:
        A tensor for each key, and `attention_mask` where rows have
        none. A list becomes (B, S), filled up with IGNORE (-100)
        where it is `labels`, else with 0; a list of floats is not
        filled up; a number becomes (B,). Whole numbers are int64,
        floats float32.

    >>> rows = [{"input_ids": [2, 7, 3]}, {"input_ids": [2, 3]}]
    >>> collate(rows, pad_id=0)["attention_mask"].tolist()
    [[1, 1, 1], [1, 1, 0]]
    """
    batch = lay_rows(rows, pad_id)
    tensors = to_tensors(batch.values())
    return dict(zip(batch, tensors, strict=True))
