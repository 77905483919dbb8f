"""Speed against the references, side by side in one run, into results/bench.json.

    python experiments/bench.py                       all rows, one thread
    python experiments/bench.py --threads all         with all of the processor's cores
    python experiments/bench.py quick                 a few rows, smaller: under 3 minutes
    python experiments/bench.py forward tokenising    some families, beside what is recorded
    python experiments/bench.py --python PATH         the Python where the other peers are

Each row times its sides in turn, round after round, so that all meet the same busy machine
(speed/timing.py). `ratio` is the median of theirs over ours: above 1, ours is faster. A row
fails when so many rounds fall below its floor as would by chance in fewer than 5 of 100 runs,
were the floor the truth; then the command ends with status 1, and the row says where our time
goes. The record holds a block for each processor, instruction set and number of threads, and a
run replaces its own one only. `quick` writes none.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "tools"))  # badge.py there names the processor
FAMILIES = (
    "forward", "embedding", "answering", "tokenising", "pretraining", "finetuning", "footprint",
)  # fmt: skip
RECORD = HERE.parent / "results" / "bench.json"


def set_threads(count: int) -> None:
    """Give all libraries so many threads, here and in what is started: before any is imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(count)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if count > 1 else "false"
    os.environ["MINIBERT_DEVICE"] = "cpu"  # both sides of a row belong on one device
    os.environ["HF_HUB_OFFLINE"] = "1"


def block_key() -> str:
    """Name the block of this machine and setting: processor, instruction set, threads."""
    import torch
    from badge import processor

    threads = torch.get_num_threads()
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{processor()}, {capability}, {threads} thread{'s' * (threads > 1)}"


def write(rows: list[dict[str, Any]], busy: bool, whole: bool, file: Path) -> None:
    """Put rows into their block of the record: a `whole` one, or those of the same name."""
    from record import circumstances

    record = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    record = {"command": "make bench", "blocks": record.get("blocks", {})}
    key = block_key()
    before = [] if whole else record["blocks"].get(key, {}).get("rows", [])
    by_name = {row["name"]: row for row in [*before, *rows]}
    block = circumstances("transformers", "sentence-transformers", "tokenizers", "onnxruntime")
    if busy:
        block["busy"] = "other work ran on this machine meanwhile"
    record["blocks"][key] = block | {"rows": list(by_name.values())}
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def say(row: dict[str, Any]) -> str:
    """Say a row in a line."""
    from speed.timing import fails

    if "missing" in row:
        return f"   -    {row['name']}: {row['missing']}"
    low, high = row["spread"]
    end = f", {row['retrieval_lost']} points of retrieval lost" if "retrieval_lost" in row else ""
    end += f"  FAILS, floor {row['floor']}" if fails(row) else ""
    return f"{row['ratio']:7.3g}  ({low:.3g} to {high:.3g})  {row['name']}{end}"


def main() -> int:
    """Measure, write the record, and say whether a floor was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "what", nargs="*", default="all", choices=["all", *FAMILIES, "quick", "tiny"],
        metavar="WHAT", help=f"quick, or some of {', '.join(FAMILIES)} (default: all)",
    )  # fmt: skip
    parser.add_argument("--threads", default="1", help="a number, or all (default: 1)")
    parser.add_argument("--python", type=Path, help="the Python where the other peers are")
    parser.add_argument("--record", type=Path, default=RECORD, help="where to write")
    parser.add_argument("--busy", action="store_true", help="say that the machine was busy")
    args = parser.parse_args()
    set_threads(os.cpu_count() or 1 if args.threads == "all" else int(args.threads))
    if args.python:
        os.environ["MINIBERT_PEERS"] = str(args.python.absolute())
    from speed.timing import FULL, QUICK, TINY, fails

    size = QUICK if "quick" in args.what else TINY if "tiny" in args.what else FULL
    families = tuple(family for family in FAMILIES if family in args.what) or FAMILIES
    if size is QUICK and families == FAMILIES:
        # Setting up the embedding peers takes longer than all that is timed.
        families = tuple(family for family in FAMILIES if family not in ("embedding", "footprint"))
    rows, failed = [], 0
    for family in families:
        start = time.perf_counter()
        measured = import_module(f"speed.{family}").rows(size)
        for row in measured:
            print(say(row), flush=True)
        print(f"         {family}: {time.perf_counter() - start:.0f} s", flush=True)
        rows += measured
        failed += sum(map(fails, measured))
        if size is FULL:
            whole = families == FAMILIES
            write(rows, args.busy, whole, args.record)  # what is done is kept
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
