"""Pre-training: the model, the data on disk, own text, several processes."""

import json
import math
import os
import random
import subprocess
import sys
import textwrap
import time
import tracemalloc
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from launching import accelerate, torchrun

from minibert.__main__ import main
from minibert.bert import BertModel
from minibert.config import BertConfig
from minibert.corpus import open_corpus, read_lines, text_files, write_corpus
from minibert.data import leads, sentences
from minibert.huggingface import to_huggingface
from minibert.losses import IGNORE
from minibert.mlm import BertForMaskedLM
from minibert.nsp import Corpus, build_corpus
from minibert.pretraining import (
    BertForPreTraining,
    PretrainingConfig,
    PretrainingData,
    measure,
    pretrain,
)
from minibert.tokens import Tokenizer
from minibert.transfer import save_trained, stack_layers, train_last
from minibert.vocabulary import SPECIAL

LETTERS = [*SPECIAL, *"abcdefghijklmnopqrstuvwxyz.", *(f"##{c}" for c in "abcdefgh")]
TINY = BertConfig(
    vocab_size=len(LETTERS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=32, max_position_embeddings=32,
    hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)  # fmt: skip
CONFIG = PretrainingConfig(steps=6, batch_size=8, max_length=24, log_every=1, save_every=2)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(LETTERS)


def documents(count: int = 40, seed: int = 0) -> list[list[str]]:
    make = random.Random(seed)

    def sentence() -> str:
        return " ".join(make.choices("abcdefgh", k=make.randint(2, 9)))

    return [[sentence() for _ in range(make.randint(2, 9))] for _ in range(count)]


@pytest.fixture(scope="module")
def corpus(tokenizer) -> Corpus:
    return build_corpus(documents(), tokenizer, CONFIG.max_length)


# --- the model ----------------------------------------------------------------


@pytest.mark.parametrize("given_labels", ["both", "words", "pairs", "none"])
def test_equals_transformers(given_labels):
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 64,
    }  # fmt: skip
    ours = BertForPreTraining(BertConfig(**sizes)).eval()
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    theirs = transformers.BertForPreTraining(transformers.BertConfig(**sizes)).eval()
    state = to_huggingface(ours.state_dict())
    missing, left = theirs.load_state_dict(state, strict=False)
    assert not left and set(missing) <= set(ours.tied)
    ids = torch.randint(0, 99, (3, 12))
    mask = (torch.arange(12) < torch.tensor([[12], [7], [9]])).long()
    labels = torch.where((torch.rand(3, 12) < 0.3) & mask.bool(), ids, IGNORE)
    labels[:, 1] = ids[:, 1]
    pairs = torch.tensor([0, 1, 1])
    asked = {}
    if given_labels in ("both", "words"):
        asked["labels"] = labels
    if given_labels in ("both", "pairs"):
        asked["next_sentence_label"] = pairs
    with torch.no_grad():
        got = ours(ids, mask, **asked)
        want = theirs(ids, attention_mask=mask)
    words = want.prediction_logits
    if "labels" in asked:
        words = words[labels != IGNORE]
    else:  # padding may differ: nobody reads it
        words, got = (
            words[mask.bool()],
            got._replace(prediction_logits=got.prediction_logits[mask.bool()]),
        )
    torch.testing.assert_close(got.prediction_logits, words, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        got.seq_relationship_logits, want.seq_relationship_logits, atol=1e-5, rtol=1e-5
    )
    if given_labels == "both":
        with torch.no_grad():
            both = theirs(ids, attention_mask=mask, labels=labels, next_sentence_label=pairs).loss
        torch.testing.assert_close(got.loss, both, atol=1e-5, rtol=1e-5)
        assert got.loss == got.masked_lm_loss + got.next_sentence_loss
    if given_labels == "none":
        assert got.loss is None


def test_its_weights_go_out_and_in(tmp_path):
    ours = BertForPreTraining(TINY).eval()
    ours.save_pretrained(tmp_path)
    back = BertForPreTraining.from_pretrained(tmp_path)
    ids = torch.tensor([[2, 5, 6, 3]])
    assert back(ids).prediction_logits.equal(ours(ids).prediction_logits)
    theirs = transformers.BertForPreTraining.from_pretrained(tmp_path)
    torch.testing.assert_close(
        theirs(ids).prediction_logits, ours(ids).prediction_logits, atol=1e-5, rtol=1e-5
    )


# --- the data -----------------------------------------------------------------


def test_on_disk_as_in_memory(tokenizer, tmp_path, monkeypatch):
    many = documents(2500, seed=3)  # more than one part of a thousand
    want = build_corpus(many, tokenizer, 24)
    got = write_corpus(iter(many), tokenizer, tmp_path, 24)
    again = open_corpus(tmp_path, tokenizer, 24)
    for a, b, c in zip(want, got, again, strict=True):
        assert (a == b).all() and (a == c).all() and a.dtype == b.dtype
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "chunks.bin", "corpus.json", "sentences.bin", "tokens.bin",
    ]  # fmt: skip


@pytest.mark.parametrize("pairs", [True, False])
def test_doubles_a_thousand_documents_apart_are_found(pairs, tokenizer, tmp_path):
    some = [documents(1, seed)[0] for seed in range(1_300)]
    many = [*some, *some[:7], *some]
    corpus = write_corpus(many, tokenizer, tmp_path, 24, pairs)
    want = build_corpus(many, tokenizer, 24, pairs)
    for a, b in zip(corpus, want, strict=True):
        assert np.array_equal(a, b)
    assert len(set(corpus.chunks[:, 2])) == (1_300 if pairs else len(many))


def test_a_corpus_that_does_not_fit_is_refused(tokenizer, tmp_path):
    write_corpus(documents(), tokenizer, tmp_path, 24)
    with pytest.raises(ValueError, match="max_length 24, not 32"):
        open_corpus(tmp_path, tokenizer, 32)
    with pytest.raises(ValueError, match="with vocabulary"):
        open_corpus(tmp_path, Tokenizer([*LETTERS, "new"]), 24)
    file = tmp_path / "tokens.bin"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"tokens\.bin has .* write it again"):
        open_corpus(tmp_path, tokenizer, 24)


def test_writing_that_fails_leaves_what_was_there(tokenizer, tmp_path):
    write_corpus(documents(), tokenizer, tmp_path, 24)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def broken():
        yield from documents(3)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError):
        write_corpus(broken(), tokenizer, tmp_path, 24)
    with pytest.raises(ValueError, match="none of 1 documents has two sentences"):
        write_corpus([["one sentence"]], tokenizer, tmp_path, 24)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@settings(deadline=None, max_examples=30)
@given(chunks=st.integers(1, 60), epochs=st.integers(1, 3), seed=st.integers(0, 99))
def test_an_epoch_sees_each_chunk_once(chunks, epochs, seed):
    corpus = Corpus(np.zeros(1, np.uint16), np.zeros(1, np.int64), np.zeros((chunks, 3), np.int64))
    tokenizer = Tokenizer(LETTERS)
    data = PretrainingData(corpus, tokenizer, replace(CONFIG, seed=seed))
    order = data.order(np.arange(chunks * epochs)).reshape(epochs, chunks)
    assert all(sorted(one) == list(range(chunks)) for one in order.tolist())


def test_a_step_is_the_same_each_time_it_is_asked_for(tokenizer, corpus):
    one, two = (PretrainingData(corpus, tokenizer, CONFIG) for _ in range(2))
    steps = [0, 40, 3, 33, 0]
    for step in steps:
        (a,), (b,) = one(step), two(step)
        assert all(a.inputs[k].equal(b.inputs[k]) for k in a.inputs)
    (a,), (b,) = one(0), one(1)
    assert a.inputs["input_ids"].shape != b.inputs["input_ids"].shape or not a.inputs[
        "input_ids"
    ].equal(b.inputs["input_ids"])


@pytest.mark.parametrize(("world", "accumulate"), [(1, 1), (2, 1), (1, 4), (2, 2), (4, 2)])
def test_no_sample_is_seen_twice_or_lost(world, accumulate, tokenizer, corpus):
    whole = PretrainingData(corpus, tokenizer, CONFIG)
    parts = PretrainingData(corpus, tokenizer, replace(CONFIG, accumulate=accumulate))
    for step in (0, 5, 37):
        (want,) = whole(step)
        pieces = [p for rank in range(world) for p in parts(step, rank, world)]
        assert len(pieces) == world * accumulate
        for name in want.inputs:
            got = torch.cat([piece.inputs[name] for piece in pieces]).tolist()
            assert sorted(map(str, got)) == sorted(map(str, want.inputs[name].tolist()))
        for name, count in want.counts.items():
            assert sum(piece.counts[name] for piece in pieces) == count


def test_every_task_gives_what_its_model_takes(tokenizer, corpus):
    for task in ("next", "order", None):
        (piece,) = PretrainingData(corpus, tokenizer, replace(CONFIG, task=task))(0)
        kind = BertForMaskedLM if task is None else BertForPreTraining
        output = kind(TINY)(**piece.inputs)
        for name, count in piece.counts.items():
            assert getattr(output, name).isfinite() and count > 0


def test_a_corpus_without_pairs_is_refused(tokenizer):
    empty = build_corpus([["one"], []], tokenizer, 24)
    with pytest.raises(ValueError, match="the corpus is empty"):
        PretrainingData(empty, tokenizer, CONFIG)


def test_the_pipeline_is_fifty_times_as_fast_as_training():
    """On the book's small model, one thread, medians of interleaved rounds."""
    tokenizer = Tokenizer.from_pretrained("leads-4096")
    text = [sentences(one.text) for one in leads("dev")]
    config = PretrainingConfig(steps=1, batch_size=64, max_length=96)
    data = PretrainingData(build_corpus(text, tokenizer, 96), tokenizer, config)
    sizes = replace(TINY, vocab_size=4096, hidden_size=128, num_hidden_layers=2,
                    intermediate_size=512, max_position_embeddings=96)  # fmt: skip
    model = BertForPreTraining(sizes)
    data(0)
    made, trained = [], []
    for turn in range(3):
        start = time.perf_counter()
        for step in range(turn * 32, turn * 32 + 32):  # a pool's sorting is in it
            (piece,) = data(step)
        made.append((time.perf_counter() - start) / 32)
        start = time.perf_counter()
        model(**piece.inputs).loss.backward()
        trained.append(time.perf_counter() - start)
    assert sorted(trained)[1] > 50 * sorted(made)[1]


def test_memory_is_flat_in_the_size_of_the_text(tokenizer, tmp_path):
    peaks = []
    for count in (2_000, 8_000):
        source = (documents(1, seed)[0] for seed in range(count))
        tracemalloc.start()
        corpus = write_corpus(source, tokenizer, tmp_path / str(count), 24)
        data = PretrainingData(corpus, tokenizer, CONFIG)
        for step in range(40):
            data(step)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


# --- a run --------------------------------------------------------------------


def test_accumulating_equals_one_large_batch(tokenizer, corpus):
    states = []
    for accumulate in (1, 4):
        torch.manual_seed(0)
        model = BertForPreTraining(TINY)
        config = replace(CONFIG, accumulate=accumulate, bfloat16=False)  # digits are compared
        log = pretrain(model, tokenizer, corpus, config, progress=False)
        states.append((log, torch.cat([p.detach().flatten() for p in model.parameters()])))
    (one, a), (four, b) = states
    for name in ("masked_lm_loss", "next_sentence_loss"):
        assert [x[name] for x in one] == pytest.approx([x[name] for x in four], abs=1e-6)
    assert (a - b).abs().max() < 1e-4  # Adam divides: 1e-6 in a gradient may show


def test_it_learns_a_language_that_can_be_learned(tokenizer):
    """Each document is one letter: a neighbour tells what is hidden."""
    text = [[" ".join(8 * c), " ".join(5 * c)] for c in "abcdefgh"]
    config = PretrainingConfig(
        steps=150, batch_size=32, max_length=24, learning_rate=5e-3, warmup=20
    )
    torch.manual_seed(0)
    model = BertForPreTraining(replace(TINY, hidden_size=32))
    corpus = build_corpus(text, tokenizer, 24)
    data = PretrainingData(corpus, tokenizer, replace(config, seed=9))
    before = measure(model.eval(), data, 4)
    pretrain(model, tokenizer, corpus, config, progress=False)
    after = measure(model, data, 4)
    print(before, after)
    assert before["masked_accuracy"] < 0.3
    assert after["masked_accuracy"] > 0.9


def test_the_folder_of_a_run(tokenizer, corpus, tmp_path):
    model = BertForPreTraining(TINY)
    log = pretrain(model, tokenizer, corpus, CONFIG, tmp_path, held_out=corpus, progress=False)
    assert log[-1]["step"] == 6 and {"masked_accuracy", "pair_accuracy"} <= log[-1].keys()
    lines = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(x) for x in lines] == log
    back = BertForPreTraining.from_pretrained(tmp_path / "model")
    ids = torch.tensor([[2, 6, 3]])
    assert back(ids).prediction_logits.equal(model.cpu()(ids).prediction_logits)
    assert len(Tokenizer.from_pretrained(tmp_path / "model")) == len(tokenizer)
    with pytest.raises(ValueError, match="max_length was 24 and is 20"):
        pretrain(
            BertForPreTraining(TINY), tokenizer, corpus, replace(CONFIG, max_length=20),
            tmp_path, progress=False,
        )  # fmt: skip


def test_a_finished_folder_is_that_of_its_text_and_weights(tokenizer, corpus, tmp_path):
    def again(corpus, seed=0):
        torch.manual_seed(seed)
        model = BertForPreTraining(TINY)
        return pretrain(model, tokenizer, corpus, CONFIG, tmp_path, progress=False)

    log = again(corpus)
    assert again(build_corpus(documents(), tokenizer, CONFIG.max_length)) == log
    tokens = corpus.tokens.copy()
    tokens[[5, 6]] = tokens[[6, 5]] if tokens[5] != tokens[6] else tokens[[5, 6]] + 1
    with pytest.raises(ValueError, match="digest of the corpus was"):
        again(corpus._replace(tokens=tokens))
    with pytest.raises(ValueError, match="starting weights was"):
        again(corpus, seed=1)


@pytest.mark.parametrize("task", ["next", None])
def test_fewer_rows_than_pieces(task, tokenizer, corpus):
    """A real model, batches of two rows in four pieces: as in one."""
    logs = []
    for accumulate in (1, 4):
        torch.manual_seed(0)
        model = BertForMaskedLM(TINY) if task is None else BertForPreTraining(TINY)
        config = replace(CONFIG, batch_size=2, accumulate=accumulate, task=task, bfloat16=False)
        logs.append(pretrain(model, tokenizer, corpus, config, progress=False))
    name = "loss" if task is None else "masked_lm_loss"
    for one, two in zip(*logs, strict=True):
        assert one[name] == pytest.approx(two[name], abs=1e-5)


def test_masked_words_alone_of_single_sentences(tokenizer, tmp_path):
    """Tweets and titles: a document of one sentence is text as well."""
    titles = [document[:1] for document in documents()]
    with pytest.raises(ValueError, match="none of 40 documents has two sentences"):
        write_corpus(titles, tokenizer, tmp_path, 24)
    corpus = write_corpus(titles, tokenizer, tmp_path, 24, pairs=False)
    assert len(corpus.chunks) == 40
    torch.manual_seed(0)
    config = replace(CONFIG, task=None, steps=60, learning_rate=5e-3)
    log = pretrain(BertForMaskedLM(TINY), tokenizer, corpus, config, progress=False)
    assert log[-1]["loss"] < log[0]["loss"] - 0.5
    with pytest.raises(ValueError, match="built with pairs=False"):
        pretrain(BertForPreTraining(TINY), tokenizer, corpus, CONFIG, progress=False)
    with pytest.raises(ValueError, match="none of 2 documents has a sentence"):
        write_corpus([[], [" "]], tokenizer, tmp_path, 24, pairs=False)


def test_models_that_do_not_fit_are_refused(tokenizer, corpus):
    for model, config, error, words in [
        (BertModel(TINY), CONFIG, TypeError, "needs a BertForPreTraining, not a BertModel"),
        (
            BertForPreTraining(TINY), replace(CONFIG, task=None), TypeError,
            "needs a BertForMaskedLM",
        ),
        (
            BertForPreTraining(replace(TINY, vocab_size=50)), CONFIG, ValueError,
            f"50 pieces, the tokenizer {len(LETTERS)}",
        ),
        (
            BertForPreTraining(TINY), replace(CONFIG, max_length=40), ValueError,
            "max_length is 40, but the model ends at 32",
        ),
    ]:  # fmt: skip
        with pytest.raises(error, match=words):
            pretrain(model, tokenizer, corpus, config)


def test_only_what_was_trained_is_saved(tokenizer, corpus, tmp_path):
    torch.manual_seed(0)
    body = BertModel(replace(TINY, num_hidden_layers=3))
    body.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    model = BertForMaskedLM(replace(TINY, num_hidden_layers=2))
    known = {k: v for k, v in body.state_dict().items() if k in model.bert.state_dict()}
    model.bert.load_state_dict(known)
    train_last(model, 1)
    pretrain(model, tokenizer, corpus, replace(CONFIG, task=None), progress=False)
    save_trained(model, tmp_path / "new", str(tmp_path / "base"))
    size = {p: (tmp_path / p / "model.safetensors").stat().st_size for p in ("base", "new")}
    assert size["new"] < size["base"] / 2
    back = BertForMaskedLM.from_pretrained(tmp_path / "new", base=tmp_path / "base")
    table, layers = back.bert.embeddings.token, back.bert.encoder.layers
    assert table.weight.equal(body.embeddings.token.weight)
    assert layers[0].mlp.up.weight.equal(body.encoder.layers[0].mlp.up.weight)
    rounded = model.bert.encoder.layers[1].mlp.up.weight.bfloat16().float().cpu()
    assert layers[1].mlp.up.weight.equal(rounded)
    back.save_pretrained(tmp_path / "whole")  # and is whole when saved again
    (tmp_path / "base" / "model.safetensors").unlink()
    BertForMaskedLM.from_pretrained(tmp_path / "whole")
    with pytest.raises(ValueError, match="there are 2 layers, not 3"):
        train_last(model, 3)


# --- own text -----------------------------------------------------------------


def test_a_folder_of_text(tmp_path):
    (tmp_path / "two.txt").write_text(
        "One dog. Two dogs.\n\nA river. It flows.\nOn.", encoding="utf-8"
    )
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    (tmp_path / "blank.txt").write_text("\n \n\n", encoding="utf-8")
    (tmp_path / "notes.md").write_text("Not read.", encoding="utf-8")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "bom.txt").write_text("\ufeffHere. There.", encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes("Ein kühler Fluß. Ja.".encode("latin-1"))
    with pytest.warns(UserWarning, match=r"latin\.txt is left out.*byte 5"):
        got = list(text_files(tmp_path))
    assert got == [
        ["Here.", "There."], ["One dog.", "Two dogs."], ["A river.", "It flows.", "On."],
    ]  # fmt: skip


WIDTHS = [20, 40, 60, 72, 79, 100, 10_000]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("end", ["\n", "\r\n", " \n   "], ids=["lf", "crlf", "indented"])
def test_wrapped_text_has_the_same_sentences(width, end, tmp_path):
    """Also where a line ends in the middle of a sentence, or after an abbreviation."""
    some = [one.text for one in leads("dev")[:100]]
    wanted = [[" ".join(x.split()) for x in sentences(" ".join(t.split()))] for t in some]
    for number, text in enumerate(some):
        parts = textwrap.wrap(
            " ".join(text.split()), width, break_long_words=False, break_on_hyphens=width > 50
        )
        (tmp_path / f"{number:03}.txt").write_bytes(end.join(parts).encode())
    assert list(text_files(tmp_path)) == wanted
    assert sum(map(len, wanted)) > 350


def test_words_with_a_hyphen_are_joined_again(tmp_path):
    (tmp_path / "x.txt").write_text(
        "A well-\nknown dog -\nand a man -- came in 1914-\n18.", encoding="utf-8"
    )
    assert list(text_files(tmp_path)) == [["A well-known dog - and a man -- came in 1914-18."]]


def test_one_sentence_a_line_stays_possible(tmp_path):
    text = "No full stop\nDr. No. Yes\n\n  ERROR 17 \nA: b\n"
    (tmp_path / "log.txt").write_text(text, encoding="utf-8")
    got = list(text_files(tmp_path, whole_lines=True))
    assert got == [["No full stop", "Dr. No. Yes"], ["ERROR 17", "A: b"]]
    assert list(text_files(tmp_path))[1] == ["ERROR 17 A: b"]


@pytest.mark.parametrize("whole_lines", [True, False])
def test_a_file_of_one_sentence_a_line(whole_lines, tmp_path):
    """The format of Google's scripts comes out the same both ways."""
    documents = [["One dog.", "Two dogs!", "Three?"], ["A river.", "It flows."]]
    text = "\n\n".join("\n".join(one) for one in documents)
    (tmp_path / "x.txt").write_text(text, encoding="utf-8")
    assert list(text_files(tmp_path, whole_lines=whole_lines)) == documents


def test_a_long_paragraph_is_cut_between_sentences(tmp_path):
    """A paragraph of 400,000 characters, wrapped; and one without a full stop."""
    one = "The dog that bit the man ran away over the hill."
    text = textwrap.fill(" ".join([one] * 8000), 72)
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    got = list(text_files(tmp_path))
    assert [x for part in got for x in part] == [one] * 8000
    assert max(map(len, got)) < 1500
    (tmp_path / "a.txt").write_text(textwrap.fill("dog man " * 9000, 72), encoding="utf-8")
    (parts,) = text_files(tmp_path)
    assert " ".join(parts).split() == ["dog", "man"] * 9000
    assert max(map(len, parts)) <= 10_000


@pytest.mark.parametrize("name", ["X.TXT", "x.Txt", "sub/Y.TXT", "a.b.tXT", ".hidden.txt"])
def test_the_ending_may_be_of_any_case(name, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("A dog.", encoding="utf-8")
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "notes.md").write_text("Not read.", encoding="utf-8")
    assert list(text_files(tmp_path)) == [["A dog."]]


def test_a_text_that_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("A dog.", encoding="utf-8")
    try:
        (tmp_path / "gone.txt").symlink_to("nowhere")
    except OSError as error:  # Windows, without the right to
        pytest.skip(str(error))
    with pytest.warns(UserWarning, match=r"gone\.txt is left out: No such file"):
        assert list(text_files(tmp_path)) == [["A dog."]]


def test_a_late_wrong_byte_is_placed(tmp_path):
    (tmp_path / "late.txt").write_bytes(b"a" * (1 << 20) + b"\xff")
    with pytest.warns(UserWarning, match="byte 1,048,576"):
        assert list(text_files(tmp_path)) == []


def test_a_folder_without_text(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no \.txt file in"):
        list(text_files(tmp_path))


@settings(deadline=None)
@given(text=st.text("ab \n", max_size=60), longest=st.integers(2, 12))
def test_lines_lose_nothing_but_the_spaces_they_are_cut_at(text, longest, tmp_path_factory):
    file = tmp_path_factory.mktemp("lines") / "x.txt"
    file.write_text(text, encoding="utf-8")
    parts = list(read_lines(file, longest))
    assert "".join(parts).replace(" ", "") == text.replace(" ", "")
    assert all(len(part) <= 2 * longest for part in parts)


def test_a_single_endless_line(tokenizer, tmp_path):
    """Five million characters and not one line end: flat memory, all words."""
    with (tmp_path / "endless.txt").open("w", encoding="utf-8") as file:
        for _ in range(25_000):
            file.write("a b c d e f g h. A b c d. ")
    tracemalloc.start()
    count = sum(" ".join(part).count("h.") for part in text_files(tmp_path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 25_000
    assert peak < 20e6


# --- the command line ---------------------------------------------------------

SMALL = [
    "--steps", "4", "--batch-size", "8", "--max-length", "32", "--layers", "1",
    "--hidden-size", "16", "--heads", "2", "--log-every", "1",
]  # fmt: skip


@pytest.fixture
def folder_of_text(tmp_path) -> Path:
    folder = tmp_path / "text"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.txt").write_text(
            f"The dog ran. It bit {number} men. He fell.\n" * 3, encoding="utf-8"
        )
    return folder


def test_command_line(folder_of_text, tmp_path, capsys):
    assert main(["pretrain", str(folder_of_text), str(tmp_path / "run"), *SMALL]) == 0
    said = capsys.readouterr().out
    assert "steps=4" in said and "vocab_size=4096" in said
    model = BertForPreTraining.from_pretrained(tmp_path / "run" / "model")
    assert model.config.hidden_size == 16


def test_command_line_reads_several_texts_one_after_the_other(folder_of_text, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.txt").write_text("The cat slept. It woke. It left.\n", encoding="utf-8")
    for number, texts in enumerate([[folder_of_text], [other, folder_of_text]]):
        run = tmp_path / f"run{number}"
        assert main(["pretrain", *map(str, texts), str(run), *SMALL]) == 0
        said = json.loads((run / "corpus" / "corpus.json").read_text(encoding="utf-8"))
        assert said["documents"] == 4 + number and said["sentences"] == 36 + 3 * number


def test_command_line_trains_on_titles(tmp_path):
    """Masked words alone, of documents of one sentence; each line is one."""
    folder = tmp_path / "text"
    folder.mkdir()
    titles = "\n\n".join(f"A dog of {number} years" for number in range(40))
    (folder / "titles.txt").write_text(titles, encoding="utf-8")
    more = ["--task", "words", "--whole-lines"]
    assert main(["pretrain", str(folder), str(tmp_path / "run"), *SMALL, *more]) == 0
    BertForMaskedLM.from_pretrained(tmp_path / "run" / "model")
    assert main(["pretrain", str(folder), str(tmp_path / "pairs"), *SMALL]) == 1


def test_command_line_goes_on_from_other_weights(folder_of_text, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["pretrain", str(folder_of_text), str(first), *SMALL]) == 0
    more = ["--start", str(first / "model"), "--task", "words", "--train-last", "0"]
    assert main(["pretrain", str(folder_of_text), str(second), *SMALL[:6], *more]) == 0
    back = BertForMaskedLM.from_pretrained(second / "trained", base=first / "model")
    old = BertModel.from_pretrained(first / "model")
    assert back.bert.embeddings.token.weight.equal(old.embeddings.token.weight)


def test_stacked_layers_are_the_old_ones_over_again(folder_of_text, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["pretrain", str(folder_of_text), str(first), *SMALL]) == 0
    model = BertForPreTraining.from_pretrained(first / "model")
    deeper = stack_layers(model, 3)
    assert deeper.config.num_hidden_layers == 3
    for name, tensor in deeper.state_dict().items():
        old = name.replace("layers.1.", "layers.0.").replace("layers.2.", "layers.0.")
        assert tensor.equal(model.state_dict()[old]), name
    with pytest.raises(ValueError, match="3 layers are no multiple of 2"):
        stack_layers(stack_layers(model, 2), 3)
    more = ["--start", str(first / "model"), "--layers", "2", "--stack"]
    assert main(["pretrain", str(folder_of_text), str(second), *SMALL[:6], *more]) == 0
    kept = BertForPreTraining.from_pretrained(second / "model")
    assert kept.config.num_hidden_layers == 2


def test_command_line_says_what_is_wrong(tmp_path, capsys):
    assert main(["pretrain", str(tmp_path), str(tmp_path / "run"), *SMALL]) == 1
    assert "there is no .txt file in" in capsys.readouterr().err
    assert main(["pretrain", "leads", str(tmp_path / "run"), *SMALL, "--warmup", "9"]) == 2
    assert "warmup is 9, not 0 to 4" in capsys.readouterr().err


@pytest.mark.skipif(
    sys.platform == "win32", reason="torchrun wants libuv, which torch's Windows builds lack"
)
@pytest.mark.parametrize(
    ("launch", "count", "size"), [(torchrun, 2, 8), (accelerate, 2, 8), (torchrun, 3, 2)]
)
def test_two_processes_equal_one(launch, count, size, folder_of_text, tmp_path):
    """Gloo processes: the losses of one with the same global batch, even if one has no row."""
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    code = tmp_path / "run.py"
    code.write_text(RUN, encoding="utf-8")
    quiet = {"check": True, "capture_output": True}
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    args = [str(code), str(folder_of_text), str(size)]
    subprocess.run([sys.executable, *args, str(whole)], env=env, **quiet)
    subprocess.run([*launch(count), *args, str(halves)], env=env, **quiet)
    logs = [
        [json.loads(x) for x in (f / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        for f in (whole, halves)
    ]
    assert len(logs[0]) == len(logs[1]) == 6
    for one, two in zip(*logs, strict=True):
        for name in ("masked_lm_loss", "next_sentence_loss"):
            assert one[name] == pytest.approx(two[name], abs=1e-5)


RUN = """
import sys
from dataclasses import replace
import torch
from minibert.config import BertConfig
from minibert.nsp import build_corpus
from minibert.corpus import text_files
from minibert.pretraining import BertForPreTraining, PretrainingConfig, pretrain
from minibert.tokens import Tokenizer
torch.manual_seed(0)
tokenizer = Tokenizer.from_pretrained("leads-4096")
config = BertConfig(vocab_size=4096, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
corpus = build_corpus(text_files(sys.argv[1]), tokenizer, 32)
numbers = PretrainingConfig(
    steps=6, batch_size=int(sys.argv[2]), max_length=32, log_every=1,
    bfloat16=False,  # digits are compared
)
pretrain(BertForPreTraining(config), tokenizer, corpus, numbers, sys.argv[3], progress=False)
"""


SHAPES = """
import resource, torch
from minibert.__main__ import main
main(["qa", "evaluate", "nowhere", "--model", "nowhere"])  # fails, but has set all up
layer = torch.nn.Linear(384, 1536)
def compute(rows):
    torch.nn.functional.gelu(layer(torch.randn(rows, 384))).sum().backward()
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
compute(1200)
before = peak()
for rows in range(1000, 1100):
    compute(rows)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, memory is counted otherwise")
def test_command_line_keeps_memory_flat_over_many_shapes():
    command = [sys.executable, "-c", SHAPES]
    grown = subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout
    assert float(grown.split()[-1]) < 100  # megabytes; it is several hundred without


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"max_length": 4}, "max_length must be 5"), ({"mask_probability": 0}, "mask_probability"),
        ({"mask_probability": math.nan}, "mask_probability"), ({"task": "words"}, "task is"),
        ({"weight_decay": -1}, "weight_decay"), ({"seed": -1}, "seed"),
        ({"learning_rate": math.inf}, "learning_rate"),
        ({"weight_decay": math.nan}, "weight_decay"),
    ],
)  # fmt: skip
def test_numbers_that_make_no_run(wrong, words):
    with pytest.raises(ValueError, match=words):
        PretrainingConfig(**{"steps": 4} | wrong)


def test_other_frozen_parts_and_a_slice_of_a_corpus(tokenizer, corpus, tmp_path):
    def again(part):
        torch.manual_seed(0)
        model = BertForPreTraining(replace(TINY, num_hidden_layers=2))
        model.bert.encoder.layers[part].requires_grad_(False)
        some = corpus._replace(chunks=corpus.chunks[::2])
        return pretrain(model, tokenizer, some, CONFIG, tmp_path, progress=False)

    assert again(0) == again(0)
    with pytest.raises(ValueError, match="trained was"):
        again(1)


@pytest.mark.parametrize("kind", ["pooler", "deeper", "chain"])
def test_what_was_trained_comes_back_whatever_its_base(kind, tokenizer, tmp_path):
    """A pooler of its own, more layers than the base, a base on a base."""
    torch.manual_seed(0)
    start = "minilm-mlm" if kind == "chain" else "leads-small"
    cls = BertForMaskedLM if kind == "chain" else BertForPreTraining
    model = cls.from_pretrained(start)
    if kind == "deeper":
        model = stack_layers(model, 8)
    train_last(model, 1)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p += 0.01 * torch.randn_like(p)
    save_trained(model.eval(), tmp_path, start)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = cls.from_pretrained(tmp_path)
    ids = torch.tensor([[2, 60, 70, 3]])
    for a, b in zip(model(ids)[1:3], back(ids)[1:3], strict=True):
        if a is not None:
            assert (a - b).abs().max() < 0.02 * a.abs().max() + 0.05  # bfloat16


def test_the_run_beside_the_texts_is_no_text(folder_of_text, capsys):
    """The finished model's vocabulary lies under the folder of texts."""
    for _ in range(2):
        run = folder_of_text / "run"
        assert main(["pretrain", str(folder_of_text), str(run), *SMALL]) == 0
