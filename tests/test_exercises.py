"""Every exercise: `not yet` as printed, no crash on nonsense, a diagnosis of each mistake in
`tests/mistakes`, `right` when solved."""

import os
import re
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jupytext
import pytest
from chapters import ENDS, ENVIRONMENT, execute
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook
from slicing import needed
from source import ROOT, read, sources

# How an exercise starts: its number, how hard it is, and its kind.
HEAD = re.compile(r"^\*\*(\d)\.\*\* (●○○|●●○|●●●) \*(Predict|Do|Extend)\.\* ", re.MULTILINE)
SOLUTION = re.compile(r"<details>.*?```python\n(.*?)```.*?</details>", re.DOTALL)
MISTAKE = re.compile(r"(\d)\. (\S.*)")
MISTAKES = Path(__file__).with_name("mistakes")
# Nothing is taught there.
WITHOUT = ("welcome", "files", "tokenizer-files", "weights", "texts", "records", "french")
CHAPTERS = [path for path in sources() if path.stem not in WITHOUT]


class Mistake(NamedTuple):
    """A wrong answer to an exercise, and words of what its check says of it."""

    code: str
    words: str


class Exercise(NamedTuple):
    """The code of a check cell, the mistakes that it tells apart, and the solution."""

    check: str
    mistakes: Sequence[Mistake]
    solution: str

    @property
    def name(self) -> str:
        """The name that the reader fills in."""
        return re.search(r"if (\w+) is \.\.\.", self.check)[1]

    @property
    def answers(self) -> list[str]:
        """What is handed in, one after the other: nonsense, the mistakes, the solution."""
        return [f"{self.name} = object()", *(m.code for m in self.mistakes), self.solution]


def mistakes(path: Path) -> dict[int, list[Mistake]]:
    """Read cells of the form `# %% 2. epsilon inside the root` and the wrong answer below."""
    found = defaultdict(list)
    for cell in jupytext.read(path).cells:
        number, words = MISTAKE.fullmatch(cell.metadata["title"]).groups()
        found[int(number)].append(Mistake(cell.source, words))
    return found


def exercises(nb: NotebookNode, wrong: Mapping[int, Sequence[Mistake]]) -> list[Exercise]:
    """A chapter's exercises, with the solution folded after each check."""
    found: list[Exercise] = []
    for i, cell in enumerate(nb.cells):
        if is_check(cell):
            after = "\n".join(c.source for c in nb.cells[i + 1 :] if c.cell_type != "code")
            assert SOLUTION.search(after), "an exercise has no solution"
            number = len(found) + 1
            found.append(Exercise(cell.source, wrong[number], SOLUTION.search(after)[1]))
    return found


def is_check(cell: NotebookNode) -> bool:
    return cell.cell_type == "code" and '"not yet"' in cell.source


def tried(found: list[Exercise]) -> list[NotebookNode]:
    """Two cells for each answer to each exercise: the answer, and the check."""
    cells = [part for one in found for answer in one.answers for part in (answer, one.check)]
    return [*map(new_code_cell, cells)]


def only_needed(cells: list[NotebookNode], tries: list[NotebookNode]) -> list[NotebookNode]:
    """The chapter's checks, and what they and the tries need of the other cells."""
    code = [c for c in cells if c.cell_type == "code"]
    wanted = [i for i, c in enumerate(code + tries) if is_check(c) or i >= len(code)]
    kept = needed([c.source for c in code + tries], wanted)
    return [new_code_cell(part) for part in kept[: len(code)] if part]


def printed(cell: NotebookNode) -> str:
    return "".join(output.get("text", "") for output in cell.outputs).strip()


def judge(cells: list[NotebookNode], found: list[Exercise]) -> None:
    """Run the cells, then hand in each answer, and hold what the checks print."""
    nb = new_notebook(cells=[*cells, *tried(found)])
    execute(nb, ROOT / "book")
    first = [printed(c) for c in nb.cells[: len(cells)] if is_check(c)]
    assert first == ["not yet"] * len(found)
    prints = map(printed, nb.cells[len(cells) + 1 :: 2])
    for number, one in enumerate(found, 1):
        nonsense, *wrong, solved = [next(prints) for _ in one.answers]
        assert nonsense not in ("right", "not yet", ""), f"exercise {number}"
        for mistake, words in zip(one.mistakes, wrong, strict=True):
            assert words != "right", f"exercise {number} takes {mistake.code}"
            assert mistake.words in words, f"exercise {number}: {mistake.code}"
        assert solved == "right", f"exercise {number}"


def hold(name: str, cells: list[NotebookNode], found: list[Exercise]) -> None:
    """Judge by what is needed of a chapter; where that does not do, by all of it."""
    try:
        judge(only_needed(cells, tried(found)), found)
    except (AssertionError, *ENDS) as error:
        warnings.warn(f"{name} is run whole: its parts give {error}", stacklevel=1)
        judge(cells, found)


@pytest.mark.parametrize("text", CHAPTERS, ids=lambda path: path.stem)
def test_exercises(text: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setitem(os.environ, name, value)
    nb = read(text)
    found = exercises(nb, mistakes(MISTAKES / f"{text.stem}.py"))
    assert len({one.solution for one in found}) == len(found)
    hold(text.stem, nb.cells, found)


@pytest.mark.parametrize("text", CHAPTERS, ids=lambda path: path.stem)
def test_each_exercise_has_its_dots_its_kind_and_three_mistakes(text: Path):
    nb = read(text)
    heads = [h for c in nb.cells if c.cell_type != "code" for h in HEAD.findall(c.source)]
    wrong = mistakes(MISTAKES / f"{text.stem}.py")
    count = len(exercises(nb, wrong))
    assert count >= 6
    assert [int(number) for number, _, _ in heads] == [*range(1, count + 1)]
    assert {kind for _, _, kind in heads} == {"Predict", "Do", "Extend"}
    assert {dots for _, dots, _ in heads} == {"●○○", "●●○", "●●●"}
    assert [*wrong] == [*range(1, count + 1)]
    for number, several in wrong.items():
        assert len({one.words for one in several}) >= 3, f"exercise {number}"


def test_mistakes_are_of_chapters():
    assert {path.stem for path in MISTAKES.glob("*.py")} == {path.stem for path in CHAPTERS}


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
    wrong = [Mistake("answer = 3", "not 3")]
    with pytest.warns(UserWarning, match="(?s)tiny is run whole: .*'hidden' is not defined"):
        hold("tiny", cells, [Exercise(check, wrong, "answer = 1")])
    with pytest.warns(UserWarning, match="tiny"), pytest.raises(AssertionError, match="not 2"):
        hold("tiny", cells, [Exercise(check, wrong, "answer = 2")])
    with pytest.warns(UserWarning, match="tiny"), pytest.raises(AssertionError, match="exercise 1"):
        hold("tiny", cells, [Exercise(check, [Mistake("answer = 3", "not 4")], "answer = 1")])
    with pytest.warns(UserWarning, match="tiny"), pytest.raises(AssertionError, match="takes"):
        hold("tiny", cells, [Exercise(check, [Mistake("answer = 1", "one")], "answer = 1")])
