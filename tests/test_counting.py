"""minibert.counting: against transformers, our modules, autograd and a profiler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from minibert.bert import BertModel
from minibert.config import BertConfig
from minibert.counting import (
    HEADS,
    SIZES,
    activations,
    embedding_parameters,
    flops,
    head_parameters,
    layer_parameters,
    memory,
    parameters,
    saved_bytes,
    total,
)
from minibert.mlm import BertForMaskedLM
from minibert.nsp import BertForNextSentencePrediction
from minibert.pretraining import BertForPreTraining

BASE = BertConfig()
LARGE = SIZES["google-bert/bert-large-uncased"]
MINILM = BertConfig(
    hidden_size=384,
    num_hidden_layers=6,
    num_attention_heads=12,
    intermediate_size=1536,
)
SMALL = BertConfig(
    vocab_size=1000,
    hidden_size=128,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=512,
    max_position_embeddings=256,
)
BARE = "no pooler"
TOPS = [None, BARE, *HEADS]

# Every head of ours that exists: a later chapter adds its row here.
OURS: dict[str | None, Callable[[BertConfig], nn.Module]] = {
    None: BertModel,
    BARE: lambda config: BertModel(config, add_pooling_layer=False),
    "masked_lm": BertForMaskedLM,
    "next_sentence": BertForNextSentencePrediction,
    "pretraining": BertForPreTraining,
}

THEIRS = {
    None: "BertModel",
    BARE: "BertModel",
    "masked_lm": "BertForMaskedLM",
    "next_sentence": "BertForNextSentencePrediction",
    "pretraining": "BertForPreTraining",
    "question_answering": "BertForQuestionAnswering",
    "sequence_classification": "BertForSequenceClassification",
    "token_classification": "BertForTokenClassification",
    "multiple_choice": "BertForMultipleChoice",
}
FIELDS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)


def by_formula(config: BertConfig, top: str | None, num_labels: int = 2) -> int:
    if top == BARE:
        return total(parameters(config, add_pooling_layer=False))
    return total(parameters(config, top, num_labels=num_labels))


def by_building(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def theirs(config: BertConfig, top: str | None, num_labels: int = 2) -> nn.Module:
    import transformers

    same = transformers.BertConfig(num_labels=num_labels, **{f: getattr(config, f) for f in FIELDS})
    options = {"add_pooling_layer": False} if top == BARE else {}
    with torch.device("meta"):
        return getattr(transformers, THEIRS[top])(same, **options)


def ours(config: BertConfig, top: str | None) -> nn.Module:
    with torch.device("meta"):
        return OURS[top](config)


# --- parameters ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "top", "count"),
    [
        (BASE, None, 109_482_240),
        (BASE, BARE, 108_891_648),
        (BASE, "masked_lm", 109_514_298),
        (BASE, "pretraining", 110_106_428),
        (BASE, "question_answering", 108_893_186),
        (LARGE, None, 335_141_888),
        (LARGE, BARE, 334_092_288),
        (LARGE, "masked_lm", 335_174_458),
        (LARGE, "pretraining", 336_226_108),
        (LARGE, "question_answering", 334_094_338),
        (SIZES["google/bert_uncased_L-2_H-128_A-2"], None, 4_385_920),
        (SIZES["google/bert_uncased_L-4_H-256_A-4"], None, 11_170_560),
        (SIZES["google/bert_uncased_L-4_H-512_A-8"], None, 28_763_648),
        (SIZES["google/bert_uncased_L-8_H-512_A-8"], None, 41_373_184),
        (SIZES["google-bert/bert-base-multilingual-cased"], None, 177_853_440),
        (MINILM, None, 22_713_216),
    ],
)
def test_known_counts(config: BertConfig, top: str | None, count: int) -> None:
    assert by_formula(config, top) == count


def test_published_sizes() -> None:
    assert len(SIZES) == 28
    names = [name for name in SIZES if name.startswith("google/")]
    assert len(names) == 24
    for name in names:
        config = SIZES[name]
        assert name == (
            f"google/bert_uncased_L-{config.num_hidden_layers}"
            f"_H-{config.hidden_size}_A-{config.num_attention_heads}"
        )
    for config in SIZES.values():
        assert config.head_size == 64
        assert config.intermediate_size == 4 * config.hidden_size
    assert SIZES["google-bert/bert-base-uncased"] == BASE
    uncased = SIZES["google-bert/bert-base-multilingual-uncased"]
    assert (uncased.vocab_size, LARGE.num_hidden_layers) == (105_879, 24)


@pytest.mark.parametrize("top", TOPS, ids=str)
def test_every_size_counts_as_in_transformers(top: str | None) -> None:
    pytest.importorskip("transformers")
    wrong = {
        name: (by_building(theirs(config, top)), by_formula(config, top))
        for name, config in SIZES.items()
        if by_building(theirs(config, top)) != by_formula(config, top)
    }
    assert not wrong


@pytest.mark.parametrize("top", list(OURS), ids=str)
def test_every_size_counts_as_in_our_module(top: str | None) -> None:
    for name, config in SIZES.items():
        assert by_building(ours(config, top)) == by_formula(config, top), name


CONFIGS = st.builds(
    lambda heads, size, **rest: BertConfig(
        num_attention_heads=heads, hidden_size=heads * size, **rest
    ),
    heads=st.integers(1, 6),
    size=st.integers(1, 12),
    vocab_size=st.integers(1, 300),
    num_hidden_layers=st.integers(1, 4),
    intermediate_size=st.integers(1, 90),
    max_position_embeddings=st.integers(1, 70),
    type_vocab_size=st.integers(1, 4),
)


@settings(deadline=None, max_examples=60)
@given(config=CONFIGS, top=st.sampled_from(TOPS), num_labels=st.integers(1, 9))
def test_any_config_counts_as_in_transformers(
    config: BertConfig, top: str | None, num_labels: int
) -> None:
    pytest.importorskip("transformers")
    built = by_building(theirs(config, top, num_labels))
    if top == "question_answering":  # theirs takes num_labels for start and end
        num_labels = 2
        built = by_building(theirs(config, top))
    assert by_formula(config, top, num_labels) == built


@settings(deadline=None, max_examples=60)
@given(config=CONFIGS, top=st.sampled_from(list(OURS)))
def test_any_config_counts_as_in_our_module(config: BertConfig, top: str | None) -> None:
    assert by_formula(config, top) == by_building(ours(config, top))


def test_each_part_is_the_size_of_its_tensors() -> None:
    model = ours(BASE, None)
    assert isinstance(model, BertModel)
    layer, tables = model.encoder.layers[0], model.embeddings
    assert list(layer_parameters(BASE).values()) == [
        by_building(part)  # type: ignore[arg-type]
        for part in (
            layer.attention.qkv,
            layer.attention.output,
            layer.norm1,
            layer.mlp.up,  # type: ignore[union-attr]
            layer.mlp.down,  # type: ignore[union-attr]
            layer.norm2,
        )
    ]
    assert list(embedding_parameters(BASE).values()) == [
        by_building(part) for part in (tables.token, tables.segment, tables.position, tables.norm)
    ]


def test_heads_add_no_parameters() -> None:
    double = replace(BASE, num_attention_heads=24)
    assert parameters(double) == parameters(BASE)


def test_a_layer_is_12_h_squared_and_13_h() -> None:
    for config in SIZES.values():
        hidden = config.hidden_size
        assert total(layer_parameters(config)) == 12 * hidden**2 + 13 * hidden


@pytest.mark.parametrize(
    ("config", "percent"),
    [(BASE, 22), (MINILM, 52), (SIZES["google/bert_uncased_L-2_H-128_A-2"], 91)],
)
def test_share_of_the_tables(config: BertConfig, percent: int) -> None:
    parts = parameters(config)
    tables = [count for part, count in parts.items() if part.endswith("table")]
    assert len(tables) == 3
    assert round(100 * sum(tables) / total(parts)) == percent


def test_parts_come_in_order_from_the_input_up() -> None:
    assert list(parameters(BASE, "pretraining")) == [
        "token table",
        "segment table",
        "position table",
        "embedding norm",
        "query, key, value",
        "attention output",
        "attention norm",
        "feed-forward up",
        "feed-forward down",
        "feed-forward norm",
        "pooler",
        "masked-word transform",
        "masked-word norm",
        "masked-word bias",
        "next-sentence head",
    ]


@pytest.mark.parametrize("head", ["", "mlm", "BertForMaskedLM"])
def test_unknown_head(head: str) -> None:
    with pytest.raises(ValueError, match=f"no head '{head}'.*masked_lm"):
        parameters(BASE, head)
    with pytest.raises(ValueError, match="no head"):
        head_parameters(BASE, head)


@pytest.mark.parametrize("num_labels", [0, -3])
def test_no_labels(num_labels: int) -> None:
    with pytest.raises(ValueError, match=f"1 or more, not {num_labels}"):
        parameters(BASE, "token_classification", num_labels=num_labels)


@pytest.mark.parametrize("flag", [True, False])
def test_a_head_decides_about_the_pooler(flag: bool) -> None:
    with pytest.raises(ValueError, match=f"add_pooling_layer={flag}.*masked_lm"):
        parameters(BASE, "masked_lm", add_pooling_layer=flag)


# --- memory -------------------------------------------------------------------

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()


def step_of(
    config: BertConfig, batch: int, length: int, device: str, autocast: bool
) -> tuple[BertModel, Callable[[], torch.Tensor]]:
    torch.manual_seed(0)
    model = BertModel(config).to(device).train()
    ids = torch.randint(5, config.vocab_size, (batch, length), device=device)
    mask = torch.ones_like(ids)
    mask[0, length // 2 :] = 0

    def step() -> torch.Tensor:
        kind = device if device != "meta" else "cpu"
        with torch.autocast(kind, torch.bfloat16, enabled=autocast):
            return model(ids, mask).pooler_output.sum()

    return model, step


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("attention_dropout", [0.1, 0.0])
@pytest.mark.parametrize("dropout", [0.1, 0.0])
@pytest.mark.parametrize(("batch", "length"), [(2, 16), (3, 64), (2, 256)])
def test_activations_as_measured(
    device: str,
    autocast: bool,
    attention_dropout: float,
    dropout: float,
    batch: int,
    length: int,
) -> None:
    config = replace(
        SMALL,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=attention_dropout,
    )
    model, step = step_of(config, batch, length, device, autocast)
    parts = memory(config, batch, length, device=device, autocast=autocast)
    formula = parts["activations"] + parts.get("half copies", 0)
    near = 0.01 if device == "cpu" else 0.1
    assert saved_bytes(model, step) == pytest.approx(formula, rel=near)


@pytest.mark.parametrize("length", [16, 64, 256])
def test_a_batch_of_one_keeps_a_little_more(length: int) -> None:
    model, step = step_of(SMALL, 1, length, "cpu", False)
    formula = total(activations(SMALL, 1, length, device="cpu"))
    assert 1 <= saved_bytes(model, step) / formula < 1.125


def test_activations_of_base_as_measured_on_meta() -> None:
    """`meta` takes the open path with the CPU's dropout."""
    model, step = step_of(BASE, 32, 128, "meta", False)
    want = total(activations(BASE, 32, 128, device="cpu"))
    assert saved_bytes(model, step) == pytest.approx(want, rel=0.01)


def test_weights_gradients_and_adam_as_measured() -> None:
    model, step = step_of(SMALL, 2, 16, "cpu", False)
    adam = torch.optim.AdamW(model.parameters())
    step().backward()
    adam.step()
    parts = memory(SMALL, 2, 16)
    weights = list(model.parameters())
    grads = [p.grad for p in weights if p.grad is not None]
    states = [t for s in adam.state.values() for t in s.values()]
    for part, tensors in zip(
        ("weights", "gradients", "Adam"), (weights, grads, states), strict=True
    ):
        size = sum(t.nbytes for t in tensors)
        assert size == pytest.approx(parts[part], rel=0.001), part


def test_saved_bytes_counts_a_storage_once_and_no_weight() -> None:
    linear = nn.Linear(8, 8)
    x = torch.ones(4, 8)
    assert saved_bytes(linear, lambda: linear(x).sum()) == x.nbytes
    y = torch.ones(4, 8, requires_grad=True)
    assert saved_bytes(linear, lambda: (y.view(8, 4) * y.view(8, 4)).sum()) == y.nbytes
    with torch.no_grad():
        assert saved_bytes(linear, lambda: linear(x).sum()) == 0


def test_autocast_shrinks_activations_alone() -> None:
    wide, half = memory(BASE, 32, 128), memory(BASE, 32, 128, autocast=True)
    for part in ("weights", "gradients", "Adam"):
        assert wide[part] == half[part]
    assert half["activations"] < 0.6 * wide["activations"]
    assert "half copies" not in wide
    assert total(half) < total(wide)


def test_autocast_costs_memory_where_there_is_little_text() -> None:
    wide, half = memory(BASE, 1, 16), memory(BASE, 1, 16, autocast=True)
    assert total(half) > total(wide)


def test_maps_grow_with_the_square_of_the_length() -> None:
    short = activations(BASE, 8, 128, fused=False)
    long = activations(BASE, 8, 256, fused=False)
    assert long["attention maps"] == 4 * short["attention maps"]
    assert long["feed-forward"] == 2 * short["feed-forward"]
    flat = activations(BASE, 8, 256)
    assert flat["attention maps"] < 0.01 * long["attention maps"]


@settings(deadline=None, max_examples=100)
@given(
    config=CONFIGS,
    batch=st.integers(1, 64),
    length=st.integers(1, 70),
    autocast=st.booleans(),
    device=st.sampled_from(["cpu", "cuda"]),
)
def test_memory_is_proportional_to_the_batch(
    config: BertConfig, batch: int, length: int, autocast: bool, device: str
) -> None:
    length = min(length, config.max_position_embeddings)
    one = memory(config, 1, length, autocast=autocast, device=device)
    many = memory(config, batch, length, autocast=autocast, device=device)
    assert many["activations"] == batch * one["activations"]
    del one["activations"], many["activations"]
    assert one == many
    assert one["weights"] + one["gradients"] + one["Adam"] == 16 * total(parameters(config))


@pytest.mark.parametrize("count", [memory, activations])
def test_steps_that_nobody_can_take(count: Callable[..., dict[str, int]]) -> None:
    with pytest.raises(ValueError, match="not 0 and 128"):
        count(BASE, 0, 128)
    with pytest.raises(ValueError, match="not 8 and -1"):
        count(BASE, 8, -1)
    with pytest.raises(ValueError, match=r"length 513 is more than.* 512 rows"):
        count(BASE, 8, 513)
    with pytest.raises(ValueError, match="not 'tpu'"):
        count(BASE, 8, 128, device="tpu")


# --- operations ---------------------------------------------------------------


def profiled(config: BertConfig, length: int, backward: bool = False) -> int:
    with torch.device("meta"):
        model = BertModel(config).train(backward)
        ids = torch.zeros(1, length, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        out = model(ids).pooler_output.sum()
        if backward:
            out.backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("length", [128, 512])
@pytest.mark.parametrize(
    "config", [BASE, LARGE, MINILM, SIZES["google/bert_uncased_L-2_H-128_A-2"]]
)
def test_flops_as_profiled(config: BertConfig, length: int) -> None:
    seen = profiled(config, length)
    assert length * total(flops(config, length)) == pytest.approx(seen, rel=0.05)
    pooler = 2 * config.hidden_size**2
    assert length * total(flops(config, length)) + pooler == seen


@pytest.mark.parametrize("length", [128, 512])
def test_training_is_three_times_the_forward_pass(length: int) -> None:
    ratio = profiled(BASE, length, backward=True) / profiled(BASE, length)
    assert ratio == pytest.approx(3, rel=0.01)


def test_maps_overtake_the_matrices_at_six_times_the_width() -> None:
    for length, sign in ((6 * 768 - 1, -1), (6 * 768, 0), (6 * 768 + 1, 1)):
        parts = flops(BASE, length)
        maps = parts["scores"] + parts["mixture"]
        rest = total(parts) - maps
        assert (maps > rest) - (maps < rest) == sign


@pytest.mark.parametrize("length", [0, -5])
def test_flops_of_no_text(length: int) -> None:
    with pytest.raises(ValueError, match=f"1 or more, not {length}"):
        flops(BASE, length)
