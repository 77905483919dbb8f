"""Every exercise: `not yet` as printed, no crash on nonsense, `right` when solved."""

import os
import re
import warnings
from pathlib import Path

import pytest
from chapters import ENDS, ENVIRONMENT, execute
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook
from slicing import needed
from source import ROOT, read, sources

SOLUTION = re.compile(r"<details>.*?```python\n(.*?)```.*?</details>", re.DOTALL)
# Nothing is taught there; day plans a run, and a page cannot wait for what it would ask.
WITHOUT = ("welcome", "primer", "files", "tokenizer-files", "weights", "texts", "records", "day")
CHAPTERS = [path for path in sources() if path.stem not in WITHOUT]


def exercises(nb: NotebookNode) -> list[tuple[str, str]]:
    """Each check cell's code, with the solution folded after it."""
    found = []
    for i, cell in enumerate(nb.cells):
        if is_check(cell):
            after = "\n".join(c.source for c in nb.cells[i + 1 :] if c.cell_type != "code")
            assert SOLUTION.search(after), "an exercise has no solution"
            found.append((cell.source, SOLUTION.search(after)[1]))
    return found


def is_check(cell: NotebookNode) -> bool:
    return cell.cell_type == "code" and '"not yet"' in cell.source


def tried(found: list[tuple[str, str]]) -> list[NotebookNode]:
    """Four cells for each exercise: nonsense, its check, the solution, its check."""
    cells = []
    for check, solution in found:
        name = re.search(r"if (\w+) is \.\.\.", check)[1]
        cells += map(new_code_cell, (f"{name} = object()", check, solution, check))
    return cells


def only_needed(cells: list[NotebookNode], tries: list[NotebookNode]) -> list[NotebookNode]:
    """The chapter's checks, and what they and the tries need of the other cells."""
    code = [c for c in cells if c.cell_type == "code"]
    wanted = [i for i, c in enumerate(code + tries) if is_check(c) or i >= len(code)]
    kept = needed([c.source for c in code + tries], wanted)
    return [new_code_cell(part) for part in kept[: len(code)] if part]


def said(cell: NotebookNode) -> str:
    return "".join(output.get("text", "") for output in cell.outputs).strip()


def judge(cells: list[NotebookNode], tries: list[NotebookNode]) -> None:
    """Run the cells, then the tries, and hold what the checks print."""
    nb = new_notebook(cells=[*cells, *tries])
    execute(nb, ROOT / "book")
    tried = nb.cells[len(cells) :]
    first = [said(c) for c in nb.cells[: len(cells)] if is_check(c)]
    nonsense, solved = ([said(c) for c in tried[start::4]] for start in (1, 3))
    assert first == ["not yet"] * (len(tries) // 4)
    assert not {"right", "not yet", ""} & set(nonsense)
    assert solved == ["right"] * (len(tries) // 4)


def hold(name: str, cells: list[NotebookNode], tries: list[NotebookNode]) -> None:
    """Judge by what is needed of a chapter; where that does not do, by all of it."""
    try:
        judge(only_needed(cells, tries), tries)
    except (AssertionError, *ENDS) as error:
        warnings.warn(f"{name} is run whole: its parts give {error}", stacklevel=1)
        judge(cells, tries)


@pytest.mark.parametrize("text", CHAPTERS, ids=lambda path: path.stem)
def test_exercises(text: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setitem(os.environ, name, value)
    nb = read(text)
    found = exercises(nb)
    assert 3 <= len(found) <= 6
    assert len({solution for _, solution in found}) == len(found)
    hold(text.stem, nb.cells, tried(found))


def test_a_chapter_whose_parts_do_not_do_runs_whole():
    check = """\
try:
    if answer is ...:
        print("not yet")
    else:
        print("right" if answer == hidden else f"not {answer}")
except NameError as error:
    print(error)"""
    cells = [*map(new_code_cell, ("globals().update(hidden=1)", "answer = ...", check))]
    with pytest.warns(UserWarning, match="(?s)tiny is run whole: .*'hidden' is not defined"):
        hold("tiny", cells, tried([(check, "answer = 1")]))
    with pytest.warns(UserWarning, match="tiny"), pytest.raises(AssertionError, match="not 2"):
        hold("tiny", cells, tried([(check, "answer = 2")]))
