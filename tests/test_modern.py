"""ModernBERT: equal to BERT without changes, and to theirs with all of them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from minibert.batching import pack
from minibert.bert import BertModel
from minibert.config import BertConfig
from minibert.modern import MODERN, Changes, ModernBertForMaskedLM, ModernBertModel, rotate

SIZES = {
    "vocab_size": 99, "hidden_size": 48, "num_hidden_layers": 5, "num_attention_heads": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    config = transformers.ModernBertConfig(
        **SIZES, intermediate_size=32, local_attention=6, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, cls_token_id=1, sep_token_id=2, initializer_range=0.2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.ModernBertForMaskedLM(config).eval()
    with torch.no_grad():
        for one in model.parameters():
            if one.ndim == 1:
                one.add_(torch.randn_like(one) * 0.1)
    folder = tmp_path_factory.mktemp("modern")
    model.save_pretrained(folder)
    return model, folder


@torch.no_grad()
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_equals_theirs_padded_packed_and_longer_than_the_window(theirs, attention):
    model, folder = theirs
    model.set_attn_implementation(attention)
    ours = ModernBertForMaskedLM.from_pretrained(folder)
    ids = torch.randint(3, 99, (3, 17), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 9:] = mask[2, 2:] = 0
    ids[mask == 0] = 0
    want = model(ids, attention_mask=mask).logits
    got = ours(ids, mask).logits
    real = mask.bool()
    assert (want - got)[real].abs().max() < 1e-5
    assert want.std() > 0.1
    packed = pack({"input_ids": ids, "attention_mask": mask})
    rows = ours(packed["input_ids"], packed["attention_mask"]).logits[0]
    assert (rows - want[real]).abs().max() < 1e-5
    body = ModernBertModel.from_pretrained(folder)
    hidden = body(ids, mask).last_hidden_state
    assert (hidden - model.model(ids, attention_mask=mask)[0])[real].abs().max() < 1e-5


@torch.no_grad()
def test_without_changes_it_is_bert():
    config = BertConfig(**SIZES, intermediate_size=64, max_position_embeddings=20)
    bert = BertModel(config, add_pooling_layer=False).eval()
    same = ModernBertModel(config, Changes()).eval()
    state = {name.removeprefix("encoder."): t for name, t in bert.state_dict().items()}
    same.load_state_dict(state)
    ids = torch.randint(1, 99, (2, 17))
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    want = bert(ids, mask, output_attentions=True, output_hidden_states=True)
    got = same(ids, mask, output_attentions=True, output_hidden_states=True)
    assert want.last_hidden_state.equal(got.last_hidden_state)
    assert all(map(torch.equal, want.hidden_states, got.hidden_states))
    assert all(map(torch.equal, want.attentions, got.attentions))


@given(
    st.integers(1, 4).map(lambda half: 2 * half), st.integers(0, 400), st.integers(0, 400),
    st.integers(0, 2000), st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_a_score_of_turned_vectors_depends_on_the_distance_alone(size, one, two, moved, seed):
    q, k = torch.randn(2, 1, 1, 1, size, generator=torch.Generator().manual_seed(seed))

    def score(a: int, b: int) -> float:
        turned = rotate(q, torch.tensor([[a]])) * rotate(k, torch.tensor([[b]]))
        return turned.sum().item()

    assert score(one, two) == pytest.approx(score(one + moved, two + moved), abs=2e-3)
    assert rotate(q, torch.tensor([[one]])).norm() == pytest.approx(q.norm().item(), abs=1e-4)


def test_at_place_0_nothing_turns_and_the_type_stays():
    x = torch.randn(2, 3, 5, 8, dtype=torch.bfloat16)
    assert rotate(x, torch.zeros(1, 5)).equal(x)


def test_an_odd_head_is_refused():
    with pytest.raises(ValueError, match="D must be even"):
        rotate(torch.ones(1, 1, 2, 3), torch.tensor([[0, 1]]))


@torch.no_grad()
@pytest.mark.parametrize(("window", "sees"), [(2, 1), (4, 2), (5, 2), (16, 8)])
def test_a_local_layer_sees_half_a_window_to_both_sides(window, sees):
    config = BertConfig(**SIZES | {"num_hidden_layers": 2}, intermediate_size=16)
    changes = replace(MODERN, window=window, every=9)  # layer 0 sees all, layer 1 its window
    model = ModernBertModel(config, changes).eval()
    ids = torch.randint(3, 99, (1, 40), generator=torch.Generator().manual_seed(0))
    maps = model(ids, output_attentions=True).attentions
    seen = [(one[0].sum(0) > 0)[20].nonzero()[:, 0] - 20 for one in maps]
    assert (seen[0].min(), seen[0].max()) == (-20, 19)
    assert (seen[1].min(), seen[1].max()) == (-sees, sees)


@torch.no_grad()
def test_no_text_of_a_packed_row_sees_another():
    config = BertConfig(**SIZES, intermediate_size=16)
    model = ModernBertModel(config, replace(MODERN, window=4)).eval()
    ids = torch.randint(3, 99, (3, 11), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    packed = pack({"input_ids": ids, "attention_mask": mask})
    rows, seen = packed["input_ids"], packed["attention_mask"]
    before = model(rows, seen).last_hidden_state
    changed = rows.clone()
    changed[0, 12] = (changed[0, 12] + 1) % 90 + 3  # in the second text
    moved = (model(changed, seen).last_hidden_state - before)[0].abs().amax(-1) > 0
    assert moved[11:17].all()
    assert not moved[:11].any()
    assert not moved[17:].any()


@pytest.mark.parametrize("field", ["window", "every", "base", "local_base"])
def test_changes_below_1_are_refused(field):
    with pytest.raises(ValueError, match=f"{field} must be 1 or more, not 0"):
        Changes(**{field: 0})


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("model_type", "bert", "model_type is 'bert'"),
        ("hidden_activation", "silu", "hidden_activation is 'silu'"),
        ("mlp_bias", True, "mlp_bias is True"),
        ("layer_types", ["full_attention"] * 5, "layer_types"),
        ("hidden_size", 50, "not"),
    ],
)
def test_what_it_does_not_compute_is_refused_by_name(theirs, tmp_path, field, value, says):
    _, folder = theirs
    copied = shutil.copytree(folder, tmp_path / "changed")
    file = copied / "config.json"
    settings_ = json.loads(file.read_text(encoding="utf-8")) | {field: value}
    file.write_text(json.dumps(settings_), encoding="utf-8")
    with pytest.raises(ValueError, match=says):
        ModernBertForMaskedLM.from_pretrained(copied)


def test_a_config_with_other_angles_is_read_or_refused(theirs, tmp_path):
    _, folder = theirs
    copied = shutil.copytree(folder, tmp_path / "changed")
    file = copied / "config.json"
    said = json.loads(file.read_text(encoding="utf-8"))
    said["rope_parameters"]["sliding_attention"] = {"rope_type": "yarn", "rope_theta": 1e4}
    file.write_text(json.dumps(said), encoding="utf-8")
    with pytest.raises(ValueError, match="rope_type is 'yarn'"):
        ModernBertForMaskedLM.from_pretrained(copied)
    del said["rope_parameters"], said["layer_types"]
    said |= {"global_rope_theta": 500.0, "local_rope_theta": 50.0}  # as it was published
    file.write_text(json.dumps(said), encoding="utf-8")
    changes = ModernBertForMaskedLM.from_pretrained(copied).changes
    assert (changes.base, changes.local_base) == (500.0, 50.0)


@pytest.mark.parametrize("what", ["missing", "too many", "shape"])
def test_weights_that_do_not_fit_are_named(theirs, tmp_path, what):
    _, folder = theirs
    copied = shutil.copytree(folder, tmp_path / "changed")
    file = copied / "model.safetensors"
    state = load_file(folder / file.name)  # not the one that is written
    name = "model.layers.1.attn.Wo.weight"
    if what == "missing":
        del state[name]
    elif what == "too many":
        state["model.layers.9.attn.Wo.weight"] = state[name].clone()
    else:
        state[name] = state[name][:3].clone()
    save_file(state, file)
    says = "layers.9.attn" if what == "too many" else "layers.1.attn.Wo"
    with pytest.raises(ValueError, match=says):
        ModernBertForMaskedLM.from_pretrained(copied)


def test_it_trains_and_its_words_share_one_table():
    config = BertConfig(**SIZES, intermediate_size=32)
    model = ModernBertForMaskedLM(config, replace(MODERN, window=4))
    ids = torch.randint(3, 99, (4, 12), generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = model(ids, labels=ids).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4
    assert all(weight.grad is not None for weight in model.parameters())
    assert sum("bias" in name for name, _ in model.named_parameters()) == 1


def test_it_is_read_and_not_written(tmp_path):
    model = ModernBertModel(BertConfig(**SIZES, intermediate_size=32))
    with pytest.raises(NotImplementedError, match="safetensors"):
        model.save_pretrained(tmp_path)
