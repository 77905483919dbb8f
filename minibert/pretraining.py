# Written by tools/tangle.py from
# book/source/pretraining.md
# Edit that, not this.
"""Pre-training: masked words and next sentences, on text of any size.

Shapes: `B` batch, `S` sequence, `V` vocabulary, `N` chosen places.
"""

import json
import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from minibert.batching import pack
from minibert.bert import BertModel, BertPreTrainedModel
from minibert.checkpoints import digest
from minibert.config import BertConfig
from minibert.corpus import vocabulary_digest
from minibert.losses import (
    IGNORE,
    at_labels,
    class_loss,
    mean_loss,
)
from minibert.mlm import BertForMaskedLM, MaskedLMHead, Masking
from minibert.moved import moved
from minibert.nsp import (
    Corpus,
    Pairs,
    draw_pairs,
    to_batch,
)
from minibert.steps import Microbatch, processes, split_step
from minibert.tokens import Tokenizer
from minibert.training import Batches, TrainingConfig, train

__all__ = [
    "BertForPreTraining",
    "PreTrainingOutput",
    "PretrainingConfig",
    "PretrainingData",
    "measure",
    "pretrain",
]

if not TYPE_CHECKING:  # names of 0.2
    __getattr__ = moved(__name__)


class PreTrainingOutput(NamedTuple):
    """What `BertForPreTraining` returns; `None` if not asked for.

    Attributes:
        loss: the sum of the two below, or the one that there is.
        prediction_logits: (B, S, V); (N, V) where labels were
            given.
        seq_relationship_logits: (B, 2): is next, is not.
        masked_lm_loss: the mean over the N labelled places, nats.
        next_sentence_loss: the mean over the B rows, nats.
        hidden_states: as in `BertOutput`.
        attentions: as in `BertOutput`.
    """

    loss: Tensor | None
    prediction_logits: Tensor
    seq_relationship_logits: Tensor
    masked_lm_loss: Tensor | None = None
    next_sentence_loss: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class BertForPreTraining(BertPreTrainedModel):
    """BERT with both heads: which word, and is it next.

    Args:
        config: its numbers.

    Source: Devlin et al. 2019, section 3.1.

    >>> model = BertForPreTraining(BertConfig(vocab_size=99, num_hidden_layers=1))
    >>> model(torch.tensor([[2, 4, 3]])).seq_relationship_logits.shape
    torch.Size([1, 2])
    """

    tied = BertForMaskedLM.tied

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config)
        self.predictions = MaskedLMHead(config)
        self.seq_relationship = nn.Linear(config.hidden_size, 2)
        self.initialise()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        next_sentence_label: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> PreTrainingOutput:
        """Do what the two heads do, on one pass of the encoder.

        Args:
            input_ids: (B, S); the next three as in `BertModel`.
            attention_mask: (B, S) or (B, S, S).
            token_type_ids: (B, S).
            position_ids: (B, S).
            labels: (B, S), as in `BertForMaskedLM`.
            next_sentence_label: (B,), as in
                `BertForNextSentencePrediction`.
            output_hidden_states: as in `BertModel`.
            output_attentions: as in `BertModel`.

        Raises:
            TypeError, ValueError, IndexError: as there.
        """
        output = self.bert(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        x, word, pair = output.last_hidden_state, None, None
        if labels is not None:
            x, labels = at_labels(x, labels)  # (N, H), (N,)
        table = self.bert.embeddings.token.weight  # (V, H)
        words = self.predictions(x, table)  # (N, V)
        pairs = self.seq_relationship(output.pooler_output)  # (B, 2)
        if labels is not None:
            word = mean_loss(words, labels)
        if next_sentence_label is not None:
            pair = class_loss(
                pairs, next_sentence_label, "next_sentence_label",
                ": 0 where it follows, 1 where not",
            )
        losses = [loss for loss in (word, pair) if loss is not None]
        loss = torch.stack(losses).sum() if losses else None
        return PreTrainingOutput(
            loss, words, pairs, word, pair, *output[2:]
        )


@dataclass(frozen=True, kw_only=True)
class PretrainingConfig(TrainingConfig):
    """The numbers of a pre-training run: `TrainingConfig`'s, and

    Attributes:
        max_length: tokens in a row, the three special ones included.
        mask_probability: share of the tokens that is chosen.
        whole_words: choose whole words.
        task: "next", "order", or None for masked words alone.

    >>> PretrainingConfig(steps=100, task=None).max_length
    128
    """

    max_length: int = 128
    mask_probability: float = 0.15
    whole_words: bool = False
    task: str | None = "next"

    def __post_init__(self) -> None:
        """Refuse what makes no run."""
        super().__post_init__()
        if self.max_length < 5:  # [CLS] a [SEP] b [SEP]
            raise ValueError(f"max_length must be 5 or more, not {self.max_length}")
        if not 0 < self.mask_probability <= 1:
            raise ValueError(
                f"mask_probability is {self.mask_probability}, not in (0, 1]"
            )
        if self.task not in ("next", "order", None):
            raise ValueError(f'task is "next", "order" or None, not {self.task!r}')


POOL = 32  # batches that are sorted by length together


class PretrainingData:
    """Rows of a corpus, masked: the pieces of any step.

    Each epoch takes every chunk once, in another order. Where a
    chunk is cut, what follows it and what is masked differ each
    time. Rows of similar length share a batch.

    Args:
        corpus: in memory or on disk.
        tokenizer: the one that made it.
        config: the run's numbers.

    Raises:
        ValueError: a corpus without chunks.
    """

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: Tokenizer,
        config: PretrainingConfig,
    ) -> None:
        if len(corpus.chunks) == 0:
            raise ValueError(
                "the corpus is empty: no document has the two "
                "sentences that it takes, or one with pairs=False"
            )
        self.corpus, self.tokenizer = corpus, tokenizer
        self.config = config
        self.masking = Masking(
            tokenizer, config.mask_probability, config.whole_words
        )
        self.pool: tuple[int, list[Pairs]] = (-1, [])

    def order(
        self, numbers: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Give the chunk of each sample of the run: (n,) -> (n,).

        Epoch e takes chunk (a + b * place) mod K, b without a
        factor of K: every chunk once, nothing kept in memory.
        """
        size = len(self.corpus.chunks)
        epochs, places = np.divmod(numbers, size)
        chunks = np.empty_like(numbers)
        for epoch in np.unique(epochs).tolist():
            seed = [self.config.seed, 1, epoch]
            chance = np.random.default_rng(seed)
            a, b = chance.integers(1, size + 1, 2).tolist()
            while math.gcd(b, size) > 1:
                b = b % size + 1
            here = epochs == epoch
            chunks[here] = (a + b * places[here]) % size
        return chunks

    def pairs(self, step: int) -> Pairs:
        """Give the pairs of a step: `batch_size` of similar length."""
        number = step // POOL
        if self.pool[0] != number:
            config = self.config
            size = POOL * config.batch_size
            chance = np.random.default_rng([config.seed, 2, number])
            samples = np.arange(number * size, (number + 1) * size)
            rows = self.order(samples)
            pairs = draw_pairs(
                self.corpus, rows, config.max_length,
                chance, config.task,
            )  # fmt: skip
            spans = pairs.first, pairs.second
            sizes = sum(span[:, 1] - span[:, 0] for span in spans)
            alike = np.argsort(sizes, kind="stable")
            batches = chance.permutation(alike.reshape(POOL, -1))
            cut = [Pairs(*(x[b] for x in pairs)) for b in batches]
            self.pool = number, cut
        return self.pool[1][step % POOL]

    def __call__(
        self, step: int, rank: int = 0, world: int = 1
    ) -> list[Microbatch]:
        """Give this process's pieces of a step."""
        pairs = self.pairs(step)
        batch = to_batch(self.corpus, pairs, self.tokenizer)
        state = np.random.SeedSequence([self.config.seed, 3, step])
        seed = int(state.generate_state(1)[0])
        chance = torch.Generator().manual_seed(seed)
        hidden = self.masking(batch.input_ids, chance)
        inputs = batch._asdict() | {
            "input_ids": hidden.input_ids,
            "labels": hidden.labels,
        }
        name = "loss"
        if self.config.task is not None:
            is_next = torch.from_numpy(pairs.labels)
            inputs["next_sentence_label"] = is_next
            name = "masked_lm_loss"
        pieces, accumulate = [], self.config.accumulate
        rows = len(pairs.labels)
        for part, real in split_step(rows, rank, world, accumulate):
            own = {k: v[part] for k, v in inputs.items()}
            chosen = int((own["labels"] != IGNORE).sum())
            counts = {name: chosen * real}
            if self.config.task is not None:
                size = len(own["labels"])
                counts["next_sentence_loss"] = size * real
            if self.config.packed:
                own = pack(own)
            pieces.append(Microbatch(own, counts))
        return pieces


@torch.no_grad()
def measure(
    model: nn.Module, data: PretrainingData, steps: int = POOL
) -> dict[str, float]:
    """Measure a model on the first steps of a corpus.

    Args:
        model: a `BertForPreTraining` or `BertForMaskedLM` in eval
            mode.
        data: of a config whose `accumulate` is 1.
        steps: how many, of `batch_size` rows each.

    Returns:
        `masked_accuracy`, `masked_loss` (nats), and, for a task,
        `pair_accuracy`.
    """
    device = next(model.parameters()).device
    hits = chosen = right = rows = 0
    loss = 0.0
    for step in range(steps):
        (piece,) = data(step)
        inputs = {k: v.to(device) for k, v in piece.inputs.items()}
        output = model(**inputs)
        labels = inputs["labels"][inputs["labels"] != IGNORE]
        logits = output[1]
        hits += int((logits.argmax(-1) == labels).sum())
        chosen += len(labels)
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
        if "next_sentence_label" in inputs:
            guess = output.seq_relationship_logits.argmax(-1)
            right += int((guess == inputs["next_sentence_label"]).sum())
            rows += len(guess)
    asked = max(chosen, 1)
    numbers = {"masked_accuracy": hits / asked, "masked_loss": loss / asked}
    if rows:
        numbers["pair_accuracy"] = right / rows
    return numbers


def pretrain(
    model: BertForPreTraining | BertForMaskedLM,
    tokenizer: Tokenizer,
    corpus: Corpus | Batches,
    config: PretrainingConfig,
    folder: str | Path | None = None,
    *,
    held_out: Corpus | None = None,
    branch_from: str | Path | None = None,
    progress: bool = True,
) -> list[dict[str, float]]:
    """Train a model on a corpus; go on where a run stopped.

    Args:
        model: `BertForMaskedLM` where `config.task` is None.
        tokenizer: the one that made the corpus.
        corpus: of `build_corpus` or `open_corpus`; or a
            `StreamedData`.
        config: the run's numbers.
        folder: for the log, the checkpoints and, at the end, the
            model with its tokenizer in `model/`; None keeps nothing.
        held_out: text that is never trained on, to measure on.
        branch_from: see `train`.
        progress: whether to show a bar.

    Returns:
        The lines of the log; see `train` and `measure`.

    Raises:
        TypeError: a model without the head that the task needs.
        ValueError: a model of another vocabulary, or with fewer
            positions than `max_length`; see `train`.

    >>> from minibert.nsp import build_corpus
    >>> tokenizer = Tokenizer.from_pretrained("leads-small")
    >>> texts = [["One river.", "It is long."], ["Two.", "Three."]]
    >>> corpus = build_corpus(texts, tokenizer, max_length=16)
    >>> sizes = BertConfig(vocab_size=len(tokenizer), num_hidden_layers=1)
    >>> config = PretrainingConfig(steps=2, batch_size=2, max_length=16)
    >>> model = BertForPreTraining(sizes)
    >>> log = pretrain(model, tokenizer, corpus, config, progress=False)
    >>> log[-1]["step"], log[-1]["masked_lm_loss"] > 0
    (2, True)
    """
    kind = BertForMaskedLM if config.task is None else BertForPreTraining
    if not isinstance(model, kind):
        raise TypeError(
            f"task {config.task!r} needs a {kind.__name__}, not a "
            f"{type(model).__name__}"
        )
    sizes = model.config
    if sizes.vocab_size != len(tokenizer):
        raise ValueError(
            f"the model has {sizes.vocab_size} pieces, the tokenizer "
            f"{len(tokenizer)}"
        )
    if sizes.max_position_embeddings < config.max_length:
        raise ValueError(
            f"max_length is {config.max_length}, but the model ends at "
            f"{sizes.max_position_embeddings}"
        )
    data: Batches = (
        PretrainingData(corpus, tokenizer, config)
        if isinstance(corpus, Corpus)
        else corpus
    )
    evaluate = None
    if held_out is not None:
        fixed = replace(config, seed=0, accumulate=1)
        unseen = PretrainingData(held_out, tokenizer, fixed)
        evaluate = partial(measure, data=unseen)
    settings: dict[str, Any] = {
        "model": json.loads(sizes.to_json()),
        "trained": [n for n, p in model.named_parameters() if p.requires_grad],
        "vocabulary": vocabulary_digest(tokenizer),
    }
    if isinstance(corpus, Corpus):
        sizes_of = {name: len(part) for name, part in corpus._asdict().items()}
        settings["corpus"] = sizes_of
    if isinstance(corpus, Corpus) and folder is not None:
        settings["digest of the corpus"] = digest(
            np.ascontiguousarray(part).data for part in corpus
        )
    log = train(
        model, data, config, folder,
        evaluate=evaluate, settings=settings,
        branch_from=branch_from, progress=progress,
    )  # fmt: skip
    if folder is not None and processes().rank == 0:
        model.save_pretrained(Path(folder) / "model")
        tokenizer.save_pretrained(Path(folder) / "model")
    return log
