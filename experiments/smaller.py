"""Make students of two of leads-small's four layers; record every run in smaller.json.

    python experiments/smaller.py             the seeds 0 to 2
    python experiments/smaller.py --seeds 5   the seeds 0 to 4

RUNS says what each starts from and learns from; all train for equal steps on the same rows.
The exam are the dev leads, 15 % of their tokens hidden. What starts from the teacher's layers
then names the topic of dev leads, after as many labelled ones as TOPIC_STEPS says, and so
does a model that has learned nothing. A run that is recorded is not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from masking import judge, unigram
from record import RESULTS, circumstances, write_rows
from torch import Tensor, nn

from minibert.classification import text_row
from minibert.config import BertConfig
from minibert.data import leads
from minibert.distillation import Distillation, every_nth_layer
from minibert.electra import BertForReplacedTokens, ReplacedTokens
from minibert.finetuning import fine_tune, predict
from minibert.heads import BertForSequenceClassification
from minibert.loading import load
from minibert.losses import IGNORE
from minibert.mlm import BertForMaskedLM, Masking
from minibert.steps import Microbatch
from minibert.tokens import Tokenizer
from minibert.training import TrainingConfig, train

RECORD = RESULTS / "smaller.json"
TEACHER = "leads-small"
LENGTH = 96  # tokens in a row
SETTING = {"steps": 600, "batch_size": 24, "learning_rate": 2e-3, "warmup": 60}
# What a run starts from, and what it learns from.
RUNS: dict[str, tuple[str, str | None]] = {
    "alone": ("nothing", "words"),
    "taught": ("nothing", "teacher"),
    "layers": ("layers", "words"),
    "layers, taught": ("layers", "teacher"),
    "layers, replaced tokens": ("layers", "replaced tokens"),
    "layers, untrained": ("layers", None),
    "untrained": ("nothing", None),
}
JUDGED_BY_TOPICS = [name for name in RUNS if name not in ("alone", "taught")]
TOPIC_STEPS = {220: 100, 880: 200}  # by labelled leads
TOPICS = sorted({lead.topic for lead in leads("train")})


def small(config: BertConfig) -> BertConfig:
    """The teacher's config, with half of its layers."""
    return replace(config, num_hidden_layers=config.num_hidden_layers // 2)


def batches(rows: Tensor, tokenizer: Tokenizer, seed: int) -> Callable[..., list[Microbatch]]:
    """Draw and mask rows: the same ones for each run of a seed."""
    masking = Masking(tokenizer, 0.15)

    def draw(step: int, rank: int, world: int) -> list[Microbatch]:
        chance = torch.Generator().manual_seed(1000 * seed + step)
        ids = rows[torch.randint(len(rows), (SETTING["batch_size"],), generator=chance)]
        hidden, labels = masking(ids, chance)
        real = (ids != tokenizer.pad_id).long()
        inputs = {"input_ids": hidden, "attention_mask": real, "labels": labels}
        return [Microbatch(inputs, {"loss": int((labels != IGNORE).sum())})]

    return draw


def trained(model: nn.Module, draw: Callable[..., list[Microbatch]], seed: int) -> dict[str, Any]:
    """Train, and say how long it took."""
    config = TrainingConfig(**SETTING, seed=seed, bfloat16=False, log_every=SETTING["steps"] // 4)
    start = time.process_time()
    log = train(model, draw, config, progress=False)
    return {
        "seconds": round(time.process_time() - start),
        "loss": [round(line["loss"], 4) for line in log],
    }


def run(
    name: str, seed: int, tokenizer: Tokenizer, draw: Any, exam: tuple[Any, Tensor]
) -> dict[str, Any]:
    """Make a student, train it, judge it."""
    start, task = RUNS[name]
    teacher, _ = load(TEACHER, BertForMaskedLM, torch.device("cpu"))
    config = small(teacher.config)
    torch.manual_seed(seed)
    if start == "layers":
        model = every_nth_layer(teacher, config.num_hidden_layers)
    else:
        model = BertForMaskedLM(config)
    learner: nn.Module = model
    if task == "teacher":
        learner = Distillation(model, teacher)
    elif task == "replaced tokens":
        finder = BertForReplacedTokens(config)
        finder.bert.load_state_dict(model.bert.state_dict())
        model.bert = finder.bert
        learner = ReplacedTokens(every_nth_layer(teacher, 1), finder)
    line: dict[str, Any] = {"run": name, "seed": seed}
    if task is not None:
        line |= trained(learner.train(), draw, seed)
    if task != "replaced tokens":
        judged = judge(model.eval(), *exam)
        line |= {key: round(value, 4) for key, value in judged.items()}
    if name in JUDGED_BY_TOPICS:
        weights = model.bert.state_dict()
        line["topics"] = {
            str(count): round(name_topics(weights, config, tokenizer, count, seed), 4)
            for count in TOPIC_STEPS
        }
    return line


def name_topics(
    weights: dict[str, Tensor], config: BertConfig, tokenizer: Tokenizer, count: int, seed: int
) -> float:
    """Fine-tune a body on some labelled leads; give the share of dev leads named right."""
    torch.manual_seed(seed)
    model = BertForSequenceClassification(config, labels=TOPICS)
    missing, _ = model.bert.load_state_dict(weights, strict=False)
    assert all("pooler" in weight for weight in missing), missing
    chance = torch.Generator().manual_seed(seed)
    train_leads, test_leads = leads("train"), leads("dev")
    chosen = torch.randperm(len(train_leads), generator=chance)[:count].tolist()
    rows, test = (
        [text_row(lead.text, tokenizer, TOPICS.index(lead.topic), LENGTH) for lead in several]
        for several in ([train_leads[i] for i in chosen], test_leads)
    )
    training = TrainingConfig(
        steps=TOPIC_STEPS[count], batch_size=16, learning_rate=5e-4, seed=seed,
        warmup=TOPIC_STEPS[count] // 10, bfloat16=False,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fine_tune(model, tokenizer, rows, training, progress=False)
    logits = torch.stack(predict(model, test, tokenizer.pad_id))
    wanted = torch.tensor([row["labels"] for row in test])
    return (logits.argmax(1) == wanted).float().mean().item()


def main() -> int:
    """Run what is not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    teacher, tokenizer = load(TEACHER, BertForMaskedLM, torch.device("cpu"))
    rows = tokenizer([lead.text for lead in leads("train")], max_length=LENGTH).input_ids
    ids = tokenizer([lead.text for lead in leads("dev")], max_length=LENGTH).input_ids
    asked = Masking(tokenizer, 0.15)(ids, torch.Generator().manual_seed(1))
    exam = asked, (ids != tokenizer.pad_id).long()
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    if not record:
        judged = judge(teacher.eval(), *exam)
        record = {
            "command": "python experiments/smaller.py", "config": SETTING | {"max_length": LENGTH},
            "exam": {"rows": len(ids), "unigram": round(unigram(rows, asked, tokenizer), 4)},
            "teacher": {key: round(value, 4) for key, value in judged.items()}, "runs": [],
        }  # fmt: skip
    for seed in range(args.seeds):
        draw = batches(rows, tokenizer, seed)
        for name in RUNS:
            if any((line["run"], line["seed"]) == (name, seed) for line in record["runs"]):
                continue
            record["runs"].append(run(name, seed, tokenizer, draw, exam))
            record |= circumstances("tokenizers")
            write_rows(RECORD, record)
            print(record["runs"][-1], flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
