"""What must not differ between Linux, macOS and Windows, or between a terminal's alphabets."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from source import ROOT, read, sources

from minibert import training
from minibert.__main__ import main
from minibert.qa import load_leadqa, write_squad

CODE = [path for part in ("minibert", "tools", "tests") for path in (ROOT / part).rglob("*.py")]


def unnamed(code: str) -> Iterator[int]:
    """Give the lines that open text in whatever the machine's own encoding is."""
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        method = isinstance(node.func, ast.Attribute)
        named = {one.arg: ast.unparse(one.value) for one in node.keywords}
        modes = [ast.unparse(one).strip("'") for one in node.args] + [named.get("mode", "")]
        binary = any(re.fullmatch("[rwax]b[+]?", mode) for mode in modes)
        opens = name == "open" and ast.unparse(node.func) not in ("os.open", "gzip.open")
        opens |= method and name in ("read_text", "write_text", "fdopen")
        opens |= named.get("text") == "True"
        opens |= name == "open" and any(mode in ("rt", "wt", "at") for mode in modes)
        if opens and not binary and "encoding" not in named:
            yield node.lineno


@pytest.mark.parametrize(
    "code",
    ["open('x')", "open('x', 'w')", "path.open()", "path.open('a')", "path.read_text()",
     "path.write_text('x')", "gzip.open('x', 'rt')", "run('x', text=True)", "os.fdopen(1)"],
)  # fmt: skip
def test_what_leaves_the_encoding_to_the_machine_is_seen(code):
    assert list(unnamed(code)) == [1]


@pytest.mark.parametrize(
    "code",
    ["open('x', 'rb')", "open('x', encoding='utf-8')", "path.open('wb')", "gzip.open('x')",
     "path.read_text(encoding='utf-8')", "os.open('x', 0)", "read_text('leads')"],
)  # fmt: skip
def test_what_names_it_is_let_pass(code):
    assert list(unnamed(code)) == []


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_text_is_always_opened_as_utf_8(path):
    assert list(unnamed(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.stem)
def test_so_it_is_in_the_chapters(path):
    plain = [re.sub(r"^(\s*)%.*", r"\1pass", cell.source, flags=re.M) for cell in read(path).cells
             if cell.cell_type == "code"]  # fmt: skip
    assert [code for code in plain if list(unnamed(code))] == []


def test_the_package_assumes_neither_fork_nor_unix():
    wrong = re.compile(
        r"os\.fork|multiprocessing|SIGKILL|/dev/|/tmp|os\.geteuid|import (fcntl|pwd)"
    )
    for path in (ROOT / "minibert").glob("*.py"):
        assert not wrong.search(path.read_text(encoding="utf-8")), path.name


def test_where_a_folder_cannot_be_opened_a_checkpoint_is_written(tmp_path, monkeypatch):
    """As on Windows, where `os.open` of a folder is refused."""
    real = os.open

    def like_windows(path, *args, **named):
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **named)

    monkeypatch.setattr(os, "open", like_windows)
    (tmp_path / "file").write_bytes(b"x")
    training.sync(tmp_path / "file")
    training.sync(tmp_path)


def squad(folder: Path) -> tuple[Path, list[str]]:
    """Three questions in SQuAD's format, one of them with letters beyond ASCII."""
    some = [one for one in load_leadqa("dev") if one.answers]
    odd = next(one for one in some if not one.context.isascii())
    write_squad([*some[:2], odd], folder / "some.json")
    return folder / "some.json", [one.id for one in (*some[:2], odd)]


def test_a_terminal_that_knows_only_ascii(tmp_path):
    file, ids = squad(tmp_path)
    out = tmp_path / "said.json"
    environment = os.environ | {
        "LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "minibert", "qa", "evaluate", file, "--predictions", out],
        env=environment, capture_output=True, encoding="ascii", timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "exact match" in done.stdout
    assert list(json.loads(out.read_text(encoding="utf-8"))) == ids


def test_scores_are_said_before_predictions_are_written(tmp_path, capsys):
    file, _ = squad(tmp_path)
    out = tmp_path / "no" / "folder" / "said.json"
    assert main(["qa", "evaluate", str(file), "--predictions", str(out)]) == 1
    said = capsys.readouterr()
    assert "exact match" in said.out
    assert said.err.startswith("minibert: ") and "said.json" in said.err


def test_every_target_of_make_is_a_command_in_the_list():
    targets = re.search(r"^TARGETS := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    listed = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "tools/make.py", "help"], cwd=ROOT, capture_output=True, encoding="utf-8",
        check=True,
    )  # fmt: skip
    known = [line.split()[0] for line in done.stdout.splitlines()]
    assert targets[1].split() == known
    for name in known:
        assert re.search(
            rf"^\| `make {name}\b[^|]*` \| `python tools/make\.py {name}\b", listed, re.M
        )
