"""Run a chapter under other seeds and say whether its assertions still hold.

    python experiments/seeds.py nsp             one chapter under the seeds 0 to 9
    python experiments/seeds.py nsp --seeds 3   under the seeds 0 to 2
    python experiments/seeds.py nsp --first 8   under 8 and 9, where a run was cut off

A chapter claims of its training only what it asserts, and only what held here.
Cells after the last that asserts are left out.
"""

from __future__ import annotations

import argparse
import os
import sys

from nbclient.exceptions import CellExecutionError
from record import ROOT


def main() -> int:
    """Run the chapter once for each seed; 0 when every run passed."""
    from chapters import ENVIRONMENT, choose, execute, read

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="the chapter's")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=10, help="one above the last seed")
    args = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    (text,) = choose([args.name])
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
