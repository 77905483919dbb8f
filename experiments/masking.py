"""Train at 5, 15 and 40 % of the tokens chosen; judge all on one exam; record every run.

    python experiments/masking.py             the seeds 0 to 2
    python experiments/masking.py --seeds 5   the seeds 0 to 4

Each run has two layers: the embeddings and layer 0 start as those of leads-small, layer 1
and the head are drawn anew, and everything is trained. Runs of one seed start from the
same weights and see the same rows. The exam is made once: the dev
leads, 15 % of their tokens chosen. results/masking.json is written after each run; a run
that is recorded there is not repeated.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from record import RESULTS, record_runs
from torch import Tensor, nn

from minibert.data import leads
from minibert.loading import load
from minibert.losses import IGNORE
from minibert.mlm import BertForMaskedLM, Masked, Masking
from minibert.steps import Microbatch
from minibert.tokens import Tokenizer
from minibert.training import TrainingConfig, train

RECORD = RESULTS / "masking.json"
RATES = (0.05, 0.15, 0.40)
START = "leads-small"
LENGTH = 32  # tokens in a row
SETTING = {"steps": 120, "batch_size": 16, "learning_rate": 2e-3, "warmup": 12}


def half_taught(seed: int) -> tuple[BertForMaskedLM, Tokenizer]:
    """Make two layers: leads-small up to its layer 0, above it what `seed` draws."""
    taught, tokenizer = load(START, BertForMaskedLM, torch.device("cpu"))
    torch.manual_seed(seed)
    model = BertForMaskedLM(replace(taught.config, num_hidden_layers=2))
    known = re.compile(r"bert\.(embeddings|encoder\.layers\.0)\.")
    lower = {k: v for k, v in taught.state_dict().items() if known.match(k)}
    model.load_state_dict(model.state_dict() | lower)
    return model, tokenizer


def cut_leads(split: str, tokenizer: Tokenizer, length: int) -> Tensor:
    """Give the ids of a split's leads, one in a row (rows, at most `length`)."""
    return tokenizer([lead.text for lead in leads(split)], max_length=length).input_ids


def exam(tokenizer: Tokenizer, length: int) -> tuple[Masked, Tensor]:
    """Hide 15 % of the dev leads' tokens, the same ones each time."""
    ids = cut_leads("dev", tokenizer, length)
    hidden = Masking(tokenizer, 0.15)(ids, torch.Generator().manual_seed(1))
    return hidden, (ids != tokenizer.pad_id).long()


@torch.no_grad()
def judge(model: nn.Module, masked: Masked, mask: Tensor) -> dict[str, float]:
    """Measure the loss in nats and the share of first guesses that are right."""
    loss = right = 0.0
    for part in torch.arange(len(mask)).split(64):
        labels = masked.labels[part]
        output = model(masked.input_ids[part], mask[part], labels=labels)
        loss += output.loss.item() * len(output.logits)
        right += (output.logits.argmax(-1) == labels[labels != IGNORE]).sum().item()
    count = int((masked.labels != IGNORE).sum())
    return {"exam_loss": loss / count, "exam_right": right / count}


def unigram(rows: Tensor, masked: Masked, tokenizer: Tokenizer) -> float:
    """Give the exam's loss of one who knows only how common each piece is."""
    seen = rows[~Masking(tokenizer).special[rows]]
    counts = torch.bincount(seen, minlength=len(tokenizer)) + 1
    labels = masked.labels[masked.labels != IGNORE]
    return -(counts / counts.sum()).log()[labels].mean().item()


def masked_rows(
    rows: Tensor, tokenizer: Tokenizer, rate: float, seed: int, size: int
) -> Callable[..., list[Microbatch]]:
    """Draw `size` rows for each step and hide a share: of one seed, the same rows each time."""
    masking = Masking(tokenizer, rate)

    def batches(step: int, rank: int, world: int) -> list[Microbatch]:
        chance = torch.Generator().manual_seed(1000 * seed + step)
        ids = rows[torch.randint(len(rows), (size,), generator=chance)]
        hidden, labels = masking(ids, chance)
        real = (ids != tokenizer.pad_id).long()
        inputs = {"input_ids": hidden, "attention_mask": real, "labels": labels}
        return [Microbatch(inputs, {"loss": int((labels != IGNORE).sum())})]

    return batches


def run(rate: float, seed: int, rows: Tensor, masked: Masked, mask: Tensor) -> dict[str, Any]:
    """Train once, and judge halfway and at the end."""
    model, tokenizer = half_taught(seed)
    draw = masked_rows(rows, tokenizer, rate, seed, SETTING["batch_size"])
    terms = []

    def batches(step: int, rank: int, world: int) -> list[Microbatch]:
        (piece,) = draw(step, rank, world)
        terms.append(piece.counts["loss"])
        return [piece]

    half = SETTING["steps"] // 2
    config = TrainingConfig(
        **SETTING, seed=seed, bfloat16=False, log_every=half, evaluate_every=half
    )  # fmt: skip
    log = train(
        model, batches, config, evaluate=lambda m: judge(m, masked, mask), progress=False
    )  # fmt: skip
    judged = [line for line in log if "exam_loss" in line]
    return {
        "rate": rate, "seed": seed, "terms_per_step": round(sum(terms) / len(terms), 2),
        "steps": [line["step"] for line in judged],
        "exam_loss": [round(line["exam_loss"], 4) for line in judged],
        "exam_right": [round(line["exam_right"], 4) for line in judged],
    }  # fmt: skip


def main() -> int:
    """Run what is not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    _, tokenizer = half_taught(0)
    rows = cut_leads("train", tokenizer, LENGTH)
    masked, mask = exam(tokenizer, LENGTH)
    header = {
        "command": "python experiments/masking.py",
        "start": f"{START} up to layer 0; layer 1 and the head drawn anew",
        "config": SETTING | {"max_length": LENGTH},
        "exam": {
            "rows": len(mask),
            "hidden": int((masked.labels != IGNORE).sum()),
            "unigram": round(unigram(rows, masked, tokenizer), 4),
        },
    }
    wanted = ({"rate": rate, "seed": seed} for seed in range(args.seeds) for rate in RATES)
    record_runs(RECORD, header, wanted, lambda *key: run(*key, rows, masked, mask))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
