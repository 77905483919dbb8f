"""Heads for classes, the data of fine-tuning, and tags."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from minibert import classification
from minibert.bert import BertConfig, BertModel
from minibert.classification import (
    BertForSequenceClassification,
    BertForTokenClassification,
    FineTuningData,
    Span,
    classify,
    collate,
    fine_tune,
    label_names,
    patience,
    predict,
    read_tags,
    span_f1,
    tag,
    tag_row,
    text_row,
    with_labels,
)
from minibert.mlm import IGNORE
from minibert.pretraining import train_last
from minibert.tokens import Tokenizer
from minibert.training import TrainingConfig

TINY = BertConfig(
    vocab_size=4096, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=64, max_position_embeddings=40, initializer_range=0.2,
    hidden_dropout_prob=0.0,
)  # fmt: skip
NAMES = ["river", "animal", "person"]
TAGS = ["O", "B-DATE", "I-DATE", "B-NAME", "I-NAME"]
KINDS = [BertForSequenceClassification, BertForTokenClassification]
TEXTS = ["The Danube is a river.", "An octopus swims.", "Marie Curie was a physicist of note."]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_pretrained("leads-4096")


def random_model(kind, seed=0, **more):
    torch.manual_seed(seed)
    return kind(replace(TINY, **more), NAMES).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_heads_are_theirs_in_both_directions(kind, tmp_path, tokenizer):
    ours = random_model(kind)
    ours.save_pretrained(tmp_path / "ours")
    theirs = getattr(transformers, kind.__name__).from_pretrained(tmp_path / "ours").eval()
    assert theirs.config.id2label == dict(enumerate(NAMES))
    batch = tokenizer(TEXTS)
    labels = torch.tensor([0, 1, 2])
    if kind is BertForTokenClassification:
        labels = torch.randint(3, batch.input_ids.shape)
        labels[batch.attention_mask == 0] = IGNORE
    with torch.no_grad():
        a = ours(*batch, labels=labels)
        b = theirs(**batch._asdict(), labels=labels)
    assert_close(a.logits, b.logits, atol=1e-5, rtol=0)
    assert_close(a.loss, b.loss, atol=1e-5, rtol=0)
    theirs.save_pretrained(tmp_path / "theirs")
    back = kind.from_pretrained(tmp_path / "theirs")
    assert label_names(back.config) == NAMES
    for name, tensor in back.state_dict().items():
        assert torch.equal(tensor, ours.state_dict()[name]), name


def test_their_config_without_names_has_two_classes_as_theirs(tmp_path):
    config = transformers.BertConfig(**{
        "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 64, "vocab_size": 99,
    })  # fmt: skip
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    ours = BertForSequenceClassification.from_pretrained(tmp_path)
    assert label_names(ours.config) == ["LABEL_0", "LABEL_1"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_on_published_weights_says_that_it_is_random(kind):
    with pytest.warns(UserWarning, match="a classification head.*train it"):
        kind.from_pretrained("leads-small", labels=NAMES)


@pytest.mark.parametrize("labels", [["one"], ["a", "a"], []])
def test_labels_that_are_no_classes(labels):
    with pytest.raises(ValueError, match="two or more different"):
        with_labels(TINY, labels)


@pytest.mark.parametrize("labels", ["ab", [1, 2]])
def test_labels_that_are_no_names(labels):
    with pytest.raises(TypeError, match="list of strings"):
        with_labels(TINY, labels)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({}, "names no classes"),
        ({"id2label": {"0": "a", "2": "b"}}, "not 0 to 1"),
        ({"id2label": {"0": "a", "1": "b"}, "problem_type": "regression"}, "'regression'"),
        ({"id2label": ["a", "b"]}, "names no classes"),
    ],
)
def test_configs_that_are_no_classifier(extra, said):
    with pytest.raises(ValueError, match=said):
        BertForSequenceClassification(replace(TINY, extra=extra))


def test_classifier_dropout_is_read():
    config = replace(with_labels(TINY, NAMES), hidden_dropout_prob=0.3)
    assert BertForTokenClassification(config).dropout.p == 0.3
    own = replace(config, extra={**config.extra, "classifier_dropout": 0.0})
    assert BertForTokenClassification(own).dropout.p == 0


@pytest.mark.parametrize(
    ("labels", "error", "said"),
    [
        (torch.tensor([0, 1]), ValueError, "one for each row"),
        (torch.tensor([0.0, 1, 2]), TypeError, "int64"),
        (torch.tensor([0, 1, 3]), IndexError, "0 to 2"),
        (torch.tensor([0, -100, 1]), IndexError, "-100 to 1"),
    ],
)
def test_wrong_labels_are_refused(labels, error, said, tokenizer):
    with pytest.raises(error, match=said):
        random_model(BertForSequenceClassification)(*tokenizer(TEXTS), labels=labels)


def test_token_labels_out_of_range_are_refused_and_none_is_no_loss(tokenizer):
    model, batch = random_model(BertForTokenClassification), tokenizer(TEXTS)
    labels = torch.full(batch.input_ids.shape, IGNORE)
    assert model(*batch, labels=labels).loss == 0
    labels[0, 1] = 3
    with pytest.raises(IndexError, match="0 to 2"):
        model(*batch, labels=labels)


def test_collate_fills_each_list_with_its_own(tokenizer):
    rows = [
        {"input_ids": [5, 6, 7], "token_type_ids": [0, 0, 1], "labels": [1, 0, 1]},
        {"input_ids": [8], "token_type_ids": [0], "labels": [2]},
    ]
    batch = collate(rows, pad_id=9)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch["token_type_ids"].tolist() == [[0, 0, 1], [0, 0, 0]]
    assert batch["labels"].tolist() == [[1, 0, 1], [2, IGNORE, IGNORE]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def some_rows(count, seed=0):
    chance = np.random.default_rng(seed)
    return [
        {"input_ids": chance.integers(5, 99, chance.integers(1, 30)).tolist(), "labels": i % 3}
        for i in range(count)
    ]


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 1200), size=st.integers(1, 40), seed=st.integers(0, 99),
    epoch=st.integers(0, 3),
)  # fmt: skip
def test_an_epoch_takes_no_row_twice_and_leaves_less_than_a_batch(count, size, seed, epoch):
    config = TrainingConfig(steps=1, batch_size=size, seed=seed)
    data = FineTuningData([{"input_ids": [1] * (i % 7 + 1)} for i in range(count)], config, 0)
    taken = data.batches(epoch).ravel()
    assert len(set(taken.tolist())) == len(taken)
    assert count - len(taken) < size or len(taken) == count
    again = FineTuningData(data.rows, config, 0).batches(epoch)
    assert np.array_equal(data.batches(epoch), again)


def test_epochs_differ_and_like_lengths_share_a_batch():
    rows = some_rows(640)
    data = FineTuningData(rows, TrainingConfig(steps=1, batch_size=16), 0)
    assert not np.array_equal(data.batches(0), data.batches(1))
    spread = [np.ptp(data.lengths[batch]) for batch in data.batches(0)]
    assert np.mean(spread) < 3 < np.ptp(data.lengths)


@pytest.mark.parametrize(("world", "accumulate"), [(1, 1), (2, 1), (1, 4), (2, 2)])
def test_processes_and_pieces_share_a_step(world, accumulate):
    rows = some_rows(64)
    config = TrainingConfig(steps=1, batch_size=16, accumulate=accumulate)
    data = FineTuningData(rows, config, 0)
    pieces = [p for rank in range(world) for p in data(3, rank, world)]
    assert len(pieces) == world * accumulate
    seen = sorted(
        tuple(ids[mask == 1].tolist())
        for p in pieces
        for ids, mask in zip(p.inputs["input_ids"], p.inputs["attention_mask"], strict=True)
    )
    assert seen == sorted(tuple(rows[i]["input_ids"]) for i in data.batches(0)[3])
    assert sum(p.counts["loss"] for p in pieces) == 16


def test_the_count_of_tags_is_that_of_labels():
    row = {"input_ids": [1, 2, 3, 4], "labels": [IGNORE, 1, IGNORE, 0]}
    data = FineTuningData([row] * 4, TrainingConfig(steps=1, batch_size=4), 0)
    assert data(0)[0].counts == {"loss": 8}


def test_no_rows_and_rows_that_are_too_long(tokenizer):
    config, model = TrainingConfig(steps=1), random_model(BertForSequenceClassification)
    with pytest.raises(ValueError, match="no rows"):
        fine_tune(model, tokenizer, [], config)
    with pytest.raises(ValueError, match="row 1 has 41 tokens.*ends at 40"):
        rows = [{"input_ids": [1] * n, "labels": 0} for n in (5, 41)]
        fine_tune(model, tokenizer, rows, config)


def test_a_frozen_body_stays_and_the_head_moves(tokenizer):
    model = random_model(BertForSequenceClassification)
    train_last(model, 0)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    config = TrainingConfig(steps=3, batch_size=8, learning_rate=0.01)
    fine_tune(model, tokenizer, some_rows(24), config, progress=False)
    moved = {n for n, x in model.state_dict().items() if not torch.equal(x.cpu(), before[n])}
    assert moved == {"classifier.weight", "classifier.bias"}


def test_it_learns_stops_early_and_goes_on_as_if_never_stopped(tokenizer, tmp_path):
    rows = [
        text_row(text, tokenizer, label)
        for label, text in [(0, "a river flows"), (1, "an animal eats"), (2, "a person writes")]
    ] * 8
    config = TrainingConfig(
        steps=400, batch_size=8, learning_rate=3e-3, log_every=5, evaluate_every=5, save_every=10
    )
    calls = []

    def evaluate(model):
        logits = torch.stack(predict(model, rows, tokenizer.pad_id))
        calls.append(len(logits))
        right = (logits.argmax(1) == torch.tensor([x["labels"] for x in rows])).float()
        return {"error": round(1 - right.mean().item(), 4)}

    def tuned(folder, enough):
        model = random_model(BertForSequenceClassification)
        log = fine_tune(
            model, tokenizer, rows, config, folder, evaluate=evaluate, enough=enough,
            progress=False,
        )  # fmt: skip
        return model, log

    whole, log = tuned(tmp_path / "a", patience("error", 12))
    assert log[-1]["step"] < 400 and log[-1]["error"] == 0
    tuned(tmp_path / "b", lambda log: len(log) >= 4)  # ends at 20
    again, second = tuned(tmp_path / "b", patience("error", 12))
    assert [line["step"] for line in log] == [line["step"] for line in second]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    sure = classify("a river flows", model=str(tmp_path / "a" / "model"))
    assert next(iter(sure)) == "river" and abs(sum(sure.values()) - 1) < 1e-5
    assert list(sure.values()) == sorted(sure.values(), reverse=True)


@given(st.lists(st.floats(0, 9), max_size=30), st.integers(1, 5))
def test_patience_is_the_first_place_without_a_new_low(values, times):
    enough = patience("x", times)
    lines = [{"step": 1}, *({"x": value} for value in values)]
    ends = [i for i in range(len(lines) + 1) if enough(lines[:i])]
    worse = 0
    for place, value in enumerate(values):
        worse = 0 if place == 0 or value < min(values[:place]) else worse + 1
        if worse >= times:
            assert ends[0] == place + 2
            return
    assert ends == []


def test_patience_needs_a_number():
    with pytest.raises(ValueError, match="1 or more"):
        patience("x", 0)


def test_predict_is_each_row_alone(tokenizer):
    rows = [{"input_ids": row["input_ids"]} for row in some_rows(21)]
    for kind in KINDS:
        model = random_model(kind)
        both = predict(model, rows, tokenizer.pad_id, batch_size=4)
        for row, logits in zip(rows, both, strict=True):
            alone = model(torch.tensor([row["input_ids"]])).logits[0]
            assert_close(logits, alone, atol=1e-5, rtol=0)


WORDS = ["Danube", "octopuses", "1867", "Curie", "of", "unrecognisability", "é", "😀", "x,"]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_tags_give_the_spans_back(data):
    """Spans on word borders, wherever they lie."""
    tokenizer = Tokenizer.from_pretrained("leads-4096")
    words = data.draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12))
    text = data.draw(st.sampled_from([" ", "  ", "\n"])).join(words)
    one = tokenizer.encode(text)
    firsts = classification.first_pieces(one)
    places = [(one.offsets[i][0], classification.word_end(one, i)) for i in firsts]
    spans, at = [], 0
    while at < len(places):
        size = data.draw(st.integers(0, 3))
        if size:
            label = data.draw(st.sampled_from(["DATE", "NAME"]))
            end = places[min(at + size, len(places)) - 1][1]
            spans.append(Span(label, places[at][0], end))
        at += max(size, 1)
    row = tag_row(text, tokenizer, spans, TAGS)
    tags = ["O" if i == IGNORE else TAGS[i] for i in row["labels"]]
    assert read_tags(one, tags) == spans
    assert [i for i, x in enumerate(row["labels"]) if x != IGNORE] == firsts


def test_a_span_takes_every_word_that_it_touches(tokenizer):
    text = "born in 1867 at Warsaw"
    row = tag_row(text, tokenizer, [Span("DATE", 9, 14)], TAGS)
    tags = ["O" if i == IGNORE else TAGS[i] for i in row["labels"]]
    assert read_tags(tokenizer.encode(text), tags) == [Span("DATE", 8, 15)]


def test_spans_that_cannot_be(tokenizer):
    with pytest.raises(ValueError, match="outside of a text of 4"):
        tag_row("1867", tokenizer, [Span("DATE", 0, 5)], TAGS)
    with pytest.raises(ValueError, match="'B-PLACE' is none of"):
        tag_row("1867", tokenizer, [Span("PLACE", 0, 4)], TAGS)


def test_span_f1_by_hand():
    a, b, c = Span("DATE", 0, 4), Span("DATE", 5, 9), Span("NAME", 5, 9)
    assert span_f1([[a, b]], [[a, c]]) == 0.5
    assert span_f1([[a], []], [[a], [b]]) == pytest.approx(2 / 3)
    assert span_f1([[]], [[]]) == 1
    assert span_f1([[a]], [[]]) == 0


def test_tag_needs_the_whole_text(tokenizer):
    torch.manual_seed(0)
    model = BertForTokenClassification(TINY, TAGS).eval()
    for span in tag("The Danube rose in 1867.", model=(model, tokenizer)):
        assert span.label in ("DATE", "NAME")
    with pytest.raises(ValueError, match="ends at 40: tag its sentences"):
        tag("river " * 60, model=(model, tokenizer))
    with pytest.raises(TypeError, match="must be a BertForTokenClassification"):
        tag("x", model=(BertModel(TINY), tokenizer))


class ForTrainer(torch.nn.Module):
    """Our model without its config, which `Trainer` writes into; loss and logits alone."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask=None, labels=None):
        return self.model(input_ids, attention_mask, labels=labels)[:2]


def test_the_same_model_inside_transformers_trainer(tmp_path, tokenizer):
    """Their Trainer takes our rows, batches and outputs as they are."""
    rows = [
        text_row(text, tokenizer, label)
        for label, text in [(0, "a river flows"), (1, "an animal eats"), (2, "a person writes")]
    ] * 8
    model = random_model(BertForSequenceClassification)
    trainer = transformers.Trainer(
        model=ForTrainer(model),
        args=transformers.TrainingArguments(
            tmp_path / "out", max_steps=60, per_device_train_batch_size=8, learning_rate=3e-3,
            report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True, seed=0,
        ),
        train_dataset=rows,
        eval_dataset=rows,
        data_collator=lambda some: collate(some, tokenizer.pad_id),
        compute_metrics=lambda out: {
            "accuracy": float((out.predictions.argmax(1) == out.label_ids).mean())
        },
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train()
        assert trainer.evaluate()["eval_accuracy"] == 1
    assert next(iter(classify("a river flows", model=(model.eval(), tokenizer)))) == "river"
