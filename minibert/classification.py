# Written by tools/tangle.py from
# book/source/finetuning.md
# Edit that, not this.
"""Fine-tuning: texts sorted into classes, words tagged.

Shapes: `B` batch, `S` sequence, `H` hidden, `C` classes.
"""

import json
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
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
    cut_step,
    digest,
    processes,
    train,
)

__all__ = [
    "BertForMultipleChoice",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "ClassificationOutput",
    "FineTuningData",
    "Span",
    "classify",
    "collate",
    "fine_tune",
    "for_trainer",
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


def class_loss(
    logits: Tensor, labels: Tensor, name: str = "labels", hint: str = ""
) -> Tensor:
    """Cross-entropy in nats of `logits` (B, C), averaged; 0 of none.

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
    return mean_loss(logits, labels)


Row = Mapping[str, Any]  # ids, and lists or numbers beside them


def text_row(
    text: str,
    tokenizer: Tokenizer,
    label: int | float | Sequence[float] | None = None,
    max_length: int = 128,
    *,
    second: str | None = None,
) -> dict[str, Any]:
    """Turn a text, and its class, into a row.

    Args:
        text: what is beyond `max_length` tokens is cut off.
        tokenizer: the model's.
        label: its class; of other problems a number, or 0.0 or 1.0
            for each class. None where it is asked for.
        max_length: tokens, special ones included.
        second: another text, read together with this one.
    """
    one = tokenizer.encode(text, second, max_length=max_length)
    row: dict[str, Any] = {"input_ids": one.ids}
    if second is not None:
        row["token_type_ids"] = one.type_ids
    if label is not None:
        row["labels"] = plain(label, "label")
    return row


def collate(rows: Sequence[Row], pad_id: int) -> dict[str, Tensor]:
    """Lay rows side by side: (B, S), with their attention mask.

    Lists are filled up: ids with `pad_id`, a `labels` list with
    IGNORE, all others with 0; but not lists of floats. Numbers
    become (B,).
    """
    sizes = torch.tensor([len(row["input_ids"]) for row in rows])
    longest = int(sizes.max())
    fill = {"input_ids": pad_id, "labels": IGNORE}
    batch = {}
    for name, first in rows[0].items():
        column = [row[name] for row in rows]
        if np.ndim(first) and not isinstance(first[0], float):
            rest = fill.get(name, 0)
            column = [
                [*one, *[rest] * (longest - len(one))]
                for one in column
            ]
        batch[name] = torch.tensor(column)
    mask = torch.arange(longest) < sizes[:, None]  # (B, S)
    return {"attention_mask": mask.long()} | batch  # or a row's own


POOL = 32  # batches that are sorted by length together


class FineTuningData:
    """Labelled rows: the pieces of any step.

    An epoch takes every row once, in its own order, but for those
    that fill no batch at its end.

    Args:
        rows: as `collate` takes them, with labels.
        config: the run's numbers.
        pad_id: the id of [PAD].
        floats: whether labels are numbers, not classes.

    Raises:
        TypeError, ValueError: no rows, or one that is not like the
            first.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        config: TrainingConfig,
        pad_id: int,
        floats: bool = False,
    ) -> None:
        self.rows = check_rows(rows, floats)
        self.config, self.pad_id = config, pad_id
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
        pieces, accumulate = [], self.config.accumulate
        parts = cut_step(self.size, rank, world, accumulate)
        for some, real in parts:
            batch = collate(rows[some], self.pad_id)
            count = len(batch["input_ids"])
            labels = batch.get("labels", torch.empty(0))
            if labels.ndim == 2 and not labels.is_floating_point():
                count = int((labels != IGNORE).sum())  # of tokens
            pieces.append(Piece(batch, {"loss": count * real}))
        return pieces


IDS = {"input_ids", "token_type_ids", "position_ids", "attention_mask"}


def check_rows(rows: Sequence[Row], floats: bool = False) -> list[Row]:
    """Give rows in Python's own numbers, all alike, or name one that is not.

    Labels may be of any library: what counts as a number is taken.

    Raises:
        TypeError: something that is no number.
        ValueError: no rows, no ids, no labels, or other fields than row 0's.
    """
    if len(rows) == 0:
        raise ValueError("there are no rows to train on")
    out: list[Row] = []
    first: list[tuple[str, str]] = []  # what row 0 holds
    for number, row in enumerate(rows):
        has = sorted(row) if isinstance(row, Mapping) else type(row).__name__
        if "input_ids" not in has:
            raise ValueError(
                f"row {number} has no input_ids, but {has}: make it with "
                "text_row(text, tokenizer, label)"
            )
        if not set(has) - IDS:
            raise ValueError(
                f"row {number} has no labels, but {has}: there is nothing "
                "to learn from it"
            )
        new = {
            k: plain(x, f"{k} of row {number}", floats and k == "labels")
            for k, x in row.items()
        }
        kinds = [*map(kind_of, new.items())]
        first = first or kinds
        if kinds != first:
            raise ValueError(
                f"row {number} holds {dict(kinds)}, but row 0 {dict(first)}: "
                "all must be alike"
            )
        out.append(new)
    return out


def plain(value: Any, name: str, floats: bool = False) -> Any:
    """Turn a number, or a list of them, into Python's own."""
    if not floats:
        values = value if type(value) is list and value else [value]
        if all(type(one) is int for one in values):
            return value
    found = np.asarray(value)
    if found.dtype.kind == "b":
        found = found.astype(int)
    if floats and found.dtype.kind in "iu":
        found = found.astype(float)
    if found.dtype.kind == "O" and hasattr(value, "__index__"):
        return operator.index(value)
    if found.dtype.kind not in "iuf" or found.ndim > 1 or not found.size:
        raise TypeError(f"{name} must be a number, or some, not {value!r}")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} is {value}: leave the row out")
    return found.tolist()


def kind_of(one: tuple[str, Any]) -> tuple[str, str]:
    """Name what a field of a row is: a number, or a list, and of what."""
    name, value = one
    if not isinstance(value, list):
        return name, type(value).__name__
    if isinstance(value[0], float):
        return name, f"{len(value)} floats"
    return name, "list"


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
        folder: as in `train`; the end goes to its `model/`. To go
            on there, make the model as at first: a new head is
            drawn by `torch.manual_seed`.
        evaluate: as in `train`.
        enough: as in `train`; see `patience`.
        progress: whether to show a bar.

    Returns:
        The lines of the log, as `train`.

    Raises:
        TypeError, ValueError: no rows, one that is not like the
            first or too long for the model; see `train`.
    """
    floats = (
        isinstance(model, BertForSequenceClassification)
        and problem_of(model.config) != SINGLE
    )
    data = FineTuningData(rows, config, tokenizer.pad_id, floats)
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
    if folder is not None:
        facts["digest of the rows"] = digest(
            json.dumps(row, sort_keys=True).encode()
            for row in data.rows
        )
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
        without = [
            {k: x for k, x in rows[i].items() if k != "labels"}
            for i in some
        ]
        batch = collate(without, pad_id)
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
        num_labels: how many there are; unnamed where alone.

    Raises:
        ValueError: as `label_names`, or one label alone.

    Source: Devlin et al. 2019, section 5.3.
    """

    def __init__(
        self,
        config: BertConfig,
        labels: Sequence[str] | None = None,
        *,
        num_labels: int | None = None,
    ) -> None:
        config = choose_labels(config, labels, num_labels)
        super().__init__(config)
        count = len(label_names(config))
        if count < 2:
            raise ValueError("tags need two labels or more")
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
            loss = class_loss(asked, wanted)
        return ClassificationOutput(loss, logits, *output[2:])


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
    second: str | None = None,
    device: Device | None = None,
) -> dict[str, float]:
    """Give the probability of each class, the likeliest first.

    Of several classes at once, each has its own probability; of a
    regression, it is the number itself.

    Args:
        text: what is beyond the model's length is cut off.
        model: a folder, a hub id, or a model and its tokenizer.
        second: another text, for a model that reads two.
        device: where to put a model that is named; None for the
            best.

    Raises:
        TypeError: a text that is no string.
    """
    bert, tokenizer = load(BertForSequenceClassification, model, device)
    limit = bert.config.max_position_embeddings
    row = text_row(text, tokenizer, max_length=limit, second=second)
    (logits,) = predict(bert, [row], tokenizer.pad_id)
    problem = problem_of(bert.config)
    if problem != "regression":
        logits = logits.softmax(0) if problem == SINGLE else logits.sigmoid()
    sure = dict(zip(label_names(bert.config), logits.tolist(), strict=True))
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


def for_trainer(model: BertPreTrainedModel) -> nn.Module:
    """Wrap a model with a head for `transformers.Trainer`.

    The wrapper has no config, and gives what outputs there are. It
    is `model` that is trained.
    """
    kind = type(model)

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        @wraps(kind.forward)
        def forward(  # type: ignore[override]
            self, *given: Any, **named: Any
        ) -> Any:
            found = self.model(*given, **named)
            return tuple(one for one in found if one is not None)

    Wrapped.__name__ = kind.__name__
    return Wrapped()
