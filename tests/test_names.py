"""`from_pretrained` by name: where it looks, whom it asks, and what it refuses."""

import http.server
import json
import os
import pickle
import pkgutil
import re
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file

import minibert
from minibert import BertConfig, BertForPreTraining, Tokenizer

CLASSES = [  # all that have from_pretrained
    "BertConfig",
    "BertModel",
    "Tokenizer",
    *(name for name in minibert.__all__ if name.startswith("BertFor")),
]
NAME = "someone/small-bert"
COMMIT = "1" * 40


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model of both heads and its tokenizer."""
    folder = tmp_path_factory.mktemp("small")
    tokenizer = Tokenizer.from_pretrained("leads-4096")
    sizes = BertConfig(
        vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8, max_position_embeddings=16,
    )  # fmt: skip
    BertForPreTraining(sizes).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def cache(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache as the hub's library lays it out: blobs, snapshots of links, refs."""
    base = tmp_path / "hub" / ("models--" + NAME.replace("/", "--"))
    snapshot = base / "snapshots" / COMMIT
    for folder in (snapshot, base / "blobs", base / "refs"):
        folder.mkdir(parents=True)
    (base / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    for i, file in enumerate(sorted(small.iterdir())):
        blob = base / "blobs" / f"{i:040x}"
        blob.write_bytes(file.read_bytes())
        try:
            (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
        except OSError:  # Windows, without the right to: the library copies, too
            blob.rename(snapshot / file.name)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return snapshot


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for a connection fails the test."""

    def refuse(*args: Any, **more: Any) -> None:
        pytest.fail(f"the network was asked: {args}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


def read(name: str, source: str | Path, **more: Any) -> Any:
    if name in ("BertForSequenceClassification", "BertForTokenClassification"):
        more["num_labels"] = 2
    with warnings.catch_warnings():  # heads that the file lacks, or has too many of
        warnings.simplefilter("ignore", UserWarning)
        return getattr(minibert, name).from_pretrained(source, **more)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.nn.Module):
        theirs = other.state_dict()
        body = [key for key in one.state_dict() if "embeddings" in key or "encoder" in key]
        return bool(body) and all(torch.equal(one.state_dict()[key], theirs[key]) for key in body)
    if isinstance(one, Tokenizer):
        return one("The dog bit the man.")[0].equal(other("The dog bit the man.")[0])
    return bool(one == other)


def test_the_classes_are_all_that_a_name_can_be_read_into() -> None:
    able = {
        name for name in minibert.__all__ if hasattr(getattr(minibert, name), "from_pretrained")
    }
    assert able == {*CLASSES, "BertPreTrainedModel"} and len(CLASSES) == 10


@pytest.mark.parametrize("name", CLASSES)
def test_a_folder_and_the_hubs_cache_give_the_same(
    name: str, small: Path, cache: Path, no_network: None
) -> None:
    found = read(name, small)
    assert isinstance(found, getattr(minibert, name))
    for source in (str(small), NAME):
        assert same(found, read(name, source)), source
    for revision in (None, "main", COMMIT):
        assert same(found, read(name, NAME, revision=revision)), revision
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        assert same(found, read(name, NAME))
        with pytest.raises(FileNotFoundError, match=r"at revision v9[\s\S]*the hub's cache"):
            read(name, NAME, revision="v9")


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("shipped", ["leads-small", "minilm-mlm", "minilm-qa", "minilm"])
def test_a_name_that_ships_asks_nobody(
    name: str, shipped: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    if shipped != "leads-small" and name not in ("BertConfig", "BertModel", "Tokenizer"):
        pytest.skip("one of each is enough, and quicker")
    monkeypatch.chdir(tmp_path)
    assert isinstance(read(name, shipped), getattr(minibert, name))


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A hub that has nothing, and remembers who asked."""
    asked: list[dict[str, str]] = []

    class Nothing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(dict(self.headers))
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *args: Any) -> None:
            pass

    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nothing)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serving.server_port}", asked
    serving.shutdown()
    serving.server_close()


def ask(endpoint: str, home: Path, **variables: str) -> str:
    """Ask for a model's folder in a process of its own; give what was said."""
    code = f"from minibert.files import resolve\ntry: print(resolve({NAME!r}, ['config.json']))\n"
    code += "except FileNotFoundError as error: print(error)"
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    kept |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "NO_PROXY": "*"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | variables,
        capture_output=True,
        encoding="utf-8",
        cwd=home,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_token_is_sent_to_the_hub_and_only_when_it_is_asked(
    server: tuple[str, list[dict[str, str]]], tmp_path: Path, cache: Path
) -> None:
    endpoint, asked = server
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    said = ask(endpoint, elsewhere, HF_TOKEN="hf_secret")
    assert f"cannot find {NAME!r}" in said and "- the hub: " in said
    sent = [{k.lower(): v for k, v in one.items()}.get("authorization") for one in asked]
    assert "Bearer hf_secret" in sent and set(sent) <= {"Bearer hf_secret", None}, asked
    asked.clear()
    assert ask(endpoint, tmp_path, HF_TOKEN="hf_secret").strip() == str(cache)
    assert asked == []  # what is there is not asked for


def test_offline_means_offline(server: tuple[str, list[dict[str, str]]], tmp_path: Path) -> None:
    endpoint, asked = server
    said = ask(endpoint, tmp_path, HF_HUB_OFFLINE="1")
    assert asked == [] and "offline" in said.casefold()


# What is refused, with its name and what to use instead

OTHER = [
    ({"model_type": "roberta", "pad_token_id": 1}, "RoBERTa", "transformers.AutoModel"),
    ({"model_type": "distilbert", "dim": 768}, "DistilBERT", "transformers.AutoModel"),
    ({"model_type": "modernbert"}, "ModernBERT", "minibert.modern.ModernBertModel"),
    ({"model_type": "gpt2"}, "GPT-2, a decoder", "transformers.AutoModelForCausalLM"),
    ({"model_type": "llama"}, "Llama, a decoder", "transformers.AutoModelForCausalLM"),
    ({"model_type": "t5", "is_encoder_decoder": True}, "T5", "transformers.AutoModelForSeq2SeqLM"),
    ({"model_type": "vit", "hidden_size": "x"}, "a model of type 'vit'", "transformers.AutoModel"),
    ({"model_type": ["bert"]}, r"a model of type \['bert'\]", "transformers.AutoModel"),
]


@pytest.mark.parametrize(("fields", "what", "use"), OTHER, ids=lambda one: str(one)[:24])
@pytest.mark.parametrize("name", ["BertModel", "BertForMaskedLM", "BertConfig"])
def test_another_model_is_named_with_the_class_that_reads_it(
    name: str, fields: dict[str, Any], what: str, use: str, small: Path, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes((small / "model.safetensors").read_bytes())
    said = rf"config\.json: this is {what}.*model_type.*use {re.escape(use)}\.from_pre"
    with pytest.raises(ValueError, match=said):
        read(name, tmp_path)


def test_the_named_classes_are_there() -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    from minibert.config import OTHERS

    missing = set(OTHERS) - set(CONFIG_MAPPING_NAMES)
    assert missing <= {"nomic_bert", "qwen3"} and "bert" not in OTHERS  # newer than 4.48
    for _, use in OTHERS.values():
        assert callable(pkgutil.resolve_name(use).from_pretrained)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"quant_method": "awq"}, "awq"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes"),
        ({"bits": 4}, "an unnamed method"),
        ("int8", "an unnamed method"),
    ],
)
def test_a_quantised_config_is_named(how: Any, said: str, small: Path, tmp_path: Path) -> None:
    fields = json.loads((small / "config.json").read_text(encoding="utf-8"))
    text = json.dumps(fields | {"quantization_config": how})
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes((small / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match=f"quantised by {said} .*float weights alone: take"):
        read("BertModel", tmp_path)


WEIGHT = "bert.encoder.layer.0.intermediate.dense.weight"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda x: {WEIGHT: x.to(torch.int8)}, "torch.int8"),
        (lambda x: {WEIGHT: x.to(torch.uint8)}, "torch.uint8"),
        (lambda x: {WEIGHT: x.to(torch.float8_e4m3fn)}, "torch.float8_e4m3fn"),
        (lambda x: {WEIGHT: x.to(torch.int32)}, "torch.int32"),
        (lambda x: {WEIGHT[:-6] + "qweight": x.to(torch.int32)}, "qweight"),
        (lambda x: {WEIGHT: x, WEIGHT[:-6] + "SCB": x[0].clone()}, "SCB"),
        (lambda x: {WEIGHT: x, WEIGHT + ".absmax": x[0].clone()}, "absmax"),
    ],
)
def test_quantised_weights_are_named_without_their_config(
    change: Any, named: str, small: Path, tmp_path: Path
) -> None:
    state = load_file(small / "model.safetensors")
    save_file(state | change(state.pop(WEIGHT)), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((small / "config.json").read_bytes())
    said = f"{named}.*a quantised file, and minibert reads float weights alone"
    with pytest.raises(ValueError, match=said):
        read("BertModel", tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("model-q4.gguf", b"GGUF\3\0\0\0", "GGUF, quantised weights for llama.cpp"),
        ("model.safetensors", b"GGUF\3\0\0\0", "GGUF, quantised weights for llama.cpp"),
        ("tf_model.h5", b"\x89HDF", "TensorFlow's weights"),
        ("bert_model.ckpt.index", b"\0", "a TensorFlow checkpoint"),
        ("flax_model.msgpack", b"\x82", "Flax's weights"),
        ("pytorch_model.bin", pickle.dumps({}), "is a pickle"),
    ],
)
@pytest.mark.parametrize("config", [True, False])
def test_a_file_of_another_program_is_named(
    config: bool, file: str, content: bytes, said: str, small: Path, tmp_path: Path
) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{file}.*{said}"):
        read("BertModel", tmp_path / file)
    if config:
        (tmp_path / "config.json").write_bytes((small / "config.json").read_bytes())
        with pytest.raises(ValueError, match=rf"{file}.*{said}"):
            read("BertModel", tmp_path)


def test_what_is_float_is_read_whatever_its_width(small: Path, tmp_path: Path) -> None:
    state = {k: x.to(torch.bfloat16) for k, x in load_file(small / "model.safetensors").items()}
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((small / "config.json").read_bytes())
    assert read("BertModel", tmp_path).embeddings.token.weight.dtype == torch.float32
