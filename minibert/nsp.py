# Written by tools/tangle.py from
# book/source/nsp.md
# Edit that, not this.
"""Next sentence prediction: does one text follow another?

A corpus is three arrays, so that it can lie in memory or on
disk. Shapes: `B` batch, `S` sequence, `H` hidden, `n` pairs.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from minibert.batching import Batch
from minibert.bert import BertModel, BertPreTrainedModel
from minibert.config import BertConfig
from minibert.device import Device
from minibert.loading import load
from minibert.losses import class_loss
from minibert.tokens import Tokenizer

__all__ = [
    "BertForNextSentencePrediction",
    "Corpus",
    "NextSentenceOutput",
    "Pairs",
    "build_corpus",
    "draw_pairs",
    "next_sentence",
    "to_batch",
    "truncate_pairs",
]


class Corpus(NamedTuple):
    """Documents, laid end to end.

    Attributes:
        tokens: (T,) ids, without special tokens.
        sentences: (s + 1,) where each sentence begins in `tokens`,
            and T at the end.
        chunks: (K, 3), a line for each chunk: a run of sentences of
            one document that fills a row. The columns: its first
            sentence, the one after its last, the document. A chunk
            has at least two sentences, where pairs are wanted.
    """

    tokens: NDArray[np.integer]
    sentences: NDArray[np.int64]
    chunks: NDArray[np.int64]


def build_corpus(
    documents: Iterable[Sequence[str]],
    tokenizer: Tokenizer,
    max_length: int,
    pairs: bool = True,
) -> Corpus:
    """Cut documents into sentences of ids, and into chunks.

    With `pairs`, a document that is equal to an earlier one gives
    no chunks: it would make pairs that are called wrong and are
    not.

    Args:
        documents: each a list of its sentences. One of a single
            sentence makes no chunk: nothing follows it.
        tokenizer: the one that makes the ids.
        max_length: tokens in a row, the three special ones
            included. A chunk takes sentences until a row is full.
        pairs: False for masked words alone: then a chunk may have
            one sentence, and a document too.

    Raises:
        ValueError: `max_length` below 5, or a document that is a
            string.
    """
    corpus, hashes = cut_documents(
        documents, tokenizer, max_length, pairs
    )
    if pairs:
        kept = without_duplicates(hashes)[corpus.chunks[:, 2]]
        corpus = corpus._replace(chunks=corpus.chunks[kept])
    return corpus


def cut_documents(
    documents: Iterable[Sequence[str]],
    tokenizer: Tokenizer,
    max_length: int,
    pairs: bool,
) -> tuple[Corpus, NDArray[np.int64]]:
    """Do as `build_corpus`, doubles included.

    Returns:
        The corpus, and a hash of each document's ids.
    """
    if max_length < 5:
        raise ValueError(
            f"max_length is {max_length}; [CLS] a [SEP] b [SEP] "
            "takes 5"
        )
    ids: list[int] = []
    starts, chunks, hashes = [0], [], []
    for number, document in enumerate(documents):
        if isinstance(document, str):
            raise ValueError(
                f"document {number} is a string: cut it into a "
                "list of sentences first, with sentences(text)"
            )
        first = len(starts) - 1
        for sentence in document:
            pieces = tokenizer.encode(sentence).ids[1:-1]
            if pieces:
                ids += pieces
                starts.append(len(ids))
        last, begin = len(starts) - 1, starts[first]
        hashes.append(hash(tuple(ids[begin:])))
        room, least = max_length - 3, 2 if pairs else 1
        for run in fill_rows(starts, first, last, room, least):
            chunks.append((*run, number))
    corpus = Corpus(
        np.array(ids, token_type(tokenizer)),
        np.array(starts, np.int64),
        np.array(chunks, np.int64).reshape(-1, 3),
    )
    return corpus, np.array(hashes, np.int64)


def without_duplicates(hashes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each document is the first of its hash: (n,)."""
    first = np.zeros(len(hashes), np.bool_)
    first[np.unique(hashes, return_index=True)[1]] = True
    return first


def token_type(
    tokenizer: Tokenizer,
) -> np.dtype[np.unsignedinteger]:
    """Give the smallest number for every id: 2 bytes, or 4."""
    small = len(tokenizer) <= 65536
    return np.dtype(np.uint16 if small else np.uint32)


def fill_rows(
    starts: Sequence[int],
    first: int,
    last: int,
    room: int,
    least: int = 2,
) -> list[tuple[int, int]]:
    """Cut sentences `first` to `last` into runs of `room` tokens.

    A run ends with the sentence that fills it; what is over is cut
    off later. No run has fewer than `least`, 1 or 2: a lone last
    sentence joins the run before it.
    """
    runs: list[tuple[int, int]] = []
    begin = first
    for end in range(first + 1, last + 1):
        full = starts[end] - starts[begin] >= room
        if (full and end - begin >= least) or end == last:
            runs.append((begin, end))
            begin = end
    if runs and runs[-1][1] - runs[-1][0] < least:
        begin, end = runs.pop()
        if runs:
            runs[-1] = (runs[-1][0], end)
    return runs


class Pairs(NamedTuple):
    """Where n pairs lie in a corpus, and which are real.

    Attributes:
        first: (n, 2) begin and end of the first text in `tokens`.
        second: (n, 2) the same of the second.
        labels: (n,) 0 where the second follows, 1 where not.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    labels: NDArray[np.int64]


def draw_pairs(
    corpus: Corpus,
    rows: NDArray[np.int64],
    max_length: int,
    chance: np.random.Generator,
    task: str | None = "next",
) -> Pairs:
    """Cut chunks in two, and replace half of the second parts.

    Args:
        corpus: for "next", of two documents or more that have
            chunks. Unless `task` is None, `build_corpus` must have
            made it with pairs=True, as it does by default.
        rows: (n,) which chunks.
        max_length: tokens in a row, special ones included.
        chance: where to draw from.
        task: "next" takes the second part of half of the pairs from
            another document; "order" swaps the parts instead; None
            leaves every pair as it was.

    Raises:
        ValueError: another task, nothing to draw from, or a chunk
            of one sentence where pairs are wanted.

    Source: Devlin et al. 2019, section 3.1, task 2; "order" is that
    of Lan et al. 2020, section 3.1.
    """
    first, second = cut_chunks(corpus, rows, chance, bool(task))
    labels = chance.integers(0, 2 if task else 1, len(rows))
    wrong = labels[:, None] == 1
    if task == "next":
        others = draw_other_documents(corpus, rows, chance)
        _, other = cut_chunks(corpus, others, chance)
        second = np.where(wrong, other, second)
    elif task == "order":
        first, second = (
            np.where(wrong, second, first),
            np.where(wrong, first, second),
        )
    elif task is not None:
        raise ValueError(
            f'task is "next", "order" or None, not {task!r}'
        )
    spans = truncate_pairs(first, second, max_length - 3, chance)
    return Pairs(*spans, labels)


def cut_chunks(
    corpus: Corpus, rows: NDArray[np.int64], chance: np.random.Generator, pairs: bool = True
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut chunks between two of their sentences, by a toss.

    Returns:
        Where the first parts lie in `tokens`, (n, 2), and the second.
    """
    begin, end, _ = corpus.chunks[rows].T
    if pairs and (end - begin < 2).any():
        raise ValueError(
            "the corpus was built with pairs=False, for masked words "
            "alone (task None): for pairs, build it again"
        )
    cut = chance.integers(begin + 1, np.maximum(end, begin + 2))  # (n,)
    first, second = np.stack([begin, cut], 1), np.stack([cut, end], 1)
    return corpus.sentences[first], corpus.sentences[second]


def draw_other_documents(
    corpus: Corpus, rows: NDArray[np.int64], chance: np.random.Generator
) -> NDArray[np.int64]:
    """Draw for each chunk one of another document."""
    document = corpus.chunks[:, 2]
    if len(document) == 0 or document[0] == document[-1]:
        raise ValueError(
            "wrong pairs need two different documents of two sentences "
            "or more"
        )
    other = chance.integers(0, len(document), len(rows))
    while (same := document[other] == document[rows]).any():
        other[same] = chance.integers(0, len(document), same.sum())
    return other


def truncate_pairs(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    room: int,
    chance: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Shorten the longer of two texts until both fit.

    Args:
        first: (n, 2) begin and end.
        second: (n, 2).
        room: tokens for both.
        chance: heads cuts a text at its front, tails at its end.

    Source: `truncate_seq_pair` of BERT's repository, which tosses
    for each token; here one toss for each text.
    """
    size = first[:, 1] - first[:, 0], second[:, 1] - second[:, 0]
    half = room // 2, room - room // 2
    out = []
    for i, spans in enumerate((first, second)):
        most = np.maximum(half[i], room - size[1 - i])
        keep = np.minimum(size[i], most)
        front = chance.integers(0, 2, len(spans))
        begin = spans[:, 0] + front * (size[i] - keep)
        out.append(np.stack([begin, begin + keep], 1))
    return out[0], out[1]


def to_batch(corpus: Corpus, pairs: Pairs, tokenizer: Tokenizer) -> Batch:
    """Lay n pairs out: [CLS] first [SEP] second [SEP], (n, S).

    Where the second is empty, its [SEP] is left away.
    """
    a, a_end = pairs.first.T[..., None]  # (n, 1) each
    b, b_end = pairs.second.T[..., None]
    sep1 = 1 + a_end - a  # (n, 1) the column of the first [SEP]
    sep2 = sep1 + (b_end > b) * (1 + b_end - b)
    column = np.arange(sep2.max() + 1)[None]  # (1, S)
    place = np.where(
        column < sep1, a + column - 1, b + column - sep1 - 1
    )
    real = column <= sep2
    border = (column == sep1) | (column == sep2)
    word = real & (column > 0) & ~border
    ids = np.full(real.shape, tokenizer.pad_id)
    ids[word] = corpus.tokens[place[word]]
    ids[:, 0] = tokenizer.cls_id
    ids[border] = tokenizer.sep_id
    parts = ids, real, real & (column > sep1)
    return Batch(*(torch.from_numpy(part.astype(np.int64)) for part in parts))


class NextSentenceOutput(NamedTuple):
    """What `BertForNextSentencePrediction` returns.

    Attributes:
        loss: the mean over the B rows, nats; None without labels.
        logits: (B, 2): is next, is not.
        hidden_states: as in `BertOutput`.
        attentions: as in `BertOutput`.
    """

    loss: Tensor | None
    logits: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class BertForNextSentencePrediction(BertPreTrainedModel):
    """BERT with two scores on its pooled [CLS]: is next, is not.

    Args:
        config: its numbers.

    Source: Devlin et al. 2019, section 3.1, task 2.

    >>> model = BertForNextSentencePrediction(BertConfig())
    >>> model(torch.tensor([[101, 103, 102]])).logits.shape
    torch.Size([1, 2])
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config)
        self.seq_relationship = nn.Linear(config.hidden_size, 2)
        self.initialise()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        next_sentence_label: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> NextSentenceOutput:
        """Score whether segment 1 follows segment 0.

        Args:
            input_ids: (B, S); the next three as in `BertModel`.
            attention_mask: (B, S) or (B, S, S).
            token_type_ids: (B, S), 1 in the second text.
            position_ids: (B, S).
            next_sentence_label: (B,), 0 where it follows, 1 where
                not.
            output_hidden_states: as in `BertModel`.
            output_attentions: as in `BertModel`.

        Raises:
            TypeError, ValueError, IndexError: as in `BertModel`;
                labels that are not 0 and 1, or not one a row.
        """
        output = self.bert(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        pooled = output.pooler_output  # (B, H)
        logits = self.seq_relationship(pooled)  # (B, 2)
        loss = None
        if next_sentence_label is not None:
            loss = class_loss(
                logits, next_sentence_label, "next_sentence_label",
                ": 0 where it follows, 1 where not",
            )
        return NextSentenceOutput(loss, logits, *output[2:])


Judge = tuple[BertForNextSentencePrediction, Tokenizer]


@torch.no_grad()
def next_sentence(
    first: str,
    second: str,
    *,
    model: str | Judge = "leads-small",
    device: Device | None = None,
) -> float:
    """Give the probability that `second` follows `first`.

    Args:
        first: one text.
        second: another; the longer of the two is cut where both
            are too long for the model.
        model: a shipped name, a folder, a hub id, or a model and
            its tokenizer.
        device: where to put a model that is named; None for the
            best.

    Raises:
        TypeError: a text that is no string.
        ValueError: one without a word.

    >>> chance = next_sentence("The Danube is a river.", "It ends in the sea.")
    >>> chance > 0.5
    True
    """
    kind = BertForNextSentencePrediction
    bert, tokenizer = load(model, kind, device)
    for name, content in {"first": first, "second": second}.items():
        if len(tokenizer.encode(content).ids) == 2:
            raise ValueError(f"{name} has no word in it: {content!r}")
    limit = bert.config.max_position_embeddings
    batch = tokenizer([first], [second], max_length=limit)
    logits = bert(*batch.to(bert.device)).logits  # (1, 2)
    return logits.softmax(-1, dtype=torch.float32)[0, 0].item()
