"""Keep what a long run said, in results/NAME.json.

    python experiments/record.py RUN NAME COMMAND

RUN is the folder of `python -m minibert pretrain`, COMMAND what made it, in quotes: its
numbers and its log are kept, with the date, the processor and the versions. A chapter's
cell shows them from there.
"""

from __future__ import annotations

import datetime
import json
import platform
import sys
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
sys.path.append(str(ROOT / "tools"))  # source.py there reads a chapter's cells


def circumstances(*packages: str) -> dict[str, object]:
    """When, on what, and with which versions something was measured."""
    return {
        "date": datetime.date.today().isoformat(),
        "processor": (
            f"{platform.machine()} with {torch.backends.cpu.get_cpu_capability()},"
            f" {torch.get_num_threads()} thread(s)"
        ),
        "versions": {name: metadata.version(name) for name in ("torch", *packages)},
    }


def write_rows(file: Path, record: dict[str, object]) -> None:
    """Write a record whose runs stand below one another, a line each."""
    text = json.dumps(record).replace("}, {", "},\n {")
    file.write_text(text + "\n", encoding="utf-8")


def record_runs(
    file: Path,
    header: dict[str, Any],
    wanted: Iterable[dict[str, Any]],
    run: Callable[..., dict[str, Any]],
) -> None:
    """Make each wanted run that the file lacks; write the file after each.

    What is wanted of a run, a dict, is what its line in the file says, and what `run` is given,
    in the same order.
    """
    record = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    runs = record.setdefault("runs", [])
    for key in wanted:
        if any(key.items() <= earlier.items() for earlier in runs):
            continue
        runs.append(run(*key.values()))
        record |= header | circumstances("tokenizers")
        write_rows(file, record)
        print(runs[-1], flush=True)


def record(run: Path, name: str, command: str) -> Path:
    """Write the record of a run's newest checkpoint."""
    newest = max(run.glob("step-*"), default=None)
    if newest is None:
        raise SystemExit(f"{run} holds no checkpoint")
    state = json.loads((newest / "state.json").read_text(encoding="utf-8"))
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    log = [json.loads(line) for line in lines]
    for line in log:
        for key, value in line.items():
            line[key] = round(value, 5)
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    fields = {"command": command, **state, "log": log} | circumstances("tokenizers")
    path.write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    print(f"wrote {record(Path(sys.argv[1]), sys.argv[2], sys.argv[3])}")
