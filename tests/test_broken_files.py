"""Damaged files of every kind are read or refused by name: some hundred here.

experiments/broken_files.py damages twenty thousand; what it found is kept below.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="Windows has no timer that stops what hangs")

from broken_files import (
    TARGETS,
    Target,
    attempt,
    begin_run,
    make_checkpoint,
    make_corpus,
    make_whole,
    read_checkpoint,
    read_corpus,
)

from minibert.checkpoints import read_lines
from minibert.checks import brief
from minibert.squad import read_squad

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_damaged_file_is_read_or_refused_by_name(target: Target, tmp_path: Path) -> None:
    make_whole(target, tmp_path / "whole")
    results = [attempt(target, tmp_path / "whole", tmp_path / "broken", seed) for seed in range(25)]
    if target.name != "run's log":  # whose bad lines are passed over
        assert "refused" in results


def test_the_record_has_twenty_thousand_and_no_fault() -> None:
    record = json.loads((ROOT / "results" / "broken-files.json").read_text(encoding="utf-8"))
    assert record["count"] >= 20_000 and not record["faults"]
    assert set(record["files"]) == {target.name for target in TARGETS}
    assert sum(sum(counts.values()) for counts in record["files"].values()) == record["count"]


@pytest.mark.parametrize("text", [
    "", "{}", "[]", "not JSON", '{"step": "a", "loss": 1}', '{"loss": 1}', "10", "\udcff",
])  # fmt: skip
def test_what_is_no_line_of_a_log_is_passed_over(text: str, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b'{"step": 1, "loss": 2.0}\n' + text.encode(errors="surrogateescape") + b"\n")
    assert read_lines(log, 5) == [{"step": 1, "loss": 2.0}]


@pytest.mark.parametrize(("change", "told"), [
    (lambda state: state.pop("step"), "no step"),
    (lambda state: state.update(config=[]), "no step and no config"),
    (lambda state: state["scaler"].pop("growth_interval"), "loss scale"),
    (lambda state: state["scaler"].update(scale="big"), "loss scale"),
])  # fmt: skip
def test_a_damaged_state_is_named(
    change: Callable[[dict], object], told: str, tmp_path: Path
) -> None:
    make_checkpoint(tmp_path)
    file = tmp_path / "step-00000001" / "state.json"
    state = json.loads(file.read_text(encoding="utf-8"))
    scaler = begin_run()[-1]
    state["scaler"] = dict(state.get("scaler") or scaler.state_dict())
    change(state)
    file.write_text(json.dumps(state), encoding="utf-8")
    with pytest.raises(ValueError, match=told):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["tokens", "dtype", "vocabulary", "max_length", "chunks"])
def test_a_corpus_without_a_number_is_named(name: str, tmp_path: Path) -> None:
    make_corpus(tmp_path)
    file = tmp_path / "corpus.json"
    header = json.loads(file.read_text(encoding="utf-8"))
    del header[name]
    file.write_text(json.dumps(header), encoding="utf-8")
    with pytest.raises(ValueError, match=tmp_path.name):
        read_corpus(tmp_path)


@pytest.mark.parametrize("start", [1, -7, 10**30, "x", "", None, True, [0]])
def test_an_answer_that_is_elsewhere_is_named_with_its_file(start: object, tmp_path: Path) -> None:
    answers = [{"text": "The dog", "answer_start": start}]
    asked = {"id": "1", "question": "Who?", "answers": answers}
    data = [{"title": "T", "paragraphs": [{"context": "The dog bit.", "qas": [asked]}]}]
    file = tmp_path / "questions.json"
    file.write_text(json.dumps({"data": data}), encoding="utf-8")
    with pytest.raises(ValueError, match="questions.json"):
        read_squad(file)


def test_an_error_stays_short() -> None:
    assert brief("x" * 10_000).startswith("xxx") and len(brief("x" * 10_000)) < 420
    assert brief("short") == "short"
