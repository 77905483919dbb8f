"""For the site's search: a term leads to the chapter that explains it, a number is a word.

The first emphasised link of the chapters to an entry of the glossary, or else their first link to
it, marks where a term is explained: the section around it becomes the term's main entry in the
index, and the search puts that first.
Sphinx's own search knows no numbers; here `109,482,240` is found by `109482240`, too.
"""

import functools
import re
from pathlib import Path

from docutils import nodes
from source import read, sources
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.search import languages
from sphinx.search.en import SearchEnglish
from sphinx.transforms import SphinxTransform

LINK = re.compile(r"(\*?)\[[^\]]*\]\(glossary\.md#([\w-]+)\)")


class WithNumbers(SearchEnglish):
    """English, in which a number of four digits or more is a word that starts with an n."""

    js_splitter_code = r"""
var splitQuery = (query) => query
    .replace(/(\d),(?=\d{3})/g, "$1")
    .split(/[^\p{Letter}\p{Number}_\p{Emoji_Presentation}]+/gu)
    .filter((word) => word)
    .map((word) => /^\d{4,}$/.test(word) ? `n${word}` : word);
"""

    def split(self, text: str) -> list[str]:
        """Cut a text into words; the commas in a number cut nothing."""
        words = super().split(re.sub(r"(?<=\d),(?=\d{3})", "", text))
        return [f"n{word}" if re.fullmatch(r"\d{4,}", word) else word for word in words]


@functools.cache
def explained() -> dict[str, str]:
    """Map an entry of the glossary, by its anchor, to the chapter that explains it."""
    linked: dict[str, str] = {}
    emphasised: dict[str, str] = {}
    for path in sources():
        if path.stem != "welcome":  # it goes before the chapters, and explains nothing
            for cell in read(path).cells:
                if cell.cell_type == "markdown":
                    for star, slug in LINK.findall(cell.source):
                        linked.setdefault(slug, path.stem)
                        if star:
                            emphasised.setdefault(slug, path.stem)
    return linked | emphasised


class Explained(SphinxTransform):
    """Puts the index entries of the terms that a chapter explains into its text."""

    default_priority = 800  # before Sphinx reads the entries, at 850

    def apply(self, **more: object) -> None:
        """Mark the section of the first link to each term."""
        name = self.env.docname.removeprefix("book/")
        seen = set()
        for link in list(self.document.findall(addnodes.pending_xref)):
            slug = str(link.get("reftargetid") or "")
            if explained().get(slug) == name and slug not in seen:
                seen.add(slug)
                place = link
                while not isinstance(place, nodes.section):
                    place = place.parent
                term = slug.replace("-", " ")
                entry = ("single", term, place["ids"][0], "main", None)
                place.insert(1, addnodes.index(entries=[entry]))


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx know."""
    languages["en"] = WithNumbers
    app.config.html_search_scorer = str(Path(app.confdir, app.config.html_search_scorer))
    app.add_transform(Explained)
    return {"parallel_read_safe": True}
