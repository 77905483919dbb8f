"""How far a student is with a chapter: its functions, its unit tests, its exercises.

    python check.py                      how far all chapters are
    python check.py attention            the tests of one, or of several
    python check.py attention --of anna ben     the same for the notebooks of a class

What stands in a notebook's cells `# minibert/NAME.py` takes the place of what the installed
package has under the same names, and the chapter's tests run against that. When all are
green, the modules go to the folder `mine`, and the chapters after it are built on them.
(`make student` puts this file into the student's edition, as check.py.)
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent
EXPORT = re.compile(r"# minibert/(\w+)\.py$")
LEFT = 'raise NotImplementedError("yours: {}")'
LIMIT = 1200  # seconds
# Modules are found in these folders before the installed package's own.
PLUGIN = "import minibert\n\nminibert.__path__[:0] = {!r}\n"


class Test(NamedTuple):
    """How a test went: `words` say what was wrong, and are empty where nothing was."""

    name: str
    words: str


def is_silent(node: ast.stmt) -> bool:
    """Whether a statement is a docstring or three dots."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def functions(code: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    """The functions and methods to write, by name: no stubs, and none that the import runs."""
    nodes = ast.parse(code).body
    at_once = [node for node in nodes if not isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    calls = (call for node in at_once for call in ast.walk(node) if isinstance(call, ast.Call))
    ran = {"__init_subclass__", *(ast.unparse(call.func) for call in calls)}
    for node in nodes:
        for method in node.body if isinstance(node, ast.ClassDef) else [node]:
            if not isinstance(method, ast.FunctionDef) or method.name in ran:
                continue
            if not all(map(is_silent, method.body)):
                yield (method.name if method is node else f"{node.name}.{method.name}"), method


def empty(code: str, names: Iterable[str] | None = None) -> str:
    """Take out the bodies of functions, all or those of these names; docstrings stay."""
    lines = code.splitlines()
    for name, node in reversed([*functions(code)]):
        if names is None or name in names:
            first = node.body[0]
            told = ast.get_docstring(node) is not None
            start = first.end_lineno if told else first.lineno - 1
            lines[start : node.end_lineno] = [" " * first.col_offset + LEFT.format(name)]
    return "\n".join(lines)


def parts(code: str) -> dict[str, str]:
    """Each statement, with the comments above it, by the name that it defines."""
    lines, sources, start = code.splitlines(), dict[str, str](), 0
    for node in ast.parse(code).body:
        targets = getattr(node, "targets", [getattr(node, "target", node)])
        name = getattr(node, "name", None) or ast.unparse(targets[0])
        before = [sources[name]] if name in sources else []
        sources[name] = "\n".join(before + lines[start : node.end_lineno])
        start = node.end_lineno or 0
    return sources


def merge(module: str, cells: Iterable[str]) -> str:
    """Let the statements of cells take the place of a module's; new ones stay in their order."""
    sources = parts(module)
    order = [*sources]
    for cell in cells:
        new = parts(cell)
        known = [order.index(name) for name in new if name in sources]
        at = known[0] if known else len(order)
        for name, text in new.items():
            if name in sources:
                at = order.index(name)
            else:
                order.insert(at, name)
            at += 1
            sources[name] = text
    return "\n".join(sources[name] for name in order) + "\n"


def by_module(cells: Iterable[str]) -> dict[str, list[str]]:
    """The cells that begin `# minibert/NAME.py`, by NAME; each must be Python."""
    bodies: dict[str, list[str]] = {}
    for cell in cells:
        first, _, rest = cell.lstrip().partition("\n")
        if match := EXPORT.match(first.rstrip()):
            try:
                ast.parse(rest)
            except SyntaxError as error:
                line = rest.splitlines()[(error.lineno or 1) - 1].strip()
                message = f"a cell {first} is not Python: {error.msg}, in the line: {line}"
                raise SystemExit(message) from None
            bodies.setdefault(match[1], []).append(rest)
    return bodies


def modules(chapter: str, cells: Iterable[str], mine: Path) -> tuple[dict[str, str], list[str]]:
    """The text of each module of a chapter with what was written; and what was not."""
    import minibert

    installed = Path(minibert.__file__).parent
    wrote, yours = by_module(cells), plan()[chapter]["yours"]
    texts, left = {}, []
    for name, names in yours.items():
        path = next(p / f"{name}.py" for p in (mine, installed) if (p / f"{name}.py").exists())
        base = empty(path.read_text(encoding="utf-8"), names)
        texts[name] = merge(base, wrote.get(name, []))
        left += [function for function in names if LEFT.format(function) in texts[name]]
    return texts, left


def run(tests: Iterable[str], folders: Iterable[Path], at: Path) -> list[Test]:
    """Run tests with the modules of folders before the package's own."""
    (at / "overlay.py").write_text(PLUGIN.format([*map(str, folders)]), encoding="utf-8")
    report = at / "report.xml"
    paths = os.pathsep.join([str(at), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "overlay", "-p", "no:cacheprovider"]
    command += ["--tb=short", f"--junitxml={report}", *tests]
    try:
        process = subprocess.run(
            command, cwd=HERE, env=environment, timeout=LIMIT, capture_output=True,
            encoding="utf-8", errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise SystemExit(f"the tests did not end in {LIMIT} s: is there an endless loop?") from None
    if not report.exists():
        raise SystemExit(f"pytest did not start:\n{process.stdout}{process.stderr}")
    results = []
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        wrong = [element for element in case if element.tag in ("failure", "error")]
        words = wrong[0].text or wrong[0].get("message") or "" if wrong else ""
        results.append(Test(case.get("name") or "", words))
    return results


def right_answers(notebook: Path) -> tuple[int, int]:
    """Of how many exercises the saved outputs say *right*, and how many there are."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    checks = [c for c in cells if c["cell_type"] == "code" and '"not yet"' in "".join(c["source"])]
    verdicts = ["".join("".join(o.get("text", "")) for o in c["outputs"]).strip() for c in checks]
    return verdicts.count("right"), len(verdicts)


def is_python(cell: str) -> bool:
    """Whether a cell can be parsed."""
    try:
        ast.parse(cell)
    except SyntaxError:
        return False
    return True


def plan() -> dict[str, dict]:
    """What there is to write and to run in each chapter, as `make student` found it."""
    return json.loads((HERE / "chapters.json").read_text(encoding="utf-8"))


def to_write(chapter: str) -> int:
    """How many functions of a chapter are the student's."""
    return sum(map(len, plan()[chapter]["yours"].values()))


def read(notebook: Path) -> list[str]:
    """A notebook's code cells."""
    if not notebook.exists():
        raise SystemExit(f"there is no {notebook}")
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]


def check(
    chapter: str, cells: Iterable[str] | None = None, folder: Path | str = ".", brief: bool = False
) -> bool:
    """Run a chapter's tests against what a notebook's cells hold; say how it went.

    Args:
        chapter: the notebook's name, such as "attention".
        cells: as they were run (`In`, in the notebook itself); else the saved notebook's.
        folder: where the notebooks lie, and where `mine` is.
        brief: say it in one line.

    Returns:
        Whether all is green.
    """
    folder = Path(folder).resolve()
    if chapter not in plan():
        raise SystemExit(f"no chapter {chapter}; there are {' '.join(plan())}")
    # What was run and is no Python said so then.
    cells = read(folder / f"{chapter}.ipynb") if cells is None else filter(is_python, cells)
    count = to_write(chapter)
    if not count:
        print(f"{chapter}: nothing to write here but the exercises")
        return True
    mine = folder / "mine"
    texts, left = modules(chapter, cells, mine)
    with tempfile.TemporaryDirectory() as name:
        for module, text in texts.items():
            (Path(name) / f"{module}.py").write_text(text, encoding="utf-8")
        results = run(plan()[chapter]["tests"], [Path(name), mine], Path(name))
    red = [test for test in results if test.words]
    print(f"{chapter}: {count - len(left)} of {count} functions written, "
          f"{len(results) - len(red)} of {len(results)} tests green")  # fmt: skip
    if left and not brief:
        print("to be written (and the cell run):", ", ".join(left))
    if not brief:
        show(results)
    if left or red:
        return False
    mine.mkdir(exist_ok=True)
    for module, text in texts.items():
        (mine / f"{module}.py").write_text(text, encoding="utf-8")
    return True


def show(results: list[Test]) -> None:
    """Print each test once, its cases counted, and what the first mistake is."""
    cases: dict[str, list[Test]] = {}
    for test in results:
        cases.setdefault(test.name.split("[")[0], []).append(test)
    for name, tests in cases.items():
        red = sum(bool(test.words) for test in tests)
        more = f" ({red} of {len(tests)} cases)" if red and len(tests) > 1 else ""
        print("red  " if red else "green", name + more)
    wrong = [test for test in results if test.words and "yours: " not in test.words]
    if wrong:
        lines = [line[:100] for line in wrong[0].words.rstrip().splitlines()]
        print(f"\nThe first mistake, {wrong[0].name}:", *lines[-25:], sep="\n    ")


def main() -> int:
    """Check what is asked for; 0 when all is green."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="such as attention; none: how far all are")
    parser.add_argument("--of", nargs="+", type=Path, metavar="FOLDER", help="each a student's")
    args = parser.parse_args()
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    green = True
    for folder in args.of or [HERE]:
        for chapter in args.chapters or plan():
            notebook = folder / f"{chapter}.ipynb"
            if args.of:
                print(end=f"{folder.name}, ")
            if args.chapters:
                green &= check(chapter, None, folder, brief=bool(args.of))
            else:
                count = to_write(chapter)
                left = len(modules(chapter, read(notebook), folder / "mine")[1])
                print(end=f"{chapter}: {count - left} of {count} functions written; ")
            if args.of or not args.chapters:
                print("exercises: {} of {} right".format(*right_answers(notebook)))
    return not green


if __name__ == "__main__":
    sys.exit(main())
