# Written by tools/tangle.py from
# book/source/ship.md
# Edit that, not this.
"""A model for where there is no torch: ONNX, checked, in int8 too.

The folder is laid out as the hub's are, so that `onnxruntime`,
`transformers.js`, `optimum` and `sentence-transformers` read it.
Shapes: `B` batch, `S` sequence, `N` choices.
"""

import copy
import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import processors

from minibert.bert import BertModel, BertPreTrainedModel
from minibert.config import BertConfig
from minibert.exported import (
    FLOAT,
    INPUTS,
    INT8,
    ExportedModel,
    holds_exported,
)
from minibert.files import find_folder, read_json, require
from minibert.heads import (
    BertForMultipleChoice,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
)
from minibert.loading import load
from minibert.mlm import BertForMaskedLM
from minibert.nsp import BertForNextSentencePrediction
from minibert.onnx_graph import output_names, write_graphs
from minibert.pretraining import BertForPreTraining
from minibert.tokens import Tokenizer

__all__ = ["Exported", "export"]


Kind = type[BertPreTrainedModel]
Loaded = tuple[BertPreTrainedModel, Tokenizer]


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
    architectures = BertConfig.from_pretrained(name).extra.get("architectures")
    names = architectures if isinstance(architectures, list) else []
    for one in names:
        if one in KINDS:
            return KINDS[one]
    raise ValueError(
        f"{name}: the architectures of its config.json are {architectures!r}, none of "
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
    write_length(new, config.max_position_embeddings, source)
    write_tokenizer_json(new / "tokenizer.json", tokenizer)
    for name in BESIDE:
        if source is not None and (source / name).is_file():
            (new / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source / name, new / name)


def write_length(new: Path, positions: int, source: Path | None) -> None:
    """Tell `transformers` how many tokens a row may have, which it asks no model."""
    name = "tokenizer_config.json"
    length = None
    if source is not None and (source / name).is_file():
        length = read_json(source / name).get("model_max_length")
    most = min(length, positions) if isinstance(length, (int, float)) else positions
    settings = read_json(new / name) | {"model_max_length": int(most)}
    (new / name).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def write_tokenizer_json(file: Path, tokenizer: Tokenizer) -> None:
    """Write the tokenizer in one file, which a browser reads."""
    rust = type(tokenizer._rust).from_str(tokenizer._rust.to_str())
    rust.post_processor = processors.BertProcessing(
        ("[SEP]", tokenizer.sep_id), ("[CLS]", tokenizer.cls_id)
    )
    file.write_text(rust.to_str(pretty=True) + "\n", encoding="utf-8")


def move_in(new: Path, target: Path) -> dict[str, int]:
    """Move the files of a folder into another, and give their sizes."""
    files = sorted(one for one in new.rglob("*") if one.is_file())
    sizes = {one.relative_to(new).as_posix(): one.stat().st_size for one in files}
    for name in sizes:
        (target / name).parent.mkdir(exist_ok=True)
        os.replace(new / name, target / name)
    return sizes


MOST = 2_000_000_000  # bytes of weights: a file of protobuf ends at 2 GiB


class Exported(NamedTuple):
    """What `export` wrote; it prints as a table.

    Attributes:
        folder: where.
        kind: the model's class.
        inputs: int64, (B, S); of choices (B, N, S).
        outputs: their names.
        files: name -> bytes.
        difference: the largest from torch's outputs.
        int8_loss: which share of the outputs int8 changes,
            `|a - b| / |a|`, on random tokens; None without int8.
    """

    folder: Path
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    files: dict[str, int]
    difference: float
    int8_loss: float | None

    def __str__(self) -> str:
        remarks = {FLOAT: f"at most {self.difference:.1g} from torch's outputs"}
        if self.int8_loss is not None:
            remarks[INT8] = f"{self.int8_loss:.1%} of the outputs lost"
        lines = [
            f"{self.kind} in {self.folder}",
            f"  from {', '.join(self.inputs)}",
            f"  to {', '.join(self.outputs)}",
        ]
        width = max(map(len, self.files))
        for name, size in self.files.items():
            note = f"{name:{width}}  {size / 1e6:7.2f} MB  {remarks.get(name, '')}"
            lines.append(f"  {note.rstrip()}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)


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
    size up to the model's positions, of choices (B, N, S), and
    gives the model's outputs by their names; with `config.json`,
    the tokenizer's files, and the card where the model's folder has
    one. Its outputs were compared with torch's, on several shapes.
    All is written aside, and moved in when it is right.

    Args:
        model: a shipped name, a folder or a hub id; or a model in
            eval mode and its tokenizer.
        folder: where to; the model's own is right, too.
        int8: write `onnx/model_quantized.onnx` as well, a fourth of
            the size and faster, with a small loss.
        kind: the class, such as `BertModel`; None for the one that
            the config names.

    Returns:
        What was written, and how far from torch it is. To run it,
        give the folder as `model=` to `answer` and its like, which
        opens the file in float32; for the other give what
        `load(folder, file_name="onnx/model_quantized.onnx")` gives.

    Raises:
        ModuleNotFoundError: `pip install "minibert-book[export]"`.
        OSError: the folder cannot be written to.
        FileNotFoundError, TypeError: as `load`.
        ValueError: as `load`; no class is named, or its head was
            not trained; the model was exported already; the folder
            holds another model's weights or, without `int8`, a file
            in int8; the weights are over 2 GB, more than one file
            of ONNX holds; torch cannot export the model, or the
            file's outputs are not torch's, or int8 loses nearly
            all of them.

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
