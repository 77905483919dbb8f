"""Every number in prose is held by something that a reader can look up.

A number is digits that stand alone in prose: not in code, formulas, addresses, lists of
sources, and not part of a name (GPT-2, int8, 0.0.7). It is held by the first of these that
has it, rounded to the digits that are written:

    count      a whole number up to 12 without a unit reads as a word: nothing is asked
    year       a year of today's research, after a word that dates (in, of, a name)
    reference  section 3.1, table 2, Python 3.11, version 0.2
    output     what the cells of the same section print, or the text of their pictures
    code       a literal in a cell of the same section, folded or not
    page       output or code elsewhere on the page, for three digits or more
    link       the section, page, record or model card that the paragraph links to; on a
               page without cells, that its section links to
    source     a work that this sentence or the one before it names, by a link out of the book
               or by its author as in the list of sources; for a table, the paragraph before
    guess      an answer that a bet offers
    exception  EXCEPTIONS, each with its reason

A percentage is also held by a share, and *2 million* by 2,031,616. A whole number must be
the very number, unless it is a percentage or a measure (points, seconds, MiB), or *about*
or *more than* or their like stand before it: then zeros at its end are not counted as written.
"""

from __future__ import annotations

import ast
import random
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest
from nbformat import NotebookNode
from source import ROOT
from test_questions import LINK, slug
from test_repository import REPOSITORY

BOOK = ROOT / "book"
PAGES = [*sorted(BOOK.glob("*.ipynb")), *sorted(BOOK.glob("*.md")), ROOT / "README.md"]
PAGES = [path for path in PAGES if path.stem != "bibliography"]  # sources, every line of it
SCALES = {
    "thousand": 1e3, "million": 1e6, "billion": 1e9, "kB": 1e3, "MB": 1e6, "GB": 1e9,
    "MiB": 2**20, "GiB": 2**30, "k": 1e3, "M": 1e6,
}  # fmt: skip
NUMBER = re.compile(
    r"(?<![\w.,#])(?<![A-Za-z`\]][-–])"
    r"(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(e[-+]?\d+)?"
    r"(\s?%|[\s\u00a0](?:thousand|million|billion|kB|MB|GB|MiB|GiB)\b|[kM])?(?!\w|[.,]\d)"
)
MEASURE = re.compile(r"[ \u00a0](?:points?|times|ms|s|seconds|minutes|hours)\b")
IN_A_HUNDRED = re.compile(r"(?: \w+)?,? (?:in|of) (?:100|a hundred)\b")
ABOUT = re.compile(
    r"\b(?:about|some|nearly|almost|over|under|more than|less than|at least|at most)\s$", re.I
)
DATING = re.compile(r"(?:\b(?:in|of|since|until|after|by|and|to)|[A-Z]\S+,?|\()\s?\(?$")
REFERENCE = re.compile(
    r"\b(?:sections?|tables?|figures?|appendix|versions?|Python|SQuAD|BY-SA|Apache|bert"
    r"|transformers) (?:[\d.]+(?:, | and | to ))*$",
    re.I,
)
NAMES = re.compile(r"[ -]bits?\b|\s(?:confidence )?intervals?\b")
WORK = re.compile(
    r"\b(?=([A-Z]\w+)(?: et al\.|'s (?:table|appendix)|[^.;:()]{0,80}?,? \(?(?:19|20)\d\d\b))"
    r"|\b[Tt]he paper\b"
)
END = re.compile(r"[.?!:][\")*]*\s+(?=[\"(*`\[A-Z\d])")
LOOKED_UP = ("output", "code", "page", "link")

# What nothing above holds: page -> words of the sentence -> why they may stand. A reason that
# starts with = is computed, and must round to the number.
EXCEPTIONS: dict[str, dict[str, str]] = {
    "modern": {
        "place 513": "= 512 + 1",
        "64 tokens to the left and 64": "= 128 / 2",
        "BERT-base's 109 million": "= 109482240 / 1e6",
        "a base of 85,550": "= 10_000 * 8 ** (64 / 62)",
    },
    "smaller": {"right at 91 % of": "= 1 - 0.15 * (1 - 0.4)"},
    "attention": {
        "All 25 dot products": "= 5 * 5",
        "its 46 % out": "= 2.718281828 ** (4 / 2 ** 0.5) / (2 * 2.718281828 ** (4 / 2 ** 0.5) + 3)",
        "*a 1968 epic*": "quoted text: the lead of *2001: A Space Odyssey*",
        "the 25 results": "= 12 + 1 + 12",
        "the 25 of head 1": "= 12 + 1 + 12",
        "from 0 to 49": "= 2 * 25 - 1",
        "gets 24 and 25": "= 24 + 1",
    },
    "bert": {
        "make 991 pages": "= 483 + 503 + 5",
        "986 of them": "= 483 + 503",
        "the 986 of": "= 483 + 503",
        "Chance is 0.1 %": "= 1 / 986",
        "BERT's 1e-12": "the literal layer_norm_eps of the config cell",
        "and 250 times": "= 0.05 / 0.0002",
        "by 0.55 at 768": "= 0.02 * 768 ** 0.5",
        "by 0.16 at 64": "= 0.02 * 64 ** 0.5",
        "0.1 % off": "a symptom: the order of the two deviations in *GELU, eps*",
    },
    "counting": {
        "64 new columns": "= 768 / 12",
        "64 with 12 heads": "= 768 / 12",
        "32 with 24": "= 768 / 24",
        "the 28 sizes": "= 24 + 4",
        "12.8 million": "= (4 * 12 * 512 ** 2 + 512 ** 2) / 1e6",
        "Adam's 220 bytes": "= 230109404 - 2 * 115054592",
        "14 % above": "= 558 / 488 - 1",
        "and 21 million": "= 10892.625664 - 10872",
        "3.1 times": "= 2 ** 1.65",
        "The 1.9 GiB": "= 32 * 512 * 30522 * 4 / 2 ** 30",
        "15 in a hundred": "the share that the next chapter chooses",
    },
    "day": {
        "110 million parameters": "= 109.5",
        "A step at 30 %": "the share that the section proposes",
        "120 steps of 16 rows of 32": "steps, batch_size and max_length of results/masking.json",
        "500 steps": "--save-every of the command above",
        "exit code 75": "EX_TEMPFAIL, a literal of the command",
        "ended with 75": "EX_TEMPFAIL, a literal of the command",
        "64 times": "= 74.4 / 1.16",
        "at step 40": "= 41 - 1",
    },
    "embeddings": {
        "on .9995": "an answer of the bet",
        "nouns is 6 %": "= 1 / 16",
        "worth .18": "= 0.83 - 0.65",
        "the .18": "= 0.83 - 0.65",
        "place 0 to 27": "= 32 - 5",
        "rows 32 to 63": "= 64 - 1",
        "Chance is .06": "= 1 / 16",
    },
    "fast": {
        "2.4 million": "= 768 * 3072 / 1e6",
        "leave 40 ms": "= 100 - 60",
    },
    "finetuning": {
        "and 600 steps": "steps_from_nothing of results/finetuning.json",
        "take 150, 300 and 600": "steps_from_nothing of results/finetuning.json",
        "of 2.6 million": "= 2622144 / 1e6",
        "read 1,920": "= 120 * 16",
        "in 19 cases": "= 91 / 483",
        "with 48 labels": "= 4 * 12",
        "about 15 points": "= (48.8 + 63.0 + 65.9 - 34.7 - 47.4 - 49.7) / 3",
        "MiniLM 25": "= 54.8 - 29.8",
        "to 30": "= 75.0 - 44.5",
        "with 912 labels": "= 960 - 48",
        "63 on the same seeds": "= (60.04 + 62.94 + 65.01) / 3",
        "only 90 steps": "steps of results/finetuning.json",
        "by step 90": "steps=90, a literal of the run in *A row is what the model is called with*",
        "64 % right": "printed by the run of *A row is what the model is called with*",
        "is 0.08": "= 1 / 12",
        "26 more": "= 86 - 60",
        "in 19 of 100": "= 91 / 483",
    },
    "french": {
        "a row of 96": "the length of the rows, a literal of the training cell",
        "costs 0.04": "= 1.45 - 1.41",
        "others 4.3 %": "printed in *The word between two words*",
        "138 GB": "Martin et al. 2020: the list of sources says it",
    },
    "inside": {
        "all 72 maps": "= 6 * 12",
        "31 of 72": "= 72 - 41",
        "in 67": "printed for six layers above",
        "make 120 pairs": "= 16 * 15 / 2",
        "A cosine of .997": "bert prints it, as the section's first paragraph says with a link",
        "not at 256": "the length in Sentences, the last chapter",
        "found 40 %": "printed in *Cut here*: after 0 layers",
    },
    "mlm": {
        "84.3 with": "the table above, of Devlin et al.",
        "against 84.2": "the table above, of Devlin et al.",
        "costs 0.9 points": "= 94.9 - 94.0",
        "differences of 0.2": "= 95.4 - 95.2",
        "Treat 80/10/10": "the rule of the first section",
        "and 85 % of": "= 1 - 0.15",
        "counts, 85 %": "= 1 - 0.15",
        "common, 5.2 %": "printed in the next section",
        "reports 10.4": "ln 30,522 = 10.33, and a little above",
        "than 80 %": "the limit that the section tests",
        "too, 15 %": "the share of the first section",
        "of 32 rows": "batch_size of results/minilm-mlm.json",
        "of 7 MB": "= 7460308 / 1e6",
    },
    "nsp": {
        "right 65 or 80 %": "between the rules of the table: less than 84 %",
        "gives 0.125": "= 1 / 64 ** 0.5",
        "at 55 to 59 %": "the ends of the four runs in results/nsp-seeds.json: 55.1 and 58.8",
        "90.5 % on that task": "ALBERT, Lan et al. 2020, table 5: in the list of sources",
        "86.5 % on order": "ALBERT, Lan et al. 2020, table 5: in the list of sources",
        "78.9 % on next": "ALBERT, Lan et al. 2020, table 5: in the list of sources",
        "its 58 % here": "printed in *What no training achieves*",
        "95 % and more": "a symptom, not a measurement",
        "loss 0.69": "ln 2, printed in its section",
        "above 0.69": "ln 2, printed in its section",
    },
    "pretraining": {
        "in 14,000": "= 9000 + 5000",
        "ln V is 10.3": "ln 30,522",
        "109 tokens": "= 1162187 / 10661",
        "layers of 192": "the command below",
        "1/√192 = 0.07": "= 1 / 192 ** 0.5",
        "falls by 1.3": "= 6.19 - 4.93",
        "leave 55 %": "the bet's own limit",
        "rate of 0.0025 instead of 0.003": "learning_rate of the two records",
        "2,048 pairs": "the card of leads-small: 2,048 pairs each",
        "step 150": "= 50 + 100",
        "about 13": "= 40 * (0.9 * 128 + 0.1 * 512) / 512",
        "one in 45": "= 9000 / 200",
        "in 25": "= 5000 / 200",
        "40 to 60 times": "110.1 M over 2.7 M and over 1.8 M, to the ten",
        "its 16 GB": "the maker's data sheet",
        "1.5 million": "= 500 * 32 * 96 / 1e6",
    },
    "primer": {"64 points": "a literal of *A gradient says which way is down*"},
    "qa-training": {
        "15,871 questions": "the card of minilm-qa",
        "1,438": "= 1254 + 184",
        "2,812 questions": "= 1254 + 184 + 601 + 82 + 605 + 86",
        "87,599 questions": "Rajpurkar, Jia and Liang 2018, table 2, in the sources",
        "16 of exact": "= 61.7 - 45.9",
        "an F1 of 60": "= 59.5",
        "rate (6e-4)": "a literal of the run above",
        "points of 74": "= 73.9",
        "and 28 after": "= 68.0 - 39.8",
        "of 44": "= 88 / 2",
        "tokens 0 to 49, 30 to 79 and 60 to 99": "= 30 + 50 - 1",
        "48 to 51": "the exercise's own numbers",
        "at column 28": "= 48 - 30 + 10",
    },
    "qa": {"to 19.20": "= -0.80 + 20"},
    "sentences": {
        "the 299 other": "= 300 - 1",
        "BERT vectors 55": "Reimers and Gurevych 2019, table 1, in the sources",
        "the 31 strangers": "= 32 - 1",
        "other 382": "= 384 - 2",
        "and 15 GB": "= 1e7 * 384 * 4 / 1e9",
        "at most 17 %": "printed in *Everything resembles everything*: [CLS] after 5 layers",
        "after 512 tokens": "BERT's number of positions",
        "of 0.19": "= 2.718281828 / (2.718281828 + 31 / 2.718281828)",
        "temperature of 0.05": "the temperature of *A contrast of thirty-two*",
    },
    "ship": {
        "a register of 16": "= 2 * 8",
        "model's 512": "BERT's number of positions",
        "all 512": "BERT's number of positions",
        "at 32,767": "= 2 ** 15 - 1",
        "on 200 questions": "the section's first paragraph, held by the record",
        "to 12 %": "= 1.12 - 1",
        "loses 16 %": "= 1 - 0.84",
        "0.1 apart": "= 78.55 - 78.45",
        "32 questions": "= 332 - 300",
        "31 others": "= 32 - 1",
        "since 2.6": "a version",
        "times 64 is 32,640": "= 2 * 255 * 64",
        "up to 64": "= (2 ** 15 - 1) // (2 * 255)",
        "20, 40": "= 2 * 20",
        "160 ms": "= 8 * 20",
        "wait 55": "= 20 + 7 * 5",
    },
    "tagging": {
        "416": "= 404 + 12",
        "*December 19*": "quoted text",
        "424 spans are read, 404 of": "= 416 + 8",
        "2 · 404 / (416 + 424)": "= 416 + 8",
        "would get 96": "= 100 * 2 * 404 / (416 + 424)",
        "first 48 tokens": "LENGTH of the record's cell",
        "about 15 to": "= (48.8 + 63.0 + 65.9 - 34.7 - 47.4 - 49.7) / 3",
        "worth 0.3": "= 96.4 - 96.1",
    },
    "texts": {"at 70 characters": "an example"},
    "tokens": {
        "first 479 merges": "= 1024 - 545",
        "31 neighbours": "= 32 - 1",
    },
    "training": {
        "of 39 %": "= 1 - 0.607",
        "2,000 times": "= 1000000 / 500",
        "to 511": "= 512 - 1",
        "advise 2e-5": "google-research/bert's readme, on further pre-training",
        "step 501": "= 500 + 1",
        "takes 1.3 GB": "= 3 * 4 * 110e6 / 1e9",
        "at 0.008": "= 0.01 * (150 - 30) / 150",
        "other's at 0.0027": "= 0.01 * (150 - 110) / 150",
    },
    "welcome": {"15 % of the tokens": "the share that Masked language modelling chooses"},
    "data": {
        "and 6,239 entries": "= 5606 + 312 + 321",
        "90 % to train on, 5 % to choose by, 5 % to test on": "the hash's shares",
        "| 360 |": "the titles of each split in minibert/leadqa",
        "| 170 |": "the titles of each split in minibert/leadqa",
        "15,871": "the card of minilm-qa",
        "22,713,216": "the parameters of MiniLM, as Counting parameters prints them",
    },
    "glossary": {
        "middle 95 %": "a convention",
        "10,033 of them": "data.md counts them",
        "512 of them": "BERT's number of positions",
    },
    "questions": {
        "of 384": "the width of MiniLM",
        "of 192": "the width of leads-small",
        "of 768": "the width of BERT-base",
        "and 1.10 with": "French prints it: MiniLM's pieces on English",
        "and 74 with": "Three embeddings prints it as .74",
        "against 83": "Three embeddings prints it as .83",
        "23,440,896 numbers": "= 30522 * 768",
        "to 110 million": "the question is about it",
        "within 0.1 %": "Counting prints it as a check",
        "like 12.7": "an example",
        "after 20 steps": "a line of *Sixteen rows by heart*",
        "14,000 steps": "= 9000 + 5000",
        "with 1.2 million": "= 1162187 / 1e6",
        "and 64 %": "Fine-tuning prints right 64%",
        "cost the answerable 0.3 points": "= 73.9 - 73.6",
        "most 17.3 %": "sentences prints it: [CLS] after 5 layers",
        "of 256 tokens took 0.281 s, and 0.150 s": "the thread that *asked* links to",
        "took 2.3 s": "the thread that *asked* links to",
        "On 44 cores": "= 2 * 22",
        "0.35 s": "the thread that *asked* links to",
        "0.09 s": "the thread that *asked* links to",
        "0.11 s": "the thread that *asked* links to",
        "batches of 128": "the thread that *asked* links to",
        "are 52 %": "= (19.5 - 9.4) / 19.5",
        "than 1e-4": "a limit, not a measurement",
        "above 0.15": "the share that Masking chooses",
        "119,547 pieces": "= 30522 + 89025",
    },
    "transformers": {"with −100": "the value of IGNORE"},
    "README": {
        "77 MB": "the locked versions' files, as their RECORDs list them",
        "66 MB": "the locked versions' files, as their RECORDs list them",
        "92 MB": "the locked versions' files, as their RECORDs list them",
        "220 MB": "the locked versions' files, as their RECORDs list them",
        "21 MB": "the locked versions' files, as their RECORDs list them",
        "10,033": "book/data.md counts them",
    },
}


@dataclass
class Number:
    """A number as it is written."""

    match: re.Match[str]
    measured: bool = False
    about: bool = False
    share: bool = False

    def __post_init__(self) -> None:
        digits = self.match[1].replace(",", "")
        power = float(f"1{self.match[2] or ''}")
        self.text, self.unit = self.match[0], (self.match[3] or "%" * self.share).strip()
        self.whole = "." not in digits and not self.match[2]
        self.value = float(digits) * power
        self.significant = len(digits.replace(".", "").lstrip("0"))
        written = len(digits.partition(".")[2])
        if self.whole and self.about:
            written = len(digits.rstrip("0")) - len(digits)
        exact = self.whole and not (self.unit or self.measured or self.about)
        self.off = 0 if exact else power * 10.0**-written / 2


def numbers(text: str) -> Iterator[Number]:
    """The numbers of a text, with what their neighbours say of them."""
    for match in NUMBER.finditer(text):
        measured, share = (one.match(text, match.end()) for one in (MEASURE, IN_A_HUNDRED))
        about = ABOUT.search(text, 0, match.start())
        yield Number(match, bool(measured), bool(about), bool(share))


@dataclass
class Pool:
    """Numbers that may hold others."""

    plain: list[float] = field(default_factory=list)
    percent: list[float] = field(default_factory=list)

    def read(self, text: str) -> None:
        """Take the numbers of a text."""
        for one in numbers(text):
            (self.percent if one.unit == "%" else self.plain).append(one.value)
            if one.unit in SCALES:
                self.plain.append(one.value * SCALES[one.unit])

    def ready(self) -> Pool:
        self.plain, self.percent = sorted(set(self.plain)), sorted(set(self.percent))
        return self

    def hold(self, one: Number) -> bool:
        """Is there a number that rounds to this one?"""

        def near(found: list[float], scale: float = 1.0) -> bool:
            value, off = scale * one.value, scale * (one.off + 1e-9 * one.value)
            place = bisect_left(found, value - off)
            return place < len(found) and found[place] <= value + off

        if near(self.plain) or near(self.percent):
            return True
        if one.unit == "%":
            return near(self.plain, 0.01)
        if one.unit in SCALES:
            return near(self.plain, SCALES[one.unit])
        return one.value <= 1 and near(self.percent, 100)


class Piece(NamedTuple):
    """A code cell, or prose between two headings, below its headings."""

    headings: tuple[tuple[int, str], ...]  # (level, anchor), outermost first
    content: NotebookNode | str

    @property
    def section(self) -> str:
        """The anchor of the section that it stands in; empty above the first."""
        return next((name for level, name in self.headings if level == 2), "")


@cache
def pieces(path: Path) -> list[Piece]:
    """A page in pieces, from top to bottom."""
    cells: list[NotebookNode | str] = [path.read_text(encoding="utf-8")]
    if path.suffix == ".ipynb":
        both = nbformat.read(path, as_version=4).cells
        cells = [cell if cell.cell_type == "code" else cell.source for cell in both]
    found, above = [], []
    for cell in cells:
        if not isinstance(cell, str):
            found.append(Piece(tuple(above), cell))
            continue
        text = re.sub(r"^ *```.*?^ *```", "", cell, flags=re.M | re.S)
        text = re.sub(r"<[^>]*>", "", text)
        text = re.sub(r"`[^`]+`", "`code`", re.sub(r"\$\$.*?\$\$|\$[^$\n]+\$", "`formula`", text))
        for part in re.split(r"^(?=#{1,4} )", text, flags=re.M):
            if heading := re.match(r"(#+) (.+)", part):
                above = [one for one in above if one[0] < len(heading[1])]
                above.append((len(heading[1]), slug(heading[2])))
            found.append(Piece(tuple(above), part))
    return found


def printed(cell: NotebookNode) -> str:
    """What a cell prints, and the alternative text of its picture."""
    parts = [cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")]
    for output in cell.outputs:
        data = output.get("data", {})
        parts += [output.get("text", ""), data.get("text/plain", ""), data.get("text/markdown", "")]
        table = re.sub(r"<style.*?</style>", "", data.get("text/html", ""), flags=re.S)
        parts.append(re.sub(r"<[^>]*>", " ", table))
    return "\n".join(parts)


def parsed(source: str) -> ast.Module:
    """The code of a cell, in which commands of the notebook do nothing."""
    return ast.parse(re.sub(r"^( *)[%!].*$", r"\1pass", source, flags=re.M))


def literals(pool: Pool, source: str) -> None:
    """Take the numbers in code, and those in its strings that a reader sees as text."""
    tree = parsed(source)
    formats = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FormattedValue) and node.format_spec
        for inner in ast.walk(node.format_spec)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in formats:
            if isinstance(node.value, str):
                pool.read(node.value)
            elif type(node.value) in (int, float):
                pool.plain.append(float(node.value))


@cache
def pools(path: Path, anchor: str = "") -> dict[str, Pool]:
    """The numbers of a page, or of one of its sections."""
    found = {kind: Pool() for kind in ("output", "code", "prose")}
    for headings, content in pieces(path):
        if anchor and anchor not in (name for _, name in headings):
            continue
        if isinstance(content, str):
            found["prose"].read(LINK.sub(r"\1", content))
        elif "remove-cell" not in content.metadata.get("tags", []):
            found["output"].read(printed(content))
            literals(found["code"], content.source)
    return {kind: pool.ready() for kind, pool in found.items()}


@cache
def file_pool(path: Path) -> Pool:
    """The numbers of a file of the repository; of an experiment, also its record's."""
    pool = Pool()
    if path.parent.name == "experiments":
        record = ROOT / "results" / f"{path.stem.replace('_', '-')}.json"
        if record.is_file():
            pool = file_pool(record)
    if path.is_file():
        pool.read(path.read_text(encoding="utf-8"))
    return pool.ready()


def linked(path: Path, target: str) -> Iterator[Pool]:
    """What a link inside the book or the repository leads to."""
    if target.startswith(f"{REPOSITORY}/blob/main/"):
        yield file_pool(ROOT / target.removeprefix(f"{REPOSITORY}/blob/main/"))
    elif "://" not in target:
        name, _, anchor = target.partition("#")
        page = path.parent / name if name else path
        if page.suffix in (".ipynb", ".md") and page.is_file() and (page != path or anchor):
            yield from pools(page, anchor).values()


def outward(text: str, works: frozenset[str]) -> bool:
    """Does a text name a work, by a link out of the book or by author and year?"""
    links = [target for _, target in LINK.findall(text)]
    named = works and any(match[1] in {*works, None} for match in WORK.finditer(text))
    return named or any("://" in one and not one.startswith(REPOSITORY) for one in links)


@cache
def works(path: Path) -> frozenset[str]:
    """The authors (and what else stands before a link) in the lists of a page and the book."""
    lists = [p.content for p in pieces(path) if "sources" in {name for _, name in p.headings}]
    lists.append((BOOK / "bibliography.md").read_text(encoding="utf-8"))
    lines = re.findall(r"^- ([^\[\n]+)\[", "\n".join(map(str, lists)), re.M)
    return frozenset(re.findall(r"\b[A-Z]\w+", "\n".join(lines)))


class Told(NamedTuple):
    """A number in prose: where it stands, and what holds it there."""

    path: Path
    number: Number
    sentence: str
    place: tuple

    def held(self, number: Number | None = None) -> str:
        """What holds the number, or another one in its place; empty when nothing does."""
        one = number or self.number
        before = self.sentence[: self.number.match.start()]
        if one.whole and not one.unit and one.value <= 12:
            return "count"
        if re.fullmatch("19[5-9][0-9]|20[0-3][0-9]", one.text) and DATING.search(before):
            return "year"
        after = self.sentence[self.number.match.end() :]
        if REFERENCE.search(before) or NAMES.match(after):
            return "reference"
        anchor, links, cited, guess = self.place
        cells = pools(self.path, anchor)
        for kind in ("output", "code"):
            if cells[kind].hold(one):
                return kind
        whole = pools(self.path)
        if one.significant > 2 and (whole["output"].hold(one) or whole["code"].hold(one)):
            return "page"
        if any(pool.hold(one) for link in links for pool in linked(self.path, link)):
            return "link"
        return "guess" if guess else "source" if cited else ""


def sentences(line: str) -> Iterator[str]:
    """A line's sentences; a link stays whole."""
    inside = [match.span() for match in LINK.finditer(line)]
    start = 0
    for end in END.finditer(line):
        if not any(a < end.start() < b for a, b in inside):
            yield line[start : end.end()]
            start = end.end()
    yield line[start:]


def told(path: Path) -> Iterator[Told]:
    """Every number in the prose of a page."""
    chapter = path.suffix == ".ipynb"
    above = ""  # the paragraph above, or what stands above a table
    for piece in pieces(path):
        headings, content = piece
        if not isinstance(content, str) or "sources" in {name for _, name in headings}:
            continue
        anchor = piece.section
        section = [target for _, target in LINK.findall(content)]
        for paragraph in re.split(r"\n\s*\n", content):
            table = paragraph.startswith("|")
            of_table = table and outward(above, works(path))
            bet = paragraph.startswith("> **Bet.**")
            for line in re.split(r"\n(?=\s*(?:[-|*]|\d+\.) ?)", paragraph):
                links = [target for _, target in LINK.findall(line)] if chapter else section
                parts = list(sentences(line))
                offered = False
                for before, part in zip(["", *parts], parts, strict=False):
                    cited = of_table or outward(before + part, works(path))
                    offered = offered or (bet and ("(a)" in part or "?" in part))
                    sentence = LINK.sub(r"\1", part)
                    for one in numbers(sentence):
                        yield Told(path, one, sentence, (anchor, links, cited, offered))
            above = above if table else paragraph


def excepted(one: Told) -> str:
    """The words of the exception that the number is in; empty when there is none."""
    start, end = one.number.match.span()
    for words in EXCEPTIONS.get(one.path.stem, {}):
        for match in re.finditer(re.escape(words), one.sentence):
            if match.start() < end and start < match.end():
                return words
    return ""


ALL = {path: list(told(path)) for path in PAGES}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_number_in_prose_is_held(path: Path) -> None:
    lost = [one for one in ALL[path] if not one.held() and not excepted(one)]
    assert not lost, "\n".join(f"{one.number.text} in: {one.sentence.strip()}" for one in lost)


def test_every_exception_is_needed_and_its_sum_is_right() -> None:
    needed: dict[tuple[str, str], list[Number]] = {}
    for path, found in ALL.items():
        for one in found:
            if not one.held() and (words := excepted(one)):
                needed.setdefault((path.stem, words), []).append(one.number)
    asked = {(page, words) for page, some in EXCEPTIONS.items() for words in some}
    assert asked == set(needed), asked ^ set(needed)
    for (page, words), found in needed.items():
        reason = EXCEPTIONS[page][words]
        if reason.startswith("="):
            value = float(eval(reason[1:], {"__builtins__": {}}))
            pool = Pool([value]).ready()
            loose = [Number(x.match, True, x.about, x.share) for x in found]
            assert any(pool.hold(one) for one in loose), (page, words, value)


def changed(one: Number, dice: random.Random) -> Number | None:
    """The number with one digit changed."""
    text = one.match[0]
    place = dice.choice([at for at, sign in enumerate(text) if sign.isdigit()])
    digit = dice.choice([d for d in "123456789" if d != text[place]])
    match = NUMBER.fullmatch(text[:place] + digit + text[place + 1 :])
    return match and Number(match, one.measured, one.about, one.share)


def test_a_wrong_digit_is_found() -> None:
    """Of all that is looked up, and of three digits or more, what share is caught?"""
    dice, caught = random.Random(0), {False: Counter(), True: Counter()}
    for one in (one for found in ALL.values() for one in found):
        if one.held() in LOOKED_UP and (wrong := changed(one.number, dice)):
            caught[one.number.significant > 2][not one.held(wrong)] += 1
    shares = {long: seen[True] / seen.total() for long, seen in caught.items()}
    assert shares[True] > 0.80 and shares[False] > 0.60, shares


def test_what_each_rule_lets_through() -> None:
    """Most numbers are looked up; the rules that ask nothing must not grow."""
    seen = Counter(one.held() or "exception" for found in ALL.values() for one in found)
    whole = seen.total() - seen["count"]
    assert sum(seen[kind] for kind in LOOKED_UP) > 0.78 * whole, seen
    assert seen["source"] + seen["guess"] + seen["reference"] + seen["year"] < 0.10 * whole, seen
    assert seen["exception"] < 0.12 * whole, seen
