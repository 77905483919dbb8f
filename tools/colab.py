"""Run chapters as a new Colab does: one notebook alone, after its own install cell.

    python tools/colab.py                         all chapters
    python tools/colab.py bert qa                 these
    python tools/colab.py --torch torch==2.13.0   with this torch, not the newest
    python tools/colab.py --python PYTHON         in an environment that is there: Colab's image

A new environment gets what stands for Colab's own packages: the newest torch, numpy and
their like, not the pins of requirements.txt. Then each notebook is copied alone into an
empty folder and run there from its first cell on, which believes to be in Colab. Only the
address in its %pip line is replaced, by a wheel that is built from this tree. What it
installs is taken away before the next.

It fails where a chapter does, where its first output comes later than after a minute, the
install cell included, or where installing moved torch or numpy to an older version. The
rows go to _build/colab.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from packaging.version import Version
from source import ROOT, choose

OUT = ROOT / "_build" / "colab.json"
FIRST = 60  # seconds until something is to be seen
# What Colab brings along of all that the book needs; torch comes first.
CARRIED = [
    "numpy", "scipy", "pandas", "matplotlib", "seaborn", "scikit-learn", "networkx",
    "transformers", "tokenizers", "safetensors", "huggingface-hub", "tqdm", "ipykernel",
    "ipywidgets",
]  # fmt: skip
KEPT = ("torch", "numpy")  # no %pip line may move these back
PIP_LINE = re.compile(r"^ *%pip (install .*)$", re.MULTILINE)
ADDRESS = re.compile(r"git\+https://[^\s\"']+")
# What this machine's own work sets, and a new Colab does not.
OWN = ("PYTHONPATH", "HF_HUB_OFFLINE", "TQDM_DISABLE", "PYTHONHASHSEED", "MPLBACKEND")
# The install cell asks whether this module is there; accelerate asks for its spec.
BELIEVE = """
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
sys.modules["google.colab"] = module_from_spec(ModuleSpec("google.colab", None))
"""
# Of two of one name, the first on the path is imported.
LIST = """
import json, platform
from importlib.metadata import distributions
versions = {"python": platform.python_version()}
for package in distributions():
    if package.name:
        versions.setdefault(package.name.lower().replace("_", "-"), package.version)
print(json.dumps(versions))
"""


class Row(NamedTuple):
    """How a chapter went.

    Attributes:
        chapter: the notebook's name.
        status: passed, failed, or slow: nothing to be seen within `FIRST` seconds.
        seconds: from the kernel's start to the end.
        installed: when the install cell was done.
        first_output: when the first output of a later cell came.
        message: where it failed, the cell's number, its first line and the error.
    """

    chapter: str
    status: str
    seconds: float
    installed: float
    first_output: float | None
    message: str


def install_line(nb: NotebookNode) -> str:
    """Give the one %pip line of a notebook's first code cell.

    Raises:
        ValueError: there is none, or more; or another cell installs, too.
    """
    code = [cell.source for cell in nb.cells if cell.cell_type == "code"]
    installs = [PIP_LINE.findall(source) for source in code]
    if not installs or len(installs[0]) != 1 or any(installs[1:]):
        raise ValueError(f"the first code cell, and no other, must install once: {installs}")
    return installs[0][0]


def from_wheel(nb: NotebookNode, wheel: Path) -> None:
    """Let a notebook's first code cell install a wheel, in place of the repository.

    Raises:
        ValueError: its line names no repository, or several.
    """
    line = install_line(nb)
    if len(ADDRESS.findall(line)) != 1:
        raise ValueError(f"no address of one repository: {line}")
    first = next(cell for cell in nb.cells if cell.cell_type == "code")
    first.source = first.source.replace(line, ADDRESS.sub(wheel.as_uri(), line))


def downgraded(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Name what was moved to an older version, or is gone."""
    return [
        f"{name} {old} -> {after.get(name, 'gone')}"
        for name, old in sorted(before.items())
        if after.get(name) != old and (name not in after or Version(after[name]) < Version(old))
    ]


def versions(python: Path) -> dict[str, str]:
    """Every package of an environment, and its Python."""
    listing = subprocess.check_output([python, "-I", "-c", LIST], encoding="utf-8")
    return json.loads(listing)


def make_environment(folder: Path, torch: str) -> Path:
    """Make an environment that is like Colab's, and give its Python."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    # As in Colab, torch is there first; what comes later takes it as it is.
    subprocess.run([*pip, torch, "numpy"], check=True)
    subprocess.run([*pip, torch, *CARRIED], check=True)
    return python


def forget(python: Path, packages: Iterable[str]) -> None:
    """Take away what a chapter brought, so that the next is in a new Colab, too."""
    if packages := sorted(packages):
        pip = [python, "-m", "pip", "uninstall", "-q", "-y", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True)


def build_wheel(folder: Path) -> Path:
    """Build this tree's wheel, from a copy: building leaves files behind."""
    copy = folder / "tree"
    clutter = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("minibert", "results"):
        shutil.copytree(ROOT / name, copy / name, ignore=clutter)
    for path in (ROOT / "pyproject.toml", ROOT / "README.md", *ROOT.glob("LICENSE*")):
        shutil.copy(path, copy)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "-w", folder, copy], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def offer_kernel(python: Path, folder: Path) -> None:
    """Let Jupyter find a kernel `colab` that runs an environment's Python."""
    spec = folder / "kernels" / "colab"
    spec.mkdir(parents=True)
    start = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    start.append("--IPKernelApp.log_level=ERROR")  # else it warns of TCP
    settings = {"argv": start, "display_name": "Colab", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(settings), encoding="utf-8")
    os.environ["JUPYTER_PATH"] = str(folder)
    for name in OWN:
        os.environ.pop(name, None)


class Client(NotebookClient):
    """Runs a notebook and remembers when something was first to be seen."""

    def __init__(self, nb: NotebookNode, **more: Any) -> None:
        super().__init__(nb, **more)
        code = [i for i, cell in enumerate(nb.cells) if cell.cell_type == "code"]
        self.install = code[1]  # after the cell that makes it believe
        self.begun, self.now = time.perf_counter(), 0
        self.times: dict[str, float] = {}
        self.on_cell_execute = self.enter
        self.on_cell_executed = self.leave

    def since(self) -> float:
        """Seconds since the kernel was asked for."""
        return round(time.perf_counter() - self.begun, 1)

    def enter(self, cell: NotebookNode, cell_index: int) -> None:
        """Remember which cell runs."""
        self.now = cell_index

    def leave(self, cell: NotebookNode, cell_index: int, execute_reply: Any) -> None:
        """Remember when the install cell was done."""
        if cell_index == self.install:
            self.times["installed"] = self.since()

    def output(self, outs: Any, msg: Any, display_id: str, cell_index: int) -> Any:
        """Take an output, and remember when the first came that is not of installing."""
        if cell_index > self.install and msg["msg_type"] != "error":
            self.times.setdefault("first", self.since())
        return super().output(outs, msg, display_id, cell_index)


def run(chapter: Path, wheel: Path) -> Row:
    """Run one notebook, alone in an empty folder."""
    nb = nbformat.read(chapter, as_version=4)
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    from_wheel(nb, wheel)
    nb.cells.insert(0, nbformat.v4.new_code_cell(BELIEVE))
    status, message = "passed", ""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / chapter.name
        nbformat.write(nb, copy)
        client = Client(
            nb, timeout=900, kernel_name="colab", resources={"metadata": {"path": folder}}
        )
        try:
            client.execute()
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            status = "failed"
            source = nb.cells[client.now].source.strip().splitlines()
            named = isinstance(error, CellExecutionError)
            why = f"{error.ename}: {error.evalue}" if named else str(error)
            # one cell was put before the notebook's own
            message = f"cell {client.now - 1}, {source[0]!r}: {why}"
    first = client.times.get("first")
    if status == "passed" and (first is None or first > FIRST):
        status = "slow"
    installed = client.times.get("installed", 0)
    return Row(chapter.stem, status, client.since(), installed, first, message)


def show(title: str, installed: dict[str, str]) -> None:
    """Print packages and their versions in a few lines."""
    listing = ", ".join(f"{name} {version}" for name, version in sorted(installed.items()))
    print(f"{title}: {listing}", flush=True)


def main() -> int:
    """Run the chapters and write their rows; 0 when nothing was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="of chapters; all when absent")
    parser.add_argument("--torch", default="torch", help="what pip is asked for (the newest)")
    parser.add_argument("--python", type=Path, help="run in this Python's environment")
    args = parser.parse_args()
    chapters = [ROOT / "book" / f"{text.stem}.ipynb" for text in choose(args.names)]
    with tempfile.TemporaryDirectory(prefix="colab-") as name:
        folder = Path(name)
        wheel = build_wheel(folder)
        python = args.python or make_environment(folder / "environment", args.torch)
        before = versions(python)
        if "minibert-book" in before:
            raise SystemExit(f"{python} has the package already: a new Colab has not")
        show("before", before)
        offer_kernel(python, folder / "jupyter")
        rows, after = [], before
        for chapter in chapters:
            forget(python, after.keys() - before.keys())
            row = run(chapter, wheel)
            rows.append(row)
            after = versions(python)
            print(
                f"{row.chapter}: {row.status}, {row.seconds:.0f} s; installed after "
                f"{row.installed:.0f} s, first output after {row.first_output} s. {row.message}",
                flush=True,
            )
    back = downgraded(before, after)
    show("added or moved", {k: v for k, v in after.items() if before.get(k) != v})
    print("moved to an older version:", ", ".join(back) or "nothing")
    lost = [line for line in back if line.split()[0] in KEPT]
    OUT.parent.mkdir(exist_ok=True)
    record = {"rows": [row._asdict() for row in rows], "before": before, "after": after}
    OUT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return int(bool(lost) or any(row.status != "passed" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
