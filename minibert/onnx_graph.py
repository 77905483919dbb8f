# Written by tools/tangle.py from
# book/source/ship.md
# Edit that, not this.
"""A model's graph in ONNX: traced, held against torch, in int8 too.

Shapes: `B` batch, `S` sequence; `A` heads, `D` numbers of a head.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minibert.bert import BertPreTrainedModel
from minibert.checks import brief
from minibert.exported import FLOAT, INPUTS, INT8
from minibert.heads import BertForMultipleChoice

if TYPE_CHECKING:
    from onnx import ModelProto

__all__: list[str] = []

Arrays = dict[str, NDArray[np.int64]]


# The first with GELU as one node. 23 has attention as one, too, but
# onnxruntime 1.32 refuses there a mask that is one for all queries.
OPSET = 20


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
    visible = op.ReduceMax(numbers, last, keepdims=1)  # (B, 1, 1, 1)
    return op.Mul(op.MatMul(weights, value), visible)


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

    session: Any = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
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
        reason = brief(str(cause).strip().split("\n")[0])
        raise ValueError(f"torch.onnx cannot export a {type(model).__name__}: {reason}") from error
    forget_source(proto)
    onnx.save(proto, new / FLOAT)
    difference, loss = check_file(new / FLOAT, model), None
    if int8:
        with quiet():
            quantise(new / FLOAT, new / INT8)
        loss = int8_loss(new / FLOAT, new / INT8, model)
    return difference, loss
