"""Speed against the references, side by side in one run, into bench/record.json.

    python tools/bench.py

Each row times two things in turn, round after round, so that both meet the same busy
machine. `ratio` is the median of theirs over ours, round by round: above 1, ours is
faster. No ratio may lie below its `floor`; a test holds the record to that.
"""

from __future__ import annotations

import datetime
import json
import platform
import sys
import time
from collections.abc import Callable
from importlib import metadata
from statistics import median

import torch
import transformers
from source import ROOT

from minibert.bert import BertConfig, BertModel, to_huggingface

RECORD = ROOT / "bench" / "record.json"
BATCH, LENGTH, ROUNDS = 32, 128, 15
Work = Callable[[], object]


def seconds(work: Work) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def row(name: str, floor: float, ours: Work, theirs: Work) -> dict[str, object]:
    """Time two calls in turn; who goes first changes from round to round."""
    ours(), theirs()
    a, b = [], []
    for turn in range(ROUNDS):
        for work, times in [(ours, a), (theirs, b)][:: 1 if turn % 2 else -1]:
            times.append(seconds(work))
    return {
        "name": name,
        "ratio": round(median(y / x for x, y in zip(a, b, strict=True)), 3),
        "floor": floor,
        "ours_seconds": round(median(a), 4),
        "theirs_seconds": round(median(b), 4),
        "rounds": ROUNDS,
    }


def forward() -> dict[str, object]:
    """BertModel in MiniLM's size on padded rows, without gradients."""
    size = {
        "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12,
        "intermediate_size": 1536,
    }  # fmt: skip
    ours = BertModel(BertConfig(**size)).eval()
    theirs = transformers.BertModel(transformers.BertConfig(**size)).eval()
    theirs.load_state_dict(to_huggingface(ours.state_dict()), strict=False)
    chance = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 30000, (BATCH, LENGTH), generator=chance)
    lengths = torch.randint(LENGTH // 2, LENGTH + 1, (BATCH, 1), generator=chance)
    real = (torch.arange(LENGTH) < lengths).long()
    name = f"forward, 6 layers of 384, {BATCH} x {LENGTH} tokens, against transformers"
    with torch.inference_mode():
        mine, other = ours(ids, real)[0], theirs(ids, attention_mask=real)[0]
        assert (mine - other)[real.bool()].abs().max() < 1e-4, "not the same model"
        return row(name, 1.0, lambda: ours(ids, real), lambda: theirs(ids, real))


def main() -> int:
    """Measure every row and write the record."""
    rows = [forward()]
    record = {
        "rows": rows,
        "date": datetime.date.today().isoformat(),
        "processor": (
            f"{platform.machine()} with {torch.backends.cpu.get_cpu_capability()},"
            f" {torch.get_num_threads()} thread(s)"
        ),
        "versions": {name: metadata.version(name) for name in ("torch", "transformers")},
    }
    RECORD.parent.mkdir(exist_ok=True)
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    for one in rows:
        print(f"{one['name']}: {one['ratio']} (floor {one['floor']})")
    return int(any(one["ratio"] < one["floor"] for one in rows))


if __name__ == "__main__":
    sys.exit(main())
