"""Run the unit tests, the chapters and four measurements on CUDA, with the Python found here.

    python experiments/gpu.py                          everything, into results/gpu.json
    python experiments/gpu.py --list                   the pieces, each within 9 minutes
    python experiments/gpu.py --piece units-bfloat16   one; its row is replaced in the file
    python experiments/gpu.py --device cpu --out FILE  the same paths without a GPU

Needs torch, transformers and pytest; installs nothing and asks no network. What wants
a package that is missing (the leads, MiniLM) is skipped and says so. Rows may come from
several runs: each has its date and its processor, and the versions are the last run's.
experiments/gpu_piece.py runs one piece, experiments/gpu_measures.py holds the measurements.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PIECE = ROOT / "experiments" / "gpu_piece.py"
LIMIT = 530  # seconds for one piece
MISSING = re.compile(r"^(?:ModuleNotFoundError|\S*PackageNotFoundError): .*", re.MULTILINE)
# What each measurement computes in; None is what the device is made for.
MEASURED = {"step-base": None, "attention": None, "losses": None, "scaler": "float16"}


def pieces() -> dict[str, str | None]:
    """Each piece, and the numbers that MINIBERT_DTYPE asks for."""
    units = {f"units-{dtype}": dtype for dtype in ("float32", "bfloat16")}
    books = sorted((ROOT / "book").glob("*.ipynb"))
    return units | MEASURED | {f"chapter-{path.stem}": "float32" for path in books}


def run(name: str, device: str) -> dict[str, object]:
    """Run one piece in its own process: passed, failed or skipped, and its last words."""
    dtype = pieces()[name]
    environment = os.environ | {
        "MINIBERT_DEVICE": device,
        "MINIBERT_DTYPE": dtype or "",
        "HF_HUB_OFFLINE": "1",
        "MPLBACKEND": "agg",
        "TQDM_DISABLE": "1",
        "PYTHONIOENCODING": "utf-8",
        "PYTHONPATH": str(ROOT),
    }
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "fields.json"
        command = [sys.executable, str(PIECE), name, str(file)]
        try:
            process = subprocess.run(
                command, cwd=ROOT, env=environment, timeout=LIMIT, encoding="utf-8",
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            output, status = process.stdout, "passed" if process.returncode == 0 else "failed"
        except subprocess.TimeoutExpired as error:
            output, status = (error.stdout or b"").decode(errors="replace"), "too slow"
        fields = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    missing = MISSING.findall(output)
    if status == "failed" and name.startswith("chapter") and missing:
        status, output = "skipped", missing[-1]
    return {
        "name": name,
        "status": status,
        "device": device,
        "dtype": dtype,
        "seconds": round(time.perf_counter() - start, 1),
        "said": output.strip().splitlines()[-12 if status == "failed" else -1 :],
    } | fields


def where(device: str) -> dict[str, str]:
    """The machine and the versions."""
    processor = platform.machine()
    if device.startswith("cuda"):
        import torch

        processor = torch.cuda.get_device_name(device)
    names = ("torch", "transformers", "tokenizers", "safetensors", "numpy")
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor,
        "python": platform.python_version(),
    } | {name: metadata.version(name) for name in names}


def main() -> int:
    """Run the pieces and write their rows; 0 when none failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--list", action="store_true", help="only name the pieces")
    parser.add_argument("--piece", action="append", choices=list(pieces()))
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "gpu.json")
    args = parser.parse_args()
    if args.list:
        print("\n".join(pieces()))
        return 0
    args.out.parent.mkdir(parents=True, exist_ok=True)
    rows = {}
    if args.piece and args.out.exists():
        rows = {
            row["name"]: row for row in json.loads(args.out.read_text(encoding="utf-8"))["rows"]
        }
    here = where(args.device)
    wanted = args.piece or list(pieces())
    for name in wanted:
        row = run(name, args.device)
        rows[name] = row | {key: here[key] for key in ("date", "processor")}
        print(f"{name}: {row['status']}, {row['seconds']} s: {row['said'][-1:]}", flush=True)
        record = {"rows": list(rows.values())} | here
        args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return int(any(rows[name]["status"] in ("failed", "too slow") for name in wanted))


if __name__ == "__main__":
    sys.exit(main())
