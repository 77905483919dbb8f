"""A model and its tokenizer for the functions on strings: where, in which numbers, how trained."""

from pathlib import Path

import numpy as np
import pytest
import torch

import minibert
from minibert import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    Tokenizer,
)
from minibert.classification import with_labels
from minibert.loading import Untrained, load
from minibert.sentence_layout import find_layout, save_sentence_model

SMALL = BertConfig(
    vocab_size=4096, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=64, max_position_embeddings=64, initializer_range=0.2,
)  # fmt: skip
DANUBE = "The Danube rises in Germany and ends in the Black Sea."


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each kind that the functions read, with the head that it needs."""
    torch.manual_seed(0)
    tokenizer, found = Tokenizer.from_pretrained("leads-small"), {}
    config = with_labels(SMALL, ["O", "B-PLACE"])
    for kind in (
        BertModel, BertForQuestionAnswering, BertForSequenceClassification,
        BertForTokenClassification,
    ):  # fmt: skip
        folder = tmp_path_factory.mktemp(kind.__name__)
        kind(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        found[kind.__name__] = folder
    return found


def say(dtype: str | torch.dtype | None, saved: dict[str, Path]) -> dict[str, list[float]]:
    """What the functions say of one text, with models in these numbers."""

    def of(kind: str, name: str | Path | None = None) -> tuple[BertModel, Tokenizer]:
        pair = load(name or saved[kind], kind, "cpu", dtype=dtype)
        wanted = getattr(torch, dtype) if isinstance(dtype, str) else dtype
        assert {one.dtype for one in pair[0].parameters()} == {wanted or torch.float32}
        return pair

    reader = minibert.answer("Where?", DANUBE, model=of("BertForQuestionAnswering"), others=0)
    classes = minibert.classify(DANUBE, model=of("BertForSequenceClassification"))
    spans = minibert.tag(DANUBE, model=of("BertForTokenClassification"))
    words = minibert.fill_mask("It [MASK] here.", 1, model=of("BertForMaskedLM", "leads-small"))
    judge = of("BertForNextSentencePrediction", "leads-small")
    summary = minibert.summarize([DANUBE, "It is wet."], 1, model=of("BertModel"))
    return {
        "embed": minibert.embed([DANUBE], model=of("BertModel"))[0].tolist(),
        "answer": [reader.probability],
        "classify": [classes[name] for name in sorted(classes)],
        "tag": [float(bool(spans))],
        "fill_mask": words[0].probabilities,
        "next_sentence": [minibert.next_sentence(DANUBE, "It is wet.", model=judge)],
        "summarize": summary.weights.tolist(),
    }


def test_the_numbers_are_chosen_or_given(saved, monkeypatch):
    monkeypatch.setenv("MINIBERT_DTYPE", "bfloat16")  # of training's products: not of these
    exact, half = say(None, saved), say(torch.bfloat16, saved)
    assert exact == say("float32", saved) and half == say("bfloat16", saved)
    for name, values in exact.items():
        near = np.allclose(values, half[name], atol=0.05)
        assert near, (name, values, half[name])
    assert exact["embed"] != half["embed"] and exact["next_sentence"] != half["next_sentence"]


def test_numbers_that_cannot_be_had(saved):
    for wrong in ("floaty", "int8", torch.int64, 3):
        with pytest.raises(TypeError, match="dtype must be a float type of torch"):
            load(saved["BertModel"], dtype=wrong)
    pair = load(saved["BertModel"], dtype=torch.bfloat16)
    said = "the model is loaded, with torch.bfloat16 as its dtype: leave dtype out"
    with pytest.raises(ValueError, match=said):
        load(pair, dtype=torch.float32)


@pytest.mark.parametrize("wrong", ["foo", "cpu:x", "cuda:99", 3.5])
def test_a_device_that_is_not_there(wrong, saved):
    with pytest.raises(ValueError, match=f"device is {wrong!r}, which cannot.*Name another"):
        minibert.embed(["x"], model=saved["BertModel"], device=wrong)


def test_nothing_answers_from_a_random_head(saved):
    asked = {
        "BertForQuestionAnswering": lambda model: minibert.answer("Who?", DANUBE, model=model),
        "BertForSequenceClassification": lambda model: minibert.classify(DANUBE, model=model),
        "BertForTokenClassification": lambda model: minibert.tag(DANUBE, model=model),
        "BertForMaskedLM": lambda model: minibert.fill_mask("A [MASK].", model=model),
        "BertForNextSentencePrediction": lambda model: minibert.next_sentence(
            "a", "b", model=model
        ),
    }
    for kind, ask in asked.items():
        for _ in range(2):  # also where it was read before
            with pytest.raises(Untrained, match=f"no trained head for a {kind}: train one"):
                ask(saved["BertModel"])
    with pytest.warns(UserWarning, match="random"):  # what training starts from
        start = BertForQuestionAnswering.from_pretrained(saved["BertModel"])
    assert start.config.hidden_size == 32


def test_vectors_need_no_pooler(saved, tmp_path):
    pair = load(saved["BertModel"], "BertModel")
    BertModel(SMALL, add_pooling_layer=False).save_pretrained(tmp_path)
    pair[1].save_pretrained(tmp_path)
    assert load(tmp_path)[0].pooler is None and pair[0].pooler is not None
    assert minibert.embed([DANUBE], model=tmp_path).shape == (1, 32)


def test_a_layout_is_read_once_and_again_when_it_changes(saved, tmp_path, monkeypatch):
    model, tokenizer = load(saved["BertModel"], "BertModel", "cpu")
    save_sentence_model(model, tokenizer, tmp_path, "mean")
    read, seen = minibert.sentence_layout.read_layout, []
    monkeypatch.setattr(
        "minibert.sentence_layout.read_layout", lambda path: seen.append(path) or read(path)
    )
    pools = [find_layout(tmp_path)[1].pool for _ in range(3)]
    assert pools == ["mean"] * 3 and len(seen) == 1
    save_sentence_model(model, tokenizer, tmp_path, "cls")
    assert find_layout(tmp_path)[1].pool == "cls" and len(seen) == 2
    vector = minibert.embed([DANUBE], model=tmp_path, device="cpu")
    states = model(**tokenizer([DANUBE])).last_hidden_state[:, 0].detach().numpy()
    np.testing.assert_allclose(vector, states / np.linalg.norm(states), atol=1e-5)


def test_of_no_texts_there_are_no_results(saved):
    assert minibert.classify([], model=saved["BertForSequenceClassification"]) == []
    assert minibert.tag([], model=saved["BertForTokenClassification"]) == []
    assert minibert.embed([], model=saved["BertModel"]).shape == (0, 32)
    assert minibert.answer_all([], model=saved["BertForQuestionAnswering"]) == []


@pytest.mark.parametrize("wrong", [None, 3, [None]])
def test_a_summary_of_no_text(wrong):
    with pytest.raises(TypeError, match="must be a"):
        minibert.summarize(wrong)


@pytest.mark.parametrize("wrong", ["half \ud800", ["half \ud800"]])
def test_a_summary_of_half_a_character(wrong):
    with pytest.raises(ValueError, match="half a character"):
        minibert.summarize(wrong)
