"""The student's edition: nothing that is to be found is in it, and its check tells right from
wrong."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import nbformat
import pytest
import student
from chapters import execute
from nbformat import NotebookNode
from nbformat.v4 import new_notebook
from source import EXPORT, ROOT, choose, exported, read, sources
from student_check import LEFT, empty, functions, merge, right_answers
from test_exercises import SOLUTION, is_check


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    """The edition."""
    folder = tmp_path_factory.mktemp("student")
    assert student.build(folder) == []
    return folder


@pytest.fixture(scope="module")
def plan(out) -> dict[str, dict]:
    return json.loads((out / "chapters.json").read_text(encoding="utf-8"))


def code(nb: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def parts_of(nb: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in code(nb) if EXPORT.match(cell.source.partition("\n")[0])]


def fill_in(out: Path, name: str, wrong: dict[str, str] | None = None) -> NotebookNode:
    """Put the book's own code, with mistakes in it, into a chapter's notebook."""
    path = out / f"{name}.ipynb"
    nb = nbformat.read(path, as_version=4)
    for cell, ours in zip(parts_of(nb), parts_of(read(choose([name])[0])), strict=True):
        cell.source = ours.source
        for right, other in (wrong or {}).items():
            cell.source = cell.source.replace(right, other)
    nbformat.write(nb, path)
    return nb


def run(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "check.py", *arguments], cwd=out, capture_output=True, encoding="utf-8",
        env=os.environ | {"PYTHONPATH": paths, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


def flat(text: str) -> str:
    """Lines without what indents them."""
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


@pytest.mark.parametrize("text", sources(), ids=lambda path: path.stem)
def test_no_solution_no_output_and_no_body_is_left(out, plan, text):
    ours, nb = read(text), nbformat.read(out / f"{text.stem}.ipynb", as_version=4)
    there = flat("\n".join(cell.source for cell in nb.cells))
    assert "Solution" not in there and "<details>" not in there
    book = "\n".join(cell.source for cell in ours.cells if cell.cell_type != "code")
    assert book.count("<b>Solution</b>") == len(SOLUTION.findall(book))
    assert not [one for one in SOLUTION.findall(book) if len(one) > 60 and flat(one) in there]
    assert not any(cell.outputs or cell.execution_count for cell in code(nb))
    wanted = [name for names in plan[text.stem]["yours"].values() for name in names]
    seen = []
    for cell, emptied in zip(parts_of(ours), parts_of(nb), strict=True):
        for name, node in functions(cell.source):
            if student.is_given(cell):
                assert cell.source == emptied.source
                continue
            seen.append(name)
            body = node.body[ast.get_docstring(node) is not None :]
            lines = cell.source.splitlines()[body[0].lineno - 1 : body[-1].end_lineno]
            assert flat("\n".join(lines)) not in flat(emptied.source), name
            if len(lines) > 2:
                assert flat("\n".join(lines)) not in there, name
            now = dict(functions(emptied.source))[name]
            assert ast.get_docstring(now) == ast.get_docstring(node)
            assert ast.unparse(now.args) == ast.unparse(node.args)
            assert ast.unparse(now.body[-1]) == ast.unparse(ast.parse(LEFT.format(name)))
    assert sorted(seen) == sorted(wanted)
    assert not re.search(r"\]\([\w-]+\.md", there)


@pytest.mark.parametrize("folded", [False, True])
def test_emptied_modules_are_imported(tmp_path, folded):
    for text in sources():
        nb, yours, _ = student.edition(text, folded)
        for module in yours:
            path = tmp_path / f"{module}.py"
            before = path if path.exists() else ROOT / "minibert" / path.name
            cells = [part for name, part in exported(nb) if Path(name).stem == module]
            path.write_text(merge(before.read_text(encoding="utf-8"), cells), encoding="utf-8")
    names = sorted(path.stem for path in tmp_path.glob("*.py"))
    names.remove("modern")  # imported, it makes its Changes, whose check is to be written
    if folded:  # imported, it makes configs, which are another chapter's
        names.remove("counting")
    assert {"attention", "bert", "embeddings"} <= {*names}
    program = f"import minibert\nminibert.__path__.insert(0, {str(tmp_path)!r})\n"
    program += "".join(f"import minibert.{name}\n" for name in names)
    program += "from minibert import attention\nprint(attention.__file__)\nattention.causal_mask(3)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8")
    assert done.stdout.strip() == str(tmp_path / "attention.py")
    assert done.stderr.splitlines()[-1] == "NotImplementedError: yours: causal_mask"


def test_nothing_written_is_said_so(out):
    done = run(out, "counting")
    assert done.returncode == 1
    assert "counting: 0 of 9 functions written, " in done.stdout
    assert "to be written (and the cell run): linear, norm, total, " in done.stdout
    assert "red   test_" in done.stdout and "The first mistake" not in done.stdout
    assert not (out / "mine" / "counting.py").exists()


def test_a_mistake_is_caught_and_named(out):
    right, wrong = "x.transpose(1, 2).flatten(2)", "x.reshape(len(x), x.shape[2], -1)"
    fill_in(out, "attention", {right: wrong})
    done = run(out, "attention")
    assert done.returncode == 1 and "attention: 10 of 10 functions written" in done.stdout
    assert "red   test_a_wrong_merge_is_caught" in done.stdout
    assert "green test_masks_are_refused_with_a_reason" in done.stdout
    assert "The first mistake, test_self_attention_equals_torch" in done.stdout
    assert "AssertionError" in done.stdout.split("The first mistake")[1]
    assert not (out / "mine" / "attention.py").exists()
    fill_in(out, "attention")
    assert run(out, "attention").returncode == 0
    assert (out / "mine" / "attention.py").exists()


def test_the_books_own_code_is_green_and_is_used_from_then_on(out):
    fill_in(out, "counting")
    done = run(out, "counting")
    assert done.returncode == 0, done.stdout
    assert re.search(r"9 of 9 functions written, (\d+) of \1 tests green", done.stdout)
    kept = (out / "mine" / "counting.py").read_text(encoding="utf-8")
    assert ast.dump(ast.parse(kept)) == ast.dump(
        ast.parse((ROOT / "minibert" / "counting.py").read_text(encoding="utf-8"))
    )
    assert "counting: 9 of 9 functions written; exercises: 0 of " in run(out).stdout


def test_a_notebook_checks_itself(out, monkeypatch):
    """With `attention` green or not, what the cells define is what is tested."""
    monkeypatch.syspath_prepend(str(ROOT))
    nb = fill_in(out, "embeddings")
    first, *rest = code(nb)
    some = [first, *(cell for cell in rest if cell.id == "check" or cell in parts_of(nb))]
    for cell in some:
        cell.metadata.pop("jupyter", None)
    run_it = new_notebook(cells=some)
    execute(run_it, out)
    said = run_it.cells[-1].outputs[0].text
    assert said.startswith("embeddings: 4 of 4 functions written, ") and "red" not in said
    assert (out / "mine" / "embeddings.py").exists() and (out / "mine" / "device.py").exists()


def test_what_was_filled_in_is_kept(tmp_path):
    assert student.build(tmp_path) == student.build(tmp_path) == []
    fill_in(tmp_path, "counting")
    before = (tmp_path / "counting.ipynb").read_bytes()
    assert student.build(tmp_path) == ["counting.ipynb"]
    assert (tmp_path / "counting.ipynb").read_bytes() == before


def test_cells_take_the_place_of_a_modules_parts():
    module = "import a\n\nX = 1\n\n\ndef f():\n    return X\n\n\n# why\ndef g():\n    return f()\n"
    cell = "import b\n\n\ndef helper():\n    return b\n\n\ndef g():\n    return helper()"
    merged = merge(module, [cell])
    names = [getattr(node, "name", type(node).__name__) for node in ast.parse(merged).body]
    assert names == ["Import", "Assign", "f", "Import", "helper", "g"]
    assert "# why" not in merged and merge(merged, [cell]) == merged
    assert empty("def f(x):\n    '''F.'''\n    # a hint\n    return x\n") == (
        "def f(x):\n    '''F.'''\n    " + LEFT.format("f")
    )


def test_a_cell_that_is_no_python_is_shown(out):
    fill_in(out, "tagging", {"def span_f1(": "def span_f1(("})
    done = run(out, "tagging")
    assert done.returncode == 1 and "a cell # minibert/tagging.py is not Python: " in done.stderr


def test_right_answers_are_counted(tmp_path):
    nb = read(choose(["attention"])[0])
    checks = [cell for cell in nb.cells if is_check(cell)]
    for cell, said in zip(checks, ["right\n", "not yet\n", "no\n", "right\n"], strict=False):
        cell.outputs = [nbformat.v4.new_output("stream", text=said)]
    nbformat.write(nb, tmp_path / "attention.ipynb")
    assert right_answers(tmp_path / "attention.ipynb") == (2, len(checks))


def test_the_extra_brings_what_the_tests_import(out, plan):
    """`student` is `book` and a few more; what Colab has, and more, is in neither."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    brought, todo = {*extras["dependencies"]}, ["student"]
    while todo:
        for one in extras["optional-dependencies"][todo.pop()]:
            inner = re.match(r"minibert-book\[([\w,]+)\]", one)
            todo += inner[1].split(",") if inner else []
            brought.add(one)
    names = {re.match(r"[\w-]+", one)[0] for one in brought}
    names |= {"pyarrow", "regex", "sentence-transformers"}  # what these bring
    owner = packages_distributions()
    for file in sorted({test.split("::")[0] for one in plan.values() for test in one["tests"]}):
        for node in ast.parse((out / file).read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                of = getattr(node, "module", None) or node.names[0].name
                root = of.split(".")[0]
                if root in {"minibert", *sys.stdlib_module_names, *beside(out)}:
                    continue
                owners = {one.lower().replace("_", "-") for one in owner[root]}
                assert owners & names, (file, root)


def beside(out: Path) -> list[str]:
    return [path.stem for path in (out / "tests").glob("*.py")]


RATE = 150  # words a minute, of a text that is worked through
PAGE = ROOT / "book" / "teaching.md"


def minutes(name: str) -> int:
    """How long the prose of a chapter takes to read, without its code and its solutions."""
    cells = read(choose([name])[0]).cells
    prose = SOLUTION.sub("", "\n".join(c.source for c in cells if c.cell_type != "code"))
    return round(len(prose.split()) / RATE)


def test_the_plans_of_the_teachers_page_say_what_is_so(plan):
    text = PAGE.read_text(encoding="utf-8")
    assert f"at {RATE} a minute" in text
    rows = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \| (.+?) \| (\d+) \|$", text, re.MULTILINE)
    assert [int(week) for week, *_ in rows] == [*range(1, 7), *range(1, 13)]
    titles = {path.stem: read(path).cells[0].source.removeprefix("# ") for path in sources()}
    headings = {
        line.lstrip("# ") for path in sources() for cell in read(path).cells
        for line in cell.source.splitlines() if line.startswith("## ")
    }  # fmt: skip
    for _, chapters, show, write, time in rows:
        links = re.findall(r"\[([^]]+)\]\(([\w-]+)\.ipynb\)", chapters)
        assert links and all(titles[name] == said for said, name in links)
        count = sum(len(f) for _, name in links for f in plan[name]["yours"].values())
        assert write in ([f"{count} functions"] if count else ["the exercises", "–"]), chapters
        assert int(time) % 5 == 0, chapters
        assert abs(int(time) - sum(minutes(name) for _, name in links)) <= 5, chapters
        assert not [one for one in re.findall(r"\*(.+?)\*", show) if one not in headings], show
