"""The full recipe: fine-tune on all of SQuAD 1.1, measure on its dev part, keep the figures.

    python experiments/squad.py google-bert/bert-base-uncased        (of RECIPES below)

For one GPU. Each model's exact match and F1 go to results/squad.json, beside the published
ones, with the date, the chip and the versions. SQuAD comes from the hub, or from the folder
that MINIBERT_SQUAD names.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from record import RESULTS, ROOT, circumstances

from minibert.__main__ import main as minibert
from minibert.heads import BertForQuestionAnswering
from minibert.qa import answer_all
from minibert.squad import evaluate, load_squad
from minibert.steps import processes
from minibert.tokens import Tokenizer

RECORD = RESULTS / "squad.json"
RECIPES = {  # learning rate, epochs
    "google-bert/bert-base-uncased": (3e-5, 2),
    "google/bert_uncased_L-8_H-512_A-8": (1e-4, 3),
    "google/bert_uncased_L-4_H-512_A-8": (1e-4, 3),
    "google/bert_uncased_L-4_H-256_A-4": (2e-4, 3),
    "google/bert_uncased_L-2_H-128_A-2": (3e-4, 4),
    "minilm": (2e-4, 3),
}


def chip() -> str:
    """Name what computes."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def measure(start: str, run: Path, *more: str) -> dict[str, float]:
    """Train a start on all of SQuAD's train part; score it on the dev part."""
    rate, epochs = RECIPES.get(start, (3e-5, 2))
    train = [
        "qa", "train", run, "--start", start, "--data", "squad-all", "--epochs", epochs,
        "--batch-size", 32, "--learning-rate", rate, *more,
    ]  # fmt: skip
    if minibert([str(word) for word in train]):
        raise SystemExit("the training stopped; the same command goes on from its checkpoint")
    model = BertForQuestionAnswering.from_pretrained(run / "model").to(processes().device)
    dev = load_squad("dev")
    answers = answer_all(dev, model=(model, Tokenizer.from_pretrained(run / "model")))
    return evaluate(dev, {x.id: y.text for x, y in zip(dev, answers, strict=True)})


def main() -> int:
    """Measure the models that were named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("start", nargs="+", help="names, folders or hub ids")
    parser.add_argument("--runs", type=Path, default=ROOT / "_build" / "squad")
    parser.add_argument("--record", type=Path, default=RECORD)
    args, more = parser.parse_known_args()  # the rest goes to `minibert qa train`
    record = json.loads(args.record.read_text(encoding="utf-8"))
    for start in args.start:
        scores = measure(start, args.runs / start.replace("/", "_"), *more)
        record["measured"][start] = scores | {"chip": chip()} | circumstances("tokenizers")
        args.record.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
