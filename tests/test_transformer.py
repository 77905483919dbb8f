"""Every part of the transformer against torch's own, and what it must refuse."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from minibert import attention as module
from minibert.attention import (
    SelfAttention,
    attend,
    attention,
    causal_mask,
    merge_heads,
    padding_mask,
    split_heads,
)
from minibert.transformer import (
    CrossAttention,
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    FeedForward,
    Transformer,
)

H, A, INNER = 32, 4, 48
REAL = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def close(a: Tensor, b: Tensor, within: float = 1e-6) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=within)


def random(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def copy_attention(theirs: nn.MultiheadAttention, ours: SelfAttention | CrossAttention) -> None:
    parts = [ours.qkv] if isinstance(ours, SelfAttention) else [ours.query, ours.key_value]
    theirs.in_proj_weight.data = torch.cat([p.weight.data for p in parts])
    theirs.in_proj_bias.data = torch.cat([p.bias.data for p in parts])
    theirs.out_proj.load_state_dict(ours.output.state_dict())


def copy_layer(theirs: nn.Module, ours: EncoderLayer | DecoderLayer) -> None:
    copy_attention(theirs.self_attn, ours.attention)
    if isinstance(ours, DecoderLayer):
        copy_attention(theirs.multihead_attn, ours.cross)
        theirs.norm3.load_state_dict(ours.norm3.state_dict())
    theirs.linear1.load_state_dict(ours.mlp.up.state_dict())
    theirs.linear2.load_state_dict(ours.mlp.down.state_dict())
    theirs.norm1.load_state_dict(ours.norm1.state_dict())
    theirs.norm2.load_state_dict(ours.norm2.state_dict())


def ragged(layer: nn.Module) -> nn.Module:
    """Give norms and biases values that a swap or an omission would betray."""
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3)
    return layer.double().eval()


MASKS = {
    "none": None,
    "causal": causal_mask(5),
    "padding": padding_mask(REAL),
    "both": causal_mask(5) & padding_mask(REAL),
    "per query": padding_mask(causal_mask(5).expand(2, 5, 5)),
}


def theirs_blocked(mask: Tensor | None) -> Tensor | None:
    """Our mask in the shape and sense of nn.MultiheadAttention's."""
    if mask is None:
        return None
    return ~mask.expand(2, A, 5, 5).reshape(2 * A, 5, 5)


@pytest.mark.parametrize("name", MASKS)
def test_self_attention_equals_torch(name: str) -> None:
    mask = MASKS[name]
    ours = ragged(SelfAttention(H, A))
    theirs = nn.MultiheadAttention(H, A, batch_first=True, dtype=torch.float64).eval()
    copy_attention(theirs, ours)
    x = random(2, 5, H)
    want, weights = theirs(x, x, x, attn_mask=theirs_blocked(mask), average_attn_weights=False)
    close(ours(x, mask), want)
    close(ours.weights(x, mask), weights)


@pytest.mark.parametrize("masked", [False, True])
def test_cross_attention_equals_torch(masked: bool) -> None:
    ours = ragged(CrossAttention(H, A))
    theirs = nn.MultiheadAttention(H, A, batch_first=True, dtype=torch.float64).eval()
    copy_attention(theirs, ours)
    x, memory = random(2, 7, H), random(2, 5, H) + 1
    ignore = (REAL == 0) if masked else None
    mask = padding_mask(REAL) if masked else None
    want, weights = theirs(x, memory, memory, key_padding_mask=ignore, average_attn_weights=False)
    close(ours(x, memory, mask), want)
    close(ours.weights(x, memory, mask), weights)


@pytest.mark.parametrize("name", MASKS)
def test_encoder_layer_equals_torch(name: str) -> None:
    mask = MASKS[name]
    ours = ragged(EncoderLayer(H, A, INNER))
    theirs = nn.TransformerEncoderLayer(
        H, A, INNER, activation="gelu", layer_norm_eps=1e-12, batch_first=True,
        dtype=torch.float64,
    ).eval()  # fmt: skip
    copy_layer(theirs, ours)
    x = random(2, 5, H)
    close(ours(x, mask), theirs(x, src_mask=theirs_blocked(mask)))


@pytest.mark.parametrize("masked", [False, True])
def test_decoder_layer_equals_torch(masked: bool) -> None:
    ours = ragged(DecoderLayer(H, A, INNER))
    theirs = nn.TransformerDecoderLayer(
        H, A, INNER, activation="gelu", layer_norm_eps=1e-12, batch_first=True,
        dtype=torch.float64,
    ).eval()  # fmt: skip
    copy_layer(theirs, ours)
    y, memory = random(2, 7, H), random(2, 5, H) + 1
    if masked:
        got = ours(y, memory, causal_mask(7), padding_mask(REAL))
        want = theirs(y, memory, tgt_mask=~causal_mask(7), memory_key_padding_mask=REAL == 0)
    else:
        got, want = ours(y, memory), theirs(y, memory)
    close(got, want)


def test_stacks_run_their_layers_in_order() -> None:
    encoder, decoder = ragged(Encoder(3, H, A, INNER)), ragged(Decoder(3, H, A, INNER))
    x, y = random(2, 5, H), random(2, 7, H)
    memory = x
    for layer in encoder.layers:
        memory = layer(memory, MASKS["padding"])
    close(encoder(x, MASKS["padding"]), memory)
    out = y
    for layer in decoder.layers:
        out = layer(out, memory, causal_mask(7), MASKS["padding"])
    close(decoder(y, memory, causal_mask(7), MASKS["padding"]), out)


def test_a_wrong_merge_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    x = random(1, A, 5, 8)
    monkeypatch.setattr(module, "merge_heads", lambda x: x.reshape(1, 5, H))
    wrong = attend(x, x, x)
    monkeypatch.undo()
    assert (wrong - attend(x, x, x)).abs().max() > 0.1


@given(
    heads=st.integers(1, 5), size=st.integers(1, 6), batch=st.integers(1, 3),
    length=st.integers(1, 7),
)  # fmt: skip
def test_merging_undoes_splitting(heads: int, size: int, batch: int, length: int) -> None:
    x = torch.arange(batch * length * heads * size).view(batch, length, heads * size)
    parts = split_heads(x, heads)
    assert parts.shape == (batch, heads, length, size)
    assert torch.equal(parts[:, -1], x[..., -size:])
    assert torch.equal(merge_heads(parts), x)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), queries=st.integers(1, 6), keys=st.integers(1, 6))
def test_explicit_equals_fused_for_any_mask(seed: int, queries: int, keys: int) -> None:
    make = torch.Generator().manual_seed(seed)
    q, k, v = (
        torch.randn(2, 3, n, 4, generator=make, dtype=torch.float64) for n in (queries, keys, keys)
    )
    mask = torch.rand(2, 1, queries, keys, generator=make) < 0.5
    out, weights = attention(q, k, v, mask)
    close(merge_heads(out), attend(q, k, v, mask))
    assert (weights.masked_select(~mask) == 0).all()
    seen = mask.any(-1).expand(2, 3, queries)
    close(weights.sum(-1), seen.double())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_row_of_padding_gives_no_nan(dtype: torch.dtype) -> None:
    layer = EncoderLayer(H, A, INNER).to(dtype)
    x = random(2, 5, H, dtype=torch.float64).to(dtype).requires_grad_()
    mask = padding_mask(torch.tensor([[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]]))
    assert torch.isfinite(layer.attention.weights(x, mask)).all()
    out = layer(x, mask)
    assert out.dtype == dtype and torch.isfinite(out).all()
    out.sum().backward()
    assert torch.isfinite(x.grad).all()
    explicit = attention(*layer.attention.project(x), mask)[0].sum()
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(explicit, x))


def test_padding_and_future_change_nothing() -> None:
    layer = ragged(EncoderLayer(H, A, INNER))
    x = random(2, 5, H)
    other = x.clone()
    other[1, 3:] += 1
    close(layer(x, MASKS["padding"])[1, :3], layer(other, MASKS["padding"])[1, :3])
    other = x.clone()
    other[:, 3] += 1
    before, after = layer(x, causal_mask(5)), layer(other, causal_mask(5))
    close(before[:, :3], after[:, :3])
    assert (before[:, 3:] - after[:, 3:]).abs().amax(-1).min() > 1e-3


def test_dropout_only_in_training() -> None:
    layer = EncoderLayer(H, A, INNER, dropout=0.5, attention_dropout=0.5).double()
    x = random(2, 5, H)
    assert not torch.equal(layer.train()(x), layer(x))
    assert torch.equal(layer.eval()(x), layer(x))
    only_weights = SelfAttention(H, A, dropout=0.5).double()
    assert not torch.equal(only_weights.train()(x), only_weights(x))


def test_feed_forward_works_on_each_position_alone() -> None:
    mlp, x = ragged(FeedForward(H, INNER)), random(2, 5, H)
    close(mlp(x)[:, 2], mlp(x[:, 2]))
    close(mlp(x), mlp.down(nn.GELU(approximate="none")(mlp.up(x))))


def test_heads_must_divide() -> None:
    for make in (SelfAttention, CrossAttention):
        with pytest.raises(ValueError, match="hidden size 30 cannot be cut into 4 heads"):
            make(30, 4)
        with pytest.raises(ValueError, match="into 0 heads"):
            make(32, 0)


def test_masks_are_refused_with_a_reason() -> None:
    layer, x = SelfAttention(H, A), random(2, 5, H, dtype=torch.float32)
    with pytest.raises(TypeError, match=r"boolean, not torch\.int64.*padding_mask"):
        layer(x, REAL[:, None, None, :])
    with pytest.raises(ValueError, match=r"\(2, 1, 1, 4\) does not broadcast.*\(2, 4, 5, 5\)"):
        layer(x, torch.ones(2, 1, 1, 4).bool())
    with pytest.raises(ValueError, match=r"\(2, 5\) does not broadcast"):
        layer.weights(x, REAL.bool())
    with pytest.raises(ValueError, match=r"\(B, S\) or \(B, S, S\), not \(5,\)"):
        padding_mask(torch.ones(5))
    with pytest.raises(ValueError, match=r"goes from -10000\.0 to -?0\.0"):
        padding_mask((1 - REAL) * -10_000.0)


def test_nothing_names_a_device() -> None:
    with torch.device("meta"):
        model = Transformer(20, 11)
        out = model(torch.zeros(2, 5, dtype=torch.long), torch.zeros(2, 7, dtype=torch.long))
    assert out.device.type == "meta" and out.shape == (2, 7, 11)


def test_transformer_writes_what_its_scores_say() -> None:
    torch.manual_seed(0)
    model = Transformer(20, 11, max_length=16).eval()
    source = torch.randint(1, 20, (3, 6))
    wrote = model.translate(source, start=0, length=8)
    assert wrote.shape == (3, 8)
    forced = torch.cat([torch.zeros(3, 1, dtype=torch.long), wrote[:, :-1]], dim=1)
    assert torch.equal(model(source, forced).argmax(-1), wrote)


def test_transformer_ignores_source_padding() -> None:
    torch.manual_seed(0)
    model = Transformer(20, 11, max_length=16).double().eval()
    source, target = torch.randint(1, 20, (2, 6)), torch.randint(11, (2, 4))
    padded = torch.cat([source, torch.zeros(2, 3, dtype=torch.long)], dim=1)
    close(model(source, target), model(padded, target))


def test_transformer_refuses_what_is_too_long() -> None:
    model = Transformer(20, 11, max_length=4)
    with pytest.raises(ValueError, match="5 tokens, but max_length is 4"):
        model(torch.ones(1, 5, dtype=torch.long), torch.ones(1, 2, dtype=torch.long))
