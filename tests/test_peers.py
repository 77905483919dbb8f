"""What transformers 4.57.6 said (`make peers`) is what we say."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from minibert.config import BertConfig
from minibert.heads import BertForQuestionAnswering, QuestionAnsweringOutput
from minibert.qa import answer_all, best_threshold
from minibert.spans import Answer
from minibert.squad import Question, evaluate, load_leadqa
from minibert.tokens import Tokenizer
from minibert.windows import cut_windows

SAID = json.loads((Path(__file__).parent / "peers.json").read_text(encoding="utf-8"))
THEIRS = {
    "exact": "exact_match", "f1": "f1", "total": "count",
    "HasAns_exact": "answerable_exact_match", "HasAns_f1": "answerable_f1",
    "HasAns_total": "answerable_count", "NoAns_exact": "unanswerable_exact_match",
    "NoAns_f1": "unanswerable_f1", "NoAns_total": "unanswerable_count",
}  # fmt: skip


@pytest.mark.parametrize("case", SAID["metric"])
def test_scores_and_threshold_are_those_of_the_script_of_2_0(case):
    questions = [
        Question(str(i), "", "?", "", tuple(answers), (0,) * len(answers))
        for i, answers in enumerate(case["answers"])
    ]
    ours = evaluate(questions, case["predictions"], version="2.0")
    for name, mine in THEIRS.items():
        if name in case["scores"]:
            assert ours[mine] == pytest.approx(case["scores"][name]), name
    answers = [
        Answer(case["predictions"][one.id], 0, 0, 0.0, 0.5, case["no_answer"][one.id])
        for one in questions
    ]
    assert best_threshold(questions, answers)[1] == pytest.approx(case["best_f1"])


class MadeUp(BertForQuestionAnswering):
    """A model whose scores are those that their post-processing was given."""

    def __init__(self, questions, tokenizer, length, stride):
        super().__init__(
            BertConfig(
                vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
                intermediate_size=8,
            )
        )  # fmt: skip
        self.places = {}
        for number, one in enumerate(questions):
            windows = cut_windows(one.question, one.context, tokenizer, length, stride)
            for window, row in enumerate(windows.rows):
                self.places[tuple(row["input_ids"])] = number, window
        self.length = length

    def forward(self, input_ids, attention_mask, token_type_ids):
        rows = [
            np.random.default_rng(self.places[tuple(ids[mask == 1].tolist())]).normal(
                size=(2, self.length)
            )
            for ids, mask in zip(input_ids, attention_mask, strict=True)
        ]
        scores = 3 * torch.tensor(np.array(rows))[:, :, : input_ids.shape[1]]  # (B, 2, S)
        return QuestionAnsweringOutput(None, *scores.unbind(1))


def squeezed(text):
    return "".join(text.split())


def whole_words(one, found):
    """Widen an answer to the spaces around it, as theirs does within a word."""
    if not found.text:
        return ""
    before = re.search(r"\S*$", one.context[: found.start])[0]
    after = re.match(r"\S*", one.context[found.end :])[0]
    return squeezed(before + found.text + after)


def test_spans_are_those_of_their_post_processing():
    """On the same windows and scores; of none too, at threshold 0."""
    cases = SAID["decoding"]
    by_id = {one.id: one for one in load_leadqa("dev")}
    questions = [by_id[case["id"]] for case in cases]
    tokenizer = Tokenizer.from_pretrained("minilm")
    length, stride = SAID["length"], SAID["stride"]
    model = MadeUp(questions, tokenizer, length, stride).eval()
    for case, one in zip(cases, questions, strict=True):
        windows = cut_windows(one.question, one.context, tokenizer, length, stride)
        assert len(windows.rows) == case["windows"]
    how = {"longest": SAID["longest"], "max_length": length, "doc_stride": stride}
    for name, threshold in [("text", None), ("or_none", 0.0)]:
        found = answer_all(questions, model=(model, tokenizer), threshold=threshold, **how)
        for one, mine, case in zip(questions, found, cases, strict=True):
            assert squeezed(case[name]) in (squeezed(mine.text), whole_words(one, mine)), mine


def test_answers_are_those_of_their_pipeline():
    """On leads, one window each. (On pages theirs lie elsewhere: its stride is an overlap.)

    Their score leaves out that spans must be possible, so ours is never below it.
    """
    cases = SAID["pipeline"]
    by_id = {one.id: one for one in load_leadqa("dev")}
    found = answer_all([by_id[case["id"]] for case in cases], longest=30)
    for case, mine in zip(cases, found, strict=True):
        assert (mine.start, mine.end) == (case["start"], case["end"])
        assert mine.probability > case["score"] - 1e-4
