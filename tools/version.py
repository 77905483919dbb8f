"""Give the book a version, in every place that names it.

    python tools/version.py 0.2.0

The one that counts is in minibert/__init__.py; pyproject.toml reads it there. With it go
CITATION.cff, the install cell of each chapter (of its notebook too: nothing is run), and
the CHANGELOG, where what was Unreleased becomes this version's.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
from source import ROOT, read

PLACES = {  # file: what stands before the version there
    "minibert/__init__.py": '__version__ = "',
    "CITATION.cff": "\nversion: ",  # and not the format's, cff-version
    "book/source/*.md": "minibert-book@v",
}


def write(path: Path, text: str) -> None:
    """Write with the same line ends on every system."""
    path.write_text(text, encoding="utf-8", newline="\n")


def change(version: str, root: Path = ROOT) -> list[Path]:
    """Put a version in all its places, and give the files that changed."""
    changed = []
    for pattern, before in PLACES.items():
        for path in sorted(root.glob(pattern)):
            old = path.read_text(encoding="utf-8")
            new = re.sub(rf"(?<={re.escape(before)})\d+\.\d+\.\d+", version, old)
            if new == old:
                continue
            write(path, new)
            changed.append(path)
            if path.suffix == ".md":
                changed.append(renew(path, root / "book" / f"{path.stem}.ipynb"))
    path = root / "CHANGELOG.md"
    old = path.read_text(encoding="utf-8")
    if f"\n## {version}\n" not in old:
        write(path, old.replace("\n## Unreleased\n", f"\n## Unreleased\n\n## {version}\n", 1))
        changed.append(path)
    return changed


def renew(text: Path, notebook: Path) -> Path:
    """Give a notebook the sources of its text; the outputs stay."""
    nb = nbformat.read(notebook, as_version=4)
    for cell, new in zip(nb.cells, read(text).cells, strict=True):
        cell.source, cell.id = new.source, new.id
    write(notebook, nbformat.writes(nb).rstrip("\n") + "\n")
    return notebook


if __name__ == "__main__":
    if len(sys.argv) != 2 or not re.fullmatch(r"\d+\.\d+\.\d+", sys.argv[1]):
        sys.exit(__doc__)
    for path in change(sys.argv[1]):
        print(path.relative_to(ROOT).as_posix())
