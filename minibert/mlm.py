# Written by tools/tangle.py from
# book/source/mlm.md
# Edit that, not this.
"""Masked language modelling: hide words, and give them back.

Shapes: `B` batch, `S` sequence, `H` hidden, `V` vocabulary, `N`
places that were chosen.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minibert.bert import BertModel, BertPreTrainedModel
from minibert.config import BertConfig
from minibert.device import Device
from minibert.loading import load
from minibert.losses import IGNORE, at_labels, mean_loss
from minibert.tokens import Tokenizer
from minibert.vocabulary import SPECIAL

__all__ = [
    "BertForMaskedLM",
    "Blank",
    "Masked",
    "MaskedLMHead",
    "MaskedLMOutput",
    "Masking",
    "fill_mask",
    "fill_one_by_one",
    "guess_words",
    "pseudo_log_likelihood",
]


class Masked(NamedTuple):
    """A batch with hidden words, and what was hidden.

    Attributes:
        input_ids: (B, S).
        labels: (B, S), the id that stood at a chosen place, IGNORE
            (-100) elsewhere.
    """

    input_ids: Tensor
    labels: Tensor


def check_share(probability: float) -> float:
    """Give it back, where it is one."""
    if not 0 <= probability <= 1:
        raise ValueError(
            f"probability is {probability}, not between 0 and 1"
        )
    return probability


def sort_pieces(pieces: Sequence[str]) -> tuple[Tensor, ...]:
    """Say which of V pieces are special, and which continue a word.

    Returns:
        Both (V,), and the ids that may be drawn at random.
    """
    special = torch.tensor([p in SPECIAL for p in pieces])
    inner = torch.tensor([p[:2] == "##" for p in pieces])
    return special, inner, (~special).nonzero()[:, 0]


class Masking:
    """Choose 15 % of the tokens, and hide most of them.

    Of the chosen, 80 % become [MASK], 10 % another piece drawn at
    random, 10 % stay as they are. [CLS], [SEP], [PAD], [UNK] and
    [MASK] are never chosen, and never drawn.

    Args:
        tokenizer: the one that made the ids.
        probability: the share of tokens that is chosen.
        whole_words: choose words; all pieces of one, or none.

    Raises:
        ValueError: a probability outside of 0 to 1.

    Source: Devlin et al. 2019, section 3.1, task 1; whole words
    as in the release of May 31st, 2019, of google-research/bert.

    >>> masking = Masking(Tokenizer.from_pretrained("minilm"), 1.0)
    >>> masking(torch.tensor([[101, 2314, 102]])).labels.tolist()
    [[-100, 2314, -100]]
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        probability: float = 0.15,
        whole_words: bool = False,
    ) -> None:
        self.probability = check_share(probability)
        self.whole_words = whole_words
        self.mask_id = tokenizer.mask_id
        kinds = sort_pieces(tokenizer.vocabulary)
        self.special, self.inner, self.drawable = kinds

    def __call__(
        self,
        input_ids: Tensor,
        generator: torch.Generator | None = None,
    ) -> Masked:
        """Hide words of `input_ids` (B, S), on the CPU.

        Args:
            input_ids: rows as a tokenizer makes them; they are not
                changed.
            generator: where the chance comes from; torch's own
                where absent.
        """
        chance = torch.rand(input_ids.shape, generator=generator)
        if self.whole_words:  # a piece takes its word's draw
            chance = draw_by_word(chance, self.inner[input_ids])
        chosen = chance < self.probability
        chosen &= ~self.special[input_ids]
        labels = input_ids.where(chosen, IGNORE)
        old, many = input_ids[chosen], len(self.drawable)
        lot = torch.rand(old.shape, generator=generator)  # (N,)
        draw = torch.randint(many, old.shape, generator=generator)
        new = torch.where(lot < 0.9, self.drawable[draw], old)
        new = torch.where(lot < 0.8, self.mask_id, new)
        return Masked(input_ids.masked_scatter(chosen, new), labels)


def draw_by_word(chance: Tensor, inner: Tensor) -> Tensor:
    """Give each piece the draw of its word's first piece.

    Args:
        chance: (B, S), a draw for each piece.
        inner: (B, S), True where a piece continues a word.
    """
    place = torch.arange(chance.shape[1])
    first = (place * ~inner).cummax(1).values  # (B, S)
    return chance.gather(1, first)


class MaskedLMHead(nn.Module):
    """Turn vectors into a score for every piece.

    It owns no (V, H) matrix: it is called with the token table.

    Args:
        config: the model's numbers.

    Source: Devlin et al. 2019, section 3.1; for the layer between,
    `run_pretraining.py` of its repository.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.dense = nn.Linear(size, size)
        self.norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        """Score `x` (..., H) against `table` (V, H): (..., V)."""
        x = self.norm(F.gelu(self.dense(x)))  # (..., H)
        return F.linear(x, table, self.bias)  # (..., V)


class MaskedLMOutput(NamedTuple):
    """What `BertForMaskedLM` returns; `None` where not asked for.

    Attributes:
        loss: the mean over the N labelled places, in nats; 0 where
            there is none.
        logits: (B, S, V); where labels were given (N, V), of the
            labelled places in reading order.
        hidden_states: as in `BertOutput`.
        attentions: as in `BertOutput`.
    """

    loss: Tensor | None
    logits: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


def score_labelled(
    head: MaskedLMHead, x: Tensor, table: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Score `x` (B, S, H) where labelled, and give the loss."""
    x, labels = at_labels(x, labels)  # (N, H), (N,)
    logits = head(x, table)  # (N, V)
    return logits, mean_loss(logits, labels)


class BertForMaskedLM(BertPreTrainedModel):
    """BERT with a head that says which piece stands at a place.

    Args:
        config: its numbers.

    Source: Devlin et al. 2019, section 3.1.

    >>> model = BertForMaskedLM(BertConfig(vocab_size=99))
    >>> model(torch.tensor([[2, 4, 3]])).logits.shape
    torch.Size([1, 3, 99])
    """

    tied: ClassVar[Mapping[str, str]] = {
        "cls.predictions.decoder.weight": (
            "bert.embeddings.word_embeddings.weight"
        ),
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.predictions = MaskedLMHead(config)
        self.initialise()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> MaskedLMOutput:
        """Score every piece at every place, or where labelled.

        Args:
            input_ids: (B, S); the next three as in `BertModel`.
            attention_mask: (B, S) or (B, S, S).
            token_type_ids: (B, S).
            position_ids: (B, S).
            labels: (B, S), the piece to be found at a chosen place
                and IGNORE elsewhere. The head then runs only there.
            output_hidden_states: as in `BertModel`.
            output_attentions: as in `BertModel`.

        Raises:
            TypeError, ValueError, IndexError: as in `BertModel`;
                labels of another shape or type.
        """
        output = self.bert(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        x, loss = output.last_hidden_state, None  # (B, S, H)
        table = self.bert.embeddings.token.weight  # (V, H)
        if labels is None:
            logits = self.predictions(x, table)  # (B, S, V)
        else:
            logits, loss = score_labelled(
                self.predictions, x, table, labels
            )
        return MaskedLMOutput(loss, logits, *output[2:])


class Blank(NamedTuple):
    """What may fill one [MASK], the likeliest first."""

    words: list[str]
    probabilities: list[float]


Pair = tuple[BertForMaskedLM, Tokenizer]


@torch.no_grad()
def fill_mask(
    text: str,
    k: int = 5,
    *,
    model: str | Pair = "minilm-mlm",
    device: Device | None = None,
) -> list[Blank]:
    """Say which pieces may stand at each [MASK] of a text.

    Several masks are filled at once: each answer is made without
    knowing the others. See `fill_one_by_one`.

    Args:
        text: with one [MASK] or more.
        k: how many pieces for each.
        model: a shipped name, a folder, a hub id, or a model and
            its tokenizer.
        device: where to put a model that is named; None for the
            best, `best_device`.

    Returns:
        A `Blank` for each [MASK], in the order of the text.

    Raises:
        ValueError: no [MASK], `k` below 1 or above V, or a text
            that is too long for the model.

    >>> fill_mask("Paris is the [MASK] of France.", 1)[0].words
    ['capital']
    """
    bert, tokenizer = load(model, BertForMaskedLM, device)
    ids = encode_blanks(text, bert, tokenizer)  # (1, S)
    if not 1 <= k <= len(tokenizer):
        raise ValueError(f"k is {k}, not 1 to {len(tokenizer)}")
    logits = bert(ids).logits[ids == tokenizer.mask_id]  # (N, V)
    best = logits.softmax(-1, dtype=torch.float32).topk(k)
    pieces, values = best.indices.tolist(), best.values.tolist()
    return [
        Blank(tokenizer.tokens(row), shares)
        for row, shares in zip(pieces, values, strict=True)
    ]


def encode_text(
    text: str, bert: BertForMaskedLM, tokenizer: Tokenizer
) -> Tensor:
    """Give the ids (1, S) of one text, on the model's device."""
    if not isinstance(text, str):
        raise TypeError(f"text must be a string, not {text!r}")
    ids = tokenizer.encode(text).ids
    limit = bert.config.max_position_embeddings
    if len(ids) == 2:
        raise ValueError("there is no text")
    if len(ids) > limit:
        raise ValueError(
            f"the text has {len(ids)} tokens, the model takes {limit}: "
            "shorten it"
        )
    return torch.tensor([ids], device=bert.device)


def encode_blanks(
    text: str, bert: BertForMaskedLM, tokenizer: Tokenizer
) -> Tensor:
    """Do as `encode_text`, for a text that must hold a [MASK]."""
    ids = encode_text(text, bert, tokenizer)
    if not (ids == tokenizer.mask_id).any():
        raise ValueError(
            f"there is no [MASK] in {text!r}: write it where a word "
            "is missing"
        )
    return ids


@torch.no_grad()
def fill_one_by_one(
    text: str,
    *,
    model: str | Pair = "minilm-mlm",
    device: Device | None = None,
) -> str:
    """Fill every [MASK], the surest first, each seeing the last.

    Args:
        text: with one [MASK] or more.
        model: as in `fill_mask`.
        device: as there.

    Returns:
        The text as `Tokenizer.decode` gives it: normalised.

    Raises:
        ValueError: as in `fill_mask`.
    """
    bert, tokenizer = load(model, BertForMaskedLM, device)
    ids = encode_blanks(text, bert, tokenizer)  # (1, S)
    special = Masking(tokenizer).special.to(ids.device)  # (V,)
    blanks = (ids[0] == tokenizer.mask_id).nonzero()[:, 0].tolist()
    while blanks:
        logits = bert(ids).logits[0, blanks]  # (N, V)
        logits = logits.masked_fill(special, float("-inf"))
        sure, piece = logits.softmax(-1).max(-1)  # (N,)
        first = int(sure.argmax())
        ids[0, blanks.pop(first)] = piece[first]
    return tokenizer.decode(ids[0])


@torch.no_grad()
def pseudo_log_likelihood(
    text: str,
    *,
    model: str | Pair = "minilm-mlm",
    device: Device | None = None,
) -> Tensor:
    """Hide each piece of a text in turn; how likely is it there?

    Args:
        text: anything with a piece in it.
        model: as in `fill_mask`.
        device: as there.

    Returns:
        The natural logarithm of each piece's probability, without
        [CLS] and [SEP]: one axis, float32, on the CPU. The sum is a
        score for the text, not its probability.

    Raises:
        ValueError: an empty text, or one that is too long.

    Source: Salazar et al. 2020, section 2.
    """
    bert, tokenizer = load(model, BertForMaskedLM, device)
    ids = encode_text(text, bert, tokenizer)  # (1, S + 2)
    places = torch.arange(1, ids.shape[1] - 1, device=ids.device)
    scores = []
    for few in places.split(64):
        rows = ids.repeat(len(few), 1)  # (64, S + 2)
        labels = torch.full_like(rows, IGNORE)
        each = torch.arange(len(few), device=ids.device)
        labels[each, few] = rows[each, few]
        rows[each, few] = tokenizer.mask_id
        logits = bert(rows, labels=labels).logits  # (64, V)
        logs = logits.log_softmax(-1, dtype=torch.float32)
        scores.append(logs[each, ids[0, few]])
    return torch.cat(scores).cpu()  # (S,)


@torch.no_grad()
def guess_words(
    texts: Iterable[str],
    words: Sequence[str],
    *,
    model: str | Pair = "minilm-mlm",
    device: Device | None = None,
    seed: int = 0,
) -> list[tuple[str, str]]:
    """Hide some words of texts, and guess them.

    15 % of the places that hold one of `words` become [MASK]; the
    guess is the likeliest of `words`. Two models whose vocabularies
    both hold these are asked about the same places.

    Args:
        texts: each short enough for the model.
        words: lower-case words, pieces of the model's vocabulary.
        model: as in `fill_mask`.
        device: as there.
        seed: of the places.

    Returns:
        The hidden words: (true, guessed).

    Raises:
        LookupError: a word that is no piece of the vocabulary.
        ValueError: see `fill_mask`.
    """
    bert, tokenizer = load(model, BertForMaskedLM, device)
    chance = torch.Generator().manual_seed(seed)
    known = torch.tensor([tokenizer.id(word) for word in words])
    inner = torch.tensor(
        [piece[:2] == "##" for piece in tokenizer.vocabulary]
    )
    out: list[tuple[str, str]] = []
    for text in texts:
        ids = encode_text(text, bert, tokenizer)  # (1, S)
        row = ids[0].cpu()
        may = torch.isin(row, known)  # (S,)
        may[:-1] &= ~inner[row[1:]]  # not a longer word's beginning
        places = may.nonzero()[:, 0]
        hide = torch.rand(len(places), generator=chance) < 0.15
        places = places[hide]
        truth = tokenizer.tokens(row[places])
        ids[0, places] = tokenizer.mask_id
        scores = bert(ids).logits[0, places].cpu()[:, known]
        best = [words[int(i)] for i in scores.argmax(-1)]
        out += zip(truth, best, strict=True)
    return out
