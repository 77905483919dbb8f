"""Hold text, notebooks and modules together (`make check`).

Each check yields one line for each fault; no line means that all is well.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import tangle
from source import ROOT, exported, read, sources

PACKAGE = ROOT / "minibert"
# Printed in no chapter: the drawings, the command (and commands/), the names of before, and
# the package's edges, which teach nothing about BERT: labels, folders, the hub, the web.
BY_HAND = {
    "__init__.py", "__main__.py", "diagrams.py", "figures.py", "moved.py",
    "glue.py", "labels.py", "limits.py", "queueing.py", "search.py", "sentence_layout.py",
    "serving.py", "sharing.py",
}  # fmt: skip
DRAWINGS = {"diagrams", "figures"}  # they import nothing else of the package
# A module imports only from what stands before it, here; chapters have another order.
FLOORS = [
    "moved", "checks", "highlight", "device", "attention", "transformer",  # layers
    "files", "data", "vocabulary", "offsets", "tokenizer_files",  # text to numbers
    "batching", "truncation", "tokens", "config", "cards", "exported", "loading",
    "losses", "embeddings", "huggingface", "weights", "bert", "counting",
    "sentence_layout", "sharing",
    "mlm", "nsp", "checkpoints", "steps", "stopping", "spreading", "training", "corpus",
    "pretraining", "transfer", "streaming",  # training it
    "classification", "labels", "glue", "tagging", "heads", "finetuning", "squad", "windows",
    "spans", "qa", "sentences", "summaries", "rouge", "inside", "search", "queueing",
    "limits", "serving",
    "onnx_graph", "exporting",  # using it
    "modern", "distillation", "electra",  # after BERT
]  # fmt: skip


def modules_agree() -> Iterator[str]:
    """Each module is what the chapters print, and nothing else lies beside them."""
    for module in tangle.differing():
        yield f"{module} differs from its chapter: run make chapters"
    known = {Path(module).name for module in tangle.modules()} | BY_HAND
    for path in PACKAGE.glob("*.py"):
        if path.name not in known:
            yield f"minibert/{path.name} is printed in no chapter"


def notebooks_agree() -> Iterator[str]:
    """Each committed notebook holds its text's cells, executed in order, no error."""
    for text in sources():
        path = ROOT / "book" / f"{text.stem}.ipynb"
        if not path.exists():
            yield f"{path.name} is missing: make chapter ONLY={text.stem}"
            continue
        nb, fresh = nbformat.read(path, as_version=4), read(text)
        remedy = f"make chapter ONLY={text.stem}"
        if [(c.id, c.source) for c in nb.cells] != [(c.id, c.source) for c in fresh.cells]:
            yield f"{path.name} is stale (its cells are not the text's): {remedy}"
        tags = [[c.metadata.get("tags") for c in n.cells] for n in (nb, fresh)]
        if tags[0] != tags[1]:
            yield f"{path.name} is stale (its tags are not the text's): {remedy}"
        code = [c for c in nb.cells if c.cell_type == "code"]
        if [c.execution_count for c in code] != list(range(1, len(code) + 1)):
            yield f"{path.name} was not run from top to bottom: {remedy}"
        if any(o.output_type == "error" for c in code for o in c.outputs):
            yield f"{path.name} holds an error: {remedy}"
        if any(o.get("name") == "stderr" for c in code for o in c.outputs):
            yield f"{path.name} holds warnings or a progress bar (stderr)"
    known = {text.stem for text in sources()}
    for path in (ROOT / "book").glob("*.ipynb"):
        if path.stem not in known:
            yield f"book/{path.name} has no text in book/source"


def cells_define() -> Iterator[str]:
    """Exported cells define; they never run anything, and fit a phone's width."""
    allowed = (
        ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign,
        ast.AnnAssign, ast.AugAssign,
    )  # fmt: skip
    for text in sources():
        nb = read(text)
        for module, code in exported(nb):
            for node in ast.parse(code).body:
                docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
                for_types = isinstance(node, ast.If) and ast.unparse(node.test) in (
                    "TYPE_CHECKING", "not TYPE_CHECKING",
                )  # fmt: skip
                if not (isinstance(node, allowed) or docstring or for_types):
                    yield f"{text.name}: line {node.lineno} of a part of {module} runs code"
        for cell in nb.cells:
            folded = {"hide-input", "remove-cell"} & set(cell.metadata.get("tags", []))
            if cell.cell_type == "code" and not folded:
                for line in cell.source.splitlines():
                    if len(line) > 68:
                        yield f"{text.name}: {len(line)} columns: {line.strip()}"


def imports_point_up() -> Iterator[str]:
    """A module imports only modules of lower floors, but for types."""
    for path in sorted(PACKAGE.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for_types = {
            id(inner)
            for node in tree.body
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for inner in node.body
        }
        for node in ast.walk(tree):
            if id(node) in for_types:  # never imported
                continue
            if isinstance(node, ast.ImportFrom) and node.level:
                yield f"{path.name}: relative import, line {node.lineno}"
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
                if node.module == "minibert":
                    names = [f"minibert.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                top, _, part = name.partition(".")
                is_package = name == "minibert"  # its version
                if top != "minibert" or is_package or path.name in ("__init__.py", "__main__.py"):
                    continue
                if not part:  # the package itself: a name is found when it is used
                    continue
                both = {path.stem, part}
                if both & DRAWINGS:
                    if not both <= {*DRAWINGS, "moved"}:
                        yield f"{path.name} imports {name}: the drawings stand apart"
                elif FLOORS.index(path.stem) <= FLOORS.index(part):
                    yield f"{path.name} imports {part}, which comes after it"


def public_names_are_documented() -> Iterator[str]:
    """Every module has an `__all__`; each name in it, and its methods, a docstring."""
    for path in sorted(PACKAGE.glob("*.py")):
        if path.stem.startswith("__"):
            continue
        try:
            module = importlib.import_module(f"minibert.{path.stem}")
        except ImportError as error:
            yield f"{path.name} cannot be imported: {error}"
            continue
        if not hasattr(module, "__all__"):
            yield f"{path.name} has no __all__"
            continue
        for name in module.__all__:
            thing = getattr(module, name)
            if not (inspect.isclass(thing) or inspect.isfunction(thing)):
                continue
            things = {name: thing}
            if inspect.isclass(thing):
                things |= {
                    f"{name}.{k}": v for k, v in vars(thing).items()
                    if inspect.isfunction(v) and not k.startswith("_")
                }  # fmt: skip
            for label, member in things.items():
                if not (member.__doc__ or "").strip() or member.__doc__.startswith(f"{name}("):
                    yield f"{path.name}: {label} lacks a docstring"


CHECKS = [
    modules_agree,
    notebooks_agree,
    cells_define,
    imports_point_up,
    public_names_are_documented,
]


def main() -> int:
    """Run all checks; 0 when none found a fault."""
    faults = [fault for check in CHECKS for fault in check()]
    print("\n".join(faults) if faults else "text, notebooks and modules agree")
    return len(faults) > 0


if __name__ == "__main__":
    sys.exit(main())
