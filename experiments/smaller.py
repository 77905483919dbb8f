"""Distil leads-small, and pre-train on replaced tokens; record every run in smaller.json.

    python experiments/smaller.py             the seeds 0 to 2
    python experiments/smaller.py --seeds 5   the seeds 0 to 4

The first four runs train a student of half the layers on masked words, for equal steps on
the same rows: from nothing or from every second layer of its teacher, with and without what
the teacher says. Their exam are the dev leads, 15 % of the tokens hidden. The others train
one body on masked words or on replaced tokens, and then name the topic of dev leads after
as many labelled ones as SIZES says. A run that is recorded is not repeated.
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
# Whether a student starts from the teacher's layers, and the teacher's part of its loss.
STUDENTS = {
    "alone": (False, 0.0), "taught": (False, 0.5), "layers": (True, 0.0),
    "layers, taught": (True, 0.5),
}  # fmt: skip
BODIES = ("nothing", "masked words", "replaced tokens")
SIZES = (220, 880)  # labelled leads
TOPIC_STEPS = {220: 100, 880: 200}
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


def student(name: str, seed: int, draw: Any, exam: tuple[Any, Tensor]) -> dict[str, Any]:
    """Train a student, and judge it."""
    teacher, _ = load(TEACHER, BertForMaskedLM, torch.device("cpu"))
    from_layers, weight = STUDENTS[name]
    torch.manual_seed(seed)
    config = small(teacher.config)
    model = every_nth_layer(teacher, config.num_hidden_layers) if from_layers else (
        BertForMaskedLM(config)
    )  # fmt: skip
    before = judge(model.eval(), *exam)
    whole = Distillation(model, teacher, weight) if weight else model
    kept = trained(whole.train(), draw, seed)
    after = judge(model.eval(), *exam)
    return kept | {
        "run": name, "seed": seed, "exam_loss_before": round(before["exam_loss"], 4),
        **{key: round(value, 4) for key, value in after.items()},
    }  # fmt: skip


def body(name: str, seed: int, draw: Any, tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """Train a body by one task, then name topics with it."""
    teacher, _ = load(TEACHER, BertForMaskedLM, torch.device("cpu"))
    config = small(teacher.config)
    torch.manual_seed(seed)
    if name == "replaced tokens":
        guesser = BertForMaskedLM(replace(config, num_hidden_layers=1))
        model: Any = BertForReplacedTokens(config)
        kept = trained(ReplacedTokens(guesser, model).train(), draw, seed)
    else:
        model = BertForMaskedLM(config)
        kept = trained(model.train(), draw, seed) if name != "nothing" else {}
    state = model.bert.state_dict()
    rows = []
    for count in SIZES:
        torch.manual_seed(seed)
        whole = BertForSequenceClassification(config, labels=TOPICS)
        missing, _ = whole.bert.load_state_dict(state, strict=False)
        assert all("pooler" in one for one in missing), missing
        chosen = list(leads("train"))
        order = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(seed))
        some = [chosen[i] for i in order[:count].tolist()]
        test = list(leads("dev"))

        def encoded(articles: list[Any]) -> list[Any]:
            return [text_row(tokenizer, x.text, TOPICS.index(x.topic), LENGTH) for x in articles]

        config_of = TrainingConfig(
            steps=TOPIC_STEPS[count], batch_size=16, learning_rate=5e-4, seed=seed,
            warmup=TOPIC_STEPS[count] // 10, bfloat16=False,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fine_tune(whole, tokenizer, encoded(some), config_of, progress=False)
        logits = torch.stack(predict(whole, encoded(test), tokenizer.pad_id))
        want = torch.tensor([TOPICS.index(x.topic) for x in test])
        right = (logits.argmax(1) == want).float().mean().item()
        rows.append(kept | {"run": name, "seed": seed, "count": count, "accuracy": round(right, 4)})
    return rows


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
            "teacher": {key: round(value, 4) for key, value in judged.items()},
            "students": [], "bodies": [],
        }  # fmt: skip
    for seed in range(args.seeds):
        draw = batches(rows, tokenizer, seed)
        for kind, names in (("students", STUDENTS), ("bodies", BODIES)):
            for name in names:
                if any((x["run"], x["seed"]) == (name, seed) for x in record[kind]):
                    continue
                if kind == "students":
                    record[kind].append(student(name, seed, draw, exam))
                else:
                    record[kind] += body(name, seed, draw, tokenizer)
                record |= circumstances("tokenizers")
                write_rows(RECORD, record)
                print(record[kind][-1], flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
