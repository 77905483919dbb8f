"""The commands on texts, `minibert answer` and its like; and the command as a program."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import minibert
from minibert.__main__ import main
from minibert.commands.app import app

TEXT = "The dog saw the man at the gate, and bit him. He fell. The Danube ends in the Black Sea."


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "notes").mkdir()
    for i, text in enumerate(["A dog bit\nhim.\n\nRivers flow to the sea.", "Mercury is a metal."]):
        (tmp_path / "notes" / f"{i}.txt").write_text(text, encoding="utf-8")
    (tmp_path / "lines.txt").write_text("A dog bit him.\n\n  Été à 東京\n", encoding="utf-8")
    (tmp_path / "bytes.txt").write_bytes(b"caf\xe9")
    return tmp_path


def json_lines(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict]:
    """Run a command with --json; give its lines."""
    assert main([*words, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def from_input(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8"))


def test_answer(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    question = "Where does the Danube end?"
    one = minibert.answer(question, TEXT)
    assert main(["answer", question, "page.txt"]) == 0
    assert capsys.readouterr().out == one.text + "\n"
    (line,) = json_lines(capsys, "answer", question, "page.txt")
    assert line["text"] == TEXT[line["start"] : line["end"]] == one.text and line["others"] == []
    for words in (["-"], []):
        from_input(monkeypatch, TEXT)
        assert main(["answer", question, *words]) == 0
        assert capsys.readouterr().out == one.text + "\n"
    assert main(["answer", question, "page.txt", "--threshold", "-99"]) == 0
    assert capsys.readouterr().out == "\n"


def test_summarize(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summarize", "page.txt", "--count", "2"]) == 0
    summary = minibert.summarize(TEXT, 2)
    chosen = [summary.sentences[i] for i in summary.chosen]
    assert capsys.readouterr().out.splitlines() == chosen
    lines = json_lines(capsys, "summarize", "page.txt", "--count", "1", "--method", "first")
    assert lines == [{"sentence": 0, "weight": lines[0]["weight"], "text": summary.sentences[0]}]
    assert main(["summarize", "page.txt", "--method", "best"]) == 2
    assert "--method: 'best' is none of graph, centroid" in capsys.readouterr().err


def test_embed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = json_lines(capsys, "embed", "lines.txt")
    assert [one["text"] for one in lines] == ["A dog bit him.", "Été à 東京"]
    wanted = minibert.embed(["A dog bit him.", "Été à 東京"])
    assert abs(wanted - [one["vector"] for one in lines]).max() < 1e-6
    assert main(["embed", "lines.txt"]) == 0
    rows = [row.split("\t") for row in capsys.readouterr().out.splitlines()]
    assert [list(map(float, row)) for row in rows] == [one["vector"] for one in lines]


def test_fill(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "The [MASK] is the capital of [MASK]."
    wanted = minibert.fill_mask(text, 2)
    lines = json_lines(capsys, "fill", text, "--count", "2")
    assert [(one["blank"], one["word"]) for one in lines] == [
        (at, word) for at, blank in enumerate(wanted) for word in blank.words
    ]
    from_input(monkeypatch, text + "\n")
    assert main(["fill", "-", "--count", "2"]) == 0
    first, _ = capsys.readouterr().out.split("\n\n")
    assert [line.split()[1] for line in first.splitlines()] == wanted[0].words
    assert main(["fill", "No blank."]) == 1


def test_classify(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = minibert.BertConfig.from_pretrained("leads-small")
    kind = minibert.BertForSequenceClassification
    kind(sizes, labels=["left", "right"]).save_pretrained("two")
    minibert.Tokenizer.from_pretrained("leads-small").save_pretrained("two")
    lines = json_lines(capsys, "classify", "lines.txt", "--model", "two")
    assert lines[0]["classes"].keys() == {"left", "right"} and len(lines) == 2
    assert main(["classify", "lines.txt", "--model", "two"]) == 0
    assert capsys.readouterr().out.split()[1] in ("left", "right")
    assert main(["classify", "lines.txt"]) == 2
    assert "--model" in capsys.readouterr().err
    assert main(["classify", "lines.txt", "--model", "leads-small"]) == 2
    assert "no trained classification head" in capsys.readouterr().err


def test_attention(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attention", "The dog bit the man.", "dog.html"]) == 0
    page = (here / "dog.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and "dog" in page
    assert main(["attention", "The dog.", "no/such.html"]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_models(capsys: pytest.CaptureFixture[str]) -> None:
    lines = json_lines(capsys, "models")
    assert [one["name"] for one in lines] == [one.name for one in minibert.models()]
    assert lines[0]["figures"][0].keys() == {"dataset", "metric", "value"}
    assert main(["models"]) == 0
    assert capsys.readouterr().out == f"{minibert.models()}\n"


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (["answer", "Who?", "none.txt"], 1, "none.txt"),
        (["answer", "Who?", "bytes.txt"], 1, "bytes.txt is not UTF-8"),
        (["embed", "bytes.txt"], 1, "bytes.txt is not UTF-8"),
        (["answer"], 2, "Missing argument 'QUESTION'"),
        (["answer", "Who?", "page.txt", "--model", "nowhere"], 1, "cannot find 'nowhere'"),
        (["answr"], 2, "No such command 'answr'"),
        ([], 2, "Missing command"),
        (["qa"], 2, "Missing command"),
        (["--nonsense"], 2, "No such option"),
        (["summarize", "page.txt", "--count", "0"], 2, "--count: '0' is no whole number"),
        (["models", "more"], 2, "unexpected extra argument"),
    ],
)
def test_what_is_wrong_is_one_line(
    words: list[str], code: int, what: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == code
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert out == "" and line.startswith("minibert: ") and what in line


def program(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "minibert", *words],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | more,
    )


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["models"], ["answer", "--help"]])
def test_what_computes_nothing_reads_no_torch(words: list[str]) -> None:
    code = f"import sys\nfrom minibert.__main__ import main\ncode = main({words!r})\n"
    code += "print(code, 'torch' in sys.modules, 'numpy' in sys.modules)"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.stdout.splitlines()[-1] == "0 False False", done.stderr
    assert time.perf_counter() - start < 30


def test_the_program() -> None:
    done = program("--version")
    assert done.stdout.split() == ["minibert,", "version", minibert.__version__]
    said = program("--help").stdout
    assert all(f"\n  {name} " in said for name in app.commands)
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert 'minibert = "minibert.__main__:main"' in project


def test_tab_completes_without_torch() -> None:
    done = program(_MINIBERT_COMPLETE="bash_complete", COMP_WORDS="minibert s", COMP_CWORD="1")
    assert {line.split(",")[1] for line in done.stdout.split()} == {
        "search", "sentences", "serve", "summarize",
    }  # fmt: skip
    done = program(
        _MINIBERT_COMPLETE="bash_complete", COMP_WORDS="minibert answer --th", COMP_CWORD="2"
    )
    assert set(done.stdout.split()) == {"plain,--threshold", "plain,--threads"}
    assert "complete" in program(_MINIBERT_COMPLETE="bash_source").stdout


@pytest.mark.skipif(os.name == "nt", reason="pipes end otherwise there")
def test_a_reader_that_has_enough_costs_no_traceback(here: Path) -> None:
    command = f"{sys.executable} -m minibert models --json | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, encoding="utf-8")
    assert done.stdout == "{" and done.stderr == "" and done.returncode in (0, 1)
    wait = """
import sys, time
from minibert.__main__ import main
from minibert.commands import texts
def slow(as_json):
    for _ in range(40):
        print("x" * 99, flush=True)
        time.sleep(0.05)
texts.list_models = slow
sys.exit(main(["models"]))"""
    (here / "slow.py").write_text(wait, encoding="utf-8")
    command = f"{sys.executable} slow.py | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, encoding="utf-8")
    assert done.stdout == "x" * 99 + "\n" and done.stderr == "" and done.returncode == 1


def test_ctrl_c_is_one_line(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("minibert.qa.answer", stop)
    assert main(["answer", "Who?", "page.txt"]) == 130
    assert capsys.readouterr().err.strip() == "minibert: stopped; nothing was written"
