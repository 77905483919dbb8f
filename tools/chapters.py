"""Run chapters: text in book/source/ becomes an executed notebook.

    python tools/chapters.py                  all, into book/ (they are committed)
    python tools/chapters.py 3                only the chapter whose file begins 03
    python tools/chapters.py --into _build/run [01 02]   copies of the whole book, of
                                              which these (or all) are run afresh

With --into, a chapter that was run before and whose text, package and pins have not
changed since is left alone.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from source import METADATA, ROOT, read, sources

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    "TQDM_DISABLE": "1",
}


def execute(nb: NotebookNode, folder: Path) -> NotebookNode:
    """Run every cell of `nb` in `folder` and tidy what execution leaves behind."""
    NotebookClient(
        nb,
        timeout=900,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
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
    return stamp.exists() and stamp.read_text() == fingerprint(text)


def run(text: Path, target: Path) -> None:
    """Execute one chapter's text and write its notebook, whole or not at all."""
    start = time.perf_counter()
    try:
        nb = execute(read(text), target.parent)
    except CellExecutionError as error:
        raise SystemExit(f"{text.name} failed:\n{error}") from None
    partial = target.with_suffix(".partial")
    partial.write_text(nbformat.writes(nb).rstrip("\n") + "\n")
    partial.replace(target)
    print(f"{text.stem}: {time.perf_counter() - start:.0f} s", flush=True)


def choose(wanted: list[str]) -> list[Path]:
    """The chapters whose file number is in `wanted`; all when it is empty."""
    numbers = {n.zfill(2) for n in wanted}
    found = [path for path in sources() if not numbers or path.name[:2] in numbers]
    missing = numbers - {path.name[:2] for path in found}
    if missing:
        known = " ".join(path.name[:2] for path in sources())
        raise SystemExit(f"No chapter {', '.join(sorted(missing))}; there are {known}")
    return found


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
    parser.add_argument("numbers", nargs="*", help="file numbers; all when absent")
    parser.add_argument("--into", type=Path, help="write copies below this folder")
    args = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    chapters = choose(args.numbers)
    base = args.into.resolve() if args.into else ROOT
    if args.into:
        copy_book(base)

    def one(text: Path) -> None:
        target = base / "book" / f"{text.stem}.ipynb"
        if args.into and is_current(text, target.parent):
            print(f"{text.stem}: unchanged", flush=True)
            return
        run(text, target)
        if args.into:
            target.with_name(f".{text.stem}.stamp").write_text(fingerprint(text))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, chapters))
    return 0


if __name__ == "__main__":
    sys.exit(main())
