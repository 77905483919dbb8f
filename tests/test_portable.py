"""What must not differ between Linux, macOS and Windows, or between a terminal's alphabets."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from source import ROOT

from minibert.files import resolve
from minibert.squad import Question, write_squad

FOLDERS = ("minibert", "tools", "experiments", "tests")
CODE = sorted(chain.from_iterable((ROOT / d).rglob("*.py") for d in FOLDERS))
# Where the mode stands among the arguments of what is called `open`.
SECOND = {"gzip", "bz2", "lzma", "io", "codecs", "tempfile"}
TEXT, TEMPORARY = "rt", {"NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile"}


def is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def lacks_encoding(call: ast.Call) -> bool:
    """Whether a call opens text in whatever the machine's own encoding is."""
    method = isinstance(call.func, ast.Attribute)
    name = call.func.attr if method else getattr(call.func, "id", "")
    owner = getattr(call.func.value, "id", "") if method else ""
    named = {one.arg: one.value for one in call.keywords}
    if "encoding" in named:
        return False
    if is_true(named.get("text")) or is_true(named.get("universal_newlines")):
        return True
    if name in ("read_text", "write_text"):
        # `read_text` of `pretrain` is no method: it reads documents by name
        return method and len(call.args) < 1 + (name == "write_text")
    if name in ("TextIOWrapper", "fdopen", "getoutput", "getstatusoutput"):
        return True
    if (name != "open" and name not in TEMPORARY) or owner in ("os", "Image"):
        return False
    second = not method or owner in SECOND
    place = 0 if name in TEMPORARY or not second else 1
    binary = name in TEMPORARY or owner in ("gzip", "bz2", "lzma")
    mode = named.get("mode") or (call.args[place] if len(call.args) > place else None)
    if mode is None:
        return not binary
    return not isinstance(mode, ast.Constant) or (
        "t" in str(mode.value) if binary and name == "open" else "b" not in str(mode.value)
    )


def unnamed(code: str) -> Iterator[int]:
    """Give the lines that open text without its encoding, also in code within strings."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and lacks_encoding(node):
            yield node.lineno
        if isinstance(node, ast.Dict):  # what a call is given with **
            pairs = zip(node.keys, node.values, strict=True)
            given = {key.value: value for key, value in pairs if isinstance(key, ast.Constant)}
            if is_true(given.get("text")) and "encoding" not in given:
                yield node.lineno
        inner = node.value if isinstance(node, ast.Constant) else None
        if isinstance(inner, str) and re.search(r"\bopen\(|_text\(", inner):
            with suppress(SyntaxError):
                yield from (node.lineno for _ in unnamed(inner))


@pytest.mark.parametrize(
    "code",
    [
        "open('x')", "open('x', 'w')", "open('x', mode='a')", "path.open()", "path.open('r')",
        "path.read_text()", "path.write_text('x')", "gzip.open('x', 'rt')", "io.open('x')",
        "run('x', text=True)", "run('x', universal_newlines=True)", "f(**{'text': True})",
        "NamedTemporaryFile('w')", "os.fdopen(1)", "open('x', mode)", "'import x\\nopen(1)'",
    ],
)  # fmt: skip
def test_what_leaves_the_encoding_to_the_machine_is_seen(code):
    assert list(unnamed(code)) == [1]


@pytest.mark.parametrize(
    "code",
    [
        "open('x', 'rb')", "open('x', encoding='utf-8')", "path.open('wb')", "gzip.open('x')",
        "path.read_text('utf-8')", "path.write_text('x', 'utf-8')", "os.open('x', 0)",
        "Image.open('x')", "run('x', text=True, encoding='utf-8')", "NamedTemporaryFile()",
        "{'text': 'a'}", "read_text('leads')", "'do not open() it'",
    ],
)  # fmt: skip
def test_what_names_it_is_let_pass(code):
    assert list(unnamed(code)) == []


def test_text_is_always_opened_as_utf_8():
    found = [
        f"{path.relative_to(ROOT).as_posix()}:{line}"
        for path in CODE if path != Path(__file__)
        for line in unnamed(path.read_text(encoding="utf-8"))
    ]  # fmt: skip
    assert found == []


def test_a_file_in_use_is_neither_replaced_nor_removed(tmp_path):
    """What the other tests run under: see conftest.py."""
    if not Path("/proc/self/maps").exists():
        pytest.skip("there is no /proc")
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    with one.open("rb"):
        for wrong in (one.unlink, lambda: two.replace(one), lambda: shutil.rmtree(tmp_path)):
            with pytest.raises(PermissionError, match="Windows refuses"):
                wrong()
    mapped = np.memmap(one, np.uint8, "r")
    with pytest.raises(PermissionError, match="Windows refuses"):
        os.replace(two, one)
    del mapped
    os.replace(two, one)
    assert one.read_bytes() == b"2"


POSIX = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
NARROW = {"PYTHONIOENCODING": "cp1252:strict"}  # Windows, where the output is a file


@pytest.mark.parametrize("alphabet", [POSIX, NARROW], ids=["POSIX", "cp1252"])
def test_the_scores_come_out_in_any_alphabet(alphabet, tmp_path):
    """Questions, answers and a model's folder in letters that the terminal lacks."""
    text = "Zażółć gęślą jaźń. 東京は日本の首都。"
    questions = [Question("é", "ż", "Gdzie? どこ？", text, ("東京",), (text.index("東京"),))]
    write_squad(questions, tmp_path / "x.json")
    # This process has a locale, too: one that may have no such name for a folder.
    model = tmp_path / ("東京" if sys.getfilesystemencoding() == "utf-8" else "Tokyo")
    shutil.copytree(resolve("minilm-qa"), model)
    said = tmp_path / "said.json"
    done = subprocess.run(
        [sys.executable, "-m", "minibert", "qa", "evaluate", tmp_path / "x.json",
         "--model", model, "--predictions", said],
        env=os.environ | alphabet, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(rb"exact match \d+\.\d  F1 \d+\.\d", done.stdout), done.stderr
    assert list(json.loads(said.read_text(encoding="utf-8"))) == ["é"]


def test_the_package_starts_no_process_and_asks_for_nothing_that_one_system_lacks():
    """No fork or Unix module, no signal that Windows lacks; no path is put together by hand."""
    wrong = re.compile(
        r"\bos\.(fork|kill|killpg|setsid|getuid|mkfifo|symlink|path|sync|statvfs)\b"
        r"|\bimport (fcntl|resource|pwd|grp|termios|multiprocessing)\b"
        r"|\bsignal\.(?!(signal|Signals|SIGTERM|SIGINT|SIG_DFL|SIG_IGN)\b)\w+"
        r"|num_workers|SIGKILL|/dev/(null|shm)|[\"']/tmp\b|shell=True"
    )
    for path in sorted((ROOT / "minibert").glob("*.py")):
        assert wrong.findall(path.read_text(encoding="utf-8")) == [], path.name
