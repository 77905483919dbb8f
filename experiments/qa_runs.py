"""Fine-tune on LeadQA from several starts; keep every dev question's score.

    python experiments/qa_runs.py             all that results/qa.json lacks
    python experiments/qa_runs.py --kept RUN  evaluate RUN/trained on everything, too

It writes results/qa.json after each run. With MINIBERT_SQUAD set, the kept model is also
measured on the articles of SQuAD that it was not trained on.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from record import RESULTS, circumstances

from minibert.commands.questions import article_split
from minibert.finetuning import fine_tune
from minibert.heads import BertForQuestionAnswering
from minibert.qa import answer_all, best_threshold, question_rows
from minibert.spans import Answer
from minibert.squad import Question, leadqa_pages, load_leadqa, load_squad, scores
from minibert.tokens import Tokenizer
from minibert.training import TrainingConfig

RECORD = RESULTS / "qa.json"
# start, learning rate, epochs, tokens in a row
RUNS = {
    "MiniLM": ("minilm", 2e-4, 4, 256),
    "leads-small": ("leads-small", 1e-3, 3, 96),
    "random weights": ("leads-small", 3e-4, 3, 96),
}
CUT = 64  # tokens of a row of which the rest is thrown away: a bug, run on purpose
RATES = (1e-4, 2e-4, 4e-4)  # for MiniLM, one epoch
Reader = tuple[BertForQuestionAnswering, Tokenizer]


def trained(
    start: str, rate: float, epochs: float, size: int, *, nothing: bool = False, cut: bool = False
) -> Reader:
    """Fine-tune a start on LeadQA's train part."""
    torch.manual_seed(0)
    tokenizer = Tokenizer.from_pretrained(start)
    with warnings.catch_warnings():  # the head is random
        warnings.simplefilter("ignore")
        model = BertForQuestionAnswering.from_pretrained(start)
    if nothing:
        model = BertForQuestionAnswering(replace(model.config, extra={}))
    if start == "minilm":
        model.bert.embeddings.requires_grad_(False)
    rows = []
    for question in load_leadqa("train"):
        windows = question_rows([question], tokenizer, size, size // 2)
        rows += windows[:1] if cut else windows
    steps = int(epochs * len(rows) / 16)
    config = TrainingConfig(steps=steps, batch_size=16, learning_rate=rate, warmup=steps // 10)
    fine_tune(model, tokenizer, rows, config)
    return model, tokenizer


def each(questions: list[Question], answers: list[Answer]) -> dict[str, list[float]]:
    """Give every question's exact match and F1, and how far no answer lies above its answer."""
    pairs = [scores(x, y.text, "1.1") for x, y in zip(questions, answers, strict=True)]
    return {
        "exact_match": [x for x, _ in pairs],
        "f1": [round(x, 4) for _, x in pairs],
        "no_answer": [round(answer.no_answer, 3) for answer in answers],
    }


def means(figures: dict[str, list[float]]) -> dict[str, float]:
    """Give exact match and F1, 0 to 100, of all questions."""
    return {name: 100 * sum(figures[name]) / len(figures[name]) for name in ("exact_match", "f1")}


def measure_kept(model: Reader) -> dict[str, Any]:
    """Measure the model that ships on what it did not train on, but for LeadQA's dev part."""
    sets = {
        "leadqa test": [x for x in load_leadqa("test") if x.answers],
        "pages dev": leadqa_pages("dev"),
        "pages test": leadqa_pages("test"),
    }
    if os.environ.get("MINIBERT_SQUAD"):
        squad = load_squad()
        for split in ("dev", "test"):
            sets[f"squad {split}"] = [x for x in squad if article_split(x) == split]
    out: dict[str, Any] = {}
    for name, questions in sets.items():
        answers = answer_all(questions, model=model)
        out[name] = means(each(questions, answers)) | {"count": len(questions)}
        print(name, out[name], flush=True)
    return out


def main() -> int:
    """Run what is not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kept", type=Path, help="the folder of the run that ships")
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    table, rates = record.setdefault("table", {}), record.setdefault("rates", {})
    with_none = load_leadqa("dev")
    dev = [question for question in with_none if question.answers]

    def keep() -> None:
        record.update(command="python experiments/qa_runs.py", **circumstances("tokenizers"))
        RECORD.write_text(json.dumps(record) + "\n", encoding="utf-8")

    if args.kept:
        folder = args.kept / "trained"
        model = BertForQuestionAnswering.from_pretrained(folder), Tokenizer.from_pretrained(folder)
        answers = answer_all(with_none, model=model)
        pairs = [(x, y) for x, y in zip(with_none, answers, strict=True) if x.answers]
        table["minilm-qa"] = each(dev, [y for _, y in pairs])
        mine = means(table["minilm-qa"]) | {"count": len(dev)}
        record["kept"] = {"leadqa dev": mine} | measure_kept(model)
        record["threshold"], _ = best_threshold(with_none, answers)
        log = (args.kept / "log.jsonl").read_text(encoding="utf-8").splitlines()
        record["log"] = [json.loads(line) for line in log]
        newest = max(args.kept.glob("step-*"))
        record["config"] = json.loads((newest / "state.json").read_text(encoding="utf-8"))["config"]
        keep()
    for name, (start, rate, epochs, size) in RUNS.items():
        if name not in table:
            model = trained(start, rate, epochs, size, nothing=name == "random weights")
            table[name] = each(dev, answer_all(dev, model=model))
            print(name, means(table[name]), flush=True)
            keep()
    if "cut" not in record:
        model = trained("minilm", 2e-4, 4, CUT, cut=True)
        record["cut"] = each(dev, answer_all(dev, model=model)) | {"max_length": CUT}
        keep()
    for rate in RATES:
        if str(rate) not in rates:
            model = trained("minilm", rate, 1, 256)
            rates[str(rate)] = means(each(dev, answer_all(dev, model=model)))
            print(rate, rates[str(rate)], flush=True)
            keep()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
