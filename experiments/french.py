"""A BERT that reads French, from nothing: train it, ask it for words, use it; record all.

    python experiments/french.py [FOLDER]

FOLDER, _build/french unless it is given, takes the run; stopped, the same command goes on.
It runs the functions of book/source/french.md (its cells tagged `recorded`) on one thread for
about 20 minutes, and writes results/french.json. The weights stay in FOLDER/model.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from record import RESULTS, ROOT, circumstances, write_rows
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from source import recorded
from tokenizers.pre_tokenizers import BertPreTokenizer

from minibert.classification import text_row
from minibert.config import BertConfig
from minibert.corpus import write_corpus
from minibert.data import leads, sentences
from minibert.finetuning import fine_tune, predict
from minibert.heads import BertForSequenceClassification
from minibert.losses import IGNORE
from minibert.mlm import BertForMaskedLM
from minibert.pretraining import PretrainingConfig, pretrain
from minibert.tokens import Tokenizer
from minibert.training import TrainingConfig
from minibert.vocabulary import train_vocabulary

RECORD = RESULTS / "french.json"
CONFIG = PretrainingConfig(
    steps=2500, batch_size=32, max_length=96, learning_rate=3e-3, warmup=100, task=None,
    log_every=50, evaluate_every=250, save_every=250,
)  # fmt: skip
SIZES = (110, 440)  # labelled leads
STEPS = {110: 60, 440: 100}
FROM_NOTHING = {110: 200, 440: 400}  # at STEPS it is still at chance
RATE = {"nothing": 3e-4, "leads-small": 1e-3, "french": 1e-3}  # of results/finetuning.json
SEEDS = range(5)


def chapter() -> dict[str, Any]:
    """The chapter's functions, among what they call."""
    names = {
        item.__name__: item
        for item in (
            BertConfig, BertForMaskedLM, BertPreTokenizer, Counter, NamedTuple, Tokenizer,
            defaultdict, leads, sentences, text_row, train_vocabulary, write_corpus,
        )
    }  # fmt: skip
    return recorded("french.md", names | {"random": random, "torch": torch, "IGNORE": IGNORE})


def pretrained(names: dict[str, Any], folder: Path) -> list[dict[str, float]]:
    """Train from nothing, or go on; give the log."""
    tokenizer = names["french_tokenizer"]()
    corpora = [names["corpus_of"](s, tokenizer, folder / s) for s in ("train", "dev")]
    log = pretrain(
        names["new_model"](tokenizer), tokenizer, corpora[0], CONFIG, folder,
        held_out=corpora[1],
    )  # fmt: skip
    return [{key: round(value, 4) for key, value in line.items()} for line in log]


def gap_hits(names: dict[str, Any], folder: Path) -> dict[str, str]:
    """Ask for the hidden words of the test leads: a 1 for each that is found, else a 0."""
    gaps = names["gaps"](names["french"]("test"))
    best = names["count_neighbours"](names["french"]("train"))
    hits_of = {
        "commonest word": [gap.word == best[None] for gap in gaps],
        "two neighbours": [gap.word == names["by_neighbours"](best, gap) for gap in gaps],
    }
    for name, place in (("leads-small", "leads-small"), ("french", folder / "model")):
        with warnings.catch_warnings():  # "a next-sentence head: no use for it"
            warnings.simplefilter("ignore")
            model = BertForMaskedLM.from_pretrained(place).eval()
        hits_of[name] = names["guessed"](model, Tokenizer.from_pretrained(place), gaps)
    return {name: "".join("01"[hit] for hit in hits) for name, hits in hits_of.items()}


def topic_runs(names: dict[str, Any], folder: Path) -> Iterator[dict[str, Any]]:
    """Name the topic from three starts and by counted words: two sizes, five seeds."""
    topics, test = names["TOPICS"], names["french"]("test")
    labels = [topics.index(lead.topic) for lead in test]
    tokenizers = dict.fromkeys(("nothing", "french"), names["french_tokenizer"]())
    tokenizers["leads-small"] = Tokenizer.from_pretrained("leads-small")

    def run(start: str, count: int, seed: int) -> dict[str, Any]:
        guesses = (count_words if start == "tfidf" else train)(start, count, seed)
        right = sum(a == b for a, b in zip(guesses, labels, strict=True)) / len(labels)
        return {"start": start, "count": count, "seed": seed, "accuracy": round(right, 4)}

    def count_words(_: str, count: int, seed: int) -> list[int]:
        chosen, vectors = names["balanced"](count, seed), TfidfVectorizer(sublinear_tf=True)
        x = vectors.fit_transform([lead.text for lead in chosen])
        lines = LogisticRegression(C=30, max_iter=1000)
        lines.fit(x, [topics.index(lead.topic) for lead in chosen])
        unseen = vectors.transform([lead.text for lead in test])
        predicted: list[int] = lines.predict(unseen).tolist()
        return predicted

    def train(start: str, count: int, seed: int) -> list[int]:
        kind, tokenizer = BertForSequenceClassification, tokenizers[start]
        torch.manual_seed(seed)
        if start == "nothing":
            model = kind(names["new_model"](tokenizer, seed).config, labels=topics)
        else:
            place = folder / "model" if start == "french" else start
            with warnings.catch_warnings():  # "the head is random: train it"
                warnings.simplefilter("ignore")
                model = kind.from_pretrained(place, labels=topics)
        steps = (FROM_NOTHING if start == "nothing" else STEPS)[count]
        config = TrainingConfig(
            steps=steps, batch_size=16, learning_rate=RATE[start], seed=seed, warmup=steps // 10
        )
        rows = names["topic_rows"](names["balanced"](count, seed), tokenizer)
        fine_tune(model, tokenizer, rows, config, progress=False)
        rows = names["topic_rows"](test, tokenizer)
        logits = torch.stack(predict(model, rows, tokenizer.pad_id))
        return list(logits.argmax(1).tolist())

    for start, count, seed in itertools.product(("tfidf", *RATE), SIZES, SEEDS):
        yield run(start, count, seed)


def main() -> int:
    """Do what is not recorded yet."""
    if len(sys.argv) > 2 or "-h" in sys.argv or "--help" in sys.argv:
        raise SystemExit(__doc__)
    folder = Path(sys.argv[1]) if len(sys.argv) == 2 else ROOT / "_build" / "french"
    torch.set_num_threads(1)
    names = chapter()
    record: dict[str, Any] = {"command": "python experiments/french.py", "seconds": {}}
    if RECORD.exists():
        record = json.loads(RECORD.read_text(encoding="utf-8"))
    parts = {
        "log": pretrained, "words": gap_hits, "topics": lambda *args: list(topic_runs(*args)),
    }  # fmt: skip
    for name, work in parts.items():
        if name in record and (folder / "model").is_dir():
            continue
        start = time.process_time()
        record[name] = work(names, folder)
        record["seconds"][name] = round(time.process_time() - start)  # of the processor
        record |= circumstances("tokenizers", "scikit-learn")
        write_rows(RECORD, record)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
