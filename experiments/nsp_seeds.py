"""Train next sentence prediction under many seeds and settings; record every curve.

    python experiments/nsp_seeds.py                   the chapter's setting, seeds 0 to 9
    python experiments/nsp_seeds.py --seeds 3 --all   seeds 0 to 2, and the other settings
    python experiments/nsp_seeds.py --only shuffled --seeds 10

It runs the functions of book/source/nsp.md (its cells tagged `recorded`) and writes
results/nsp-seeds.json after each run; a run that is recorded there is not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from record import RESULTS, circumstances
from source import recorded

from minibert import nsp

RECORD = RESULTS / "nsp-seeds.json"
BASE = "counted"
# What differs from the chapter's setting, by name.
SETTINGS: dict[str, dict[str, Any]] = {
    BASE: {},
    "shuffled": {"start": "shuffled"},
    "wide": {"start": "wide"},
    "0.02": {"start": "0.02"},
    "rate 3e-3": {"rate": 3e-3},
    "rate 3e-4": {"rate": 3e-4},
    "batch 16": {"batch": 16},
    "vocabulary 1024": {"vocabulary": 1024},
    "masked words too": {"words": True},
}


def main() -> int:
    """Run what is not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--all", action="store_true", help="every setting")
    parser.add_argument("--only", choices=SETTINGS, help="this setting")
    args = parser.parse_args()
    torch.set_num_threads(1)
    names = recorded("nsp.md", dict(vars(nsp)))
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {"runs": {}}
    data = {}
    wanted = [args.only or BASE] if not args.all else list(SETTINGS)
    for name in wanted:
        options = dict(SETTINGS[name])
        size = options.pop("vocabulary", 4096)
        runs = record["runs"].setdefault(name, [])
        for seed in range(args.seeds):
            if any(run["seed"] == seed for run in runs):
                continue
            if size not in data:
                data[size] = names["prepare"](names["vocabulary"](size))
            start = time.perf_counter()
            _, curve = names["learn"](data[size], seed, **options)
            seconds = round(time.perf_counter() - start)
            steps, loss, accuracy = zip(*curve, strict=True)
            runs.append({
                "seed": seed, "seconds": seconds, "steps": steps,
                "loss": [round(float(x), 4) for x in loss],
                "accuracy": [round(float(x), 4) for x in accuracy],
            })  # fmt: skip
            runs.sort(key=lambda run: run["seed"])
            record |= {"command": "python experiments/nsp_seeds.py"}
            record |= circumstances("tokenizers", "numpy")
            RECORD.parent.mkdir(exist_ok=True)
            RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            print(f"{name}, seed {seed}: {accuracy[-1]:.3f} in {seconds} s", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
