"""Every exercise: `not yet` as printed, no crash on nonsense, `right` when solved."""

import os
import re
from pathlib import Path

import pytest
from chapters import ENVIRONMENT, execute
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from source import ROOT, read, sources

SOLUTION = re.compile(r"<details>.*?```python\n(.*?)```.*?</details>", re.DOTALL)
# Nothing is taught there.
WITHOUT = ("welcome", "primer", "files", "tokenizer-files", "weights", "texts", "records")
CHAPTERS = [path for path in sources() if path.stem not in WITHOUT]


def exercises(nb: NotebookNode) -> list[tuple[str, str]]:
    """Each check cell's code, with the solution folded after it."""
    found = []
    for i, cell in enumerate(nb.cells):
        if cell.cell_type == "code" and '"not yet"' in cell.source:
            after = "\n".join(c.source for c in nb.cells[i + 1 :] if c.cell_type != "code")
            assert SOLUTION.search(after), "an exercise has no solution"
            found.append((cell.source, SOLUTION.search(after)[1]))
    return found


def said(cell: NotebookNode) -> str:
    return "".join(output.get("text", "") for output in cell.outputs).strip()


@pytest.mark.parametrize("text", CHAPTERS, ids=lambda path: path.stem)
def test_exercises(text: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setitem(os.environ, name, value)
    nb = read(text)
    found = exercises(nb)
    assert 3 <= len(found) <= 5
    assert len({solution for _, solution in found}) == len(found)
    printed = len(nb.cells)
    for check, solution in found:
        name = re.search(r"if (\w+) is \.\.\.", check)[1]
        for code in (f"{name} = object()", check, solution, check):
            nb.cells.append(new_code_cell(code))
    execute(nb, ROOT / "book")
    first = [said(c) for c in nb.cells[:printed] if '"not yet"' in c.source]
    nonsense = [said(c) for c in nb.cells[printed + 1 :: 4]]
    solved = [said(c) for c in nb.cells[printed + 3 :: 4]]
    assert first == ["not yet"] * len(found)
    assert not {"right", "not yet", ""} & set(nonsense)
    assert solved == ["right"] * len(found)
