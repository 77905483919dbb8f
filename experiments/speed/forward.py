"""The forward pass: rows of equal length, and rows as long as texts are."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable

import torch
import transformers
from torch import nn

from minibert.batching import pack
from minibert.bert import BertModel
from minibert.data import leads
from minibert.tokens import Tokenizer
from minibert.transformer import Encoder
from speed.models import body, same, twin
from speed.timing import Here, Row, Sides, Size, compared

LAYERS, HIDDEN, HEADS = 6, 384, 12  # MiniLM's


def without_gradients(work: Callable[[], object]) -> Here:
    """Make a side of a forward pass."""

    def inside() -> None:
        with torch.inference_mode():
            work()

    return Here(inside)


def equal_lengths(size: Size) -> list[Row]:
    """Against transformers, with both ways of attention, all rows equally long."""
    model = BertModel(body(LAYERS, HIDDEN, heads=HEADS)).eval()
    ids = torch.randint(
        1000, 30000, (size.batch, size.length), generator=torch.Generator().manual_seed(0)
    )
    sides = Sides(ours=without_gradients(lambda: model(ids)))
    for how in ("sdpa", "eager"):
        other = twin(model, transformers.BertModel, how)
        with torch.inference_mode():
            same(model(ids)[0], other(ids)[0])
        sides[how] = without_gradients(lambda other=other: other(ids))  # type: ignore[misc]
    name = f"forward, {LAYERS} layers of {HIDDEN}, {size.batch} rows of {size.length}"
    peers = {how: (f"{name}, against transformers, {how}", 1.0) for how in ("sdpa", "eager")}
    return compared(size, sides, peers)


def fast_path(size: Size) -> list[Row]:
    """The encoder alone, against torch's own layers, whose forward is one fused call."""
    ours = Encoder(LAYERS, HIDDEN, HEADS, 4 * HIDDEN).eval()
    layer = nn.TransformerEncoderLayer(
        HIDDEN, HEADS, 4 * HIDDEN, activation="gelu", layer_norm_eps=1e-12, batch_first=True
    )
    theirs = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False).eval()
    for mine, other in zip(ours.layers, theirs.layers, strict=True):
        parts = {
            mine.attention.qkv.weight: other.self_attn.in_proj_weight,
            mine.attention.qkv.bias: other.self_attn.in_proj_bias,
        }
        modules = {
            mine.attention.output: other.self_attn.out_proj,
            mine.mlp.up: other.linear1, mine.mlp.down: other.linear2,
            mine.norm1: other.norm1, mine.norm2: other.norm2,
        }  # fmt: skip
        for source, target in modules.items():
            parts |= {source.weight: target.weight, source.bias: target.bias}
        for source, target in parts.items():
            target.data.copy_(source.data)
    chance = torch.Generator().manual_seed(0)
    x = torch.randn(size.batch, size.length, HIDDEN, generator=chance)
    with torch.inference_mode():
        same(ours(x), theirs(x))
    sides = Sides(
        ours=without_gradients(lambda: ours(x)), fast=without_gradients(lambda: theirs(x))
    )
    name = (
        f"forward of the encoder, {LAYERS} layers of {HIDDEN}, {size.batch} rows of {size.length},"
        " against torch.nn.TransformerEncoder"
    )
    return compared(size, sides, {"fast": (name, 1.0)})


def real_lengths(size: Size) -> list[Row]:
    """Leads as they are, against transformers, which pads them to the longest."""
    model = BertModel(body(LAYERS, HIDDEN, heads=HEADS)).eval()
    theirs, tokenizer = twin(model, transformers.BertModel), Tokenizer.from_pretrained("minilm")
    texts = [lead.text for lead in itertools.islice(leads("train"), 0, 40 * size.batch, 40)]
    batch = tokenizer(texts, max_length=512)
    real = batch.attention_mask.bool()

    def ours() -> torch.Tensor:
        return model(**pack(dict(batch.items())))[0]  # (1, P, H) of the real tokens

    with torch.inference_mode():
        same(ours()[0], theirs(*batch)[0][real])
    sides = Sides(ours=without_gradients(ours), theirs=without_gradients(lambda: theirs(*batch)))
    name = f"forward, {LAYERS} layers of {HIDDEN}, {size.batch} leads of their own lengths"
    peers = {"theirs": (f"{name}, against transformers padded", 1.6)}
    return compared(size, sides, peers, padding=round(1 - real.float().mean().item(), 3))


def rows(size: Size) -> list[Row]:
    """All rows of the forward pass."""
    warnings.filterwarnings("ignore", message="enable_nested_tensor")
    return [*equal_lengths(size), *fast_path(size), *real_lengths(size)]
