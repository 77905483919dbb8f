# Written by tools/tangle.py from
# book/source/embeddings.md
# Edit that, not this.
"""What BERT's encoder reads: token, segment and position, summed.

Shapes: `B` batch, `S` sequence, `H` hidden, `V` vocabulary.
"""

import torch
from torch import Tensor, nn

from minibert.device import can_look

__all__ = ["Embeddings", "extend_positions", "sinusoids"]


class Embeddings(nn.Module):
    """Token + segment + position, normed: what the encoder reads.

    Args:
        vocab_size: V, rows of the token table.
        hidden_size: H.
        max_positions: rows of the position table, 512 in BERT.
        segments: rows of the segment table, 2 in BERT.
        dropout: chance that a number is dropped in training.
        eps: added to the variance in the LayerNorm.

    Source: Devlin et al. 2019, section 3 and figure 2.

    >>> embeddings = Embeddings(vocab_size=100, hidden_size=8)
    >>> embeddings(torch.tensor([[2, 7, 3]])).shape
    torch.Size([1, 3, 8])
    """

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int,
        max_positions: int = 512,
        segments: int = 2,
        dropout: float = 0.1,
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        self.token = nn.Embedding(vocab_size, hidden_size)
        self.segment = nn.Embedding(segments, hidden_size)
        self.position = nn.Embedding(max_positions, hidden_size)
        self.norm = nn.LayerNorm(hidden_size, eps=eps)
        self.dropout = nn.Dropout(dropout)
        for table in (self.token, self.segment, self.position):
            nn.init.normal_(table.weight, std=0.02)

    def forward(
        self,
        input_ids: Tensor | None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        """Look up three vectors for each token and add them.

        Args:
            input_ids: (B, S) rows of the token table.
            token_type_ids: (B, S) or (1, S) rows of the segment
                table; all 0 where absent.
            position_ids: (B, S) or (1, S) rows of the position
                table; 0, 1, 2, ... where absent.
            inputs_embeds: (B, S, H) vectors in place of the token
                table's rows; `input_ids` is then None.

        Returns:
            (B, S, H).

        Raises:
            TypeError: ids that are no integers.
            ValueError: ids of another shape, none at all, or more
                in a row than there are positions.
            IndexError: an id without a row in its table.
        """
        entries, width = self.token.weight.shape
        x = inputs_embeds
        if x is not None:
            check_embeds(x, input_ids, width)
        else:
            check_ids("input_ids", input_ids, entries)
            x = self.token(input_ids)  # (B, S, H)
        size = x.shape[1]
        limit = self.position.num_embeddings
        if token_type_ids is None:
            x = x + self.segment.weight[0]
        else:
            rows = self.segment.num_embeddings
            check_ids("token_type_ids", token_type_ids, rows)
            check_shape("token_type_ids", token_type_ids, x)
            x = x + self.segment(token_type_ids)
        if position_ids is not None:
            check_ids("position_ids", position_ids, limit)
            check_shape("position_ids", position_ids, x)
            x = x + self.position(position_ids)
        elif size <= limit:
            x = x + self.position.weight[:size]
        else:
            raise ValueError(
                f"{size} tokens in a row, but the position table "
                f"ends at {limit}: truncate, cut into windows, or "
                "see extend_positions"
            )
        out: Tensor = self.dropout(self.norm(x))  # (B, S, H)
        return out


def check_ids(name: str, ids: Tensor | None, rows: int) -> None:
    """Refuse ids of a wrong type, shape or value, and say which.

    Args:
        name: what the caller calls them.
        ids: should be (B, S), int64 or int32, 0 to rows - 1.
        rows: rows of the table that they point into.

    Raises:
        TypeError: not an integer tensor.
        ValueError: not (B, S), or empty.
        IndexError: an id without a row, where `can_look`.
    """
    if not isinstance(ids, Tensor):
        raise TypeError(
            f"{name} must be a tensor, not {type(ids).__name__}: "
            "a tokenizer's Batch holds one"
        )
    if ids.dtype not in (torch.int64, torch.int32):
        raise TypeError(
            f"{name} must be int64 or int32, not {ids.dtype}: "
            "convert with .long()"
        )
    if ids.ndim != 2:
        raise ValueError(
            f"{name} must be (batch, sequence), not "
            f"{tuple(ids.shape)}: one text is ids[None]"
        )
    if ids.numel() == 0:
        raise ValueError(
            f"{name} is empty, {tuple(ids.shape)}: give at least "
            "one text of at least one token"
        )
    if not can_look(ids):
        return
    wrong = (ids < 0) | (ids >= rows)
    if wrong.any():
        row, column = wrong.nonzero()[0].tolist()
        raise IndexError(
            f"{name}[{row}, {column}] is {ids[row, column].item()}, "
            f"but the table has rows 0 to {rows - 1}"
        )


def check_shape(name: str, ids: Tensor, x: Tensor) -> None:
    """Refuse ids that are not (B, S) or (1, S) for `x` (B, S, H)."""
    batch, size = x.shape[:2]
    if ids.shape not in ((batch, size), (1, size)):
        raise ValueError(
            f"{name} is {tuple(ids.shape)}, but input_ids is "
            f"{batch, size}: they must agree"
        )


def check_embeds(
    embeds: Tensor, ids: Tensor | None, hidden_size: int
) -> None:
    """Refuse vectors that cannot stand for the token table's rows."""
    if ids is not None:
        raise ValueError("give input_ids or inputs_embeds, not both")
    if not isinstance(embeds, Tensor) or not embeds.is_floating_point():
        raise TypeError(
            "inputs_embeds must be a tensor of floats, not "
            f"{getattr(embeds, 'dtype', type(embeds).__name__)}"
        )
    if embeds.ndim != 3 or embeds.shape[2] != hidden_size or not embeds.numel():
        raise ValueError(
            "inputs_embeds must be (batch, sequence, "
            f"{hidden_size}), not {tuple(embeds.shape)}"
        )


def sinusoids(length: int, hidden_size: int) -> Tensor:
    """Position vectors that are computed, not learned.

    Columns 2i and 2i + 1 are the sine and the cosine of
    position / 10000^(2i / H).

    Args:
        length: S, how many positions.
        hidden_size: H, even.

    Returns:
        (S, H), in torch's default dtype.

    Raises:
        ValueError: `length` is negative, or `hidden_size` is odd
            or less than 2.

    Source: Vaswani et al. 2017, section 3.5.

    >>> sinusoids(2, 4)
    tensor([[0.0000, 1.0000, 0.0000, 1.0000],
            [0.8415, 0.5403, 0.0100, 0.9999]])
    """
    if length < 0:
        raise ValueError(f"there are no {length} positions")
    if hidden_size < 2 or hidden_size % 2:
        raise ValueError(
            "sinusoids come in pairs: the hidden size must be even "
            f"and at least 2, not {hidden_size}"
        )
    position = torch.arange(length, dtype=torch.float64)
    column = torch.arange(0, hidden_size, 2, dtype=torch.float64)
    angle = position[:, None] / 10000 ** (column / hidden_size)
    pairs = torch.stack([angle.sin(), angle.cos()], dim=-1)
    return pairs.flatten(1).to(torch.get_default_dtype())  # (S, H)


def extend_positions(
    table: Tensor, length: int, method: str = "copy"
) -> Tensor:
    """Make a longer position table out of a trained one.

    Args:
        table: (S, H), trained.
        length: rows wanted, at least S.
        method: "copy" keeps every row and then repeats rows 1 to
            S - 1 (row 0 belongs to [CLS] alone); "stretch" keeps
            row 0 and interpolates the others between them.

    Returns:
        (length, H). Only training on long texts makes it a good
        table; see the chapter for what each costs without.

    Raises:
        ValueError: `table` is not (S, H) with S > 1, `length` is
            less than S, or the method has another name.
    """
    if table.ndim != 2 or len(table) < 2:
        raise ValueError(
            "table must be (positions, hidden) with two rows or "
            f"more, not {tuple(table.shape)}"
        )
    size = len(table)
    if length < size:
        raise ValueError(
            f"length {length} is less than the table's {size} "
            "rows: to shorten it, cut it with table[:length]"
        )
    new = torch.arange(length, device=table.device)
    if method == "copy":
        again = 1 + (new - 1) % (size - 1)
        return table[torch.where(new < size, new, again)]
    if method == "stretch":
        scale = (size - 2) / max(length - 2, 1)
        place = 1 + (new - 1).clamp(min=0) * scale
        left = place.floor().long().clamp(max=size - 1)
        right = (left + 1).clamp(max=size - 1)
        share = (place - left)[:, None].to(table.dtype)
        rows = torch.lerp(table[left], table[right], share)
        return torch.cat([table[:1], rows[1:]])  # (length, H)
    raise ValueError(
        f'method is "copy" or "stretch", not {method!r}'
    )
