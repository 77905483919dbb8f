"""Where trained models are compared, the page says how many seeds that rests on.

A cell trains when it calls one of TRAINS, or a function of its page that does or that steps an
optimiser; in a loop or a comprehension that counts twice. A section (between two headings of
the second level) that trains two models or more, or shows a ±, must name what was repeated, in
its prose or in what it prints: seeds (or *one seed*), draws, or the standard error over what
was asked.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from nbformat import NotebookNode
from source import ROOT
from test_told import parsed, pieces, printed

CHAPTERS = sorted((ROOT / "book").glob("*.ipynb"))
TRAINS = {"train", "fine_tune", "pretrain", "fit"}
REPEATED = re.compile(
    r"\bseeds?\b|\bdraws? of\b|\bdrawn (?:again|anew)|\bresampl|\bbootstrap|\bstandard errors?\b",
    re.I,
)
EXCEPTIONS = {
    "fast": {"four-changes-the-same-loss"},  # what is compared is time; the losses are equal
}
LOOPS = (ast.For, ast.While, ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp)


def trainers(trees: list[ast.Module]) -> set[str]:
    """The names that train: TRAINS, and functions of the page that call one or step."""
    found, calls = set(TRAINS), {}
    for node in (node for tree in trees for node in tree.body):
        if isinstance(node, ast.FunctionDef):
            asked = [x.func for x in ast.walk(node) if isinstance(x, ast.Call)]
            calls[node.name] = {x.id for x in asked if isinstance(x, ast.Name)}
            if {"backward", "step"} <= {x.attr for x in asked if isinstance(x, ast.Attribute)}:
                found.add(node.name)
    while more := {name for name, asked in calls.items() if asked & found} - found:
        found |= more
    return found


def trainings(tree: ast.AST, names: set[str], weight: int = 1) -> int:
    """How often a tree trains; what stands in a function counts where that is called."""
    total = 0
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Lambda)):
            continue
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            total += weight * (node.func.id in names)
        total += trainings(node, names, 2 if isinstance(node, LOOPS) else weight)
    return total


def sections(path: Path) -> Iterator[tuple[str, str, list[NotebookNode]]]:
    """A chapter's sections: anchor, prose with all outputs, code cells."""
    found: dict[str, tuple[list[str], list[NotebookNode]]] = {}
    for piece in pieces(path):
        text, cells = found.setdefault(piece.section, ([], []))
        if isinstance(piece.content, str):
            text.append(piece.content)
        else:
            cells.append(piece.content)
            text.append(printed(piece.content))
    for anchor, (text, cells) in found.items():
        yield anchor, "\n".join(text), cells


def comparing(path: Path) -> dict[str, str]:
    """The sections that train more than one model, or show how far a mean may be off."""
    found = {
        anchor: (text, [parsed(cell.source) for cell in cells])
        for anchor, text, cells in sections(path)
    }
    names = trainers([tree for _, trees in found.values() for tree in trees])
    return {
        anchor: text for anchor, (text, trees) in found.items()
        if "±" in text or sum(trainings(tree, names) for tree in trees) > 1
    }  # fmt: skip


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_comparison_says_what_was_repeated(path: Path) -> None:
    lost = {name for name, text in comparing(path).items() if not REPEATED.search(text)}
    assert lost == EXCEPTIONS.get(path.stem, set())


def test_most_chapters_compare() -> None:
    """So that the test above looks at something."""
    counts = {path.stem: len(comparing(path)) for path in CHAPTERS}
    assert sum(counts.values()) > 20 and sum(map(bool, counts.values())) > 9, counts


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("train(model)", 1),
        ("one = train(a)\ntwo = fine_tune(b)", 2),
        ("for seed in range(3):\n    pretrain(model)", 2),
        ("losses = [fit(x) for x in models]", 2),
        ("def once():\n    train(model)\n    train(model)", 0),
        ("def once():\n    loss.backward()\n    optimizer.step()\nonce()\nonce()", 2),
        ("def twice():\n    return train(a), train(b)\ntwice()", 1),
        ("tree.score(x)\nprint('train(model)')", 0),
    ],
)
def test_trainings_are_counted(code: str, count: int) -> None:
    tree = ast.parse(code)
    assert trainings(tree, trainers([tree])) == count
