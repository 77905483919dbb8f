"""Record what transformers 4.57.6 says: SQuAD's metric, its post-processing, its pipeline.

    make peers

It runs in an environment of its own, since later versions dropped all three, and writes
tests/peers.json, which `make test` compares with ours.
"""

from __future__ import annotations

import json
import random
import tempfile
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from transformers.data.metrics.squad_metrics import (
    compute_predictions_logits,
    squad_evaluate,
)
from transformers.data.processors.squad import (
    SquadExample,
    SquadResult,
    squad_convert_examples_to_features,
)

from minibert.files import resolve
from minibert.heads import BertForQuestionAnswering
from minibert.squad import Question, load_leadqa
from minibert.tokens import Tokenizer

FILE = Path(__file__).resolve().parents[1] / "tests" / "peers.json"
WORDS = ["a", "the", "The", "dog", "Dog's", "1,850", "—", "é", "...", "two  dogs", "", "東京"]
LENGTH, STRIDE, LONGEST = 64, 24, 12


def example(question: Question) -> SquadExample:
    """Make their question of ours."""
    answers = [{"text": text, "answer_start": 0} for text in question.answers]
    return SquadExample(
        question.id, question.question, question.context, None, None, question.title,
        answers, not question.answers,
    )


def metric(count: int = 60) -> list[dict[str, Any]]:
    """Score made-up answers to made-up questions, with their script of 2.0."""
    chance = random.Random(0)

    def text() -> str:
        return " ".join(chance.choices(WORDS, k=chance.randrange(4)))

    cases = []
    for _ in range(count):
        wanted = [[text() for _ in range(chance.randrange(4))] for _ in range(8)]
        predicted = {
            str(i): chance.choice([*answers, text(), ""]) for i, answers in enumerate(wanted)
        }
        sure = {str(i): round(chance.random(), 3) for i in range(8)}
        questions = [Question(str(i), "", "?", "", tuple(x)) for i, x in enumerate(wanted)]
        examples = [example(question) for question in questions]
        cases.append({
            "answers": wanted,
            "predictions": predicted,
            "scores": squad_evaluate(examples, predicted),
            "no_answer": sure,
            "best_f1": squad_evaluate(examples, predicted, sure)["best_f1"],
        })  # fmt: skip
    return cases


def noise(question: int, window: int, size: int) -> np.ndarray:
    """Made-up scores of a row, (2, size): where an answer begins and ends."""
    return 3 * np.random.default_rng([question, window]).normal(size=(2, size))


def decoding(count: int = 120) -> list[dict[str, Any]]:
    """Find the answers in made-up scores, with their post-processing."""
    vocabulary = resolve("minilm", ["vocab.txt"]) / "vocab.txt"
    tokenizer = transformers.BertTokenizer(str(vocabulary))
    questions = load_leadqa("dev")[:count]
    examples = [example(question) for question in questions]
    features = squad_convert_examples_to_features(
        examples, tokenizer, LENGTH, STRIDE, 64, False, tqdm_enabled=False
    )
    results, seen = [], {}
    for feature in features:
        number = feature.example_index
        window = seen[number] = seen.get(number, -1) + 1
        start, end = noise(number, window, LENGTH).tolist()
        results.append(SquadResult(feature.unique_id, start, end))
    predicted = {}
    for strict in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            files = [str(Path(folder) / f"{name}.json") for name in ("best", "all", "null")]
            predicted[strict] = compute_predictions_logits(
                examples, features, results, 40, LONGEST, True, *files, False, strict, 0.0,
                tokenizer,
            )  # fmt: skip
    return [
        {"id": question.id, "windows": seen[number] + 1, "text": predicted[False][question.id],
         "or_none": predicted[True][question.id]}
        for number, question in enumerate(questions)
    ]  # fmt: skip


def pipeline(model: str = "minilm-qa", count: int = 100) -> list[dict[str, Any]]:
    """Answer with their pipeline, on the weights that ship."""
    with tempfile.TemporaryDirectory() as folder:
        BertForQuestionAnswering.from_pretrained(model).save_pretrained(folder)
        Tokenizer.from_pretrained(model).save_pretrained(folder)
        ask = transformers.pipeline("question-answering", model=folder, device="cpu")
        cases = []
        questions = [x for x in load_leadqa("dev") if x.answers][:count]
        for question in questions:
            answer = ask(
                question=question.question,
                context=question.context,
                max_seq_len=384,
                max_answer_len=30,
                align_to_words=False,
            )
            cases.append({
                "id": question.id, "start": answer["start"], "end": answer["end"],
                "score": round(answer["score"], 5),
            })  # fmt: skip
    return cases


def main() -> None:
    """Write the file."""
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    record = {
        "command": "make peers",
        "versions": {name: metadata.version(name) for name in ("transformers", "torch")},
        "length": LENGTH, "stride": STRIDE, "longest": LONGEST,
        "metric": metric(), "decoding": decoding(), "pipeline": pipeline(),
    }  # fmt: skip
    FILE.write_text(json.dumps(record, ensure_ascii=False, indent=None) + "\n", encoding="utf-8")
    print({name: len(record[name]) for name in ("metric", "decoding", "pipeline")})


if __name__ == "__main__":
    main()
