"""What runs without torch: functions on strings, with a model that was exported."""

import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT = "import sys\nsys.modules['torch'] = None  # as where it is not installed\n"


def run(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", WITHOUT + code]
    return subprocess.run(command, capture_output=True, encoding="utf-8")


@pytest.mark.parametrize(
    "name",
    ["Answer", "BertConfig", "Tokenizer", "answer", "answer_all", "classify", "embed", "leads",
     "load", "models", "nearest", "question_rows", "summarize", "tag", "train_vocabulary"],
)  # fmt: skip
def test_a_name_is_imported_without_torch(name: str) -> None:
    done = run(f"from minibert import {name}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["BertModel", "BertForQuestionAnswering", "fine_tune"])
def test_what_needs_torch_says_how_to_get_it(name: str) -> None:
    done = run(f"from minibert import {name}")
    assert 'pip install "minibert-book[torch]"' in done.stderr.splitlines()[-1]
    done = run("from minibert import embed\nembed(['a'])")
    assert 'pip install "minibert-book[torch]"' in done.stderr.splitlines()[-1]


def test_a_batch_of_arrays_needs_no_torch() -> None:
    done = run(
        "from minibert import Tokenizer\n"
        "batch = Tokenizer.from_pretrained('leads-4096')(['a b', 'c'], return_tensors='np')\n"
        "print(batch.input_ids.shape, batch.input_ids.dtype, batch.attention_mask.sum())"
    )
    assert done.stdout.split("\n")[0] == "(2, 4) int64 7", done.stderr


