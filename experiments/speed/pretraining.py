"""A step of pre-training: on leads of their own lengths, and beside its plain products."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
import transformers

from minibert.batching import IGNORE
from minibert.data import leads, sentences
from minibert.mlm import Masking
from minibert.nsp import Corpus, build_corpus
from minibert.pretraining import BertForPreTraining, PretrainingConfig, PretrainingData
from minibert.steps import Microbatch
from minibert.tokens import Tokenizer
from minibert.training import TrainingConfig
from speed.models import Step, body, steps_over, twin
from speed.timing import Here, Row, Sides, Size, compared

LONGEST = 512  # what BERT has positions for: next to no lead is cut
SHIPPED = {30522: "minilm", 4096: "leads-4096"}


@cache
def corpus(vocabulary: int, share: int) -> tuple[Tokenizer, Corpus]:
    """Every `share`th lead, in ids of a vocabulary."""
    name = SHIPPED.get(vocabulary, "leads-4096")
    tokenizer = Tokenizer.from_pretrained(name)
    documents = [sentences(lead.text) for lead in leads("train")[::share]]
    return tokenizer, build_corpus(documents, tokenizer, LONGEST)


def their_batches(data: PretrainingData, tokenizer: Tokenizer, size: Size) -> Iterator[Any]:
    """The rows of our steps in a shuffled order, as their collator lays them out."""
    special = {
        name: tokenizer.tokens([getattr(tokenizer, f"{name.split('_')[0]}_id")])[0]
        for name in ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
    }
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer._rust, **special)
    collator = transformers.DataCollatorForLanguageModeling(
        theirs, mlm_probability=data.config.mask_probability
    )
    rows = []
    for step in range(32):
        (piece,) = data(step)
        for i in range(len(piece.inputs["input_ids"])):
            ids, labels = piece.inputs["input_ids"][i], piece.inputs["labels"][i]
            real = piece.inputs["attention_mask"][i].bool()
            rows.append({
                "input_ids": torch.where(labels == IGNORE, ids, labels)[real].tolist(),
                "token_type_ids": piece.inputs["token_type_ids"][i][real].tolist(),
                "next_sentence_label": int(piece.inputs["next_sentence_label"][i]),
            })  # fmt: skip
    torch.manual_seed(0)  # the collator's chance
    order = np.random.default_rng(0).permutation(len(rows))
    for batch in itertools.cycle(order.reshape(-1, size.batch)):
        yield collator([rows[i] for i in batch])


def spread(data: PretrainingData, rounds: int) -> list[int]:
    """Choose steps of the first pool by length: of seven rounds the 1st, 3rd, ... 14th."""
    sizes = [int(data(step)[0].inputs["attention_mask"].sum()) for step in range(32)]
    order = np.argsort(sizes)
    chosen = [int(order[(2 * i + 1) * 32 // (2 * rounds)]) for i in range(rounds)]
    return [int(x) for x in np.random.default_rng(0).permutation(chosen)]


def step_on_leads(size: Size, layers: int, hidden: int, vocabulary: int, floor: float) -> list[Row]:
    """Time a step for each real token, against transformers, padded to the longest."""
    tokenizer, text = corpus(vocabulary, 4 if size.batch > 4 else 50)
    ours = BertForPreTraining(body(layers, hidden, len(tokenizer))).train()
    theirs = twin(ours, transformers.BertForPreTraining)
    config = PretrainingConfig(
        steps=1, batch_size=size.batch, max_length=LONGEST, learning_rate=1e-4
    )
    data = PretrainingData(text, tokenizer, config)
    agree(ours, theirs, data(0)[0])
    turns = itertools.cycle(spread(data, size.rounds))
    pieces = (data(turn)[0].inputs for turn in turns)
    batches = their_batches(data, tokenizer, size)
    name = (
        f"pre-training step, {layers} layers of {hidden}, V {vocabulary:,}, {size.batch} leads of"
        " their own lengths, against transformers padded to the longest"
    )
    sides = Sides(
        ours=Here(steps_over(ours, config, pieces)),
        theirs=Here(steps_over(theirs, config, batches)),
    )
    return compared(size, sides, {"theirs": (name, floor)}, seconds_of="a real token")


def agree(ours: Any, theirs: Any, piece: Microbatch) -> None:
    """Refuse models whose losses differ."""
    with torch.no_grad():
        our_loss, their_loss = (float(model(**piece.inputs).loss) for model in (ours, theirs))
    if abs(our_loss - their_loss) > 1e-3:
        raise ValueError(f"the losses part: {our_loss}, {their_loss}")


def share_of_products(size: Size, layers: int, hidden: int, vocabulary: int) -> list[Row]:
    """The time of a step's matrix products alone over that of the step, rows of equal length."""
    words = Tokenizer.from_pretrained(SHIPPED.get(vocabulary, "leads-4096"))
    model = BertForPreTraining(body(layers, hidden, len(words))).train()
    chance = torch.Generator().manual_seed(0)
    ids = torch.randint(5, len(words), (size.batch, size.length), generator=chance)
    pairs, masking = torch.randint(2, (size.batch,), generator=chance), Masking(words)
    step = Step(model, TrainingConfig(steps=1, learning_rate=1e-4))

    def ours() -> None:
        hidden = masking(ids, chance)
        step(model(hidden.input_ids, labels=hidden.labels, next_sentence_label=pairs).loss)

    plain = products(size, layers, hidden, len(words))
    name = (
        f"pre-training step, {layers} layers of {hidden}, V {vocabulary:,},"
        f" {size.batch} rows of {size.length}, share of torch.matmul on the same shapes"
    )
    return compared(size, Sides(ours=Here(ours), plain=Here(plain)), {"plain": (name, 0.75)})


def products(size: Size, layers: int, hidden: int, vocabulary: int) -> Callable[[], None]:
    """The matrix products of one step, forward and twice backward, and nothing else."""
    rows, heads = size.batch * size.length, size.batch * hidden // 64
    chosen = int(0.15 * rows)
    shapes = layers * [
        (1, rows, hidden, 3 * hidden), (1, rows, hidden, hidden),
        (1, rows, hidden, 4 * hidden), (1, rows, 4 * hidden, hidden),
        (heads, size.length, 64, size.length), (heads, size.length, size.length, 64),
    ] + [(1, chosen, hidden, hidden), (1, chosen, hidden, vocabulary)]  # fmt: skip
    jobs = []
    for many, n, k, m in shapes:
        x, w, y = torch.randn(many, n, k), torch.randn(many, k, m), torch.randn(many, n, m)
        jobs.append((x[0], w[0], y[0]) if many == 1 else (x, w, y))

    def work() -> None:
        for x, w, y in jobs:
            torch.matmul(x, w)
            torch.matmul(y, w.mT)
            torch.matmul(x.mT, y)

    return work


def rows(size: Size) -> list[Row]:
    """All rows of pre-training."""
    measured = []
    for vocabulary in size.vocabularies:
        for layers, hidden in size.bodies:
            floor = 4.0 if vocabulary > 20_000 else 2.0
            measured += step_on_leads(size, layers, hidden, vocabulary, floor)
            measured += share_of_products(size, layers, hidden, vocabulary)
    return measured
