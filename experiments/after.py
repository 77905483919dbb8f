"""Pre-train small models that differ in one thing; judge all on one exam; record every run.

    python experiments/after.py             the seeds 0 to 2
    python experiments/after.py --seeds 5   the seeds 0 to 4

Every model is trained from nothing, for the same number of steps of the same number of rows.
The first four differ in what a row is and what is asked of it, the others, all on full rows,
in one change of `minibert.modern.Changes` each; the last has all of them. Runs of one seed
see the same rows in the same order. The exam is made once: the dev leads, 15 % of their
tokens hidden. results/after.json is written after each run; a run that is recorded there is
not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from itertools import chain
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from masking import judge, unigram
from record import RESULTS, circumstances, write_rows
from torch import Tensor, nn

from minibert.config import BertConfig
from minibert.data import leads, sentences
from minibert.mlm import BertForMaskedLM, MaskedLMOutput, Masking
from minibert.modern import MODERN, Changes, ModernBertForMaskedLM
from minibert.nsp import Corpus, build_corpus
from minibert.pretraining import (
    BertForPreTraining,
    PretrainingConfig,
    PretrainingData,
    PreTrainingOutput,
)
from minibert.steps import Microbatch
from minibert.tokens import Tokenizer
from minibert.training import train

RECORD = RESULTS / "after.json"
LENGTH = 64  # tokens in a row
JOINED = 8  # leads that make one document of full rows
WINDOW = 16
SIZES = {
    "hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
    "intermediate_size": 512, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    "max_position_embeddings": LENGTH, "initializer_range": 128**-0.5,
}  # fmt: skip
SETTING = {"steps": 1500, "batch_size": 16, "learning_rate": 2e-3, "warmup": 150}
ALL = replace(MODERN, window=WINDOW)
# What a run differs in: the second task, whether rows are full, the share hidden, the changes.
RUNS: dict[str, tuple[str | None, bool, float, Changes]] = {
    "next sentence": ("next", False, 0.15, Changes()),
    "sentence order": ("order", False, 0.15, Changes()),
    "words alone": (None, False, 0.15, Changes()),
    "full rows": (None, True, 0.15, Changes()),
    "30 % hidden": (None, True, 0.30, Changes()),
    "pre-norm": (None, True, 0.15, Changes(pre_norm=True)),
    "rotary": (None, True, 0.15, Changes(rotary=True)),
    "gated": (None, True, 0.15, Changes(gated=True)),
    "no biases": (None, True, 0.15, Changes(biases=False)),
    "windows": (None, True, 0.15, Changes(window=WINDOW)),
    "rotary windows": (None, True, 0.15, Changes(rotary=True, window=WINDOW)),
    "all": (None, True, 0.15, ALL),
    "all, 30 % hidden": (None, True, 0.30, ALL),
}


def make_model(name: str, vocab_size: int, seed: int) -> nn.Module:
    """Draw a model; one that is gated gets two thirds of the inner size, and so equal weights."""
    task, full, _, changes = RUNS[name]
    torch.manual_seed(seed)
    config = BertConfig(vocab_size=vocab_size, **SIZES)
    if changes.gated:
        config = replace(config, intermediate_size=config.intermediate_size * 2 // 3)
    if task:
        return BertForPreTraining(config)
    return ModernBertForMaskedLM(config, changes) if full else BertForMaskedLM(config)


def make_corpora(tokenizer: Tokenizer) -> dict[bool, Corpus]:
    """Cut the train leads into rows: of one lead each, and of several joined."""
    texts = [sentences(lead.text) for lead in leads("train")]
    joined = [list(chain(*texts[i : i + JOINED])) for i in range(0, len(texts), JOINED)]
    return {
        False: build_corpus(texts, tokenizer, max_length=LENGTH),
        True: build_corpus(joined, tokenizer, max_length=LENGTH, pairs=False),
    }


def run(
    name: str, seed: int, corpora: dict[bool, Corpus], tokenizer: Tokenizer, exam: tuple
) -> dict[str, Any]:
    """Train once and judge."""
    task, full, share, _ = RUNS[name]
    model = make_model(name, len(tokenizer), seed)
    config = PretrainingConfig(
        **SETTING, seed=seed, bfloat16=False, log_every=SETTING["steps"] // 4,
        max_length=LENGTH, mask_probability=share, task=task,
    )  # fmt: skip
    data = PretrainingData(corpora[full], tokenizer, config)
    tokens = 0

    def batches(step: int, rank: int, world: int) -> list[Microbatch]:
        nonlocal tokens
        (piece,) = data(step, rank, world)
        tokens += int(piece.inputs["attention_mask"].sum())
        if full:  # one segment: a modern model has no table for two
            del piece.inputs["token_type_ids"]
        return [piece]

    start = time.perf_counter()
    log = train(model, batches, config, progress=False)
    seconds = time.perf_counter() - start
    model.eval()
    judged = judge(Exam(model), *exam)
    return {
        "run": name, "seed": seed, "tokens": tokens, "seconds": round(seconds),
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": [line["step"] for line in log],
        "loss": [round(line["masked_lm_loss" if task else "loss"], 4) for line in log],
        **{key: round(value, 4) for key, value in judged.items()},
    }  # fmt: skip


class Exam(nn.Module):
    """Asks for the hidden words alone, whatever else a model was trained for."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor, labels: Tensor) -> Any:
        """Give loss and logits (N, V)."""
        output = self.model(ids, attention_mask=mask, labels=labels)
        if isinstance(output, PreTrainingOutput):
            return MaskedLMOutput(output.masked_lm_loss, output.prediction_logits)
        return output


def main() -> int:
    """Run what is not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = Tokenizer.from_pretrained("leads-small")
    corpora = make_corpora(tokenizer)
    seen = tokenizer([lead.text for lead in leads("train")], max_length=LENGTH).input_ids
    ids = tokenizer([lead.text for lead in leads("dev")], max_length=LENGTH).input_ids
    asked = Masking(tokenizer, 0.15)(ids, torch.Generator().manual_seed(1))
    exam = asked, (ids != tokenizer.pad_id).long()
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    runs = record.setdefault("runs", [])
    for seed in range(args.seeds):
        for name in RUNS:
            if any((done["run"], done["seed"]) == (name, seed) for done in runs):
                continue
            runs.append(run(name, seed, corpora, tokenizer, exam))
            record |= {
                "command": "python experiments/after.py",
                "config": SIZES | SETTING | {"max_length": LENGTH, "window": WINDOW},
                "exam": {
                    "rows": len(ids),
                    "hidden": int((asked.labels >= 0).sum()),
                    "unigram": round(unigram(seen, asked, tokenizer), 4),
                },
            }
            record |= circumstances("tokenizers")
            write_rows(RECORD, record)
            print(runs[-1], flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
