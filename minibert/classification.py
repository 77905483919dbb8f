# Written by tools/tangle.py from
# book/source/10-finetuning.md
# Edit that, not this.
"""Fine-tuning: texts sorted into classes, words tagged.

Shapes: `B` batch, `S` sequence, `H` hidden, `C` classes.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from minibert.bert import (
    BertConfig,
    BertModel,
    BertPreTrainedModel,
    load,
)
from minibert.device import Device, can_look
from minibert.mlm import IGNORE, at_labels, mean_loss
from minibert.tokens import Encoding, Tokenizer
from minibert.training import (
    Piece,
    TrainingConfig,
    processes,
    train,
)

__all__ = [
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "ClassificationOutput",
    "FineTuningData",
    "Span",
    "classify",
    "collate",
    "fine_tune",
    "label_names",
    "patience",
    "predict",
    "read_tags",
    "span_f1",
    "tag",
    "tag_row",
    "text_row",
    "with_labels",
]


class ClassificationOutput(NamedTuple):
    """What both heads return; `None` where not asked for."""

    loss: Tensor | None  # nats
    logits: Tensor  # (B, C); of tokens (B, S, C)
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class BertForSequenceClassification(BertPreTrainedModel):
    """BERT with a score for each class on its pooled [CLS].

    Args:
        config: its numbers; its labels name the classes.
        labels: names to use instead of the config's.

    Raises:
        ValueError: as `label_names`.

    Source: Devlin et al. 2019, section 4.1.
    """

    def __init__(
        self,
        config: BertConfig,
        labels: Sequence[str] | None = None,
    ) -> None:
        if labels is not None:
            config = with_labels(config, labels)
        super().__init__(config)
        count = len(label_names(config))
        self.bert = BertModel(config)
        self.dropout = nn.Dropout(head_dropout(config))
        self.classifier = nn.Linear(config.hidden_size, count)
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
    ) -> ClassificationOutput:
        """Score the classes of each text.

        Args:
            input_ids: (B, S); the next three as in `BertModel`.
            attention_mask: (B, S) or (B, S, S).
            token_type_ids: (B, S).
            position_ids: (B, S).
            labels: (B,) the number of each text's class.
            output_hidden_states: as in `BertModel`.
            output_attentions: as in `BertModel`.

        Raises:
            TypeError, ValueError, IndexError: as in `BertModel`;
                labels of another type, shape or range.
        """
        output = self.bert(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        pooled = self.dropout(output.pooler_output)  # (B, H)
        logits = self.classifier(pooled)  # (B, C)
        loss = None
        if labels is not None:
            loss = class_loss(logits, labels)
        return ClassificationOutput(loss, logits, *output[2:])


def with_labels(
    config: BertConfig, labels: Sequence[str]
) -> BertConfig:
    """Give a config that names its classes.

    Raises:
        TypeError: one string, or a label that is none.
        ValueError: fewer than two, or one twice.
    """
    if isinstance(labels, str) or not all(
        isinstance(label, str) for label in labels
    ):
        raise TypeError(
            f"labels must be a list of strings, not {labels!r}"
        )
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise ValueError(
            f"labels must be two or more different names, not {labels!r}"
        )
    names = {str(i): label for i, label in enumerate(labels)}
    numbers = {label: i for i, label in enumerate(labels)}
    new = {"id2label": names, "label2id": numbers}
    return replace(config, extra={**config.extra, **new})


def label_names(config: BertConfig) -> list[str]:
    """Give the names of a config's classes, in their order.

    Raises:
        ValueError: it names none, skips a number, or is made for
            several classes at once or for regression.
    """
    kind = config.extra.get("problem_type")
    if kind not in (None, "single_label_classification"):
        raise ValueError(
            f"problem_type is {kind!r}: only one class of several "
            "is computed here"
        )
    names = config.extra.get("id2label")
    saved_as = config.extra.get("architectures") or [""]
    if names is None and saved_as[0].endswith("Classification"):
        names = {"0": "LABEL_0", "1": "LABEL_1"}  # theirs, unsaid
    if not isinstance(names, Mapping):
        raise ValueError(
            "the config names no classes: pass labels=[...], the "
            "names in their order"
        )
    wanted = {str(i) for i in range(len(names))}
    if {str(i) for i in names} != wanted:
        raise ValueError(
            f"id2label numbers its {len(names)} classes "
            f"{sorted(map(str, names))}, not 0 to {len(names) - 1}"
        )
    by_number = {int(i): str(name) for i, name in names.items()}
    return [by_number[i] for i in range(len(by_number))]


def head_dropout(config: BertConfig) -> float:
    """Give the dropout before the head: the config's own, or the body's."""
    own = config.extra.get("classifier_dropout")
    return config.hidden_dropout_prob if own is None else float(own)


def class_loss(
    logits: Tensor, labels: Tensor, name: str = "labels", hint: str = ""
) -> Tensor:
    """Cross-entropy in nats of `logits` (B, C), averaged.

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
    return F.cross_entropy(logits, labels)


Row = Mapping[str, Any]  # ids, and lists or numbers beside them


def text_row(
    text: str,
    tokenizer: Tokenizer,
    label: int | None = None,
    max_length: int = 128,
) -> dict[str, Any]:
    """Turn a text, and its class, into a row.

    Args:
        text: what is beyond `max_length` tokens is cut off.
        tokenizer: the model's.
        label: its class; None where it is asked for.
        max_length: tokens, [CLS] and [SEP] included.
    """
    one = tokenizer.encode(text, max_length=max_length)
    row: dict[str, Any] = {"input_ids": one.ids}
    return row if label is None else row | {"labels": label}


def collate(rows: Sequence[Row], pad_id: int) -> dict[str, Tensor]:
    """Lay rows side by side: (B, S), with their attention mask.

    Lists are filled up: ids with `pad_id`, a `labels` list with
    IGNORE, all others with 0. Numbers become (B,).
    """
    sizes = torch.tensor([len(row["input_ids"]) for row in rows])
    longest = int(sizes.max())
    fill = {"input_ids": pad_id, "labels": IGNORE}
    batch = {}
    for name, first in rows[0].items():
        column = [row[name] for row in rows]
        if not isinstance(first, int):
            rest = fill.get(name, 0)
            column = [
                [*one, *[rest] * (longest - len(one))]
                for one in column
            ]
        batch[name] = torch.tensor(column)
    mask = torch.arange(longest) < sizes[:, None]  # (B, S)
    return batch | {"attention_mask": mask.long()}


POOL = 32  # batches that are sorted by length together


class FineTuningData:
    """Labelled rows: the pieces of any step.

    An epoch takes every row once, in its own order, but for those
    that fill no batch at its end.

    Args:
        rows: as `collate` takes them, with labels.
        config: the run's numbers.
        pad_id: the id of [PAD].

    Raises:
        ValueError: no rows.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        config: TrainingConfig,
        pad_id: int,
    ) -> None:
        if len(rows) == 0:
            raise ValueError("there are no rows to train on")
        self.rows, self.config, self.pad_id = rows, config, pad_id
        self.size = min(config.batch_size, len(rows))
        self.steps = len(rows) // self.size  # of an epoch
        self.lengths = np.array([len(x["input_ids"]) for x in rows])
        self.epoch = -1, np.empty((0, self.size), np.int64)

    def batches(self, epoch: int) -> NDArray[np.int64]:
        """Give an epoch's rows, (steps, batch_size)."""
        if self.epoch[0] != epoch:
            seed = [self.config.seed, 1, epoch]
            chance = np.random.default_rng(seed)
            order = chance.permutation(len(self.rows))
            order = order[: self.steps * self.size]
            cut, pool = [], POOL * self.size
            for some in np.split(
                order, range(pool, len(order), pool)
            ):
                by_size = np.argsort(
                    self.lengths[some], kind="stable"
                )
                alike = some[by_size].reshape(-1, self.size)
                cut.append(chance.permutation(alike))
            self.epoch = epoch, np.concatenate(cut)
        return self.epoch[1]

    def __call__(
        self, step: int, rank: int = 0, world: int = 1
    ) -> list[Piece]:
        """Give this process's pieces of a step."""
        epoch, place = divmod(step, self.steps)
        rows = [self.rows[i] for i in self.batches(epoch)[place]]
        pieces, parts = [], world * self.config.accumulate
        for part in range(rank, parts, world):
            batch = collate(rows[part::parts], self.pad_id)
            count = len(batch["input_ids"])
            labels = batch.get("labels")
            if labels is not None and labels.ndim == 2:  # of tokens
                count = int((labels != IGNORE).sum())
            pieces.append(Piece(batch, {"loss": count}))
        return pieces


def fine_tune(
    model: BertPreTrainedModel,
    tokenizer: Tokenizer,
    rows: Sequence[Row],
    config: TrainingConfig,
    folder: str | Path | None = None,
    *,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    enough: Callable[[list[dict[str, float]]], bool] | None = None,
    progress: bool = True,
) -> list[dict[str, float]]:
    """Train a model with a head on labelled rows, in place.

    Args:
        model: parameters that are frozen stay as they are.
        tokenizer: the one that made the rows.
        rows: as `text_row` or `tag_row` makes them.
        config: the run's numbers.
        folder: as in `train`; the end goes to its `model/`.
        evaluate: as in `train`.
        enough: as in `train`; see `patience`.
        progress: whether to show a bar.

    Returns:
        The lines of the log, as `train`.

    Raises:
        ValueError: no rows, or one too long for the model; see
            `train`.
    """
    data = FineTuningData(rows, config, tokenizer.pad_id)
    most = model.config.max_position_embeddings
    if data.lengths.max() > most:
        raise ValueError(
            f"row {data.lengths.argmax()} has {data.lengths.max()} "
            f"tokens, but the model ends at {most}: make the rows "
            "with a smaller max_length"
        )
    trained = [
        n for n, p in model.named_parameters() if p.requires_grad
    ]
    facts = {
        "model": json.loads(model.config.to_json()),
        "trained": trained,
        "rows": [len(rows), int(data.lengths.sum())],
    }
    log = train(
        model, data, config, folder, evaluate=evaluate,
        facts=facts, enough=enough, progress=progress,
    )  # fmt: skip
    if folder is not None and processes().rank == 0:
        model.save_pretrained(Path(folder) / "model")
        tokenizer.save_pretrained(Path(folder) / "model")
    return log


@torch.no_grad()
def predict(
    model: BertPreTrainedModel,
    rows: Sequence[Row],
    pad_id: int,
    batch_size: int = 32,
) -> list[Tensor]:
    """Give a head's logits for each row, in the rows' order.

    Rows of like length are computed together.

    Returns:
        For each row (C,), or (S, C) where tokens are scored.
    """
    order = sorted(
        range(len(rows)), key=lambda i: len(rows[i]["input_ids"])
    )
    out: list[Tensor] = [torch.empty(0)] * len(rows)
    for at in range(0, len(order), batch_size):
        some = order[at : at + batch_size]
        batch = collate([rows[i] for i in some], pad_id)
        batch.pop("labels", None)
        inputs = {k: x.to(model.device) for k, x in batch.items()}
        logits = model(**inputs).logits.float().cpu()
        for i, scores in zip(some, logits, strict=True):
            size = len(rows[i]["input_ids"])
            out[i] = scores[:size] if scores.ndim == 2 else scores
    return out


def patience(
    name: str, times: int = 2
) -> Callable[[list[dict[str, float]]], bool]:
    """Stop when a number has not fallen for so many evaluations.

    Args:
        name: of a loss in the log; for one that should rise, let
            `evaluate` give its negative.
        times: evaluations in a row without a new lowest one.

    Returns:
        The `enough` of `train`: it looks at the log alone, so a run
        that is resumed stops where the whole one does.

    Raises:
        ValueError: `times` below 1.
    """
    if times < 1:
        raise ValueError(f"times must be 1 or more, not {times}")

    def enough(log: list[dict[str, float]]) -> bool:
        values = [line[name] for line in log if name in line]
        lowest = values.index(min(values)) if values else 0
        return len(values) - 1 - lowest >= times

    return enough


class Span(NamedTuple):
    """A tagged part of a text: `text[start:end]`."""

    label: str
    start: int
    end: int


def first_pieces(encoding: Encoding) -> list[int]:
    """Give the place of each word's first piece."""
    words = encoding.words
    return [
        i for i, word in enumerate(words)
        if word is not None and word != words[i - 1]
    ]  # fmt: skip


def tag_row(
    text: str,
    tokenizer: Tokenizer,
    spans: Iterable[Span],
    labels: Sequence[str],
    max_length: int = 128,
) -> dict[str, Any]:
    """Turn a text, and what is tagged in it, into a row.

    A word that overlaps a span has its tag: B-... the first one,
    I-... the others, O the words outside. The label stands on the
    word's first piece; its other pieces have none.

    Args:
        text: what is beyond `max_length` tokens is cut off.
        tokenizer: the model's.
        spans: what is tagged; not overlapping.
        labels: the names, "O" among them.
        max_length: tokens, [CLS] and [SEP] included.

    Raises:
        ValueError: a span outside of the text, or a tag without a
            name.
    """
    one = tokenizer.encode(text, max_length=max_length)
    firsts = first_pieces(one)
    found = [IGNORE] * len(one.ids)
    for i in firsts:
        found[i] = labels.index("O")
    for span in spans:
        if not 0 <= span.start < span.end <= len(text):
            raise ValueError(
                f"{span} lies outside of a text of {len(text)}"
            )
        inside = [
            i for i in firsts
            if one.offsets[i][0] < span.end
            and word_end(one, i) > span.start
        ]  # fmt: skip
        for i in inside:
            name = ("B-" if i == inside[0] else "I-") + span.label
            if name not in labels:
                raise ValueError(f"{name!r} is none of {labels}")
            found[i] = labels.index(name)
    return {"input_ids": one.ids, "labels": found}


def word_end(encoding: Encoding, place: int) -> int:
    """Give the end of the word that begins at `place`."""
    word, end = encoding.words[place], place
    while encoding.words[end + 1] == word:
        end += 1
    return encoding.offsets[end][1]


class BertForTokenClassification(BertPreTrainedModel):
    """BERT with a score for each class on every token.

    Args:
        config: its numbers; its labels name the classes.
        labels: names to use instead of the config's.

    Raises:
        ValueError: as `label_names`.

    Source: Devlin et al. 2019, section 5.3.
    """

    def __init__(
        self,
        config: BertConfig,
        labels: Sequence[str] | None = None,
    ) -> None:
        if labels is not None:
            config = with_labels(config, labels)
        super().__init__(config)
        count = len(label_names(config))
        self.bert = BertModel(config, add_pooling_layer=False)
        self.dropout = nn.Dropout(head_dropout(config))
        self.classifier = nn.Linear(config.hidden_size, count)
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
    ) -> ClassificationOutput:
        """Score the classes of each token.

        Args:
            input_ids: (B, S); the next three as in `BertModel`.
            attention_mask: (B, S) or (B, S, S).
            token_type_ids: (B, S).
            position_ids: (B, S).
            labels: (B, S) the number of each token's class, IGNORE
                (-100) where none is asked for.
            output_hidden_states: as in `BertModel`.
            output_attentions: as in `BertModel`.

        Raises:
            TypeError, ValueError, IndexError: as in `BertModel`;
                labels of another type, shape or range.
        """
        output = self.bert(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        x = self.dropout(output.last_hidden_state)  # (B, S, H)
        logits = self.classifier(x)  # (B, S, C)
        loss = None
        if labels is not None:
            asked, wanted = at_labels(logits, labels)  # (N, C), (N,)
            loss = token_loss(asked, wanted)
        return ClassificationOutput(loss, logits, *output[2:])


def token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Do as `class_loss` for the N tokens that have a label; 0 for none."""
    return class_loss(logits, labels) if len(labels) else mean_loss(logits, labels)


def read_tags(
    encoding: Encoding, tags: Sequence[str]
) -> list[Span]:
    """Turn a tag for each token, (S,), back into spans of the text.

    Only the tags of first pieces count. An I-... that continues
    nothing begins a span.
    """
    spans: list[Span] = []
    before = "O"
    for i in first_pieces(encoding):
        kind, _, label = tags[i].partition("-")
        if kind == "I" and before == label:
            spans[-1] = spans[-1]._replace(
                end=word_end(encoding, i)
            )
        elif label:
            start = encoding.offsets[i][0]
            spans.append(Span(label, start, word_end(encoding, i)))
        before = label
    return spans


def span_f1(
    found: Sequence[Iterable[Span]],
    wanted: Sequence[Iterable[Span]],
) -> float:
    """Score spans, text by text: F1, from 0 to 1.

    A span counts when label, start and end are right.
    """
    pairs = [
        (set(a), set(b)) for a, b in zip(found, wanted, strict=True)
    ]
    both = sum(len(a & b) for a, b in pairs)
    total = sum(len(a) + len(b) for a, b in pairs)
    return 2 * both / total if total else 1.0


Classifier = tuple[BertForSequenceClassification, Tokenizer]
Tagger = tuple[BertForTokenClassification, Tokenizer]


@torch.no_grad()
def classify(
    text: str,
    *,
    model: str | Path | Classifier,
    device: Device | None = None,
) -> dict[str, float]:
    """Give the probability of each class, the likeliest first.

    Args:
        text: what is beyond the model's length is cut off.
        model: a folder, a hub id, or a model and its tokenizer.
        device: where to put a model that is named; None for the
            best.
    """
    bert, tokenizer = load(BertForSequenceClassification, model, device)
    limit = bert.config.max_position_embeddings
    row = text_row(text, tokenizer, max_length=limit)
    (logits,) = predict(bert, [row], tokenizer.pad_id)
    sure = dict(zip(label_names(bert.config), logits.softmax(0).tolist(), strict=True))
    return dict(sorted(sure.items(), key=lambda one: -one[1]))


@torch.no_grad()
def tag(
    text: str,
    *,
    model: str | Path | Tagger,
    device: Device | None = None,
) -> list[Span]:
    """Give the tagged spans of a text, in their order.

    Args:
        text: one that the model can read whole.
        model: a folder, a hub id, or a model and its tokenizer.
        device: where to put a model that is named; None for the
            best.

    Raises:
        ValueError: too long: tag it sentence by sentence.
    """
    bert, tokenizer = load(BertForTokenClassification, model, device)
    limit, one = bert.config.max_position_embeddings, tokenizer.encode(text)
    if len(one.ids) > limit:
        raise ValueError(
            f"the text has {len(one.ids)} tokens, but the model ends at "
            f"{limit}: tag its sentences, one by one"
        )
    (logits,) = predict(bert, [{"input_ids": one.ids}], tokenizer.pad_id)
    names = label_names(bert.config)
    return read_tags(one, [names[i] for i in logits.argmax(-1).tolist()])
