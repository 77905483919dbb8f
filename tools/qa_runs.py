"""Fine-tune on LeadQA from several starts; keep every dev question's score.

    python tools/qa_runs.py             all that results/qa.json lacks
    python tools/qa_runs.py --kept RUN  evaluate RUN/trained on everything, too

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
from record import circumstances
from source import ROOT

from minibert.__main__ import article_split
from minibert.classification import fine_tune
from minibert.qa import (
    BertForQuestionAnswering,
    Question,
    answer_all,
    best_threshold,
    evaluate,
    leadqa_pages,
    load_leadqa,
    load_squad,
    question_rows,
    scores,
)
from minibert.tokens import Tokenizer
from minibert.training import TrainingConfig

RECORD = ROOT / "results" / "qa.json"
# start, learning rate, epochs, tokens in a row
RUNS = {
    "random weights": ("leads-small", 1e-3, 6, 96),
    "leads-small": ("leads-small", 1e-3, 6, 96),
    "MiniLM": ("minilm", 2e-4, 3, 256),
}
RATES = (5e-5, 1e-4, 2e-4, 4e-4)  # for MiniLM, one epoch


def trained(start: str, nothing: bool, rate: float, epochs: float, size: int) -> Any:
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
    rows = question_rows(load_leadqa("train"), tokenizer, size, size // 3)
    steps = int(epochs * len(rows) / 16)
    config = TrainingConfig(
        steps=steps, batch_size=16, learning_rate=rate, warmup=steps // 10, bfloat16=True
    )
    fine_tune(model, tokenizer, rows, config)
    return model, tokenizer


def each(questions: list[Question], model: Any) -> dict[str, list[float]]:
    """Give every question's exact match and F1."""
    found = answer_all(questions, model=model)
    pairs = [scores(x, y.text, "1.1") for x, y in zip(questions, found, strict=True)]
    return {"exact_match": [x for x, _ in pairs], "f1": [round(x, 4) for _, x in pairs]}


def measure_kept(model: Any) -> dict[str, Any]:
    """Measure the model that ships on everything that it did not train on."""
    out: dict[str, Any] = {}
    sets = {f"leadqa {s}": [x for x in load_leadqa(s) if x.answers] for s in ("dev", "test")}
    sets |= {f"pages {split}": leadqa_pages(split) for split in ("dev", "test")}
    if os.environ.get("MINIBERT_SQUAD"):
        squad = load_squad()
        for split in ("dev", "test"):
            sets[f"squad {split}"] = [x for x in squad if article_split(x) == split]
    for name, some in sets.items():
        found = answer_all(some, model=model)
        out[name] = evaluate(some, {x.id: y.text for x, y in zip(some, found, strict=True)})
        print(name, out[name], flush=True)
    whole = load_leadqa("dev")
    out["threshold"], _ = best_threshold(whole, answer_all(whole, model=model))
    return out


def main() -> int:
    """Run what is not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kept", type=Path, help="the folder of the run that ships")
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    table, rates = record.setdefault("table", {}), record.setdefault("rates", {})
    dev = [one for one in load_leadqa("dev") if one.answers]

    def keep() -> None:
        record.update(command="python tools/qa_runs.py", **circumstances("tokenizers"))
        RECORD.write_text(json.dumps(record) + "\n")

    for name, (start, rate, epochs, size) in RUNS.items():
        if name not in table:
            model = trained(start, name == "random weights", rate, epochs, size)
            table[name] = each(dev, model)
            keep()
    for rate in RATES:
        if str(rate) not in rates:
            model = trained("minilm", False, rate, 1, 256)
            found = each(dev, model)
            rates[str(rate)] = {k: 100 * sum(v) / len(v) for k, v in found.items()}
            keep()
    if args.kept:
        folder = args.kept / "trained"
        model = BertForQuestionAnswering.from_pretrained(folder), Tokenizer.from_pretrained(folder)
        record["kept"] = measure_kept(model)
        table["minilm-qa"] = each(dev, model)
        log = (args.kept / "log.jsonl").read_text().splitlines()
        record["log"] = [json.loads(line) for line in log]
        newest = max(args.kept.glob("step-*"))
        record["config"] = json.loads((newest / "state.json").read_text())["config"]
        keep()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
