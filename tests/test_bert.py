"""BERT against transformers, its files in every layout, and what it must refuse."""

import dataclasses
import json
import os
import pickle
import shutil
import stat
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from minibert import weights
from minibert.batching import Batch
from minibert.bert import BertModel, BertPreTrainedModel
from minibert.config import BertConfig
from minibert.data import leads
from minibert.files import resolve
from minibert.huggingface import from_huggingface, to_huggingface
from minibert.loading import load
from minibert.tokens import Tokenizer
from minibert.vocabulary import SPECIAL

transformers = pytest.importorskip("transformers")
transformers.utils.logging.disable_progress_bar()

SMALL = BertConfig(
    vocab_size=61,
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=48,
    max_position_embeddings=24,
)
IDS = torch.tensor([[2, 7, 9, 3, 11, 3], [2, 8, 3, 0, 0, 0]])
MASK = (IDS != 0).long()
TYPES = torch.tensor([[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]])


def close(a: Tensor, b: Tensor, within: float = 1e-5) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=within)


def small(config: BertConfig = SMALL, **options: bool) -> BertModel:
    torch.manual_seed(0)
    return BertModel(config, **options).eval()


def peer(folder: Path, path: str = "sdpa") -> nn.Module:
    model = transformers.BertModel.from_pretrained(folder, attn_implementation=path)
    return model.eval()


@pytest.fixture(scope="module")
def minilm() -> BertModel:
    return BertModel.from_pretrained("minilm")


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    tokenizer = Tokenizer.from_pretrained("minilm")
    texts = [one.text for one in leads("test")]
    return [
        tokenizer(texts[:6], max_length=64),
        tokenizer(texts[6:9], texts[9:12], max_length=96),
        tokenizer(["", "A", texts[12]], max_length=40),
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small().save_pretrained(tmp_path)
    return tmp_path


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    state = {k: v.clone() for k, v in load_file(folder / "model.safetensors").items()}
    save_file(change(state), folder / "model.safetensors", metadata={"format": "pt"})


def reconfigure(folder: Path, **said: object) -> None:
    file = folder / "config.json"
    file.write_text(
        json.dumps(json.loads(file.read_text(encoding="utf-8")) | said), encoding="utf-8"
    )


def same(a: nn.Module, b: nn.Module) -> bool:
    x, y = a.state_dict(), b.state_dict()
    return x.keys() == y.keys() and all(x[name].equal(y[name]) for name in x)


# Against transformers


@pytest.mark.parametrize("which", range(3))
def test_minilm_equals_transformers(minilm: BertModel, batches: list[Batch], which: int) -> None:
    batch = batches[which]
    theirs = peer(resolve("minilm"))
    explicit = peer(resolve("minilm"), "eager")
    with torch.no_grad():
        out = minilm(*batch, output_hidden_states=True, output_attentions=True)
        want = theirs(**batch._asdict(), output_hidden_states=True)
        maps = explicit(**batch._asdict(), output_attentions=True).attentions
    assert len(out.hidden_states) == 7 and len(out.attentions) == 6
    for a, b in zip(out.hidden_states, want.hidden_states, strict=True):
        close(a, b)
    close(out.last_hidden_state, want.last_hidden_state)
    close(out.pooler_output, want.pooler_output)
    for a, b in zip(out.attentions, maps, strict=True):
        close(a, b)


def test_minilm_equals_transformers_in_float64(batches: list[Batch]) -> None:
    ours = BertModel.from_pretrained("minilm").double()
    theirs = peer(resolve("minilm"), "eager").double()
    batch = batches[0]
    with torch.no_grad():
        out = ours(*batch, output_hidden_states=True, output_attentions=True)
        want = theirs(**batch._asdict(), output_hidden_states=True, output_attentions=True)
    for a, b in zip(out.hidden_states, want.hidden_states, strict=True):
        close(a, b, 1e-12)
    for a, b in zip(out.attentions, want.attentions, strict=True):
        close(a, b, 1e-12)


@st.composite
def configs(draw: st.DrawFn) -> BertConfig:
    heads = draw(st.integers(1, 4))
    return BertConfig(
        vocab_size=draw(st.integers(5, 80)),
        hidden_size=heads * draw(st.integers(1, 8)),
        num_hidden_layers=draw(st.integers(1, 3)),
        num_attention_heads=heads,
        intermediate_size=draw(st.integers(1, 40)),
        max_position_embeddings=draw(st.integers(7, 40)),
        type_vocab_size=draw(st.integers(1, 3)),
        layer_norm_eps=draw(st.sampled_from([1e-12, 1e-5])),
        pad_token_id=draw(st.sampled_from([None, 0, 3])),
    )


@settings(max_examples=25, deadline=None)
@given(configs(), st.integers(1, 3), st.integers(1, 7), st.integers(0, 2**31))
def test_random_configs_equal_transformers(
    config: BertConfig, rows: int, size: int, seed: int
) -> None:
    torch.manual_seed(seed)
    ours = BertModel(config).eval().double()
    said = json.loads(config.to_json())
    theirs = transformers.BertModel(transformers.BertConfig(**said)).eval().double()
    theirs.load_state_dict(to_huggingface(ours.state_dict()))
    ids = torch.randint(config.vocab_size, (rows, size))
    types = torch.randint(config.type_vocab_size, (rows, size))
    mask = (torch.rand(rows, size) < 0.7).long()
    mask[:, 0] = 1
    with torch.no_grad():
        out = ours(ids, mask, types)
        want = theirs(input_ids=ids, attention_mask=mask, token_type_ids=types)
    close(out.last_hidden_state, want.last_hidden_state, 1e-9)
    close(out.pooler_output, want.pooler_output, 1e-9)


def test_the_order_of_arguments_is_theirs() -> None:
    model = small()
    named = model(
        position_ids=torch.arange(6)[None], token_type_ids=TYPES,
        attention_mask=MASK, input_ids=IDS,
    )  # fmt: skip
    close(model(IDS, MASK, TYPES, torch.arange(6)[None])[0], named[0], 0)
    with pytest.raises(TypeError):
        model(IDS, MASK, TYPES, None, True)


def test_outputs_that_were_not_asked_for_are_none() -> None:
    out = small(add_pooling_layer=False)(IDS, MASK)
    assert out._fields == (
        "last_hidden_state", "pooler_output", "hidden_states", "attentions",
    )  # fmt: skip
    assert out[1:] == (None, None, None)


def test_maps_do_not_change_the_numbers() -> None:
    model = small()
    plain = model(IDS, MASK)
    out = model(IDS, MASK, output_hidden_states=True, output_attentions=True)
    assert plain.last_hidden_state.equal(out.last_hidden_state)
    assert out.hidden_states[-1] is out.last_hidden_state
    for layer in out.attentions:
        assert layer.shape == (2, 4, 6, 6)
        close(layer.sum(-1), torch.ones(2, 4, 6))
        assert layer[1, :, :, 3:].eq(0).all()


# Masks, precision, devices


def test_packed_rows_equal_separate_rows() -> None:
    model = small().double()
    one, two = IDS[:1, :4], IDS[1:, :3]
    packed = torch.cat([one, two], 1)  # (1, 7)
    owner = torch.tensor([0] * 4 + [1] * 3)
    mask = (owner[:, None] == owner)[None]  # (1, 7, 7)
    places = torch.tensor([[0, 1, 2, 3, 0, 1, 2]])
    for kind in (mask, mask.long()):
        out = model(packed, kind, position_ids=places)[0]
        close(out[:, :4], model(one)[0], 1e-12)
        close(out[:, 4:], model(two)[0], 1e-12)


def test_padding_changes_nothing_but_rounding() -> None:
    model = small().double()
    short = model(IDS[1:, :3])[0]
    close(model(IDS, MASK)[0][1:, :3], short, 1e-12)
    assert (model(IDS)[0][1:, :3] - short).abs().max() > 1e-3


@pytest.mark.parametrize("maps", [False, True])
def test_a_row_of_padding_gives_no_nan(maps: bool) -> None:
    model = small().train()
    mask = MASK.clone()
    mask[1] = 0
    out = model(IDS, mask, output_attentions=maps)
    assert out.last_hidden_state.isfinite().all()
    assert out.pooler_output.isfinite().all()
    (out.last_hidden_state.sum() + out.pooler_output.square().sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_every_precision(dtype: torch.dtype) -> None:
    model = small().to(dtype)
    out = model(IDS, MASK, output_hidden_states=True, output_attentions=True)
    for tensor in (out[0], out[1], *out.hidden_states, *out.attentions):
        assert tensor.dtype == dtype and tensor.isfinite().all()
    close(out[0].float(), small()(IDS, MASK)[0], 0.1)


def test_meta_gives_shapes() -> None:
    with torch.device("meta"):
        model = BertModel(BertConfig())
        ids = torch.zeros(2, 5, dtype=torch.long)
        out = model(ids, torch.ones(2, 5), output_attentions=True)
    assert out.last_hidden_state.shape == (2, 5, 768)
    assert out.attentions[11].shape == (2, 12, 5, 5)
    assert sum(p.numel() for p in model.parameters()) == 109_482_240
    with pytest.raises(ValueError, match="meta"):
        model.save_pretrained("nowhere")
    assert not Path("nowhere").exists()


def test_train_mode_drops_and_eval_does_not() -> None:
    model = small().train()
    assert not model(IDS)[0].equal(model(IDS)[0])
    model.eval()
    assert model(IDS)[0].equal(model(IDS)[0])


def test_initial_weights() -> None:
    config = dataclasses.replace(SMALL, hidden_size=128, initializer_range=0.05)
    model = small(config)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            assert module.weight.eq(1).all() and module.bias.eq(0).all()
        if isinstance(module, nn.Linear):
            assert module.bias.eq(0).all()
            assert abs(module.weight.std().item() - 0.05) < 0.005
    table = model.embeddings.token.weight
    assert table[0].eq(0).all() and table[1:].ne(0).all()
    bare = small(dataclasses.replace(SMALL, pad_token_id=None))
    assert bare.embeddings.token.weight[0].ne(0).all()


@pytest.mark.parametrize(
    ("mask", "error", "match"),
    [
        (torch.ones(2, 5), ValueError, r"\(2, 5\)"),
        (torch.ones(6), ValueError, r"\(6,\)"),
        (torch.ones(2, 1, 1, 6), ValueError, r"\(2, 1, 1, 6\)"),
        (torch.ones(1, 6), ValueError, r"\(1, 6\)"),
        (torch.full((2, 6), -10000.0), ValueError, "-10000"),
        ([[1] * 6] * 2, TypeError, "list"),
    ],
)
def test_masks_that_are_refused(mask: Tensor, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        small()(IDS, mask)


@pytest.mark.parametrize(
    ("ids", "error", "match"),
    [
        (torch.full((1, 3), 61), IndexError, "61"),
        (torch.full((1, 3), -1), IndexError, "-1"),
        (torch.zeros(1, 25, dtype=torch.long), ValueError, "25"),
        (torch.zeros(3, dtype=torch.long), ValueError, r"\(3,\)"),
        (torch.zeros(0, 3, dtype=torch.long), ValueError, "empty"),
        (torch.zeros(1, 3), TypeError, "float32"),
        ([[1, 2]], TypeError, "list"),
    ],
)
def test_ids_that_are_refused(ids: Tensor, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        small()(ids, None if not isinstance(ids, Tensor) else torch.ones_like(ids))


# The config


@settings(max_examples=50, deadline=None)
@given(configs())
def test_a_config_survives_json(config: BertConfig) -> None:
    assert BertConfig.from_json(config.to_json()).to_json() == config.to_json()
    again = BertConfig.from_json(config.to_json())
    assert dataclasses.replace(again, extra={}) == config
    assert isinstance(hash(config), int)


def test_config_defaults_and_extra() -> None:
    config = BertConfig.from_json('{"use_cache": true, "id2label": {"0": "yes"}}')
    assert dataclasses.replace(config, extra={}) == BertConfig()
    assert config.extra == {"use_cache": True, "id2label": {"0": "yes"}}
    assert json.loads(config.to_json())["id2label"] == {"0": "yes"}
    theirs = transformers.BertConfig()
    for field in dataclasses.fields(BertConfig):
        if field.name != "extra":
            assert getattr(BertConfig(), field.name) == getattr(theirs, field.name)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.hidden_size = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("fields", "error", "match"),
    [
        ({"hidden_sise": 4}, TypeError, "hidden_sise"),
        ({"hidden_act": "gelu"}, TypeError, "hidden_act"),
        ({"num_attention_heads": 7}, ValueError, "768.*7"),
        ({"hidden_size": 0}, ValueError, "hidden_size.*0"),
        ({"num_hidden_layers": -1}, ValueError, "num_hidden_layers.*-1"),
        ({"vocab_size": "many"}, TypeError, "vocab_size.*many"),
        ({"vocab_size": 99.0}, TypeError, "vocab_size.*99.0"),
        ({"vocab_size": True}, TypeError, "vocab_size.*True"),
        ({"hidden_dropout_prob": 1.0}, ValueError, "hidden_dropout_prob"),
        ({"attention_probs_dropout_prob": -0.1}, ValueError, "-0.1"),
        ({"layer_norm_eps": 0}, ValueError, "layer_norm_eps"),
        ({"initializer_range": float("nan")}, ValueError, "initializer_range"),
        ({"pad_token_id": 30522}, ValueError, "30522"),
        ({"extra": {"vocab_size": 7}}, ValueError, "vocab_size"),
        ({"extra": {"is_decoder": True}}, ValueError, "is_decoder"),
    ],
)
def test_configs_that_are_refused(
    fields: dict[str, object], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        BertConfig(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"hidden_act": "gelu_new"}', "hidden_act.*gelu_new"),
        ('{"hidden_act": "relu"}', "hidden_act.*relu"),
        ('{"position_embedding_type": "relative_key"}', "position_embedding_type"),
        ('{"is_decoder": true}', "is_decoder"),
        ('{"add_cross_attention": true}', "add_cross_attention"),
        ('{"model_type": "roberta"}', "model_type.*roberta"),
        ('{"pruned_heads": {"0": [1]}}', "pruned_heads"),
        ('{"quantization_config": {"bits": 4}}', "quantization_config"),
        ("{", "not JSON"),
        ("[1]", "list"),
    ],
)
def test_config_files_that_are_refused(folder: Path, text: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        BertConfig.from_json(text)
    (folder / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"(?s)config.json.*{match}"):
        BertModel.from_pretrained(folder)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b'{"a": "\xff"}', "not UTF-8"),
        (b"\xef\xbb\xbf{}x", "JSON"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b'{"a": ' + b"[" * 200_000, "nested too deep"),
        (b'{"base_model": 5}', "base_model must be a name, not 5"),
        (b'{"hidden_size": 1e999}', "hidden_size"),
        (b"", "JSON"),
    ],
)
def test_config_files_that_cannot_be_read_are_named(
    folder: Path, content: bytes, match: str
) -> None:
    (folder / "config.json").write_bytes(content)
    for read in (BertModel.from_pretrained, BertConfig.from_pretrained):
        with pytest.raises((ValueError, TypeError), match=f"(?s)config.json.*{match}"):
            read(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_link_that_leads_nowhere_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).symlink_to(folder / "gone")
    for read in (BertModel.from_pretrained, partial(load, BertModel)):
        with pytest.raises(FileNotFoundError, match=f"{name} is a link to .*gone, which is not"):
            read(folder)


@pytest.mark.parametrize("name", ["gelu", "gelu_python"])
def test_exact_gelu_has_two_names(folder: Path, tmp_path: Path, name: str) -> None:
    reconfigure(folder, hidden_act=name)
    model = BertModel.from_pretrained(folder)
    close(model(IDS, MASK)[0], peer(folder)(input_ids=IDS, attention_mask=MASK)[0])
    model.save_pretrained(tmp_path / "again")
    assert BertConfig.from_pretrained(tmp_path / "again").extra["hidden_act"] == name


def test_a_config_alone_with_changes(folder: Path) -> None:
    config = BertConfig.from_pretrained(folder, hidden_dropout_prob=0.3)
    assert replace(config, hidden_dropout_prob=0.1, extra={}) == SMALL
    assert BertConfig.from_pretrained("minilm").hidden_size == 384
    with pytest.raises(TypeError, match="hidden_sise"):
        BertConfig.from_pretrained(folder, hidden_sise=3)
    with pytest.raises(FileNotFoundError, match="cannot find"):
        BertConfig.from_pretrained(folder.parent / "none")


def test_a_model_wants_a_config() -> None:
    with pytest.raises(TypeError, match="dict"):
        BertModel({"hidden_size": 4})  # type: ignore[arg-type]


# Names


@settings(max_examples=25, deadline=None)
@given(configs(), st.booleans(), st.sampled_from(["", "bert."]))
def test_the_two_translations_are_inverses(config: BertConfig, pool: bool, prefix: str) -> None:
    ours = {prefix + k: v for k, v in BertModel(config, pool).state_dict().items()}
    ours["predictions.bias"] = torch.zeros(3)
    theirs = to_huggingface(ours)
    with torch.device("meta"):
        made = transformers.BertModel(
            transformers.BertConfig(**json.loads(config.to_json())),
            add_pooling_layer=pool,
        )
    assert {prefix + k for k in made.state_dict()} == theirs.keys() - {"cls.predictions.bias"}
    back = from_huggingface(theirs)
    assert list(back) == list(ours)
    assert all(back[k].equal(v) for k, v in ours.items())
    again = to_huggingface(back)
    assert all(again[k].equal(v) for k, v in theirs.items())


def test_translations_refuse_what_is_torn() -> None:
    theirs = to_huggingface(small().state_dict())
    del theirs["encoder.layer.1.attention.self.key.weight"]
    with pytest.raises(ValueError, match=r"layer\.1\.attention\.self\.key\.weight"):
        from_huggingface(theirs)
    with pytest.raises(ValueError, match="7 rows"):
        to_huggingface({"encoder.layers.0.attention.qkv.bias": torch.zeros(7)})


# Files


def test_round_trips(folder: Path, tmp_path: Path) -> None:
    ours = small()
    theirs = peer(folder)
    with torch.no_grad():
        close(ours(IDS, MASK)[0], theirs(input_ids=IDS, attention_mask=MASK)[0])
    theirs.save_pretrained(tmp_path / "theirs")
    back = BertModel.from_pretrained(tmp_path / "theirs")
    assert same(ours, back) and not back.training
    assert dataclasses.replace(back.config, extra={}) == SMALL


def test_minilm_file_and_config_come_back(minilm: BertModel, tmp_path: Path) -> None:
    minilm.save_pretrained(str(tmp_path / "a" / "b"))
    here = tmp_path / "a" / "b"
    before = load_file(resolve("minilm") / "model.safetensors")
    after = load_file(here / "model.safetensors")
    assert before.keys() - after.keys() == {"embeddings.position_ids"}
    assert all(before[name].equal(after[name]) for name in after)
    said = json.loads((resolve("minilm") / "config.json").read_text(encoding="utf-8"))
    assert said.items() <= json.loads((here / "config.json").read_text(encoding="utf-8")).items()
    assert sorted(path.name for path in here.iterdir()) == [
        "config.json", "model.safetensors",
    ]  # fmt: skip


def test_bfloat16_is_saved_as_such_and_loaded_as_float32(tmp_path: Path) -> None:
    model = small().bfloat16()
    model.save_pretrained(tmp_path)
    assert peer(tmp_path).dtype == torch.bfloat16
    back = BertModel.from_pretrained(tmp_path)
    assert {p.dtype for p in back.parameters()} == {torch.float32}
    assert same(back.bfloat16(), model)


def older(state: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {
        k.replace("LayerNorm.weight", "LayerNorm.gamma")
        .replace("LayerNorm.bias", "LayerNorm.beta"): v
        for k, v in state.items()
    }  # fmt: skip
    return state | {
        "embeddings.position_ids": torch.arange(24)[None],
        "embeddings.token_type_ids": torch.zeros(1, 24, dtype=torch.long),
    }


def prefixed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"bert.{k}": v for k, v in state.items()}


@pytest.mark.parametrize("change", [older, prefixed, lambda state: prefixed(older(state))])
def test_older_and_prefixed_names(
    folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> None:
    rewrite(folder, change)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(BertModel.from_pretrained(folder), small())


def shard(folder: Path) -> dict[str, dict[str, str]]:
    state = {k: v.clone() for k, v in load_file(folder / "model.safetensors").items()}
    names = sorted(state)
    where = {}
    for part in range(3):
        file = f"model-0000{part + 1}-of-00003.safetensors"
        mine = names[part::3]
        save_file({k: state[k] for k in mine}, folder / file)
        where |= dict.fromkeys(mine, file)
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return index


def test_a_file_in_pieces(folder: Path, tmp_path: Path) -> None:
    shard(folder)
    assert same(BertModel.from_pretrained(folder), small())


def test_pieces_that_transformers_cut(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "cut"
    peer(folder).save_pretrained(out, max_shard_size="20KB")
    assert (out / "model.safetensors.index.json").exists()
    assert same(BertModel.from_pretrained(out), small())


def test_pieces_that_are_refused(folder: Path) -> None:
    index = shard(folder)
    file = folder / "model.safetensors.index.json"
    piece = folder / "model-00002-of-00003.safetensors"
    kept = piece.read_bytes()
    piece.write_bytes(kept[:-50])
    with pytest.raises(ValueError, match=r"00002.*cut short"):
        BertModel.from_pretrained(folder)
    piece.unlink()
    with pytest.raises(FileNotFoundError, match="model-00002-of-00003"):
        BertModel.from_pretrained(folder)
    piece.write_bytes(kept)
    index["weight_map"]["more"] = "model-00001-of-00003.safetensors"
    file.write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(ValueError, match="more"):
        BertModel.from_pretrained(folder)
    index["weight_map"]["more"] = "../model-00001-of-00003.safetensors"
    file.write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(ValueError, match="no file beside it"):
        BertModel.from_pretrained(folder)
    for text in ("{", "[]", "{}", '{"weight_map": 3}'):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match="weight_map"):
            BertModel.from_pretrained(folder)


@pytest.mark.parametrize("size", [0, 4, 100, 5000, -1])
def test_a_truncated_file_is_refused(folder: Path, size: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"model.safetensors \(.*bytes\) is cut short"):
        BertModel.from_pretrained(folder)


@pytest.mark.parametrize(
    "content",
    [b"version https://git-lfs.github.com/spec/v1\n", b"<html>" * 9, b"\0" * 99],
)
def test_a_corrupt_file_is_refused(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="no safetensors file: fetch it again"):
        BertModel.from_pretrained(folder)


@pytest.mark.parametrize("length", [0x80, 0x280, 0x380, 0x1280, 0x2580])
def test_a_length_that_begins_as_a_pickle_does_is_none(folder: Path, length: int) -> None:
    """A header of 0x..80 bytes, cut short anywhere, is a file cut short."""
    file = folder / "model.safetensors"
    content = length.to_bytes(8, "little") + b"{" + b" " * 99
    for size in (1, 2, 7, 8, 9, 99):
        file.write_bytes(content[:size])
        with pytest.raises(ValueError, match="cut short or no safetensors"):
            BertModel.from_pretrained(folder)


def test_a_pickle_is_refused(folder: Path) -> None:
    whole = folder / "model.safetensors"
    torch.save(load_file(whole), folder / "pytorch_model.bin")
    assert same(BertModel.from_pretrained(folder), small())  # not looked at
    whole.unlink()
    for place in (folder, folder / "pytorch_model.bin"):
        with pytest.raises(ValueError, match=r"(?s)pickle.*weights_only=True.*save_file"):
            BertModel.from_pretrained(place)
    whole.write_bytes(pickle.dumps({"a": 1}))  # its length ends as a header's
    with pytest.raises(ValueError, match="is a pickle"):
        BertModel.from_pretrained(folder)
    (folder / "pytorch_model.bin").replace(whole)  # in disguise
    with pytest.raises(ValueError, match="is a pickle"):
        BertModel.from_pretrained(folder)


def test_the_conversion_that_the_error_tells_works(folder: Path) -> None:
    whole = folder / "model.safetensors"
    torch.save(load_file(whole), folder / "pytorch_model.bin")
    whole.unlink()
    with pytest.raises(ValueError) as caught:
        BertModel.from_pretrained(folder)
    lines = str(caught.value).splitlines()[1:]
    code = "import torch, safetensors.torch\n" + "\n".join(map(str.strip, lines))
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    assert same(BertModel.from_pretrained(folder), small())


def test_what_is_not_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a file: give the folder"):
        BertModel.from_pretrained(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no model.safetensors.*config\.json"):
        BertModel.from_pretrained(folder)
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        BertModel.from_pretrained(folder)
    with pytest.raises(FileNotFoundError, match="no-such-model"):
        BertModel.from_pretrained("no-such-model")


def test_a_cache_with_only_a_tokenizer_is_passed_over(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    asked = []

    def snapshot_download(name: str, *, local_files_only: bool, **_: object) -> str:
        asked.append(local_files_only)
        return str(cache if local_files_only else folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: None)
    for files in ((), ("vocab.txt", "tokenizer_config.json"), ("config.json",)):
        for file in files:
            (cache / file).write_text("{}", encoding="utf-8")
        asked.clear()
        assert same(BertModel.from_pretrained("owner/name"), small())
        assert asked == [True, False]
    weights = (folder / "model.safetensors").read_bytes()
    (cache / "model.safetensors").write_bytes(weights)
    (cache / "config.json").unlink()
    asked.clear()
    assert same(BertModel.from_pretrained("owner/name", config=SMALL), small())
    assert asked == [True]  # a config in hand needs none in the cache
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    (cache / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"the hub: no \*\.safetensors"):
        BertModel.from_pretrained("owner/name")


def test_shapes_that_do_not_fit(folder: Path) -> None:
    reconfigure(folder, vocab_size=60)
    with pytest.raises(ValueError, match=r"word_embeddings.weight is \(61, 32\).*\(60, 32\)"):
        BertModel.from_pretrained(folder)
    reconfigure(folder, vocab_size=61, num_hidden_layers=2)
    for layers in (2, 4, 10**6):  # said before so many are made
        reconfigure(folder, num_hidden_layers=layers)
        with pytest.raises(ValueError, match=f"has 3 layers, but num_hidden_layers is {layers}"):
            BertModel.from_pretrained(folder)
    for size in (10**7, 2**28 - 1):  # on meta: no memory is taken
        reconfigure(folder, num_hidden_layers=3, vocab_size=size)
        with pytest.raises(ValueError, match=r"word_embeddings.weight is \(61, 32\)"):
            BertModel.from_pretrained(folder)
    reconfigure(folder, vocab_size=10**9)
    with pytest.raises(ValueError, match=r"config\.json: vocab_size must be .* below 268,435,456"):
        BertModel.from_pretrained(folder)
    reconfigure(folder, vocab_size=61)
    config = dataclasses.replace(SMALL, layer_norm_eps=1e-5)
    assert BertModel.from_pretrained(folder, config=config).config is config


def test_weights_of_another_kind(folder: Path) -> None:
    name = "encoder.layer.0.output.dense.weight"
    rewrite(folder, lambda state: state | {name: state[name].to(torch.int8)})
    with pytest.raises(ValueError, match=f"{name} is torch.int8"):
        BertModel.from_pretrained(folder)


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_what_names_mean(folder: Path, prefix: str) -> None:
    def change(state: dict[str, Tensor]) -> dict[str, Tensor]:
        state = {prefix + k: v for k, v in state.items() if "pooler" not in k}
        heads = (
            "cls.predictions.bias", "cls.seq_relationship.bias",
            "qa_outputs.bias", "classifier.bias", "surprise",
        )  # fmt: skip
        return state | {name: torch.zeros(2) for name in heads}

    rewrite(folder, change)
    with pytest.warns(UserWarning) as caught:
        model = BertModel.from_pretrained(folder)
    (warning,) = caught
    text = str(warning.message)
    assert warning.filename == __file__
    for said in (
        str(folder),
        "pooler.dense.bias, pooler.dense.weight (the pooler): not in the file",
        "add_pooling_layer=False",
        "cls.predictions.bias (a masked-word head): BertModel has no use",
        "cls.seq_relationship.bias (a next-sentence head)",
        "qa_outputs.bias (a question-answering head)",
        "classifier.bias (a classification head)",
        "surprise (unknown to BERT)",
    ):
        assert said in text
    assert model.pooler is not None and model.pooler.weight.std() > 0
    kept = ("embeddings.", "encoder.")
    rewrite(
        folder,
        lambda state: {k: v for k, v in state.items() if k.removeprefix("bert.").startswith(kept)},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bare = BertModel.from_pretrained(folder, add_pooling_layer=False)
    assert bare(IDS).pooler_output is None


def test_an_unused_pooler_is_no_news(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BertModel.from_pretrained(folder, add_pooling_layer=False)


@pytest.mark.parametrize(
    "name", ["encoder.layer.0.output.dense.weight", "embeddings.LayerNorm.bias"]
)
def test_a_hole_in_the_encoder_is_an_error(folder: Path, name: str) -> None:
    rewrite(folder, lambda state: {k: v for k, v in state.items() if k != name})
    with pytest.raises(ValueError, match=f"lacks weights of the encoder: {name}"):
        BertModel.from_pretrained(folder)


def test_weights_of_another_model_are_an_error(folder: Path) -> None:
    rewrite(folder, lambda state: {f"deberta.{k}": v for k, v in state.items()})
    with pytest.raises(ValueError, match="It holds deberta"):
        BertModel.from_pretrained(folder)


# How it is loaded


def test_loading_draws_nothing_at_random(folder: Path) -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    BertModel.from_pretrained(folder)
    assert torch.get_rng_state().equal(state)
    from minibert.heads import BertForSequenceClassification

    with pytest.warns(UserWarning, match="random"):
        first = BertForSequenceClassification.from_pretrained(folder, labels=["a", "b"])
    assert not torch.get_rng_state().equal(state)  # a head is drawn, and nothing else
    torch.manual_seed(3)
    drawn = torch.empty_like(first.classifier.weight).normal_(std=SMALL.initializer_range)
    assert drawn.equal(first.classifier.weight)


def test_loading_owns_its_memory(folder: Path) -> None:
    """No weight hangs on the file, and each may be trained."""
    model = BertModel.from_pretrained(folder)
    file = folder / "model.safetensors"
    with file.open("r+b") as opened:
        opened.write(b"\xff" * file.stat().st_size)
    assert same(model, small())
    assert all(p.requires_grad and p.is_leaf for p in model.parameters())


def test_a_class_with_a_buffer_loads(folder: Path) -> None:
    class Buffered(Head):
        def __init__(self, config: BertConfig) -> None:
            super().__init__(config)
            self.register_buffer("weights", torch.tensor([1.0, 3.0]), persistent=False)

    with pytest.warns(UserWarning, match="random"):
        model = Buffered.from_pretrained(folder)
    assert model.weights.tolist() == [1, 3] and not model.classifier.weight.is_meta
    assert model.bert.embeddings.token.weight.equal(small().embeddings.token.weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_another_precision(folder: Path, dtype: torch.dtype) -> None:
    with pytest.warns(UserWarning, match="random"):
        model = Head.from_pretrained(folder, dtype=dtype)
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert same(BertModel.from_pretrained(folder, dtype=dtype), small().to(dtype))


@pytest.mark.parametrize("dtype", ["float16", torch.int64, None, "auto"])
def test_precisions_that_are_none(folder: Path, dtype: object) -> None:
    with pytest.raises(TypeError, match="dtype must be a float type"):
        BertModel.from_pretrained(folder, dtype=dtype)  # type: ignore[arg-type]


def test_a_head_of_another_size_says_how(folder: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning):
        Head.from_pretrained(folder, labels=3).save_pretrained(tmp_path / "three")
    with pytest.raises(ValueError, match=r"\(3,\).*\(5,\).*ignore_mismatched_sizes=True"):
        Head.from_pretrained(tmp_path / "three", labels=5)
    with pytest.warns(UserWarning, match="another size in the file, so random"):
        five = Head.from_pretrained(tmp_path / "three", labels=5, ignore_mismatched_sizes=True)
    assert five.classifier.weight.shape == (5, 32) and five.classifier.weight.std() > 0
    reconfigure(tmp_path / "three", type_vocab_size=3)  # never the encoder
    with pytest.raises(ValueError, match="token_type_embeddings"):
        Head.from_pretrained(tmp_path / "three", labels=3, ignore_mismatched_sizes=True)


def test_an_untied_flag_does_not_come_back(folder: Path, tmp_path: Path) -> None:
    """Saved again it would make `transformers` draw a decoder at random."""
    reconfigure(folder, tie_word_embeddings=False)
    BertModel.from_pretrained(folder).save_pretrained(tmp_path / "again")
    text = (tmp_path / "again" / "config.json").read_text(encoding="utf-8")
    assert "tie_word_embeddings" not in json.loads(text)


@pytest.mark.parametrize("size", [61, 64, 90, 50, 5])
def test_a_table_grows_with_its_vocabulary(folder: Path, tmp_path: Path, size: int) -> None:
    model, old = BertModel.from_pretrained(folder), small()
    model.resize_token_embeddings(size)
    table, before = model.embeddings.token.weight, old.embeddings.token.weight
    kept = min(size, 61)
    assert table.shape == (size, 32) and table[:kept].equal(before[:kept])
    if size > 61:
        close(table[61:], before.mean(0).expand(size - 61, -1), 1e-7)
    model(torch.tensor([[size - 1, 2]]))
    with pytest.raises(IndexError, match=f"rows 0 to {size - 1}"):
        model(torch.tensor([[size]]))
    model.save_pretrained(tmp_path / "again")
    assert same(BertModel.from_pretrained(tmp_path / "again"), model)
    close(peer(tmp_path / "again")(input_ids=IDS % size)[0], model(IDS % size)[0])
    for wrong in (0, -3, 2.5):
        with pytest.raises((ValueError, TypeError), match="vocab_size"):
            model.resize_token_embeddings(wrong)  # type: ignore[arg-type]
    assert len(table) == size  # nothing was lost


# What heads will build on


class Head(BertPreTrainedModel):
    tied: ClassVar[dict[str, str]] = {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }

    def __init__(self, config: BertConfig, labels: int = 2) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.classifier = nn.Linear(config.hidden_size, labels)
        self.initialise()


def test_a_head_loads_a_bare_encoder_and_itself(folder: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"classifier\.bias.*random"):
        head = Head.from_pretrained(folder, labels=3)
    encoder = BertModel.from_pretrained(folder, add_pooling_layer=False)
    assert same(head.bert, encoder)
    assert head.classifier.weight.shape == (3, 32)
    assert head.classifier.bias.eq(0).all()
    head.save_pretrained(tmp_path / "head")
    names = load_file(tmp_path / "head" / "model.safetensors")
    assert "bert.encoder.layer.0.attention.self.query.weight" in names
    said = json.loads((tmp_path / "head" / "config.json").read_text(encoding="utf-8"))
    assert said["architectures"] == ["Head"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(Head.from_pretrained(tmp_path / "head", labels=3), head)
    with pytest.warns(UserWarning, match="BertModel has no use"):
        bare = BertModel.from_pretrained(tmp_path / "head", add_pooling_layer=False)
    assert same(bare, encoder)
    assert Head(SMALL).bert.embeddings.token.weight[0].eq(0).all()


def test_a_tied_copy_must_agree(folder: Path) -> None:
    name = "cls.predictions.decoder.weight"
    table = "bert.embeddings.word_embeddings.weight"
    rewrite(folder, lambda s: (b := prefixed(s)) | {name: b[table].clone()})
    with pytest.warns(UserWarning) as caught:
        Head.from_pretrained(folder)
    assert name not in str(caught[0].message)
    rewrite(folder, lambda state: state | {name: state[table] + 1})
    with pytest.raises(ValueError, match=f"{name} differs from {table}"):
        Head.from_pretrained(folder)


# Saving


@pytest.mark.parametrize("broken", ["save_file", "replace"])
def test_a_failed_save_loses_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = small(dataclasses.replace(SMALL, num_hidden_layers=1))

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(weights if broken == "save_file" else weights.os, broken, fail)
    with pytest.raises(OSError, match="no space"):
        other.save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_saving_over_the_file_that_is_open(folder: Path) -> None:
    model = BertModel.from_pretrained(folder)
    model.save_pretrained(folder)
    assert same(BertModel.from_pretrained(folder), model)


def test_both_files_have_the_same_readers(folder: Path) -> None:
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert len(modes) == 1
    umask = os.umask(0)
    os.umask(umask)
    assert modes == {0o666 & ~umask}


def test_saving_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match="taken"):
        small().save_pretrained(tmp_path / "taken")
    assert (tmp_path / "taken").read_text(encoding="utf-8") == "mine"


# The package


@pytest.fixture(scope="module")
def seconds() -> Iterator[Callable[[str], float]]:
    def measure(code: str) -> float:
        timed = f"import time; {code}; print(time.perf_counter() - t)"
        runs = [float(subprocess.check_output([sys.executable, "-c", timed])) for _ in range(5)]
        return statistics.median(runs)

    yield measure


def test_importing_is_cheap(seconds: Callable[[str], float]) -> None:
    before = "import torch; t = time.perf_counter(); "
    assert seconds(before + "import minibert") < 0.3
    assert seconds(before + "import minibert.bert") < 0.3


# --- a model and its tokenizer, for functions on strings ----------------------


def small_folder(path: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    BertModel(CONFIG_OF_FIVE).save_pretrained(path)
    Tokenizer(SPECIAL).save_pretrained(path)
    return path


CONFIG_OF_FIVE = BertConfig(
    vocab_size=len(SPECIAL), hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=16,
)  # fmt: skip


def test_load_reads_a_folder_once_and_again_when_it_changes(tmp_path):
    first = load(small_folder(tmp_path), BertModel)
    assert load(tmp_path, BertModel)[0] is first[0] and not first[0].training
    assert len(first[1]) == len(SPECIAL)
    small_folder(tmp_path, seed=1)
    second = load(str(tmp_path), BertModel)
    assert not second[0].pooler.weight.equal(first[0].pooler.weight)


def test_load_is_silent_about_other_heads_and_leaves_a_missing_pooler_away(tmp_path):
    folder = small_folder(tmp_path)
    state = {k: v.clone() for k, v in load_file(folder / "model.safetensors").items()}
    more = state | {"cls.seq_relationship.bias": torch.zeros(2)}
    save_file(more, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.warns(UserWarning, match="a next-sentence head"):
        BertModel.from_pretrained(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(folder, BertModel)[0].pooler is not None
        del more["pooler.dense.weight"], more["pooler.dense.bias"]
        save_file(more, folder / "model.safetensors", metadata={"format": "pt"})
        assert load(folder, BertModel)[0].pooler is None
    with pytest.warns(UserWarning, match="not in the file"):
        BertModel.from_pretrained(folder)


def test_load_takes_what_is_loaded(tmp_path):
    pair = load(small_folder(tmp_path), BertModel)
    assert load(pair, BertModel) == pair

    class Other(BertModel):
        pass

    with pytest.raises(TypeError, match="must be a Other, not a BertModel"):
        load(pair, Other)


def test_a_folder_may_hold_only_what_was_trained(tmp_path):
    """The rest, but for layers that its config has no place for, is its base's."""
    base = BertModel.from_pretrained(small_folder(tmp_path / "base"))
    new = tmp_path / "new"
    new.mkdir()
    config = replace(
        CONFIG_OF_FIVE, num_hidden_layers=1, extra={"base_model": str(tmp_path / "base")}
    )
    (new / "config.json").write_text(config.to_json(), encoding="utf-8")
    norm = torch.full((8,), 3.0, dtype=torch.bfloat16)
    save_file({"bert.embeddings.LayerNorm.weight": norm}, new / "model.safetensors")
    with pytest.raises(ValueError, match=r"not ship .*minilm.* do\): if you trust it, give base="):
        BertModel.from_pretrained(new)
    model = BertModel.from_pretrained(new, base=tmp_path / "base", add_pooling_layer=False)
    assert model.embeddings.norm.weight.eq(3).all()
    assert model.embeddings.token.weight.equal(base.embeddings.token.weight)
    model.save_pretrained(tmp_path / "whole")
    assert "base_model" not in (tmp_path / "whole" / "config.json").read_text(encoding="utf-8")
    shutil.rmtree(tmp_path / "base")
    BertModel.from_pretrained(tmp_path / "whole", add_pooling_layer=False)
    with pytest.raises(FileNotFoundError, match="base"):
        BertModel.from_pretrained(new, base=tmp_path / "base")


# Odd shapes, in and out of transformers

ODD: list[dict[str, object]] = [
    {}, {"hidden_size": 12, "num_attention_heads": 3}, {"hidden_size": 4, "num_attention_heads": 4},
    {"num_attention_heads": 1}, {"num_hidden_layers": 1}, {"num_hidden_layers": 7},
    {"intermediate_size": 1}, {"intermediate_size": 131}, {"vocab_size": 12}, {"vocab_size": 257},
    {"type_vocab_size": 1}, {"type_vocab_size": 5}, {"max_position_embeddings": 6},
    {"max_position_embeddings": 600}, {"layer_norm_eps": 1e-5}, {"layer_norm_eps": 0.1},
    {"pad_token_id": None}, {"pad_token_id": 7}, {"hidden_dropout_prob": 0.0},
    {"attention_probs_dropout_prob": 0.9}, {"initializer_range": 1.0},
    {"hidden_act": "gelu_python"},
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_odd_configurations_go_in_and_out(odd: dict[str, object], tmp_path: Path) -> None:
    said = json.loads(SMALL.to_json()) | odd
    torch.manual_seed(0)
    theirs = transformers.BertModel(transformers.BertConfig(**said)).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    ours = BertModel.from_pretrained(tmp_path / "theirs")
    ids = IDS % 12
    types = TYPES * (said["type_vocab_size"] > 1)
    mask = torch.tensor([[1] * 6, [1] * 3 + [0] * 3])
    with torch.no_grad():
        want = theirs(input_ids=ids, attention_mask=mask, token_type_ids=types)
        close(ours(ids, mask, types).last_hidden_state, want.last_hidden_state)
        close(ours(ids, mask, types).pooler_output, want.pooler_output)
    ours.save_pretrained(tmp_path / "ours")
    back = transformers.BertModel.from_pretrained(tmp_path / "ours").eval()
    assert same(back, theirs)
    for name, value in odd.items():
        assert getattr(back.config, name) == value


# Classes of a user's own are made as they say


class Mix(BertPreTrainedModel):
    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.initialise()
        self.mix = nn.Parameter(torch.ones(3))
        self.scale = nn.Parameter(torch.tensor(20.0))
        self.rates = [x.item() for x in torch.linspace(0, 0.1, 3)]
        self.weights = torch.tensor([1.0, 2.0])
        self.norm = nn.BatchNorm1d(4)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.decoder.weight = self.bert.embeddings.token.weight
        self.predictions = nn.Linear(config.hidden_size, 3)
        self.turn = nn.utils.parametrizations.orthogonal(nn.Linear(4, 4))

    def initialise(self) -> None:  # type: ignore[override]
        """One that takes no names."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_a_class_sets_itself_survives(folder: Path, dtype: torch.dtype) -> None:
    with pytest.warns(UserWarning, match="not in the file"):
        model = Mix.from_pretrained(folder, dtype=dtype)
    assert model.mix.tolist() == [1, 1, 1] and model.scale == 20
    assert model.weights.tolist() == [1, 2] and model.rates[2] == pytest.approx(0.1)
    assert model.decoder.weight is model.bert.embeddings.token.weight
    assert same(model.bert, BertModel.from_pretrained(folder, dtype=dtype, add_pooling_layer=False))
    assert {p.dtype for p in model.parameters()} == {dtype}
    model.resize_token_embeddings(70)
    assert model.predictions.bias.shape == (3,)
    if dtype == torch.float32:  # on the CPU, half numbers have no QR
        model.turn(torch.ones(1, 4))


def test_a_class_of_ones_own_comes_back_whole(folder: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="not in the file"):
        model = Mix.from_pretrained(folder)
    model.norm.num_batches_tracked += 5
    model.mix.data += 1
    model.save_pretrained(tmp_path / "own")
    back = Mix.from_pretrained(tmp_path / "own")
    assert back.norm.num_batches_tracked == 5 and back.mix.tolist() == [2, 2, 2]
    assert back.decoder.weight is back.bert.embeddings.token.weight


def test_a_decoder_alone_is_read_under_its_other_name(folder: Path) -> None:
    """`transformers` writes `decoder.bias`; a file may hold it alone."""
    from minibert.mlm import BertForMaskedLM

    bias = torch.arange(61.0)
    rewrite(folder, lambda s: prefixed(s) | {"cls.predictions.decoder.bias": bias})
    with pytest.warns(UserWarning, match="random"):
        model = BertForMaskedLM.from_pretrained(folder)
    assert model.predictions.bias.equal(bias)


@pytest.mark.parametrize("names", [[None], {}, "x", None])
def test_odd_architectures_are_no_crash(folder: Path, names: object) -> None:
    reconfigure(folder, architectures=names, base_model=None)
    assert same(BertModel.from_pretrained(folder), small())


def test_a_replaced_file_is_read_again_whatever_its_time(tmp_path: Path) -> None:
    folder = small_folder(tmp_path / "model")
    first, _ = load(folder, BertModel)
    other = small_folder(tmp_path / "other")
    torch.manual_seed(9)
    BertModel(CONFIG_OF_FIVE).save_pretrained(other)
    old = folder.stat().st_mtime - 9999
    os.utime(other / "model.safetensors", (old, old))
    os.replace(other / "model.safetensors", folder / "model.safetensors")
    second, _ = load(folder, BertModel)
    assert second is not first and not same(first, second)


def test_one_name_in_two_places_is_two_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        small_folder(tmp_path / place / "model")
        monkeypatch.chdir(tmp_path / place)
        found.append(load("model", BertModel)[0])
    assert found[0] is not found[1]
