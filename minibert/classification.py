# Written by tools/tangle.py from
# book/source/finetuning.md
# Edit that, not this.
"""Texts sorted into classes, or scored.

Shapes: `C` classes.
"""

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray

from minibert.checks import as_texts
from minibert.config import BertConfig
from minibert.loading import load, row_length, score_rows, stream
from minibert.moved import moved
from minibert.tokens import Tokenizer

if TYPE_CHECKING:  # it takes a second to import
    from minibert.device import Device
else:  # names of 0.2
    __getattr__ = moved(__name__)

__all__ = ["classify", "label_names", "text_row", "with_labels"]


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

    They are its `id2label`. A config that was saved of a classifier
    and has none has two, LABEL_0 and LABEL_1, as in `transformers`.

    Args:
        config: of a model with a head for classes or tags.

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
        label: the number of its class, from 0; for a regression a
            number; for several classes at once a list of 0.0 or
            1.0, one for each. None for a row to predict.
        max_length: tokens, special ones included.
        second: another text, read together with this one; of two
            that are too long together, the longer is cut first.

    Returns:
        `input_ids`; `token_type_ids` where there is a second text;
        `labels` where there is a label.

    Raises:
        TypeError: a text that is no string, or a label that is
            neither a number nor a list of them.
        ValueError: a label that is nan or infinite.

    >>> text_row("good", Tokenizer.from_pretrained("minilm"), 1)
    {'input_ids': [101, 2204, 102], 'labels': 1}
    """
    encoding = tokenizer.encode(text, second, max_length=max_length)
    row: dict[str, Any] = {"input_ids": encoding.ids}
    if second is not None:
        row["token_type_ids"] = encoding.type_ids
    if label is not None:
        row["labels"] = to_python(label, "label")
    return row


def to_python(value: Any, name: str, floats: bool = False) -> Any:
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
    if found.dtype.kind == "O" and isinstance(value, SupportsIndex):
        return operator.index(value)
    if found.dtype.kind not in "iuf" or found.ndim > 1 or not found.size:
        raise TypeError(f"{name} must be a number, or some, not {value!r}")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} is {value}: leave the row out")
    return found.tolist()


@overload
def classify(
    text: str,
    *,
    model: str | Path | tuple[Any, Tokenizer],
    second: str | None = None,
    max_length: int | None = None,
    doc_stride: int | None = None,
    device: "Device | None" = None,
) -> dict[str, float]: ...


@overload
def classify(
    text: list[str] | tuple[str, ...],
    *,
    model: str | Path | tuple[Any, Tokenizer],
    second: Sequence[str] | None = None,
    max_length: int | None = None,
    doc_stride: int | None = None,
    device: "Device | None" = None,
) -> list[dict[str, float]]: ...


@overload
def classify(
    text: Iterator[str],
    *,
    model: str | Path | tuple[Any, Tokenizer],
    second: None = None,
    max_length: int | None = None,
    doc_stride: int | None = None,
    device: "Device | None" = None,
) -> Iterator[dict[str, float]]: ...


def classify(
    text: str | list[str] | tuple[str, ...] | Iterator[str],
    *,
    model: str | Path | tuple[Any, Tokenizer],
    second: str | Sequence[str] | None = None,
    max_length: int | None = None,
    doc_stride: int | None = None,
    device: "Device | None" = None,
) -> dict[str, float] | list[dict[str, float]] | Iterator[dict[str, float]]:
    """Give the probability of each class, the likeliest first.

    Of one text, a dict from the names of `label_names` to numbers.
    They are what the config's `problem_type` says: of one class of
    several, they add up to 1; of several classes at once, each is a
    probability by itself; of a regression, they are the numbers
    that the model gives.

    Args:
        text: what is beyond `max_length` is cut off, or read in
            windows where `doc_stride` is given. A list of texts
            gives a list; an iterator is read as it is needed, and
            gives an iterator.
        model: a folder, a hub id, or a model and its tokenizer.
        second: another text, for a model that reads two; of a list,
            a list; not with an iterator.
        max_length: tokens in a row; None, or more than the model
            has positions, for as many as those.
        doc_stride: cuts a longer text into windows: tokens from one
            window's begin to the next one's; the last ends with the
            text. The mean of the windows' logits counts. None cuts
            the text off instead.
        device: where to put a model that is named; None for the
            best.

    Raises:
        TypeError: a text that is no string.
        ValueError: windows that would leave tokens out between
            them, or windows of two texts; not as many second texts
            as texts, or some beside an iterator; a config that
            names no classes.
        FileNotFoundError, TypeError, ValueError: as `load`: among
            others a model in training mode, or one without a
            trained head.

    >>> from minibert import BertForSequenceClassification, TrainingConfig
    >>> from minibert import fine_tune, labelled_rows
    >>> tokenizer = Tokenizer.from_pretrained("minilm")
    >>> texts, labels = ["so good", "too bad"], ["yes", "no"]
    >>> rows, names = labelled_rows(texts, labels, tokenizer)
    >>> sizes = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    >>> bert = BertForSequenceClassification(sizes, labels=names)
    >>> config = TrainingConfig(steps=30, batch_size=2, learning_rate=0.01)
    >>> log = fine_tune(bert, tokenizer, rows, config, progress=False)
    >>> likeliest, _ = classify("so good", model=(bert.eval(), tokenizer))
    >>> likeliest
    'yes'
    """
    bert, tokenizer = load(model, "BertForSequenceClassification", device)
    limit = row_length(bert, max_length)
    if isinstance(text, Iterator):
        if second is not None:
            raise ValueError("second texts need a list of texts, not an iterator")
        return stream(text, lambda chunk: classify(
            chunk, model=(bert, tokenizer), max_length=max_length, doc_stride=doc_stride
        ))  # fmt: skip
    texts = [text] if isinstance(text, str) else as_texts(text, "text", empty=True)
    seconds: Sequence[str | None] = [None] * len(texts)
    if isinstance(second, str):
        seconds = [second]
    elif second is not None:
        seconds = as_texts(second, "second text", empty=True)
    if second is not None and doc_stride is not None:
        raise ValueError("windows are cut from one text: leave second out, or doc_stride")
    if len(seconds) != len(texts):
        raise ValueError(f"{len(texts)} texts, but {len(seconds)} second ones")
    rows, of = [], []  # all windows, and the text of each
    for i, (first, other) in enumerate(zip(texts, seconds, strict=True)):
        if doc_stride is None:
            cut = [text_row(first, tokenizer, max_length=limit, second=other)]
        else:
            cut = class_windows(first, tokenizer, limit, doc_stride)
        rows += cut
        of += [i] * len(cut)
    scores = np.array(score_rows(bert, rows, tokenizer.pad_id))
    means = [scores[np.array(of) == i].mean(0) for i in range(len(texts))]
    out = [class_shares(logits, bert.config) for logits in means]
    return out[0] if isinstance(text, str) else out


def class_shares(logits: NDArray[Any], config: BertConfig) -> dict[str, float]:
    """Turn one text's logits (C,) into probabilities by name."""
    problem = problem_of(config)
    if problem == SINGLE:
        powers = np.exp(logits - logits.max())
        logits = powers / powers.sum()
    elif problem != "regression":
        logits = 1 / (1 + np.exp(-logits))
    by_name = zip(label_names(config), logits.tolist(), strict=True)
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
