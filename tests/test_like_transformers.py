"""What users of `transformers` reach for is here under its name, and gives the same.

Cases are ours, by topic: each calls both libraries. The page `book/transformers.md` says what
differs and what is not offered; its names must resolve.
"""

import copy
import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from source import ROOT

import minibert
from minibert.batching import Batch, OverflowingBatch
from minibert.bert import BertModel, BertPreTrainedModel
from minibert.config import BertConfig
from minibert.files import resolve
from minibert.mlm import BertForMaskedLM
from minibert.tokens import Tokenizer

MANY = settings(max_examples=150, deadline=None, derandomize=True)
OURS = Tokenizer.from_pretrained("minilm")
THEIRS = transformers.BertTokenizerFast.from_pretrained(resolve("minilm"))
TEXT = st.one_of(
    st.text(max_size=40),
    st.lists(
        st.sampled_from(["the", "dog", "polonium", "snow☃man", "[MASK]", "café", "cafe\u0301",
                         "don't", "[SEP]", "故宫", "ﬁn", "\u00ad", "Skłodowska-Curie"]),
        max_size=20,
    ).map(" ".join),
)  # fmt: skip
TEXTS = st.lists(TEXT, min_size=1, max_size=4)
WORDS = st.lists(st.lists(st.one_of(st.text(max_size=8), TEXT), max_size=8), min_size=1, max_size=3)


def same(ours: Batch, theirs: transformers.BatchEncoding) -> None:
    """Compare the three tensors, by the names that both have."""
    for name in Batch._fields:
        assert ours[name].tolist() == theirs[name].tolist(), name


def both(texts: object, pairs: object = None, **options: object) -> None:
    """Call both with the same options."""
    made = THEIRS(texts, pairs, return_tensors="pt", truncation=options.pop("truncation", True),
                  padding=options.pop("padding", True), **options)  # fmt: skip
    same(OURS(texts, pairs, **options), made)


# The tokenizer


@MANY
@given(TEXTS, st.sampled_from(["left", "right"]), st.sampled_from([None, 1, 8, 64]))
def test_padding(texts: list[str], side: str, multiple: int | None) -> None:
    both(texts, padding_side=side, pad_to_multiple_of=multiple)
    both(texts, texts, padding_side=side, pad_to_multiple_of=multiple)


@MANY
@given(TEXTS, st.sampled_from([None, 1, 2, 5]))
def test_without_special_tokens(texts: list[str], most: int | None) -> None:
    texts = [f"a {text}" for text in texts]  # theirs gives floats for a row of nothing
    both(texts, add_special_tokens=False, max_length=most)
    for text in texts:
        found = OURS.encode(text, add_special_tokens=False)
        assert found.ids == THEIRS.encode(text, add_special_tokens=False)
        assert found.tokens == THEIRS.tokenize(text)
        assert found.words == THEIRS(text, add_special_tokens=False).word_ids()
        assert not any(found.special)
    if most != 1:  # of a pair theirs keeps one and none
        both(texts, texts, add_special_tokens=False, max_length=most)


@MANY
@given(WORDS, st.sampled_from([None, 4, 9]))
@example([["the", "dog's"], [], ["", " "]], None)
@example([["snow☃man", "ﬁn", "cafe\u0301"]], None)
def test_words(texts: list[list[str]], most: int | None) -> None:
    options = {"is_split_into_words": True, "max_length": most}
    both(texts, **options)
    both(texts, texts[::-1], **options)
    for words in filter(None, texts):  # theirs takes a pair of no words for none
        found = OURS.encode(words, words, **options)
        theirs = THEIRS(words, words, return_offsets_mapping=True, truncation=True, **options)
        assert found.ids == theirs["input_ids"]
        assert found.words == theirs.word_ids()
        for word, (start, end), (low, high) in zip(
            found.words, found.offsets, theirs["offset_mapping"], strict=True
        ):
            assert start <= low
            assert high <= end
            assert word is None or end <= len(words[word])


def test_one_list_of_words_is_one_text() -> None:
    words = ["The", "dog", "bit"]
    assert OURS(words, is_split_into_words=True).input_ids.shape == (1, 5)
    assert OURS(words).input_ids.shape == (3, 3)
    same(OURS(words, ["Who", "bit"], is_split_into_words=True),
         OURS(["The dog bit"], ["Who bit"]))  # fmt: skip
    accents = OURS.encode(["Müller", "cafe\u0301s"], is_split_into_words=True)
    assert accents.offsets[1:-1][-1][1] == len("cafe\u0301s")


@MANY
@given(TEXTS, st.integers(4, 12), st.integers(0, 9))
def test_overlapping_rows(texts: list[str], most: int, stride: int) -> None:
    options = {"max_length": most, "return_overflowing_tokens": True}
    options["stride"] = min(stride, most - 3)
    theirs = THEIRS(texts, return_tensors="pt", truncation=True, padding=True, **options)
    ours = OURS(texts, **options)
    same(ours, theirs)
    assert isinstance(ours, OverflowingBatch)
    name = "overflow_to_sample_mapping"
    assert ours[name].tolist() == theirs[name].tolist()


@MANY
@given(st.lists(st.text(alphabet="ab c", max_size=60), min_size=1, max_size=3), st.integers(0, 6))
def test_overlapping_rows_of_pairs(texts: list[str], stride: int) -> None:
    for first, second, which in (
        (["who bit"] * len(texts), texts, "only_second"),
        (texts, ["who bit"] * len(texts), "only_first"),
    ):
        options = {"max_length": 13, "stride": stride, "truncation": which}
        options["return_overflowing_tokens"] = True
        theirs = THEIRS(first, second, return_tensors="pt", padding=True, **options)
        ours = OURS(first, second, **options)
        same(ours, theirs)
        name = "overflow_to_sample_mapping"
        assert ours[name].tolist() == theirs[name].tolist()


@MANY
@given(TEXTS, st.booleans())
def test_decoding(texts: list[str], skip: bool) -> None:
    ids = OURS(texts).input_ids
    wanted = THEIRS.batch_decode(ids, skip_special_tokens=skip)
    assert OURS.batch_decode(ids, skip_special_tokens=skip) == wanted
    assert [OURS.decode(row, skip) for row in ids] == wanted
    assert OURS.batch_decode(ids.tolist(), skip) == wanted


@MANY
@given(TEXTS)
def test_rows_that_are_padded_later(texts: list[str]) -> None:
    rows = [dict(THEIRS(text)) for text in texts]
    theirs, ours = THEIRS.pad(rows, return_tensors="pt"), OURS.pad(rows)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def test_sizes(tmp_path: Path) -> None:
    for name in ("add", "appended"):
        folder = tmp_path / name
        THEIRS.save_pretrained(folder)
        peer = transformers.BertTokenizerFast.from_pretrained(folder)
        if name == "appended":
            peer.add_tokens(["polonium", "<gene>"])
            peer.save_pretrained(folder)
        ours = Tokenizer.from_pretrained(folder)
        assert len(ours) == len(peer)
        assert ours.vocab_size == peer.vocab_size
    assert "vocab_size=30522" in repr(ours)
    assert "lowercase=True" in repr(ours)
    assert "added=2" in repr(ours) or "added=7" in repr(ours)


def test_a_batch_is_used_as_theirs_is() -> None:
    texts = ["the dog bit the man", "it"]
    ours, theirs = OURS(texts), THEIRS(texts, padding=True, return_tensors="pt")
    assert torch.equal(ours["input_ids"], theirs["input_ids"])
    assert {**ours}.keys() == {**theirs}.keys()
    assert {name: tensor.shape for name, tensor in ours.items()} == {
        name: tensor.shape for name, tensor in theirs.items()
    }
    with pytest.raises(KeyError, match="'labels' is none of input_ids"):
        ours["labels"]


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: OURS("a", stride=2), ValueError, "without return_overflowing"),
        (lambda: OURS("a b c d", max_length=4, stride=2, return_overflowing_tokens=True),
         ValueError, "room for 2 tokens"),
        (lambda: OURS("a b c d", max_length=4, stride=-1, return_overflowing_tokens=True),
         ValueError, "stride is -1"),
        (lambda: OURS("a b c", "d e f", max_length=7, return_overflowing_tokens=True),
         ValueError, "only_first"),
        (lambda: OURS("a", padding_side="top"), ValueError, "padding_side is 'top'"),
        (lambda: OURS("the dog", is_split_into_words=True), TypeError, "words must be a list"),
        (lambda: OURS([["the"], "dog"], is_split_into_words=True), TypeError, "words must be"),
        (lambda: OURS([["the", 3]], is_split_into_words=True), TypeError, "word 1"),
        (lambda: OURS([], is_split_into_words=True), ValueError, "no words"),
        (lambda: OURS("a b c", max_length=2, add_special_tokens=False, truncation=False),
         ValueError, "3 tokens.*max_length is 2"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_named(
    call: Callable[[], object], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        call()


# The model

SMALL = BertConfig(
    vocab_size=99, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
    intermediate_size=64, max_position_embeddings=20,
)  # fmt: skip
IDS = torch.tensor([[2, 7, 9, 8, 3], [2, 6, 3, 0, 0]])
MASK = (IDS != 0).long()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[BertModel, torch.nn.Module]:
    """One model, in both libraries."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    BertModel(SMALL).save_pretrained(folder)
    return BertModel.from_pretrained(folder), transformers.BertModel.from_pretrained(folder).eval()


@pytest.mark.parametrize("more", [{}, {"token_type_ids": MASK}, {"position_ids": IDS[:1] + 3}])
def test_vectors_instead_of_ids(pair: tuple[BertModel, torch.nn.Module], more: object) -> None:
    ours, theirs = pair
    torch.manual_seed(1)
    x = torch.randn(2, 5, 32, requires_grad=True)
    made = ours(inputs_embeds=x, attention_mask=MASK, **more)
    want = theirs(inputs_embeds=x, attention_mask=MASK, **more)
    torch.testing.assert_close(made.last_hidden_state, want.last_hidden_state, atol=1e-5, rtol=0)
    torch.testing.assert_close(made.pooler_output, want.pooler_output, atol=1e-5, rtol=0)
    slopes = [torch.autograd.grad(out.pooler_output.sum(), x)[0] for out in (made, want)]
    torch.testing.assert_close(*slopes, atol=1e-5, rtol=0)
    rows = ours.embeddings.token(IDS)
    assert torch.equal(ours(inputs_embeds=rows)[0], ours(IDS)[0])


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"input_ids": IDS, "inputs_embeds": torch.zeros(2, 5, 32)}, ValueError, "not both"),
        ({}, TypeError, "input_ids must be a tensor, not NoneType"),
        ({"inputs_embeds": IDS}, TypeError, "floats, not torch.int64"),
        ({"inputs_embeds": [[0.0]]}, TypeError, "floats, not list"),
        ({"inputs_embeds": torch.zeros(2, 5, 8)}, ValueError, r"32\), not \(2, 5, 8\)"),
        ({"inputs_embeds": torch.zeros(5, 32)}, ValueError, "batch, sequence"),
        ({"inputs_embeds": torch.zeros(2, 0, 32)}, ValueError, "batch, sequence"),
        ({"inputs_embeds": torch.zeros(2, 21, 32)}, ValueError, "21 tokens in a row"),
        ({"inputs_embeds": torch.zeros(2, 5, 32), "attention_mask": MASK[:, :4]},
         ValueError, "attention_mask is"),
        ({"inputs_embeds": torch.zeros(2, 5, 32), "token_type_ids": MASK[:, :4]},
         ValueError, "token_type_ids is"),
    ],
)  # fmt: skip
def test_vectors_that_are_refused(options: dict, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        BertModel(SMALL)(**options)


@pytest.mark.parametrize("kwargs", [None, {"use_reentrant": False}, {"use_reentrant": True}])
def test_checkpointed_gradients_are_the_same(kwargs: dict | None) -> None:
    torch.manual_seed(0)
    model = BertForMaskedLM(SMALL)  # training: dropout must be drawn again as it was
    gradients, runs = [], []
    for layer in model.bert.encoder.layers:
        layer.register_forward_pre_hook(lambda *_: runs.append(1))
    for on in (False, True):
        if on:
            model.gradient_checkpointing_enable(kwargs)
        assert model.is_gradient_checkpointing == model.bert.is_gradient_checkpointing == on
        torch.manual_seed(7)
        model.zero_grad()
        model(IDS, MASK, labels=IDS).loss.backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert len(runs) == 3 + 6  # once, then again in the backward pass
    for a, b in zip(*gradients, strict=True):
        assert torch.equal(a, b)
    model.eval()(IDS, MASK, labels=IDS).loss.backward()
    assert len(runs) == 9 + 3  # in eval mode once, as theirs
    model.train().gradient_checkpointing_disable()
    model(IDS, MASK, labels=IDS).loss.backward()
    assert len(runs) == 12 + 3
    assert not model.bert.is_gradient_checkpointing


def test_outputs_are_asked_by_name(pair: tuple[BertModel, torch.nn.Module]) -> None:
    ours, theirs = pair
    made, want = ours(IDS, MASK, output_attentions=True), theirs(IDS, MASK)
    for name in ("last_hidden_state", "pooler_output"):
        assert made[name] is getattr(made, name)
        torch.testing.assert_close(made[name], want[name], atol=1e-5, rtol=0)
    assert made[0] is made["last_hidden_state"]
    assert made[2:] == (None, made.attentions)
    assert made["hidden_states"] is None
    with pytest.raises(KeyError, match="'logits' is none of last_hidden_state"):
        made["logits"]


def heads() -> list[type[BertPreTrainedModel]]:
    """Every model that there is."""
    for name in ("pretraining", "tagging", "qa", "nsp"):
        importlib.import_module(f"minibert.{name}")
    found = [BertPreTrainedModel]
    for kind in found:
        found += [k for k in kind.__subclasses__() if k.__module__.startswith("minibert.")]
    return found[1:]


@pytest.mark.parametrize("kind", heads(), ids=lambda kind: kind.__name__)
def test_every_output_is_asked_by_name(kind: type[BertPreTrainedModel]) -> None:
    fields = kind.forward.__annotations__["return"]._fields
    output = kind.forward.__annotations__["return"](*range(len(fields)))
    assert [output[name] for name in fields] == [*range(len(fields))] == [*output]


def test_what_a_model_says_of_itself(pair: tuple[BertModel, torch.nn.Module]) -> None:
    ours, theirs = pair
    assert ours.device == theirs.device
    assert ours.dtype == theirs.dtype == torch.float32
    double = copy.deepcopy(ours).double()
    assert double.dtype == torch.float64
    assert BertModel(SMALL).to("meta").device.type == "meta"
    assert ours.num_parameters() == theirs.num_parameters()
    for model in (double, theirs):
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("pooler" in name)
    count = theirs.num_parameters(only_trainable=True)
    assert double.num_parameters(only_trainable=True) == count == 32 * 33
    for parameter in theirs.parameters():
        parameter.requires_grad_(True)
    tied = transformers.BertForMaskedLM(transformers.BertConfig(**theirs.config.to_dict()))
    assert BertForMaskedLM(SMALL).num_parameters() == tied.num_parameters()


@pytest.mark.parametrize("size", [50, 99, 120])
def test_the_table_is_resized(pair: tuple[BertModel, torch.nn.Module], size: int) -> None:
    ours, theirs = (copy.deepcopy(model) for model in pair)
    ours.resize_token_embeddings(size)
    theirs.resize_token_embeddings(size, mean_resizing=False)
    assert ours.config.vocab_size == theirs.config.vocab_size == size
    ids = IDS.clamp(max=min(size, 99) - 1)
    torch.testing.assert_close(ours(ids)[0], theirs(ids)[0], atol=1e-5, rtol=0)


# The page that lists it all

ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (ROOT / "book" / "transformers.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| `")
]
OFFERED = [row for row in ROWS if len(row) == 3 or row[-1] == ""]
REFUSED = [row for row in ROWS if row not in OFFERED]
NAMES = [name for _, ours, *_ in OFFERED for name in re.findall(r"`([^`]+)`", ours)]


def public() -> dict[str, object]:
    """Every public name of the package; of the classes on the page one that was made."""
    found: dict[str, object] = {}
    for path in sorted(Path(minibert.__file__).parent.glob("*.py")):
        if not path.stem.startswith("__"):
            module = importlib.import_module(f"minibert.{path.stem}")
            found |= {name: getattr(module, name) for name in module.__all__}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_name_on_the_page_is_there(name: str) -> None:
    path, _, arguments = name.rstrip(")").partition("(")
    top, *rest = path.split(".")
    made = {"Tokenizer": OURS, "BertModel": BertModel(SMALL), "Batch": OURS("a"),
            "Encoding": OURS.encode("a")}  # fmt: skip
    thing = public()[top]
    for part in rest:
        thing = getattr(made[top], part)
    if arguments:
        known = inspect.signature(thing).parameters  # type: ignore[arg-type]
        for argument in arguments.split(", "):
            assert argument.removesuffix("=") in known


def test_what_is_not_offered_is_not_there() -> None:
    calls = (Tokenizer, Tokenizer.__call__, Tokenizer.encode, Tokenizer.from_pretrained,
             BertModel, BertModel.forward, BertModel.from_pretrained, BertConfig)  # fmt: skip
    known = {*dir(OURS), *dir(BertModel(SMALL)), *public()}
    known |= {name for call in calls for name in inspect.signature(call).parameters}
    named = {name for row in REFUSED for name in re.findall(r"`(\w+)`", row[0])}
    assert not named & known
    assert all(len(row) == 2 and len(row[1].split()) > 3 for row in REFUSED)


def test_nothing_is_taken_back() -> None:
    """These numbers only grow."""
    assert len(NAMES) >= 64
    assert len(REFUSED) >= 14  # and push_to_hub, which is offered now
    assert sum(name.startswith("test_") for name in globals()) >= 21
