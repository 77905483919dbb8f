"""Train next sentence prediction on pairs that betray their labels; record both scores.

    python experiments/nsp_leaks.py             each leak and none, seeds 0 to 2
    python experiments/nsp_leaks.py --seeds 5   seeds 0 to 4

It runs the functions of book/source/nsp.md (its cells tagged `recorded`), judges each
model on pairs drawn with its leak and on the page's own pairs, and writes
results/nsp-leaks.json after each run; a run that is recorded there is not repeated.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from record import RESULTS, circumstances
from source import recorded

from minibert import nsp

RECORD = RESULTS / "nsp-leaks.json"
STEPS = 200


def main() -> int:
    """Run what is not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    names = recorded("nsp.md", dict(vars(nsp)))
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {"runs": {}}
    data = names["prepare"](names["vocabulary"](4096))
    _, dev, honest, tokenizer = data
    rows = np.resize(np.arange(len(dev.chunks)), len(honest.labels))
    for seed in range(args.seeds):
        for leak in names["LEAKS"]:
            runs = record["runs"].setdefault(leak, [])
            if any(run["seed"] == seed for run in runs):
                continue
            draw = names["leaking"](leak)
            model, curve = names["learn"](data, seed, steps=STEPS, draw=draw)
            own = draw(dev, rows, names["LENGTH"], np.random.default_rng(99))
            guess = names["judge"](model, dev, own, tokenizer).argmax(1).numpy()
            runs.append({
                "seed": seed, "steps": STEPS,
                "loss": round(float(curve[-1][1]), 4),
                "leaking": round(float((guess == own.labels).mean()), 4),
                "honest": round(float(curve[-1][2]), 4),
            })  # fmt: skip
            runs.sort(key=lambda run: run["seed"])
            record |= {"command": "python experiments/nsp_leaks.py"}
            record |= circumstances("tokenizers", "numpy")
            RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            print(f"{leak}, seed {seed}: {runs[-1]}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
