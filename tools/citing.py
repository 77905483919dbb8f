"""For the page Data and licences: how to cite the book, from CITATION.cff alone."""

import yaml
from source import ROOT
from sphinx.application import Sphinx


def bibtex() -> str:
    """The book as an entry of BibTeX."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    names = [
        "{" + one["name"] + "}" if "name" in one
        else f"{one['family-names']}, {one['given-names']}"
        for one in citation["authors"]
    ]  # fmt: skip
    fields = {
        "author": " and ".join(names),
        "title": "{" + citation["title"] + "}",
        "version": citation["version"],
        "year": citation.get("date-released", "")[:4],
        "url": citation["url"],
    }
    lines = [f"  {name} = {{{text}}}," for name, text in fields.items() if text]
    return "\n".join(["@software{minibert_book,", *lines, "}"])


def fill(app: Sphinx, name: str, source: list[str]) -> None:
    """Put the entry where the page asks for it."""
    if name == "book/data":
        source[0] = source[0].replace("«bibtex»", bibtex())


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx know."""
    app.connect("source-read", fill)
    return {"parallel_read_safe": True}
