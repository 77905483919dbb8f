# Written by tools/tangle.py from
# book/source/attention.md
# book/source/transformer.md
# Edit that, not this.
"""Attention, and the encoder and decoder built from it.

Shapes: `B` batch, `S` sequence, `H` hidden, `A` heads, `D = H / A`
and `T`, the sequence that is looked at where it is another one.
A mask is boolean, True where a query may look at a key, and
broadcasts to (B, A, S, T).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minibert.device import can_look

__all__ = [
    "attention",
    "causal_mask",
    "padding_mask",
    "split_heads",
    "merge_heads",
    "attend",
    "SelfAttention",
    "CrossAttention",
    "FeedForward",
    "EncoderLayer",
    "Encoder",
    "DecoderLayer",
    "Decoder",
    "Transformer",
]


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention, every step in the open.

    Args:
        query: (..., S, D).
        key: (..., T, D).
        value: (..., T, D).
        mask: (..., S, T) boolean, True where a query may look.

    Returns:
        The mixed values (..., S, D) and the weights (..., S, T). A
        query that may look nowhere gets weights and output of zero.

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
        ValueError: another rank, or, where `can_look`, values other
            than 0 and 1.
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


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Do what `attention` does, fused, in all heads; merge them.

    Args:
        query: (B, A, S, D).
        key: (B, A, T, D).
        value: (B, A, T, D).
        mask: boolean, True may look, broadcasts to (B, A, S, T).
        dropout: chance that a weight is dropped.

    Returns:
        (B, S, H).

    Raises:
        TypeError: the mask is not boolean.
        ValueError: the mask does not fit.
    """
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
        self, x: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Mix `x` (B, S, H) -> (B, S, H); True in `mask` looks."""
        dropout = self.dropout if self.training else 0.0
        return self.output(attend(*self.project(x), mask, dropout))

    def weights(
        self, x: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Give the weights that `forward` uses, (B, A, S, S).

        `forward` never forms them. This does the sum a second time,
        in the open and without dropout.
        """
        query, key, value = self.project(x)
        check_mask(mask, query, key)
        return attention(query, key, value, mask)[1]


class FeedForward(nn.Module):
    """Two layers with a GELU between, at each position alone.

    Args:
        hidden_size: H.
        intermediate_size: the wider size between, 4H in BERT.

    Source: Vaswani et al. 2017, section 3.3; GELU (the exact one,
    with erf) as in Devlin et al. 2019, appendix A.2.
    """

    def __init__(
        self, hidden_size: int, intermediate_size: int
    ) -> None:
        super().__init__()
        self.up = nn.Linear(hidden_size, intermediate_size)
        self.down = nn.Linear(intermediate_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Work on each position of `x` alone: (B, S, H) -> same."""
        return self.down(F.gelu(self.up(x)))


class EncoderLayer(nn.Module):
    """Self-attention, then feed-forward, each added and normed.

    Args:
        hidden_size: H.
        num_heads: A, a divisor of H.
        intermediate_size: the feed-forward's inner size.
        dropout: on what each half adds.
        attention_dropout: on the attention weights.
        eps: added to the variance in each LayerNorm.

    Source: Vaswani et al. 2017, section 3.1 (norm after adding).
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        intermediate_size: int,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        self.attention = SelfAttention(
            hidden_size, num_heads, attention_dropout
        )
        self.norm1 = nn.LayerNorm(hidden_size, eps=eps)
        self.mlp = FeedForward(hidden_size, intermediate_size)
        self.norm2 = nn.LayerNorm(hidden_size, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Encode `x` (B, S, H); True in `mask` may look."""
        x = self.norm1(x + self.dropout(self.attention(x, mask)))
        return self.norm2(x + self.dropout(self.mlp(x)))


class Encoder(nn.Module):
    """A stack of `EncoderLayer`s, `layers` of them.

    The other arguments are `EncoderLayer`'s.
    """

    def __init__(
        self,
        layers: int,
        hidden_size: int,
        num_heads: int,
        intermediate_size: int,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            EncoderLayer(
                hidden_size,
                num_heads,
                intermediate_size,
                dropout,
                attention_dropout,
                eps,
            )
            for _ in range(layers)
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode `x` (B, S, H) -> (B, S, H) through every layer."""
        for layer in self.layers:
            x = layer(x, mask)
        return x


class CrossAttention(nn.Module):
    """Attention of one sequence (queries) to another (keys).

    Args:
        hidden_size: H.
        num_heads: A, a divisor of H.
        dropout: chance that a weight is dropped in training.

    Raises:
        ValueError: `num_heads` does not divide `hidden_size`.

    Source: Vaswani et al. 2017, section 3.2.3.
    """

    def __init__(
        self, hidden_size: int, num_heads: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        check_heads(hidden_size, num_heads)
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key_value = nn.Linear(hidden_size, 2 * hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)

    def project(
        self, x: Tensor, memory: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Query of `x` (B, S, H), key and value of `memory`."""
        key, value = self.key_value(memory).chunk(2, dim=-1)
        return (
            split_heads(self.query(x), self.num_heads),
            split_heads(key, self.num_heads),
            split_heads(value, self.num_heads),
        )

    def forward(
        self, x: Tensor, memory: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """What `x` (B, S, H) fetches from `memory` (B, T, H)."""
        dropout = self.dropout if self.training else 0.0
        parts = self.project(x, memory)
        return self.output(attend(*parts, mask, dropout))

    def weights(
        self, x: Tensor, memory: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Give the weights that `forward` uses, (B, A, S, T)."""
        query, key, value = self.project(x, memory)
        check_mask(mask, query, key)
        return attention(query, key, value, mask)[1]


class DecoderLayer(nn.Module):
    """Causal self-attention, cross-attention, feed-forward.

    The arguments are `EncoderLayer`'s.

    Source: Vaswani et al. 2017, section 3.1.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        intermediate_size: int,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        self.attention = SelfAttention(
            hidden_size, num_heads, attention_dropout
        )
        self.norm1 = nn.LayerNorm(hidden_size, eps=eps)
        self.cross = CrossAttention(
            hidden_size, num_heads, attention_dropout
        )
        self.norm2 = nn.LayerNorm(hidden_size, eps=eps)
        self.mlp = FeedForward(hidden_size, intermediate_size)
        self.norm3 = nn.LayerNorm(hidden_size, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        """Decode `x` (B, S, H) beside `memory` (B, T, H).

        `mask` says where `x` may look at itself, `memory_mask`
        where it may look at `memory`.
        """
        x = self.norm1(x + self.dropout(self.attention(x, mask)))
        seen = self.cross(x, memory, memory_mask)
        x = self.norm2(x + self.dropout(seen))
        return self.norm3(x + self.dropout(self.mlp(x)))


class Decoder(nn.Module):
    """A stack of `DecoderLayer`s, `layers` of them."""

    def __init__(
        self,
        layers: int,
        hidden_size: int,
        num_heads: int,
        intermediate_size: int,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(
                hidden_size,
                num_heads,
                intermediate_size,
                dropout,
                attention_dropout,
                eps,
            )
            for _ in range(layers)
        )

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        """Decode `x` (B, S, H) beside `memory` (B, T, H)."""
        for layer in self.layers:
            x = layer(x, memory, mask, memory_mask)
        return x


class Transformer(nn.Module):
    """An encoder and a decoder that turn one sequence into another.

    Args:
        source_size: how many different source tokens there are.
        target_size: how many different target tokens there are.
        layers: of the encoder, and of the decoder.
        hidden_size: H.
        num_heads: A, a divisor of H.
        intermediate_size: the feed-forward's inner size.
        max_length: the longest sequence, source or target.
        dropout: on the embeddings and on what each part adds.
        pad: the source id that is padding.

    Source: Vaswani et al. 2017, figure 1, with learned positions.
    """

    def __init__(
        self,
        source_size: int,
        target_size: int,
        *,
        layers: int = 2,
        hidden_size: int = 64,
        num_heads: int = 4,
        intermediate_size: int = 256,
        max_length: int = 64,
        dropout: float = 0.0,
        pad: int = 0,
    ) -> None:
        super().__init__()
        sizes = (hidden_size, num_heads, intermediate_size, dropout)
        self.pad = pad
        self.source = nn.Embedding(source_size, hidden_size)
        self.target = nn.Embedding(target_size, hidden_size)
        self.position = nn.Embedding(max_length, hidden_size)
        self.encoder = Encoder(layers, *sizes, dropout)
        self.decoder = Decoder(layers, *sizes, dropout)
        self.output = nn.Linear(hidden_size, target_size)

    def embed(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        """Look `ids` (B, S) up and add positions -> (B, S, H)."""
        size, limit = ids.shape[1], self.position.num_embeddings
        if size > limit:
            raise ValueError(
                f"a sequence of {size} tokens, but max_length "
                f"is {limit}"
            )
        return table(ids) + self.position.weight[:size]

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Source ids (B, T) -> vectors (B, T, H) and their mask."""
        mask = padding_mask(source != self.pad)  # (B, 1, 1, T)
        x = self.embed(self.source, source)
        return self.encoder(x, mask), mask

    def decode(
        self, target: Tensor, memory: Tensor, memory_mask: Tensor
    ) -> Tensor:
        """Score the token after each: (B, S) -> (B, S, V)."""
        mask = causal_mask(target.shape[1], target.device)
        x = self.embed(self.target, target)
        x = self.decoder(x, memory, mask, memory_mask)
        return self.output(x)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Score each next token: (B, T), (B, S) -> (B, S, V)."""
        return self.decode(target, *self.encode(source))

    @torch.no_grad()
    def translate(
        self, source: Tensor, start: int, length: int
    ) -> Tensor:
        """Write the target token by token, the best one each time.

        Args:
            source: ids (B, T).
            start: the id that every target begins with.
            length: how many tokens to write.

        Returns:
            Ids (B, length), without `start`.
        """
        memory, mask = self.encode(source)
        target = source.new_full((len(source), 1), start)
        for _ in range(length):
            scores = self.decode(target, memory, mask)[:, -1]
            best = scores.argmax(dim=-1, keepdim=True)  # (B, 1)
            target = torch.cat([target, best], dim=1)
        return target[:, 1:]
