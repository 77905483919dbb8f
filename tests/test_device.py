"""The same code on the chosen device, in the chosen numbers (see experiments/gpu.py)."""

import platform
import warnings

import pytest
import torch
from torch import nn

from minibert.attention import padding_mask
from minibert.bert import BertModel
from minibert.config import BertConfig
from minibert.device import best_device, best_dtype, can_look, slowdown
from minibert.steps import choose_precision
from minibert.transformer import Encoder

CONFIG = BertConfig(
    vocab_size=211, hidden_size=64, num_hidden_layers=3, num_attention_heads=4,
    intermediate_size=128, max_position_embeddings=64,
)  # fmt: skip
REAL = torch.tensor([[1] * 12, [1] * 7 + [0] * 5, [0] * 12])  # the last: padding only
IDS = torch.randint(5, 211, REAL.shape, generator=torch.Generator().manual_seed(0))
WITHIN = {torch.float32: 2e-5, torch.bfloat16: 0.06, torch.float16: 0.01, torch.float64: 1e-12}


def model(kind: type[nn.Module], *args: object) -> nn.Module:
    torch.manual_seed(0)
    return kind(*args).double().eval()


@pytest.fixture
def exact() -> torch.Tensor:
    with torch.no_grad():
        return model(BertModel, CONFIG)(IDS, REAL).last_hidden_state


def test_bert_gives_the_same_numbers(device, dtype, exact):
    ours = model(BertModel, CONFIG).to(device, dtype)
    with torch.no_grad():
        output = ours(IDS.to(device), REAL.to(device), output_attentions=True)
    x = output.last_hidden_state
    assert x.device.type == device.type and x.dtype == dtype
    assert x.isfinite().all() and output.pooler_output.isfinite().all()
    difference = (x.cpu().double() - exact)[REAL.bool()].abs()
    assert difference.max() < WITHIN[dtype] * exact.abs().max()
    assert all(m.isfinite().all() and m.dtype == dtype for m in output.attentions)


def test_transformers_agrees(device, dtype):
    transformers = pytest.importorskip("transformers")
    from minibert.huggingface import to_huggingface

    ours = model(BertModel, CONFIG).to(device, dtype)
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
             "intermediate_size", "max_position_embeddings")  # fmt: skip
    theirs = transformers.BertModel(
        transformers.BertConfig(**{name: getattr(CONFIG, name) for name in names})
    )
    theirs.load_state_dict(to_huggingface(ours.state_dict()), strict=False)
    theirs = theirs.to(device, dtype).eval()
    ids, real = IDS[:2].to(device), REAL[:2].to(device)
    with torch.no_grad():
        a = ours(ids, real).last_hidden_state[real.bool()]
        b = theirs(ids, attention_mask=real).last_hidden_state[real.bool()]
    assert (a - b).abs().max() < WITHIN[dtype] * b.abs().max()


def test_the_explicit_weights_are_those_of_the_fast_path(device, dtype):
    encoder = model(Encoder, 1, 64, 4, 128).to(device, dtype)
    attention = encoder.layers[0].attention
    x = torch.randn(3, 12, 64, generator=torch.Generator().manual_seed(1)).to(device, dtype)
    mask = padding_mask(REAL).to(device)
    value = attention.project(x)[2]
    weights = attention.weights(x, mask)
    slow = attention.output((weights @ value).transpose(1, 2).flatten(2))
    difference = (slow - attention(x, mask))[REAL.bool().to(device)].abs().max()
    assert difference < WITHIN[dtype] * slow.abs().max()


def test_training_moves_every_weight(device, dtype):
    ours = model(BertModel, CONFIG).to(device, dtype).train()
    output = ours(IDS.to(device), REAL.to(device))
    (output.last_hidden_state.square().mean() + output.pooler_output.sum()).backward()
    gradients = {name: p.grad for name, p in ours.named_parameters()}
    assert all(g is not None and g.isfinite().all() for g in gradients.values())
    assert sum(g.abs().sum() > 0 for g in gradients.values()) == len(gradients)


def test_the_best_device_can_be_overruled(monkeypatch):
    monkeypatch.delenv("MINIBERT_DEVICE", raising=False)
    assert best_device().type in ("cpu", "cuda", "mps")
    monkeypatch.setenv("MINIBERT_DEVICE", "cpu")
    assert best_device() == torch.device("cpu")
    for wrong in ("cdua", "cpu:x", "cuda:99"):
        monkeypatch.setenv("MINIBERT_DEVICE", wrong)
        with pytest.raises(ValueError, match=rf"MINIBERT_DEVICE is '{wrong}', which cannot"):
            best_device()


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [((9, 0), torch.bfloat16), ((8, 0), torch.bfloat16), ((7, 5), torch.float16),
     ((7, 0), torch.float16), ((6, 1), torch.float32)],
)  # fmt: skip
def test_a_card_computes_in_what_it_multiplies(capability, dtype, monkeypatch):
    monkeypatch.delenv("MINIBERT_DTYPE", raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert best_dtype(torch.device("cuda")) == dtype


def test_a_cpu_needs_bfloat16_of_its_own(monkeypatch):
    monkeypatch.delenv("MINIBERT_DTYPE", raising=False)
    cpu = torch.device("cpu")
    if best_dtype(cpu) == torch.bfloat16:  # then it is faster, or what is this for?
        assert slowdown(cpu, torch.bfloat16) < 1
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert best_dtype(cpu) == torch.float32
    assert best_dtype(torch.device("mps")) == torch.float32


def test_the_numbers_can_be_overruled(monkeypatch):
    for name in ("float16", "bfloat16", "float32"):
        monkeypatch.setenv("MINIBERT_DTYPE", name)
        assert best_dtype(torch.device("cpu")) == getattr(torch, name)
        cast, scaler = choose_precision(None, torch.device("cpu"))
        assert cast.fast_dtype == getattr(torch, name)
        assert scaler.is_enabled() == (name == "float16")
    monkeypatch.setenv("MINIBERT_DTYPE", "float64")
    with pytest.raises(ValueError, match="MINIBERT_DTYPE is 'float64', not one of"):
        best_dtype(torch.device("cpu"))


def test_bfloat16_where_it_is_slow_says_how_slow(monkeypatch):
    monkeypatch.setenv("MINIBERT_DTYPE", "float32")
    words = r"bfloat16 is not what this cpu .* takes \d+\.\d times as long"
    with pytest.warns(UserWarning, match=words):
        asked = choose_precision(True, torch.device("cpu"))
    assert asked.cast.fast_dtype == torch.bfloat16
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not choose_precision(None, torch.device("cpu")).cast._enabled
        assert not choose_precision(False, torch.device("cpu")).cast._enabled
        monkeypatch.setenv("MINIBERT_DTYPE", "bfloat16")
        choose_precision(True, torch.device("cpu"))


def test_values_are_looked_at_where_nobody_waits():
    assert can_look(torch.ones(1)) and not can_look(torch.ones(1, device="meta"))
    seen = []

    def step(x):
        seen.append(can_look(x))
        return x + 1

    torch.compile(step, backend="eager")(torch.ones(1))
    assert seen == [False]


def test_a_model_by_name_goes_where_it_is_asked_to():
    from minibert.loading import load

    ours, tokenizer = load("leads-small", BertModel, "meta")
    assert ours.device.type == "meta"
    assert load("leads-small", BertModel)[0].device == best_device()
    with pytest.raises(ValueError, match="the model is loaded, with meta as its device"):
        load((ours, tokenizer), BertModel, "cpu")
