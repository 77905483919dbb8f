"""Fine-tune under many starts, sizes, rates and seeds; record every score.

    python experiments/finetuning.py           all that results/finetuning.json lacks
    python experiments/finetuning.py --drop leads-small   forget these runs first

It runs the functions of book/source/finetuning.md and tagging.md (their cells tagged
`recorded`) and writes results/finetuning.json after each run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import re
import time
import warnings
from dataclasses import replace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from record import RESULTS, circumstances, write_rows
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from source import recorded
from torch.nn.utils import clip_grad_norm_

from minibert import classification, finetuning, heads, tagging
from minibert.data import leads
from minibert.training import TrainingConfig
from minibert.transfer import train_last

RECORD = RESULTS / "finetuning.json"
SIZES = (48, 240, 960)  # labelled leads
STEPS = {48: 45, 240: 90, 960: 120}
FROM_NOTHING = {48: 150, 240: 300, 960: 600}  # at STEPS it is still at chance
RATE = {"nothing": 3e-4, "leads-small": 1e-3, "minilm": 3e-4}
SEEDS = range(5)
Setting = dict[str, Any]


def settings() -> list[Setting]:
    """Everything that is measured, the quickest first."""
    out: list[Setting] = []

    def add(task: str, start: str, count: int, seed: int, **more: Any) -> None:
        base = {"rate": RATE[start], "frozen": False, "warmup": True}
        if start == "minilm" and more.get("frozen"):
            base["rate"] = 1e-2
        out.append({"task": task, "start": start, "count": count, "seed": seed} | base | more)

    for start, task in itertools.product(RATE, ("topic", "tags")):
        for count, seed in itertools.product(SIZES, SEEDS):
            add(task, start, count, seed)
        if task == "topic":
            for count, seed in itertools.product(SIZES, SEEDS):
                if start != "nothing":
                    add(task, start, count, seed, frozen=True, rate=1e-2)
    for start in ("leads-small", "minilm"):
        for rate, seed in itertools.product((1e-5, 1e-4, 1e-3, 3e-3), range(3)):
            if rate != RATE[start]:
                add("topic", start, 240, seed, rate=rate)
        for seed in SEEDS:
            add("topic", start, 240, seed, warmup=False)
    return out


def chapter() -> dict[str, Any]:
    """The two chapters' functions, beside the names of their modules."""
    names = vars(heads) | vars(finetuning) | vars(classification) | vars(tagging) | {
        "random": random, "re": re, "leads": leads, "warnings": warnings, "replace": replace,
        "clip_grad_norm_": clip_grad_norm_, "device": torch.device("cpu"),
    }  # fmt: skip
    return recorded("tagging.md", recorded("finetuning.md", names))


def run(setting: Setting, names: dict[str, Any]) -> dict[str, float]:
    """Train once, and score on the dev split."""
    topic = setting["task"] == "topic"
    kind = "BertForSequenceClassification" if topic else "BertForTokenClassification"
    labels = names["TOPICS"] if topic else names["TAGS"]
    model, tokenizer = names["head_on"](names[kind], setting["start"], labels, setting["seed"])
    if topic:
        rows = names["topic_rows"]("train", tokenizer, setting["count"], setting["seed"])
    else:
        tagged = names["tagged"]("train", setting["count"], setting["seed"])
        rows = names["tag_rows"](tagged, tokenizer)
    if setting["frozen"]:
        train_last(model, 0)
    steps = (FROM_NOTHING if setting["start"] == "nothing" else STEPS)[setting["count"]]
    config = TrainingConfig(
        steps=steps, batch_size=16, learning_rate=setting["rate"], seed=setting["seed"],
        warmup=steps // 10 if setting["warmup"] else 0,
    )  # fmt: skip
    names["fine_tune"](model, tokenizer, rows, config, progress=False)
    if topic:
        unseen = names["topic_rows"]("dev", tokenizer)
        return names["topic_score"](model, unseen, tokenizer.pad_id)
    return names["tag_score"](model, tokenizer, names["tagged"]("dev"))


def head_rates() -> list[Setting]:
    """A rate for the head, as a multiple of the body's, at two rates of the body."""
    return [
        {"start": "leads-small", "count": 240, "rate": rate, "head_times": times, "seed": seed}
        for seed, rate, times in itertools.product(range(3), (3e-4, 1e-3), (1, 10))
    ]


def run_head_rate(setting: Setting, names: dict[str, Any]) -> dict[str, float]:
    """Train once in the chapter's plain loop, and score on the dev split."""
    kind, seed = names["BertForSequenceClassification"], setting["seed"]
    steps = STEPS[setting["count"]]
    model, tokenizer = names["head_on"](kind, setting["start"], names["TOPICS"], seed)
    rows = names["topic_rows"]("train", tokenizer, setting["count"], seed)
    config = TrainingConfig(
        steps=steps, batch_size=16, learning_rate=setting["rate"], seed=seed, warmup=steps // 10
    )
    names["two_rates"](model, rows, config, tokenizer.pad_id, setting["head_times"])
    return names["topic_score"](model, names["topic_rows"]("dev", tokenizer), tokenizer.pad_id)


def counted(names: dict[str, Any]) -> list[dict[str, float]]:
    """The untrained baseline: TF-IDF and a linear classifier, on the whole leads."""
    dev, out = leads("dev"), []
    for count, seed in itertools.product(SIZES, SEEDS):
        chosen = names["balanced"](leads("train"), count, seed)
        vectors = TfidfVectorizer(sublinear_tf=True, stop_words="english")
        x = vectors.fit_transform([lead.text for lead in chosen])
        model = LogisticRegression(C=30, max_iter=1000).fit(x, [lead.topic for lead in chosen])
        right = model.predict(vectors.transform([lead.text for lead in dev]))
        accuracy = sum(a == b.topic for a, b in zip(right, dev, strict=True)) / len(dev)
        out.append({"count": count, "seed": seed, "accuracy": round(accuracy, 4)})
    return out


def main() -> int:
    """Run what is not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drop", help="forget the runs of this start")
    parser.add_argument("--only", help="this start alone")
    args = parser.parse_args()
    torch.set_num_threads(1)
    names = chapter()
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {"runs": []}
    record["tfidf"] = record.get("tfidf") or counted(names)
    record["runs"] = [x for x in record["runs"] if x["start"] != args.drop]
    own = record.setdefault("head_rates", {"runs": []})
    own["runs"] = [x for x in own["runs"] if x["start"] != args.drop]
    record |= {
        "command": "python experiments/finetuning.py",
        "steps": STEPS,
        "steps_from_nothing": FROM_NOTHING,
    }
    todo = [(record, run, setting) for setting in settings()]
    todo += [(own, run_head_rate, setting) for setting in head_rates()]
    for part, measure, setting in todo:
        known = any(setting.items() <= earlier.items() for earlier in part["runs"])
        if known or args.only not in (None, setting["start"]):
            continue
        start = time.perf_counter()
        scores = {k: round(v, 4) for k, v in measure(setting, names).items()}
        part["runs"].append(setting | scores | {"seconds": round(time.perf_counter() - start)})
        part |= circumstances("tokenizers", "scikit-learn")
        write_rows(RECORD, record)
        print(part["runs"][-1], flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
