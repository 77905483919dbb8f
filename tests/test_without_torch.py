"""What runs without torch: functions on strings, with a model that was exported."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minibert import (
    Answer,
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    Tokenizer,
    answer,
    classify,
    embed,
    load,
    tag,
)
from minibert.exporting import export
from minibert.tagging import Span

WITHOUT = "import sys\nsys.modules['torch'] = None  # as where it is not installed\n"


def run(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", WITHOUT + code]
    return subprocess.run(command, capture_output=True, encoding="utf-8")


@pytest.mark.parametrize(
    "name",
    ["Answer", "BertConfig", "Tokenizer", "answer", "answer_all", "classify", "embed", "leads",
     "load", "models", "nearest", "question_rows", "summarize", "tag", "train_vocabulary"],
)  # fmt: skip
def test_a_name_is_imported_without_torch(name: str) -> None:
    done = run(f"from minibert import {name}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["BertModel", "BertForQuestionAnswering", "fine_tune"])
def test_what_needs_torch_says_how_to_get_it(name: str) -> None:
    done = run(f"from minibert import {name}")
    assert 'pip install "minibert-book[torch]"' in done.stderr.splitlines()[-1]
    done = run("from minibert import embed\nembed(['a'])")
    assert 'pip install "minibert-book[torch]"' in done.stderr.splitlines()[-1]


def test_a_batch_of_arrays_needs_no_torch() -> None:
    done = run(
        "from minibert import Tokenizer\n"
        "batch = Tokenizer.from_pretrained('leads-4096')(['a b', 'c'], return_tensors='np')\n"
        "print(batch.input_ids.shape, batch.input_ids.dtype, batch.attention_mask.sum())"
    )
    assert done.stdout.split("\n")[0] == "(2, 4) int64 7", done.stderr


CONFIG = BertConfig(
    vocab_size=4096, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=16, max_position_embeddings=64, initializer_range=0.3,
)  # fmt: skip


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Path]]:
    """A model of each kind that the functions on strings take, and its export."""
    tokenizer, made = Tokenizer.from_pretrained("leads-4096"), {}
    torch.manual_seed(0)
    for kind in (BertModel, BertForQuestionAnswering, BertForSequenceClassification,
                 BertForTokenClassification):  # fmt: skip
        labels = {} if "Classification" not in kind.__name__ else {"labels": ["O", "B-X", "I-X"]}
        model = kind(CONFIG, **labels).eval()
        folder = tmp_path_factory.mktemp(kind.__name__)
        export((model, tokenizer), folder, int8=kind is BertModel)
        made[kind.__name__] = ((model, tokenizer), folder)
    return made


TEXT = "The Danube rises in Germany and ends in the Black Sea. " * 6  # several windows
CALLS = {
    "BertModel": "embed(['The Danube.', text[:99], ''], model=model).tolist()",
    "BertForQuestionAnswering": "answer('Where?', text, model=model, max_length=48, doc_stride=16)",
    "BertForSequenceClassification": "classify(['Danube', text[:99]], model=model)",
    "BertForTokenClassification": "tag('The Danube rises in Germany.', model=model)",
}


@pytest.mark.parametrize("kind", CALLS)
def test_an_exported_model_does_as_its_model(
    kind: str, exported: dict[str, tuple[Any, Path]]
) -> None:
    """In a process that has no torch."""
    model, folder = exported[kind]
    code = (
        "from minibert import answer, classify, embed, tag\n"
        f"text, model = {TEXT!r}, {str(folder)!r}\n"
        f"print(repr({CALLS[kind]}))\n"
        "assert sys.modules['torch'] is None"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr
    names = {"answer": answer, "classify": classify, "embed": embed, "tag": tag,
             "Answer": Answer, "Span": Span}  # fmt: skip
    want = eval(CALLS[kind], names | {"text": TEXT, "model": model})
    assert flat(eval(done.stdout, names)) == pytest.approx(flat(want), abs=1e-4)


def flat(values: Any) -> list[Any]:
    """All numbers and texts in something nested."""
    if isinstance(values, dict):
        return [x for pair in sorted(values.items()) for x in pair]
    if isinstance(values, (list, tuple)):
        return [x for one in values for x in flat(one)]
    return [values]


def test_numbers_and_texts_are_compared_apart() -> None:
    assert flat([(1, "a"), {"b": 2.0}]) == [1, "a", "b", 2.0]
    with pytest.raises(AssertionError):
        assert flat(["a", 1.0]) == pytest.approx(["b", 1.0])


def test_a_file_is_chosen_by_its_name(exported: dict[str, tuple[Any, Path]]) -> None:
    model, folder = exported["BertModel"]
    texts = ["The Danube.", "An octopus has eight arms."]
    whole = embed(texts, model=load(folder))
    small = embed(texts, model=load(folder, file_name="onnx/model_quantized.onnx"))
    assert 1e-4 < np.abs(whole - small).max() < 0.3
    assert np.abs(whole - embed(texts, model=model)).max() < 1e-5
    with pytest.raises(FileNotFoundError, match=r"no onnx/other\.onnx"):
        load(folder, file_name="onnx/other.onnx")
    with pytest.raises(ValueError, match="no file of"):
        load(folder, file_name="../../secret.onnx")


def test_what_an_exported_model_cannot_do_is_named(
    exported: dict[str, tuple[Any, Path]], tmp_path: Path
) -> None:
    folder = exported["BertModel"][1]
    with pytest.raises(TypeError, match="must be a BertForQuestionAnswering, not a BertModel"):
        answer("Where?", TEXT, model=folder)
    with pytest.raises(ValueError, match=r"output_hidden_states was asked for"):
        embed(["a"], model=folder, layer=1)
    with pytest.raises(ValueError, match="runs on the CPU here, not on cuda"):
        embed(["a"], model=folder, device="cuda")
    with pytest.raises(ValueError, match='backend is "?\'?tensorflow'):
        load("minilm", backend="tensorflow")
    with pytest.raises(FileNotFoundError, match=r"minibert\.export"):
        load("leads-small", backend="onnx")
    bert, _ = load(folder)
    with pytest.raises(ValueError, match="65 tokens, and the model 64"):
        bert(np.ones((1, 65), np.int64))
    with pytest.raises(IndexError, match="4096, not 0 to 4095"):
        bert(np.full((1, 2), 4096))
    with pytest.raises(ValueError, match=r"token_type_ids is \(1, 3\)"):
        bert(np.ones((1, 2), np.int64), token_type_ids=np.ones((1, 3), np.int64))
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    graph = broken / "onnx" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:999])
    with pytest.raises(ValueError, match="is no graph that runs"):
        load(broken)


def test_a_file_name_is_onnx_whatever_lies_beside_it(
    exported: dict[str, tuple[Any, Path]], tmp_path: Path
) -> None:
    (model, tokenizer), folder = exported["BertModel"]
    both = tmp_path / "both"
    shutil.copytree(folder, both)
    model.save_pretrained(both)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    assert type(load(both)[0]) is BertModel  # torch is here
    found, _ = load(both, file_name="onnx/model_quantized.onnx")
    assert found.file.name == "model_quantized.onnx"
    with pytest.raises(ValueError, match="no file of ONNX"):
        load(both, file_name="model.safetensors")
    with pytest.raises(ValueError, match=r"torch reads model\.safetensors"):
        load(both, backend="torch", file_name="onnx/model.onnx")
    code = f"from minibert import embed\nprint(embed(['a'], model={str(both)!r}).shape)"
    assert run(code).stdout.strip() == "(1, 16)"  # without torch, what runs is taken


def test_a_graph_of_another_model_is_named(
    exported: dict[str, tuple[Any, Path]], tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign"
    shutil.copytree(exported["BertForQuestionAnswering"][1], foreign)
    other = exported["BertForSequenceClassification"][1]
    shutil.copyfile(other / "onnx" / "model.onnx", foreign / "onnx" / "model.onnx")
    with pytest.raises(ValueError, match="gives logits, and its config is a BertForQuestion"):
        answer("Where?", TEXT, model=foreign)
    with pytest.raises(ValueError, match="was exported already"):
        export(other, tmp_path / "again")


def test_a_command_says_that_it_needs_torch() -> None:
    done = run("from minibert.__main__ import main\nsys.exit(main(['fill', 'a [MASK]']))")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert 'pip install "minibert-book[torch]"' in done.stderr
