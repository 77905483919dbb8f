"""Labels in whatever people have them in: `minibert.labels`."""

from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from minibert.labels import labelled_rows
from minibert.tokens import Tokenizer

TEXTS = ["A river in Europe.", "A goal in the last minute.", "A bridge over it.", "The cup."]
STRINGS = ["place", "sport", "place", "sport"]
INTS = [7, -1, 7, -1]
NA, NAT = pd.NA, pd.NaT


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_pretrained("leads-small")


def frame(labels: list[Any]) -> pd.DataFrame:
    """A frame as a filter leaves it: its index is not 0, 1, 2, 3."""
    return pd.DataFrame({"text": TEXTS, "label": labels}, index=[9, 4, 30, 2])


def columns(labels: list[Any]) -> dict[str, tuple[Any, Any]]:
    """The same texts and labels in everything that people keep them in."""
    rows, table = frame(labels), datasets.Dataset.from_dict({"text": TEXTS, "label": labels})
    category = rows.astype({"label": "category"})
    return {
        "list": (TEXTS, labels),
        "tuple": (tuple(TEXTS), tuple(labels)),
        "generator": ((text for text in TEXTS), (label for label in labels)),
        "array": (np.array(TEXTS), np.array(labels)),
        "frame": (rows["text"], rows["label"]),
        "categories": (category["text"], category["label"]),
        "datasets": (table["text"], table["label"]),
        "datasets as numpy": (TEXTS, table.with_format("numpy")["label"]),
        "pyarrow": (TEXTS, pa.array(labels)),
    }


@pytest.mark.parametrize("name", columns(STRINGS))
@pytest.mark.parametrize(
    ("labels", "names", "numbers"),
    [(STRINGS, ["place", "sport"], [0, 1, 0, 1]), (INTS, ["-1", "7"], [1, 0, 1, 0])],
    ids=["strings", "ints"],
)
def test_everything_gives_the_same_rows(name, labels, names, numbers, tokenizer):
    rows, found = labelled_rows(*columns(labels)[name], tokenizer)
    assert found == names
    assert [row["labels"] for row in rows] == numbers
    assert all(type(row["labels"]) is int for row in rows)
    assert [row["input_ids"] for row in rows] == [tokenizer.encode(text).ids for text in TEXTS]


def test_torch_gives_numbers_and_truth_gives_two_classes(tokenizer):
    rows, names = labelled_rows(TEXTS, torch.tensor(INTS), tokenizer)
    assert names == ["-1", "7"] and rows[0]["labels"] == 1
    rows, names = labelled_rows(TEXTS, frame([True, False, True, False])["label"], tokenizer)
    assert names == ["False", "True"] and [row["labels"] for row in rows] == [1, 0, 1, 0]


def test_numbers_are_in_their_own_order(tokenizer):
    rows, names = labelled_rows(TEXTS, [10, 9, 2, 100], tokenizer)
    assert names == ["2", "9", "10", "100"] and [row["labels"] for row in rows] == [2, 1, 0, 3]


def test_names_that_are_given_keep_their_places(tokenizer):
    def numbers(labels: list[Any], names: list[str]) -> list[int]:
        return [row["labels"] for row in labelled_rows(TEXTS, labels, tokenizer, names)[0]]

    assert numbers(STRINGS, ["sport", "art", "place"]) == [2, 0, 2, 0]
    assert numbers([1, 0, 0, 2], ["sport", "art", "place"]) == [1, 0, 0, 2]  # ClassLabel
    assert numbers([5, 1, 3, 5], ["1", "3", "5"]) == [2, 0, 1, 2]  # names that are numbers
    assert numbers(["place"] * 4, ["sport", "place"]) == [1] * 4  # of a second set
    kinds = datasets.ClassLabel(names=["sport", "place"])
    table = datasets.Dataset.from_dict({"text": TEXTS, "label": STRINGS})
    table = table.cast_column("label", kinds)
    names = table.features["label"].names
    assert numbers(table["label"], names) == [1, 0, 1, 0]


def test_a_long_text_is_cut(tokenizer):
    rows, _ = labelled_rows(["a b " * 90, "c"], [0, 1], tokenizer, max_length=16)
    assert len(rows[0]["input_ids"]) == 16


@pytest.mark.parametrize(
    ("labels", "names", "error", "message"),
    [
        (STRINGS[:3], None, ValueError, "there are 4 texts, but 3 labels"),
        (["a"] * 4, None, ValueError, "'a' is the only class: there must be two or more"),
        ([1] * 4, None, ValueError, "'1' is the only class"),
        (["a", None, "b", "a"], None, ValueError, r"label 1 is missing \(None\)"),
        (["a", "b", " ", "a"], None, ValueError, r"label 2 is missing \(' '\)"),
        ([float("nan"), "b", "a", "a"], None, ValueError, r"label 0 is missing \(nan\)"),
        (frame([1, 0, None, 0])["label"], None, TypeError, "label 0 must be .*not 1.0 .*turn"),
        (frame(["a", "b", "a", None])["label"], None, ValueError, "label 3 is missing"),
        (pd.array([1, 0, 1, NA], "Int64"), None, ValueError, "label 3 is missing"),
        (["a", "b", "a", NAT], None, ValueError, "label 3 is missing"),
        ([1, 0, 1, 0.5], None, TypeError, "label 3 must be a string or a whole number, not 0.5"),
        (["a", "b", 1, "a"], None, TypeError, "label 2 is 1, but label 0 'a'"),
        ([["a"], ["b"], ["a"], ["b"]], None, TypeError, r"label 0 must be .*not \['a'\] \(list\)"),
        (np.eye(4), None, TypeError, r"label 0 must be .*not array\(.* \(ndarray\)"),
        (iter(np.eye(4)), None, TypeError, "label 0 must be a string or a whole number"),
        ("abab", None, TypeError, "labels must be a list, or a column, not 'abab'"),
        (3, None, TypeError, "labels must be a list, or a column, not 3"),
        (["a", "b", "c", "a"], ["a", "b"], ValueError, "'c', which is none of .*: leave its"),
        ([0, 1, -1, 0], ["a", "b"], ValueError, "label 2 is -1, which is none of"),
        ([0, 1, 2, 0], ["0", "1"], ValueError, "label 2 is 2, which is none of"),
        (STRINGS, [0, 1], TypeError, "name 0 must be a string, not 0"),
        (STRINGS, "place", TypeError, "names must be a list of strings"),
    ],
)
def test_what_is_wrong_is_said(labels, names, error, message, tokenizer):
    with pytest.raises(error, match=message):
        labelled_rows(TEXTS, labels, tokenizer, names)


def test_texts_that_are_none_are_named(tokenizer):
    with pytest.raises(TypeError, match="text 1 must be a string"):
        labelled_rows(["a", None], [0, 1], tokenizer)
    with pytest.raises(ValueError, match="no texts"):
        labelled_rows([], [], tokenizer)
