"""Each term of the field has an entry in the glossary, and its first use links there."""

import re
from collections.abc import Iterator

import pytest
from source import ROOT, read, sources

ENTRIES = dict(
    re.findall(
        r"^### (.+)\n\n(.+)$", (ROOT / "book" / "glossary.md").read_text(encoding="utf-8"), re.M
    )
)
# What a term looks like in a sentence, where that is not its name, or its name and an s.
FORMS = {
    "accumulation": r"(?<!-)\baccumulat\w+",
    "bootstrap": r"\bbootstrap\w*",
    "doc stride": r"\bdocument stride\b",
    "embedding": r"\bembeddings?\b",
    "F1": r"\bF1\b",
    "FLOP": r"\bFLOPs?\b",
    "fine-tuning": r"\bfine-tun\w+",
    "microbatch": r"\bmicrobatch(?:es)?\b",
    "nat": r"\bnats?\b",
    "offsets": r"\boffsets?\b",
    "padding": r"\bpadding\b",
    "SVD": r"\bsingular value decomposition\b",
    "tied weights": r"\btied\b",
    "vocabulary": r"\bvocabular(?:y|ies)\b",
    "whitening": r"\bwhiten\w+",
    "[CLS]": r"\[CLS\]",
    "[SEP]": r"\[SEP\]",
    "[MASK]": r"\[MASK\]",
}
# Words of every day too: an entry, and a link where the term is meant.
ORDINARY = {
    "activation", "answer span", "attention head", "attention weights", "batch", "bidirectional",
    "frozen", "head", "hidden size", "lead", "loss", "oracle", "parameter", "position embedding",
    "query, key, value", "scale", "segment embedding", "sentence vector", "sequence length", "sink",
    "tags B, I, O", "temperature", "token", "window",
}  # fmt: skip
ASIDE = re.compile(
    r"^```.*?^```|^#[^\n]*$|^\|[^\n]*$|<[^>\n]+>|\$[^$\n]+\$|`[^`\n]+`"
    r"|!?\[(?:[^\[\]]|\[[^\]]*\])*\]\([^)\n]*\)",
    re.M | re.S,
)
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(glossary\.md#([\w-]+)\)")


def slug(entry: str) -> str:
    """The anchor of an entry's heading."""
    return re.sub(r"[^\w -]", "", entry.lower()).replace(" ", "-")


def form(entry: str) -> re.Pattern[str]:
    """What the entry looks like in a sentence."""
    return re.compile(FORMS.get(entry, rf"\b{re.escape(entry)}s?\b"), re.IGNORECASE)


def prose() -> Iterator[tuple[str, str]]:
    """The chapters' text, in the order of the book; Welcome goes before it all."""
    for path in sources():
        if path.stem != "welcome":
            for cell in read(path).cells:
                if cell.cell_type == "markdown":
                    yield path.stem, cell.source


@pytest.mark.parametrize("entry", sorted(set(ENTRIES) - ORDINARY))
def test_the_first_use_links_to_the_glossary(entry: str) -> None:
    for chapter, text in prose():
        linked = [m.start() for m in LINK.finditer(text) if m[2] == slug(entry)]
        masked = ASIDE.sub(lambda m: " " * len(m[0]), text)
        plain = form(entry).search(masked)
        if linked and (not plain or linked[0] < plain.start()):
            return
        if plain:
            line = text[max(plain.start() - 40, 0) : plain.end() + 20].replace("\n", " ")
            pytest.fail(f"{chapter}: the first {entry!r} has no link to the glossary: …{line}…")
    pytest.fail(f"{entry!r} is used nowhere: take it out of the glossary")


def test_every_link_to_the_glossary_has_an_entry() -> None:
    known = {slug(entry) for entry in ENTRIES}
    for chapter, text in prose():
        for match in LINK.finditer(text):
            assert match[2] in known, (chapter, match[0])


def test_the_entries_are_in_order_and_end_as_sentences() -> None:
    names = [re.sub(r"[^a-z0-9 ]", "", entry.lower()) for entry in ENTRIES]
    assert names == sorted(names)
    assert all(text.endswith((".", ".)")) for text in ENTRIES.values())
    assert set(FORMS) | ORDINARY <= set(ENTRIES)
