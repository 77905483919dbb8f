"""Slides from the chapters, for a class: python tools/slides.py attention bert

Of each section of a chapter: its first sentence, its bets, equations and tables, its pictures
with their alternative text, and its short cells with what they printed. What would not fit a
slide is left out. They lie in _build/slides with all that they need, and work offline.
"""

from __future__ import annotations

import html
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from source import EXPORT, ROOT, choose
from student import SITE

OUT = ROOT / "_build" / "slides"
END = ("What you built", "What is yours now", "Exercises", "Sources", "Yours")
LINK = re.compile(r"\]\(([\w-]+)\.(?:md|ipynb)\b")
SENTENCE = re.compile(r"(.{40,}?[.?!][*”\"]?)(?=\s+[A-Z*`$]|$)", re.DOTALL)
LINES, ROWS, LETTERS = 18, 10, 500  # what fits: of code and output, of a table, of prose
PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}: slides</title>
<link rel="stylesheet" href="reveal/dist/reveal.css">
<link rel="stylesheet" href="reveal/dist/theme/white.css">
<style>
.reveal {{ font-size: 30px; }}
.reveal h1 {{ font-size: 64px; text-transform: none; }}
.reveal h2 {{ font-size: 38px; text-transform: none; }}
.reveal pre {{ font-size: 19px; line-height: 1.3; box-shadow: none; }}
.reveal pre {{ width: fit-content; margin: 10px auto; }}
.reveal table {{ font-size: 22px; }}
.reveal img {{ max-width: 1100px; max-height: 560px; }}
.reveal .output {{ color: #555; }}
.reveal blockquote {{ width: 85%; }}
{style}
</style>
</head>
<body>
<div class="reveal"><div class="slides">
{slides}
</div></div>
<script src="reveal/dist/reveal.js"></script>
<script>Reveal.initialize({{ width: 1280, height: 720, hash: true, slideNumber: true }});</script>
<script src="mathjax/tex-mml-chtml.js" async></script>
</body>
</html>
"""


def formula(text: str, options: dict[str, Any]) -> str:
    """A formula as MathJax looks for it."""
    start, end = ("\\[", "\\]") if options["display_mode"] else ("\\(", "\\)")
    return start + html.escape(text) + end


MARKDOWN = MarkdownIt().enable("table").use(dollarmath_plugin, renderer=formula)


def render(text: str) -> str:
    """Markdown as HTML; its links lead to the site."""
    return MARKDOWN.render(LINK.sub(rf"]({SITE}/\1.html", text))


def from_code(cell: NotebookNode) -> Iterator[str]:
    """A cell's picture; or, where it is shown and short, its code and what it printed."""
    output_text = ""
    for output in cell.outputs:
        data = output.get("data", {})
        if "image/png" in data:
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            code = "".join(data["image/png"].split())
            yield f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{code}">'
        else:
            output_text += output.get("text", data.get("text/plain", ""))
    exported = EXPORT.match(cell.source.partition("\n")[0])
    hidden = {"hide-input", "remove-cell"} & {*cell.metadata.get("tags", [])}
    lines = [*cell.source.splitlines(), *output_text.splitlines()]
    narrow = all(len(line) <= 90 for line in lines)
    if not hidden and narrow and len(lines) <= LINES and (output_text or exported):
        yield highlight(cell.source, PythonLexer(), HtmlFormatter()) + (
            f'<pre class="output">{html.escape(output_text)}</pre>' if output_text.strip() else ""
        )


def slides(nb: NotebookNode) -> Iterator[str]:
    """A chapter's slides, up to its exercises."""
    heading, begins = "", False
    for cell in nb.cells:
        if cell.cell_type == "code":
            yield from (heading + body for body in from_code(cell))
            continue
        for block in cell.source.split("\n\n"):
            first = SENTENCE.match(block)
            if head := re.match(r"#+ (.+)$", block):
                if head[1] in END:
                    return
                heading, begins = f"<h2>{MARKDOWN.renderInline(head[1])}</h2>\n", True
                if block.startswith("# "):
                    yield heading.replace("h2>", "h1>")
            elif begins and first and block[0] not in "<|>$" and len(first[1]) <= LETTERS:
                yield heading + render(first[1])
                begins = False
            elif block.startswith(("> **Bet", "$$", "|")) and block.count("\n") <= ROWS:
                yield heading + render(block)


def build(names: list[str], out: Path = OUT) -> list[Path]:
    """Write the slides of chapters, all when none are named; give the pages."""
    reveal = find_spec("sphinx_revealjs")
    if reveal is None:
        raise SystemExit("slides need reveal.js: pip install sphinx-revealjs")
    static = Path(reveal.submodule_search_locations[0]) / "_static" / "revealjs"
    shutil.copytree(static / "dist", out / "reveal" / "dist", dirs_exist_ok=True)
    vendor = ROOT / "book" / "vendor" / "mathjax"
    shutil.copytree(vendor, out / "mathjax", dirs_exist_ok=True)
    pages = []
    for text in choose(names):
        nb = nbformat.read(ROOT / "book" / f"{text.stem}.ipynb", as_version=4)
        title = nb.cells[0].source.partition("\n")[0].removeprefix("# ")
        body = "\n".join(f"<section>\n{slide}</section>" for slide in slides(nb))
        style = HtmlFormatter().get_style_defs(".highlight")
        page = out / f"{text.stem}.html"
        page.write_text(PAGE.format(title=title, slides=body, style=style), encoding="utf-8")
        pages.append(page)
    return pages


def main() -> int:
    """Write the slides of the chapters that are named, or of all."""
    for page in build(sys.argv[1:]):
        print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
