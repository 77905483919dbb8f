"""Labels as people have them: strings or whole numbers, in a list, a frame or a data set.

Each text becomes a row with the number of its class, and the classes get their names.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from minibert.checks import as_texts, brief
from minibert.classification import text_row
from minibert.tokens import Tokenizer

__all__ = ["labelled_rows"]


def labelled_rows(
    texts: Iterable[str],
    labels: Iterable[Any],
    tokenizer: Tokenizer,
    names: Sequence[str] | None = None,
    *,
    max_length: int = 128,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Turn texts and their labels into rows to train on, and name the classes.

    Args:
        texts: a list, a column of a frame, or one of a data set.
        labels: of each text a string or a whole number, in anything that can be
            iterated over.
        tokenizer: the model's.
        names: the classes in their order, where it is known: of a data set its
            `features["label"].names`, of a second set those that the first one gave. Then
            a number is a place in them, unless they are numbers themselves. None for the
            labels that there are, sorted.
        max_length: tokens of a row, special ones included; the rest is cut off.

    Returns:
        The rows, as `fine_tune` takes them, and the classes' names, as a head's `labels=`.

    Raises:
        TypeError: a text that is no string; a label that is neither a string nor a whole
            number, or of another kind than the first.
        ValueError: no texts; more or fewer labels than texts; a label that is missing, or
            that `names` lacks; one class alone.

    >>> from minibert import Tokenizer
    >>> tokenizer = Tokenizer.from_pretrained("minilm")
    >>> rows, names = labelled_rows(["good", "bad"], ["yes", "no"], tokenizer)
    >>> names, rows[0]
    (['no', 'yes'], {'input_ids': [101, 2204, 102], 'labels': 1})
    """
    texts = as_texts(texts, "text")
    found = as_labels(labels)
    if len(texts) != len(found):
        raise ValueError(
            f"there are {len(texts)} texts, but {len(found)} labels: give one for each text"
        )
    if names is None:
        names = [str(label) for label in sorted(set(found))]
    names = as_texts(names, "name")
    if len(names) < 2:
        raise ValueError(
            f"{names[0]!r} is the only class: there must be two or more, or there is nothing "
            "to tell apart"
        )
    numbers = class_numbers(found, names)
    rows = [
        text_row(text, tokenizer, number, max_length)
        for text, number in zip(texts, numbers, strict=True)
    ]
    return rows, names


def as_labels(labels: Iterable[Any]) -> list[Any]:
    """Give labels in Python's own strings or numbers, or name one that is neither.

    Raises:
        TypeError, ValueError: as `labelled_rows`.
    """
    if isinstance(labels, (str, bytes)) or not isinstance(labels, Iterable):
        raise TypeError(f"labels must be a list, or a column, not {labels!r}")
    found: list[Any] = []
    for i, label in enumerate(labels):
        for read in ("as_py", "item"):  # of pyarrow; of numpy and torch
            if hasattr(label, read) and getattr(label, "ndim", 0) == 0:
                label = getattr(label, read)()
        if is_missing(label):
            raise ValueError(f"label {i} is missing ({label!r}): leave its text out")
        if not isinstance(label, (str, int)):
            hint = ": turn a column of them into whole numbers, or strings, first"
            raise TypeError(
                f"label {i} must be a string or a whole number, not {label!r} "
                f"({type(label).__name__}){hint if isinstance(label, float) else ''}"
            )
        if found and isinstance(label, str) != isinstance(found[0], str):
            raise TypeError(
                f"label {i} is {label!r}, but label 0 {found[0]!r}: all must be strings, or "
                "all whole numbers"
            )
        found.append(label)
    return found


def is_missing(label: Any) -> bool:
    """Whether a label says nothing: None, NaN, pandas' NA and NaT, or a blank string."""
    if isinstance(label, str):
        return not label.strip()
    if isinstance(label, float):
        return label != label
    return label is None or type(label).__name__ in ("NAType", "NaTType")


def class_numbers(labels: list[Any], names: Sequence[str]) -> list[int]:
    """Give the place of each label's class among the names.

    Raises:
        ValueError: a label that has none.
    """
    places: dict[Any, int] = {name: i for i, name in enumerate(names)}
    if not isinstance(labels[0], str):  # as_labels has seen that all are alike
        numbered = all(re.fullmatch(r"-?\d+", name) for name in names)
        places = {int(name) if numbered else i: i for i, name in enumerate(names)}
    for i, label in enumerate(labels):
        if label not in places:
            raise ValueError(
                f"label {i} is {label!r}, which is none of {brief(list(names))}: leave its "
                "text out, or add it to the names"
            )
    return [places[label] for label in labels]
