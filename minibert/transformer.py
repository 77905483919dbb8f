# Written by tools/tangle.py from
# book/source/attention.md
# book/source/transformer.md
# Edit that, not this.
"""The transformer: encoder and decoder, built from attention.

Shapes: `B` batch, `S` sequence, `H` hidden, `A` heads and `T`, the
sequence that is looked at where it is another one.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minibert.attention import (
    Packing,
    SelfAttention,
    attend,
    attention,
    causal_mask,
    check_heads,
    check_mask,
    padding_mask,
    split_heads,
)
from minibert.moved import moved

__all__ = [
    "CrossAttention",
    "Decoder",
    "DecoderLayer",
    "Encoder",
    "EncoderLayer",
    "FeedForward",
    "Transformer",
]

if not TYPE_CHECKING:  # names of 0.2
    __getattr__ = moved(__name__)


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
        self, x: Tensor, mask: Tensor | Packing | None = None
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

    def forward(
        self, x: Tensor, mask: Tensor | Packing | None = None
    ) -> Tensor:
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
    """Self-attention, cross-attention, feed-forward.

    It is causal where `mask` is a `causal_mask`; without a mask
    each place of `x` sees all of `x`.

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
        target_size: V, how many different target tokens.
        layers: of the encoder, and as many of the decoder.
        hidden_size: H.
        num_heads: A, a divisor of H.
        intermediate_size: the feed-forward's inner size.
        max_length: the longest sequence, source or target.
        dropout: on what each part adds and on attention weights.
        pad: the source id that is padding; targets may have none.

    Raises:
        ValueError: when it is called, a sequence that is longer
            than `max_length`.

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
        """Score what follows each token: (B, S) -> (B, S, V)."""
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
