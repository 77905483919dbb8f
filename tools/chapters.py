"""Run chapters: text in book/source/ becomes an executed notebook.

    python tools/chapters.py                  all, into book/ (they are committed)
    python tools/chapters.py bert             only this chapter
    python tools/chapters.py --into _build/run [bert qa]   copies of the whole book, of
                                              which these (or all) are run afresh

With --into, a chapter that was run before and whose text, package and pins have not
changed since is left alone. A chapter that fails is named with its cell and the cause;
the others still run, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from badge import stamp
from make import ENVIRONMENT as COMMON
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from source import METADATA, ROOT, choose, read, sources

ENVIRONMENT = COMMON | {"TQDM_DISABLE": "1"}


ENDS = (CellExecutionError, CellTimeoutError, DeadKernelError)  # how a chapter fails


class Progress:
    """Where a running chapter is: its cell, and how long each took."""

    def __init__(self, name: str, nb: NotebookNode) -> None:
        self.name, self.cells = name, len(nb.cells)
        self.start = self.since = time.perf_counter()
        self.cell, self.longest = 0, (0.0, 0)

    def begin(self, cell: NotebookNode, cell_index: int) -> None:
        """Note that a cell begins; the one before has ended."""
        self.end()
        self.cell = cell_index + 1

    def end(self) -> None:
        """Note that a cell has ended."""
        now = time.perf_counter()
        self.longest = max(self.longest, (now - self.since, self.cell))
        self.since = now

    def __str__(self) -> str:
        seconds = time.perf_counter() - self.start
        return f"{self.name}: cell {self.cell} of {self.cells}, {seconds:.0f} s"


RUNNING: dict[str, Progress] = {}


def watch(done: threading.Event) -> None:
    """Say now and then where the running chapters are, until all are done."""
    while not done.wait(15):
        if RUNNING:
            print("  " + "; ".join(map(str, list(RUNNING.values()))), flush=True)


def execute(nb: NotebookNode, folder: Path, progress: Progress | None = None) -> NotebookNode:
    """Run every cell of `nb` in `folder` and tidy what execution leaves behind."""
    NotebookClient(
        nb,
        timeout=900,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
        on_cell_start=progress.begin if progress else None,
        # a warning at each start that its messages are not encrypted
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    ).execute()
    nb.metadata = NotebookNode(METADATA)
    for cell in nb.cells:
        if cell.cell_type == "code":
            copy_alt_text(cell)
    nbformat.validate(nb)
    return nb


def copy_alt_text(cell: NotebookNode) -> None:
    """Put the alternative text of a cell's picture where the site looks for it."""
    for output in cell.outputs:
        alt = output.get("metadata", {}).get("image/png", {}).get("alt")
        if alt:
            cell.metadata["mystnb"] = {"image": {"alt": alt}}


def fingerprint(text: Path) -> str:
    """A hash of everything that a chapter's outputs depend on."""
    digest = hashlib.sha256(text.read_bytes())
    inputs = [ROOT / "requirements.txt", Path(__file__), Path(__file__).with_name("source.py")]
    inputs += sorted(p for p in (ROOT / "minibert").rglob("*") if p.suffix != ".pyc")
    inputs += sorted((ROOT / "results").glob("*.json"))
    for path in inputs:
        if path.is_file():
            digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def is_current(text: Path, folder: Path) -> bool:
    """Whether `folder` holds a run of this chapter that nothing has outdated."""
    stamp = folder / f".{text.stem}.stamp"
    return stamp.exists() and stamp.read_text(encoding="utf-8") == fingerprint(text)


def why(error: Exception) -> tuple[str, str]:
    """Give the line of a cell that failed, where it is known, and the cause."""
    if isinstance(error, CellExecutionError):
        plain = re.sub(r"\x1b\[[0-9;]*m", "", error.traceback)
        lines = re.findall(r"^-+> *\d+ (.*)", plain, re.MULTILINE)
        cause = f"{error.ename}: {error.evalue}"
        return lines[0].strip() if lines else "", cause.splitlines()[0]
    if isinstance(error, CellTimeoutError):
        return "", "it took longer than 900 seconds"
    return "", "its Python died; mostly that is a lack of memory"


def run(text: Path, target: Path) -> bool:
    """Execute one chapter's text and write its notebook, whole or not at all.

    Returns:
        Whether it ran to its end; if not, what ended it is printed.
    """
    nb = read(text)
    progress = RUNNING[text.stem] = Progress(text.stem, nb)
    try:
        nb = execute(nb, target.parent, progress)
    except ENDS as error:
        line, cause = why(error)
        print(
            f"FAILED {progress} ({text.relative_to(ROOT).as_posix()})",
            *[f"  at  {line}"] * bool(line),
            f"  {cause}",
            "  Its page keeps the committed outputs; the same command runs it again, alone.",
            sep="\n",
            flush=True,
        )
        return False
    finally:
        del RUNNING[text.stem]
    progress.end()
    took = progress.since - progress.start
    nb.metadata["run"] = stamp(took)
    partial = target.with_suffix(".partial")
    notebook = nbformat.writes(nb).rstrip("\n") + "\n"
    partial.write_text(notebook, encoding="utf-8", newline="\n")
    partial.replace(target)
    seconds, cell = progress.longest
    print(f"{text.stem}: {took:.0f} s (cell {cell} alone {seconds:.0f} s)", flush=True)
    return True


def copy_book(into: Path) -> None:
    """Copy the site's inputs to `into`, less the text and notebooks still current."""
    (into / "book").mkdir(parents=True, exist_ok=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy2(ROOT / name, into / name)
    current = {text.stem for text in sources() if is_current(text, into / "book")}
    for path in (ROOT / "book").iterdir():
        if path.is_dir() and path.name not in ("source", ".ipynb_checkpoints"):
            shutil.copytree(path, into / "book" / path.name, dirs_exist_ok=True)
        elif path.is_file() and path.stem not in current:
            shutil.copy2(path, into / "book" / path.name)


def main() -> int:
    """Run the chosen chapters, two at a time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="of chapters; all when absent")
    parser.add_argument("--into", type=Path, help="write copies below this folder")
    args = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    chapters = choose(args.names)
    base = args.into.resolve() if args.into else ROOT
    if args.into:
        copy_book(base)

    def update(text: Path) -> bool:
        target = base / "book" / f"{text.stem}.ipynb"
        if args.into and is_current(text, target.parent):
            print(f"{text.stem}: unchanged", flush=True)
            return True
        ran = run(text, target)
        if ran and args.into:
            target.with_name(f".{text.stem}.stamp").write_text(fingerprint(text), encoding="utf-8")
        return ran

    done = threading.Event()
    threading.Thread(target=watch, args=[done], daemon=True).start()
    with ThreadPoolExecutor(2) as pool:
        try:
            ran = list(pool.map(update, chapters))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    done.set()
    if not all(ran):
        print(f"{ran.count(False)} of {len(ran)} chapters failed", file=sys.stderr)
    return not all(ran)


if __name__ == "__main__":
    sys.exit(main())
