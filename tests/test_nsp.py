"""Pairs that keep borders, their truncation, and the head against transformers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from minibert import nsp
from minibert.config import BertConfig
from minibert.huggingface import to_huggingface
from minibert.losses import class_loss
from minibert.nsp import (
    BertForNextSentencePrediction,
    Corpus,
    Pairs,
    build_corpus,
    draw_pairs,
    next_sentence,
    to_batch,
    truncate_pairs,
)
from minibert.tokens import Tokenizer
from minibert.vocabulary import SPECIAL

transformers = pytest.importorskip("transformers")
transformers.utils.logging.disable_progress_bar()

WORDS = [f"w{i}" for i in range(60)]
TOKENIZER = Tokenizer([*SPECIAL, *WORDS])
SMALL = BertConfig(
    vocab_size=len(TOKENIZER),
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    max_position_embeddings=24,
)
LENGTH = 16


def close(a: Tensor, b: Tensor, within: float = 1e-5) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=within)


def small() -> BertForNextSentencePrediction:
    torch.manual_seed(0)
    model = BertForNextSentencePrediction(SMALL).eval()
    with torch.no_grad():  # as they start, biases are 0 and norms 1
        for tensor in model.parameters():
            tensor.add_(torch.randn_like(tensor) * 0.1)
    return model


def documents(count: int = 5, size: int = 6, seed: int = 0) -> list[list[str]]:
    """Documents of `size` sentences; document k has words 10 k to 10 k + 9 alone."""
    chance = np.random.default_rng(seed)
    return [
        [
            " ".join(WORDS[10 * k + i] for i in chance.integers(0, 10, chance.integers(1, 7)))
            for _ in range(size)
        ]
        for k in range(count)
    ]


def corpus() -> Corpus:
    return build_corpus(documents(), TOKENIZER, LENGTH)


def every(one: Corpus, times: int = 1) -> np.ndarray:
    return np.tile(np.arange(len(one.chunks)), times)


def document_of(one: Corpus, spans: np.ndarray) -> np.ndarray:
    """The document that each span lies in, by its words; -1 where it is empty or mixed."""
    found = []
    for begin, end in spans:
        owners = {int(i) - len(SPECIAL) for i in one.tokens[begin:end]}
        owners = {i // 10 for i in owners}
        found.append(owners.pop() if len(owners) == 1 else -1)
    return np.array(found)


# The corpus


def test_three_arrays_hold_the_text_in_order() -> None:
    one = corpus()
    assert one.tokens.dtype == np.uint16
    flat = [s for d in documents() for s in d]
    for i, sentence in enumerate(flat):
        begin, end = one.sentences[i : i + 2]
        assert TOKENIZER.decode(one.tokens[begin:end].astype(int)) == sentence
    assert one.sentences[-1] == len(one.tokens)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 9), max_size=9), max_size=6),
    st.integers(5, 40),
)
def test_chunks_stay_in_their_document_and_lose_no_sentence(
    shape: list[list[int]], length: int
) -> None:
    texts = [  # a first word of its own keeps a document from being a double
        [" ".join([WORDS[10 + number], *WORDS[:size]]) * (size > 0) for size in document]
        for number, document in enumerate(shape)
    ]
    one = build_corpus(texts, TOKENIZER, length)
    kept = [sum(size > 0 for size in document) for document in shape]  # empty ones go
    borders = np.cumsum([0, *kept])
    assert len(one.sentences) == borders[-1] + 1
    for begin, end, document in one.chunks:
        assert end - begin >= 2
        assert borders[document] <= begin < end <= borders[document + 1]
    for number, count in enumerate(kept):  # covered once, unless it is a lone one
        runs = one.chunks[one.chunks[:, 2] == number, :2].tolist()
        inside = [i for begin, end in runs for i in range(begin, end)]
        whole = list(range(borders[number], borders[number + 1]))
        assert inside == (whole if count > 1 else [])


def test_equal_documents_make_no_false_pairs() -> None:
    texts = documents()
    doubles = [texts[0], *texts, texts[2], [*texts[3]], ["", *texts[1]]]
    one, two = corpus(), build_corpus(doubles, TOKENIZER, LENGTH)
    spans = [
        x.tokens[slice(*x.sentences[[a, b]])].tolist() for x in (one, two) for a, b, _ in x.chunks
    ]
    assert spans[: len(one.chunks)] == spans[len(one.chunks) :]
    with pytest.raises(ValueError, match="two different documents"):
        same = build_corpus([texts[0]] * 9, TOKENIZER, LENGTH)
        draw_pairs(same, every(same), LENGTH, np.random.default_rng(0))
    alone = build_corpus(doubles, TOKENIZER, LENGTH, pairs=False)  # no pairs, no harm
    assert len(set(alone.chunks[:, 2])) == len(doubles)


def test_for_masked_words_alone_a_lone_sentence_stays() -> None:
    texts = [["w1 w2 w3"], ["w4"], [""], ["w11 w12", "w13", "w14 w15 w16"], ["w5 " * 30]]
    assert build_corpus(texts, TOKENIZER, LENGTH).chunks[:, 2].tolist() == [3]
    one = build_corpus(texts, TOKENIZER, LENGTH, pairs=False)
    assert one.chunks[:, 2].tolist() == [0, 1, 3, 4]
    chance = np.random.default_rng(0)
    pairs = draw_pairs(one, every(one), LENGTH, chance, None)
    batch = to_batch(one, pairs, TOKENIZER)
    for row, text in zip(batch.input_ids, ("w1 w2 w3", "w4"), strict=False):
        want = TOKENIZER.encode(text).ids  # [CLS] text [SEP], no second [SEP]
        assert row[: len(want)].tolist() == want and row[len(want) :].eq(TOKENIZER.pad_id).all()
    assert batch.attention_mask.sum(1).max() <= LENGTH
    assert batch.token_type_ids[[0, 1, 3]].sum() == 0
    for task in ("next", "order"):
        with pytest.raises(ValueError, match=r"built with pairs=False.*build it again"):
            draw_pairs(one, every(one), LENGTH, chance, task)


@pytest.mark.parametrize(("first", "second"), [("", ""), ("a", ""), (" ", "a"), ("a", "\n")])
def test_next_sentence_needs_two_texts(first: str, second: str) -> None:
    with pytest.raises(ValueError, match="(first|second) has no word in it"):
        next_sentence(first, second, model=(small(), TOKENIZER))
    with pytest.raises(TypeError, match="string"):
        next_sentence(["a"], second, model=(small(), TOKENIZER))  # type: ignore[arg-type]


def test_a_run_ends_with_the_sentence_that_fills_it() -> None:
    starts = [0, 4, 8, 12, 30, 33]
    assert nsp.fill_rows(starts, 0, 5, 8) == [(0, 2), (2, 5)]
    assert nsp.fill_rows(starts, 0, 2, 100) == [(0, 2)]
    assert nsp.fill_rows(starts, 0, 1, 100) == []
    assert nsp.fill_rows(starts, 0, 0, 100) == []


def test_large_vocabularies_get_four_bytes() -> None:
    many = Tokenizer([*SPECIAL, *(f"x{i}" for i in range(70000))])
    assert build_corpus([["x1 x2", "x69999"]], many, 9).tokens.dtype == np.uint32
    assert build_corpus([["x1", "x69999"]], many, 9).tokens[-1] == many.id("x69999")


def test_corpus_errors() -> None:
    with pytest.raises(ValueError, match="max_length is 4"):
        build_corpus(documents(), TOKENIZER, 4)
    with pytest.raises(ValueError, match=r"document 1 is a string.*sentences\(text\)"):
        build_corpus([["w1", "w2"], "w1. w2."], TOKENIZER, 16)


# Pairs


def test_labels_and_documents_agree() -> None:
    one = corpus()
    pairs = draw_pairs(one, every(one, 200), LENGTH, np.random.default_rng(0))
    same = document_of(one, pairs.first) == document_of(one, pairs.second)
    assert (document_of(one, pairs.first) >= 0).all()
    assert (same == (pairs.labels == 0)).all()
    n = len(pairs.labels)
    assert abs(pairs.labels.mean() - 0.5) < 5 * 0.5 / n**0.5
    wrong = pairs.labels == 1  # from every other document
    assert len(set(document_of(one, pairs.second[wrong]))) == 5


def test_a_real_second_follows_its_first() -> None:
    one = corpus()
    pairs = draw_pairs(one, every(one, 20), 500, np.random.default_rng(0))
    real = pairs.labels == 0  # nothing is cut in 500 tokens
    assert (pairs.first[real, 1] == pairs.second[real, 0]).all()
    assert np.isin(pairs.second[real, 0], one.sentences).all()


def test_a_wrong_second_never_opens_its_chunk() -> None:
    one = corpus()
    pairs = draw_pairs(one, every(one, 50), 500, np.random.default_rng(0))
    openings = one.sentences[one.chunks[:, 0]]
    assert not np.isin(pairs.second[:, 0], openings).any()


def test_order_swaps_neighbours() -> None:
    one = corpus()
    chance = np.random.default_rng(0)
    pairs = draw_pairs(one, every(one, 50), 500, chance, "order")
    swapped = pairs.labels == 1
    assert 0.3 < swapped.mean() < 0.7
    assert (pairs.second[swapped, 1] == pairs.first[swapped, 0]).all()
    assert (pairs.first[~swapped, 1] == pairs.second[~swapped, 0]).all()


def test_no_task_leaves_every_pair() -> None:
    one = corpus()
    pairs = draw_pairs(one, every(one, 5), 500, np.random.default_rng(0), None)
    assert not pairs.labels.any()
    assert (pairs.first[:, 1] == pairs.second[:, 0]).all()


def test_the_same_chance_gives_the_same_pairs() -> None:
    one = corpus()
    a, b = (draw_pairs(one, every(one), LENGTH, np.random.default_rng(3)) for _ in "ab")
    other = draw_pairs(one, every(one), LENGTH, np.random.default_rng(4))
    assert all((x == y).all() for x, y in zip(a, b, strict=True))
    assert any((x != y).any() for x, y in zip(a, other, strict=True))


def test_draws_are_those_of_the_shipped_runs() -> None:
    """A long run is repeated only while these come in the same order."""
    sentences = np.arange(0, 55, 5)
    chunks = np.array([[0, 3, 0], [3, 6, 1], [6, 10, 2]])
    one = Corpus(np.arange(50), sentences, chunks)
    pairs = draw_pairs(one, np.array([0, 1, 2, 0]), 12, np.random.default_rng(7))
    chance = np.random.default_rng(7)
    rows = np.array([0, 1, 2, 0])
    begin, end = chunks[rows, 0], chunks[rows, 1]
    chance.integers(begin + 1, end)  # the cut
    assert (chance.integers(0, 2, 4) == pairs.labels).all()  # then the labels


def test_pair_errors() -> None:
    one = corpus()
    chance = np.random.default_rng(0)
    with pytest.raises(ValueError, match='"next", "order" or None, not \'sop\''):
        draw_pairs(one, every(one), LENGTH, chance, "sop")
    alone = build_corpus(documents(1), TOKENIZER, LENGTH)
    with pytest.raises(ValueError, match="two different documents of two sentences"):
        draw_pairs(alone, every(alone), LENGTH, chance)
    empty = build_corpus([["w1"], ["w2"]], TOKENIZER, LENGTH)  # a blank line after each
    assert len(empty.chunks) == 0
    with pytest.raises(ValueError, match="two different documents of two sentences"):
        draw_pairs(empty, every(empty), LENGTH, chance)
    draw_pairs(alone, every(alone), LENGTH, chance, "order")  # needs no other


# Truncation


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(2, 60), st.integers(0, 9))
def test_the_longer_text_is_cut_until_both_fit(a: int, b: int, room: int, seed: int) -> None:
    first, second = np.array([[100, 100 + a]]), np.array([[300, 300 + b]])
    chance = np.random.default_rng(seed)
    cut = truncate_pairs(first, second, room, chance)
    kept_a, kept_b = (int(x[0, 1] - x[0, 0]) for x in cut)
    assert kept_a + kept_b == min(a + b, room) and min(kept_a, kept_b) >= 1
    if kept_a < a and kept_b < b:
        assert abs(kept_a - kept_b) <= 1
    elif kept_a < a:
        assert kept_a >= kept_b - 1
    elif kept_b < b:
        assert kept_b >= kept_a - 1
    for new, old in zip(cut, (first, second), strict=True):  # at an end, whole or not
        assert new[0, 0] == old[0, 0] or new[0, 1] == old[0, 1]


def test_both_ends_are_cut_and_texts_toss_apart() -> None:
    spans = np.tile([[0, 20]], (4000, 1))
    a, b = truncate_pairs(spans, spans, 10, np.random.default_rng(0))
    front = a[:, 0] > 0, b[:, 0] > 0
    for one in (front[0], front[1], front[0] == front[1]):
        assert abs(one.mean() - 0.5) < 0.04


# Rows


def test_rows_are_those_of_the_tokenizer() -> None:
    one = corpus()
    pairs = draw_pairs(one, every(one, 3), LENGTH, np.random.default_rng(1))
    batch = to_batch(one, pairs, TOKENIZER)
    first, second = (
        [TOKENIZER.decode(one.tokens[a:b].astype(int)) for a, b in spans]
        for spans in (pairs.first, pairs.second)
    )
    wanted = TOKENIZER(first, second)
    for ours, theirs in zip(batch, wanted, strict=True):
        assert ours.dtype == torch.int64 and ours.equal(theirs)
    assert batch.input_ids.shape[1] <= LENGTH


def test_one_row() -> None:
    one = corpus()
    pairs = draw_pairs(one, every(one)[:1], LENGTH, np.random.default_rng(1))
    batch = to_batch(one, pairs, TOKENIZER)
    assert batch.attention_mask.all() and batch.input_ids.shape[0] == 1


# The head


def rows() -> tuple[nsp.Batch, Tensor]:
    one = corpus()
    pairs = draw_pairs(one, every(one), LENGTH, np.random.default_rng(2))
    return to_batch(one, pairs, TOKENIZER), torch.from_numpy(pairs.labels)


def peer(model: BertForNextSentencePrediction) -> nn.Module:
    sizes = {k: getattr(SMALL, k) for k in ("vocab_size", "hidden_size", "intermediate_size")}
    sizes |= {k: getattr(SMALL, k) for k in ("num_hidden_layers", "num_attention_heads")}
    config = transformers.BertConfig(**sizes, max_position_embeddings=24)
    other = transformers.BertForNextSentencePrediction(config).eval()
    other.load_state_dict(to_huggingface(model.state_dict()))
    return other


def test_equal_to_transformers() -> None:
    model = small()
    other, (batch, labels) = peer(model), rows()
    ours = model(
        *batch, next_sentence_label=labels, output_hidden_states=True, output_attentions=True
    )
    theirs = other(**batch._asdict(), labels=labels, output_hidden_states=True)
    close(ours.logits, theirs.logits)
    close(ours.loss, theirs.loss)
    assert len(ours.hidden_states) == len(theirs.hidden_states)
    assert ours.attentions[0].shape == (len(labels), 4, *batch.input_ids.shape[1:] * 2)
    assert model(*batch).loss is None


def test_gradients_equal_transformers() -> None:
    model = small()
    other, (batch, labels) = peer(model), rows()
    model(*batch, next_sentence_label=labels).loss.backward()
    other(**batch._asdict(), labels=labels).loss.backward()
    close(model.seq_relationship.weight.grad, other.cls.seq_relationship.weight.grad)
    table = other.bert.embeddings.word_embeddings.weight.grad
    ours = model.bert.embeddings.token.weight.grad
    close(ours[1:], table[1:])  # theirs keeps [PAD]'s row out of training


def test_saved_files_are_theirs(tmp_path: Path) -> None:
    model, (batch, _) = small(), rows()
    model.save_pretrained(tmp_path)
    other = transformers.BertForNextSentencePrediction.from_pretrained(tmp_path).eval()
    close(model(*batch).logits, other(**batch._asdict()).logits)
    back = BertForNextSentencePrediction.from_pretrained(tmp_path)
    close(model(*batch).logits, back(*batch).logits, 0)


def test_no_opinion_costs_ln_2_and_column_0_is_next() -> None:
    labels = torch.tensor([0, 1, 1])
    assert class_loss(torch.zeros(3, 2), labels).item() == pytest.approx(np.log(2))
    sure = torch.tensor([[9.0, -9.0]])
    assert class_loss(sure, torch.tensor([0])) < 1e-6
    assert class_loss(sure, torch.tensor([1])) > 17


def test_real_pairs_alone_have_a_loss() -> None:
    """The bug that the chapter shows: a loss that ignores 0 gives nan here."""
    zeros = torch.zeros(4, dtype=torch.int64)
    assert nn.CrossEntropyLoss(ignore_index=0)(torch.zeros(4, 2), zeros).isnan()
    assert class_loss(torch.zeros(4, 2), zeros).item() == pytest.approx(np.log(2))


@pytest.mark.parametrize(
    ("labels", "error", "match"),
    [
        (torch.tensor([0.0, 1.0]), TypeError, "must be int64, not torch.float32"),
        (torch.tensor([True, False]), TypeError, "must be int64"),
        (torch.tensor([0, 1, 1]), ValueError, r"is \(3,\), not \(2,\)"),
        (torch.tensor([[0], [1]]), ValueError, r"is \(2, 1\)"),
        (torch.tensor([0, -100]), IndexError, "must be 0 to 1, but hold -100 to 0"),
        (torch.tensor([0, 2]), IndexError, "0 to 1, but hold 0 to 2"),
    ],
)
def test_label_errors(labels: Tensor, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        class_loss(torch.zeros(2, 2), labels)
    ids = torch.tensor([[2, 7, 3, 8, 3], [2, 9, 3, 8, 3]])
    with pytest.raises(error, match=match):
        small()(ids, next_sentence_label=labels)


def test_meta_device_makes_no_look_at_the_labels() -> None:
    with torch.device("meta"):
        model = BertForNextSentencePrediction(SMALL)
        ids = torch.zeros(2, 5, dtype=torch.int64)
        labels = torch.zeros(2, dtype=torch.int64)
    assert model(ids, next_sentence_label=labels).loss.is_meta


# A function on strings


def test_next_sentence_is_the_softmax_of_column_0(tmp_path: Path) -> None:
    model = small()
    batch = TOKENIZER(["w1 w2"], ["w3 w4"])
    wanted = model(*batch).logits.softmax(-1)[0, 0].item()
    got = next_sentence("w1 w2", "w3 w4", model=(model, TOKENIZER))
    assert got == pytest.approx(wanted) and isinstance(got, float)
    model.save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    assert next_sentence("w1 w2", "w3 w4", model=str(tmp_path)) == pytest.approx(wanted)


def test_next_sentence_cuts_what_is_too_long_for_the_model() -> None:
    pair = small(), TOKENIZER
    long = " ".join(WORDS)
    assert 0 < next_sentence(long, long, model=pair) < 1
    with pytest.raises(TypeError, match="must be a BertForNextSentencePrediction"):
        next_sentence("w1", "w2", model=(nn.Linear(1, 1), TOKENIZER))  # type: ignore[arg-type]


def test_three_words_are_told_from_others_after_some_steps() -> None:
    """It learns: two documents, and only a first and a second of one belong together."""
    torch.manual_seed(0)
    one = build_corpus([["w1 w2", "w1 w2"] * 3, ["w11 w12", "w11 w12"] * 3], TOKENIZER, 9)
    config = BertConfig(
        vocab_size=len(TOKENIZER), hidden_size=32, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=64, max_position_embeddings=16,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.18,
    )  # fmt: skip
    model = BertForNextSentencePrediction(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    chance = np.random.default_rng(0)
    for _ in range(80):
        pairs = draw_pairs(one, chance.integers(0, len(one.chunks), 32), 9, chance)
        labels = torch.from_numpy(pairs.labels)
        loss = model(*to_batch(one, pairs, TOKENIZER), next_sentence_label=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2


def test_pairs_are_three_arrays() -> None:
    assert Pairs._fields == ("first", "second", "labels")
