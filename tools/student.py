"""The student's edition of the book: chapters without solutions, the package to be written.

    python tools/student.py              writes _build/student
    python tools/student.py --folded     the folded cells are emptied, too

What a chapter shows is to be written, what it folds is given: in each exported cell that is
not folded, every function keeps its signature and docstring and loses its body. A unit test
belongs to a chapter when it uses a name that is to be written there, and no module that is
printed only later, or nowhere. A notebook that is there already may have been filled in: it
is kept.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat
from check import BY_HAND
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell
from source import EXPORT, ROOT, read, sources
from student_check import empty, functions

from minibert import HOME

OUT = ROOT / "_build" / "student"
SITE = "https://minibert-book.github.io/minibert-book/book"
SOLUTION = re.compile(r"<details>\s*<summary><b>Solution</b></summary>.*?</details>\n*", re.DOTALL)
PAGE = re.compile(r"\]\(([\w-]+)\.md\b")
INSTALL = re.compile(r'"(?P<name>[\w-]+)\[book\] @ git\+(?P<address>\S+)@(?P<tag>v[\d.]+)"')
# Tests of these use the whole package, the repository, or another process.
APART = ("ROOT", "subprocess", "second_device", "minibert.__main__", "minibert.commands")
FIRST = """\
import sys

if "google.colab" in sys.modules:
    %pip install -q "{name}[student] @ git+{address}@{tag}"
    !git clone -q --depth 1 -b {tag} {address}
    !python {name}/tools/student.py
    sys.path.append("{name}/_build/student")

import minibert

minibert.__path__.insert(0, "mine")  # of chapters that are green: yours"""
LAST = """\
from check import check

check("{}", In)  # what you ran above; restarted? Run its cells again"""
README = """\
# Build it yourself

Here are the chapters of *BERT, from one matrix product up*, for writing `minibert` yourself.
What a chapter explains is yours to write: a function keeps its signature and its docstring, and
its body is `raise NotImplementedError`. What the book folds is given. The solutions of the
exercises are out.

1. Install, once: `pip install torch jupyterlab "{name}[student] @ git+{address}@{tag}"`.
2. Open a chapter in this folder with `jupyter lab`. Read, write, run: the cells after a function
   try it at once.
3. The last cell runs the chapter's unit tests against what you wrote. So does
   `python check.py attention`, with the notebook as it is saved.

You may start with any chapter: what you have not written comes from the installed package. A
chapter that is green goes to the folder `mine`, and the notebooks and tests after it use yours.
`python check.py` says how far you are; to hand a chapter in, hand in its notebook.

| chapter | functions to write | unit tests |
|---|---|---|
{rows}
"""


def is_given(cell: NotebookNode) -> bool:
    """Whether a cell is folded: plumbing."""
    return "hide-input" in cell.metadata.get("tags", [])


class Edition(NamedTuple):
    """A chapter for students.

    Attributes:
        nb: the notebook.
        yours: the functions of each module that are to be written.
        printed: the modules of which the chapter prints a part.
    """

    nb: NotebookNode
    yours: dict[str, list[str]]
    printed: set[str]


def edition(text: Path, folded: bool = False) -> Edition:
    """Take the solutions out of a chapter, and the bodies of what is to be written."""
    nb, yours, printed = read(text), dict[str, list[str]](), set[str]()
    first = next(cell for cell in nb.cells if cell.cell_type == "code")
    first.source = FIRST.format(**INSTALL.search(first.source).groupdict())
    for cell in nb.cells:
        begins = EXPORT.match(cell.source.partition("\n")[0])
        if cell.cell_type != "code":
            cell.source = PAGE.sub(rf"]({SITE}/\1.html", SOLUTION.sub("", cell.source))
            continue
        if is_given(cell):
            cell.metadata["jupyter"] = {"source_hidden": True}
        if begins:
            module = Path(begins[1]).stem
            printed.add(module)
            names = [name for name, _ in functions(cell.source)]
            if names and (folded or not is_given(cell)):
                yours.setdefault(module, []).extend(names)
                cell.source = empty(cell.source)
    if yours:
        nb.cells.append(new_markdown_cell("## Is it right?", id="is-it-right"))
        nb.cells.append(new_code_cell(LAST.format(text.stem), id="check"))
    nb.cells = [cell for cell in nb.cells if cell.source.strip()]
    return Edition(nb, yours, printed)


def names_of(node: ast.stmt) -> list[str]:
    """The names that a statement of a module defines."""
    inside = ast.walk(node) if isinstance(node, (ast.Assign, ast.AnnAssign)) else []
    stored = [n.id for n in inside if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return [node.name] if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else stored


def used(path: Path) -> Iterator[tuple[str, set[str]]]:
    """Each test of a file with the dotted names that it uses, also through helpers there."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            origin = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            imports |= {(alias.asname or alias.name): origin + alias.name for alias in node.names}
    own = {p.stem for at in ("tools", "experiments") for p in (ROOT / at).glob("*.py")}
    if own & {origin.split(".")[0] for origin in imports.values()}:
        return  # it needs more than the package
    helpers = {name: node for node in tree.body for name in names_of(node)}
    for test in (name for name in helpers if name.startswith("test_")):
        names, todo = set[str](), [test]
        while todo:
            for node in ast.walk(helpers[todo.pop()]):
                dotted = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
                name = getattr(node, "id", getattr(node, "arg", dotted.split(".")[0]))
                if name in helpers and name not in names:
                    todo.append(name)
                names.add(name or "")
                if name in imports:
                    names |= {imports[name], imports[name] + dotted[len(name) :]}
        yield test, names


def all_tests() -> dict[str, set[str]]:
    """Each unit test that needs the package alone, with the modules and names that it uses."""
    tests = {}
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        for test, names in used(path):
            if not any(name.startswith(APART) for name in names):
                short = {name.removeprefix("minibert.") for name in names}
                tests[f"tests/{path.name}::{test}"] = {
                    f"{HOME[name]}.{name}" if name in HOME else name for name in short
                }
    return tests


def build(out: Path = OUT, folded: bool = False) -> list[str]:
    """Write the edition into a folder; give the notebooks that were kept as they were."""
    out.mkdir(parents=True, exist_ok=True)
    editions = {path.stem: edition(path, folded) for path in sources()}
    _, _, behind = (ROOT / "_toc.yml").read_text(encoding="utf-8").partition("Behind the")
    main = [chapter for name, chapter in editions.items() if f"/{name}." not in behind]
    later = {module for chapter in main for module in chapter.printed}
    by_hand = {Path(name).stem for name in BY_HAND}
    tests, plan, rows, kept = all_tests(), {}, [], []
    for name, chapter in editions.items():
        later -= chapter.printed
        write = {f"{m}.{n.split('.')[0]}" for m, names in chapter.yours.items() for n in names}
        to_run = [
            test for test, names in tests.items()
            if names & write and not {n.split(".")[0] for n in names} & (later | by_hand)
        ]  # fmt: skip
        files = Counter(test.split("::")[0] for test in to_run)  # most of a chapter's first
        to_run.sort(key=lambda test: -files[test.split("::")[0]])
        plan[name] = {"yours": chapter.yours, "tests": to_run}
        title = chapter.nb.cells[0].source.removeprefix("# ")
        count = sum(map(len, chapter.yours.values()))
        if count:
            rows.append(f"| [{title}]({name}.ipynb) | {count} | {len(to_run)} |")
        path, fresh = out / f"{name}.ipynb", nbformat.writes(chapter.nb) + "\n"
        if path.exists() and path.read_text(encoding="utf-8") != fresh:
            kept.append(path.name)
        else:
            path.write_text(fresh, encoding="utf-8", newline="\n")
    shutil.rmtree(out / "tests", ignore_errors=True)
    (out / "tests").mkdir()
    for path in (ROOT / "tests").glob("*.py"):  # they import one another
        shutil.copy(path, out / "tests")
    shutil.copy(ROOT / "tools" / "student_check.py", out / "check.py")
    install = INSTALL.search(sources()[0].read_text(encoding="utf-8")).groupdict()
    texts = {
        "pytest.ini": "[pytest]\n",
        "chapters.json": json.dumps(plan, indent=1) + "\n",
        "README.md": README.format(rows="\n".join(rows), **install),
    }
    for file, text in texts.items():
        (out / file).write_text(text, encoding="utf-8", newline="\n")
    return kept


def main() -> int:
    """Write the edition and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folded", action="store_true", help="empty the folded cells, too")
    parser.add_argument("--out", type=Path, default=OUT, help="the folder (_build/student)")
    args = parser.parse_args()
    for name in build(args.out, args.folded):
        print(f"{name} is there already, and not as it would be written: kept")
    print(f"The student's edition: {args.out / 'README.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
