"""For the page Ask the page: the site gets its models, and the page its pictures and figures."""

import base64
import html
import json
import re
import shutil
from pathlib import Path
from statistics import median

import nbformat
from live import cached
from source import ROOT
from sphinx.application import Sphinx


def picture(chapter: str, alt: str) -> tuple[bytes, str]:
    """A chapter's picture whose alternative text begins so, and that text."""
    nb = nbformat.read(ROOT / "book" / f"{chapter}.ipynb", as_version=4)
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            caption = output.get("metadata", {}).get("image/png", {}).get("alt", "")
            if caption.startswith(alt):
                return base64.b64decode(output["data"]["image/png"]), caption
    raise LookupError(f"no picture of {chapter} is said to be {alt!r}")


def measured() -> dict[str, str]:
    """What results/ask.json says, by the names that the page has for it."""
    record = json.loads((ROOT / "results" / "ask.json").read_text(encoding="utf-8"))
    first = [f"{median(seconds):.1f}" for seconds in record["first_answer_seconds"].values()]
    rounded, more = record["against_no_rounding"], record["next_answers"]
    return {
        "first": first[0],
        "slowed": first[1],
        "next": f"{more['median_milliseconds'] / 1000:.1f}",
        "questions": str(more["questions"]),
        "same": str(rounded["same_answer"]),
        "gap": f"{rounded['mean_difference_of_probability']:.2f}",
    }


def hang(app: Sphinx, name: str, source: list[str]) -> None:
    """Put pictures where a figure does not run, and the record's figures into the text."""

    def tag(match: re.Match[str]) -> str:
        chapter, alt = match.groups()
        file = Path(app.outdir) / "live" / f"{chapter}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        content, caption = picture(chapter, alt)
        file.write_bytes(content)
        return f'<img loading="lazy" src="../live/{file.name}" alt="{html.escape(caption)}">'

    if name == "book/ask":
        text = re.sub(r'<img data-from="(\S+): ([^"]+)">', tag, source[0])
        source[0] = re.sub(r"«(\w+)»", lambda match: measured()[match[1]], text)


def add(app: Sphinx, error: Exception | None) -> None:
    """Put the files into the site that was built."""
    if error is None and app.builder.format == "html":
        made = cached()
        for path in [*made.glob("*.gz"), made / "files.json"]:
            shutil.copy2(path, Path(app.outdir) / "live" / path.name)


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx know."""
    app.connect("source-read", hang)
    app.connect("build-finished", add)
    return {"parallel_read_safe": True}
