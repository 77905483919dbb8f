"""What a user's type checker says of the public names."""

import os
import re
import subprocess
import sys
from pathlib import Path

from test_repository import ROOT

import minibert

HERE = ROOT / "tests" / "user_project"


def check(file: Path, cache: Path) -> str:
    """Let mypy read a file as a user's, to whom the package's own lines do not matter."""
    command = [
        sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent",
        "--cache-dir", cache, *([file] if file.is_file() else sorted(file.glob("*.py"))),
    ]  # fmt: skip
    environment = os.environ | {"MYPYPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=HERE, capture_output=True, encoding="utf-8", env=environment
    )
    return done.stdout + done.stderr


def test_mypy_strict_passes_and_knows_the_types(tmp_path):
    said = check(HERE, tmp_path / "cache")
    assert said.startswith("Success"), said
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        'from minibert import answer, summarize\n\nwords: int = answer("Who?", "He.").text\n'
        'summarize("one text", modell="minilm")\n',
        encoding="utf-8",
    )
    said = check(wrong, tmp_path / "cache")
    assert 'expression has type "str", variable has type "int"' in said
    assert 'Unexpected keyword argument "modell" for "summarize"' in said


def test_it_uses_the_functions_that_most_programs_need():
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(HERE.glob("*.py")))
    functions = {name for name in minibert.__all__ if name.islower()}
    unused = {name for name in functions if not re.search(rf"\b{name}\(", text)}
    assert unused <= {"attention_view", "for_trainer", "lead", "leads", "load", "question_rows",
                      "tag_row"}  # fmt: skip
