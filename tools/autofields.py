"""For the API reference: each public name ends with a link to the part of the book that wrote it.

And what a named tuple says of its fields by itself is left out: their meaning stands in the
class's own docstring, under Attributes.
"""

import ast
import functools
import re

from docutils.nodes import make_id
from nbformat import NotebookNode
from source import exported, read, sources
from sphinx.application import Sphinx


@functools.cache
def origins() -> dict[str, tuple[str, str, str]]:
    """Map `minibert.module.name` to the page, title and heading of the cell that defines it."""
    places: dict[str, tuple[str, str, str]] = {}
    for path in sources():
        nb, title, heading = read(path), "", ""
        for cell in nb.cells:
            if cell.cell_type == "markdown":
                for line in re.findall(r"^##? (.+)$", cell.source, re.M):
                    heading = line
                    title = title or line
            elif cell.cell_type == "code":
                for module, code in exported(NotebookNode(cells=[cell])):
                    home = module.removesuffix(".py").replace("/", ".")
                    for node in ast.parse(code).body:
                        if isinstance(node, ast.FunctionDef | ast.ClassDef):
                            places[f"{home}.{node.name}"] = path.stem, title, heading
    return places


def link(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Say at the end of a docstring which part of the book wrote it."""
    # A field that begins with `H.` is not the eighth item of a list.
    lines[:] = [re.sub(r"^( +)(?=[A-Z]\.( |$))", r"\1\\", line) for line in lines]
    if what in ("class", "exception", "function") and name in origins():
        page, title, heading = origins()[name]
        plain = re.sub(r"[`*_$]", "", heading)
        place = title if heading == title else f"{title}: {plain}"
        lines += ["", f"Written in `{place} <{page}.html#{make_id(plain)}>`__."]


def skip(
    app: Sphinx, what: str, name: str, thing: object, skip: bool, options: object
) -> bool | None:
    """Skip `Alias for field number 0` and its like."""
    return True if type(thing).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx know."""
    app.connect("autodoc-process-docstring", link, priority=900)  # after napoleon
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}
