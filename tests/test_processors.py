"""The same outputs on less of a processor: a short form of the four settings.

`ATEN_CPU_CAPABILITY` limits torch's own loops, `ONEDNN_MAX_CPU_ISA` and
`MKL_ENABLE_INSTRUCTIONS` the two libraries that compute its matrix products. The long form
is `make notebooks` and `make book` under each of SETTINGS (CONTRIBUTING.md).
"""

import os
import re
from pathlib import Path

import nbformat
import pytest
from chapters import ENVIRONMENT, execute
from make import LAPTOP
from nbformat import NotebookNode
from source import ROOT, sources

SETTINGS = {"laptop": LAPTOP, "oldest": LAPTOP | {"ATEN_CPU_CAPABILITY": "default"}}
CELLS = 9  # of a chapter's code: its quick beginning, before anything is trained
COMPARED = ("bert", "qa", "sentences", "inside")  # those that print what real weights compute


def beginning(nb: NotebookNode) -> NotebookNode:
    """The first code cells, up to the first whose output is not compared."""
    code = [cell for cell in nb.cells if cell.cell_type == "code"][:CELLS]
    free = [i for i, c in enumerate(code) if "nbval-ignore-output" in c.metadata.get("tags", [])]
    return nbformat.v4.new_notebook(cells=code[: free[0] if free else CELLS])


def printed(cell: NotebookNode) -> str:
    """What a cell printed, less addresses."""
    texts = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in cell.outputs]
    return re.sub(r"0x[0-9a-f]{6,}|<Figure size [^>]*>", "", "".join(texts))


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    "text", [path for path in sources() if path.stem in COMPARED], ids=lambda path: path.stem
)
def test_the_first_cells_print_the_same(
    text: Path, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (ENVIRONMENT | SETTINGS[setting]).items():
        monkeypatch.setitem(os.environ, name, value)
    nb = beginning(nbformat.read(ROOT / "book" / f"{text.stem}.ipynb", as_version=4))
    before = [printed(cell) for cell in nb.cells]
    assert len(before) >= 4
    execute(nb, ROOT / "book")
    assert [printed(cell) for cell in nb.cells] == before
