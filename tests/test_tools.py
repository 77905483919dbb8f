"""The tools, on a small copy of the book in which each kind of fault is made."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import check
import nbformat
import pytest
import source
import tangle
from logo import PATH, svg

from minibert.qa import load_leadqa, write_squad

ROOT = Path(__file__).resolve().parents[1]
HEADER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# Tiny

Some text, $x_i$.

"""
CELLS = [
    '# minibert/data.py\n"""Data."""\n\n__all__ = ["double"]',
    '# minibert/data.py\ndef double(x: int) -> int:\n    """Twice `x`."""\n    return 2 * x',
    "print(double(21))\nprint({'b', 'a'})",
    "from IPython.display import display\n"
    'display({"image/png": "iVBORw0KGgo="}, raw=True,\n'
    '        metadata={"image/png": {"alt": "two dots"}})',
]
MODULE = (
    tangle.HEADER.format("book/source/01-tiny.md")
    + '''"""Data."""

__all__ = ["double"]


def double(x: int) -> int:
    """Twice `x`."""
    return 2 * x
'''
)


def fenced(code: str) -> str:
    return f"```{{code-cell}}\n{code}\n```\n\n"


def tool(folder: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder)}
    command = [sys.executable, str(folder / "tools" / f"{name}.py"), *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A repository of one tiny chapter, tangled and run."""
    folder = tmp_path_factory.mktemp("tiny")
    shutil.copytree(ROOT / "tools", folder / "tools")
    (folder / "book" / "source").mkdir(parents=True)
    (folder / "minibert").mkdir()
    (folder / "minibert" / "__init__.py").write_text('"""Tiny."""\n')
    for name in ("_config.yml", "_toc.yml", "requirements.txt"):
        (folder / name).write_text("")
    text = HEADER + "".join(map(fenced, CELLS))
    (folder / "book" / "source" / "01-tiny.md").write_text(text)
    for name in ("tangle", "chapters"):
        done = tool(folder, name)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def book(finished, tmp_path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(finished, tmp_path / "book"))


def test_a_module_is_its_cells_in_order(finished):
    assert (finished / "minibert" / "data.py").read_text() == MODULE


def test_a_second_run_gives_the_same_bytes(book):
    notebook = book / "book" / "01-tiny.ipynb"
    before = notebook.read_bytes()
    assert before.endswith(b"}\n")
    assert tool(book, "chapters", "1").returncode == 0
    assert notebook.read_bytes() == before
    assert tool(book, "tangle").stdout == ""


def test_cell_ids_follow_the_source(book):
    text = book / "book" / "source" / "01-tiny.md"
    notebook = book / "book" / "01-tiny.ipynb"
    before = [cell.id for cell in nbformat.read(notebook, 4).cells]
    text.write_text(text.read_text().replace("21", "22") + fenced("pass") + fenced("pass"))
    tool(book, "chapters")
    after = [cell.id for cell in nbformat.read(notebook, 4).cells]
    changed = [a != b for a, b in zip(before, after, strict=False)]
    assert changed == [False, False, False, True, False]
    assert len(set(after)) == len(after) == len(before) + 2


def test_pictures_carry_their_text_to_the_site(finished):
    cell = nbformat.read(finished / "book" / "01-tiny.ipynb", 4).cells[-1]
    assert cell.metadata["mystnb"]["image"]["alt"] == "two dots"


def test_copies_are_run_once_and_the_original_is_left_alone(book):
    original = (book / "book" / "01-tiny.ipynb").read_bytes()
    first = tool(book, "chapters", "--into", "_build/run")
    second = tool(book, "chapters", "--into", "_build/run")
    assert "01-tiny: unchanged" not in first.stdout
    assert "01-tiny: unchanged" in second.stdout
    assert (book / "_build" / "run" / "book" / "01-tiny.ipynb").read_bytes() == original
    (book / "minibert" / "data.py").write_text(MODULE + "\n")
    assert "unchanged" not in tool(book, "chapters", "--into", "_build/run").stdout
    assert (book / "book" / "01-tiny.ipynb").read_bytes() == original


def test_a_failing_chapter_leaves_its_notebook(book):
    text, notebook = book / "book" / "source" / "01-tiny.md", book / "book" / "01-tiny.ipynb"
    before = notebook.read_bytes()
    text.write_text(text.read_text() + fenced("1 / 0"))
    done = tool(book, "chapters")
    assert done.returncode != 0 and "ZeroDivisionError" in done.stderr
    assert notebook.read_bytes() == before
    assert "No chapter 07; there are 01" in tool(book, "chapters", "7").stderr


def test_check_finds_nothing_in_a_sound_book(finished):
    done = tool(finished, "check")
    assert (done.returncode, done.stdout) == (0, "text, notebooks and modules agree\n")


def edit_text(old: str, new: str):
    def spoil(book: Path) -> None:
        path = book / "book" / "source" / "01-tiny.md"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    return spoil


def edit_notebook(change):
    def spoil(book: Path) -> None:
        path = book / "book" / "01-tiny.ipynb"
        nb = json.loads(path.read_text())
        change(nb["cells"][3])
        path.write_text(json.dumps(nb))

    return spoil


def write(name: str, text: str):
    return lambda book: (book / name).write_text(text)


STDERR = {"output_type": "stream", "name": "stderr", "text": "careful"}
ERROR = {"output_type": "error", "ename": "E", "evalue": "", "traceback": []}
FAULTS = {
    "data.py differs from its chapter": write("minibert/data.py", MODULE + "x = 1\n"),
    "minibert/mlm.py is printed in no chapter": write("minibert/mlm.py", "__all__ = []\n"),
    "01-tiny.ipynb is missing": lambda book: (book / "book" / "01-tiny.ipynb").unlink(),
    "its cells are not the text's": edit_text("21", "22"),
    "its tags are not the text's": edit_text(
        "```{code-cell}\nprint", "```{code-cell}\n:tags: [hide-input]\nprint"
    ),
    "was not run from top to bottom": edit_notebook(lambda c: c.update(execution_count=9)),
    "holds an error": edit_notebook(lambda c: c.update(outputs=[ERROR])),
    "holds warnings or a progress bar": edit_notebook(lambda c: c.update(outputs=[STDERR])),
    "09-old.ipynb has no text": lambda book: shutil.copy(
        book / "book" / "01-tiny.ipynb", book / "book" / "09-old.ipynb"
    ),
    "of a part of minibert/data.py runs code": edit_text(
        "    return 2 * x", "    return 2 * x\n\nprint(1)"
    ),
    "columns": edit_text("print(double(21))", "print(double(21))" + " " * 50 + "# far"),
    "relative import": write("minibert/mlm.py", "from .data import double\n"),
    "data.py imports bert, which comes after it": write(
        "minibert/data.py", "from minibert.bert import x\n"
    ),
    "figures stand apart": write("minibert/mlm.py", "import minibert.figures\n"),
}
WHAT_READS = [c for c in check.CHECKS if c is not check.public_names_are_documented]


@pytest.mark.parametrize("message", FAULTS)
def test_check_finds(message, book, monkeypatch):
    for module in (source, tangle, check):
        monkeypatch.setattr(module, "ROOT", book)
    monkeypatch.setattr(source, "SOURCE", book / "book" / "source")
    monkeypatch.setattr(check, "PACKAGE", book / "minibert")
    FAULTS[message](book)
    assert message in "\n".join(fault for one in WHAT_READS for fault in one())


def test_check_finds_names_without_a_word(book):
    (book / "minibert" / "mlm.py").write_text('__all__ = ["f"]\n\n\ndef f(): ...\n')
    (book / "minibert" / "nsp.py").write_text("x = 1\n")
    (book / "minibert" / "qa.py").write_text("from minibert.mlm import g\n")
    done = tool(book, "check")
    assert done.returncode == 1
    for message in ("f lacks a docstring", "nsp.py has no __all__", "qa.py cannot be"):
        assert message in done.stdout


def test_the_logo_is_drawn_by_code():
    assert PATH.read_text() == svg()


def test_the_speed_record():
    record = json.loads((ROOT / "bench" / "record.json").read_text())
    assert set(record) == {"rows", "date", "processor", "versions"} and record["rows"]
    assert len({row["name"] for row in record["rows"]}) == len(record["rows"])
    for row in record["rows"]:
        assert {"name", "ratio", "floor"} <= set(row)
        assert row["ratio"] >= row["floor"], row


def test_the_full_recipe_is_recorded(tmp_path):
    """A few questions in SQuAD's place, a small model in BERT's."""
    some = [one for one in load_leadqa("dev") if one.answers][:12]
    for name in ("train", "dev"):
        write_squad(some, tmp_path / f"{name}-v1.1.json")
    record = tmp_path / "squad.json"
    record.write_text('{"published": [], "measured": {}}')
    command = [
        sys.executable, "tools/squad.py", "leads-small", "--runs", tmp_path, "--record", record,
        "--epochs", "1", "--batch-size", "4", "--max-length", "96", "--doc-stride", "32",
    ]  # fmt: skip
    environment = os.environ | {"MINIBERT_SQUAD": str(tmp_path)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    found = json.loads(record.read_text())["measured"]["leads-small"]
    assert found["count"] == 12 and 0 <= found["exact_match"] <= found["f1"] <= 100
    assert {"date", "chip", "processor", "versions"} <= set(found)
