"""Run the unit tests and the chapters on CUDA, with the Python found here.

    python tools/gpu.py                          everything, into results/gpu.json
    python tools/gpu.py --list                   the pieces, each within 9 minutes
    python tools/gpu.py --piece units-bfloat16   one; its row is replaced in the file
    python tools/gpu.py --device cpu --out FILE  the same paths without a GPU

Needs torch, transformers and pytest; installs nothing and asks no network. What wants
a package that is missing (the leads, MiniLM) is skipped and says so.
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
import time
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 530  # seconds for one piece
MISSING = re.compile(r"^(?:ModuleNotFoundError|\S*PackageNotFoundError): .*", re.MULTILINE)
# Pictures go nowhere in a script, so IPython may be missing.
RUN = """
import json, sys, types
try:
    import IPython.display
except ModuleNotFoundError:
    fake = types.ModuleType("IPython.display")
    for name in ("display", "Image", "HTML", "Markdown"):
        setattr(fake, name, lambda *args, **named: None)
    sys.modules |= {"IPython": types.ModuleType("IPython"), "IPython.display": fake}
with open(sys.argv[1], encoding="utf-8") as file:
    cells = json.load(file)["cells"]
space = {"__name__": "__main__"}
for cell in cells:
    code = "".join(cell["source"])
    if cell["cell_type"] == "code" and "%pip" not in code:
        exec(compile(code, "cell " + cell["id"], "exec"), space)
"""


def pieces() -> dict[str, tuple[list[str], str]]:
    """Each piece's command and numbers; unit tests are those of a printed module."""
    modules = {"device"} | {path.stem for path in (ROOT / "minibert").glob("[a-z]*.py")}
    tests = [
        str(path)
        for path in sorted((ROOT / "tests").glob("test_*.py"))
        if path.stem.removeprefix("test_") in modules
    ]
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *tests]
    found = {f"units-{dtype}": (pytest, dtype) for dtype in ("float32", "bfloat16")}
    for path in sorted((ROOT / "book").glob("[0-9][0-9]-*.ipynb")):
        command = [sys.executable, "-W", "ignore", "-c", RUN, str(path)]
        found[f"chapter-{path.stem}"] = (command, "float32")
    return found


def run(name: str, device: str) -> dict[str, object]:
    """Run one piece in its own process: passed, failed or skipped, and its last words."""
    command, dtype = pieces()[name]
    environment = os.environ | {
        "MINIBERT_DEVICE": device,
        "MINIBERT_DTYPE": dtype,
        "HF_HUB_OFFLINE": "1",
        "MPLBACKEND": "agg",
        "TQDM_DISABLE": "1",
        "PYTHONIOENCODING": "utf-8",
        "PYTHONPATH": str(ROOT),
    }
    start = time.perf_counter()
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, timeout=LIMIT, encoding="utf-8",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        said, status = done.stdout, "passed" if done.returncode == 0 else "failed"
    except subprocess.TimeoutExpired as error:
        said = error.stdout or b""
        said = said if isinstance(said, str) else said.decode(errors="replace")
        status = "too slow"
    missing = MISSING.findall(said)
    if status == "failed" and name.startswith("chapter") and missing:
        status, said = "skipped", missing[-1]
    return {
        "name": name,
        "status": status,
        "device": device,
        "dtype": dtype,
        "seconds": round(time.perf_counter() - start, 1),
        "said": said.strip().splitlines()[-12 if status == "failed" else -1 :],
    }


def where(device: str) -> dict[str, str]:
    """The machine and the versions."""
    import torch

    cuda = device.startswith("cuda")
    names = ("torch", "transformers", "tokenizers", "safetensors", "numpy")
    return {
        "date": datetime.date.today().isoformat(),
        "processor": torch.cuda.get_device_name() if cuda else platform.machine(),
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
    wanted = args.piece or list(pieces())
    for name in wanted:
        row = rows[name] = run(name, args.device)
        print(f"{name}: {row['status']}, {row['seconds']} s: {row['said'][-1:]}", flush=True)
        record = {"rows": list(rows.values())} | where(args.device)
        args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return int(any(rows[name]["status"] in ("failed", "too slow") for name in wanted))


if __name__ == "__main__":
    sys.exit(main())
