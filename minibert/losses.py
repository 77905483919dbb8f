# Written by tools/tangle.py from
# book/source/mlm.md
# book/source/nsp.md
# book/source/qa.md
# Edit that, not this.
"""Cross-entropy in nats, for each kind of label there is.

Shapes: `B` batch, `S` sequence, `C` classes, `V` vocabulary, `N`
places that have a label.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from minibert.attention import Packing
from minibert.batching import IGNORE
from minibert.device import can_look

__all__ = ["IGNORE", "at_labels"]


def at_labels(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Keep the N places that have a label.

    Args:
        x: (B, S, H).
        labels: (B, S), IGNORE where there is none.

    Returns:
        The vectors (N, H) and the labels (N,).

    Raises:
        TypeError: labels that are not int64.
        ValueError: labels of another shape than (B, S).
    """
    check_labels(labels, x)
    places = (labels.flatten() != IGNORE).nonzero()[:, 0]  # (N,)
    return x.flatten(0, 1)[places], labels.flatten()[places]


def mean_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Average the cross-entropy, in nats; 0 without a label."""
    loss = F.cross_entropy(logits, labels, reduction="sum")
    # as max(len(labels), 1), in a form that torch.compile can trace
    return loss / torch.sym_max(len(labels), 1)


def check_labels(labels: Tensor, x: Tensor) -> None:
    """Refuse labels of another type than int64, or shape than (B, S)."""
    if labels.dtype != torch.int64:
        raise TypeError(f"labels must be int64, not {labels.dtype}")
    if labels.shape != x.shape[:2]:
        raise ValueError(
            f"labels is {tuple(labels.shape)}, but input_ids is "
            f"{tuple(x.shape[:2])}: they must agree"
        )


def class_loss(
    logits: Tensor, labels: Tensor, name: str = "labels", hint: str = ""
) -> Tensor:
    """Cross-entropy in nats of `logits` (B, C), averaged; 0 of none.

    Args:
        logits: a row of scores each.
        labels: (B,) the right column of each.
        name: what an error calls them.
        hint: what it adds where one is out of range.

    Raises:
        TypeError: labels that are not int64.
        ValueError: not one a row.
        IndexError: a class that there is not.
    """
    if labels.dtype != torch.int64:
        raise TypeError(f"{name} must be int64, not {labels.dtype}")
    rows, count = logits.shape
    if labels.shape != (rows,):
        raise ValueError(
            f"{name} is {tuple(labels.shape)}, not ({rows},): one for each row"
        )
    if can_look(labels) and ((labels < 0) | (labels >= count)).any():
        raise IndexError(
            f"{name} must be 0 to {count - 1}, but hold "
            f"{labels.min().item()} to {labels.max().item()}{hint}"
        )
    return mean_loss(logits, labels)


def position_loss(
    scores: Tensor, positions: Tensor | None, which: str, packing: Packing | None = None
) -> Tensor:
    """Do as `class_loss` over the columns of `scores`: (B, S), or packed (1, P).

    Raises:
        TypeError, IndexError: as there.
        ValueError: no positions, or not one for each row.
    """
    name = f"{which}_positions"
    if positions is None:
        raise ValueError(f"{name} is missing: the loss needs both ends")
    if packing is not None:  # (N, S), where padding has no chance
        lowest = torch.finfo(scores.dtype).min
        scores = packing.pad(scores).masked_fill(~packing.mask, lowest)
    return class_loss(scores, positions, name, ": where the answer is cut off, give 0")
