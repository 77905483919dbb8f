"""Every model exported and compiled whole, with a mask, at any size, with its loss; and ONNX."""

import copy
import json
import re
import shutil
import warnings
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import minibert.exporting
import minibert.onnx_graph
from minibert.__main__ import main
from minibert.bert import BertModel
from minibert.config import BertConfig
from minibert.exporting import Exported, export, get_loaded
from minibert.heads import (
    BertForMultipleChoice,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
)
from minibert.loading import load
from minibert.mlm import BertForMaskedLM
from minibert.nsp import BertForNextSentencePrediction
from minibert.onnx_graph import output_names
from minibert.pretraining import BertForPreTraining
from minibert.squad import load_leadqa
from minibert.tokens import Tokenizer
from minibert.vocabulary import SPECIAL

CONFIG = BertConfig(
    vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=16, max_position_embeddings=16,
)  # fmt: skip
SHALLOW = replace(CONFIG, num_hidden_layers=1)
IDS = torch.arange(1, 17).reshape(2, 8)
MASK = torch.tensor([[1] * 8, [1] * 5 + [0] * 3])
TYPES = MASK * torch.tensor([0] * 4 + [1] * 4)
TWO = torch.tensor([0, 1])
WORDS = torch.full((2, 8), -100).index_fill(1, torch.tensor([2]), 1)
LOSSES: dict[type[nn.Module], dict[str, Tensor]] = {
    BertModel: {},
    BertForMaskedLM: {"labels": WORDS},
    BertForNextSentencePrediction: {"next_sentence_label": TWO},
    BertForPreTraining: {"labels": WORDS, "next_sentence_label": TWO},
    BertForQuestionAnswering: {"start_positions": TWO, "end_positions": TWO},
    BertForSequenceClassification: {"labels": TWO},
    BertForTokenClassification: {"labels": WORDS},
    BertForMultipleChoice: {"labels": TWO},
}
NAMED = (BertForSequenceClassification, BertForTokenClassification)
kinds = pytest.mark.parametrize("kind", LOSSES)


def model_and_inputs(
    kind: type[nn.Module], config: BertConfig = CONFIG
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    model = kind(config, ["a", "b"]) if kind in NAMED else kind(config)
    inputs = (IDS, MASK, TYPES)
    if kind is BertForMultipleChoice:  # two questions, two choices each
        inputs = tuple(torch.stack([x, x.flip(0)]) for x in inputs)
    return model.eval(), inputs


@kinds
def test_exported_at_any_size(kind: type[nn.Module]) -> None:
    model, inputs = model_and_inputs(kind)
    last = inputs[0].ndim - 1
    sizes = {0: torch.export.Dim("rows", max=64), last: torch.export.Dim("size", max=16)}
    program = torch.export.export(model, inputs, dynamic_shapes=(sizes,) * 3)
    fewer = tuple(x[:1, ..., :7] for x in inputs)
    for given in (inputs, fewer):
        found, want = program.module()(*given), model(*given)
        assert len(found) == len(want)
        for a, b in zip(found, want, strict=True):
            assert (a is None) == (b is None)
            if b is not None:
                torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@kinds
@pytest.mark.parametrize("empty", [False, True], ids=["some", "none"])
def test_compiled_whole_with_its_loss(kind: type[nn.Module], empty: bool) -> None:
    """No break in the graph; and none where no word is asked for, whose loss is 0."""
    model, inputs = model_and_inputs(kind)
    labels = LOSSES[kind]
    if empty:
        if not any(x is WORDS for x in labels.values()):
            pytest.skip("it has no words to ask for")
        labels = {k: torch.full_like(x, -100) if x is WORDS else x for k, x in labels.items()}
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    found, want = compiled(*inputs, **labels), model(*inputs, **labels)
    torch.testing.assert_close(found[0], want[0], rtol=0, atol=1e-6)
    if labels:
        zero = empty and "next_sentence_label" not in labels
        assert found[0].isfinite() and (want[0] == 0) == zero
        found[0].backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


INPUTS = ["input_ids", "attention_mask", "token_type_ids"]
NAMES = {
    BertModel: ["last_hidden_state", "pooler_output"],
    BertForQuestionAnswering: ["start_logits", "end_logits"],
    BertForPreTraining: ["prediction_logits", "seq_relationship_logits"],
}
TOKENIZER = Tokenizer([*SPECIAL, *(f"w{i}" for i in range(45))])


def session_of(file: Path) -> Any:
    """Open a file with onnxruntime."""
    return pytest.importorskip("onnxruntime").InferenceSession(file)


def files_of(folder: Path) -> dict[str, bytes]:
    """All files of a folder, hidden ones too."""
    return {
        one.relative_to(folder).as_posix(): one.read_bytes()
        for one in folder.rglob("*") if one.is_file()
    }  # fmt: skip


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the hub: a small encoder with its card and its pooling."""
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("models") / "body"
    torch.manual_seed(0)
    BertModel(SHALLOW).save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    for name in ("README.md", "modules.json", "1_Pooling/config.json"):
        (folder / name).write_text("{}", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def exported(body: Path) -> Path:
    """What the command made of it."""
    folder, said = body.parent / "exported", StringIO()
    with redirect_stdout(said):
        assert main(["export", str(body), str(folder), "--int8"]) == 0
    assert f"BertModel in {folder}" in said.getvalue()
    assert re.search(r"onnx/model.onnx +0.\d+ MB  at most .*e-", said.getvalue())
    return folder


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The model that ships, exported for real."""
    pytest.importorskip("onnxscript")
    return export("minilm-qa", tmp_path_factory.mktemp("reader"), int8=True)


@kinds
def test_onnx_of_each_class(
    kind: type[nn.Module], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxscript")
    model, inputs = model_and_inputs(kind, SHALLOW)
    made = export((model, TOKENIZER), tmp_path)
    assert capfd.readouterr() == ("", "")
    session = session_of(tmp_path / "onnx" / "model.onnx")
    assert [one.name for one in session.get_inputs()] == list(made.inputs) == INPUTS
    assert {one.type for one in session.get_inputs()} == {"tensor(int64)"}
    names = [one.name for one in session.get_outputs()]
    assert names == list(made.outputs) == NAMES.get(kind, ["logits"])
    wide = tuple(x.repeat(3, *[1] * (x.ndim - 2), 2) for x in inputs)  # 16, all positions
    for given in (inputs, tuple(x[:1, ..., :1] for x in inputs), wide):
        found = session.run(None, {k: x.numpy() for k, x in zip(INPUTS, given, strict=True)})
        with torch.no_grad():
            want = [x for x in model(*given) if isinstance(x, Tensor)]
        for a, b in zip(found, want, strict=True):
            torch.testing.assert_close(torch.from_numpy(a), b, rtol=0, atol=1e-5)
    said = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert said["architectures"] == [made.kind] == [kind.__name__]


def test_the_layout_of_a_folder(body: Path, exported: Path) -> None:
    files = files_of(exported)
    assert set(files) == {
        "onnx/model.onnx", "onnx/model_quantized.onnx", "config.json", "vocab.txt",
        "tokenizer.json", "tokenizer_config.json",
        "README.md", "modules.json", "1_Pooling/config.json",
    }  # fmt: skip
    whole = b"".join(files.values())  # no word of where and from what it was made
    assert b"minibert/" not in whole and b".py" not in whole and str(body).encode() not in whole
    text = "w1 w44 nothing"
    ids = TOKENIZER.encode(text, "w2").ids
    assert Tokenizer.from_pretrained(exported).encode(text, "w2").ids == ids
    theirs = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(exported)
    assert theirs(text, "w2")["input_ids"] == ids
    assert theirs.model_max_length == SHALLOW.max_position_embeddings


@pytest.mark.parametrize("said, kept", [(None, 48), (20, 20), (10**30, 48)])
def test_a_row_is_as_long_as_the_source_says(
    tmp_path: Path, said: int | None, kept: int
) -> None:
    config = replace(CONFIG, max_position_embeddings=48)
    source, new = tmp_path / "source", tmp_path / "new"
    for folder in (source, new):
        TOKENIZER.save_pretrained(folder)
    file = source / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8")) | {"model_max_length": said}
    file.write_text(json.dumps(settings), encoding="utf-8")
    minibert.exporting.write_beside(new, BertModel(config), TOKENIZER, source)
    theirs = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(new)
    assert theirs.model_max_length == kept


def test_an_exported_model_computes_with_as_many_threads_as_it_is_told(exported: Path) -> None:
    for threads, told in ((None, 0), (1, 1), (2, 2)):
        model, _ = load(exported, backend="onnx", threads=threads)
        assert model.session.get_session_options().intra_op_num_threads == told
    with pytest.raises(ValueError, match="threads is 0, not 1 or more"):
        load(exported, backend="onnx", threads=0)
    for given in ("leads-small", load(exported, backend="onnx")):
        with pytest.raises(ValueError, match="threads is 1.*torch.set_num_threads"):
            load(given, threads=1)


def test_a_pooler_that_the_file_lacks_is_left_away(tmp_path: Path) -> None:
    BertModel(CONFIG, add_pooling_layer=False).save_pretrained(tmp_path / "body")
    TOKENIZER.save_pretrained(tmp_path / "body")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model, _, folder = get_loaded(tmp_path / "body", None)
    assert folder == tmp_path / "body" and output_names(model) == ["last_hidden_state"]
    with pytest.raises(ValueError, match="no trained head for a BertForQuestionAnswering"):
        get_loaded(tmp_path / "body", BertForQuestionAnswering)


def test_a_model_is_exported_into_its_own_folder(
    body: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(new: Path, model: object, int8: bool) -> tuple[float, None]:
        (new / "onnx").mkdir()
        (new / "onnx" / "model.onnx").write_text("graph", encoding="utf-8")
        return 0.0, None

    monkeypatch.setattr(minibert.exporting, "write_graphs", write)
    shutil.copytree(body, tmp_path / "own")
    before = files_of(tmp_path / "own")
    (tmp_path / "own" / "onnx").mkdir()
    old = tmp_path / "own" / "onnx" / "model_quantized.onnx"
    old.write_text("maybe of other weights", encoding="utf-8")
    with pytest.raises(ValueError, match="would be left beside a new .*--int8"):
        export(tmp_path / "own", tmp_path / "own")
    assert old.read_text(encoding="utf-8") == "maybe of other weights"
    assert files_of(tmp_path / "own").keys() == before.keys() | {"onnx/model_quantized.onnx"}
    old.unlink()
    export(tmp_path / "own", tmp_path / "own")
    assert files_of(tmp_path / "own") == before | {"onnx/model.onnx": b"graph"}


def test_a_graph_that_differs_is_refused_and_nothing_is_lost(
    body: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_of(exported)
    real = minibert.onnx_graph.trace

    def other(model: Any) -> Any:
        changed = copy.deepcopy(model)
        changed.encoder.layers[0].norm2.bias.data += 0.01
        return real(changed)

    monkeypatch.setattr(minibert.onnx_graph, "trace", other)
    with pytest.raises(ValueError, match="differs from torch's by 0.0.* on rows of"):
        export(body, exported, int8=True)
    assert files_of(exported) == before

    def fail(model: Any) -> Any:
        raise RuntimeError("step 3 of 3\nmany lines") from TypeError("no such node\nmore")

    monkeypatch.setattr(minibert.onnx_graph, "trace", fail)
    for folder in (exported, body.parent / "new"):
        with pytest.raises(ValueError, match="cannot export a BertModel: no such node$"):
            export(body, folder, int8=True)
    assert files_of(exported) == before and not (body.parent / "new").exists()


def test_the_exporters_own_attention_is_another(
    body: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives a row of padding alone the mean of all values: ours would not be needed."""
    real = torch.onnx.export

    def plain(*args: Any, custom_translation_table: object, **more: Any) -> Any:
        return real(*args, **more)

    monkeypatch.setattr(torch.onnx, "export", plain)
    with pytest.raises(ValueError, match=r"differs from torch's by .* on rows of \(3, 16\)"):
        export(body, tmp_path)


def test_what_cannot_be_exported_is_refused(
    body: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    refused: list[tuple[type[Exception], str, Any, Path, dict[str, Any]]] = [
        (OSError, "file cannot be written to: ", body, tmp_path / "file", {}),
        (ValueError, "holds weights of its own", body, tmp_path / "other", {}),
        (ValueError, "say which it is, as kind=BertModel", tmp_path / "other", tmp_path / "x", {}),
        (TypeError, "must be a name", 3, tmp_path / "x", {}),
        (ValueError, "eval", (BertModel(CONFIG).train(), TOKENIZER), tmp_path / "x", {}),
        (TypeError, "must be a BertModel", (nn.Linear(2, 2), TOKENIZER), tmp_path / "x",
         {"kind": BertModel}),
    ]  # fmt: skip
    shutil.copytree(body, tmp_path / "other")
    said = json.loads((body / "config.json").read_text(encoding="utf-8"))
    said["architectures"] = ["GPT"]
    (tmp_path / "other" / "config.json").write_text(json.dumps(said), encoding="utf-8")
    for kind, words, model, folder, more in refused:
        with pytest.raises(kind, match=words) as caught:
            export(model, folder, **more)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(minibert.exporting, "MOST", 100)
    with pytest.raises(ValueError, match="one file of ONNX ends at 2 GB"):
        export(body, tmp_path / "x")
    monkeypatch.setattr("minibert.files.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"minibert-book\[export\]"):
        export(body, tmp_path / "x")
    assert not (tmp_path / "x").exists()
    assert main(["export", str(body), str(tmp_path / "x")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("minibert: onnx is not installed; it comes with") and "[export]" in line


def test_int8_keeps_the_outputs_nearly(body: Path, exported: Path) -> None:
    model = BertModel.from_pretrained(body)
    given = {k: x.numpy() for k, x in zip(INPUTS, (IDS, MASK, TYPES), strict=True)}
    found = session_of(exported / "onnx" / "model_quantized.onnx").run(None, given)[0]
    with torch.no_grad():
        want = model(IDS, MASK, TYPES)[0].numpy()
    lost = np.linalg.norm((found - want)[MASK == 1]) / np.linalg.norm(want[MASK == 1])
    assert 0 < lost < 0.05


def test_the_reader_that_ships(reader: Exported) -> None:
    """The same answers in float, nearly all the same in int8, at a fourth of the size."""
    assert reader.difference < 1e-4 and reader.int8_loss is not None and reader.int8_loss < 0.1
    assert reader.files["onnx/model_quantized.onnx"] < 30e6 < reader.files["onnx/model.onnx"]
    assert f"{reader.files['onnx/model_quantized.onnx'] / 1e6:.2f} MB" in str(reader)
    model, tokenizer = load("minilm-qa", BertForQuestionAnswering, "cpu")
    questions = [one for one in load_leadqa("dev") if one.answers][:24]
    batch = tokenizer(
        [x.question for x in questions], [x.context for x in questions],
        max_length=128, truncation="only_second",
    )  # fmt: skip
    given = {name: batch[name].numpy() for name in INPUTS}
    files = [reader.folder / name for name in ("onnx/model.onnx", "onnx/model_quantized.onnx")]
    whole, small = ([x.argmax(-1) for x in session_of(one).run(None, given)] for one in files)
    with torch.no_grad():
        want = [x.argmax(-1).numpy() for x in model(**batch)[1:3]]
    assert np.array_equal(whole, want)
    assert np.equal(small, want).mean() > 0.8
