"""Everything that takes a model or a tensor, on a second device: see second_device.py.

What a GPU would refuse is refused here, on any machine; what comes out must be the CPU's.
"""

import importlib
import inspect
import itertools
import json
import math
import pkgutil
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from second_device import Second, kinds, waits
from torch import Tensor, nn

import minibert
from minibert import (
    attention,
    counting,
    device,
    embeddings,
    inside,
    losses,
    mlm,
    modern,
    pretraining,
    qa,
    rouge,
    sentences,
    summaries,
    transfer,
    transformer,
)
from minibert.batching import pack, unpack
from minibert.bert import BertModel
from minibert.classification import classify, text_row
from minibert.config import BertConfig
from minibert.distillation import Distillation, distillation_loss, every_nth_layer
from minibert.electra import BertForReplacedTokens, ReplacedTokens, replace_tokens
from minibert.finetuning import FineTuningData, fine_tune, for_trainer, predict
from minibert.heads import (
    BertForMultipleChoice,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
)
from minibert.huggingface import from_huggingface, to_huggingface
from minibert.loading import load
from minibert.losses import IGNORE
from minibert.mlm import BertForMaskedLM
from minibert.nsp import BertForNextSentencePrediction, build_corpus, next_sentence
from minibert.pretraining import BertForPreTraining, PretrainingConfig, PretrainingData, pretrain
from minibert.squad import Question
from minibert.tagging import Span, tag, tag_row
from minibert.tokens import Tokenizer
from minibert.training import TrainingConfig, train
from minibert.vocabulary import SPECIAL

SECOND = torch.device("second", 0)
CPU = torch.device("cpu")
WORDS = [
    "the", "a", "dog", "cat", "man", "river", "town", "ran", "bit", "over", "and", "in", "to",
    "of", "sea", "rises", "ends", "where", "does", "who", ".", "?", "red", "blue", "old", "new",
    "one", "two", "three", "day", "night", "sun",
]  # fmt: skip
TOKENIZER = Tokenizer([*SPECIAL, *WORDS, "##s", "##ed"])
CONFIG = BertConfig(
    vocab_size=len(TOKENIZER), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=32, max_position_embeddings=48,
)  # fmt: skip
NAMES = {
    BertForSequenceClassification: ["good", "bad", "neither"],
    BertForTokenClassification: ["O", "B-X", "I-X"],
}
KINDS = [
    BertModel, BertForMaskedLM, BertForNextSentencePrediction, BertForPreTraining,
    BertForSequenceClassification, BertForTokenClassification, BertForQuestionAnswering,
    BertForMultipleChoice,
]  # fmt: skip


def make(kind: type[nn.Module], *args: Any, where: torch.device = CPU, **more: Any) -> nn.Module:
    """A model with weights so large that answers differ clearly."""
    torch.manual_seed(0)
    given = args or ((CONFIG, NAMES[kind]) if kind in NAMES else (CONFIG,))
    model = kind(*given, **more)
    for p in model.parameters():
        nn.init.normal_(p, std=0.3)
    return model.eval().to(where)


def drawn(*shape: int, high: int | None = None, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if high is None:
        return torch.randn(shape, generator=generator)
    return torch.randint(5, high, shape, generator=generator)


def same(got: Any, want: Any, where: str = "cpu") -> None:
    """Hold `got` to be `want`, with its tensors on the device that is named."""
    if isinstance(want, Tensor):
        assert got.device.type == where and isinstance(got, Second) == (where == "second")
        torch.testing.assert_close(got.detach().cpu(), want.detach(), atol=2e-5, rtol=2e-5)
    elif isinstance(want, nn.Module):
        same(want=dict(want.state_dict()), got=dict(got.state_dict()), where=where)
    elif isinstance(want, dict):
        assert list(got) == list(want)
        for key in want:
            same(got[key], want[key], where)
    elif isinstance(want, pd.DataFrame):
        pd.testing.assert_frame_equal(got, want, rtol=1e-4, atol=1e-5)
    elif isinstance(want, (tuple, list)):
        assert type(got) is type(want) and len(got) == len(want)
        for one, other in zip(got, want, strict=True):
            same(one, other, where)
    elif isinstance(want, np.ndarray):
        np.testing.assert_allclose(got, want, atol=2e-5, rtol=2e-5)
    elif isinstance(want, float):
        assert type(got) is float and got == pytest.approx(want, rel=2e-4, abs=2e-5, nan_ok=True)
    else:
        assert got == want and type(got) is type(want)


@pytest.fixture(autouse=True)
def no_device_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests choose; a chosen device of the whole run would be a third."""
    monkeypatch.setenv("MINIBERT_DEVICE", "cpu")
    monkeypatch.setenv("MINIBERT_DTYPE", "float32")


# --- mistakes are caught ------------------------------------------------------


def test_a_cpu_tensor_with_an_index_of_the_device():
    special = torch.tensor([True, False, True])
    ids = torch.tensor([0, 2], device=SECOND)
    with pytest.raises(RuntimeError, match="indices should be either on cpu or on the same"):
        special[ids]
    with pytest.raises(RuntimeError, match="indices should be"):
        special[ids] = False
    same(special.to(SECOND)[torch.tensor([0, 2])], torch.tensor([True, True]), "second")


def test_a_mask_made_on_the_wrong_device():
    model = make(BertModel, where=SECOND)
    ids = drawn(2, 5, high=20).to(SECOND)
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        model(ids, torch.ones(2, 5))
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        attention.attend(*drawn(3, 1, 2, 4, 8).to(SECOND), attention.causal_mask(4))
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        model(ids.cpu())


def test_item_in_a_loop_is_counted():
    scores = drawn(7).to(SECOND)
    with waits() as found:
        total = sum(one.item() for one in scores)
    assert kinds(found) == {"item": len(scores)} and math.isfinite(total)


def test_every_kind_of_wait_is_counted():
    x = drawn(2, 3).to(SECOND)
    with waits() as found:
        x.cpu(), x.tolist(), bool(x.sum() > 0), x[x > 0], x.nonzero(), torch.equal(x, x)
        x.unique(), x.masked_select(x > 0), x.to("cpu"), int(x.sum()), torch.zeros(2, 3).copy_(x)
        x[x > 9] = x[x > 9]
    assert kinds(found) == {
        "cpu": 3, "tolist": 1, "item": 2, "boolean index": 3, "nonzero": 1, "equal": 1,
        "unique": 1, "masked_select": 1,
    }  # fmt: skip
    with waits() as found:  # a GPU does these without being asked how far it is
        x[x > 0] = 1.0
        x.masked_fill(x > 0, 2.0), x.where(x > 0, 0), x[:, 1], x[torch.tensor([0])]
        x + torch.tensor(2.0), x.sum(), torch.tensor([1], device=SECOND), torch.ones(2).to(SECOND)
    assert not found


def test_a_wait_names_the_line_of_the_package():
    with waits() as found:
        losses.at_labels(drawn(1, 3, 4).to(SECOND), torch.tensor([[IGNORE, 1, 2]], device=SECOND))
    ((kind, line, function),) = found
    lines, first = inspect.getsourcelines(losses.at_labels)
    file, number = line.split(":")
    assert (kind, file, function) == ("nonzero", "losses.py", "losses.at_labels")
    assert ".nonzero()" in lines[int(number) - first]


def test_numpy_without_cpu():
    x = torch.ones(3, device=SECOND)
    with pytest.raises(TypeError, match=r"can't convert second:0 .* Use Tensor\.cpu\(\)"):
        x.numpy()
    with pytest.raises(TypeError, match="can't convert second:0"):
        np.asarray(x)
    assert x.cpu().numpy().tolist() == [1, 1, 1]


def test_positions_counted_on_the_cpu():
    x = drawn(2, 5).to(SECOND)
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        x + torch.arange(5)
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        nn.Embedding(9, 4).to(SECOND)(torch.arange(5))
    same(x + torch.arange(5, device=x.device), x.cpu() + torch.arange(5), "second")


def test_a_buffer_left_on_the_cpu():
    class Scaled(nn.Module):
        def __init__(self, kept: bool) -> None:
            super().__init__()
            self.scale = torch.ones(3)
            if kept:
                del self.scale
                self.register_buffer("scale", torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale

    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        Scaled(kept=False).to(SECOND)(torch.ones(3, device=SECOND))
    same(Scaled(kept=True).to(SECOND)(torch.ones(3, device=SECOND)), torch.ones(3), "second")


def test_no_module_of_the_package_leaves_anything_behind():
    for kind in KINDS:
        model = make(kind, where=SECOND)
        held = [x for m in model.modules() for x in vars(m).values() if isinstance(x, Tensor)]
        assert not held and all(isinstance(x, Second) for x in model.state_dict().values())


# --- the models ---------------------------------------------------------------

REAL = torch.tensor([[1] * 6, [1] * 4 + [0] * 2, [1, 1] + [0] * 4])
MASKS = {"none": None, "rows": REAL, "pairs": REAL[:, None] * REAL[:, :, None]}


def labels_of(kind: type[nn.Module]) -> dict[str, Tensor]:
    """What the class takes to give a loss."""
    pair = torch.tensor([0, 1, 1])
    places = torch.full((3, 6), IGNORE)
    places[0, 1:3] = places[1, 2] = 1
    given = {
        BertForMaskedLM: {"labels": places},
        BertForNextSentencePrediction: {"next_sentence_label": pair},
        BertForPreTraining: {"labels": places, "next_sentence_label": pair},
        BertForSequenceClassification: {"labels": pair},
        BertForTokenClassification: {"labels": places},
        BertForQuestionAnswering: {"start_positions": pair, "end_positions": pair + 1},
        BertForMultipleChoice: {"labels": pair[:1]},
    }
    return given.get(kind, {})


def passed(
    kind: type[nn.Module], where: torch.device, mask: Tensor | None, learn: bool, wide: bool,
    dtype: torch.dtype = torch.float32,
) -> tuple[Any, dict[str, Tensor]]:  # fmt: skip
    """Go through a model forwards and, to learn, backwards."""
    model = make(kind, where=where).to(dtype)
    inputs: dict[str, Any] = {"input_ids": drawn(3, 6, high=20), "attention_mask": mask}
    if wide:
        inputs["token_type_ids"] = torch.tensor([[0, 0, 0, 1, 1, 1]] * 3)
        inputs["position_ids"] = torch.tensor([[3, 4, 5, 0, 1, 2]] * 3)
    if kind is BertForMultipleChoice:  # one question with three choices
        packed = mask is not None and mask.ndim == 3
        inputs["attention_mask"] = None if packed else mask
        inputs = {k: x if x is None else x[None] for k, x in inputs.items()}
    inputs |= labels_of(kind) if learn else {}
    inputs = {k: x if x is None else x.to(where) for k, x in inputs.items()}
    with torch.set_grad_enabled(learn):
        output = model(**inputs, output_hidden_states=wide, output_attentions=wide)
    if learn:
        loss = getattr(output, "loss", None)
        if loss is None:
            loss = sum(x.float().sin().sum() for x in output[:2])
        maps = sum(x.float().square().sum() for x in output.attentions or ())
        (loss + maps).backward()
    return output, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("wide", [False, True], ids=["bare", "all"])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_gives_the_same(kind, mask, wide):
    for learn in (False, True):
        want = passed(kind, CPU, MASKS[mask], learn, wide)
        with waits() as found:
            got = passed(kind, SECOND, MASKS[mask], learn, wide)
        same(got, want, "second")
        if learn:
            assert len(want[1]) > 20
            words = kind in (BertForMaskedLM, BertForPreTraining, BertForTokenClassification)
            assert kinds(found) == ({"nonzero losses.at_labels": 1} if words else {})


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_row_gives_the_same(kind):
    """And asks for nothing more: where the texts begin is found without waiting."""
    results = []
    for where in (CPU, SECOND):
        model = make(kind, where=where)
        inputs = {"input_ids": drawn(3, 6, high=20), "attention_mask": REAL}
        if kind is BertForMultipleChoice:
            inputs = {k: x[None] for k, x in inputs.items()}
        given = {k: x.to(where) for k, x in pack(inputs | labels_of(kind)).items()}
        with waits() as found:
            output = model(**given, output_hidden_states=True)
            loss = getattr(output, "loss", None)
            (output[0].sin().sum() if loss is None else loss).backward()
        results.append((output, [p.grad for p in model.parameters() if p.grad is not None]))
    want, got = results
    same(got, want, "second")
    words = kind in (BertForMaskedLM, BertForPreTraining, BertForTokenClassification)
    assert kinds(found) == ({"nonzero losses.at_labels": 1} if words else {})


def test_transformer_learns_and_translates_the_same():
    def all_of_it(where: torch.device) -> list[Any]:
        model = make(transformer.Transformer, 20, 20, hidden_size=16, num_heads=2, where=where)
        source, target = drawn(3, 6, high=20) * REAL, drawn(3, 5, high=20, seed=1)
        scores = model(source.to(where), target.to(where))
        scores.sin().sum().backward()
        written = model.translate(source.to(where), 5, 7)
        return [scores, [p.grad for p in model.parameters()], written]

    same(all_of_it(SECOND), all_of_it(CPU), "second")


# --- functions on strings -----------------------------------------------------

At = Callable[[type[nn.Module]], Any]  # a model and its tokenizer, or a folder
TEXTS = ["The dog bit a man.", "A cat ran over the river and the town.", "Who ran?"]
QUESTIONS = [
    Question("1", "", "Where does the river end?", "The river rises in the town. " * 9),
    Question("2", "", "Who bit the man?", "A dog bit the man in the night."),
]
REFERENCES = [rouge.Reference(" ".join(TEXTS), TEXTS[0])] * 2

STRINGS: dict[str, Callable[[At], Any]] = {
    "mlm.fill_mask": lambda at: mlm.fill_mask(
        "the [MASK] bit a [MASK] .", 3, model=at(BertForMaskedLM)
    ),
    "mlm.fill_one_by_one": lambda at: mlm.fill_one_by_one(
        "the [MASK] bit [MASK] [MASK] .", model=at(BertForMaskedLM)
    ),
    "mlm.pseudo_log_likelihood": lambda at: mlm.pseudo_log_likelihood(
        TEXTS[1], model=at(BertForMaskedLM)
    ),
    "mlm.guess_words": lambda at: mlm.guess_words(
        TEXTS * 9, ["dog", "cat", "man", "the"], model=at(BertForMaskedLM)
    ),
    "nsp.next_sentence": lambda at: next_sentence(
        *TEXTS[:2], model=at(BertForNextSentencePrediction)
    ),
    "classification.classify": lambda at: classify(
        TEXTS[0], model=at(BertForSequenceClassification)
    ),
    "tagging.tag": lambda at: tag(TEXTS[1], model=at(BertForTokenClassification)),
    "qa.answer": lambda at: qa.answer(*QUESTIONS[1][2:4], model=at(BertForQuestionAnswering)),
    "qa.answer_all": lambda at: qa.answer_all(
        QUESTIONS, model=at(BertForQuestionAnswering), max_length=24, threshold=0.0, others=2
    ) + qa.answer_all(
        QUESTIONS, model=at(BertForQuestionAnswering), max_length=24, packed=True
    ),
    "sentences.embed": lambda at: [
        sentences.embed(TEXTS, model=at(BertModel), batch_size=2, layer=layer, pool=pool)
        for layer in (-1, None)
        for pool in (sentences.mean_pool, sentences.first_token)
    ] + [sentences.embed(TEXTS, model=at(BertModel), packed=True)],
    "summaries.summarize": lambda at: [
        summaries.summarize(TEXTS, 1, method=method, model=at(BertModel))
        for method in summaries.METHODS
    ],
    "rouge.evaluate_summaries": lambda at: rouge.evaluate_summaries(
        REFERENCES, 1, methods=["centroid", "first"], model=at(BertModel), draws=9
    ),
    "inside.attend": lambda at: inside.attend(*TEXTS[:2], model=at(BertModel)),
    "inside.head_table": lambda at: inside.head_table(TEXTS, model=at(BertModel)),
    "inside.word_states": lambda at: inside.word_states(TEXTS, "the", model=at(BertModel)),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[type[nn.Module], str]:
    """Each model with its tokenizer, saved: from the second device, as from a GPU."""
    found = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp(kind.__name__)
        make(kind, where=SECOND).save_pretrained(folder)
        TOKENIZER.save_pretrained(folder)
        found[kind] = str(folder)
    return found


@pytest.mark.parametrize("name", STRINGS)
def test_a_function_on_strings_gives_the_same(name, folders, monkeypatch):
    call = STRINGS[name]
    want = call(lambda kind: (make(kind), TOKENIZER))
    same(call(lambda kind: (make(kind, where=SECOND), TOKENIZER)), want)
    # By name, the chosen device is found without being asked for.
    monkeypatch.setenv("MINIBERT_DEVICE", "second")
    landed = []

    def spied(model: Any, kind: Any, device: Any = None) -> Any:
        found = load(model, kind, device)
        landed.append(found[0].device)
        return found

    module = importlib.import_module(f"minibert.{name.split('.')[0]}")
    callers = {qa, sentences, inside} | ({module} if hasattr(module, "load") else set())
    for one in callers:  # summaries and rouge load through sentences
        monkeypatch.setattr(one, "load", spied)
    same(call(lambda kind: folders[kind]), want)
    assert landed and set(landed) == {SECOND}


def test_a_model_that_embed_read_can_be_trained(folders):
    sentences.embed(TEXTS, model=folders[BertModel], device="second")
    model, _ = load(folders[BertModel], BertModel, "second")
    model(drawn(1, 5, high=20).to(SECOND)).pooler_output.sum().backward()


def test_rows_of_one_batch_wait_once():
    """A wait belongs to a batch, not to each of its rows."""
    calls: list[Callable[[int], Any]] = [
        lambda n: sentences.embed(TEXTS[:1] * n, model=(models[0], TOKENIZER)),
        lambda n: predict(models[1], ROWS[:1] * n, TOKENIZER.pad_id),
        lambda n: qa.answer_all(QUESTIONS[1:] * n, model=(models[2], TOKENIZER)),
        lambda n: models[3].translate(drawn(n, 5, high=20).to(SECOND), 5, 4),
    ]
    kinds_of = BertModel, BertForSequenceClassification, BertForQuestionAnswering
    models = [make(kind, where=SECOND) for kind in kinds_of]
    models.append(make(transformer.Transformer, 20, 20, where=SECOND))
    for call in calls:
        counts = []
        for n in (1, 9):
            with waits() as found:
                call(n)
            counts.append(kinds(found))
        assert counts[0] == counts[1] and sum(counts[0].values()) < 9


def test_a_pair_is_used_where_it_is(monkeypatch):
    monkeypatch.setenv("MINIBERT_DEVICE", "second")
    assert load((make(BertModel), TOKENIZER), BertModel)[0].device == CPU
    same(sentences.embed(TEXTS, model=(make(BertModel), TOKENIZER)).shape, (3, 16))


# --- functions on models and tensors ------------------------------------------

Put = Callable[[Tensor], Tensor]  # to the device
X, MEMORY = drawn(2, 5, 16), drawn(2, 7, 16, seed=1)
CAUSAL = attention.causal_mask(5)
SIZES = (16, 2, 32)  # hidden, heads, intermediate


def layer(kind: type[nn.Module], *args: Any) -> Callable[[Put], Any]:
    """Build a module, and run it with what it takes."""
    beside = (MEMORY,) if kind.__name__ in ("CrossAttention", "DecoderLayer", "Decoder") else ()
    mask = () if issubclass(kind, transformer.FeedForward) else (CAUSAL,)
    if kind is transformer.CrossAttention:
        mask = (torch.ones(5, 7, dtype=torch.bool).tril(),)

    def run(put: Put) -> Any:
        model = make(kind, *args, where=put(X).device)
        inputs = [put(x) for x in (X, *beside, *mask)]
        extra = [model.weights(*inputs)] if hasattr(model, "weights") else []
        return [model(*inputs), *extra]

    return run


def embedded(put: Put) -> Tensor:
    model = make(embeddings.Embeddings, 20, 16, 9, where=put(X).device)
    return model(put(drawn(2, 5, high=20)), put(torch.ones(1, 5, dtype=torch.int32)))


def scored(put: Put) -> Tensor:
    model = make(mlm.MaskedLMHead, CONFIG, where=put(X).device)
    return model(put(X), put(drawn(len(TOKENIZER), 16)))


TENSORS: dict[str, Callable[[Put], Any]] = {
    "attention.attention": lambda put: [
        attention.attention(put(X), put(X), put(X)),
        attention.attention(put(X), put(X), put(X), put(CAUSAL)),
    ],
    "attention.causal_mask": lambda put: attention.causal_mask(4, put(X).device),
    "attention.padding_mask": lambda put: attention.padding_mask(put(REAL)),
    "attention.split_heads": lambda put: attention.split_heads(put(X), 2),
    "attention.merge_heads": lambda put: attention.merge_heads(put(drawn(2, 2, 5, 8))),
    "attention.attend": lambda put: attention.attend(*put(drawn(3, 1, 2, 5, 8)), put(CAUSAL)),
    "attention.SelfAttention": layer(attention.SelfAttention, 16, 2),
    "transformer.CrossAttention": layer(transformer.CrossAttention, 16, 2),
    "transformer.FeedForward": layer(transformer.FeedForward, 16, 32),
    "transformer.EncoderLayer": layer(transformer.EncoderLayer, *SIZES),
    "transformer.Encoder": layer(transformer.Encoder, 2, *SIZES),
    "transformer.DecoderLayer": layer(transformer.DecoderLayer, *SIZES),
    "transformer.Decoder": layer(transformer.Decoder, 2, *SIZES),
    "embeddings.Embeddings": embedded,
    "embeddings.extend_positions": lambda put: [
        embeddings.extend_positions(put(drawn(6, 4)), 11, method) for method in ("copy", "stretch")
    ],
    "mlm.MaskedLMHead": scored,
    "modern.rotate": lambda put: modern.rotate(
        put(drawn(2, 2, 5, 8)), put(torch.arange(5))[None]
    ),
    "modern.window_mask": lambda put: modern.window_mask(6, 2, put(X).device),
    "modern.RotaryAttention": layer(modern.RotaryAttention, 16, 2),
    "modern.GatedFeedForward": layer(modern.GatedFeedForward, 16, 32),
    "modern.PreNormLayer": layer(modern.PreNormLayer, *SIZES),
    "distillation.distillation_loss": lambda put: distillation_loss(
        put(drawn(4, 9)), put(drawn(4, 9, seed=1))
    ),
    "losses.at_labels": lambda put: losses.at_labels(
        put(X), put(torch.tensor([[IGNORE] * 4 + [7]] * 2))
    ),
    "sentences.mean_pool": lambda put: sentences.mean_pool(put(drawn(3, 6, 4)), put(REAL)),
    "sentences.first_token": lambda put: sentences.first_token(put(drawn(3, 6, 4)), put(REAL)),
    "huggingface.to_huggingface": lambda put: to_huggingface(
        make(BertModel, where=put(X).device).state_dict()
    ),
    "huggingface.from_huggingface": lambda put: from_huggingface(
        to_huggingface(make(BertModel, where=put(X).device).state_dict())
    ),
    "inside.switch_off": lambda put: inside.switch_off(
        make(BertForMaskedLM, where=put(X).device), {0: [1], 1: [0, 1]}
    ),
    "batching.Batch": lambda put: TOKENIZER(TEXTS).to(put(X).device),
    "batching.unpack": lambda put: unpack(put(drawn(1, 12, 4)), put(REAL)),
    "attention.find_packing": lambda put: attention.find_packing(
        put(REAL), put(drawn(1, 12, high=20))
    )[:4],
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_function_on_tensors_gives_the_same_there(name):
    call = TENSORS[name]
    with torch.no_grad():
        same(call(lambda x: x.to(SECOND)), call(lambda x: x), "second")


ROWS = [text_row(text, TOKENIZER, i) for i, text in enumerate(TEXTS * 4)]
ROWS = [row | {"labels": row["labels"] % 3} for row in ROWS]
TAGS = [
    tag_row(text, TOKENIZER, [Span("X", 0, 7)], NAMES[BertForTokenClassification])
    for text in TEXTS * 4
]
QA_ROWS = qa.question_rows(
    [Question(str(i), "", *QUESTIONS[1][2:4], ("A dog",), (0,)) for i in range(8)], TOKENIZER
)
CORPUS = build_corpus(
    [[" ".join(WORDS[(i + j + k) % 24] for k in range(5)) for j in range(6)] for i in range(8)],
    TOKENIZER,
    24,
)
NUMBERS: dict[str, Any] = {
    "steps": 4, "batch_size": 4, "learning_rate": 0.01, "log_every": 1, "save_every": 2,
    "evaluate_every": 2,
}  # fmt: skip
PRETRAINING = PretrainingConfig(**NUMBERS, max_length=24, accumulate=2)
PLAIN = {"dtype": torch.float32}


def with_ids(where: torch.device) -> list[Any]:
    ids = drawn(9, high=30).to(where)
    return [TOKENIZER.tokens(ids), TOKENIZER.decode(ids)]


def measured(where: torch.device) -> dict[str, float]:
    data = PretrainingData(CORPUS, TOKENIZER, PretrainingConfig(**NUMBERS, max_length=24))
    return pretraining.measure(make(BertForPreTraining, where=where), data, 2)


def frozen(where: torch.device) -> list[bool]:
    model = make(BertForMaskedLM, where=where)
    transfer.train_last(model, 1)
    return [p.requires_grad for p in model.parameters()]


MODELS: dict[str, Callable[[torch.device], Any]] = {
    "finetuning.predict": lambda where: [
        predict(make(kind, where=where), ROWS, TOKENIZER.pad_id, 5)
        for kind in (BertForSequenceClassification, BertForTokenClassification)
    ],
    "finetuning.for_trainer": lambda where: for_trainer(
        make(BertForSequenceClassification, where=where)
    )(drawn(3, 6, high=20).to(where), labels=torch.tensor([0, 1, 2], device=where))[0].item(),
    "pretraining.measure": measured,
    "transfer.train_last": frozen,
    "tokens.Tokenizer": with_ids,
    "device.slowdown": lambda where: device.slowdown(where, torch.float32) > 0,
    "device.best_dtype": lambda where: device.best_dtype(where),
    "counting.saved_bytes": lambda where: counting.saved_bytes(
        model := make(transformer.FeedForward, 16, 32, where=where),
        lambda: model(X.to(where)).sum(),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_function_on_a_model_gives_plain_things(name):
    same(MODELS[name](SECOND), MODELS[name](CPU))


def test_a_deeper_model_has_the_layers_of_the_second_device():
    want = transfer.stack_layers(make(BertForMaskedLM), 4)
    got = transfer.stack_layers(make(BertForMaskedLM, where=SECOND), 4)
    same(got, want, got.device.type)


def test_a_student_has_the_layers_of_the_second_device():
    want = every_nth_layer(make(BertForMaskedLM), 1)
    got = every_nth_layer(make(BertForMaskedLM, where=SECOND), 1)
    same(got, want, got.device.type)


def after_bert(name: str, where: torch.device) -> nn.Module:
    """A model of the chapters after BERT, or two that learn together."""
    if name.startswith("modern"):
        changes = modern.Changes(pre_norm=True, rotary=True, gated=True, biases=False, window=2)
        return make(getattr(modern, name.split(".")[1]), CONFIG, changes, where=where)
    student = make(BertForMaskedLM, where=where)
    if name == "distillation.Distillation":
        teacher = make(BertForMaskedLM, where=where)
        teacher.predictions.bias.data += drawn(len(TOKENIZER)).to(where)
        return Distillation(student, teacher)
    finder = make(BertForReplacedTokens, where=where)
    return finder if name == "electra.BertForReplacedTokens" else ReplacedTokens(student, finder)


PLACES = {"labels": labels_of(BertForMaskedLM)["labels"]}
AFTER_BERT: dict[str, dict[str, Tensor]] = {  # and what each learns from
    "modern.ModernBertModel": {},
    "modern.ModernBertForMaskedLM": PLACES,
    "distillation.Distillation": PLACES,
    "electra.BertForReplacedTokens": {"replaced": PLACES["labels"] == 1},
    "electra.ReplacedTokens": PLACES,
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", AFTER_BERT)
def test_a_model_after_bert_gives_the_same(name, mask):
    if name.startswith("electra") and mask == "pairs":
        pytest.skip("its loss counts the tokens of a mask of rows")
    results = []
    for where in (CPU, SECOND):
        model = after_bert(name, where)
        torch.manual_seed(0)
        inputs = {"input_ids": drawn(3, 6, high=20), "attention_mask": MASKS[mask]}
        inputs |= AFTER_BERT[name]
        output = model(**{k: x if x is None else x.to(where) for k, x in inputs.items()})
        loss = getattr(output, "loss", None)
        (output[0].sin().sum() if loss is None else loss).backward()
        grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        assert len(grads) > 10
        results.append((output, grads))
    same(results[1], results[0], "second")


def test_tokens_are_replaced_on_the_second_device():
    results = []
    for where in (CPU, SECOND):
        torch.manual_seed(0)
        ids, labels = drawn(3, 6, high=20).to(where), PLACES["labels"].to(where)
        logits = drawn(3, len(TOKENIZER)).to(where)
        results.append(replace_tokens(ids, labels, logits))
    same(results[1], results[0], "second")


def test_a_trained_part_is_saved_from_the_second_device(tmp_path):
    for where in (CPU, SECOND):
        model = make(BertForSequenceClassification, where=where)
        transfer.train_last(model, 1)
        transfer.save_trained(model, tmp_path / where.type, "minilm")
    first, second = (tmp_path / x.type / "model.safetensors" for x in (CPU, SECOND))
    assert first.read_bytes() == second.read_bytes()


def test_values_are_looked_at_where_nobody_waits():
    x = torch.ones(2, device=SECOND)
    assert not device.can_look(x)
    with torch.no_grad():
        assert device.can_look(x)
    assert device.best_device() == CPU


# --- training -----------------------------------------------------------------

Begin = tuple[nn.Module, Callable[..., list[dict[str, float]]]]


def run_of(what: str, config: TrainingConfig | None = None) -> Begin:
    """A model on the CPU and what trains it; training moves it to the chosen device."""
    numbers = config or TrainingConfig(**NUMBERS)
    if what in ("words", "pairs"):
        words = what == "words"
        kind = BertForMaskedLM if words else BertForPreTraining
        chosen = config or PretrainingConfig(
            **NUMBERS, max_length=24, task=None if words else "next", whole_words=words
        )
        model = make(kind)
        return model, lambda folder=None: pretrain(
            model, TOKENIZER, CORPUS, chosen, folder, held_out=CORPUS, progress=False
        )
    kind, rows = {
        "classes": (BertForSequenceClassification, ROWS),
        "tags": (BertForTokenClassification, TAGS),
        "questions": (BertForQuestionAnswering, QA_ROWS),
    }[what]
    model = make(kind)
    return model, lambda folder=None: fine_tune(
        model, TOKENIZER, rows, numbers, folder, progress=False
    )


RUNS = ("words", "pairs", "classes", "tags", "questions")


def without_speed(log: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in x.items() if k != "tokens_per_second"} for x in log]


@pytest.mark.parametrize("what", RUNS)
def test_a_run_and_its_second_half_are_those_of_the_cpu(what, tmp_path, monkeypatch):
    model, go = run_of(what)
    want = without_speed(go(tmp_path / "cpu"))
    assert len(want) == 4
    monkeypatch.setenv("MINIBERT_DEVICE", "second")
    ours, go = run_of(what)
    same(without_speed(go(tmp_path / "second")), want)
    assert ours.device == SECOND and not ours.training
    same(ours, model, "second")
    # Go on from the second step: here, and on the CPU with what this device wrote.
    for where in ("second", "cpu"):
        monkeypatch.setenv("MINIBERT_DEVICE", where)
        folder = tmp_path / f"again-{where}"
        shutil.copytree(tmp_path / "second", folder)
        shutil.rmtree(folder / "step-00000004")
        again, go = run_of(what)
        same(without_speed(go(folder)), want)
        same(again, model, where)


STEP_WAITS = {
    "words": {"nonzero losses.at_labels": 1},
    "pairs": {"nonzero losses.at_labels": 1},
    "classes": {},
    "tags": {"nonzero losses.at_labels": 1},
    "questions": {},
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("what", RUNS)
def test_a_step_waits_as_seldom_as_it_can(what, dtype, packed, monkeypatch):
    """Between two steps that log nothing; labelled places are gathered once.

    In float16 the scaler looks for an overflow, and skips its step, without asking.
    """
    monkeypatch.setenv("MINIBERT_DEVICE", "second")
    monkeypatch.setenv("MINIBERT_DTYPE", dtype)
    marks: list[int] = []
    data = PretrainingData if what in ("words", "pairs") else FineTuningData
    real = data.__call__
    with waits() as found:

        def marked(self: Any, *args: int) -> Any:
            marks.append(len(found))
            return real(self, *args)

        monkeypatch.setattr(data, "__call__", marked)
        numbers = NUMBERS | {"log_every": 99, "save_every": 99, "evaluate_every": 99}
        numbers["packed"] = packed
        config = TrainingConfig(**numbers)
        if data is PretrainingData:
            task = None if what == "words" else "next"
            config = PretrainingConfig(**numbers, max_length=24, task=task)
        run_of(what, config)[1]()
    for begin, end in itertools.pairwise(marks[1:4]):  # then the evaluation draws, too
        assert kinds(found[begin:end]) == STEP_WAITS[what]


def test_float16_there_is_nearly_float32(monkeypatch):
    """Autocast casts what it should: nothing meets a number of another type."""
    monkeypatch.setenv("MINIBERT_DEVICE", "second")
    losses = []
    for dtype in ("float32", "float16"):
        monkeypatch.setenv("MINIBERT_DTYPE", dtype)
        losses.append([line["masked_lm_loss"] for line in run_of("pairs")[1]()])
    assert losses[1] == pytest.approx(losses[0], rel=0.02) and losses[1] != losses[0]


def test_train_itself_takes_any_module(monkeypatch):
    def go() -> tuple[Any, nn.Module]:
        config = TrainingConfig(**NUMBERS)
        model = make(BertForSequenceClassification)
        data = FineTuningData(ROWS, config, TOKENIZER.pad_id)
        return without_speed(train(model, data, config, progress=False)), model

    want = go()
    monkeypatch.setenv("MINIBERT_DEVICE", "second")
    got = go()
    same(got[0], want[0])
    same(got[1], want[1], "second")


@pytest.fixture
def half(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Train in float16 on the CPU, with the loss scaled."""
    monkeypatch.setenv("MINIBERT_DTYPE", "float16")
    yield


def scale_of(folder: Path, step: int) -> dict[str, Any]:
    state = folder / f"step-{step:08d}" / "state.json"
    return json.loads(state.read_text(encoding="utf-8"))["scaler"]


def test_float16_learns_and_keeps_its_scale(half, tmp_path):
    more = {"steps": 12, "save_every": 6, "evaluate_every": 99, "learning_rate": 0.03}
    config = TrainingConfig(**NUMBERS | more)
    log = run_of("classes", config)[1](tmp_path)
    losses = [line["loss"] for line in log]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    assert scale_of(tmp_path, 6)["scale"] == scale_of(tmp_path, 12)["scale"] == 2.0**16
    assert scale_of(tmp_path, 12)["_growth_tracker"] == 12
    shutil.rmtree(tmp_path / "step-00000012")
    again = run_of("classes", config)[1](tmp_path)
    same(without_speed(again), without_speed(log))
    assert scale_of(tmp_path, 12)["_growth_tracker"] == 12  # 6 came back, and 6 were added


def test_an_overflow_changes_no_weight_and_halves_the_scale(half, tmp_path):
    config = TrainingConfig(**NUMBERS | {"steps": 3, "save_every": 2})
    run_of("classes", config)[1](tmp_path)
    shutil.rmtree(tmp_path / "step-00000003")
    file = tmp_path / "step-00000002" / "state.json"
    said = json.loads(file.read_text(encoding="utf-8"))
    said["scaler"]["scale"] = 2.0**120
    file.write_text(json.dumps(said), encoding="utf-8")
    before = (tmp_path / "step-00000002" / "tensors.safetensors").read_bytes()
    run_of("classes", config)[1](tmp_path)
    assert (tmp_path / "step-00000003" / "tensors.safetensors").read_bytes() == before
    assert scale_of(tmp_path, 3)["scale"] == 2.0**119


# --- rows of padding, in fewer bits -------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_padding_is_a_number_in_fewer_bits(kind, dtype):
    empty = REAL.clone()
    empty[2] = 0
    for mask in (empty, empty[:, None] * empty[:, :, None]):
        output, grads = passed(kind, CPU, mask, True, True, dtype)
        flat: list[Tensor] = []
        for x in output:
            flat += [x] if isinstance(x, Tensor) else list(x or ())
        assert len(flat) >= 2 + 3 + 2 and all(x.isfinite().all() for x in flat)
        assert len(grads) > 20 and all(g.isfinite().all() for g in grads.values())


# --- nothing is left out ------------------------------------------------------

RUN = {
    *STRINGS, *TENSORS, *MODELS, *AFTER_BERT, "transformer.Transformer", "transfer.stack_layers",
    "distillation.every_nth_layer", "electra.replace_tokens",
    "transfer.save_trained", "training.train", "pretraining.pretrain",
    "finetuning.fine_tune", "device.can_look", "device.best_device", "loading.load",
    "pretraining.PretrainingData", "finetuning.FineTuningData",
    *(f"{kind.__module__.split('.')[1]}.{kind.__name__}" for kind in KINDS),
}  # fmt: skip
EXCEPTIONS = {
    "bert.BertPreTrainedModel": "what the models above share; it has no forward pass",
    "mlm.Masking": "hides words on the CPU, as it says, before a batch goes to a device",
    "batching.collate": "makes CPU tensors out of lists",
    "batching.pack": "packs a batch before it goes to a device",
    "cards.models": "reads the models' cards, and no weights",
    "exporting.export": "computes on the CPU, as it says, on a copy of what lies elsewhere",
    "sentence_layout.save_sentence_model": "writes files",
    "spreading.spread": "of one process gives back what it got; test_day runs two on the CPU",
    "sharing.push_to_hub": "writes files and sends them",
    "sharing.model_card": "writes a text",
    "serving.make_app": "calls the functions on strings",
    "search.open_index": "calls embed",
    "search.ask": "calls embed and answer_all",
    "counting.activations": "counts without computing; device is the name of a rule",
    "counting.memory": "counts without computing; device is the name of a rule",
    "data.sentences": "cuts strings: a model of the language, none of torch",
    "nsp.to_batch": "makes CPU tensors out of arrays",
    "embeddings.sinusoids": "makes a table out of two numbers; the caller moves it",
}
HINTS = ("Tensor", "Module", "Model", "device", "Kind", "BertFor", "Pool", "Batch")


def takes_a_device(thing: Any) -> bool:
    """Whether a public name is a module, or takes or gives a model or a tensor."""
    if not callable(thing) or (inspect.isclass(thing) and hasattr(thing, "_fields")):
        return thing is importlib.import_module("minibert.tokens").Batch
    if inspect.isclass(thing):
        return issubclass(thing, nn.Module)
    return any(hint in str(inspect.signature(thing)) for hint in HINTS)


def test_every_public_name_is_run_here_or_has_a_reason():
    wanted = set()
    for _, name, _ in pkgutil.iter_modules(minibert.__path__):
        if name == "__main__":
            continue
        module = importlib.import_module(f"minibert.{name}")
        public = {x: getattr(module, x) for x in module.__all__}
        wanted |= {f"{name}.{x}" for x, thing in public.items() if takes_a_device(thing)}
    assert len(wanted) > 50
    left = wanted - RUN - EXCEPTIONS.keys()
    assert not left, f"run them on the second device here: {sorted(left)}"
    assert not EXCEPTIONS.keys() & RUN
