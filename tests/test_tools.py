"""The tools, on a small copy of the book in which each kind of fault is made."""

import datetime
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import badge
import check
import colab
import finetuning
import make
import nbformat
import pytest
import source
import tangle
import torch
import yaml
from logo import PATH, svg

from minibert.squad import load_leadqa, write_squad
from minibert.tokens import Tokenizer
from minibert.training import TrainingConfig

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
    tangle.HEADER.format("book/source/tiny.md")
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
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, str(folder / "tools" / f"{name}.py"), *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        timeout=120,
        encoding="utf-8",
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A repository of one tiny chapter, tangled and run."""
    folder = tmp_path_factory.mktemp("tiny")
    shutil.copytree(ROOT / "tools", folder / "tools")
    (folder / "book" / "source").mkdir(parents=True)
    (folder / "minibert").mkdir()
    (folder / "minibert" / "__init__.py").write_text('"""Tiny."""\n', encoding="utf-8")
    for name in ("_config.yml", "_toc.yml", "requirements.txt"):
        (folder / name).write_text("", encoding="utf-8")
    text = HEADER + "".join(map(fenced, CELLS))
    (folder / "book" / "source" / "tiny.md").write_text(text, encoding="utf-8")
    for name in ("tangle", "chapters"):
        done = tool(folder, name)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def book(finished, tmp_path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(finished, tmp_path / "book"))


def test_a_module_is_its_cells_in_order(finished):
    assert (finished / "minibert" / "data.py").read_text(encoding="utf-8") == MODULE


def without_stamp(notebook: Path) -> str:
    """A notebook less what its run says of itself."""
    nb = nbformat.read(notebook, 4)
    assert nb.metadata.pop("run")["torch"] == version("torch")
    return nbformat.writes(nb)


def test_a_second_run_gives_the_same_notebook(book):
    notebook = book / "book" / "tiny.ipynb"
    before = without_stamp(notebook)
    assert notebook.read_bytes().endswith(b"}\n")
    assert tool(book, "chapters", "tiny").returncode == 0
    assert without_stamp(notebook) == before
    assert tool(book, "tangle").stdout == ""


def test_cell_ids_follow_the_source(book):
    text = book / "book" / "source" / "tiny.md"
    notebook = book / "book" / "tiny.ipynb"
    before = [cell.id for cell in nbformat.read(notebook, 4).cells]
    text.write_text(
        text.read_text(encoding="utf-8").replace("21", "22") + fenced("pass") + fenced("pass"),
        encoding="utf-8",
    )
    tool(book, "chapters")
    after = [cell.id for cell in nbformat.read(notebook, 4).cells]
    changed = [a != b for a, b in zip(before, after, strict=False)]
    assert changed == [False, False, False, True, False]
    assert len(set(after)) == len(after) == len(before) + 2


def test_a_run_says_when_on_what_and_how_long(finished):
    run = nbformat.read(finished / "book" / "tiny.ipynb", 4).metadata["run"]
    now = datetime.datetime.now(datetime.UTC).date()
    assert 0 <= (now - datetime.date.fromisoformat(run["date"])).days <= 1
    assert badge.processor() in run["processor"] or torch.cuda.is_available()
    assert 0 < run["seconds"] < 120
    said = badge.say(run | {"date": "2026-03-05", "seconds": 100, "processor": "Some CPU"})
    assert said == f"Last run on 5 March 2026 in 2 minutes, on Some CPU, with torch {run['torch']}"
    assert "in less than a minute," in badge.say(run | {"seconds": 29})
    assert "in 1 minute," in badge.say(run | {"seconds": 31})


def test_pictures_carry_their_text_to_the_site(finished):
    cell = nbformat.read(finished / "book" / "tiny.ipynb", 4).cells[-1]
    assert cell.metadata["mystnb"]["image"]["alt"] == "two dots"


def test_copies_are_run_once_and_the_original_is_left_alone(book):
    original = (book / "book" / "tiny.ipynb").read_bytes()
    first = tool(book, "chapters", "--into", "_build/run")
    second = tool(book, "chapters", "--into", "_build/run")
    assert "tiny: unchanged" not in first.stdout
    assert "tiny: unchanged" in second.stdout
    copied = book / "_build" / "run" / "book" / "tiny.ipynb"
    assert without_stamp(copied) == without_stamp(book / "book" / "tiny.ipynb")
    (book / "minibert" / "data.py").write_text(MODULE + "\n", encoding="utf-8")
    assert "unchanged" not in tool(book, "chapters", "--into", "_build/run").stdout
    assert (book / "book" / "tiny.ipynb").read_bytes() == original


def test_a_second_run_resumes_with_the_chapter_that_failed(book):
    other = book / "book" / "source" / "zebra.md"
    other.write_text(HEADER + fenced("import os\nos.kill(os.getpid(), 9)"), encoding="utf-8")
    shutil.copy(book / "book" / "tiny.ipynb", book / "book" / "zebra.ipynb")
    done = tool(book, "chapters", "--into", "_build/run")
    assert done.returncode == 1 and "its Python died" in done.stdout
    assert (book / "_build" / "run" / "book" / "zebra.ipynb").exists()  # as committed
    again = tool(book, "chapters", "--into", "_build/run")
    assert "tiny: unchanged" in again.stdout and "FAILED zebra" in again.stdout
    other.write_text(HEADER + fenced("print('mended')"), encoding="utf-8")
    assert tool(book, "chapters", "--into", "_build/run").returncode == 0


def test_a_failing_chapter_leaves_its_notebook(book):
    text, notebook = book / "book" / "source" / "tiny.md", book / "book" / "tiny.ipynb"
    before = notebook.read_bytes()
    text.write_text(
        text.read_text(encoding="utf-8") + fenced("x = 0\n1 / x  # here\n'after'"), encoding="utf-8"
    )
    (text.parent / "zebra.md").write_text(HEADER + fenced("print('sound')"), encoding="utf-8")
    done = tool(book, "chapters")
    assert done.returncode == 1 and done.stderr == "1 of 2 chapters failed\n"
    said = done.stdout.splitlines()
    at = next(i for i, line in enumerate(said) if line.startswith("FAILED tiny: cell 6 of 6"))
    assert said[at].endswith("(book/source/tiny.md)")
    assert said[at + 1 : at + 3] == ["  at  1 / x  # here", "  ZeroDivisionError: division by zero"]
    assert notebook.read_bytes() == before
    assert "sound" in (book / "book" / "zebra.ipynb").read_text(encoding="utf-8")
    assert "No chapter old; there are tiny zebra" in tool(book, "chapters", "old").stderr


def test_check_finds_nothing_in_a_sound_book(finished):
    done = tool(finished, "check")
    assert (done.returncode, done.stdout) == (0, "text, notebooks and modules agree\n")


def edit_text(old: str, new: str):
    def spoil(book: Path) -> None:
        path = book / "book" / "source" / "tiny.md"
        assert old in path.read_text(encoding="utf-8")
        path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")

    return spoil


def edit_notebook(change):
    def spoil(book: Path) -> None:
        path = book / "book" / "tiny.ipynb"
        nb = json.loads(path.read_text(encoding="utf-8"))
        change(nb["cells"][3])
        path.write_text(json.dumps(nb), encoding="utf-8")

    return spoil


def write(name: str, text: str):
    return lambda book: (book / name).write_text(text, encoding="utf-8")


STDERR = {"output_type": "stream", "name": "stderr", "text": "careful"}
ERROR = {"output_type": "error", "ename": "E", "evalue": "", "traceback": []}
FAULTS = {
    "data.py differs from its chapter": write("minibert/data.py", MODULE + "x = 1\n"),
    "minibert/mlm.py is printed in no chapter": write("minibert/mlm.py", "__all__ = []\n"),
    "tiny.ipynb is missing": lambda book: (book / "book" / "tiny.ipynb").unlink(),
    "its cells are not the text's": edit_text("21", "22"),
    "its tags are not the text's": edit_text(
        "```{code-cell}\nprint", "```{code-cell}\n:tags: [hide-input]\nprint"
    ),
    "was not run from top to bottom": edit_notebook(lambda c: c.update(execution_count=9)),
    "holds an error": edit_notebook(lambda c: c.update(outputs=[ERROR])),
    "holds warnings or a progress bar": edit_notebook(lambda c: c.update(outputs=[STDERR])),
    "old.ipynb has no text": lambda book: shutil.copy(
        book / "book" / "tiny.ipynb", book / "book" / "old.ipynb"
    ),
    "of a part of minibert/data.py runs code": edit_text(
        "    return 2 * x", "    return 2 * x\n\nprint(1)"
    ),
    "columns": edit_text("print(double(21))", "print(double(21))" + " " * 50 + "# far"),
    "relative import": write("minibert/mlm.py", "from .data import double\n"),
    "data.py imports bert, which comes after it": write(
        "minibert/data.py", "from minibert.bert import x\n"
    ),
    "the drawings stand apart": write("minibert/mlm.py", "import minibert.figures\n"),
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
    (book / "minibert" / "mlm.py").write_text(
        '__all__ = ["f"]\n\n\ndef f(): ...\n', encoding="utf-8"
    )
    (book / "minibert" / "nsp.py").write_text("x = 1\n", encoding="utf-8")
    (book / "minibert" / "qa.py").write_text("from minibert.mlm import g\n", encoding="utf-8")
    done = tool(book, "check")
    assert done.returncode == 1
    for message in ("f lacks a docstring", "nsp.py has no __all__", "qa.py cannot be"):
        assert message in done.stdout


def test_the_logo_is_drawn_by_code():
    assert PATH.read_text(encoding="utf-8") == svg()


def test_an_experiment_has_what_its_chapters_cells_use():
    """The cells run as they do in the chapter, and make rows of both kinds."""
    names = finetuning.chapter()
    tokenizer = Tokenizer.from_pretrained("leads-small")
    rows = names["tag_rows"](names["tagged"]("train", 48, 0), tokenizer)
    assert rows and len(rows) == len(names["topic_rows"]("train", tokenizer, 48, 0)) == 48
    assert {"BertForSequenceClassification", "BertForTokenClassification"} <= set(names)
    used = {"fine_tune", "head_on", "balanced", "topic_score", "tag_score", "TOPICS", "TAGS"}
    used |= {"two_rates"}
    assert used | {"span_f1", "read_tags", "predict"} <= set(names)


def test_two_rates_that_are_equal_are_one():
    """The plain loop with one rate for all is torch's own AdamW, step by step."""
    names = finetuning.chapter()
    kind, config = names["BertForSequenceClassification"], TrainingConfig(steps=3, batch_size=4)
    heads = []
    for times in (1, 1, 10):
        model, tokenizer = names["head_on"](kind, "leads-small", names["TOPICS"], 0)
        start = model.classifier.weight.detach().clone()
        rows = names["topic_rows"]("train", tokenizer, 12, 0)
        names["two_rates"](model, rows, config, tokenizer.pad_id, times)
        assert not model.training
        heads.append((model.classifier.weight - start).abs().mean().item())
    assert heads[0] == heads[1] and 5 < heads[2] / heads[0] < 20


def test_the_masking_record():
    record = json.loads((ROOT / "results" / "masking.json").read_text(encoding="utf-8"))
    rates = {}
    for run in record["runs"]:
        rates.setdefault(run["rate"], {})[run["seed"]] = run
        assert run["steps"][-1] == record["config"]["steps"]
        assert run["exam_loss"][-1] < record["exam"]["unigram"]  # it has learned to look around
    assert set(rates) == {0.05, 0.15, 0.4}
    seeds = set(rates[0.15])
    assert len(seeds) >= 3 and all(set(runs) == seeds for runs in rates.values())
    for rate, runs in rates.items():  # one seed sees the same rows at each rate
        for seed, run in runs.items():
            base = rates[0.15][seed]["terms_per_step"]
            assert abs(run["terms_per_step"] / base - rate / 0.15) < 0.06 * rate / 0.15


def test_the_quantisation_record():
    """Int8 is a fourth of the size, faster, and exact sums need VNNI."""
    record = json.loads((ROOT / "results" / "quantisation.json").read_text(encoding="utf-8"))
    for sizes in record["sizes"].values():
        small = {one for name, one in sizes.items() if name.startswith("int8")}
        assert max(small) < sizes["onnx"] / 3 and sizes["float16 on disk"] < 0.6 * sizes["torch"]
    blocks = record["blocks"]
    assert len(blocks) >= 2 and "AVX2" in blocks
    whole = next(one["scores"] for one in blocks.values() if "torch" in one["scores"])
    for name, block in blocks.items():
        assert block["saturates"] == ("VNNI" not in name and name.startswith("AVX"))
        assert {"date", "processor", "versions", "questions", "leads"} <= set(block)
        for row in block["speed"]:
            assert row["seconds"] > 0
        for variant, scores in block["scores"].items():
            for measure, one in scores.items():
                assert one["low"] <= one["difference"] + 0.01 <= one["high"] + 0.02
                base = whole["torch"][measure]["value"]
                assert abs(base + one["difference"] - one["value"]) < 0.02, (variant, measure)
    for one in whole["onnx"].values():
        assert one["difference"] == one["low"] == one["high"] == 0


def test_the_full_recipe_is_recorded(tmp_path):
    """A few questions in SQuAD's place, a small model in BERT's."""
    some = [one for one in load_leadqa("dev") if one.answers][:12]
    for name in ("train", "dev"):
        write_squad(some, tmp_path / f"{name}-v1.1.json")
    record = tmp_path / "squad.json"
    record.write_text('{"published": [], "measured": {}}', encoding="utf-8")
    command = [
        sys.executable, "experiments/squad.py", "leads-small",
        "--runs", tmp_path, "--record", record,
        "--epochs", "1", "--batch-size", "4", "--max-length", "96", "--doc-stride", "32",
    ]  # fmt: skip
    environment = os.environ | {"MINIBERT_SQUAD": str(tmp_path)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    found = json.loads(record.read_text(encoding="utf-8"))["measured"]["leads-small"]
    assert found["count"] == 12 and 0 <= found["exact_match"] <= found["f1"] <= 100
    assert {"date", "chip", "processor", "versions"} <= set(found)


def test_every_target_is_one_python_command_too():
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    (targets,) = (line.split(":=")[1].split() for line in lines if line.startswith("TARGETS"))
    assert targets == list(make.TARGETS)
    table = re.findall(
        r"^\| `make (\w+)[^`]*` \| `python (\S+) (\w+)[^`]*` \| \w",
        (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE,
    )  # fmt: skip
    assert {one for one, _, _ in table} == set(targets)
    assert all(file == "tools/make.py" and one == two for one, file, two in table)
    assert all(target.__doc__ for target in make.TARGETS.values())


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make")
@pytest.mark.parametrize("name", make.TARGETS)
def test_the_makefile_only_calls_python(name):
    command = ["make", "-n", "--no-print-directory", name, "ONLY=bert qa"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    takes = ("chapter", "book", "colab", "bench", "wheel", "student", "slides")
    more = ["bert", "qa"] if name in takes else []
    assert done.stdout.split()[1:] == ["tools/make.py", name, *more]


def test_make_without_make(tmp_path):
    """What needs no environment, on a copy: help, clean, and what is said of mistakes."""
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "make.py", tmp_path / "tools")
    (tmp_path / "_build" / "html").mkdir(parents=True)
    assert tool(tmp_path, "make", "clean").returncode == 0
    assert not (tmp_path / "_build").exists()
    assert [line.split()[0] for line in tool(tmp_path, "make").stdout.splitlines()] == list(
        make.TARGETS
    )
    for wrong, message in {
        ("nonsense",): "No target nonsense",
        ("chapter",): "Which chapter?",
        ("check", "1"): "check: too many positional arguments",
    }.items():
        done = tool(tmp_path, "make", *wrong)
        assert done.returncode == 1 and message in done.stderr


def test_the_first_target_sets_up_the_environment_once(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(make, "ROOT", tmp_path)
    monkeypatch.setattr(make, "run", lambda *command, **more: commands.append(command))
    (tmp_path / ".venv" / make.FOLDER).mkdir(parents=True)
    for name in ("requirements.lock", "requirements.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    make.python().touch()
    assert "-m venv" in " ".join(map(str, commands.pop()))
    for _ in range(2):
        make.check()
    said = [" ".join(map(str, command)) for command in commands]
    (locked,) = (at for at, one in enumerate(said) if "-r requirements.lock" in one)
    assert "--require-hashes --no-deps" in said[locked]
    assert ["-r requirements.txt" in one for one in said].index(True) == locked + 1
    assert ["-r requirements.txt" in one for one in said].count(True) == 1
    assert said[-1].endswith("-m mypy") and said[-3].endswith("check.py")
    (tmp_path / ".venv" / ".ready").unlink()
    make.ready()
    assert "requirements.txt" in commands[-2]


def notebook(*cells: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])


@pytest.mark.parametrize("path", sorted((ROOT / "book").glob("*.ipynb")), ids=lambda p: p.stem)
def test_the_install_line_can_take_a_wheel(path, tmp_path):
    """Quoted, since an extra is named; without a version that moves anything back."""
    nb = nbformat.read(path, 4)
    line = colab.install_line(nb)
    assert re.fullmatch(r'install -q "minibert-book\[book\] @ git\+https://\S+"', line)
    colab.from_wheel(nb, tmp_path / "minibert_book-0.1.0-py3-none-any.whl")
    taken = colab.install_line(nb)
    assert taken.startswith('install -q "minibert-book[book] @ file:///')
    assert taken.endswith('minibert_book-0.1.0-py3-none-any.whl"')


@pytest.mark.parametrize(
    "cells",
    [("x = 1",), ("%pip install a\n%pip install b",), ("%pip install a", "%pip install b"), ()],
)
def test_other_install_cells_are_refused(cells):
    with pytest.raises(ValueError, match="must install once"):
        colab.install_line(notebook(*cells))


def test_a_line_without_an_address_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no address"):
        colab.from_wheel(notebook("%pip install minibert-book"), tmp_path / "x.whl")


def test_what_was_moved_back_is_named():
    before = {"torch": "2.14.1+cu130", "numpy": "2.4.6", "scipy": "1.9", "gone": "1", "odd": "x.y"}
    after = {"torch": "2.13.0", "numpy": "2.10.0", "scipy": "1.9", "new": "1", "odd": "x.y"}
    assert colab.downgraded(before, after) == ["gone 1 -> gone", "torch 2.14.1+cu130 -> 2.13.0"]


def test_a_chapter_is_run_as_in_colab(tmp_path, monkeypatch):
    """With this environment's kernel, and nothing to install."""
    monkeypatch.setenv("JUPYTER_PATH", "")
    for name in colab.OWN:
        monkeypatch.delenv(name, raising=False)
    colab.offer_kernel(Path(sys.executable), tmp_path / "jupyter")
    start = (
        'import sys\nif "google.colab" in sys.modules:\n    there = True\nelse:\n'
        '    %pip install -q "x @ git+https://nowhere/x"'
    )
    alone = (
        "import os\nfrom importlib.util import find_spec\n"
        "assert there and find_spec('google.colab') and len(os.listdir()) == 1\nprint(6 * 7)"
    )
    for name, cells in {"01-fine": [alone], "02-wrong": ["1 +", ""], "03-still": ["y = 1"]}.items():
        nbformat.write(notebook(start, *cells), tmp_path / f"{name}.ipynb")
    rows = [colab.run(path, tmp_path / "x.whl") for path in sorted(tmp_path.glob("*.ipynb"))]
    assert [row.status for row in rows] == ["passed", "failed", "slow"]
    assert 0 < rows[0].installed <= rows[0].first_output <= rows[0].seconds < 60
    assert rows[1].message.startswith("cell 1, '1 +': SyntaxError")
    monkeypatch.setattr(colab, "FIRST", 0)
    assert colab.run(tmp_path / "01-fine.ipynb", tmp_path / "x.whl").status == "slow"


def test_the_weekly_runs():
    """Three systems, each Python that torch may have a wheel for, and Colab's own image."""
    text = (ROOT / ".github" / "workflows" / "book.yml").read_text(encoding="utf-8")
    flow = yaml.safe_load(text)
    assert flow["permissions"] == {"contents": "read"}
    jobs = flow["jobs"]
    assert [name for name, job in jobs.items() if "permissions" in job] == ["publish"]
    matrix = jobs["newest"]["strategy"]["matrix"]
    assert [one.split("-")[0] for one in matrix["os"]] == ["ubuntu", "macos", "windows"]
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert jobs["colab"]["env"]["IMAGE"].startswith("us-docker.pkg.dev/colab-images/public/runtime")
    for name in ("newest", "colab"):
        assert "'schedule'" in jobs[name]["if"] and "push" not in jobs[name]["if"]
    for file in re.findall(r"\btools/\w+\.py", text):
        assert (ROOT / file).is_file(), file
