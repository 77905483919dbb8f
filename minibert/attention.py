# Written by tools/tangle.py from
# book/source/attention.md
# Edit that, not this.
"""Attention: the sum, its masks, its heads, and the layer.

Shapes: `B` batch, `S` sequence, `H` hidden, `A` heads, `D = H / A`
and `T`, the sequence that is looked at where it is another one.
A mask is boolean, True where a query may look at a key, and
broadcasts to (B, A, S, T).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minibert.device import can_look

__all__ = [
    "Packing",
    "SelfAttention",
    "attend",
    "attention",
    "causal_mask",
    "find_packing",
    "merge_heads",
    "padding_mask",
    "split_heads",
]


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention, every step in the open.

    Args:
        query: (..., S, D), of the S positions that look.
        key: (..., T, D), of the T positions that are looked at.
        value: (..., T, D), or any other width.
        mask: (..., S, T) boolean, True where a query may look.

    Returns:
        The mixed values (..., S, D), as wide as `value`, and the
        weights (..., S, T). A query that may look nowhere gets
        weights and output of zero.

    Source: Vaswani et al. 2017, section 3.2.1.
    """
    scores = query @ key.transpose(-2, -1)  # (..., S, T)
    scores = scores / math.sqrt(query.shape[-1])
    if mask is None:
        weights = scores.softmax(dim=-1)
    else:
        lowest = torch.finfo(scores.dtype).min
        weights = scores.masked_fill(~mask, lowest).softmax(dim=-1)
        weights = weights.masked_fill(~mask, 0.0)
    return weights @ value, weights


def causal_mask(
    size: int, device: torch.device | None = None
) -> Tensor:
    """Let each position look at itself and back: (S, S) boolean."""
    every = torch.ones(size, size, dtype=torch.bool, device=device)
    return every.tril()


def padding_mask(attention_mask: Tensor) -> Tensor:
    """Turn 1-for-real, 0-for-padding into a mask for every head.

    Args:
        attention_mask: (B, S), or (B, S, S) with a row for each
            query; integers 0 and 1, or booleans.

    Returns:
        Boolean, (B, 1, 1, S) or (B, 1, S, S).

    Raises:
        ValueError: another rank, or values other than 0 and 1.
            In training on a GPU the values are not checked.
    """
    if attention_mask.ndim not in (2, 3):
        raise ValueError(
            "attention_mask must be (B, S) or (B, S, S), not "
            f"{tuple(attention_mask.shape)}"
        )
    mask = attention_mask.bool()
    if can_look(mask) and not (attention_mask == mask).all():
        raise ValueError(
            "attention_mask must hold 1 (look) and 0 (do not), "
            f"but goes from {attention_mask.min().item()} to "
            f"{attention_mask.max().item()}"
        )
    if mask.ndim == 2:
        return mask[:, None, None, :]
    return mask[:, None, :, :]


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """Cut the hidden axis into heads: (B, S, H) -> (B, A, S, D)."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """Undo `split_heads`: (B, A, S, D) -> (B, S, H)."""
    return x.transpose(1, 2).flatten(2)


def check_heads(hidden_size: int, num_heads: int) -> None:
    """Refuse a number of heads that does not divide the hidden size."""
    if num_heads < 1 or hidden_size % num_heads:
        raise ValueError(
            f"hidden size {hidden_size} cannot be cut into "
            f"{num_heads} heads of equal size"
        )


def check_mask(mask: Tensor | None, query: Tensor, key: Tensor) -> None:
    """Refuse a mask that is not boolean or fits no (B, A, S, T)."""
    if mask is None:
        return
    if mask.dtype != torch.bool:
        raise TypeError(
            f"a mask must be boolean, not {mask.dtype}: turn 0 and 1 "
            "into one with padding_mask(attention_mask)"
        )
    want = (*query.shape[:3], key.shape[2])
    pairs = zip(reversed(mask.shape), reversed(want), strict=False)
    if mask.ndim > 4 or any(m not in (1, w) for m, w in pairs):
        raise ValueError(
            f"mask of shape {tuple(mask.shape)} does not broadcast "
            f"to (batch, heads, queries, keys) = {want}"
        )


class Packing(NamedTuple):
    """Where the P tokens of N texts stand that share one row.

    Attributes:
        mask: (N, S) boolean, True for a token: the texts one below
            the other, S the longest's.
        padded: (N, S) which token of the row stands there.
        places: (P,) where each token stands, counted along N S.
        bounds: (N + 1,) int32, where each text begins in the row,
            and where the last one ends.
        lengths: the N lengths, where reading them costs nothing.
    """

    mask: Tensor
    padded: Tensor
    places: Tensor
    bounds: Tensor
    lengths: list[int] | None

    @property
    def positions(self) -> Tensor:
        """The position of each token in its text, (1, P)."""
        return (self.places % self.mask.shape[1])[None]

    def first(self, x: Tensor) -> Tensor:
        """Take each text's first token: (1, P, ...) -> (N, ...)."""
        return x[0].index_select(0, self.bounds[:-1])

    def pad(self, x: Tensor) -> Tensor:
        """Give each text a row: (1, P, ...) -> (N, S, ...).

        Beyond a text's end stands its last token again.
        """
        rows = x[0].index_select(0, self.padded.flatten())
        return rows.unflatten(0, self.padded.shape)

    def pack(self, x: Tensor) -> Tensor:
        """Undo `pad`: (N, S, ...) -> (1, P, ...)."""
        return x.flatten(0, 1).index_select(0, self.places)[None]


def find_packing(
    attention_mask: Tensor | None, ids: Tensor | None
) -> Packing | None:
    """Read off a mask whether and how a row of ids is packed.

    Args:
        attention_mask: of a packed row, (N, S) with P ones.
        ids: of a packed row, (1, P) or (1, P, H).

    Returns:
        None where the two have one shape, or fit in no way.

    Raises:
        ValueError: the mask holds not P ones, or none in a row. In
            training on a GPU this is not checked.
    """
    if not (isinstance(ids, Tensor) and isinstance(attention_mask, Tensor)):
        return None
    shape = ids.shape[:2]
    if attention_mask.shape == shape or attention_mask.ndim != 2:
        return None
    if len(shape) < 2 or shape[0] != 1 or 0 in attention_mask.shape:
        return None
    mask, size = attention_mask.bool(), shape[1]
    padding_mask(attention_mask)  # refuses other values
    counts = mask.sum(1)  # (N,)
    if can_look(mask) and (counts.sum() != size or (counts == 0).any()):
        raise ValueError(
            f"input_ids is {tuple(shape)}, and attention_mask "
            f"{tuple(mask.shape)} with {counts.tolist()} ones in its "
            "rows: it must have the shape of input_ids, or, of a packed "
            "row, one or more for each text and one for each token"
        )
    flat = mask.flatten()
    number = flat.cumsum(0) - 1  # (N S,)
    places = number.new_zeros(size + 1)  # the last: of padding
    columns = torch.arange(len(flat), device=mask.device)
    to = number.where(flat, size).clamp(max=size)
    places = places.scatter(0, to, columns)[:size]
    looks = mask.device.type == "cpu" and can_look(mask)
    return Packing(
        mask, number.clamp(0, size - 1).view(mask.shape), places,
        F.pad(counts.cumsum(0), (1, 0)).int(),
        counts.tolist() if looks else None,
    )  # fmt: skip


def find_kernel(
    query: Tensor, dropout: float
) -> Callable[..., Any] | None:
    """Give torch's kernel for packed rows, if it takes these."""
    if (
        query.device.type != "cuda"
        or query.dtype not in (torch.float16, torch.bfloat16)
        or query.shape[-1] % 8
        or dropout
        or torch.cuda.get_device_properties(query.device).major < 8
    ):
        return None
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn


def attend_packed(
    query: Tensor, key: Tensor, value: Tensor,
    packing: Packing, dropout: float,
) -> Tensor:  # fmt: skip
    """Do as `attend`, each text of a row in itself: (1, P, H).

    With torch's kernel where there is one; on the CPU text by text;
    else with padding, but for this one product.
    """
    qkv = query, key, value
    kernel = find_kernel(query, dropout)
    if kernel is not None:
        rows = (x[0].transpose(0, 1) for x in qkv)  # (P, A, D)
        bounds, longest = packing.bounds, packing.mask.shape[1]
        mixed = kernel(*rows, bounds, bounds, longest, longest)
        return merge_heads(mixed.transpose(0, 1)[None])
    if packing.lengths is not None:
        cut = (x.split(packing.lengths, 2) for x in qkv)
        texts = zip(*cut, strict=True)
        each = [attend(q, k, v, None, dropout) for q, k, v in texts]
        return torch.cat(each, 1)
    query, key, value = (
        packing.pad(x.transpose(1, 2)).transpose(1, 2) for x in qkv
    )  # (N, A, S, D) each
    mask = padding_mask(packing.mask)
    return packing.pack(attend(query, key, value, mask, dropout))


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | Packing | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Do what `attention` does, fused, in all heads; merge them.

    Args:
        query: (B, A, S, D).
        key: (B, A, T, D).
        value: (B, A, T, D).
        mask: boolean, True may look, broadcasts to (B, A, S, T);
            or where the texts of a packed row stand.
        dropout: chance that a weight is dropped, set to zero.

    Returns:
        (B, S, H).

    Raises:
        TypeError: the mask is not boolean.
        ValueError: the mask does not fit.
    """
    if isinstance(mask, Packing):
        return attend_packed(query, key, value, mask, dropout)
    check_mask(mask, query, key)
    mixed = F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, dropout_p=dropout
    )
    return merge_heads(mixed)


class SelfAttention(nn.Module):
    """Attention of a sequence to itself, in several heads at once.

    Query, key and value come out of one matrix product, (H, 3H).

    Args:
        hidden_size: H.
        num_heads: A, a divisor of H.
        dropout: chance that a weight is dropped in training.

    Raises:
        ValueError: `num_heads` does not divide `hidden_size`.

    Source: Vaswani et al. 2017, section 3.2.2.
    """

    def __init__(
        self, hidden_size: int, num_heads: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        check_heads(hidden_size, num_heads)
        self.num_heads = num_heads
        self.dropout = dropout
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key, value of `x` (B, S, H): each (B, A, S, D)."""
        query, key, value = (
            split_heads(part, self.num_heads)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        return query, key, value

    def forward(
        self, x: Tensor, mask: Tensor | Packing | None = None
    ) -> Tensor:
        """Mix `x` (B, S, H) -> (B, S, H); True in `mask` looks."""
        dropout = self.dropout if self.training else 0.0
        return self.output(attend(*self.project(x), mask, dropout))

    def weights(
        self, x: Tensor, mask: Tensor | Packing | None = None
    ) -> Tensor:
        """Give the weights that `forward` uses, (B, A, S, S).

        `forward` uses a fused function that never stores them, so
        they are computed here again, without dropout. Of a packed
        row each text has a map of its own: (N, A, S, S).
        """
        if isinstance(mask, Packing):  # (N, A, S, S)
            x, mask = mask.pad(x), padding_mask(mask.mask)
        query, key, value = self.project(x)
        check_mask(mask, query, key)
        return attention(query, key, value, mask)[1]
