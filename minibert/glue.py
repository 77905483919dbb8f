"""GLUE: its nine tasks as their files are, and what each is measured by.

Source: Wang, Singh, Michael, Hill, Levy and Bowman 2019, GLUE: a multi-task benchmark and
analysis platform for natural language understanding, table 1.
"""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minibert.classification import text_row
from minibert.files import require
from minibert.tokens import Tokenizer

__all__ = [
    "AVERAGED",
    "TASKS",
    "Example",
    "GlueTask",
    "average",
    "glue_rows",
    "read_glue",
    "score_glue",
]


class GlueTask(NamedTuple):
    """A task: where its columns are, and what it is measured by.

    Attributes:
        texts: the column of the text, or those of the two; names in the file's first line, or
            numbers where it has none.
        label: the column of the label.
        names: the classes in their order, None where the label is a number.
        metrics: of `score_glue`; their mean is the task's score.
        unseen: the files that are measured on.
    """

    texts: tuple[str | int, ...]
    label: str | int
    names: tuple[str, ...] | None
    metrics: tuple[str, ...]
    unseen: tuple[str, ...] = ("dev",)


BINARY = ("0", "1")
ENTAILS = ("entailment", "not_entailment")
TASKS = {
    "CoLA": GlueTask((3,), 1, BINARY, ("matthews",)),
    "SST-2": GlueTask(("sentence",), "label", BINARY, ("accuracy",)),
    "MRPC": GlueTask(("#1 String", "#2 String"), "Quality", BINARY, ("accuracy", "f1")),
    "STS-B": GlueTask(("sentence1", "sentence2"), "score", None, ("pearson", "spearman")),
    "QQP": GlueTask(("question1", "question2"), "is_duplicate", BINARY, ("accuracy", "f1")),
    "MNLI": GlueTask(
        ("sentence1", "sentence2"), "gold_label", ("contradiction", "entailment", "neutral"),
        ("accuracy",), ("dev_matched", "dev_mismatched"),
    ),
    "QNLI": GlueTask(("question", "sentence"), "label", ENTAILS, ("accuracy",)),
    "RTE": GlueTask(("sentence1", "sentence2"), "label", ENTAILS, ("accuracy",)),
    "WNLI": GlueTask(("sentence1", "sentence2"), "label", BINARY, ("accuracy",)),
}  # fmt: skip
# Devlin et al. 2019, section 4.1, leave WNLI out, for issues with how it was made; so did those
# who came after.
AVERAGED = tuple(name for name in TASKS if name != "WNLI")


class Example(NamedTuple):
    """A row of a task: its texts, and a class's number or a score."""

    texts: tuple[str, ...]
    label: int | float


def read_glue(file: str | Path, task: str) -> list[Example]:
    """Read a file of GLUE: tabs between columns, a line a row, quotation marks as they stand.

    Args:
        file: `train.tsv`, `dev.tsv`, ..., as GLUE ships them.
        task: of `TASKS`.

    Warns:
        UserWarning: lines that are cut short are left out; QQP has a few.

    Raises:
        ValueError: a task or a column that there is not, a label that is none, no rows, or
            more than one line in a hundred that is cut short.
        FileNotFoundError: no such file.
    """
    if task not in TASKS:
        raise ValueError(f"there is no task {task!r}; there are {', '.join(TASKS)}")
    what, file = TASKS[task], Path(file)
    lines = read_lines(file)
    columns: list[Any] = [*what.texts, what.label]
    if isinstance(what.label, str):
        header = next(lines, [])
        missing = [name for name in columns if name not in header]
        if missing:
            raise ValueError(
                f"{file} has no column {missing[0]!r}, but {header}: {task} has "
                f"{', '.join(map(repr, columns))}, with tabs between, in its first line"
            )
        columns = [header.index(name) for name in columns]
    out, short = [], 0
    for number, fields in enumerate(lines, 1 + isinstance(what.label, str)):
        if len(fields) <= max(columns):
            short += 1
            continue
        *texts, label = (fields[i].strip() for i in columns)
        out.append(Example(tuple(texts), read_label(label, what, f"{file}, line {number}")))
    if short > len(out) / 100:
        raise ValueError(
            f"{file}: {short} of {short + len(out)} lines have fewer than {max(columns) + 1} "
            f"columns, with tabs between: it is no file of {task}"
        )
    if not out:
        raise ValueError(f"{file} has no rows")
    if short:
        warnings.warn(f"{file}: {short} lines that are cut short are left out", stacklevel=2)
    return out


def read_lines(file: Path) -> Iterator[list[str]]:
    """Give the columns of each line; a line ends with "\\n" or "\\r\\n" alone."""
    with file.open(encoding="utf-8-sig", newline="\n") as opened:
        for line in opened:
            if text := line.rstrip("\r\n"):
                yield text.split("\t")


def read_label(text: str, task: GlueTask, where: str) -> int | float:
    """Give a class's number, or a score."""
    if task.names is not None:
        if text not in task.names:
            raise ValueError(f"{where}: the label {text!r} is none of {', '.join(task.names)}")
        return task.names.index(text)
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 5:
        raise ValueError(f"{where}: the score {text!r} is no number from 0 to 5")
    return value


def glue_rows(
    examples: Sequence[Example], tokenizer: Tokenizer, max_length: int = 128
) -> list[dict[str, Any]]:
    """Turn examples into rows, as `fine_tune` takes them."""
    return [
        text_row(
            one.texts[0], tokenizer, one.label, max_length,
            second=one.texts[1] if len(one.texts) > 1 else None,
        )
        for one in examples
    ]  # fmt: skip


def score_glue(
    task: str, labels: Sequence[int | float], answers: Sequence[int | float]
) -> dict[str, float]:
    """Measure answers, by scikit-learn and scipy: 100 is best.

    Args:
        task: of `TASKS`, for its metrics.
        labels: what is right: classes' numbers, or scores.
        answers: as many, of a model.

    Returns:
        Each metric of the task. A correlation of answers that are all alike is 0.

    Raises:
        ValueError: not as many answers as labels.
        ModuleNotFoundError: the extra `[glue]` is not installed.

    >>> score_glue("MRPC", [1, 1, 0, 1], [1, 0, 0, 1])
    {'accuracy': 75.0, 'f1': 80.0}
    """
    require("glue", "sklearn")
    from scipy.stats import pearsonr, spearmanr
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    right, predicted = np.asarray(labels), np.asarray(answers)
    if right.shape != predicted.shape:
        raise ValueError(f"{len(right)} labels, but {len(predicted)} answers")
    with warnings.catch_warnings():  # of answers that are all alike
        warnings.simplefilter("ignore")
        found = {
            "accuracy": lambda: accuracy_score(right, predicted),
            "f1": lambda: f1_score(right, predicted, zero_division=0),
            "matthews": lambda: matthews_corrcoef(right, predicted),
            "pearson": lambda: pearsonr(right, predicted).statistic,
            "spearman": lambda: spearmanr(right, predicted).statistic,
        }
        scores = {name: float(found[name]()) for name in TASKS[task].metrics}
    return {name: 100 * value if value == value else 0.0 for name, value in scores.items()}


def average(scores: dict[str, float]) -> float | None:
    """Give the mean over the eight tasks of `AVERAGED`; None where one is missing."""
    if set(AVERAGED) - set(scores):
        return None
    return sum(scores[name] for name in AVERAGED) / len(AVERAGED)
