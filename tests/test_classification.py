"""Heads for classes, the data of fine-tuning, and tags."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.testing import assert_close

from minibert import tagging
from minibert.batching import collate
from minibert.bert import BertModel
from minibert.classification import (
    SINGLE,
    class_windows,
    classify,
    label_names,
    text_row,
    with_labels,
)
from minibert.config import BertConfig
from minibert.counting import parameters, total
from minibert.finetuning import FineTuningData, fine_tune, for_trainer, patience, predict
from minibert.heads import (
    BertForMultipleChoice,
    BertForSequenceClassification,
    BertForTokenClassification,
)
from minibert.loading import row_length
from minibert.losses import IGNORE, class_loss
from minibert.tagging import Span, read_tags, span_f1, tag, tag_row
from minibert.tokens import Tokenizer
from minibert.training import TrainingConfig
from minibert.transfer import train_last

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


@pytest.mark.parametrize("labels", [["a", "a"], []])
def test_labels_that_are_no_classes(labels):
    with pytest.raises(ValueError, match="must be different names"):
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
        ({"id2label": {"0": "a", "1": "b"}, "problem_type": "ranking"}, "'ranking', not"),
        ({"id2label": {"0": "a"}, "problem_type": SINGLE}, "one class of one"),
        ({"id2label": {"0": "a", "1": "a"}}, "one name to two classes"),
        ({"id2label": {"0": "a", "1": "b"}, "classifier_dropout": 2}, "classifier_dropout is 2"),
        ({"id2label": {"0": "a", "1": "b"}, "classifier_dropout": "no"}, "classifier_dropout"),
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
    data = FineTuningData(
        [{"input_ids": [1] * (i % 7 + 1), "labels": 0} for i in range(count)], config, 0
    )
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


@pytest.mark.parametrize(("count", "size", "accumulate"), [(3, 8, 4), (3, 2, 4), (1, 1, 2)])
def test_fewer_rows_than_pieces(count, size, accumulate, tokenizer):
    """A real model: what has no rows is left out, and the step is that of one piece."""
    logs = []
    for pieces in (1, accumulate):
        config = TrainingConfig(
            steps=2, batch_size=size, accumulate=pieces, log_every=1, bfloat16=False
        )
        model = random_model(BertForSequenceClassification, attention_probs_dropout_prob=0.0)
        logs.append(fine_tune(model, tokenizer, some_rows(count), config, progress=False))
    for one, two in zip(*logs, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], abs=1e-6)


LABELS = [
    np.int64(2), np.int32(2), np.uint8(2), torch.tensor(2), np.array(2), 2,
    np.array([2])[0],
]  # fmt: skip


@pytest.mark.parametrize(
    "label", LABELS, ids=lambda x: type(x).__name__ + str(getattr(x, "dtype", ""))
)
def test_labels_of_any_library(label, tokenizer):
    rows = [{"input_ids": [5, 6, 7], "labels": label}, {"input_ids": [5], "labels": 0}]
    data = FineTuningData(rows, TrainingConfig(steps=1, batch_size=2), 0)
    (piece,) = data(0)
    assert sorted(piece.inputs["labels"].tolist()) == [0, 2]
    assert piece.inputs["labels"].dtype == torch.int64
    assert collate([text_row("a river", tokenizer, label)], 0)["labels"].tolist() == [2]


@pytest.mark.parametrize("label", [True, np.bool_(True), np.array(True), torch.tensor(True)])
def test_yes_and_no_are_1_and_0(label):
    rows = [{"input_ids": [5], "labels": label}, {"input_ids": [5], "labels": False}]
    (piece,) = FineTuningData(rows, TrainingConfig(steps=1, batch_size=2), 0)(0)
    assert sorted(piece.inputs["labels"].tolist()) == [0, 1]


def test_labels_that_are_an_index_and_ids_of_any_library():
    class Two:
        def __index__(self):
            return 2

    ids = np.array([5, 6]), torch.tensor([5, 6]), [5, 6], (5, 6), [np.int64(5), np.int64(6)]
    rows = [{"input_ids": x, "labels": Two()} for x in ids]
    (piece,) = FineTuningData(rows, TrainingConfig(steps=1, batch_size=5), 0)(0)
    assert piece.inputs["labels"].tolist() == [2] * 5
    assert piece.inputs["input_ids"].tolist() == [[5, 6]] * 5


@pytest.mark.parametrize(
    ("row", "error", "said"),
    [
        ({"text": "a", "label": 1}, ValueError, r"row 1 has no input_ids, but \['label', 'text'\]"),
        ("a text", ValueError, "row 1 has no input_ids, but str"),
        ({"input_ids": [5]}, ValueError, r"row 1 has no labels.*nothing to learn"),
        ({"input_ids": [5], "labels": "river"}, TypeError, "labels of row 1 must be a number"),
        ({"input_ids": [5], "labels": None}, TypeError, "labels of row 1 must be a number"),
        ({"input_ids": [5], "labels": float("nan")}, ValueError, "labels of row 1 is nan: leave"),
        ({"input_ids": [5], "labels": 1.5}, ValueError, "row 1 holds .*'float'.*row 0 .*'int'"),
        ({"input_ids": [5], "labels": [1]}, ValueError, "row 1 holds .*'list'.*row 0 .*'int'"),
        ({"input_ids": [5], "label": 1}, ValueError, "row 1 holds .*'label'.*all must be alike"),
        ({"input_ids": [[5]], "labels": 1}, TypeError, "input_ids of row 1"),
        ({"input_ids": [], "labels": 1}, TypeError, "input_ids of row 1"),
    ],
)
def test_rows_that_cannot_be_learned_from(row, error, said, tokenizer):
    rows = [{"input_ids": [5, 6], "labels": 1}, row]
    model = random_model(BertForSequenceClassification)
    with pytest.raises(error, match=said):
        fine_tune(model, tokenizer, rows, TrainingConfig(steps=1), progress=False)


def test_a_finished_folder_is_that_of_its_rows_and_weights(tokenizer, tmp_path):
    config = TrainingConfig(steps=2, batch_size=4)
    rows = some_rows(9)

    def again(rows, seed=0, tagged=False):
        model = random_model(BertForSequenceClassification, seed)
        return fine_tune(model, tokenizer, rows, config, tmp_path, progress=False)

    log = again(rows)
    assert again(rows) == log
    others = [
        [{**row, "labels": (row["labels"] + 1) % 3} for row in rows],
        rows[::-1],
        [rows[1], rows[0], *rows[2:]],
        [*rows[:-1], {**rows[-1], "input_ids": [9] * len(rows[-1]["input_ids"])}],
    ]
    for other in others:
        with pytest.raises(ValueError, match="digest of the rows was"):
            again(other)
    with pytest.raises(ValueError, match="starting weights was"):
        again(rows, seed=1)
    numpy_rows = [{k: np.array(v) for k, v in row.items()} for row in rows]
    assert again(numpy_rows) == log  # the same numbers are the same rows


# --- other problems ---------------------------------------------------------------

PROBLEMS = [
    ("regression", 1, torch.tensor([0.5, -1.0, 2.0])),
    ("regression", 1, torch.tensor([[0.5], [-1.0], [2.0]])),
    ("regression", 3, torch.tensor([[0.5, 0, 1], [-1, 2, 3], [2, 0, 0]])),
    ("multi_label_classification", 3, torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1]])),
    ("single_label_classification", 3, torch.tensor([0, 2, 1])),
    (None, 1, torch.tensor([0.5, -1.0, 2.0])),
    (None, 3, torch.tensor([0, 2, 1])),
]


@pytest.mark.parametrize(("problem", "count", "labels"), PROBLEMS)
def test_every_problem_is_theirs(problem, count, labels, tokenizer, tmp_path):
    torch.manual_seed(0)
    ours = BertForSequenceClassification(TINY, num_labels=count, problem_type=problem).eval()
    ours.save_pretrained(tmp_path)
    theirs = transformers.BertForSequenceClassification.from_pretrained(tmp_path).eval()
    assert theirs.config.num_labels == count and theirs.config.problem_type == problem
    batch = tokenizer(TEXTS)
    out, want = ours(*batch, labels=labels), theirs(**batch._asdict(), labels=labels)
    assert_close(out.logits, want.logits, rtol=0, atol=1e-5)
    assert_close(out.loss, want.loss, rtol=0, atol=1e-5)
    back = BertForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(back(*batch, labels=labels).loss, out.loss)


@pytest.mark.parametrize(
    ("problem", "labels", "error", "said"),
    [
        ("multi_label_classification", torch.tensor([0, 1, 2]), ValueError, r"must be \(3, 3\)"),
        ("multi_label_classification", torch.full((3, 3), 2.0), ValueError, "0.0 to 1.0"),
        ("regression", torch.tensor([0.1, 0.2, 0.3]), ValueError, r"must be \(3, 3\)"),
        (None, torch.tensor([0.1, 0.2, 0.3]), TypeError, "int64"),
        (None, torch.tensor([0, 1, 3]), IndexError, "0 to 2"),
    ],
)
def test_labels_of_another_problem(problem, labels, error, said, tokenizer):
    model = BertForSequenceClassification(TINY, NAMES, problem_type=problem)
    with pytest.raises(error, match=said):
        model(*tokenizer(TEXTS), labels=labels)


def test_each_problem_is_trained_and_answers(tokenizer):
    """A number for a regression, a probability of its own for each of several."""
    config = TrainingConfig(steps=80, batch_size=3, learning_rate=3e-3)
    torch.manual_seed(0)
    scorer = BertForSequenceClassification(TINY, num_labels=1)
    wanted = [0.5, -1.0, 2.0]
    rows = [text_row(x, tokenizer, y) for x, y in zip(TEXTS, wanted, strict=True)]
    fine_tune(scorer, tokenizer, rows, config, progress=False)
    found = [classify(x, model=(scorer, tokenizer)) for x in TEXTS]
    assert [list(one) for one in found] == [["LABEL_0"]] * 3
    assert [one["LABEL_0"] for one in found] == pytest.approx(wanted, abs=0.1)
    several = BertForSequenceClassification(TINY, NAMES, problem_type="multi_label_classification")
    some = [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    rows = [text_row(x, tokenizer, y) for x, y in zip(TEXTS, some, strict=True)]
    fine_tune(several, tokenizer, rows, config, progress=False)
    for text, want in zip(TEXTS, some, strict=True):
        sure = classify(text, model=(several, tokenizer))
        assert [round(sure[name]) for name in NAMES] == want


def test_two_texts_are_read_as_a_pair(tokenizer):
    model = random_model(BertForSequenceClassification)
    first, second = TEXTS[:2]
    with torch.no_grad():
        logits = model(*tokenizer([first], [second])).logits[0]
    sure = classify(first, second=second, model=(model, tokenizer))
    assert [sure[name] for name in NAMES] == pytest.approx(logits.softmax(0).tolist(), abs=1e-6)
    assert sure != classify(first, model=(model, tokenizer))


@pytest.mark.parametrize("text", [["a", 5], None, 5, b"a"])
def test_texts_that_are_none(text, tokenizer):
    for kind, ask in ((KINDS[0], classify), (KINDS[1], tag)):
        model = kind(TINY, NAMES if kind is KINDS[0] else TAGS).eval()
        with pytest.raises(TypeError, match="string"):
            ask(text, model=(model, tokenizer))


def test_num_labels_keeps_names_that_fit(tmp_path):
    random_model(BertForSequenceClassification).save_pretrained(tmp_path)
    kind = BertForSequenceClassification
    assert label_names(kind.from_pretrained(tmp_path, num_labels=3).config) == NAMES
    with pytest.warns(UserWarning, match="another size in the file"):
        five = kind.from_pretrained(tmp_path, num_labels=5, ignore_mismatched_sizes=True)
    assert label_names(five.config) == [f"LABEL_{i}" for i in range(5)]
    for wrong in (0, -1, 2.0, True, "3"):
        with pytest.raises(ValueError, match="num_labels must be 1 or more"):
            kind(TINY, num_labels=wrong)
    with pytest.raises(ValueError, match="num_labels is 2, but there are 3 labels"):
        kind(TINY, NAMES, num_labels=2)
    with pytest.raises(ValueError, match="two labels or more"):
        BertForTokenClassification(TINY, num_labels=1)


def test_a_fault_of_the_config_names_its_folder(tmp_path):
    random_model(BertForSequenceClassification).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    whole = json.loads(file.read_text(encoding="utf-8"))
    for change in (
        {"problem_type": "nonsense"}, {"id2label": {"0": "a", "5": "b"}},
        {"id2label": 7}, {"classifier_dropout": 2},
        {"problem_type": SINGLE, "id2label": {"0": "a"}},
    ):  # fmt: skip
        file.write_text(json.dumps(whole | change), encoding="utf-8")
        with pytest.raises(ValueError, match=tmp_path.name):
            BertForSequenceClassification.from_pretrained(tmp_path)


# --- one of several ---------------------------------------------------------------


@pytest.mark.parametrize("choices", [1, 2, 5])
def test_multiple_choice_is_theirs(choices, tokenizer, tmp_path):
    torch.manual_seed(0)
    ours = BertForMultipleChoice(TINY).eval()
    ours.save_pretrained(tmp_path)
    theirs = transformers.BertForMultipleChoice.from_pretrained(tmp_path).eval()
    batch = tokenizer(
        ["The Danube is"] * choices * 2, [f"{TEXTS[i % 3]} {i}" for i in range(choices * 2)]
    )
    inputs = {k: x.unflatten(0, (2, choices)) for k, x in batch._asdict().items()}
    labels = torch.tensor([0, choices - 1])
    asked = {"output_hidden_states": True}
    out, want = ours(**inputs, labels=labels, **asked), theirs(**inputs, labels=labels, **asked)
    assert out.logits.shape == (2, choices)
    assert_close(out.logits, want.logits, rtol=0, atol=1e-5)
    assert_close(out.loss, want.loss, rtol=0, atol=1e-5)
    assert_close(out.hidden_states[-1], want.hidden_states[-1], rtol=0, atol=1e-5)
    theirs.save_pretrained(tmp_path / "back")
    back = BertForMultipleChoice.from_pretrained(tmp_path / "back")
    assert torch.equal(back(**inputs).logits, out.logits)
    counted = total(parameters(ours.config, "multiple_choice"))
    assert counted == sum(p.numel() for p in ours.parameters())


def test_multiple_choice_wants_a_row_for_each_choice(tokenizer):
    model = BertForMultipleChoice(TINY)
    batch = tokenizer(TEXTS)
    with pytest.raises(ValueError, match=r"must be \(B, N, S\).*ids\[None\]"):
        model(*batch)
    with pytest.raises(ValueError, match=r"must be \(B, N, S\)"):
        model(batch.input_ids[None], batch.attention_mask)
    with pytest.raises(IndexError, match="0 to 2"):
        model(batch.input_ids[None], labels=torch.tensor([3]))


@pytest.mark.parametrize("count", [0, 1, 7])
def test_class_loss_is_torchs(count):
    torch.manual_seed(0)
    logits, labels = torch.randn(count, 5, requires_grad=True), torch.randint(5, (count,))
    loss = class_loss(logits, labels)
    want = F.cross_entropy(logits, labels) if count else torch.tensor(0.0)
    assert_close(loss, want, rtol=1e-6, atol=0)
    loss.backward()
    assert logits.grad.isfinite().all()


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
    firsts = tagging.first_pieces(one)
    places = [(one.offsets[i][0], tagging.word_end(one, i)) for i in firsts]
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


def test_the_same_model_inside_transformers_trainer(tmp_path, tokenizer):
    """Their Trainer takes our rows, batches and outputs as they are."""
    rows = [
        text_row(text, tokenizer, label)
        for label, text in [(0, "a river flows"), (1, "an animal eats"), (2, "a person writes")]
    ] * 8
    model = random_model(BertForSequenceClassification)
    trainer = transformers.Trainer(
        model=for_trainer(model),
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


def test_a_row_keeps_its_own_mask(tokenizer):
    """Rows that come padded are computed as if they were not."""
    model = random_model(BertForSequenceClassification)
    bare = text_row(TEXTS[0], tokenizer, 1)
    size = len(bare["input_ids"])
    padded = {
        "input_ids": bare["input_ids"] + [tokenizer.pad_id] * 9,
        "attention_mask": [1] * size + [0] * 9, "labels": 1,
    }  # fmt: skip
    longer = {**padded, "input_ids": padded["input_ids"] + [7], "attention_mask": [1] * (size + 10)}
    batch = collate([padded, longer], tokenizer.pad_id)
    assert batch["attention_mask"].sum(1).tolist() == [size, size + 10]
    a, b = predict(model, [bare], tokenizer.pad_id) + predict(model, [padded], tokenizer.pad_id)
    assert_close(a, b, rtol=0, atol=1e-5)


def test_predict_looks_at_no_labels(tokenizer):
    model = random_model(BertForSequenceClassification)
    odd = ("a", None, 2)
    rows = [text_row(x, tokenizer) | {"labels": y} for x, y in zip(TEXTS, odd, strict=True)]
    assert len(predict(model, rows, tokenizer.pad_id)) == 3


@pytest.mark.parametrize(
    ("problem", "labels"),
    [
        ("multi_label_classification", [[1, 0, 0], [True, False, True], np.array([0.0, 1, 1])]),
        ("multi_label_classification", [np.array([True, False, True])] * 3),
        ("regression", [[4, 3.5, 1], [4.5, 3, 1], [1, 1, 1]]),
    ],
)
def test_numbers_that_are_no_classes_become_floats(problem, labels, tokenizer):
    model = BertForSequenceClassification(TINY, NAMES, problem_type=problem)
    rows = [text_row(x, tokenizer) | {"labels": y} for x, y in zip(TEXTS, labels, strict=True)]
    config = TrainingConfig(steps=3, batch_size=1, log_every=1)
    assert len(fine_tune(model, tokenizer, rows, config, progress=False)) == 3


def test_numbers_of_an_evaluation_may_be_of_any_library(tokenizer, tmp_path):
    config = TrainingConfig(
        steps=np.int64(2), batch_size=4, learning_rate=np.float32(1e-3), evaluate_every=1
    )
    log = fine_tune(
        random_model(BertForSequenceClassification), tokenizer, some_rows(8), config, tmp_path,
        evaluate=lambda model: {"a": np.float32(0.5), "b": torch.tensor(2), "c": np.int64(3)},
        progress=False,
    )  # fmt: skip
    assert (log[-1]["a"], log[-1]["b"], log[-1]["c"]) == (0.5, 2, 3)


LONG = "The Danube is a river in Europe. " * 12 + "An octopus swims in the sea."


@pytest.mark.parametrize("max_length, stride", [(None, 5), (12, 10), (12, 3), (99, 38), (3, 1)])
def test_a_long_text_is_the_mean_of_its_windows(tokenizer, max_length, stride):
    model = random_model(BertForSequenceClassification)
    size = min(max_length or 40, 40)
    ids, logits, begin = tokenizer.encode(LONG).ids[1:-1], [], 0
    covered = set()
    while True:
        begin = min(begin, len(ids) - size + 2)
        part = ids[begin : begin + size - 2]
        covered |= set(range(begin, begin + len(part)))
        row = torch.tensor([[tokenizer.cls_id, *part, tokenizer.sep_id]])
        with torch.no_grad():
            logits.append(model(row).logits[0])
        if begin + size - 2 == len(ids):
            break
        begin += stride
    assert covered == set(range(len(ids)))
    wanted = torch.stack(logits).mean(0).softmax(0).tolist()
    sure = classify(LONG, model=(model, tokenizer), max_length=max_length, doc_stride=stride)
    assert [sure[name] for name in NAMES] == pytest.approx(wanted, abs=1e-5)


@given(words=st.integers(0, 90), room=st.integers(1, 38), data=st.data())
@settings(max_examples=50, deadline=None)
def test_windows_leave_nothing_out(tokenizer, words, room, data):
    stride = data.draw(st.integers(1, room))
    ids = tokenizer.encode("river " * words).ids[1:-1]
    windows = [x["input_ids"] for x in class_windows("river " * words, tokenizer, room + 2, stride)]
    assert all(x[0] == tokenizer.cls_id and x[-1] == tokenizer.sep_id for x in windows)
    assert all(len(x) == min(room, len(ids)) + 2 for x in windows)
    reach = min(room, len(ids)) + (len(windows) - 1) * stride
    assert len(ids) <= reach < len(ids) + max(stride, 1)


def test_a_short_text_is_one_window(tokenizer):
    ours = random_model(BertForSequenceClassification), tokenizer
    assert classify(TEXTS[0], model=ours, doc_stride=9) == classify(TEXTS[0], model=ours)
    assert classify("", model=ours, doc_stride=9) == classify("", model=ours)
    cut = classify(LONG, model=ours, max_length=10)
    row = text_row(LONG, tokenizer, max_length=10)
    (logits,) = predict(ours[0], [row], tokenizer.pad_id)
    assert [cut[name] for name in NAMES] == pytest.approx(logits.softmax(0).tolist(), abs=1e-6)
    assert classify(LONG, model=ours, max_length=10_000) == classify(LONG, model=ours)


@pytest.mark.parametrize("more, message", [
    ({"doc_stride": 0}, "doc_stride is 0, not 1 to 38"),
    ({"doc_stride": 39}, "doc_stride is 39, not 1 to 38"),
    ({"doc_stride": 9, "max_length": 10}, "doc_stride is 9, not 1 to 8"),
    ({"doc_stride": 1, "max_length": 2}, "not 1 to 0"),
    ({"doc_stride": 9, "second": "An octopus."}, "leave second out"),
    ({"max_length": 0}, "max_length is 0"),
])  # fmt: skip
def test_windows_that_cannot_be(tokenizer, more, message):
    model = random_model(BertForSequenceClassification)
    with pytest.raises(ValueError, match=message):
        classify(LONG, model=(model, tokenizer), **more)


def test_a_second_text_is_never_left_out(tokenizer):
    ours = random_model(BertForSequenceClassification), tokenizer
    with pytest.raises(ValueError, match="a list of texts, not an iterator"):
        classify(iter(TEXTS), second=TEXTS[0], model=ours)
    with pytest.raises(ValueError, match="3 texts, but 1 second ones"):
        classify(TEXTS[:3], second=TEXTS[:1], model=ours)


def test_a_row_is_as_long_as_the_model_or_shorter():
    model = random_model(BertForSequenceClassification)
    assert [row_length(model, n) for n in (None, 1, 39, 40, 41, 10**6)] == [40, 1, 39, 40, 40, 40]
    for wrong in (0, -1, 1.5, "12"):
        with pytest.raises((TypeError, ValueError), match="max_length"):
            row_length(model, wrong)


def test_a_saved_classifier_answers_bit_for_bit(tokenizer, tmp_path):
    model = random_model(BertForSequenceClassification)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    for text in TEXTS:
        here = classify(text, model=(model, tokenizer))
        assert classify(text, model=tmp_path, device="cpu") == here
