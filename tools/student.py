"""The student's edition of the book: chapters without solutions, the package to be written.

    python tools/student.py              writes _build/student
    python tools/student.py --folded     the folded cells are emptied, too

What a chapter shows is to be written, what it folds is given: in each exported cell that is
not folded, every function keeps its signature and docstring and loses its body. A test
belongs to the last chapter that exports a name which the test uses. A notebook that is
there already may have been filled in: it is kept.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell
from source import EXPORT, ROOT, exported, read, sources
from student_check import empty, functions

from minibert import HOME

OUT = ROOT / "_build" / "student"
SITE = "https://minibert-book.github.io/minibert-book/book"
SOLUTION = re.compile(r"<details>\s*<summary><b>Solution</b></summary>.*?</details>\n*", re.DOTALL)
PAGE = re.compile(r"\]\(([\w-]+)\.md\b")
INSTALL = re.compile(r'    %pip install -q "([\w-]+)\[book\] @ git\+(\S+)@(v[\d.]+)"')
# Tests of these use the whole package, the repository, or another process.
APART = ("ROOT", "subprocess", "minibert.__main__", "minibert.commands")
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

{rows}
"""


def is_given(cell: NotebookNode) -> bool:
    """Whether a cell is folded: plumbing."""
    return "hide-input" in cell.metadata.get("tags", [])


def edition(text: Path, folded: bool) -> tuple[NotebookNode, dict[str, list[str]]]:
    """A chapter's notebook for students, and the functions of each module to be written."""
    nb, yours = read(text), dict[str, list[str]]()
    first = next(cell for cell in nb.cells if cell.cell_type == "code")
    name, address, tag = INSTALL.search(first.source).groups()
    first.source = FIRST.format(name=name, address=address, tag=tag)
    for cell in nb.cells:
        begins = EXPORT.match(cell.source.partition("\n")[0])
        if cell.cell_type != "code":
            cell.source = PAGE.sub(rf"]({SITE}/\1.html", SOLUTION.sub("", cell.source))
        elif begins and (folded or not is_given(cell)):
            names = [one for one, _ in functions(cell.source)]
            yours.setdefault(Path(begins[1]).stem, []).extend(names)
            cell.source = empty(cell.source)
        elif is_given(cell):
            cell.metadata["jupyter"] = {"source_hidden": True}
    yours = {module: names for module, names in yours.items() if names}
    if yours:
        nb.cells.append(new_markdown_cell("## Is it right?", id="check-title"))
        nb.cells.append(new_code_cell(LAST.format(text.stem), id="check"))
    nb.cells = [cell for cell in nb.cells if cell.source.strip()]
    return nb, yours


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
            imports |= {(one.asname or one.name): origin + one.name for one in node.names}
    own = {p.stem for at in ("tools", "experiments", "tests") for p in (ROOT / at).glob("*.py")}
    if own & {origin.split(".")[0] for origin in imports.values()}:
        return  # it needs more than the package
    helpers = {name: node for node in tree.body for name in names_of(node)}
    for test in (name for name in helpers if name.startswith("test_")):
        names, todo = set[str](), [test]
        while todo:
            for node in ast.walk(helpers[todo.pop()]):
                whole = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
                name = getattr(node, "id", getattr(node, "arg", whole.split(".")[0]))
                if name in helpers and name not in names:
                    todo.append(name)
                names.add(name or "")
                if name in imports:
                    names |= {imports[name], imports[name] + whole[len(name) :]}
        yield test, names


def tests_of_chapters() -> dict[str, list[str]]:
    """The tests of each chapter: of the last one that exports a name which a test uses."""
    contents = (ROOT / "_toc.yml").read_text(encoding="utf-8").split("Behind the scenes")[0]
    chapters = [path for path in sources() if f"book/{path.stem}.ipynb" in contents]
    home = {}
    for path in chapters:
        for module, code in exported(read(path)):
            stem = Path(module).stem
            for name in (name for node in ast.parse(code).body for name in names_of(node)):
                home[f"minibert.{stem}.{name}"] = path.stem
                if HOME.get(name) == stem:
                    home[f"minibert.{name}"] = path.stem
    order = [path.stem for path in chapters]
    found: dict[str, list[str]] = {name: [] for name in order}
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        for test, names in used(path):
            where = {home[name] for name in names & home.keys()}
            if where and not any(name.startswith(APART) for name in names):
                found[max(where, key=order.index)].append(f"tests/{path.name}::{test}")
    return found


def build(out: Path = OUT, folded: bool = False) -> list[str]:
    """Write the edition into a folder; give the notebooks that were kept as they were."""
    (out / "tests").mkdir(parents=True, exist_ok=True)
    plan, rows, kept, tests = {}, ["| chapter | to write | tests |", "|---|---|---|"], [], {}
    tests = tests_of_chapters()
    for text in sources():
        nb, yours = edition(text, folded)
        to_run = tests.get(text.stem, []) if yours else []
        plan[text.stem] = {"yours": yours, "tests": to_run}
        title = nb.cells[0].source.removeprefix("# ")
        count = sum(map(len, yours.values()))
        rows.append(f"| [{title}]({text.stem}.ipynb) | {count} functions | {len(to_run)} |")
        path = out / f"{text.stem}.ipynb"
        fresh = nbformat.writes(nb) + "\n"
        if path.exists() and path.read_text(encoding="utf-8") != fresh:
            kept.append(path.name)
        else:
            path.write_text(fresh, encoding="utf-8", newline="\n")
    files = {test.split("::")[0] for one in plan.values() for test in one["tests"]}
    for name in [*files, "tests/conftest.py"]:
        shutil.copy(ROOT / name, out / name)
    shutil.copy(ROOT / "tools" / "student_check.py", out / "check.py")
    (out / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (out / "chapters.json").write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")
    install = INSTALL.search(read(sources()[0]).cells[1].source)
    name, address, tag = install.groups()
    readme = README.format(name=name, address=address, tag=tag, rows="\n".join(rows))
    (out / "README.md").write_text(readme, encoding="utf-8")
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
