# Written by tools/tangle.py from
# book/source/tokens.md
# book/source/finetuning.md
# Edit that, not this.
"""Rows of ids, side by side: truncated, padded, with their mask.

Shapes: `B` rows, `S` tokens in the longest.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from minibert.losses import IGNORE

__all__ = ["Batch", "collate"]


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


Row = Mapping[str, Any]  # ids, and lists or numbers beside them


def collate(rows: Sequence[Row], pad_id: int) -> dict[str, Tensor]:
    """Lay rows side by side: (B, S), with their attention mask.

    Lists are filled up: ids with `pad_id`, a `labels` list with
    IGNORE, all others with 0; but not lists of floats. Numbers
    become (B,).
    """
    sizes = torch.tensor([len(row["input_ids"]) for row in rows])
    longest = int(sizes.max())
    fill = {"input_ids": pad_id, "labels": IGNORE}
    batch = {}
    for name, first in rows[0].items():
        column = [row[name] for row in rows]
        if np.ndim(first) and not isinstance(first[0], float):
            rest = fill.get(name, 0)
            column = [
                [*ids, *[rest] * (longest - len(ids))]
                for ids in column
            ]
        batch[name] = torch.tensor(column)
    mask = torch.arange(longest) < sizes[:, None]  # (B, S)
    return {"attention_mask": mask.long()} | batch  # or a row's own
