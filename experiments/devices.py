"""What bfloat16 costs on this processor, and on less of it; into results/devices.json.

    python experiments/devices.py

Each row is one process that may use so much of the processor: a matrix product and a step
of pre-training (leads-small, 32 rows of 96 tokens) against float32, interleaved, one thread.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from statistics import median

from record import RESULTS, circumstances

RECORD = RESULTS / "devices.json"


def measure(rounds: int = 7) -> dict[str, object]:
    """Time bfloat16 against float32 here."""
    import torch

    from minibert.device import best_dtype, slowdown
    from minibert.pretraining import BertForPreTraining
    from minibert.steps import Microbatch, backward, choose_precision

    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    model = BertForPreTraining.from_pretrained("leads-small").train()
    ids = torch.randint(5, 4096, (32, 96))
    labels = ids.where(torch.rand(ids.shape) < 0.15, -100)
    inputs = {"input_ids": ids, "labels": labels}
    piece = Microbatch(inputs, {"masked_lm_loss": int((labels >= 0).sum())})
    os.environ["MINIBERT_DTYPE"] = "bfloat16"  # asked for, so no warning
    ways = {"float32": choose_precision(False, cpu), "bfloat16": choose_precision(None, cpu)}
    del os.environ["MINIBERT_DTYPE"]
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, precision in ways.items():
            start = time.perf_counter()
            backward(model, [piece], 1, precision)
            model.zero_grad()
            times[name].append(time.perf_counter() - start)
    steps = {name: median(seconds[1:]) for name, seconds in times.items()}
    return {
        "chosen": str(best_dtype(cpu)).removeprefix("torch."),
        "product": round(slowdown(cpu, torch.bfloat16), 3),
        "step": round(steps["bfloat16"] / steps["float32"], 3),
    }


def main() -> int:
    """Measure in a process with all of the processor, and one with what a laptop has."""
    if sys.argv[1:] == ["--here"]:
        print(json.dumps(measure()))
        return 0
    import torch
    from make import LAPTOP

    torch.set_num_threads(1)  # as in the processes that measure
    rows = {}
    for name, settings in {"all of this processor": {}, "AVX2 and nothing newer": LAPTOP}.items():
        command = [sys.executable, __file__, "--here"]
        process = subprocess.run(
            command, env=os.environ | settings, check=True, stdout=subprocess.PIPE, encoding="utf-8"
        )
        rows[name] = json.loads(process.stdout) | {"settings": settings}
        print(name, rows[name], flush=True)
    record = {"command": "python experiments/devices.py", "rows": rows} | circumstances()
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
