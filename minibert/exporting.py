# Written by tools/tangle.py from
# book/source/ship.md
# Edit that, not this.
"""A model for where there is no torch: ONNX, checked, in int8 too.

The folder is laid out as the hub's are, so that `onnxruntime`,
`transformers.js`, `optimum` and `sentence-transformers` read it.
Shapes: `B` batch, `S` sequence, `N` choices, `V` vocabulary.
"""

import contextlib
import copy
import io
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import processors
from torch import Tensor

from minibert.bert import BertModel, BertPreTrainedModel
from minibert.checks import brief
from minibert.config import BertConfig
from minibert.exported import (
    FLOAT,
    INPUTS,
    INT8,
    ExportedModel,
    holds_exported,
)
from minibert.files import find_folder, require
from minibert.heads import (
    BertForMultipleChoice,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
)
from minibert.loading import load
from minibert.mlm import BertForMaskedLM
from minibert.nsp import BertForNextSentencePrediction
from minibert.pretraining import BertForPreTraining
from minibert.tokens import Tokenizer

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["Exported", "export"]

Kind = type[BertPreTrainedModel]
Loaded = tuple[BertPreTrainedModel, Tokenizer]
Arrays = dict[str, NDArray[np.int64]]


# The first with GELU as one node. 23 has attention as one, too, but
# onnxruntime 1.32 refuses there a mask that is one for all queries.
OPSET = 20
MOST = 2_000_000_000  # bytes of weights: a file of protobuf ends at 2 GiB


class Exported(NamedTuple):
    """What `export` wrote; it prints as a table."""

    folder: Path
    kind: str  # the model's class
    inputs: tuple[str, ...]  # int64, (B, S); of choices (B, N, S)
    outputs: tuple[str, ...]
    files: dict[str, int]  # name -> bytes
    difference: float  # the largest, from torch's outputs
    int8_loss: float | None  # share of the outputs' size, |a - b| / |a|

    def __str__(self) -> str:
        said = {FLOAT: f"at most {self.difference:.1g} from torch's outputs"}
        if self.int8_loss is not None:
            said[INT8] = f"{self.int8_loss:.1%} of the outputs lost"
        lines = [
            f"{self.kind} in {self.folder}",
            f"  from {', '.join(self.inputs)}",
            f"  to {', '.join(self.outputs)}",
        ]
        width = max(map(len, self.files))
        for name, size in self.files.items():
            note = f"{name:{width}}  {size / 1e6:7.2f} MB  {said.get(name, '')}"
            lines.append(f"  {note.rstrip()}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)


KINDS: dict[str, Kind] = {
    one.__name__: one
    for one in (
        BertModel,
        BertForMaskedLM,
        BertForNextSentencePrediction,
        BertForPreTraining,
        BertForQuestionAnswering,
        BertForSequenceClassification,
        BertForTokenClassification,
        BertForMultipleChoice,
    )
}


def find_kind(name: str | Path) -> Kind:
    """Find the class that a folder's `config.json` names.

    Raises:
        ValueError: it names none, or one that is not known.
    """
    said = BertConfig.from_pretrained(name).extra.get("architectures")
    names = said if isinstance(said, list) else []
    for one in names:
        if one in KINDS:
            return KINDS[one]
    raise ValueError(
        f"{name}: the architectures of its config.json are {said!r}, none of "
        f"{', '.join(KINDS)}: say which it is, as kind=BertModel"
    )


def get_loaded(
    model: str | Path | Loaded, kind: Kind | None
) -> tuple[BertPreTrainedModel, Tokenizer, Path | None]:
    """Get a model in float32 on the CPU, its tokenizer, its folder."""
    if not isinstance(model, (str, os.PathLike)):
        bert, tokenizer = load(model, kind)
        if isinstance(bert, ExportedModel):
            raise ValueError(f"{bert.file} was exported already: give the model it is from")
        if bert.device.type != "cpu" or bert.dtype != torch.float32:
            bert = copy.deepcopy(bert).to("cpu", torch.float32)
        return bert, tokenizer, None
    folder = find_folder(model, ["*.safetensors", "config.json"])
    if holds_exported(folder, alone=True):
        raise ValueError(f"{folder} was exported already: give the model it is from")
    bert, tokenizer = load(model, kind or find_kind(model), "cpu")
    return bert, tokenizer, folder


def axes_of(model: BertPreTrainedModel) -> list[str]:
    """Name the axes of what a model reads."""
    several = isinstance(model, BertForMultipleChoice)
    return ["batch", "choices", "length"] if several else ["batch", "length"]


def output_names(model: BertPreTrainedModel) -> list[str]:
    """Name the outputs of a model that is given no labels."""
    one = torch.ones([1] * len(axes_of(model)), dtype=torch.long)
    output: Any = model(one)
    return [
        name for name in output._fields
        if isinstance(getattr(output, name), Tensor)
    ]  # fmt: skip


def attention_nodes(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Write torch's fused attention as nodes of ONNX.

    The exporter's own nodes give a row of padding alone the mean of
    all values, where torch gives zero, and look at every weight twice
    more. `query`, `key`, `value` (B, A, S, D), `attn_mask` (B, 1, 1, S).
    """
    from onnxscript import opset20

    op: Any = opset20
    assert not (dropout_p or is_causal or scale or enable_gqa)
    size = query.shape[-1] ** -0.5
    lowest = torch.finfo(torch.float32).min
    flipped = op.Transpose(key, perm=[0, 1, 3, 2])
    scores = op.Mul(op.MatMul(query, flipped), op.Constant(value_float=size))
    zero, least = op.Constant(value_float=0.0), op.Constant(value_float=lowest)
    hidden = op.Where(attn_mask, zero, least)
    weights = op.Softmax(op.Add(scores, hidden), axis=-1)
    last, numbers = op.Constant(value_ints=[-1]), op.Cast(attn_mask, to=1)  # 1: float
    some = op.ReduceMax(numbers, last, keepdims=1)  # (B, 1, 1, 1)
    return op.Mul(op.MatMul(weights, value), some)


def trace(model: BertPreTrainedModel) -> "ModelProto":
    """Turn a model into an ONNX graph for rows of any number and length.

    The inputs are three tensors: one that is given three times would
    be traced as a single input.
    """
    names = axes_of(model)
    longest = model.config.max_position_embeddings
    most = {"length": longest}
    sizes = {at: torch.export.Dim(name, max=most.get(name)) for at, name in enumerate(names)}
    shape = [2] * (len(names) - 1) + [min(7, longest)]
    inputs = tuple(torch.ones(shape, dtype=torch.long) for _ in INPUTS)
    program = torch.onnx.export(
        model, inputs, dynamo=True, opset_version=OPSET, verbose=False,
        input_names=INPUTS, output_names=output_names(model),
        dynamic_shapes=(sizes,) * len(INPUTS),
        custom_translation_table={
            torch.ops.aten.scaled_dot_product_attention.default: attention_nodes
        },
    )  # fmt: skip
    assert program is not None
    return program.model_proto


def forget_source(proto: "ModelProto") -> None:
    """Take out which lines of which files made each node."""
    graph = proto.graph
    for part in (proto, graph):
        del part.metadata_props[:]
    for one in (*graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        del one.metadata_props[:]
        one.doc_string = ""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what the exporter and the quantiser say from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


SHAPES = ((1, 1), (1, 2), (2, 7), (3, 64), (1, 1 << 30), (16, 33))


def random_inputs(model: BertPreTrainedModel, rows: int, size: int) -> Arrays:
    """Draw ids, a mask and segments, with the extremes among them.

    The first and the last id of the vocabulary, and the last segment;
    from four columns on, the last fourth is padding in all rows; of
    three rows or more one is padding alone.

    Returns:
        Each (B, S), or (B, 2, S) of a model of choices.
    """
    config = model.config
    size = min(size, config.max_position_embeddings)
    shape = (rows, 2, size)[:: 1 if len(axes_of(model)) == 3 else 2]
    chance = np.random.default_rng(size)
    ids = chance.integers(0, config.vocab_size, shape)
    ids[..., 0], ids[..., -1] = config.vocab_size - 1, 0
    mask = np.ones_like(ids)
    if size >= 4:
        lengths = chance.integers(1, size - size // 4 + 1, (*shape[:-1], 1))
        lengths[0] = size - size // 4
        mask = (np.arange(size) < lengths).astype(np.int64)
    if rows >= 3:
        mask[1] = 0
    types = chance.integers(0, config.type_vocab_size, shape)
    types[..., -1] = config.type_vocab_size - 1
    return dict(zip(INPUTS, (ids, mask, types), strict=True))


def torch_outputs(model: BertPreTrainedModel, inputs: Arrays) -> list[NDArray[np.float32]]:
    """Compute what is there of a model's outputs."""
    given = [torch.from_numpy(inputs[name]) for name in INPUTS]
    with torch.no_grad():
        return [x.numpy() for x in model(*given) if isinstance(x, Tensor)]


def run_file(file: Path, cases: Sequence[Arrays]) -> list[list[NDArray[np.float32]]]:
    """Compute a file's outputs for several inputs."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return [session.run(None, dict(one)) for one in cases]


def check_file(file: Path, model: BertPreTrainedModel) -> float:
    """Compare a file with the model it was made from.

    Returns:
        The largest difference of any output on any shape.

    Raises:
        ValueError: one above 1e-4 + 1e-5 times the value.
    """
    cases = [random_inputs(model, *shape) for shape in SHAPES]
    largest = 0.0
    for inputs, found in zip(cases, run_file(file, cases), strict=True):
        for got, want in zip(found, torch_outputs(model, inputs), strict=True):
            gap = np.abs(got - want)
            largest = max(largest, float(gap.max()))
            if got.shape != want.shape or not (gap <= 1e-4 + 1e-5 * np.abs(want)).all():
                raise ValueError(
                    f"the exported model differs from torch's by {gap.max():.2g} on "
                    f"rows of {inputs['input_ids'].shape}: nothing was written"
                )
    return largest


# Seven bits for the weights: sums of two products are kept in sixteen
# by processors without VNNI, and cut off where eight bits would be more.
REDUCE_RANGE = True


def quantise(file: Path, made: Path) -> None:
    """Write a model's weights in int8, with a scale for each column.

    What is multiplied with them is rounded to 8 bits as it comes.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        file, made, weight_type=QuantType.QInt8, per_channel=True,
        reduce_range=REDUCE_RANGE, op_types_to_quantize=["MatMul", "Gather"],
    )  # fmt: skip


def int8_loss(file: Path, made: Path, model: BertPreTrainedModel) -> float:
    """Give which share of the outputs int8 changes, |a - b| / |a|.

    Of real tokens, which are random here: a text loses less.

    Raises:
        ValueError: nothing is left of them.
    """
    inputs = random_inputs(model, *SHAPES[3])
    wants, finds = (run_file(one, [inputs])[0] for one in (file, made))
    mask, lost, whole = inputs["attention_mask"] == 1, 0.0, 0.0
    for got, want in zip(finds, wants, strict=True):
        real = mask if want.shape[: mask.ndim] == mask.shape else mask.any(-1)
        lost += float(np.square(got - want)[real].sum())
        whole += float(np.square(want)[real].sum())
    loss = float(np.sqrt(lost / max(whole, 1e-30)))
    if not loss < 0.9:
        raise ValueError(f"in int8 {loss:.0%} of the outputs are lost: leave int8 away")
    return loss


def check_target(target: Path, source: Path | None, int8: bool) -> bool:
    """Refuse a folder with another model's weights, in int8 too.

    Returns:
        Whether it is the folder that the model came from.
    """
    if not int8 and (target / INT8).exists():
        raise ValueError(
            f"{target / INT8} would be left beside a new {FLOAT}, of which it might not "
            "be: write it anew (int8=True, --int8), or remove it first"
        )
    if source is not None and target.exists() and target.samefile(source):
        return True
    if any(target.glob("*.safetensors")):
        raise ValueError(
            f"{target} holds weights of its own (*.safetensors), which the new "
            "config.json might not fit: give another folder"
        )
    return False


# What else a folder of the hub says, of the card and the pooling.
BESIDE = (
    "README.md", "modules.json", "sentence_bert_config.json",
    "config_sentence_transformers.json", "1_Pooling/config.json",
)  # fmt: skip


def write_beside(
    new: Path, model: BertPreTrainedModel, tokenizer: Tokenizer, source: Path | None
) -> None:
    """Write what belongs to a graph: config, tokenizer, card."""
    gone = ("torch_dtype", "base_model", "tie_word_embeddings")
    extra = {k: v for k, v in model.config.extra.items() if k not in gone}
    extra |= {"architectures": [type(model).__name__], "dtype": "float32"}
    config = replace(model.config, extra=extra)
    (new / "config.json").write_text(config.to_json(), encoding="utf-8")
    tokenizer.save_pretrained(new)
    write_tokenizer_json(new / "tokenizer.json", tokenizer)
    for name in BESIDE:
        if source is not None and (source / name).is_file():
            (new / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source / name, new / name)


def write_tokenizer_json(file: Path, tokenizer: Tokenizer) -> None:
    """Write the tokenizer in one file, which a browser reads."""
    rust = type(tokenizer._rust).from_str(tokenizer._rust.to_str())
    rust.post_processor = processors.BertProcessing(
        ("[SEP]", tokenizer.sep_id), ("[CLS]", tokenizer.cls_id)
    )
    file.write_text(rust.to_str(pretty=True) + "\n", encoding="utf-8")


def write_graphs(new: Path, model: BertPreTrainedModel, int8: bool) -> tuple[float, float | None]:
    """Write and check the graph, and the one in int8 if asked for.

    Raises:
        ValueError: it cannot be exported, or differs from the model.
    """
    import onnx

    (new / FLOAT).parent.mkdir()
    try:
        with quiet(), torch.no_grad():
            proto = trace(model)
    except Exception as error:  # of many kinds, with many lines
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        said = brief(str(cause).strip().split("\n")[0])
        raise ValueError(f"torch.onnx cannot export a {type(model).__name__}: {said}") from error
    forget_source(proto)
    onnx.save(proto, new / FLOAT)
    difference, loss = check_file(new / FLOAT, model), None
    if int8:
        with quiet():
            quantise(new / FLOAT, new / INT8)
        loss = int8_loss(new / FLOAT, new / INT8, model)
    return difference, loss


def move_in(new: Path, target: Path) -> dict[str, int]:
    """Move the files of a folder into another, and give their sizes."""
    files = sorted(one for one in new.rglob("*") if one.is_file())
    sizes = {one.relative_to(new).as_posix(): one.stat().st_size for one in files}
    for name in sizes:
        (target / name).parent.mkdir(exist_ok=True)
        os.replace(new / name, target / name)
    return sizes


def export(
    model: str | Path | Loaded,
    folder: str | Path,
    *,
    int8: bool = False,
    kind: Kind | None = None,
) -> Exported:
    """Write a model for where there is no torch: as ONNX.

    The folder holds `onnx/model.onnx`, which reads `input_ids`,
    `attention_mask` and `token_type_ids`, int64 and (B, S) of any
    size up to the model's positions, and gives the model's outputs
    by their names; with `config.json`, the tokenizer's files, and the
    card where the model's folder has one. Its outputs were compared
    with torch's, on several shapes. All is written aside, and moved
    in when it is right.

    Args:
        model: a shipped name, a folder or a hub id; or a model in
            eval mode and its tokenizer.
        folder: where to; the model's own is right, too.
        int8: write `onnx/model_quantized.onnx` as well, a fourth of
            the size and faster, with a small loss.
        kind: the class, such as `BertModel`; None for the one that
            the config names.

    Returns:
        What was written, and how far from torch it is.

    Raises:
        ModuleNotFoundError: `pip install "minibert-book[export]"`.
        OSError: the folder cannot be written to.
        TypeError, ValueError: as `load`; no class is named, its head
            was not trained, the folder holds another model's weights
            or, without `int8`, a file in int8; or the weights are
            2 GB or more, which one file of ONNX cannot hold.

    >>> export("minilm-qa", "qa", int8=True)  # doctest: +SKIP
    """
    require("export", "onnx", "onnxscript", "onnxruntime")
    bert, tokenizer, source = get_loaded(model, kind)
    size = 4 * bert.num_parameters()
    if size > MOST:
        raise ValueError(f"the weights are {size / 1e9:.1f} GB, and one file of ONNX ends at 2 GB")
    target = Path(folder)
    own, fresh = check_target(target, source, int8), not target.exists()
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".exporting-", dir=target) as aside:
            new = Path(aside)
            difference, loss = write_graphs(new, bert, int8)
            if not own:
                write_beside(new, bert, tokenizer, source)
            files = move_in(new, target)
    except OSError as error:
        raise OSError(f"{target} cannot be written to: {error.strerror or error}") from error
    finally:
        if fresh and target.is_dir() and not any(target.iterdir()):
            target.rmdir()
    return Exported(
        target, type(bert).__name__, INPUTS, tuple(output_names(bert)), files, difference, loss
    )
