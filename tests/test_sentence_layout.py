"""The folder layout of `sentence-transformers`: in and out, and the same vectors."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minibert import BertConfig, BertModel, Tokenizer, embed, load, sentence_layout
from minibert.files import resolve
from minibert.sentence_layout import (
    POOLS,
    Layout,
    find_layout,
    max_pool,
    read_layout,
    save_sentence_model,
    sqrt_pool,
)
from minibert.sentences import first_token, mean_pool

PEER = pytest.importorskip("sentence_transformers")
FUNCTIONS = {
    "cls": first_token, "mean": mean_pool, "max": max_pool, "mean_sqrt_len_tokens": sqrt_pool,
}  # fmt: skip
TEXTS = ["", "it", "a text", "this is another text , and it is longer", "a text . " * 40]
TEXTS += ["Where is it ?", "é ☃", "[CLS] a [SEP]"]
WORDS = ["a", "text", "another", "this", "is", "it", "where", "longer", ".", "?", ",", "e"]
TOKENIZER = Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])


@pytest.fixture(scope="module")
def model() -> BertModel:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=17, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=48, initializer_range=0.3,
    )  # fmt: skip
    return BertModel(config).eval()


def vectors(folder: Path) -> np.ndarray:
    """Embed as the folder's layout says: length, prompt, pooling."""
    return embed(TEXTS, model=folder)


def theirs(folder: Path) -> np.ndarray:
    return PEER.SentenceTransformer(str(folder), device="cpu").encode(TEXTS)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pool", POOLS)
def test_what_is_saved_gives_equal_vectors(
    model: BertModel, pool: str, normalize: bool, tmp_path: Path
) -> None:
    save_sentence_model(model, TOKENIZER, tmp_path, pool, normalize, max_length=20)
    assert read_layout(tmp_path) == Layout(tmp_path, pool, normalize, 20, "")
    peer = PEER.SentenceTransformer(str(tmp_path), device="cpu")
    assert peer.max_seq_length == 20
    assert [type(one).__name__ for one in peer] == list(sentence_layout.KINDS[: 2 + normalize])
    ours = vectors(tmp_path)
    np.testing.assert_allclose(ours, peer.encode(TEXTS), atol=1e-5)
    lengths = np.linalg.norm(ours, axis=1)
    assert np.allclose(lengths, 1, atol=1e-5) == normalize
    whole = embed(TEXTS, model=tmp_path, pool=FUNCTIONS[pool], unit=normalize, max_length=48)
    assert np.abs(whole[4] - ours[4]).max() > 1e-3  # the length counts
    other = FUNCTIONS["cls" if pool != "cls" else "mean"]
    assert np.abs(embed(TEXTS, model=tmp_path, pool=other, unit=normalize) - ours).max() > 1e-3


@pytest.mark.parametrize("pool", POOLS)
def test_what_they_save_is_read(model: BertModel, pool: str, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "base")
    TOKENIZER.save_pretrained(tmp_path / "base")
    modules = PEER.models
    parts = [modules.Transformer(str(tmp_path / "base"), max_seq_length=20)]
    parts.append(modules.Pooling(16, pool))
    peer = PEER.SentenceTransformer(
        modules=[*parts, modules.Normalize()], device="cpu",
        prompts={"query": "where is ", "document": "this "}, default_prompt_name="query",
    )  # fmt: skip
    peer.save(str(tmp_path / "saved"), create_model_card=False)
    found = read_layout(tmp_path / "saved")
    assert found == Layout(tmp_path / "saved", pool, True, 20, "where is ")
    np.testing.assert_allclose(vectors(tmp_path / "saved"), peer.encode(TEXTS), atol=1e-5)


def test_a_prompt_comes_before_each_text_of_an_iterator_too(
    model: BertModel, tmp_path: Path
) -> None:
    save_sentence_model(model, TOKENIZER, tmp_path, max_length=20)
    prompt = {"prompts": {"query": "where is "}, "default_prompt_name": "query"}
    change(tmp_path / SENTENCES, lambda said: said.update(prompt))
    ours, plain = vectors(tmp_path), embed(TEXTS, model=(model, TOKENIZER), max_length=20)
    assert np.abs(plain - ours).max() > 1e-3  # a loaded pair knows of no prompt
    np.testing.assert_allclose([*embed(iter(TEXTS), model=tmp_path)], ours, atol=1e-5)
    assert embed([], model=tmp_path).shape == (0, 16)


def test_the_packaged_model_says_what_embed_does() -> None:
    folder = resolve("minilm")
    assert read_layout(folder) == Layout(folder, "mean", True, 256, "")
    assert find_layout("minilm") == ("minilm", read_layout(folder))  # its files are still verified
    assert find_layout("leads-small") == ("leads-small", None)
    np.testing.assert_allclose(theirs(folder), vectors(folder), atol=1e-5)
    np.testing.assert_array_equal(embed(TEXTS), vectors(folder))


def test_weights_in_a_folder_inside(model: BertModel, tmp_path: Path) -> None:
    """As version 1 wrote them."""
    save_sentence_model(model, TOKENIZER, tmp_path, "max", max_length=20)
    inside = tmp_path / "0_Transformer"
    inside.mkdir()
    for file in tmp_path.iterdir():
        if file.is_file() and file.name not in (
            "modules.json",
            "config_sentence_transformers.json",
        ):
            shutil.move(file, inside / file.name)
    change(tmp_path / "modules.json", lambda said: said[0].update(path="0_Transformer"))
    assert read_layout(tmp_path) == Layout(inside, "max", True, 20, "")
    assert find_layout(tmp_path) == (inside, read_layout(tmp_path))
    np.testing.assert_allclose(vectors(tmp_path), theirs(tmp_path), atol=1e-5)


def change(file: Path, how: Callable[[Any], Any]) -> None:
    """Change a file of JSON."""
    said = json.loads(file.read_text(encoding="utf-8"))
    how(said)
    file.write_text(json.dumps(said), encoding="utf-8")


def dense(said: Any) -> None:
    path = "sentence_transformers.models.Dense"
    said.insert(2, {"idx": 2, "name": "2", "path": "2_Dense", "type": path})


MODULES, POOLING = "modules.json", "1_Pooling/config.json"
SETTINGS, SENTENCES = "sentence_bert_config.json", "config_sentence_transformers.json"


@pytest.mark.parametrize(
    ("file", "how", "said"),
    [
        (MODULES, dense, r"modules\.json asks for sentence_transformers\.models\.Dense"),
        (MODULES, lambda x: x[0].update(type="custom.Transformer"), r"asks for custom\.Transf"),
        (MODULES, lambda x: x.pop(1), "lists Transformer, Normalize: it must be"),
        (MODULES, list.clear, "lists nothing"),
        (MODULES, lambda x: x[0].pop("path"), "is no list of modules"),
        (MODULES, lambda x: x[0].update(path="../other"), "no folder inside of"),
        (MODULES, lambda x: x[0].update(path="/etc"), "no folder inside of"),
        (MODULES, lambda x: x[0].update(path="C:"), "no folder inside of"),
        (POOLING, lambda x: x.update(pooling_mode_max_tokens=True), "by mean and max: minibert"),
        (POOLING, lambda x: x.update(pooling_mode_mean_tokens=False,
                                     pooling_mode_lasttoken=True), "by pooling_mode_lasttoken"),
        (POOLING, lambda x: x.update(pooling_mode="weightedmean"), "by weightedmean: minibert"),
        (POOLING, lambda x: x.update(pooling_mode=["cls", "max"]), "by cls and max"),
        (POOLING, lambda x: x.update(include_prompt=False), "include_prompt"),
        (SETTINGS, lambda x: x.update(max_seq_length=1), "no room for"),
        (SETTINGS, lambda x: x.update(max_seq_length="20"), "no room for"),
        (SETTINGS, lambda x: x.update(model_args={"x": 1}), "sets model_args to"),
        (SETTINGS, lambda x: x.update(transformer_task="text-generation"), "sets transformer_task"),
        (SENTENCES, lambda x: x.update(default_prompt_name="query"), "names the prompt 'query'"),
        (SENTENCES, lambda x: x.update(model_type="CrossEncoder"), "is of a CrossEncoder"),
    ],
)  # fmt: skip
def test_what_is_not_computed_is_named(
    file: str, how: Callable[[Any], Any], said: str, model: BertModel, tmp_path: Path
) -> None:
    save_sentence_model(model, TOKENIZER, tmp_path, "mean")
    change(tmp_path / file, how)
    with pytest.raises(ValueError, match=said) as caught:
        read_layout(tmp_path)
    assert Path(file).name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lower_case(model: BertModel, tmp_path: Path) -> None:
    save_sentence_model(model, TOKENIZER, tmp_path)
    change(tmp_path / SETTINGS, lambda said: said.update(do_lower_case=True))
    assert read_layout(tmp_path).pool == "mean"  # the tokenizer does it already
    np.testing.assert_allclose(vectors(tmp_path), theirs(tmp_path), atol=1e-5)
    change(tmp_path / "tokenizer_config.json", lambda said: said.update(do_lower_case=False))
    with pytest.raises(ValueError, match="keeps capitals"):
        read_layout(tmp_path)


def test_broken_and_missing_files(model: BertModel, tmp_path: Path) -> None:
    assert read_layout(tmp_path) is None
    save_sentence_model(model, TOKENIZER, tmp_path)
    (tmp_path / SETTINGS).unlink()
    (tmp_path / SENTENCES).unlink()
    assert read_layout(tmp_path) == Layout(tmp_path, "mean", True, 48, "")
    (tmp_path / POOLING).unlink()
    with pytest.raises(FileNotFoundError, match="names 1_Pooling"):
        read_layout(tmp_path)
    for text in ("", "{}", "[1]", "[[", '{"a": 1}', "[" * 5000):
        (tmp_path / MODULES).write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=r"modules\.json (is no list|lists nothing)"):
            read_layout(tmp_path)


def test_nothing_is_lost_when_saving_fails(
    model: BertModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_sentence_model(model, TOKENIZER, tmp_path, "max")
    files = {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()}
    empty = BertModel(model.config).to("meta")
    for made, options, error, said in [
        (empty, {}, ValueError, "meta"),
        (model, {"pool": "sum"}, ValueError, "pool must be one of cls, mean, max, mean_sqrt"),
        (model, {"max_length": 1}, ValueError, "max_length is 1, not 2 or more"),
        (model.encoder, {}, TypeError, "must be a BertModel, not a Encoder"),
    ]:
        with pytest.raises(error, match=said):
            save_sentence_model(made, TOKENIZER, tmp_path, **options)
    monkeypatch.setattr(Tokenizer, "save_pretrained", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_sentence_model(model, TOKENIZER, tmp_path)
    assert {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()} == files
    monkeypatch.undo()
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(FileExistsError, match="would be read instead"):
        save_sentence_model(model, TOKENIZER, tmp_path)
    files[tmp_path / "tokenizer.json"] = b"{}"
    assert {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()} == files


def test_minilm_there_and_back(tmp_path: Path) -> None:
    bert, tokenizer = load("minilm", BertModel, device="cpu")
    save_sentence_model(bert, tokenizer, tmp_path)
    np.testing.assert_allclose(theirs(tmp_path), embed(TEXTS), atol=1e-5)
    assert Path(find_layout(tmp_path)[0]) == tmp_path


@pytest.mark.parametrize("kind", [torch.int64, torch.bool, torch.float32])
def test_pools_see_real_tokens_only(kind: torch.dtype) -> None:
    states = torch.arange(24.0).view(2, 4, 3) - 20
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]]).to(kind)
    expected = torch.stack([states[0, :2].amax(0), states[1].amax(0)])
    torch.testing.assert_close(max_pool(states, mask), expected)
    expected = torch.stack([states[0, :2].sum(0) / 2**0.5, states[1].sum(0) / 2])
    torch.testing.assert_close(sqrt_pool(states, mask), expected)
