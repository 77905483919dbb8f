"""The work of `minibert glue`."""

import json
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from minibert.bert import BertPreTrainedModel
from minibert.commands.flags import check_folder, from_start, make_config, refuse
from minibert.commands.pretraining import check_start
from minibert.files import require
from minibert.finetuning import fine_tune, predict
from minibert.glue import TASKS, Example, average, glue_rows, read_glue, score_glue
from minibert.heads import BertForSequenceClassification
from minibert.steps import processes
from minibert.tokens import Tokenizer
from minibert.training import TrainingConfig

__all__: list[str] = []


def choose_tasks(data: Path, wanted: tuple[str, ...]) -> list[str]:
    """Give the tasks that are asked for, or those that a folder has."""
    for name in wanted:
        if name not in TASKS:
            refuse(f"--tasks {name} is none of {', '.join(TASKS)}")
    found = [name for name in wanted or TASKS if (data / name / "train.tsv").is_file()]
    missing = [name for name in wanted if name not in found]
    if missing or not found:
        refuse(f"there is no {data / (missing or [*TASKS])[0] / 'train.tsv'}: DATA holds a folder "
               "for each task, as GLUE ships them")  # fmt: skip
    return found


def make_model(start: str, task: str) -> BertForSequenceClassification:
    """Make a model with a new head for a task."""
    names = TASKS[task].names
    kind: dict[str, Any] = {"labels": names, "problem_type": "single_label_classification"}
    if names is None:
        kind = {"num_labels": 1, "problem_type": "regression"}
    with warnings.catch_warnings():  # a new head is random
        warnings.simplefilter("ignore")
        return BertForSequenceClassification.from_pretrained(
            start, ignore_mismatched_sizes=True, **kind
        )


def measure(
    model: BertPreTrainedModel,
    tokenizer: Tokenizer,
    files: dict[str, list[Example]],
    task: str,
    max_length: int,
) -> dict[str, dict[str, float]]:
    """Measure a model on each of a task's unseen files."""
    scores = {}
    for name in TASKS[task].unseen:
        unseen = files[name]
        rows = glue_rows(unseen, tokenizer, max_length)
        logits = torch.stack(predict(model, rows, tokenizer.pad_id))  # (n, C)
        predicted = logits[:, 0] if TASKS[task].names is None else logits.argmax(1)
        scores[name] = score_glue(task, [one.label for one in unseen], predicted.tolist())
    return scores


def run_glue(args: SimpleNamespace) -> None:
    """Do `minibert glue`."""
    require("glue", "sklearn")
    numbers = {"learning_rate": args.learning_rate, "batch_size": args.batch_size}
    config = make_config(TrainingConfig, args, steps=1, **numbers)
    tasks = choose_tasks(args.data, args.tasks)
    check_start(args.start, args.max_length)
    check_folder(args.folder)
    tokenizer = Tokenizer.from_pretrained(args.start)
    files = {  # all of them, before an hour is spent on one and another is not right
        task: {
            name: read_glue(args.data / task / f"{name}.tsv", task)
            for name in ("train", *TASKS[task].unseen)
        }
        for task in tasks
    }
    rank = processes().rank
    file = args.folder / "glue.json"
    record: dict[str, Any] = {"start": args.start, "scores": {}}
    means: dict[str, float] = {}
    for task in tasks:
        rows = glue_rows(files[task]["train"], tokenizer, args.max_length)
        steps = max(1, int(args.epochs * len(rows) / config.batch_size))
        own = replace(config, steps=steps, warmup=int(args.warmup_share * steps))
        torch.manual_seed(config.seed)
        model = make_model(args.start, task)
        fine_tune(model, tokenizer, rows, from_start(own), args.folder / task)
        if rank:
            continue
        scores = measure(model, tokenizer, files[task], task, args.max_length)
        every = [value for metrics in scores.values() for value in metrics.values()]
        means[task] = sum(every) / len(every)
        record["scores"][task] = scores
        record["average"] = average(means)
        file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        for name, metrics in scores.items():
            line = "  ".join(f"{metric} {value:.1f}" for metric, value in metrics.items())
            print(f"{task:6}{name:16}{line}", flush=True)
    if rank == 0:
        whole = record["average"]
        missing = ", ".join(name for name in TASKS if name not in means)
        print(f"average of eight tasks {whole:.1f}" if whole is not None else
              f"no average, without {missing}")  # fmt: skip
