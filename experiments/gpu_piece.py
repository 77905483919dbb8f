"""One piece of experiments/gpu.py, in a process of its own.

    MINIBERT_DEVICE=cuda python experiments/gpu_piece.py NAME FILE

NAME is one that `python experiments/gpu.py --list` gives. What the piece found goes into FILE, as
JSON: its peak memory on the card, and more where it is one of experiments/gpu_measures.py. The
exit status is 1 where something is wrong.
"""

from __future__ import annotations

import json
import os
import sys
import types
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def chapter(name: str) -> None:
    """Run a notebook's cells as a script."""
    warnings.simplefilter("ignore")
    try:
        import IPython.display  # noqa: F401
    except ModuleNotFoundError:  # pictures go nowhere in a script
        fake = types.ModuleType("IPython.display")
        for attribute in ("display", "Image", "HTML", "Markdown"):
            setattr(fake, attribute, lambda *args, **named: None)
        sys.modules |= {"IPython": types.ModuleType("IPython"), "IPython.display": fake}
    cells = json.loads((ROOT / "book" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    space = {"__name__": "__main__"}
    for cell in cells:
        code = "".join(cell["source"])
        if cell["cell_type"] == "code" and "%pip" not in code:
            exec(compile(code, f"cell {cell['id']}", "exec", dont_inherit=True), space)


def units() -> list[str]:
    """Run the unit tests of the printed modules, and say what is wrong."""
    import pytest

    modules = {"device"} | {path.stem for path in (ROOT / "minibert").glob("[a-z]*.py")}
    paths = sorted((ROOT / "tests").glob("test_*.py"))
    tests = [str(path) for path in paths if path.stem.removeprefix("test_") in modules]
    status = pytest.main(["-p", "no:cacheprovider", *tests])
    return [f"pytest gave {status!r}"] if status else []


def card(device: str) -> dict[str, Any]:
    """What this process took of the card: a piece that stayed on the CPU shows."""
    if not device.startswith("cuda"):
        return {"peak_bytes": None, "card_used": None}
    import torch

    peak = torch.cuda.max_memory_allocated(device) if torch.cuda.is_initialized() else 0
    return {"peak_bytes": peak, "card_used": peak > 512}  # best_device tries a block of 512


def main() -> int:
    """Run one piece and write what it found."""
    name, file = sys.argv[1:]
    device = os.environ["MINIBERT_DEVICE"]
    measured = not name.startswith(("chapter-", "units-"))
    fields: dict[str, Any] = {"faults": []}
    try:
        if name.startswith("chapter-"):
            chapter(name.removeprefix("chapter-"))
        elif name.startswith("units-"):
            fields["faults"] = units()
        else:
            import torch
            from gpu_measures import MEASURES

            fields |= MEASURES[name](torch.device(device))
    finally:  # what a chapter took shows even where it failed
        fields |= card(device)
        if measured and fields["card_used"] is False:
            fields["faults"].append("it never touched the card")
        Path(file).write_text(json.dumps(fields), encoding="utf-8")
    if measured:
        print("\n".join(fields["faults"] or ["no faults"]))
    return int(bool(fields["faults"]))


if __name__ == "__main__":
    sys.exit(main())
