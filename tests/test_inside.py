"""Attention, heads and layers: against transformers, by hand, and by properties."""

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minibert.bert import BertModel
from minibert.config import BertConfig
from minibert.files import resolve
from minibert.inside import (
    Attention,
    attend,
    attention_view,
    cka,
    head_measures,
    head_table,
    switch_off,
    word_states,
)
from minibert.loading import load
from minibert.nsp import BertForNextSentencePrediction

TEXT, PAIR = "The dog bit the man because it was hungry.", "Nobody was surprised."


@pytest.fixture(scope="module")
def one() -> Attention:
    return attend(TEXT, PAIR)


def test_weights_equal_transformers(one: Attention) -> None:
    theirs = transformers.BertModel.from_pretrained(
        str(resolve("minilm")), attn_implementation="eager"
    ).eval()
    _, tokenizer = load("minilm", BertModel)
    batch = tokenizer([TEXT], [PAIR])
    with torch.no_grad():
        maps = theirs(**batch._asdict(), output_attentions=True).attentions
    np.testing.assert_allclose(one.weights, torch.cat(maps).numpy(), atol=1e-5)
    assert one.pieces == tokenizer.tokens(batch.input_ids[0])
    assert one.types == batch.token_type_ids[0].tolist()


def test_table_holds_every_weight(one: Attention) -> None:
    table = one.table()
    assert len(table) == one.weights.size
    rows = table.groupby(["layer", "head", "query"])["weight"]
    np.testing.assert_allclose(rows.sum(), 1, atol=1e-5)
    for row in table.sample(50, random_state=0).itertuples():
        assert row.weight == one.weights[row.layer, row.head, row.query, row.key]
        assert row.query_token == one.pieces[row.query]
        assert row.key_token == one.pieces[row.key]
    some = one.table(layers=[4, 1])
    assert sorted(set(some["layer"])) == [1, 4]
    assert some["weight"].tolist() == table[table["layer"].isin([1, 4])]["weight"].tolist()
    assert one.table(layers=[-2, 1, 4]).equals(some)
    with pytest.raises(IndexError):
        one.table(layers=[6])


def test_any_model_with_a_body() -> None:
    head, tokenizer = load("leads-small", BertForNextSentencePrediction)
    own = attend(TEXT, model=(head.bert, tokenizer))
    assert own.weights.shape[:2] == (4, 3)
    np.testing.assert_allclose(own.weights, attend(TEXT, model="leads-small").weights, atol=1e-6)
    long = attend("word " * 400, max_length=20)
    assert len(long.pieces) == 20
    assert len(attend("word " * 400, model="leads-small").pieces) == 96  # all its positions
    which, _ = word_states(["word " * 400], "word", model="leads-small")
    assert which == [0]


def by_hand(weights: list[list[float]], pieces: list[str], types: list[int]) -> dict:
    one = Attention(pieces, types, np.array(weights, np.float32)[None, None])
    return {k: v.item() for k, v in head_measures(one).items()}


def test_measures_by_hand() -> None:
    pieces, types = ["[CLS]", "dog", "dog", "[SEP]", "cat", "[SEP]"], [0, 0, 0, 0, 1, 1]
    uniform = by_hand([[1 / 6] * 6] * 6, pieces, types)
    assert uniform["spread"] == pytest.approx(1)
    assert uniform["[SEP]"] == pytest.approx(2 / 6)
    assert uniform["same piece"] == pytest.approx(1 / 6)  # cat has no twin and is not asked
    assert uniform["other segment"] == pytest.approx((1 / 6 + 1 / 6 + 2 / 6) / 3)
    previous = by_hand(np.eye(6, k=-1).tolist(), pieces, types)
    assert previous["previous"] == pytest.approx(1) and previous["spread"] == pytest.approx(0)
    following = by_hand(np.eye(6, k=1).tolist(), pieces, types)
    assert following["next"] == pytest.approx(1) and following["itself"] == 0
    assert by_hand(np.eye(6).tolist(), pieces, types)["itself"] == pytest.approx(1)
    alone = by_hand(np.eye(3).tolist(), ["[CLS]", "dog", "[SEP]"], [0, 0, 0])
    assert np.isnan(alone["same piece"])


def test_kinds_of_heads() -> None:
    texts = [TEXT, PAIR]
    table = head_table(texts)
    assert len(table) == 72
    each = [head_measures(attend(text, max_length=64)) for text in texts]
    assert np.isnan(each[1]["same piece"]).all()  # only TEXT has a word twice
    for name, values in each[0].items():
        expected = values if name == "same piece" else (values + each[1][name]) / 2
        np.testing.assert_allclose(table[name], expected.ravel())
    for row in table.to_dict("records"):
        shares = {k: v for k, v in row.items() if k in each[0] and k != "spread"}
        best = max(shares, key=lambda k: shares[k])
        if shares[best] >= 0.5:
            assert row["kind"] == best
        else:
            assert row["kind"] == ("even" if row["spread"] > 0.8 else "mixed")
    assert "other segment" in head_table([TEXT], [PAIR]).columns
    with pytest.raises(ValueError, match="no texts"):
        head_table([])
    with pytest.raises(ValueError, match="2 texts and 1"):
        head_table(texts, [PAIR])
    with pytest.raises(TypeError, match="texts must be a list"):
        head_table(TEXT)
    with pytest.raises(ValueError, match="without a word"):
        head_table(["", TEXT])
    two = pd.Series(texts)
    pd.testing.assert_frame_equal(head_table(two, two), head_table(texts, texts))


def test_tables_say_what_they_need(one: Attention, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    for call in (one.table, lambda: head_table([TEXT])):
        with pytest.raises(ModuleNotFoundError, match=r"pandas is not.*\n.*\[book\]"):
            call()


def without(model: BertModel, layer: int, head: int, states: torch.Tensor) -> torch.Tensor:
    """The layer's attention with one head's values put to 0, written out."""
    attention = model.encoder.layers[layer].attention
    size = model.config.hidden_size // model.config.num_attention_heads
    twin = BertModel(model.config)
    twin.load_state_dict(model.state_dict())
    part = twin.encoder.layers[layer].attention
    assert part is not attention
    start = 2 * model.config.hidden_size + head * size  # query, key, value in one matrix
    with torch.no_grad():
        part.qkv.weight[start : start + size] = 0
        part.qkv.bias[start : start + size] = 0
    twin.eval()
    with torch.no_grad():
        return twin(states).last_hidden_state


def test_switched_off_head_gives_what_no_values_give(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = BertModel(BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                                 intermediate_size=64, vocab_size=100)).eval()  # fmt: skip
    before = {k: v.clone() for k, v in model.state_dict().items()}
    ids = torch.randint(1, 100, (2, 7))
    cut = switch_off(model, {1: [2]})
    with torch.no_grad():
        found = cut(ids).last_hidden_state
        assert not torch.allclose(found, model(ids).last_hidden_state, atol=1e-4)
    torch.testing.assert_close(found, without(model, 1, 2, ids))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    cut.save_pretrained(tmp_path)
    again = BertModel.from_pretrained(tmp_path)
    theirs = transformers.BertModel.from_pretrained(str(tmp_path)).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(ids).last_hidden_state, found)
        torch.testing.assert_close(theirs(ids).last_hidden_state, found, atol=1e-5, rtol=0)
    for layer, heads in ((2, [0]), (0, [4]), (-1, [0]), (9, []), (0, [1, -1])):
        with pytest.raises(IndexError, match="2 layers of 4"):
            switch_off(model, {layer: heads})
    with pytest.raises(TypeError, match="a Linear has no BertModel in it"):
        switch_off(torch.nn.Linear(2, 2), {0: [0]})


def test_switch_off_under_a_head() -> None:
    model, _ = load("leads-small", BertForNextSentencePrediction)
    cut = switch_off(model, {0: range(3)})
    assert type(cut) is type(model)
    weight = cut.bert.encoder.layers[0].attention.output.weight
    assert not weight.any() and model.bert.encoder.layers[0].attention.output.weight.any()


@given(arrays(np.float64, (9, 4), elements=st.floats(-5, 5)), st.floats(0.1, 9))
def test_cka_ignores_turning_moving_and_scaling(x: np.ndarray, scale: float) -> None:
    x = x + np.random.default_rng(0).normal(size=x.shape)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
    assert cka(x, scale * x @ turn + 3) == pytest.approx(1)
    y = np.random.default_rng(2).normal(size=(9, 6))
    assert 0 <= cka(x, y) <= 1 and cka(x, y) == pytest.approx(cka(y, x))


def test_cka_by_its_definition() -> None:
    """From the centred Gram matrices, as the paper writes it."""
    chance = np.random.default_rng(0)
    x, y = chance.normal(size=(20, 5)), chance.normal(size=(20, 3))
    centre = np.eye(20) - 1 / 20
    k, m = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre
    expected = (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())
    assert cka(x, y) == pytest.approx(expected)
    with pytest.raises(ValueError, match="20 rows against 19"):
        cka(x, y[:19])


def test_states_of_a_word() -> None:
    texts = ["A cell divides.", "Excellent!", "Cells, in a cell.", "Unbelievable cell-like"]
    which, states = word_states(texts, "cell")
    assert which == [0, 2, 3] and states.shape == (3, 7, 384)
    bert, tokenizer = load("minilm", BertModel)
    batch = tokenizer([texts[0]])
    with torch.no_grad():
        layers = bert(*batch.to(bert.device), output_hidden_states=True).hidden_states
    for layer, expected in enumerate(layers):
        np.testing.assert_allclose(states[0, layer], expected[0, 2].cpu(), atol=1e-6)
    which, several = word_states(["He was unbelievably late."], "unbelievably")
    assert which == [0] and several.shape == (1, 7, 384)
    for bad in ("zebra", ""):
        with pytest.raises(ValueError, match="stands as a word in none of the 4"):
            word_states(texts, bad)
    with pytest.raises(ValueError, match="is \\[UNK\\] to this model"):
        word_states(["🦩 and 🦤"], "🦤")
    with pytest.raises(TypeError, match="texts must be a list"):
        word_states("A cell divides.", "cell")


def test_view_needs_nothing_and_hides_nothing(one: Attention) -> None:
    page = attention_view(one, layer=2, head=3, query=4)
    assert "http" not in page and "src=" not in page
    assert page == attention_view(one, layer=2, head=3, query=4)
    static = page.split("<script>")[0]
    shares = [float(x) for x in re.findall(r'title="([\d.]+)"', static)]
    np.testing.assert_allclose(shares, one.weights[2, 3, 4], atol=0.006)
    sharp = Attention(["</script>", "<b>"], [0, 0], np.full((1, 1, 2, 2), 0.5, np.float32))
    shown = attention_view(sharp)
    assert shown.count("</script>") == 1 and "<b>" not in shown.split("<script>")[0]


@pytest.mark.parametrize("where", [(6, 0, 0), (0, 12, 0), (0, 0, 99), (0, -1, 0)])
def test_view_of_what_is_not_there(one: Attention, where: tuple[int, int, int]) -> None:
    with pytest.raises(IndexError, match="6 layers of 12 heads"):
        attention_view(one, *where)


def test_view_of_a_long_text() -> None:
    with pytest.raises(ValueError, match="64 is the most"):
        attention_view(attend("word " * 100))


def test_a_notebook_draws_what_is_short_enough(one: Attention) -> None:
    assert one._repr_html_() == attention_view(one)
    assert attend("word " * 100)._repr_html_() is None  # it prints as it is
