"""A model on the hub: pushed to a stand-in on loopback, and loaded from there by both libraries."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import huggingface_hub.hf_api
import pytest
import torch
import transformers
from huggingface_hub import ModelCard
from local_hub import LocalHub, local_hub

import minibert
from minibert import BertConfig, BertModel, Tokenizer, sharing
from minibert.bert import BertPreTrainedModel
from minibert.cards import read_card
from minibert.heads import BertForSequenceClassification
from minibert.mlm import BertForMaskedLM
from minibert.sentence_layout import save_sentence_model
from minibert.sharing import HEADS, model_card, push_to_hub, sent_files

WORDS = ["a", "text", "another", "this", "is", "it", "in", "where", ".", "?"]
TOKENIZER = Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])
SMALL = BertConfig(
    vocab_size=15, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=24, max_position_embeddings=24,
)  # fmt: skip
IDS = torch.tensor([[2, 5, 6, 4, 3]])


def small(kind: type[BertPreTrainedModel] = BertModel, **options: object) -> BertPreTrainedModel:
    torch.manual_seed(0)
    return kind(SMALL, **options).eval()


@pytest.fixture(scope="module")
def served() -> Iterator[LocalHub]:
    """One address for all: `huggingface_hub` keeps the first that it is given."""
    with local_hub(ann="hf_ann", bob="hf_bob") as there:
        yield there


@pytest.fixture
def hub(served: LocalHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LocalHub:
    """An empty hub on loopback, where ann and bob have tokens; nobody is logged in."""
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", served.url)
    monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", served.url)
    template = served.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    for kept in (served.repositories, served.stored, served.asked):
        kept.clear()
    served.broken = lambda method, path: None
    return served


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A saved model among what a run leaves beside it."""
    folder = tmp_path / "saved"
    small().save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    (folder / "checkpoint-500").mkdir()
    for name in (
        "optimizer.pt", "rng_state.pth", "training_args.bin", "pytorch_model.bin", ".token",
        "trainer_state.json", "state.json", "tensors.safetensors", "log.jsonl", "train.json",
        "checkpoint-500/model.safetensors", "checkpoint-500/config.json",
    ):  # fmt: skip
        (folder / name).write_bytes(b"{}")
    return folder


SENT = {"config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json", "README.md"}


@pytest.mark.parametrize("private", [False, True])
def test_there_and_back(
    hub: LocalHub, saved: Path, private: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = push_to_hub(saved, "ann/one", license="mit", private=private, token="hf_ann")
    there = hub.repositories["ann/one"]
    sha = there.branches["main"]
    assert url == f"{hub.url}/ann/one/commit/{sha}"
    assert there.commits[sha].keys() == SENT | {".gitattributes"}
    assert there.private == private
    assert there.messages == [("Upload one with minibert", "")]
    asked = [one for one in hub.asked if one[1].startswith(("/api/models", "/api/repos", "/ann"))]
    assert {token for _, _, token in asked} == {"hf_ann"}
    assert any(method == "PUT" for method, _, _ in hub.asked)  # weights go by LFS
    assert not (saved / "README.md").exists()  # the folder is only read
    hub.asked.clear()
    if private:
        for token in (None, "hf_bob", "hf_nobody"):
            if token:
                monkeypatch.setenv("HF_TOKEN", token)
            with pytest.raises(FileNotFoundError, match=r"ann/one.*\n.*\n- the hub: .*40[14]"):
                BertModel.from_pretrained("ann/one", revision="main")
        monkeypatch.setenv("HF_TOKEN", "hf_ann")
    loaded = BertModel.from_pretrained("ann/one", revision="main")
    for name, tensor in small().state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert Tokenizer.from_pretrained("ann/one", revision="main")("a text").input_ids.shape == (1, 4)
    if private:
        assert hub.asked[-1][2] == "hf_ann"
    asked = len(hub.asked)
    BertModel.from_pretrained("ann/one", revision=sha)  # the files are there
    minibert.embed(["a text"], model="ann/one")
    assert len(hub.asked) == asked


def test_a_branch_a_message_and_a_pull_request(hub: LocalHub) -> None:
    options = {"license": "mit", "token": "hf_ann"}
    push_to_hub(small(), "ann/one", **options)
    other = small(add_pooling_layer=False)
    push_to_hub(
        (other, TOKENIZER), "ann/one", revision="v2", commit_message="Without a pooler",
        commit_description="As it was.", **options,
    )  # fmt: skip
    there = hub.repositories["ann/one"]
    assert there.messages[1] == ("Without a pooler", "As it was.")
    assert "vocab.txt" not in there.files("main")
    assert "vocab.txt" in there.files("v2")
    assert BertModel.from_pretrained("ann/one", revision="main").pooler is not None
    with pytest.warns(UserWarning, match="pooler"):
        BertModel.from_pretrained("ann/one", revision="v2")
    url = push_to_hub((other, TOKENIZER), "ann/one", create_pr=True, **options)
    assert url == f"{hub.url}/ann/one/discussions/1"
    assert there.files("refs/pr/1").keys() > there.files("main").keys()
    with pytest.raises(ValueError, match="create_pr"):
        push_to_hub(other, "ann/one", create_pr=True, revision="v3", **options)
    assert "v3" not in there.branches


def test_what_would_be_read_instead_goes(hub: LocalHub, saved: Path) -> None:
    push_to_hub(saved, "ann/one", license="mit", token="hf_ann")
    there = hub.repositories["ann/one"]
    old = there.files()
    old |= {"tokenizer.json": b"{}", "model-00001-of-00002.safetensors": b"", "log.txt": b"kept"}
    old |= {"model.safetensors.index.json": b"{}", "1_Pooling/config.json": b"{}"}
    push_to_hub(saved, "ann/one", license="mit", token="hf_ann")
    assert there.files().keys() == SENT | {".gitattributes", "log.txt", "1_Pooling/config.json"}
    assert "tokenizer.json" in old  # in the commit before
    old = there.files()
    old["tokenizer.json"] = b"{}"
    push_to_hub(small(), "ann/one", license="mit", token="hf_ann")  # no tokenizer is sent
    assert {"tokenizer.json", "vocab.txt"} < there.files().keys()


def test_a_card_that_is_there_stays(hub: LocalHub, saved: Path) -> None:
    options = {"token": "hf_ann", "license": "mit"}
    push_to_hub(saved, "ann/one", **options)
    there = hub.repositories["ann/one"]
    there.files()["README.md"] = b"---\nlicense: mit\n---\nby hand, on the hub\n"
    push_to_hub(small(), "ann/one", **options)
    assert there.files()["README.md"].endswith(b"on the hub\n")
    own = "---\nlicense: mit\nlanguage: [en, de]\ntags: [bert, x]\n---\nby hand, here\n"
    (saved / "README.md").write_text(own, encoding="utf-8")
    push_to_hub(saved, "ann/one", language="de", tags=["x"], **options)
    assert there.files()["README.md"].decode() == own
    asked = len(hub.asked)
    for more in ({"license": "apache-2.0"}, {"language": "fr"}, {"base_model": "a/b"}):
        (name,) = more
        with pytest.raises(ValueError, match=rf"README\.md is sent as it is, and its {name} is"):
            push_to_hub(saved, "ann/one", **{**options, **more})
    assert len(hub.asked) == asked


def test_who_may_not_write(hub: LocalHub, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for token in ("hf_bob", "hf_nobody", None, False, True):
        with pytest.raises(PermissionError, match="does not let you write ann/one .*hf auth") as e:
            push_to_hub(saved, "ann/one", license="mit", token=token)
        assert "\n" not in str(e.value)
    assert not hub.repositories
    monkeypatch.setenv("HF_TOKEN", "hf_ann")
    push_to_hub(saved, "ann/one", license="mit")
    with pytest.raises(PermissionError, match="ann/one is on the hub already, and public"):
        push_to_hub(saved, "ann/one", license="mit", private=True)
    push_to_hub(saved, "ann/two", license="mit", private=True)
    with pytest.raises(PermissionError, match="does not let you write ann/two"):
        push_to_hub(saved, "ann/two", license="mit", token="hf_bob")


@pytest.mark.parametrize("how", ["drop", 500, 400])
@pytest.mark.parametrize("what", ["/lfs/", "/preupload/", "/commit/", "/api/repos/create"])
def test_an_upload_that_breaks(
    hub: LocalHub, saved: Path, how: str | int, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    push_to_hub(saved, "ann/one", license="mit", token="hf_ann")
    there = hub.repositories["ann/one"]
    before = dict(there.branches)
    other = BertModel(BertConfig(**{**vars(SMALL), "hidden_size": 8})).eval()
    hub.broken = lambda method, path: how if what in path else None
    with pytest.raises(ConnectionError, match=r"the upload to ann/one broke off.*call again") as e:
        push_to_hub(other, "ann/one", license="mit", token="hf_ann")
    assert "\n" not in str(e.value)
    assert there.branches == before
    hub.broken = lambda method, path: None
    push_to_hub(other, "ann/one", license="mit", token="hf_ann")
    assert BertModel.from_pretrained("ann/one", revision="main").config.hidden_size == 8


def test_no_hub_and_no_network(hub: LocalHub, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with contextlib.suppress(AttributeError):  # the session asks once
        huggingface_hub.close_session()
    with pytest.raises(ConnectionError, match="offline"):
        push_to_hub(saved, "ann/one", license="mit", token="hf_ann")
    assert not hub.asked
    with contextlib.suppress(AttributeError):
        huggingface_hub.close_session()


def test_what_cannot_be_sent(hub: LocalHub, saved: Path, tmp_path: Path) -> None:
    for model, options, error, words in [
        (saved, {}, ValueError, "license="),
        (small(), {"license": None}, ValueError, "license="),
        (saved, {"license": 3}, TypeError, "license 0 must be a string"),
        (saved, {"license": "mit", "language": [1]}, TypeError, "language 0 must be a string"),
        (tmp_path / "none", {"license": "mit"}, FileNotFoundError, "there is no folder"),
        (tmp_path, {"license": "mit"}, FileNotFoundError, "no config.json and no .*safetensors"),
        (TOKENIZER, {"license": "mit"}, TypeError, r"give \(model, tokenizer\)"),
        (3, {"license": "mit"}, TypeError, "not a int"),
        ((), {"license": "mit"}, TypeError, "not a tuple"),
        (small().to("meta"), {"license": "mit"}, ValueError, "meta"),
        ("minilm-qa", {"license": "mit"}, FileNotFoundError, "no folder minilm-qa"),
        (Path(minibert.__file__).parent / "models" / "minilm-qa", {}, ValueError,
         "only what was trained, on top of 'minilm'"),
    ]:  # fmt: skip
        with pytest.raises(error, match=words):
            push_to_hub(model, "ann/one", token="hf_ann", **options)
    assert not hub.asked
    with pytest.raises(ValueError, match="Repo id"):
        push_to_hub(saved, "a/b/c", license="mit", token="hf_ann")
    assert not hub.repositories


def test_sharded_weights(hub: LocalHub, saved: Path, tmp_path: Path) -> None:
    theirs = transformers.BertModel.from_pretrained(saved)
    folder = tmp_path / "shards"
    theirs.save_pretrained(folder, max_shard_size="4KB")
    TOKENIZER.save_pretrained(folder)
    push_to_hub(folder, "ann/one", license="mit", token="hf_ann")
    files = hub.repositories["ann/one"].files()
    assert sum(one.endswith(".safetensors") for one in files) > 2
    assert f"{theirs.num_parameters():,} numbers" in files["README.md"].decode()
    loaded = BertModel.from_pretrained("ann/one", revision="main")
    for name, tensor in small().state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


# The card


def every_kind() -> list[type[BertPreTrainedModel]]:
    return [getattr(minibert, name) for name in HEADS]


@pytest.mark.parametrize("kind", every_kind(), ids=lambda kind: kind.__name__)
@pytest.mark.filterwarnings("ignore:.*has no use for it")
def test_a_card_says_how_to_load_it(
    kind: type[BertPreTrainedModel], hub: LocalHub, tmp_path: Path
) -> None:
    name = f"ann/{kind.__name__}"  # what a name's main was, the hub's library remembers
    labels = {"labels": ["bad", "good"]} if "Classification" in kind.__name__ else {}
    model = small(kind, **labels)
    push_to_hub((model, TOKENIZER), name, license="mit", language="en", token="hf_ann")
    text = hub.repositories[name].files()["README.md"].decode()
    card = ModelCard(text)
    assert card.data.license == "mit"
    assert card.data.language == "en"
    assert card.data.library_name == "minibert"
    assert card.data.pipeline_tag == HEADS[kind.__name__].task
    assert card.data.tags == ["bert", "transformers"]
    assert f"{model.num_parameters():,} numbers" in text
    assert ("Its labels: bad, good." in text) == bool(labels)
    codes = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(codes) == 2
    for code in codes:
        assert len([line for line in code.splitlines() if line]) <= 3
        exec(code, made := {})
        if "model" in made:
            assert type(made["model"]).__name__ == kind.__name__


def test_a_card_of_sentence_vectors(hub: LocalHub, tmp_path: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    save_sentence_model(small(), TOKENIZER, tmp_path / "saved", "max", max_length=20)
    push_to_hub(tmp_path / "saved", "ann/sentences", license="mit", token="hf_ann")
    files = hub.repositories["ann/sentences"].files()
    layout = {"modules.json", "1_Pooling/config.json", "sentence_bert_config.json"}
    layout |= {"config_sentence_transformers.json", ".gitattributes"}
    assert files.keys() == SENT | layout
    card = ModelCard(text := files["README.md"].decode())
    assert card.data.pipeline_tag == "sentence-similarity"
    assert card.data.tags == ["bert", "sentence-transformers"]
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(code, {})
    there = sentence_transformers.SentenceTransformer("ann/sentences", device="cpu")
    here = sentence_transformers.SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    texts = ["a text", "this is another ."]
    assert (there.encode(texts) == here.encode(texts)).all()


def test_what_a_card_is_told(tmp_path: Path) -> None:
    small(BertForMaskedLM).save_pretrained(tmp_path)
    text = model_card(
        tmp_path, "ann/one", license="cc-by-sa-4.0", language=["en", "de"], base_model="minilm",
        tags=["bert", "wiki: pedia"],
    )  # fmt: skip
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    assert read_card(tmp_path) == {
        "license": "cc-by-sa-4.0", "language": ["en", "de"], "library_name": "minibert",
        "pipeline_tag": "fill-mask", "base_model": "sentence-transformers/all-MiniLM-L6-v2",
        "tags": ["bert", "transformers", "wiki: pedia"],
    }  # fmt: skip
    assert "# one\n" in text
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config["architectures"] = ["BertForSomethingElse"]
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert "feature-extraction" in model_card(tmp_path, "ann/one", license="mit")


def test_the_base_of_a_loaded_model_is_named(hub: LocalHub) -> None:
    from minibert.heads import BertForQuestionAnswering

    model = BertForQuestionAnswering.from_pretrained("minilm-qa")
    push_to_hub(model, "ann/one", license="cc-by-sa-4.0", token="hf_ann")
    files = hub.repositories["ann/one"].files()
    base = "sentence-transformers/all-MiniLM-L6-v2"
    assert ModelCard(files["README.md"].decode()).data.base_model == base
    assert "base_model" not in json.loads(files["config.json"])


def test_only_known_files_are_sent(saved: Path) -> None:
    assert set(sent_files(saved)) == SENT - {"README.md"}
    (saved / "onnx").mkdir()
    for name in ("onnx/model.onnx", "model.onnx", "LICENSE", "NOTICE.txt", "tokenizer.json"):
        (saved / name).write_bytes(b"x")
    more = {"onnx/model.onnx", "model.onnx", "LICENSE", "NOTICE.txt", "tokenizer.json"}
    assert set(sent_files(saved)) == SENT - {"README.md"} | more


REAL = """
import sys
import torch
from minibert import BertModel
from minibert.sharing import push_to_hub
assert "torch" in sys.modules
print(push_to_hub(sys.argv[1], "ann/one", license="mit", private=True))
print(BertModel.from_pretrained("ann/one", revision="main").num_parameters())
"""


def test_the_environment_is_respected(saved: Path, tmp_path: Path) -> None:
    """HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE, read by `huggingface_hub` alone."""
    with local_hub(ann="hf_ann") as there:
        own = {
            "HF_ENDPOINT": there.url, "HF_TOKEN": "hf_ann", "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0",
        }  # fmt: skip
        run = [sys.executable, "-c", REAL, str(saved)]
        made = subprocess.run(
            run, env={**os.environ, **own}, capture_output=True, encoding="utf-8", cwd=tmp_path
        )
        assert made.returncode == 0, made.stderr
        url, count = made.stdout.split()
        assert url.startswith(there.url)
        assert int(count) == small().num_parameters()
        asked = len(there.asked)
        own |= {"HF_HUB_OFFLINE": "1", "HF_TOKEN": ""}
        run[2] = REAL.replace("print(push", "(lambda x: x)(lambda: push")
        again = subprocess.run(
            run, env={**os.environ, **own}, capture_output=True, encoding="utf-8", cwd=tmp_path
        )
        assert again.stdout.split() == [count], again.stderr  # from the cache
        assert len(there.asked) == asked


def test_a_folder_is_sent_without_torch(hub: LocalHub, saved: Path) -> None:
    code = "import sys, minibert.sharing; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.stdout.split() == ["False"], done.stderr


def test_a_head_in_several_problems(hub: LocalHub) -> None:
    model = small(BertForSequenceClassification, labels=["a", "b"],
                  problem_type="multi_label_classification")  # fmt: skip
    push_to_hub((model, TOKENIZER), "ann/one", license="mit", token="hf_ann")
    loaded = BertForSequenceClassification.from_pretrained("ann/one", revision="main")
    assert torch.equal(loaded(IDS).logits, model(IDS).logits)
    assert loaded.config.extra["problem_type"] == "multi_label_classification"


def test_names() -> None:
    assert sharing.__all__ == ["model_card", "push_to_hub"]
