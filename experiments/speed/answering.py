"""Answers to questions: ours, and the loop of transformers' documentation."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from minibert.exported import FLOAT
from minibert.exporting import export
from minibert.files import resolve
from minibert.heads import BertForQuestionAnswering
from minibert.loading import load
from minibert.qa import answer_all
from minibert.squad import Question, load_leadqa
from minibert.windows import find_tokens
from speed.instructions import NOT_HELD, held_to_avx2
from speed.models import twin
from speed.timing import Array, Here, Row, Sides, Size, There, compared, missing

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
Score = Callable[[dict[str, Array]], tuple[Array, Array]]


def features(questions: list[Question], tokenizer: Any, padding: str | bool, answers: bool) -> Any:
    """Lay questions out as their documentation does: windows of 384 tokens."""
    made = tokenizer(
        [x.question for x in questions], [x.context for x in questions], max_length=384,
        truncation="only_second", stride=128, return_overflowing_tokens=True,
        return_offsets_mapping=True, padding=padding,
    )  # fmt: skip
    if answers:
        starts, ends = [], []
        for i, owner in enumerate(made["overflow_to_sample_mapping"]):
            question, first, last = questions[owner], 0, 0
            if question.answers:
                begin, end = question.starts[0], question.starts[0] + len(question.answers[0])
                pairs = zip(made.sequence_ids(i), made["offset_mapping"][i], strict=True)
                offsets = [tuple(place) if part == 1 else (0, 0) for part, place in pairs]
                first, last = find_tokens(offsets, begin, end) or (0, 0)
            starts.append(first)
            ends.append(last)
        made["start_positions"], made["end_positions"] = starts, ends
    return made


def loop(
    questions: list[Question], tokenizer: Any, score: Score, best: int = 20, longest: int = 30
) -> list[str]:
    """Answer as their documentation does; `score` gives start and end of 16 windows."""
    made = features(questions, tokenizer, "max_length", answers=False)
    starts: list[Array] = []
    ends: list[Array] = []
    for at in range(0, len(made["input_ids"]), 16):
        start, end = score({key: np.array(made[key][at : at + 16]) for key in INPUTS})
        starts += list(start)
        ends += list(end)
    best_of: dict[int, tuple[float, str]] = {}
    for i, owner in enumerate(made["overflow_to_sample_mapping"]):
        text, offsets = questions[owner].context, made["offset_mapping"][i]
        parts = made.sequence_ids(i)
        for first in np.argsort(starts[i])[-1 : -best - 1 : -1].tolist():
            for last in np.argsort(ends[i])[-1 : -best - 1 : -1].tolist():
                if not (parts[first] == parts[last] == 1) or not 0 <= last - first < longest:
                    continue
                total = starts[i][first] + ends[i][last]
                if total > best_of.get(owner, (-1e9, ""))[0]:
                    best_of[owner] = total, text[offsets[first][0] : offsets[last][1]]
    return [best_of.get(i, (0.0, ""))[1] for i in range(len(questions))]


def by_torch() -> Score:
    """Their model, in torch."""
    theirs = twin(
        load("minilm-qa", BertForQuestionAnswering, "cpu")[0],
        transformers.BertForQuestionAnswering,
    )

    def score(rows: dict[str, Array]) -> tuple[Array, Array]:
        with torch.no_grad():
            output = theirs(**{name: torch.from_numpy(x) for name, x in rows.items()})
        return output.start_logits.numpy(), output.end_logits.numpy()

    return score


def by_onnx(folder: Path) -> Score:
    """ONNX Runtime, on the exported model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(folder / FLOAT, options)
    return lambda rows: tuple(session.run(["start_logits", "end_logits"], rows))


def side(what: str, size: int, parts: int) -> Here:
    """Make a side of it: ours, or their loop with "torch" or the folder of an exported model."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    questions = [x for x in load_leadqa("dev") if x.answers][:size]
    if what == "ours":
        model = load("minilm-qa", BertForQuestionAnswering, "cpu")

        def answers(questions: list[Question]) -> list[str]:
            return [answer.text for answer in answer_all(questions, model=model)]
    else:
        tokenizer = transformers.AutoTokenizer.from_pretrained(resolve("minilm"))
        score = by_torch() if what == "torch" else by_onnx(Path(what))

        def answers(questions: list[Question]) -> list[str]:
            return loop(questions, tokenizer, score)

    turns = count()

    def work() -> float:
        part = questions[next(turns) % parts :: parts]
        answers(part)
        return len(part)

    return Here(work, lambda: np.array(answers(questions[:32])))


def rows(size: Size) -> list[Row]:
    """Both rows of answering; a part of the questions in each round."""
    name = f"answering {size.questions} questions, against transformers' documented loop"
    peers = {"torch": (name, 2.5)}
    left_out = []
    with tempfile.TemporaryDirectory() as aside, Sides() as sides:
        how = size.questions, size.rounds
        sides["ours"], sides["torch"] = side("ours", *how), side("torch", *how)
        onnx = f"{name}, with ONNX Runtime", 1.2
        if held_to_avx2():
            left_out.append(missing(*onnx, NOT_HELD))
        else:
            export("minilm-qa", aside)
            sides["onnx"] = There("speed.answering:side", what=aside, size=how[0], parts=how[1])
            peers["onnx"] = onnx
        mine = sides["ours"].check()
        for short in peers:
            if (mine != sides[short].check()).any():
                raise ValueError(f"not the same answers as with {short}")
        return compared(size, sides, peers) + left_out
