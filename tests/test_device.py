"""The same code on the chosen device, in the chosen numbers (see tools/gpu.py)."""

import pytest
import torch
from torch import nn

from minibert.bert import BertConfig, BertModel
from minibert.transformer import Encoder, padding_mask

CONFIG = BertConfig(
    vocab_size=211, hidden_size=64, num_hidden_layers=3, num_attention_heads=4,
    intermediate_size=128, max_position_embeddings=64,
)  # fmt: skip
REAL = torch.tensor([[1] * 12, [1] * 7 + [0] * 5, [0] * 12])  # the last: padding only
IDS = torch.randint(5, 211, REAL.shape, generator=torch.Generator().manual_seed(0))
WITHIN = {torch.float32: 2e-5, torch.bfloat16: 0.06, torch.float64: 1e-12}


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
    from minibert.bert import to_huggingface

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
