"""Token, segment and position embeddings, held to theirs and to the formula."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertEmbeddings

from minibert.embeddings import Embeddings, extend_positions, sinusoids

V, H, P = 50, 16, 12


def ours(**options) -> Embeddings:
    torch.manual_seed(0)
    return Embeddings(V, H, P, **options).eval()


@pytest.fixture(scope="module")
def both() -> tuple[Embeddings, BertEmbeddings]:
    """Ours and theirs with the same weights, none of them at its default."""
    torch.manual_seed(1)
    theirs = BertEmbeddings(
        BertConfig(
            vocab_size=V,
            hidden_size=H,
            max_position_embeddings=P,
            layer_norm_eps=1e-12,
        )
    ).eval()
    for weight in theirs.parameters():
        torch.nn.init.normal_(weight)
    mine = ours()
    pairs = {
        "token": theirs.word_embeddings,
        "segment": theirs.token_type_embeddings,
        "position": theirs.position_embeddings,
        "norm": theirs.LayerNorm,
    }
    for name, part in pairs.items():
        getattr(mine, name).load_state_dict(part.state_dict())
    return mine, theirs


def ids(*shape: int, below: int = V) -> torch.Tensor:
    return torch.randint(below, shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("size", [1, 5, P])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_theirs(both, size, dtype):
    mine, theirs = (model.to(dtype) for model in both)
    tokens, types = ids(3, size), ids(3, size, below=2)
    places = ids(3, size, below=P)
    limit = 1e-6
    with torch.no_grad():
        for arguments in [(tokens,), (tokens, types), (tokens, types, places)]:
            gap = mine(*arguments) - theirs(*arguments)
            assert gap.abs().max() < limit
        gap = mine(tokens, None, places) - theirs(tokens, position_ids=places)
        assert gap.abs().max() < limit
    assert mine(tokens).dtype == dtype


def test_each_table_matters(both):
    mine, _ = both
    tokens = ids(1, 5)
    zeros, places = torch.zeros_like(tokens), torch.arange(5)[None]
    base = mine(tokens, zeros, places)
    assert torch.equal(base, mine(tokens))
    assert not torch.allclose(base, mine((tokens + 1) % V, zeros, places))
    assert not torch.allclose(base, mine(tokens, zeros + 1, places))
    assert not torch.allclose(base, mine(tokens, zeros, places + 1))


def test_one_row_of_types_and_places_serves_the_batch():
    model, tokens = ours(), ids(3, 5)
    types, places = ids(1, 5, below=2), ids(1, 5, below=P)
    spread = model(tokens, types.expand(3, -1), places.expand(3, -1))
    assert torch.equal(model(tokens, types, places), spread)


def test_places_may_start_again_in_a_row_longer_than_the_table():
    model = ours()
    tokens = ids(1, 2 * P)
    places = torch.arange(P).repeat(2)[None]
    packed = model(tokens, None, places)
    assert torch.equal(packed[:, P:], model(tokens[:, P:]))


def test_dropout_works_in_training_only():
    model = ours(dropout=0.5)
    tokens = ids(2, 8)
    assert not (model(tokens) == 0).any()
    share = (model.train()(tokens) == 0).float().mean()
    assert 0.3 < share < 0.7


def test_starts_with_the_published_spread():
    model = Embeddings(5000, 32)
    for table in (model.token, model.position):
        assert table.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert model.position.weight.shape == (512, 32)
    assert model.segment.weight.shape == (2, 32)
    assert model.norm.eps == 1e-12


def test_eps_reaches_the_norm():
    assert ours(eps=1e-3).norm.eps == 1e-3


def test_int32_ids_are_as_good():
    model, tokens = ours(), ids(2, 5)
    types = ids(2, 5, below=2)
    assert torch.equal(model(tokens.int(), types.int()), model(tokens, types))


def test_bfloat16():
    model, tokens = ours(), ids(2, 5)
    wide = model(tokens)
    narrow = model.bfloat16()(tokens)
    assert narrow.dtype == torch.bfloat16
    assert (narrow.float() - wide).abs().max() < 0.05


def test_meta_has_shapes_and_looks_at_no_value():
    with torch.device("meta"):
        model = Embeddings(V, H, P)
        tokens = torch.zeros(2, 5, dtype=torch.long)
        out = model(tokens, tokens, tokens)
    assert out.is_meta
    assert out.shape == (2, 5, H)
    with torch.device("meta"), pytest.raises(ValueError, match="13 tokens in a row"):
        model(torch.zeros(1, P + 1, dtype=torch.long))


def test_gradient_reaches_only_the_rows_drawn():
    model = ours()
    tokens = torch.tensor([[3, 7, 3]])
    model(tokens, torch.tensor([[0, 0, 1]]))[..., 0].sum().backward()
    rows = {
        name: getattr(model, name).weight.grad.abs().sum(1).nonzero().flatten().tolist()
        for name in ("token", "segment", "position")
    }
    assert rows == {"token": [3, 7], "segment": [0, 1], "position": [0, 1, 2]}


def test_exports_without_a_value_in_the_way():
    model, tokens = ours(), ids(2, 5)
    program = torch.export.export(model, (tokens,))
    assert torch.allclose(program.module()(tokens), model(tokens))


# What is refused, and in which words.


def test_too_long():
    with pytest.raises(ValueError, match=r"13 tokens in a row.*ends at 12.*windows"):
        ours()(ids(1, P + 1))


@pytest.mark.parametrize("bad", [V, V + 7, -1, -V])
def test_an_id_outside_is_named_with_its_place(bad):
    tokens = ids(3, 5)
    tokens[1, 4] = bad
    tokens[2, 0] = bad
    message = rf"input_ids\[1, 4\] is {bad}, but the table has rows 0 to {V - 1}"
    with pytest.raises(IndexError, match=message):
        ours()(tokens)


def test_the_last_row_is_not_outside():
    assert ours()(torch.tensor([[0, V - 1]])).isfinite().all()


@pytest.mark.parametrize(("argument", "rows"), [("token_type_ids", 2), ("position_ids", P)])
@pytest.mark.parametrize("below_zero", [True, False])
def test_types_and_places_outside(argument, rows, below_zero):
    wrong = torch.zeros(2, 3, dtype=torch.long)
    wrong[1, 2] = value = -1 if below_zero else rows
    message = rf"{argument}\[1, 2\] is {value}, .* rows 0 to {rows - 1}"
    with pytest.raises(IndexError, match=message):
        ours()(ids(2, 3), **{argument: wrong})


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bool, torch.int16, torch.uint8]
)
def test_ids_of_another_type(dtype):
    zeros = torch.zeros(1, 3, dtype=torch.long)
    with pytest.raises(TypeError, match=rf"input_ids .* not {dtype}.*\.long\(\)"):
        ours()(zeros.to(dtype))
    with pytest.raises(TypeError, match=f"token_type_ids .* not {dtype}"):
        ours()(zeros, zeros.to(dtype))
    with pytest.raises(TypeError, match=f"position_ids .* not {dtype}"):
        ours()(zeros, None, zeros.to(dtype))


def test_a_list_is_no_tensor():
    with pytest.raises(TypeError, match="input_ids must be a tensor, not list"):
        ours()([[1, 2]])


@pytest.mark.parametrize("shape", [(), (5,), (1, 5, 1)])
def test_another_rank(shape):
    tokens = torch.zeros(shape, dtype=torch.long)
    with pytest.raises(ValueError, match=r"\(batch, sequence\), not"):
        ours()(tokens)


@pytest.mark.parametrize("shape", [(0, 5), (2, 0), (0, 0)])
def test_empty(shape):
    message = rf"input_ids is empty, \({shape[0]}, {shape[1]}\)"
    with pytest.raises(ValueError, match=message):
        ours()(torch.zeros(shape, dtype=torch.long))


@pytest.mark.parametrize("argument", ["token_type_ids", "position_ids"])
@pytest.mark.parametrize("shape", [(2, 4), (3, 5), (1, 4), (2, 1)])
def test_shapes_that_do_not_agree(argument, shape):
    other = torch.zeros(shape, dtype=torch.long)
    with pytest.raises(ValueError, match=rf"{argument} is .* input_ids is \(2, 5\)"):
        ours()(ids(2, 5), **{argument: other})


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_row_of_ids_gives_vectors_or_a_clear_error(data):
    model = ours()
    number = st.integers(-3, V + 3)
    row = data.draw(st.lists(number, min_size=1, max_size=P + 2))
    tokens = torch.tensor([row])
    outside = [i for i in row if not 0 <= i < V]
    if outside:
        place = row.index(outside[0])
        with pytest.raises(IndexError, match=rf"\[0, {place}\] is {outside[0]},"):
            model(tokens)
    elif len(row) > P:
        with pytest.raises(ValueError, match=f"{len(row)} tokens"):
            model(tokens)
    else:
        out = model(tokens)
        assert out.shape == (1, len(row), H)
        assert out.mean(-1).abs().max() < 1e-5  # what a LayerNorm leaves
        assert torch.allclose(out.var(-1, correction=0), torch.ones(1, len(row)), 1e-3)


# Sinusoids.


@pytest.mark.parametrize(("length", "width"), [(1, 2), (7, 6), (512, 64)])
def test_sinusoids_are_the_formula(length, width):
    table = sinusoids(length, width)
    assert table.shape == (length, width)
    for p in (0, length // 2, length - 1):
        for i in range(width // 2):
            angle = p / 10000 ** (2 * i / width)
            assert table[p, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[p, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_sinusoids_far_out_are_as_exact():
    far = sinusoids(100_001, 4)[-1, 0].item()
    assert far == pytest.approx(math.sin(100_000), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(0, 60), st.integers(1, 16))
def test_a_shift_is_one_turn_for_all_positions(length, shift, half):
    width = 2 * half
    table = sinusoids(length + shift, width).double()
    angle = shift / 10000 ** (torch.arange(0, width, 2).double() / width)
    sine, cosine = table[:, 0::2], table[:, 1::2]
    moved_sine = sine * angle.cos() + cosine * angle.sin()
    moved_cosine = cosine * angle.cos() - sine * angle.sin()
    assert torch.allclose(moved_sine[:length], sine[shift:], atol=1e-5)
    assert torch.allclose(moved_cosine[:length], cosine[shift:], atol=1e-5)


def test_products_depend_on_the_distance_alone():
    table = sinusoids(200, 32).double()
    products = table @ table.T
    for offset in (0, 1, 17, 150):
        along = products.diagonal(offset)
        assert along.max() - along.min() < 1e-4


def test_sinusoids_follow_the_default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        assert sinusoids(3, 4).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert sinusoids(0, 4).shape == (0, 4)


@pytest.mark.parametrize("width", [0, -2, 1, 7])
def test_sinusoids_come_in_pairs(width):
    with pytest.raises(ValueError, match=f"even and at least 2, not {width}"):
        sinusoids(5, width)


def test_no_fewer_than_no_positions():
    with pytest.raises(ValueError, match="there are no -1 positions"):
        sinusoids(-1, 4)


# Longer tables.


def test_copying_repeats_all_rows_but_the_first():
    table = torch.arange(5.0)[:, None]
    longer = extend_positions(table, 12).flatten().tolist()
    assert longer == [0, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3]


def test_stretching_keeps_both_ends_and_goes_straight_between():
    table = torch.tensor([9.0, 1, 2, 3, 4])[:, None]
    longer = extend_positions(table, 8, "stretch").flatten().tolist()
    assert longer == pytest.approx([9, 1, 1.5, 2, 2.5, 3, 3.5, 4])


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 20), st.integers(0, 50), st.sampled_from(["copy", "stretch"]))
def test_a_longer_table(size, more, method):
    torch.manual_seed(size)
    table = torch.randn(size, 4)
    longer = extend_positions(table, size + more, method)
    assert longer.shape == (size + more, 4)
    assert torch.equal(longer[0], table[0])
    assert torch.allclose(longer[1], table[1])
    assert longer.abs().max() <= table.abs().max()
    if more == 0:
        assert torch.allclose(longer, table, atol=1e-6)
    if method == "copy":
        assert torch.equal(longer[:size], table)
    else:
        assert torch.allclose(longer[-1], table[-1], atol=1e-5)
    longer.zero_()
    assert table.abs().max() > 0  # a copy, not a view


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("method", ["copy", "stretch"])
def test_a_longer_table_keeps_its_dtype(dtype, method):
    assert extend_positions(torch.ones(4, 2, dtype=dtype), 9, method).dtype == dtype


def test_what_cannot_be_extended():
    table = torch.ones(4, 2)
    with pytest.raises(ValueError, match="length 3 is less than the table's 4 rows"):
        extend_positions(table, 3)
    with pytest.raises(ValueError, match="not 'repeat'"):
        extend_positions(table, 9, "repeat")
    with pytest.raises(ValueError, match=r"not \(4,\)"):
        extend_positions(table[:, 0], 9)
    with pytest.raises(ValueError, match=r"not \(1, 2\)"):
        extend_positions(table[:1], 9)
