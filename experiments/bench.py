"""Speed against the references, side by side in one run, into results/bench.json.

    python experiments/bench.py

Rows are of 32 x 128 tokens where nothing else is said. Each times two things in turn,
round after round, so that both meet the same busy machine. `ratio` is the median of theirs
over ours, round by round: above 1, ours is faster (a share of plain matmul lies below 1).
`spread` is the middle half. No ratio may lie below its `floor`; a test holds the record to
that.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from statistics import median
from typing import Any

import numpy as np
import torch
import transformers
from record import RESULTS, circumstances
from sentence_transformers import SentenceTransformer

from minibert.bert import BertModel
from minibert.config import BertConfig
from minibert.data import leads, sentences
from minibert.files import resolve
from minibert.finetuning import FineTuningData
from minibert.heads import BertForQuestionAnswering
from minibert.huggingface import to_huggingface
from minibert.loading import load
from minibert.mlm import Masking
from minibert.pretraining import BertForPreTraining
from minibert.qa import answer_all, question_rows
from minibert.sentences import embed
from minibert.squad import Question, load_leadqa
from minibert.steps import make_optimiser
from minibert.tokens import Tokenizer
from minibert.training import TrainingConfig
from minibert.vocabulary import SPECIAL
from minibert.windows import find_tokens

os.environ["MINIBERT_DEVICE"] = "cpu"  # both sides of a row belong on one device
RECORD = RESULTS / "bench.json"
BATCH, LENGTH, ROUNDS = 32, 128, 11
Work = Callable[[], object]


def seconds(work: Work) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def row(
    name: str, floor: float, ours: Work, theirs: Work, rounds: int = ROUNDS
) -> dict[str, object]:
    """Time two calls in turn; who goes first changes from round to round."""
    ours(), theirs()
    a, b = [], []
    for turn in range(rounds):
        for work, times in [(ours, a), (theirs, b)][:: 1 if turn % 2 else -1]:
            times.append(seconds(work))
    ratios = sorted(y / x for x, y in zip(a, b, strict=True))
    return {
        "name": name,
        "ratio": round(median(ratios), 3),
        "spread": [round(ratios[len(ratios) // 4], 3), round(ratios[-1 - len(ratios) // 4], 3)],
        "floor": floor,
        "ours_seconds": round(median(a), 4),
        "theirs_seconds": round(median(b), 4),
        "rounds": rounds,
    }


def forward() -> dict[str, object]:
    """BertModel in MiniLM's size on padded rows, without gradients."""
    sizes = size(6, 384) | {"num_attention_heads": 12}
    ours = BertModel(BertConfig(**sizes)).eval()
    theirs = transformers.BertModel(transformers.BertConfig(**sizes)).eval()
    theirs.load_state_dict(to_huggingface(ours.state_dict()), strict=False)
    chance = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 30000, (BATCH, LENGTH), generator=chance)
    lengths = torch.randint(LENGTH // 2, LENGTH + 1, (BATCH, 1), generator=chance)
    real = (torch.arange(LENGTH) < lengths).long()
    name = "forward, 6 layers of 384, against transformers"
    with torch.inference_mode():
        mine, other = ours(ids, real)[0], theirs(ids, attention_mask=real)[0]
        assert (mine - other)[real.bool()].abs().max() < 1e-4, "not the same model"
        return row(name, 1.0, lambda: ours(ids, real), lambda: theirs(ids, real))


def size(layers: int, hidden: int) -> dict[str, Any]:
    """Layers and width of a model with heads of 64, without dropout."""
    return {
        "hidden_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": hidden // 64, "intermediate_size": 4 * hidden,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    }  # fmt: skip


def update(
    model: torch.nn.Module, optimiser: torch.optim.Optimizer, loss: torch.Tensor,
    config: TrainingConfig,
) -> float:  # fmt: skip
    """Do what follows the loss, alike for both."""
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return float(loss.detach())


def pretraining(
    layers: int, hidden: int, vocabulary: int, floor: float
) -> Iterator[dict[str, object]]:
    """A whole step: masking, forward, backward, clipping, AdamW.

    Both get the same weights, rows and masks, so their losses agree. The second row is
    the time of the step's matrix products alone over the time of our step.
    """
    sizes = size(layers, hidden) | {"vocab_size": vocabulary}
    ours = BertForPreTraining(BertConfig(**sizes)).train()
    said = transformers.BertConfig(**sizes)
    theirs = transformers.BertForPreTraining(said).train()
    theirs.load_state_dict(to_huggingface(ours.state_dict()), strict=False)
    chance = torch.Generator().manual_seed(0)
    words = [*SPECIAL, *(f"w{i}" for i in range(vocabulary - len(SPECIAL)))]
    masking = Masking(Tokenizer(words))
    ids = torch.randint(5, vocabulary, (BATCH, LENGTH), generator=chance)
    pairs = torch.randint(2, (BATCH,), generator=chance)

    def step_of(model: torch.nn.Module) -> Work:
        config = TrainingConfig(steps=1, learning_rate=1e-4)
        optimiser = make_optimiser(model, config)
        draw = torch.Generator().manual_seed(1)

        def step() -> float:
            hidden = masking(ids, draw)
            loss = model(hidden.input_ids, labels=hidden.labels, next_sentence_label=pairs).loss
            return update(model, optimiser, loss, config)

        return step

    mine, other = step_of(ours), step_of(theirs)
    gaps = [abs(mine() - other()) for _ in range(3)]
    assert max(gaps) < 1e-3, f"the losses part: {gaps}"
    name = f"pre-training step, {layers} layers of {hidden}, V {vocabulary:,}"
    yield row(f"{name}, against transformers", floor, mine, other)
    yield row(f"{name}, share of plain matmul", 0.65, mine, products(layers, hidden, vocabulary))


def products(layers: int, hidden: int, vocabulary: int) -> Work:
    """The matrix products of one step, forward and twice backward, and nothing else."""
    rows, heads = BATCH * LENGTH, BATCH * hidden // 64
    chosen = int(0.15 * rows)
    shapes = layers * [
        (1, rows, hidden, 3 * hidden), (1, rows, hidden, hidden),
        (1, rows, hidden, 4 * hidden), (1, rows, 4 * hidden, hidden),
        (heads, LENGTH, 64, LENGTH), (heads, LENGTH, LENGTH, 64),
    ] + [(1, chosen, hidden, hidden), (1, chosen, hidden, vocabulary)]  # fmt: skip
    jobs = []
    for many, n, k, m in shapes:
        x, w, y = torch.randn(many, n, k), torch.randn(many, k, m), torch.randn(many, n, m)
        if many == 1:
            x, w, y = x[0], w[0], y[0]
        jobs.append((x, w, y))

    def work() -> None:
        for x, w, y in jobs:
            torch.matmul(x, w)
            torch.matmul(y, w.mT)
            torch.matmul(x.mT, y)

    return work


def theirs_for_qa(ours: BertForQuestionAnswering) -> transformers.BertForQuestionAnswering:
    """Give their model with our weights."""
    said = transformers.BertConfig(**json.loads(ours.config.to_json()))
    theirs = transformers.BertForQuestionAnswering(said).eval()
    theirs.load_state_dict(to_huggingface(ours.state_dict()))
    return theirs


def features(questions: list[Question], tokenizer: Any, answers: bool) -> dict[str, Any]:
    """Lay questions out as their documentation does: windows padded to 384 tokens."""
    made = tokenizer(
        [x.question for x in questions], [x.context for x in questions], max_length=384,
        truncation="only_second", stride=128, return_overflowing_tokens=True,
        return_offsets_mapping=True, padding="max_length", return_tensors="np",
    )  # fmt: skip
    if answers:
        starts, ends = [], []
        for i, owner in enumerate(made["overflow_to_sample_mapping"]):
            one, first, last = questions[owner], 0, 0
            if one.answers:
                begin, end = one.starts[0], one.starts[0] + len(one.answers[0])
                pairs = zip(made.sequence_ids(i), made["offset_mapping"][i], strict=True)
                offsets = [tuple(place) if part == 1 else (0, 0) for part, place in pairs]
                first, last = find_tokens(offsets, begin, end) or (0, 0)
            starts.append(first)
            ends.append(last)
        made["start_positions"], made["end_positions"] = starts, ends
    return made


def fine_tuning() -> dict[str, object]:
    """A step on questions: ours on rows of like length, theirs on rows padded to 384."""
    ours, tokenizer = load("minilm-qa", BertForQuestionAnswering)
    ours = BertForQuestionAnswering(ours.config)  # of our own, to be changed
    theirs = theirs_for_qa(ours)
    questions = [x for x in load_leadqa("train") if x.answers][:512]
    config = TrainingConfig(steps=1, batch_size=16, learning_rate=1e-4)
    data = FineTuningData(question_rows(questions, tokenizer), config, tokenizer.pad_id)
    fast = transformers.AutoTokenizer.from_pretrained(resolve("minilm"))
    made = features(questions, fast, answers=True)
    names = ("input_ids", "attention_mask", "token_type_ids", "start_positions", "end_positions")
    rows = {name: torch.as_tensor(made[name]).long() for name in names}
    order = torch.randperm(len(rows["input_ids"]), generator=torch.Generator().manual_seed(0))
    batches = order[: len(order) // 16 * 16].split(16)

    def padded(turn: int) -> dict[str, Any]:
        return {key: value[batches[turn % len(batches)]] for key, value in rows.items()}

    def step_of(model: torch.nn.Module, inputs: Callable[[int], dict[str, Any]]) -> Work:
        optimiser, turns = make_optimiser(model.train(), config), count()
        return lambda: update(model, optimiser, model(**inputs(next(turns))).loss, config)

    def sorted_by_length(turn: int) -> dict[str, Any]:
        return dict(data(turn)[0].inputs)

    name = "fine-tuning step on 16 questions, against transformers padded to 384"
    return row(name, 1.5, step_of(ours, sorted_by_length), step_of(theirs, padded))


def answering() -> dict[str, object]:
    """500 questions: ours, and the loop of transformers' documentation."""
    ours = load("minilm-qa", BertForQuestionAnswering)
    theirs = theirs_for_qa(ours[0])
    fast = transformers.AutoTokenizer.from_pretrained(resolve("minilm"))
    questions = [x for x in load_leadqa("dev") if x.answers][:500]

    def loop(best: int = 20, longest: int = 30) -> list[str]:
        made = features(questions, fast, answers=False)
        names = ("input_ids", "attention_mask", "token_type_ids")
        starts, ends = [], []
        for at in range(0, len(made["input_ids"]), 16):
            rows = {key: torch.as_tensor(made[key][at : at + 16]) for key in names}
            with torch.no_grad():
                output = theirs(**rows)
            starts += list(output.start_logits.numpy())
            ends += list(output.end_logits.numpy())
        found: dict[int, tuple[float, str]] = {}
        for i, owner in enumerate(made["overflow_to_sample_mapping"]):
            text, offsets = questions[owner].context, made["offset_mapping"][i]
            parts = made.sequence_ids(i)
            for first in np.argsort(starts[i])[-1 : -best - 1 : -1].tolist():
                for last in np.argsort(ends[i])[-1 : -best - 1 : -1].tolist():
                    if not (parts[first] == parts[last] == 1) or not 0 <= last - first < longest:
                        continue
                    score = starts[i][first] + ends[i][last]
                    if score > found.get(owner, (-1e9, ""))[0]:
                        found[owner] = score, text[offsets[first][0] : offsets[last][1]]
        return [found.get(i, (0.0, ""))[1] for i in range(len(questions))]

    def mine() -> list[str]:
        return [one.text for one in answer_all(questions, model=ours)]

    same = sum(a == b for a, b in zip(mine(), loop(), strict=True))
    assert same == len(questions), f"only {same} answers agree"
    name = "answering 500 questions, against the loop of transformers' documentation"
    return row(name, 2.5, mine, loop, rounds=3)


def embedding() -> dict[str, object]:
    """10,000 sentences, a fourth of them in each round, and sentence-transformers."""
    ours = load("minilm", BertModel)
    theirs = SentenceTransformer(str(resolve("minilm")), device="cpu")
    parts = [part for one in leads("train") for part in sentences(one.text)][:10_000]

    def mine(some: list[str]) -> np.ndarray:
        return embed(some, model=ours, batch_size=32)

    def encode(some: list[str]) -> np.ndarray:
        return theirs.encode(
            some, batch_size=32, show_progress_bar=False, normalize_embeddings=True
        )

    def in_fourths(work: Callable[[list[str]], object]) -> Work:
        turns = count(-1)  # the first call only warms up

        def call() -> object:
            turn = next(turns)
            return work(parts[turn::4] if turn >= 0 else parts[:64])

        return call

    gap = np.abs(mine(parts[:1000]) - encode(parts[:1000])).max()
    assert gap < 1e-5, f"vectors differ by {gap}"
    name = "vectors of 10,000 sentences in batches of 32, against sentence-transformers"
    return row(name, 1.3, in_fourths(mine), in_fourths(encode), rounds=4)


def main() -> int:
    """Measure every row and write the record."""
    rows = [
        forward(),
        *pretraining(2, 128, 30522, floor=3.0),
        *pretraining(2, 128, 4096, floor=1.5),
        *pretraining(4, 256, 30522, floor=2.5),  # the larger the body, the less
        *pretraining(4, 256, 4096, floor=1.2),  # there is to be saved at the head
        fine_tuning(),
        answering(),
        embedding(),
    ]
    record = {"command": "make bench", "rows": rows} | circumstances("transformers")
    RECORD.parent.mkdir(exist_ok=True)
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for one in rows:
        print(f"{one['name']}: {one['ratio']} (floor {one['floor']})")
    return int(any(one["ratio"] < one["floor"] for one in rows))


if __name__ == "__main__":
    sys.exit(main())
