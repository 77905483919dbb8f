"""Kill and stop the whole command on two processes, let it go on, and add a record of it.

    python experiments/day.py

A small model of masked words is pre-trained on the leads by `torchrun` with two processes. The
run is killed (signal 9), started again and stopped by its time limit, and started again until
it ends. The same run in one process, without a break, must log the same losses. What came out
becomes the record "leads, two processes" of results/day.json; the other records, and the
published marks there, stay as they are.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from record import RESULTS, circumstances

from minibert.mlm import BertForMaskedLM

NAME = "leads, two processes"
WORDS = [
    "--task", "words", "--hidden-size", "64", "--layers", "2", "--heads", "2", "--dropout", "0",
    "--steps", "150", "--batch-size", "32", "--max-length", "64", "--mask-probability", "0.3",
    "--learning-rate", "0.003", "--warmup", "15", "--log-every", "1", "--save-every", "20",
    "--evaluate-every", "150", "--bfloat16", "no",
]  # fmt: skip
TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
STOPPED = 75


def log_of(run: Path) -> list[dict[str, Any]]:
    """Read a run's log, as far as it is written."""
    if not (run / "log.jsonl").exists():
        return []
    text = (run / "log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def start(run: Path, processes: list[str], *more: str) -> subprocess.Popen[str]:
    """Start the command."""
    command = [sys.executable, *processes, "-m", "minibert", "pretrain", "leads", str(run)]
    return subprocess.Popen(
        [*command, *WORDS, *more], env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, encoding="utf-8",
    )  # fmt: skip


def main() -> None:
    """Do all of it."""
    here = Path(tempfile.mkdtemp())
    double, single = here / "two", here / "one"
    began = time.monotonic()

    running = start(double, TWO)
    while not any(line["step"] >= 30 for line in log_of(double)):
        if running.poll() is not None:
            raise SystemExit(running.stderr.read())
        time.sleep(0.05)
    workers = Path(f"/proc/{running.pid}/task/{running.pid}/children")  # on Linux
    for number in [*workers.read_text(encoding="utf-8").split(), running.pid]:
        os.kill(int(number), signal.SIGKILL)
    running.communicate()
    killed = log_of(double)[-1]["step"]

    reading = time.monotonic() - began
    limit = time.strftime("%H:%M:%S", time.gmtime(reading))
    running = start(double, TWO, "--time-limit", limit)
    message = running.communicate()[1]
    stopped = log_of(double)[-1]["step"]
    if f"exitcode  : {STOPPED}" not in message or "stopped by the time limit" not in message:
        raise SystemExit(message)

    running = start(double, TWO)
    message = running.communicate()[1]
    if running.returncode:
        raise SystemExit(message)
    hours = (time.monotonic() - began) / 3600
    if start(single, []).wait():
        raise SystemExit("the run in one process failed")
    logs = [log_of(run) for run in (single, double)]
    pairs = zip(*logs, strict=True)
    gap = max(abs(a["loss"] - b["loss"]) for a, b in pairs)
    if gap > 1e-4:
        raise SystemExit(f"the losses differ by {gap}")
    BertForMaskedLM.from_pretrained(double / "model")
    last = logs[1][-1]
    around = circumstances("tokenizers")
    new = {
        "name": NAME,
        "model": "2 layers of 64",
        "machine": f"{around['processor']}, two processes",
        "hours": round(hours, 4),
        "metric": "masked pieces right, %",
        "figure": round(100 * last["masked_accuracy"], 1),
        "source": "python experiments/day.py",
        "killed_at": killed,
        "stopped_at": stopped,
        "steps": last["step"],
        "loss_gap": float(f"{gap:.1e}"),
    }
    file = RESULTS / "day.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    records = [old for old in record["records"] if old["name"] != NAME]
    record |= {"records": [*records, new]} | around
    file.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(new, indent=1))


if __name__ == "__main__":
    main()
