"""A slice holds what is needed, leaves out the rest, and comes to the same."""

import pytest
from slicing import needed


def run(cells: list[str]) -> object:
    names: dict[str, object] = {}
    for cell in cells:
        exec(cell, names)
    return names["answer"]


def sliced(*cells: str) -> list[str]:
    """The slice for the last cell, which says what the whole says."""
    kept = needed(cells, [len(cells) - 1])
    assert kept[-1] == cells[-1]
    assert run(kept) == run(list(cells))
    return kept[:-1]


@pytest.mark.parametrize(
    "define",
    [
        "x = 1",
        "a, [x, *b] = (0, [1, 2])",
        "x: int = 1",
        "for x in (0, 1):\n    pass",
        "with open(0, closefd=False, encoding='utf-8') as x:\n    pass",
        "with open(0, closefd=False, encoding='utf-8'):\n    x = 1",
        "if (x := 1):\n    pass",
        "try:\n    x = 1\nfinally:\n    pass",
        "def x():\n    return 1",
        "class x:\n    pass",
        "import math as x",
        "from math import pi as x",
        "print((x := 1))",
    ],
)
def test_a_definition_stays(define: str):
    assert sliced("a = 0", define, "y = 2", "answer = bool(x)")[1] == define
    assert sliced("a = 0", define, "y = 2", "answer = 3") == ["", "", ""]


@pytest.mark.parametrize(
    "change",
    [
        "x[0] = 5",
        "x[0] += 1",
        "x += [4]",
        "del x[0]",
        "x.append(4)",
        "last = x.pop()",
        "setattr(x, 'size', 7)",
        "x.size = 7",
        "List.size = 7\nx = List(x)",
        "random.shuffle(x)",
        "put(x)",
        "size = put(x)",
        "size = put(what=x)",
        "put_x()",
        "do(put_x)",
        "put_first(x)",
        "for one in (x, []):\n    one.append(4)",
        "for i, one in enumerate([x]):\n    one.append(i)",
        "with hold(x) as one:\n    one.append(4)",
        "if x:\n    y = x\n    y.append(4)",
        "holder = Holder(x)\nholder.change()",
        "x.rename_(9)",
        "y = x.rename_(9)",
    ],
)
def test_a_change_stays(change: str):
    start = """\
import contextlib, random
class List(list):
    size = 0
    def rename_(self, size): self.size = size; return self
class Holder:
    def __init__(self, held): self.held = held
    def change(self): self.held.append(4)
hold = contextlib.nullcontext
x = List([1, 2, 3, 8])
def put(what): what.append(4); return 1
def put_first(what): inner = what; inner[0] = 9
def put_x(): x.append(4); return 1
def do(what): what()"""
    kept = sliced(start, "random.seed(1)", "z = 0", change, "answer = [*x], x.size")
    assert kept[3] == change and kept[2] == ""
    assert run([start, "answer = [*x], x.size"]) != run([start, change, "answer = [*x], x.size"])


def test_what_is_shown_or_asked_goes():
    looks = "print(x)", "show(x)", "y = len(x)", "y = x.copy()", "y = x.copy().pop()", "check_it(x)"
    start = "def show(x):\n    pass\n\ndef check_it(x):\n    pass\nx = [1]"
    assert sliced(start, *looks, "answer = x") == ["x = [1]", "", "", "", "", "", ""]


def test_what_is_bound_anew_is_not_needed_before():
    assert sliced("x = 1\nx = 2", "answer = x") == ["x = 2"]
    assert sliced("x = 1", "if not x:\n    x = 2", "answer = x")[0] == "x = 1"
    assert sliced("for x in [2]:\n    print(x)", "x = 3", "answer = x") == ["", "x = 3"]
    # The name is the cell's own, and what it was is no matter.
    cells = "x = [1]", "for one in [x]:\n    print(one)", "for one in [[2]]:\n    one.append(3)"
    assert sliced(*cells, "answer = x") == ["x = [1]", "", ""]
    assert sliced("one = 1", "answer = []\nfor one in [2]:\n    answer.append(one)") == [""]
    assert sliced("one = [1]", "answer = [one for one in [2]]") == [""]


def test_what_a_function_uses_is_needed_when_it_is_called():
    cells = "def f():\n    return x", "x = 1", "x = 2", "y = f()", "x = 3", "answer = y"
    assert sliced(*cells) == [cells[0], "", "x = 2", "y = f()", ""]
    cells = "f = lambda: g()", "def g():\n    return x", "x = 1", "answer = f()"
    assert sliced(*cells) == list(cells[:-1])


def test_seeds_stay():
    cells = "import random", "random.seed(1)", "y = 1", "answer = random.random()"
    assert sliced(*cells) == ["import random", "random.seed(1)", ""]


def test_magics_stay():
    kept = needed(["import sys\nif 0:\n    %pip install x\ny = 1", "answer = 1"], [1])
    assert kept[0].startswith("if 0:\n    get_ipython()")
