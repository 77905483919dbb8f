"""Where chapters and their site lie, and how their text is read: shared by the other tools."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "book" / "source"
SITE = Path(os.environ.get("MINIBERT_SITE", ROOT / "_build" / "html"))
EXPORT = re.compile(r"# (minibert/\w+\.py)$")
METADATA = {
    "kernelspec": {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}


def sources() -> list[Path]:
    """Every chapter's text, in the order of `_toc.yml`; what it does not name comes last."""
    contents = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    order = re.findall(r"\bbook/([\w-]+)\.ipynb", contents)
    paths = {path.stem: path for path in sorted(SOURCE.glob("*.md"))}
    return [paths.pop(name) for name in order if name in paths] + list(paths.values())


def choose(wanted: list[str]) -> list[Path]:
    """The chapters of these names; all when there are none."""
    known = {path.stem: path for path in sources()}
    missing = [name for name in wanted if name not in known]
    if missing:
        raise SystemExit(f"No chapter {', '.join(missing)}; there are {' '.join(known)}")
    return [path for name, path in known.items() if not wanted or name in wanted]


def read(text: Path) -> NotebookNode:
    """Read a chapter's text as a notebook without outputs.

    Cell ids are a hash of the cell's type and source, so the same text always
    gives the same notebook.
    """
    nb = jupytext.read(text, fmt="md:myst")
    nb.metadata = NotebookNode(METADATA)
    nb.nbformat, nb.nbformat_minor = 4, 5
    seen: dict[str, int] = {}
    for cell in nb.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest[:12] + (f"-{seen[digest]}" if seen[digest] > 1 else "")
    nbformat.validate(nb)
    return nb


def recorded(name: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run a chapter's cells that are tagged `recorded`, among `names`; give all names."""
    for cell in read(SOURCE / name).cells:
        if "recorded" in cell.metadata.get("tags", []):
            exec(cell.source, names)
    return names


def exported(nb: NotebookNode) -> list[tuple[str, str]]:
    """Give the (module path, code) of each cell that begins `# minibert/NAME.py`."""
    parts = []
    for cell in nb.cells:
        first, _, rest = cell.source.partition("\n")
        match = EXPORT.match(first)
        if cell.cell_type == "code" and match:
            parts.append((match[1], rest.strip("\n")))
    return parts
