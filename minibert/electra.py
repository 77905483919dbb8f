# Written by tools/tangle.py from
# book/source/smaller.md
# Edit that, not this.
"""Replaced tokens: which words of a text are not its own.

Shapes: `B` batch, `S` sequence, `H` hidden, `V` vocabulary.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minibert.bert import BertModel, BertPreTrainedModel
from minibert.config import BertConfig
from minibert.losses import IGNORE
from minibert.mlm import BertForMaskedLM

__all__ = [
    "BertForReplacedTokens",
    "ReplacedTokens",
    "ReplacedTokensOutput",
    "replace_tokens",
]


@torch.no_grad()
def replace_tokens(
    masked: Tensor, labels: Tensor, logits: Tensor
) -> tuple[Tensor, Tensor]:
    """Put a guess at every masked place: drawn, not the likeliest.

    Args:
        masked: (B, S) ids, some of them hidden.
        labels: (B, S), what stood there, IGNORE elsewhere.
        logits: (N, V), the scores at the N labelled places.

    Returns:
        The ids (B, S), and where they differ from what stood there
        (B, S): a guess that is right is no replacement.

    Source: Clark et al. 2020, ELECTRA, section 2.
    """
    chosen = labels != IGNORE
    ids = masked.clone()
    ids[chosen] = logits.softmax(-1).multinomial(1)[:, 0]
    return ids, chosen & (ids != labels)


class ReplacedTokensOutput(NamedTuple):
    """What `BertForReplacedTokens` and `ReplacedTokens` return.

    Attributes:
        loss: of the first, the mean over real tokens, in nats; None
            without `replaced`. Of the second, the generator's loss
            and `weight` times that one, added.
        logits: (B, S), above 0: this token was replaced.
    """

    loss: Tensor | None
    logits: Tensor


class BertForReplacedTokens(BertPreTrainedModel):
    """BERT with a head that says of each token if it was replaced.

    Args:
        config: its numbers.

    Source: Clark et al. 2020, ELECTRA, section 2.

    >>> model = BertForReplacedTokens(BertConfig(vocab_size=99))
    >>> model(torch.tensor([[2, 4, 3]])).logits.shape
    torch.Size([1, 3])
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        size = config.hidden_size
        self.bert = BertModel(config, add_pooling_layer=False)
        self.dense = nn.Linear(size, size)
        self.output = nn.Linear(size, 1)
        self.initialise()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        replaced: Tensor | None = None,
    ) -> ReplacedTokensOutput:
        """Score every token; above 0 means: replaced.

        Args:
            input_ids: (B, S); the next two as in `BertModel`.
            attention_mask: (B, S).
            token_type_ids: (B, S).
            replaced: (B, S), True where a token was replaced; asked
                for with a mask (B, S) only.

        Raises:
            TypeError, ValueError, IndexError: as in `BertModel`; or
                `replaced` has another shape than ids and mask.
        """
        x = self.bert(input_ids, attention_mask, token_type_ids)
        x = F.gelu(self.dense(x.last_hidden_state))  # (B, S, H)
        logits = self.output(x)[..., 0]  # (B, S)
        if replaced is None:
            return ReplacedTokensOutput(None, logits)
        real = torch.ones_like(input_ids, dtype=torch.bool)
        if attention_mask is not None:
            real = attention_mask.bool()
        if not replaced.shape == real.shape == logits.shape:
            raise ValueError(
                f"replaced {tuple(replaced.shape)} and the mask "
                f"{tuple(real.shape)} must be as the ids, "
                f"{tuple(logits.shape)}"
            )
        loss = F.binary_cross_entropy_with_logits(
            logits[real], replaced[real].to(logits.dtype)
        )
        return ReplacedTokensOutput(loss, logits)


class ReplacedTokens(nn.Module):
    """Both models of ELECTRA, to be given to `train`.

    Args:
        generator: guesses masked words; with fewer layers, but the
            same width. Its embeddings are replaced, in place, by
            the model's, so that both learn one table.
        model: finds the guesses.
        weight: of the model's loss; the generator's has 1.

    Raises:
        ValueError: embeddings of unlike sizes: vocabulary, width,
            positions or segments.

    Source: Clark et al. 2020, ELECTRA, sections 2 and 3.2; the 50
    stands in appendix A.
    """

    def __init__(
        self,
        generator: BertForMaskedLM,
        model: BertForReplacedTokens,
        weight: float = 50.0,
    ) -> None:
        super().__init__()
        ours, theirs = (
            [tuple(w.shape) for w in part.embeddings.parameters()]
            for part in (model.bert, generator.bert)
        )
        if ours != theirs:
            raise ValueError(
                f"the generator's embeddings are {theirs} and the "
                f"model's {ours}: one cannot serve both"
            )
        generator.bert.embeddings = model.bert.embeddings
        self.generator, self.model = generator, model
        self.weight = weight

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        labels: Tensor,
    ) -> ReplacedTokensOutput:
        """Guess, replace, find: one loss for both."""
        given = attention_mask, token_type_ids
        guess = self.generator(input_ids, *given, labels=labels)
        ids, replaced = replace_tokens(
            input_ids, labels, guess.logits
        )
        found = self.model(ids, *given, replaced=replaced)
        loss = guess.loss + self.weight * found.loss
        return ReplacedTokensOutput(loss, found.logits)
