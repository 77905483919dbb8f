"""Each question has an answer and its links, and the lines that tell causes apart run."""

import contextlib
import io
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pytest
from source import ROOT

BOOK = ROOT / "book"
PAGE = (BOOK / "questions.md").read_text(encoding="utf-8")
FENCED = re.compile(r"^```\w*\n.*?^```$", re.M | re.S)
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]*)\)")
LAST = re.compile(
    r"^\*(?:Shown in|Related)\* (.+?)(?: · \*asked\* \[(?:on|in) [^\]]+\]\((\S+)\))?$", re.M
)
OLD = {  # the sections that others link to
    "attention-and-the-transformer", "tokens", "embeddings", "weights", "counting",
    "masked-words", "pairs-of-sentences", "pre-training", "fine-tuning", "answers",
    "sentences-and-summaries", "looking-inside",
}  # fmt: skip


def slug(heading: str) -> str:
    """The anchor of a heading on the site."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower().replace(" ", "-"))


def headings(text: str, levels: str = "1,3") -> list[str]:
    return re.findall(rf"^#{{{levels}}} (.+)$", FENCED.sub("", text), re.M)


def entries() -> dict[str, str]:
    """Heading of level 3 -> what stands below it."""
    parts = re.split(r"^### (.+)$", FENCED.sub("```", PAGE), flags=re.M)[1:]
    below = (re.split(r"^## ", text, flags=re.M)[0] for text in parts[1::2])
    return dict(zip(parts[::2], below, strict=True))


ENTRIES = entries()


@cache
def anchors(page: str) -> frozenset[str]:
    """What can be linked on a page of the book."""
    path = BOOK / page
    texts = [path.read_text(encoding="utf-8")]
    if path.suffix == ".ipynb":
        cells = nbformat.reads(texts[0], as_version=4).cells
        texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    return frozenset(slug(one) for text in texts for one in headings(text))


def sentences(text: str) -> int:
    """How many sentences there are, beside tables, code and the line of links."""
    text = LAST.sub("", re.sub(r"^(?:\|.*|```)$", "", text, flags=re.M))
    text = LINK.sub(r"\1", re.sub(r"`[^`]+`", "x", text))
    return len(re.findall(r"[.?!][*\")]*(?=\s|$)", text))


@pytest.mark.parametrize("heading", ENTRIES)
def test_an_answer_has_two_to_five_sentences_and_its_links(heading: str) -> None:
    text = ENTRIES[heading]
    assert 2 <= sentences(text) <= 5, sentences(text)
    (last,) = LAST.finditer(text)
    assert text.rstrip().endswith(last[0])
    shown = LINK.findall(last[1])
    assert shown and all("#" in target for _, target in shown)
    assert last[2] is None or last[2].startswith("https://")


def test_every_link_into_the_book_arrives() -> None:
    for label, target in LINK.findall(FENCED.sub("", PAGE)):
        if not target.startswith("https://"):
            page, _, anchor = target.partition("#")
            assert anchor in anchors(page or "questions.md"), (label, target)


def test_no_heading_and_no_source_is_lost() -> None:
    found = Counter(map(slug, headings(PAGE)))
    assert max(found.values()) == 1, found.most_common(3)
    assert set(found) >= OLD
    assert list(ENTRIES) == headings(PAGE, "3")
    asked = {last[2] for text in ENTRIES.values() for last in LAST.finditer(text)} - {None}
    assert len(asked) >= 107


def blocks() -> dict[str, str]:
    """Symptom -> its code; the first block is of all."""
    part = PAGE.split("\n## By symptom\n")[1].split("\n## ")[0]
    pieces = re.split(r"^### (.+)$", part, flags=re.M)
    out = {"": pieces[0], **dict(zip(pieces[1::2], pieces[2::2], strict=True))}
    return {name: re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)[0]
            for name, text in out.items()}  # fmt: skip


BLOCKS = blocks()


@pytest.fixture(scope="module")
def ground() -> dict[str, Any]:
    """What the first block defines."""
    names: dict[str, Any] = {}
    exec(compile(BLOCKS[""], "questions.md", "exec"), names)
    return names


def printed(code: str, ground: dict[str, Any]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(code, "questions.md", "exec"), dict(ground))
    return out.getvalue()


# A symptom; what a reader's own case changes in its lines; what they then print.
CASES = [
    ("Stays at 50 %", "", "", "labels:  [2, 2]"),
    ("Stays at 50 %", "", "", "answers: [4, 0]"),
    ("Stays at 50 %", "CrossEntropyLoss()", "CrossEntropyLoss(ignore_index=0)", "alone: nan"),
    ("Stays at 50 %", "[[1.0, 0.0]]", "[[0.0, 0.0]]", "loss:    0.693"),
    ("Same output for every input", "", "", "[UNK]: 0 in"),
    ("Same output for every input", "in texts:", 'in ["☃"]:', "[UNK]: 1 in ☃"),
    ("Same output for every input", "in enumerate(states)", "in enumerate([0 * states[0] + 1])",
     "apart by 0.00"),
    ("Another output for the same input", "", "", "twice the same: True"),
    ("Another output for the same input", "", "", "within 1e-4: True"),
    ("Another output for the same input", "(*batch)[0]", "(batch.input_ids)[0]",
     "within 1e-4: False"),
    ("All cosines above 0.8", "", "", "the same alone: True"),
    ("Loss is nan", "", "", "labels that count: 0"),
    ("Loss is nan", "enumerate(states)", "enumerate([states[0], states[1] / 0])", "[1]"),
    ("F1 near 5", "", "", "right answers: 100.0"),
    ("F1 near 5", "", "", "not in the file, so random"),
    ("F1 near 5", '{one.id: ', '{"q" + one.id: ', "right answers: 0.0"),
    ("F1 near 5", "tokenizer, 64, 32", "tokenizer, 12, 1", "at column 0: 13 of 15"),
    ("100 % at once", "", "", "labels: Counter({0: 4})"),
    ("100 % at once", "", "", "special tokens asked for: 0.00"),
    ("100 % at once", "", "", "asked for: 0.1"),
    ("100 % at once", "= Masking(tokenizer)(ids)", "= ids, ids", "still to be read: 1.00"),
    ("Slower on the GPU", "", "", "input on:  cpu"),
    ("Loss rests at ln V, or at 7", "", "", "ln V 8.32"),
    ("Training loss falls, held-out loss rises", "", "", "the same gaps twice: False"),
    ("Training loss falls, held-out loss rises", "", "", "Counter({'rivers': 30})"),
    ("Out of memory", "", "", "32 512 full {'weights': 0.4"),
    ("Index out of range, or a device-side assert", "", "", "segments 0 fits 2 rows"),
    ("Index out of range, or a device-side assert", "batch.input_ids.max()",
     "(0 * batch.input_ids + 4096).max()", "is too large for 4096 rows"),
    ("Other numbers than transformers", "", "", "as it should be: None"),
    ("Other numbers than transformers", "", "", "without a mask:   1"),
]  # fmt: skip


@pytest.mark.parametrize(("symptom", "old", "new", "says"), CASES)
def test_the_lines_tell_a_cause(
    symptom: str, old: str, new: str, says: str, ground: dict[str, Any]
) -> None:
    assert old in BLOCKS[symptom]
    code = BLOCKS[symptom].replace(old, new) if old else BLOCKS[symptom]
    assert says in printed(code, ground)


def test_every_symptom_has_lines_and_a_case() -> None:
    assert set(BLOCKS) - {""} == {symptom for symptom, *_ in CASES}
    assert Path(BOOK / "questions.md").read_text(encoding="utf-8").count("```") == 2 * len(BLOCKS)
