"""Run a chapter under other seeds and say whether its assertions still hold.

    python tools/seeds.py 2             chapter 02 under the seeds 0 to 9
    python tools/seeds.py 2 --seeds 3   under the seeds 0 to 2
    python tools/seeds.py 2 --first 8   under 8 and 9, where a run was cut off

A chapter claims of its training only what it asserts, and only what held here.
Cells after the last that asserts are left out.
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
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=10, help="one above the last seed")
    args = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    (text,) = choose([args.number])
    failed = 0
    for seed in range(args.first, args.seeds):
        nb = read(text)
        last = max(i for i, cell in enumerate(nb.cells) if "assert " in cell.source)
        del nb.cells[last + 1 :]
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
