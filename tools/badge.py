"""When, on what and in how many minutes a chapter was last run: the run says it, the site shows it.

tools/chapters.py writes `stamp` into the notebook's metadata; below the title of each page that
has one, Sphinx puts what it says.
"""

from __future__ import annotations

import datetime
import html
import json
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx


def processor() -> str:
    """Name the processor, shortly."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    names = [x.split(":")[1] for x in lines if x.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    for word in ("(R)", "(TM)", "Processor", "CPU"):
        name = name.replace(word, "")
    return " ".join(name.split())


def stamp(seconds: float) -> dict[str, Any]:
    """What a run that ends now says of itself."""
    import torch

    chip = f"{processor()}, {torch.backends.cpu.get_cpu_capability()}"
    if torch.cuda.is_available():
        chip = torch.cuda.get_device_name()
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": chip,
        "seconds": round(seconds),
        "torch": metadata.version("torch"),
    }


def say(run: dict[str, Any]) -> str:
    """A stamp as a sentence."""
    day = datetime.date.fromisoformat(run["date"])
    minutes = round(run["seconds"] / 60)
    took = f"{minutes} minute{'s' * (minutes > 1)}" if minutes else "less than a minute"
    return (
        f"Last run on {day.day} {day:%B %Y} in {took}, on {run['processor']}, "
        f"with torch {run['torch']}"
    )


def show(app: Sphinx, doctree: nodes.document) -> None:
    """Put a page's stamp below its title."""
    from docutils import nodes

    run = app.env.metadata[app.env.docname].get("run")
    title = next(doctree.findall(nodes.title), None)
    if run and title is not None:
        text = html.escape(say(json.loads(run)))  # raw: no part of a description of the page
        line = nodes.raw("", f'<div class="last-run"><span>{text}</span></div>', format="html")
        title.parent.insert(title.parent.index(title) + 1, line)


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx know."""
    app.connect("doctree-read", show)
    return {"parallel_read_safe": True}
