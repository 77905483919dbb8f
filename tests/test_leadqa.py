"""LeadQA keeps what its datasheet promises."""

import json
import re
from collections import Counter
from importlib import resources
from itertools import pairwise
from pathlib import Path

import pytest
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from minibert.data import lead, leads, sentences, split_of
from minibert.squad import Question, leadqa_pages, load_leadqa, write_squad

SPLITS = ("train", "dev", "test")
FILE = resources.files("minibert") / "leadqa" / "leadqa.jsonl"
ROWS = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
ANSWERED = [row for row in ROWS if row["answer"] is not None]


def content_words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower())) - ENGLISH_STOP_WORDS


def sentence_of(text: str, start: int) -> str:
    """The sentence of a text that a character is in."""
    begins = [0]
    for one in sentences(text):
        begins.append(text.index(one, begins[-1]) + len(one))
    return next(text[a:b] for a, b in pairwise(begins) if a <= start < b)


def test_each_row_is_well_formed():
    for row in ROWS:
        keys = ["id", "split", "title", "question", "answer", "answer_start"]
        assert list(row) == keys
        assert row["split"] == split_of(row["title"]), row
        assert row["question"].endswith("?") and row["question"][0].isupper(), row
        assert row["question"] == " ".join(row["question"].split()), row
        assert (row["answer"] is None) == (row["answer_start"] is None), row
    assert len({row["id"] for row in ROWS}) == len(ROWS)
    assert len({row["question"].lower() for row in ROWS}) == len(ROWS)


def test_answers_are_short_spans_of_the_lead():
    whole = 0
    for row in ANSWERED:
        text, answer, start = lead(row["title"]).text, row["answer"], row["answer_start"]
        assert text[start : start + len(answer)] == answer, row
        assert answer == answer.strip() and answer[-1] not in ".,;:!?", row
        assert len(answer) <= 90, row
        assert not re.match(r"\w", text[start + len(answer) :]), f"ends in a word: {row}"
        assert not re.search(r"\w$", text[:start]), f"begins in a word: {row}"
        whole += answer in (one.rstrip(".") for one in sentences(text))
    assert whole == 0
    words = sorted(len(row["answer"].split()) for row in ANSWERED)
    assert words[len(words) // 2] <= 3


def test_there_are_as_many_as_promised():
    assert len(ANSWERED) >= 2000
    assert len(ROWS) - len(ANSWERED) >= 200
    assert len({row["title"] for row in ROWS}) >= 500
    assert {lead(row["title"]).topic for row in ROWS} == {one.topic for one in leads("train")}
    answered = Counter(row["split"] for row in ANSWERED)
    assert min(answered[split] for split in ("dev", "test")) >= 300


def test_questions_are_worded_in_many_ways():
    openings = Counter(" ".join(row["question"].lower().split()[:3]) for row in ROWS)
    assert openings.most_common(1)[0][1] <= 0.05 * len(ROWS)
    kinds = ["who", "what", "when", "where", "how many", "which", "why", "how"]
    for kind in kinds:
        asked = sum(row["question"].lower().startswith(kind) for row in ROWS)
        assert asked >= 50, kind


def test_questions_do_not_repeat_the_sentence_that_answers_them():
    alike = 0
    for row in ANSWERED:
        words = content_words(row["question"])
        there = content_words(sentence_of(lead(row["title"]).text, row["answer_start"]))
        alike += len(words & there) > len(words) / 2
    assert alike <= len(ANSWERED) / 3


@pytest.mark.parametrize("split", SPLITS)
def test_it_loads(split):
    questions = load_leadqa(split)
    assert len(questions) == sum(row["split"] == split for row in ROWS)
    for one in questions:
        for answer, start in zip(one.answers, one.starts, strict=True):
            assert one.context[start : start + len(answer)] == answer


def test_another_split_is_refused():
    with pytest.raises(ValueError, match="'validation'"):
        load_leadqa("validation")


@pytest.mark.parametrize("split", ["dev", "test"])
def test_pages_are_eight_leads_with_the_answer_in_place(split):
    texts = {one.text for one in leads(split)}
    pages = leadqa_pages(split)
    assert len(pages) == 100 and pages == leadqa_pages(split)
    places = Counter()
    for one in pages:
        parts = one.context.split("\n\n")
        own = lead(one.title).text
        assert len(parts) == 8 + own.count("\n\n") and own in one.context
        assert set(parts) <= texts
        [answer], [start] = one.answers, one.starts
        assert one.context[start : start + len(answer)] == answer
        places[parts.index(own)] += 1
    assert len(places) == 8


def test_too_many_pages_are_refused():
    with pytest.raises(ValueError, match="count is 10000"):
        leadqa_pages("dev", 10_000)


def test_squad_file_says_the_same(tmp_path):
    questions = load_leadqa("dev")
    write_squad(questions, tmp_path / "dev.json")
    said = json.loads((tmp_path / "dev.json").read_text(encoding="utf-8"))
    back = [
        Question(
            asked["id"], article["title"], asked["question"], paragraph["context"],
            tuple(x["text"] for x in asked["answers"]),
            tuple(x["answer_start"] for x in asked["answers"]),
        )
        for article in said["data"]
        for paragraph in article["paragraphs"]
        for asked in paragraph["qas"]
    ]  # fmt: skip
    assert back == questions
    flags = [q["is_impossible"] for a in said["data"] for p in a["paragraphs"] for q in p["qas"]]
    assert flags == [not one.answers for one in questions]


def test_squad_file_refuses_an_answer_out_of_place(tmp_path):
    one = load_leadqa("dev")[0]
    with pytest.raises(ValueError, match="stands"):
        write_squad([one._replace(starts=(one.starts[0] + 1,))], tmp_path / "x.json")
    assert not (tmp_path / "x.json").exists()


def test_the_data_page_counts_right():
    page = (Path(__file__).parents[1] / "book" / "data.md").read_text(encoding="utf-8")
    for split in SPLITS:
        own = [row for row in ROWS if row["split"] == split]
        answered = sum(row["answer"] is not None for row in own)
        titles = len({row["title"] for row in own})
        line = f"| {split} | {titles} | {answered:,} | {len(own) - answered} |"
        assert line in page
