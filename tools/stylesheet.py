"""For the site: one style sheet, of the rules that its pages can use.

The theme has nine, 400 kB in all, and draws nothing before it has them. A rule stays when each
class and name in its selector is a word somewhere in the pages or scripts of the site.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import tinycss2
from sphinx.application import Sphinx
from tinycss2.ast import AtRule, HashToken, IdentToken, LiteralToken, Node, QualifiedRule

SHEET = "_static/site.css"
HEAD = re.compile(r"<head>.*?</head>", re.S)
LINK = re.compile(r'[ \t]*<link (?=[^>]*rel="stylesheet")[^>]*href="([^"]*)"[^>]*>\n?')
EARLY = re.compile(r'[ \t]*<link rel="preload" as="script"[^>]*>\n?')  # it hurries what can wait
NESTED = {"media", "supports", "layer", "container"}


def names(selector: Iterable[Node]) -> Iterator[str]:
    """The classes and names that a selector asks for; what stands in :is() or :not() may be any."""
    before = None
    for token in selector:
        if isinstance(token, HashToken) or (isinstance(token, IdentToken) and before == "."):
            yield token.value
        before = token.value if isinstance(token, LiteralToken) else None


def selectors(prelude: list[Node]) -> Iterator[list[Node]]:
    """A rule's selectors, which commas part."""
    one: list[Node] = []
    for token in prelude:
        if isinstance(token, LiteralToken) and token.value == ",":
            yield one
            one = []
        else:
            one.append(token)
    yield one


def keep(rules: Iterable[Node], words: set[str], folder: Path) -> Iterator[str]:
    """The text of the rules that can be used; an imported sheet stands in its place."""
    for rule in rules:
        if isinstance(rule, QualifiedRule):
            used = [s for s in selectors(rule.prelude) if words.issuperset(names(s))]
            if used:
                text = ",".join(tinycss2.serialize(s).strip() for s in used)
                yield f"{text}{{{tinycss2.serialize(rule.content).strip()}}}"
        elif isinstance(rule, AtRule) and rule.lower_at_keyword == "import":
            (address,) = (x.value for x in rule.prelude if x.type == "string")
            yield from sheet(folder / address, words)
        elif isinstance(rule, AtRule) and rule.lower_at_keyword in NESTED and rule.content:
            inner = "".join(keep(tinycss2.parse_rule_list(rule.content, True, True), words, folder))
            if inner:
                yield f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}{{{inner}}}"
        elif isinstance(rule, AtRule) and "Font Awesome" in rule.serialize():
            continue  # its icons are drawings (lightpages.py)
        elif isinstance(rule, AtRule) and rule.lower_at_keyword != "charset":
            yield rule.serialize()


def sheet(file: Path, words: set[str]) -> Iterator[str]:
    """The rules of a file that can be used."""
    rules = tinycss2.parse_stylesheet(file.read_text(encoding="utf-8"), True, True)
    return keep(rules, words, file.parent)


def unite(app: Sphinx, error: Exception | None) -> None:
    """Write the sheet, and let each page ask for it alone."""
    if error is not None or app.builder.format != "html":
        return
    out = Path(app.outdir)
    pages = {path: path.read_text(encoding="utf-8")
             for where in ("*.html", "book/*.html") for path in out.glob(where)}  # fmt: skip
    heads = {path: head[0] for path, text in pages.items() if (head := HEAD.search(text))}
    asked = {path: LINK.findall(head) for path, head in heads.items()}
    order = max(asked.values(), key=len)
    files = [out / "_static" / urlsplit(one).path.split("_static/")[1] for one in order]
    if any(path.name == Path(SHEET).name for path in files):  # nothing was written anew
        return
    scripts = [path.read_text(encoding="utf-8") for path in out.glob("_static/**/*.js")]
    scripts += [path.read_text(encoding="utf-8") for path in out.glob("live/*.js")]
    words = set(re.findall(r"[\w-]+", "\n".join([*pages.values(), *scripts])))
    text = "\n".join(rule for path in files for rule in sheet(path, words))
    (out / SHEET).write_text(text, encoding="utf-8")
    version = hashlib.sha256(text.encode()).hexdigest()[:8]
    for path, links in asked.items():
        if links:
            root = links[0].split("_static/")[0]
            link = f'<link href="{root}{SHEET}?v={version}" rel="stylesheet">\n'
            head = EARLY.sub("", LINK.sub("", heads[path]))
            head = head.replace("<head>\n", f"<head>\n{link}")
            path.write_text(pages[path].replace(heads[path], head), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx know."""
    app.connect("build-finished", unite, priority=800)  # after what else changes the pages
    return {"parallel_read_safe": True}
