"""For the site: its pages load less, and nothing before the text that can come after it.

A page's own scripts wait until it is parsed, and MathJax until a formula is near
(book/static/formulas.js). In code, the tags go that colour nothing. Each picture says how large
it is, so that the text below does not jump when it comes. Of the theme's two thousand icons
(1.5 MB) the site keeps those that its pages use, and of its script not what has all of a page
laid out at once (book/static/scroll.js).
"""

import re
from pathlib import Path
from typing import Any

from PIL import Image
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

ICONS = "_static/scripts/fontawesome.js"
# One icon in that file: its name, width, height, other names, character and outline.
ICON = re.compile(r'"?([\w-]+)"?:\[\d+,\d+,(\[[^\]]*\]),"[0-9a-f]+",(?:"[^"]*"|\[[^\]]*\])\],?')
PLAIN = re.compile(r'<span class="(?:n|p|w)">([^<]*)</span>')  # in code, with no colour of its own
THEME = "_static/scripts/pydata-sphinx-theme.js"
# Its function that looks for what scrolls.
ASKS_ALL = re.compile(r'const e=\(\)=>\{document\.querySelectorAll\(\["pre",.{,400}?\?0:-1\}\)\}')
ASKS_NONE = "const e=()=>{/* scroll.js does */}"
MATHJAX = "_static/../mathjax/tex-mml-chtml.js"
AT_ONCE = {"", "_static/documentation_options.js"}  # no file: it stands in the page
USED = re.compile(r"\bfa-([a-z0-9-]+)")


def hold_sizes(body: str, pictures: dict[str, Path]) -> str:
    """Give each picture in a page's text its width and height; where it lies is by its name.

    All but the first come when they are near.
    """
    first = True

    def sized(tag: re.Match[str]) -> str:
        nonlocal first
        if " width=" in tag[0] or tag[2] not in pictures:
            return tag[0]
        width, height = Image.open(pictures[tag[2]]).size
        wait = "" if first else ' loading="lazy"'
        first = False
        return f'{tag[1]} width="{width}" height="{height}"{wait}'

    return re.sub(r'(<img [^>]*src="(?:\.\./)*_images/([\w.-]+\.png)")', sized, body)


def keep_icons(script: str, used: set[str]) -> str:
    """Leave out of the theme's script the icons that nothing names."""

    def kept(icon: re.Match[str]) -> str:
        return icon[0] if used & {icon[1], *re.findall(r'"([\w-]+)"', icon[2])} else ""

    return ICON.sub(kept, script)


def lighten(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: object) -> None:
    """Change what a page is made of."""
    # What stands in the page itself, and all on the search's page, runs at once.
    context["script_files"] = [
        script if page == "search" or script.filename in AT_ONCE else
        type(script)(script.filename, priority=script.priority,
                     **(script.attributes | {"defer": "defer"}))
        for script in context["script_files"] if script.filename != MATHJAX
    ]  # fmt: skip
    if "body" in context:
        images = app.builder.images.items()
        pictures = {name: Path(app.srcdir, source) for source, name in images}
        context["body"] = PLAIN.sub(r"\1", hold_sizes(context["body"], pictures))


def lighten_scripts(app: Sphinx, error: Exception | None) -> None:
    """Write the theme's scripts again, without what no page needs."""
    if error is None and app.builder.format == "html":
        out = Path(app.outdir)
        texts = [
            path for where in ("*.html", "book/*.html", "_static/scripts/*-theme.js")
            for path in out.glob(where)
        ]  # fmt: skip
        used = {name for path in texts for name in USED.findall(path.read_text(encoding="utf-8"))}
        path = out / ICONS
        path.write_text(keep_icons(path.read_text(encoding="utf-8"), used), encoding="utf-8")
        text = (out / THEME).read_text(encoding="utf-8")
        if text.count(ASKS_NONE) + len(ASKS_ALL.findall(text)) != 1:
            raise ExtensionError(f"{THEME} has changed: which function looks for what scrolls?")
        (out / THEME).write_text(ASKS_ALL.sub(ASKS_NONE, text), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx know."""
    app.connect("html-page-context", lighten, priority=900)  # after those that add scripts
    app.connect("build-finished", lighten_scripts)
    return {"parallel_read_safe": True}
