"""Rows without padding: the same numbers, and no text sees another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from minibert import attention
from minibert.attention import Packing, attend, find_packing
from minibert.batching import IGNORE, collate, pack, unpack
from minibert.bert import BertConfig, BertModel
from minibert.finetuning import FineTuningData, fine_tune, predict
from minibert.heads import (
    BertForMultipleChoice,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
)
from minibert.mlm import BertForMaskedLM
from minibert.nsp import BertForNextSentencePrediction, build_corpus
from minibert.pretraining import (
    BertForPreTraining,
    PretrainingConfig,
    PretrainingData,
    measure,
    pretrain,
)
from minibert.qa import answer_all
from minibert.sentences import embed, first_token
from minibert.squad import Question
from minibert.tokens import Tokenizer
from minibert.training import TrainingConfig
from minibert.vocabulary import SPECIAL

CONFIG = BertConfig(
    vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=64, max_position_embeddings=24, hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)  # fmt: skip
WORDS = [f"w{i}" for i in range(55)]
TOKENIZER = Tokenizer([*SPECIAL, *WORDS])
KINDS = [
    BertModel, BertForMaskedLM, BertForNextSentencePrediction, BertForPreTraining,
    BertForSequenceClassification, BertForTokenClassification, BertForQuestionAnswering,
    BertForMultipleChoice,
]  # fmt: skip
PER_TOKEN = ("last_hidden_state", "start_logits", "end_logits")


def make(kind: type[nn.Module], **changes: Any) -> Any:
    """A model whose weights are large enough that every part shows."""
    torch.manual_seed(0)
    labelled = kind in (BertForSequenceClassification, BertForTokenClassification)
    config = dataclasses.replace(CONFIG, **changes)
    model = kind(config, labels=["a", "b", "c"]) if labelled else kind(config)
    for p in model.parameters():
        nn.init.normal_(p, std=0.2)
    return model


def texts(lengths: list[int], seed: int = 0) -> dict[str, Tensor]:
    """A padded batch of random ids and segments."""
    chance = np.random.default_rng(seed)
    rows = [
        {"input_ids": chance.integers(5, 60, n).tolist(),
         "token_type_ids": chance.integers(0, 2, n).tolist()}
        for n in lengths
    ]  # fmt: skip
    return collate(rows, 0)


def labels_of(kind: type[nn.Module], batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the class takes to give a loss."""
    mask = batch["attention_mask"]
    count, size = mask.shape
    chance = torch.Generator().manual_seed(1)
    chosen = (torch.rand(count, size, generator=chance) < 0.5) & mask.bool()
    places = torch.randint(0, 3, (count, size), generator=chance).where(chosen, IGNORE)
    pair = torch.arange(count) % 2
    ends = mask.sum(1) - 1
    return {
        BertForMaskedLM: {"labels": places},
        BertForNextSentencePrediction: {"next_sentence_label": pair},
        BertForPreTraining: {"labels": places, "next_sentence_label": pair},
        BertForSequenceClassification: {"labels": pair},
        BertForTokenClassification: {"labels": places},
        BertForQuestionAnswering: {"start_positions": ends // 2, "end_positions": ends},
    }.get(kind, {})  # fmt: skip


def losses_of(model: nn.Module, output: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The losses; of a padded row of questions, those that see no padding."""
    if isinstance(model, BertModel):
        hidden = output.last_hidden_state
        if hidden.shape[0] != 1 or len(batch["attention_mask"]) == 1:
            hidden = hidden[batch["attention_mask"].bool()]
        return {"loss": hidden.sin().mean() + output.pooler_output.sin().mean()}
    if isinstance(model, BertForQuestionAnswering) and output.start_logits.shape[0] != 1:
        padding = batch["attention_mask"] == 0
        ends = [
            F.cross_entropy(logits.masked_fill(padding, -torch.inf), batch[name])
            for logits, name in [
                (output.start_logits, "start_positions"), (output.end_logits, "end_positions"),
            ]
        ]  # fmt: skip
        return {"loss": (ends[0] + ends[1]) / 2}
    found = output._asdict().items()
    return {name: x for name, x in found if name.endswith("loss") and x is not None}


def run(
    model: nn.Module, batch: dict[str, Tensor], device: torch.device, **more: Any
) -> tuple[Any, dict[str, Tensor], dict[str, Tensor]]:
    """Give the output, the losses and the gradients."""
    model.to(device).zero_grad()
    batch = {name: x.to(device) for name, x in batch.items()}
    output = model(**batch, **more)
    losses = losses_of(model, output, batch)
    losses["loss"].backward()
    grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return output, losses, grads


def compare(
    kind: type[nn.Module], lengths: list[int], device: torch.device, **changes: Any
) -> None:
    """Hold a packed row to what the padded ones give, forwards and backwards."""
    model = make(kind, **changes).train()
    batch = texts(lengths)
    if kind is BertForMultipleChoice:  # one question
        batch = {name: x[None] for name, x in batch.items()} | {"labels": torch.tensor([0])}
    batch |= labels_of(kind, batch) if kind is not BertForMultipleChoice else {}
    more = {"output_hidden_states": True, "output_attentions": True}
    packed = pack(batch)
    total = sum(lengths)
    assert packed["input_ids"].shape == (1, total)
    want, losses, grads = run(model, batch, device, **more)
    got, ours, slopes = run(model, packed, device, **more)
    torch.testing.assert_close(ours, losses, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(slopes, grads, atol=1e-5, rtol=1e-5)
    assert len(grads) > 20
    if min(lengths) > 2 and len(lengths) > 1:  # else there may be nothing to learn
        assert any(g.abs().max() > 1e-3 for g in grads.values())

    real = batch["attention_mask"].flatten(0, -2).bool().to(device)
    for name, x in want._asdict().items():
        y = getattr(got, name)
        if x is None:
            assert y is None
        elif name == "hidden_states":
            for one, other in zip(y, x, strict=True):
                torch.testing.assert_close(one[0], other[real], atol=1e-5, rtol=1e-5)
        elif name == "attentions":
            for one, other in zip(y, x, strict=True):
                assert one.shape == other.shape
                rows = real[:, None].expand(one.shape[:3])
                torch.testing.assert_close(one[rows], other[rows], atol=1e-5, rtol=1e-5)
        elif y.shape[:2] == (1, total) and x.shape[:2] == real.shape:  # for each token
            torch.testing.assert_close(y[0], x[real], atol=1e-5, rtol=1e-5)
        elif "loss" not in name:
            torch.testing.assert_close(y, x, atol=1e-5, rtol=1e-5)


LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=6)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None)
@given(lengths=LENGTHS)
@example(lengths=[1, 2])  # as many texts and tokens as a head of two has classes
@example(lengths=[1, 1])  # as many choices as tokens
def test_packed_equals_padded(
    kind: type[nn.Module], lengths: list[int], device: torch.device
) -> None:
    compare(kind, lengths, device)


def by_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attend as on a device where lengths are not read: padded for this one product."""
    monkeypatch.setattr(attention.Packing, "__new__", without_lengths(Packing.__new__))


def without_lengths(make: Callable[..., Packing]) -> Callable[..., Packing]:
    def new(cls: type[Packing], *fields: Any) -> Packing:
        return make(cls, *fields[:-1], None)

    return new


def by_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attend as on CUDA, by a function with the arguments of `varlen_attn`."""

    def kernel(
        query: Tensor, key: Tensor, value: Tensor, cu_seq_q: Tensor, cu_seq_k: Tensor,
        max_q: int, max_k: int,
    ) -> Tensor:  # fmt: skip
        assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
        lengths = cu_seq_q.diff().tolist()
        assert max_q == max_k == max(lengths) and cu_seq_q[-1] == len(query)
        out = []
        for q, k, v in zip(*(x.split(lengths) for x in (query, key, value)), strict=True):
            scores = torch.einsum("qad,kad->aqk", q, k) / q.shape[-1] ** 0.5
            out.append(torch.einsum("aqk,kad->qad", scores.softmax(-1), v))
        return torch.cat(out)

    monkeypatch.setattr(attention, "find_kernel", lambda query, dropout: kernel)


WAYS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "text by text": lambda monkeypatch: None,
    "padded": by_padding,
    "kernel": by_kernel,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [BertModel, BertForPreTraining])
def test_every_way_to_attend_gives_the_same(
    kind: type[nn.Module], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    WAYS[way](monkeypatch)
    calls = []
    real = attention.attend_packed
    monkeypatch.setattr(
        attention, "attend_packed",
        lambda *given: calls.append(given[3].lengths is None) or real(*given),
    )  # fmt: skip
    compare(kind, [3, 12, 1, 7, 7], torch.device("cpu"))
    assert set(calls) == {way == "padded"}


@pytest.mark.parametrize("way", WAYS)
def test_no_text_sees_another(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another text in the row, and not one bit of what the others give changes."""
    WAYS[way](monkeypatch)
    model = make(BertForTokenClassification).eval()
    lengths = [4, 9, 2, 9]
    batch = pack(texts(lengths))
    with torch.no_grad():
        before = model(**batch, output_hidden_states=True)
        for number in range(len(lengths)):
            start = sum(lengths[:number])
            own = torch.zeros(sum(lengths), dtype=torch.bool)
            own[start : start + lengths[number]] = True
            ids = batch["input_ids"].clone()
            ids[0, own] = 64 - ids[0, own]  # 5 to 59 stays so
            after = model(**batch | {"input_ids": ids}, output_hidden_states=True)
            for x, y in zip(
                (before.logits, *before.hidden_states), (after.logits, *after.hidden_states),
                strict=True,
            ):  # fmt: skip
                assert torch.equal(x[0, ~own], y[0, ~own])
                assert not torch.equal(x[0, own], y[0, own])


def test_no_gradient_crosses_either() -> None:
    model = make(BertModel)
    batch = pack(texts([4, 9, 2]))
    x = model.embeddings.token(batch["input_ids"]).detach().requires_grad_()
    del batch["input_ids"]
    model(inputs_embeds=x, **batch).last_hidden_state[0, 4:13].sin().sum().backward()
    felt = x.grad[0].abs().sum(1) > 0
    assert felt.tolist() == [False] * 4 + [True] * 9 + [False] * 2


def test_positions_begin_again_and_may_be_given() -> None:
    batch = texts([3, 5, 2])
    packing = find_packing(batch["attention_mask"], pack(batch)["input_ids"])
    assert packing is not None
    assert packing.positions.tolist() == [[0, 1, 2, 0, 1, 2, 3, 4, 0, 1]]
    assert packing.lengths == [3, 5, 2] and packing.bounds.tolist() == [0, 3, 8, 10]
    model = make(BertModel).eval()
    batch["position_ids"] = torch.randint(0, 24, (3, 5))
    real = batch["attention_mask"].bool()
    packed = model(**pack(batch)).last_hidden_state[0]
    torch.testing.assert_close(packed, model(**batch).last_hidden_state[real])


def test_a_row_of_more_tokens_than_positions() -> None:
    compare(BertModel, [12] * 9, torch.device("cpu"))  # 108 tokens, 24 positions


def test_padding_on_the_left_and_holes_come_out_as_in_padded_rows() -> None:
    model = make(BertModel, max_position_embeddings=8).eval()
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 0, 1, 1, 0], [0, 0, 0, 0, 1]])
    batch = {"input_ids": torch.randint(5, 60, (3, 5)), "attention_mask": mask}
    want = model(**batch).last_hidden_state[mask.bool()]
    torch.testing.assert_close(model(**pack(batch)).last_hidden_state[0], want)


def test_dropout_and_checkpointing() -> None:
    model = make(BertModel, attention_probs_dropout_prob=0.5).train()
    batch = pack(texts([5, 9]))
    runs = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable()
        torch.manual_seed(3)
        runs.append(run(model, batch, torch.device("cpu"))[1:])
    torch.testing.assert_close(runs[0], runs[1])
    assert not torch.equal(model(**batch)[0], model(**batch)[0])


@pytest.mark.parametrize("way", ["text by text", "padded"])
def test_bfloat16(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    WAYS[way](monkeypatch)
    model = make(BertForPreTraining).eval()
    batch = texts([3, 12, 7])
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        packed = model(**pack(batch)).prediction_logits
        padded = model(**batch).prediction_logits[batch["attention_mask"].bool()]
    assert packed.dtype == torch.bfloat16
    difference = (packed[0] - padded).float().abs().max()
    assert difference < 0.05 * padded.float().abs().max()
    half = make(BertModel).bfloat16().eval()
    assert half(**pack(batch)).last_hidden_state.isfinite().all()


def test_compiled_in_one_graph_for_all_lengths() -> None:
    torch.compiler.reset()
    model = make(BertForPreTraining)
    graphs = []

    def count(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(model, fullgraph=True, backend=count)
    made = []
    for seed, lengths in enumerate(
        [[4, 9, 2], [5, 5, 11], [12, 3, 8, 1], [2, 9, 4, 4], [7, 3], [1, 1, 1, 4, 13]]
    ):
        batch = pack(texts(lengths, seed))
        torch.testing.assert_close(compiled(**batch)[1:3], model(**batch)[1:3])
        made.append(len(graphs))
    assert made[0] == 1 and made[2:] == [made[2]] * 4 and made[2] <= 3  # then, for any size


def test_torchs_kernel_takes_what_we_give_it() -> None:
    """Without a GPU, and without numbers: shapes and types as torch's own rules check them."""
    from torch.nn.attention import varlen

    with torch._subclasses.FakeTensorMode():
        query = torch.empty(1, 2, 24, 16, dtype=torch.bfloat16)
        bounds = torch.empty(4, dtype=torch.int32)
        mixed = varlen.varlen_attn(
            *(query[0].transpose(0, 1) for _ in range(3)), bounds, bounds, 12, 12
        )
    assert mixed.shape == (24, 2, 16)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch's kernel runs on CUDA alone")
def test_torchs_kernel_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(BertModel).cuda().bfloat16().eval()
    batch = {name: x.cuda() for name, x in pack(texts([3, 12, 7])).items()}
    kernel = attention.find_kernel(torch.empty(1, 2, 3, 16).cuda().bfloat16(), 0.0)
    if kernel is None:
        pytest.skip("this GPU is too old for it")
    fast = model(**batch).last_hidden_state
    monkeypatch.setattr(attention, "find_kernel", lambda query, dropout: None)
    torch.testing.assert_close(model(**batch).last_hidden_state, fast, atol=0.05, rtol=0.05)


# --- what is refused ------------------------------------------------------------


@pytest.mark.parametrize(
    ("mask", "size"),
    [
        (torch.tensor([[1, 1, 1], [1, 1, 0]]), 4),  # one token too few
        (torch.tensor([[1, 1, 1], [1, 1, 0]]), 6),
        (torch.tensor([[1, 1, 1], [0, 0, 0]]), 3),  # a text without a token
        (torch.tensor([[1, 1, 0]]), 4),
    ],
)
def test_masks_that_do_not_fit_are_refused(mask: Tensor, size: int) -> None:
    ids = torch.full((1, size), 7)
    for kind in (BertModel, BertForQuestionAnswering):
        with pytest.raises(ValueError, match=rf"\(1, {size}\), and attention_mask .* ones in"):
            make(kind)(ids, mask)


def test_other_bad_input() -> None:
    model = make(BertModel)
    batch = pack(texts([3, 5]))
    with pytest.raises(ValueError, match="must hold 1"):
        model(batch["input_ids"], batch["attention_mask"] * 2)
    with pytest.raises(ValueError, match="token_type_ids is"):
        model(**batch | {"token_type_ids": torch.zeros(2, 5, dtype=torch.long)})
    with pytest.raises(IndexError, match="position"):  # 24 of them
        model(**pack(texts([3, 25])))
    with pytest.raises(ValueError, match="attention_mask is"):  # two rows are not packed
        model(torch.full((2, 4), 7), batch["attention_mask"])
    with pytest.raises(ValueError, match="no packed row of these"):
        unpack(torch.zeros(1, 7, 3), batch["attention_mask"])
    with pytest.raises(ValueError, match="labels is"):
        make(BertForMaskedLM)(**batch, labels=torch.full((2, 5), IGNORE))
    with pytest.raises(ValueError, match="one for each row"):
        make(BertForNextSentencePrediction)(**batch, next_sentence_label=torch.tensor([1]))
    with pytest.raises(ValueError, match=r"must be \(B, N, S\)"):
        make(BertForMultipleChoice)(batch["input_ids"], batch["attention_mask"])


# --- batches ----------------------------------------------------------------------


@settings(deadline=None)
@given(lengths=LENGTHS)
def test_unpacking_undoes_packing(lengths: list[int]) -> None:
    batch = texts(lengths)
    packed = pack(batch)
    assert packed["attention_mask"] is batch["attention_mask"]
    for name in ("input_ids", "token_type_ids"):
        assert packed[name].shape == (1, sum(lengths))
        assert torch.equal(unpack(packed[name], batch["attention_mask"]), batch[name])
    arrays = pack({name: x.numpy() for name, x in batch.items()})
    assert all(np.array_equal(arrays[name], packed[name]) for name in packed)


def test_what_belongs_to_a_text_is_not_packed() -> None:
    rows = [
        {"input_ids": [2, 7, 3], "labels": [0.0, 1.0, 0.0], "start_positions": 1},
        {"input_ids": [2, 3, 4], "labels": [1.0, 0.0, 0.0], "start_positions": 0},
    ]
    batch = collate(rows, 0)  # as many classes as tokens
    packed = pack(batch)
    assert packed["input_ids"].tolist() == [[2, 7, 3, 2, 3, 4]]
    assert torch.equal(packed["labels"], batch["labels"])
    assert packed["start_positions"].tolist() == [1, 0]


# --- the functions that take it -----------------------------------------------------


def sentence(length: int, seed: int) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, length))


TEXTS = [sentence(n, n) for n in (3, 9, 1, 14, 5, 5, 0)]
QUESTIONS = [
    Question(str(i), "", sentence(2 + i % 3, i), sentence(5 + 7 * i, i + 9)) for i in range(6)
]


@pytest.fixture
def spied(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts each packed row had."""
    found: list[int] = []
    real = BertModel.forward

    def forward(self: BertModel, *given: Any, **named: Any) -> Any:
        ids, mask = (*given, named.get("attention_mask"))[:2] if given else (
            named["input_ids"], named["attention_mask"]
        )  # fmt: skip
        if ids.shape != mask.shape:
            found.append(len(mask))
        return real(self, *given, **named)

    monkeypatch.setattr(BertModel, "forward", forward)
    return found


@pytest.mark.parametrize("layer", [-1, 1, None])
def test_embed(layer: int | None, spied: list[int]) -> None:
    pair = make(BertModel).eval(), TOKENIZER
    for pool in (None, first_token):
        options: dict[str, Any] = {"model": pair, "layer": layer, "pool": pool, "batch_size": 3}
        want = embed(TEXTS, **options)
        assert not spied
        got = embed(TEXTS, packed=True, **options)
        np.testing.assert_allclose(got, want, atol=1e-5)
        assert spied == [3, 3]  # and one alone, without padding
        spied.clear()
        one_by_one = list(embed(iter(TEXTS), packed=True, **options))
        np.testing.assert_allclose(np.moveaxis(one_by_one, 0, -2), want, atol=1e-5)
        assert spied == [3, 3]
        spied.clear()


def test_answer_all(spied: list[int]) -> None:
    model = make(BertForQuestionAnswering).eval()
    options: dict[str, Any] = {"model": (model, TOKENIZER), "max_length": 20, "batch_size": 4}
    want = answer_all(QUESTIONS, others=2, **options)
    assert not spied
    for got in (
        answer_all(QUESTIONS, others=2, packed=True, **options),
        list(answer_all(iter(QUESTIONS), others=2, packed=True, **options)),
    ):
        assert spied and set(spied) == {4, len(spied)} - {len(spied)} | {spied[-1]}
        for one, other in zip(got, want, strict=True):
            assert one[:3] == other[:3]
            np.testing.assert_allclose(one[3:6], other[3:6], atol=1e-4)
            assert [x.text for x in one.others] == [x.text for x in other.others]


@pytest.mark.parametrize("kind", [BertForSequenceClassification, BertForTokenClassification])
def test_predict(kind: type[nn.Module], spied: list[int]) -> None:
    rows = [{"input_ids": TOKENIZER.encode(text).ids} for text in TEXTS]
    model = make(kind).eval()
    want = predict(model, rows, 0, 3)
    assert not spied
    torch.testing.assert_close(predict(model, rows, 0, 3, packed=True), want, atol=1e-5, rtol=1e-5)
    assert spied == [3, 3]


def test_as_many_classes_as_tokens() -> None:
    """Logits (1, C) of one text are not taken for those of C tokens."""
    model = make(BertForSequenceClassification).eval()
    rows = [{"input_ids": [2, 9, 3]}]
    assert predict(model, rows, 0, packed=True)[0].shape == (3,)


def test_an_exported_model_says_no(tmp_path: Any) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    minibert = pytest.importorskip("minibert")
    make(BertModel).eval().save_pretrained(tmp_path / "torch")
    TOKENIZER.save_pretrained(tmp_path / "torch")
    minibert.export(tmp_path / "torch", tmp_path / "onnx")
    loaded = minibert.load(tmp_path / "onnx", "BertModel", backend="onnx")
    assert embed(TEXTS[:2], model=loaded).shape == (2, 32)
    with pytest.raises(ValueError, match="was exported, and takes padded rows alone"):
        embed(TEXTS[:2], model=loaded, packed=True)


# --- training -----------------------------------------------------------------------

NUMBERS: dict[str, Any] = {
    "steps": 6, "batch_size": 6, "learning_rate": 1e-3, "log_every": 1, "accumulate": 2,
}  # fmt: skip
CORPUS = build_corpus(
    [[sentence(2 + (3 * i + j) % 7, 8 * i + j) for j in range(6)] for i in range(12)],
    TOKENIZER,
    24,
)


def without_speed(log: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in line.items() if k != "tokens_per_second"} for line in log]


@pytest.mark.parametrize("task", ["next", "order", None])
def test_pretraining_learns_the_same(task: str | None, spied: list[int]) -> None:
    runs = []
    for packed in (False, True):
        model = make(BertForMaskedLM if task is None else BertForPreTraining)
        config = PretrainingConfig(**NUMBERS, max_length=24, task=task, packed=packed)
        log = pretrain(model, TOKENIZER, CORPUS, config, held_out=CORPUS, progress=False)
        assert bool(spied) == packed
        runs.append((log, dict(model.state_dict()), measure(
            model, PretrainingData(CORPUS, TOKENIZER, dataclasses.replace(config, accumulate=1)), 3
        )))  # fmt: skip
    (first, weights, measured), (second, ours, again) = runs
    for one, other in zip(without_speed(first), without_speed(second), strict=True):
        assert other == pytest.approx(one, rel=1e-4)
    assert again == pytest.approx(measured, rel=1e-4)
    for name, x in weights.items():  # AdamW makes a rounding of 0 a step of its rate
        assert (ours[name] - x).abs().max() < 5e-3, name


FINE: dict[type[nn.Module], Callable[[int], dict[str, Any]]] = {
    BertForSequenceClassification: lambda n: {"labels": n % 3},
    BertForTokenClassification: lambda n: {"labels": [i % 3 for i in range(n)]},
    BertForQuestionAnswering: lambda n: {"start_positions": n // 2, "end_positions": n - 1},
}


@pytest.mark.parametrize("kind", FINE)
def test_fine_tuning_learns_the_same(kind: type[nn.Module], spied: list[int]) -> None:
    chance = np.random.default_rng(0)
    lengths = chance.integers(2, 20, 24).tolist()
    if kind is BertForQuestionAnswering:  # its padded loss sees padding
        lengths = [9] * 24
    rows = [{"input_ids": chance.integers(5, 60, n).tolist()} | FINE[kind](n) for n in lengths]
    logs = []
    for packed in (False, True):
        config = TrainingConfig(**NUMBERS, packed=packed)
        data = FineTuningData(rows, config, 0)
        assert [p.counts for p in data(1)] == [
            p.counts for p in FineTuningData(rows, TrainingConfig(**NUMBERS), 0)(1)
        ]
        logs.append(
            without_speed(fine_tune(make(kind), TOKENIZER, rows, config, progress=False))
        )
        assert bool(spied) == packed
    for one, other in zip(*logs, strict=True):
        assert other == pytest.approx(one, rel=1e-4)


def test_a_mean_is_attended_to_at_once() -> None:
    """`attend` itself takes a packed row, with what may look where."""
    x = torch.randn(1, 2, 9, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    packing = find_packing(mask, torch.empty(1, 9))
    block = torch.block_diag(torch.ones(4, 4), torch.ones(5, 5)).bool()
    torch.testing.assert_close(attend(x, x, x, packing), attend(x, x, x, block))
