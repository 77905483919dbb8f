# Written by tools/tangle.py from
# book/source/finetuning.md
# book/source/tagging.md
# Edit that, not this.
"""Texts sorted into classes, scored, or chosen from several.

Shapes: `B` batch, `S` sequence, `H` hidden, `C` classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minibert.bert import (
    BertModel,
    BertPreTrainedModel,
    load,
    row_length,
)
from minibert.config import BertConfig
from minibert.device import Device, can_look
from minibert.finetuning import predict, text_row
from minibert.losses import class_loss
from minibert.moved import moved
from minibert.tokens import Tokenizer

__all__ = [
    "BertForMultipleChoice",
    "BertForSequenceClassification",
    "ClassificationOutput",
    "classify",
    "label_names",
    "with_labels",
]

if not TYPE_CHECKING:  # names of 0.2
    __getattr__ = moved(__name__)


class ClassificationOutput(NamedTuple):
    """What the heads return; `None` where not asked for."""

    loss: Tensor | None  # nats
    logits: Tensor  # (B, C); of tokens (B, S, C), of choices (B, N)
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class BertForSequenceClassification(BertPreTrainedModel):
    """BERT with a score for each class on its pooled [CLS].

    Args:
        config: its numbers; its labels name the classes.
        labels: names to use instead of the config's.
        num_labels: how many there are; unnamed where alone.
        problem_type: what is asked for; see `problem_of`.

    Raises:
        ValueError: as `label_names` and `problem_of`.

    Source: Devlin et al. 2019, section 4.1.
    """

    def __init__(
        self,
        config: BertConfig,
        labels: Sequence[str] | None = None,
        *,
        num_labels: int | None = None,
        problem_type: str | None = None,
    ) -> None:
        config = choose_labels(
            config, labels, num_labels, problem_type
        )
        super().__init__(config)
        problem_of(config)
        count = len(label_names(config))
        self.bert = BertModel(config)
        self.dropout = nn.Dropout(head_dropout(config))
        self.classifier = nn.Linear(config.hidden_size, count)
        self.initialise()

    @property
    def float_labels(self) -> bool:
        """Whether labels are numbers, and not a class each."""
        return problem_of(self.config) != SINGLE

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
            labels: (B,) the number of each text's class; of another
                problem, see `problem_of`.
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
            loss = problem_loss(self.config, logits, labels)
        return ClassificationOutput(loss, logits, *output[2:])


def with_labels(
    config: BertConfig, labels: Sequence[str]
) -> BertConfig:
    """Give a config that names its classes.

    Raises:
        TypeError: one string, or a label that is none.
        ValueError: none, or one twice.
    """
    if isinstance(labels, str) or not all(
        isinstance(label, str) for label in labels
    ):
        raise TypeError(
            f"labels must be a list of strings, not {labels!r}"
        )
    if not labels or len(set(labels)) < len(labels):
        raise ValueError(
            f"labels must be different names, not {labels!r}"
        )
    names = {str(i): label for i, label in enumerate(labels)}
    numbers = {label: i for i, label in enumerate(labels)}
    new = {"id2label": names, "label2id": numbers}
    return replace(config, extra={**config.extra, **new})


def label_names(config: BertConfig) -> list[str]:
    """Give the names of a config's classes, in their order.

    Raises:
        ValueError: it names none, one twice, or skips a number.
    """
    names = config.extra.get("id2label")
    saved_as = str(config.extra.get("architectures"))
    if names is None and "Classification" in saved_as:
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
    found = [by_number[i] for i in range(len(by_number))]
    if len(set(found)) < len(found):
        raise ValueError(
            f"id2label gives one name to two classes, {found}: pass "
            "labels=[...], each with its own"
        )
    return found


def choose_labels(
    config: BertConfig,
    labels: Sequence[str] | None,
    num_labels: int | None,
    problem_type: str | None = None,
) -> BertConfig:
    """Give a config the labels that a head was asked for, if any."""
    if num_labels is not None and labels is None:
        if type(num_labels) is not int or num_labels < 1:
            raise ValueError(
                f"num_labels must be 1 or more, not {num_labels!r}"
            )
        known = config.extra.get("id2label") or ()
        if len(known) != num_labels:  # else the file's names stay
            labels = [f"LABEL_{i}" for i in range(num_labels)]
    if labels is not None:
        if num_labels not in (None, len(labels)):
            raise ValueError(
                f"num_labels is {num_labels}, but there are "
                f"{len(labels)} labels: leave it out"
            )
        config = with_labels(config, labels)
    if problem_type is not None:
        new = {**config.extra, "problem_type": problem_type}
        config = replace(config, extra=new)
    return config


SINGLE, MULTI = "single_label_classification", "multi_label_classification"


def problem_of(config: BertConfig) -> str:
    """Give what a config's scores are, by its `problem_type`.

    "single_label_classification": one class of several; labels
    (B,), int64. "multi_label_classification": any of them; labels
    (B, C), 0.0 or 1.0. "regression": numbers; labels (B, C), or
    (B,) where C is 1. Unsaid, it is a regression where there is one
    label, and one class of several where there are more.

    Raises:
        ValueError: another type, or one class of one.
    """
    alone = len(label_names(config)) == 1
    kind: str = config.extra.get("problem_type") or (
        "regression" if alone else SINGLE
    )
    if kind not in (SINGLE, MULTI, "regression"):
        raise ValueError(
            f"problem_type is {kind!r}, not {SINGLE!r}, {MULTI!r} or "
            "'regression'"
        )
    if alone and kind == SINGLE:
        raise ValueError(
            "one class of one is always right: name two labels or more, "
            "or leave problem_type out for a regression"
        )
    return kind


def head_dropout(config: BertConfig) -> float:
    """Give the dropout before the head: the config's own, or the body's."""
    own = config.extra.get("classifier_dropout")
    if own is None:
        return config.hidden_dropout_prob
    if type(own) not in (int, float) or not 0 <= own < 1:
        raise ValueError(f"classifier_dropout is {own!r}, not in [0, 1)")
    return float(own)


def problem_loss(config: BertConfig, logits: Tensor, labels: Tensor) -> Tensor:
    """Give the loss of `logits` (B, C) that a config's problem asks for.

    Cross-entropy in nats, of one class or, averaged, of each; or the mean
    squared error.

    Raises:
        TypeError, ValueError, IndexError: labels that do not fit.
    """
    kind = problem_of(config)
    if kind == SINGLE:
        return class_loss(logits, labels)
    if logits.shape[1] == 1 and labels.ndim == 1:
        labels = labels[:, None]
    if labels.shape != logits.shape:
        raise ValueError(
            f"labels is {tuple(labels.shape)}, but for {kind} it must be "
            f"{tuple(logits.shape)}: a float for each score"
        )
    if kind == "regression":
        return F.mse_loss(logits, labels.to(logits.dtype))
    if can_look(labels) and ((labels < 0) | (labels > 1)).any():
        raise ValueError(f"labels of {kind} must be 0.0 to 1.0")
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


Classifier = tuple[BertForSequenceClassification, Tokenizer]


@torch.no_grad()
def classify(
    text: str,
    *,
    model: str | Path | Classifier,
    second: str | None = None,
    max_length: int | None = None,
    doc_stride: int | None = None,
    device: Device | None = None,
) -> dict[str, float]:
    """Give the probability of each class, the likeliest first.

    Of several classes at once, each has its own probability; of a
    regression, it is the number itself.

    Args:
        text: what is beyond `max_length` is cut off, or read in
            windows where `doc_stride` is given.
        model: a folder, a hub id, or a model and its tokenizer.
        second: another text, for a model that reads two.
        max_length: tokens in a row; None, or more than the model
            has positions, for as many as those.
        doc_stride: of a text of any length, tokens from one
            window's begin to the next one's. The mean of the
            windows' logits counts.
        device: where to put a model that is named; None for the
            best.

    Raises:
        TypeError: a text that is no string.
        ValueError: windows that would leave tokens out between
            them, or windows of two texts.
    """
    bert, tokenizer = load(BertForSequenceClassification, model, device)
    limit = row_length(bert, max_length)
    if doc_stride is None:
        rows = [text_row(text, tokenizer, max_length=limit, second=second)]
    elif second is not None:
        raise ValueError("windows are cut from one text: leave second out, or doc_stride")
    else:
        rows = class_windows(text, tokenizer, limit, doc_stride)
    logits = torch.stack(predict(bert, rows, tokenizer.pad_id)).mean(0)
    problem = problem_of(bert.config)
    if problem != "regression":
        logits = logits.softmax(0) if problem == SINGLE else logits.sigmoid()
    by_name = zip(label_names(bert.config), logits.tolist(), strict=True)
    return dict(sorted(by_name, key=lambda pair: -pair[1]))


def class_windows(
    text: str, tokenizer: Tokenizer, max_length: int, doc_stride: int
) -> list[dict[str, list[int]]]:
    """Cut a text into rows that overlap; all but a lone one are full.

    Args:
        text: of any length.
        tokenizer: the model's.
        max_length: tokens in a row, [CLS] and [SEP] included.
        doc_stride: tokens from one row's begin to the next one's; the last
            row ends with the text.

    Raises:
        ValueError: rows that would leave tokens out between them.
    """
    ids, room = tokenizer.encode(text).ids[1:-1], max_length - 2
    if not 0 < doc_stride <= room:
        raise ValueError(
            f"doc_stride is {doc_stride}, not 1 to {room}: that much of the text a row "
            f"of {max_length} tokens holds"
        )
    last = max(len(ids) - room, 0)
    begins = [min(at, last) for at in range(0, last + doc_stride, doc_stride)]
    around = tokenizer.cls_id, tokenizer.sep_id
    return [{"input_ids": [around[0], *ids[at : at + room], around[1]]} for at in begins]


class BertForMultipleChoice(BertPreTrainedModel):
    """BERT with one score on the pooled [CLS] of each choice.

    Args:
        config: its numbers.

    Source: Devlin et al. 2019, section 4.4.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config)
        self.dropout = nn.Dropout(head_dropout(config))
        self.classifier = nn.Linear(config.hidden_size, 1)
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
        """Score N choices for each of B questions.

        Args:
            input_ids: (B, N, S), a row for each choice; the next
                three likewise.
            attention_mask: (B, N, S).
            token_type_ids: (B, N, S).
            position_ids: (B, N, S).
            labels: (B,) the number of the right choice.
            output_hidden_states: as in `BertModel`, of B N rows.
            output_attentions: as in `BertModel`, of B N rows.

        Raises:
            TypeError, ValueError, IndexError: as in `BertModel`;
                ids that are not (B, N, S); labels of another type,
                shape or range.
        """
        given = input_ids, attention_mask, token_type_ids, position_ids
        if any(x is not None and x.ndim != 3 for x in given):
            shapes = [x if x is None else tuple(x.shape) for x in given]
            raise ValueError(
                f"ids and mask must be (B, N, S), not {shapes}: one "
                "question is ids[None]"
            )
        rows = [x if x is None else x.flatten(0, 1) for x in given]
        output = self.bert(
            *rows,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        pooled = self.dropout(output.pooler_output)  # (B N, H)
        scores = self.classifier(pooled)  # (B N, 1)
        logits = scores.view(input_ids.shape[:2])  # (B, N)
        loss = None
        if labels is not None:
            loss = class_loss(logits, labels)
        return ClassificationOutput(loss, logits, *output[2:])
