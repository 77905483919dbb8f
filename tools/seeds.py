"""Run a chapter under other seeds and say whether its assertions still hold.

    python tools/seeds.py 2             chapter 02 under the seeds 0 to 9
    python tools/seeds.py 2 --seeds 3   under the seeds 0 to 2

A chapter claims of its training only what it asserts, and only what held here.
"""

from __future__ import annotations

import argparse
import os
import sys

from chapters import ENVIRONMENT, choose, execute
from nbclient.exceptions import CellExecutionError
from source import ROOT, read


def main() -> int:
    """Run the chapter once for each seed; 0 when every run passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("number", help="the chapter's file number")
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    (text,) = choose([args.number])
    failed = 0
    for seed in range(args.seeds):
        nb = read(text)
        for cell in nb.cells:
            cell.source = cell.source.replace("manual_seed(0)", f"manual_seed({seed})")
        try:
            execute(nb, ROOT / "book")
            print(f"{text.stem}, seed {seed}: held", flush=True)
        except CellExecutionError as error:
            failed += 1
            print(f"{text.stem}, seed {seed}: FAILED\n{error}", flush=True)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
