# Written by tools/tangle.py from
# book/source/ship.md
# Edit that, not this.
"""A model that was exported to ONNX, called as the one it was made from.

ONNX Runtime computes it: neither this module nor what it needs
imports torch. Shapes: `B` rows, `S` tokens.
"""

from collections import namedtuple
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minibert.checks import brief
from minibert.config import BertConfig, named_class, read_config
from minibert.files import PATTERNS, download, file_exists, resolve
from minibert.tokens import Tokenizer

__all__ = ["ExportedModel"]

# Where the hub's libraries look for a graph; older ones wrote it beside the config.
FLOAT, INT8 = "onnx/model.onnx", "onnx/model_quantized.onnx"
GRAPHS = (FLOAT, INT8, "model.onnx", "model_quantized.onnx")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUTS = {  # what the functions on strings read
    "BertModel": {"last_hidden_state"},
    "BertForQuestionAnswering": {"start_logits", "end_logits"},
    "BertForSequenceClassification": {"logits"},
    "BertForTokenClassification": {"logits"},
}


def holds_exported(folder: Path, alone: bool) -> bool:
    """Whether a folder has an exported model; `alone`, without other weights."""
    if not folder.is_dir() or (alone and any(folder.glob("*.safetensors"))):
        return False
    return any((folder / name).is_file() for name in GRAPHS)


def find_exported(name_or_path: str | Path, file_name: str | None) -> tuple[Path, Path]:
    """Find the folder of an exported model, and the file in it.

    Raises:
        FileNotFoundError: no such file, or nothing exported.
        ValueError: a file that is not in the folder.
    """
    folder = Path(name_or_path)
    if file_name is not None and not str(file_name).endswith(".onnx"):
        raise ValueError(f"file_name is {file_name!r}, no file of ONNX (*.onnx)")
    if not folder.is_dir():
        wanted = file_name or GRAPHS[0]
        name = str(name_or_path)
        if "/" not in name:
            folder = resolve(name)
        else:
            patterns = [x for x in PATTERNS if "safetensors" not in x]
            folder = download(name, ["config.json", wanted], None, [*patterns, wanted])
    names = GRAPHS if file_name is None else (file_name,)
    for one in names:
        file = folder / one
        if not file.resolve().is_relative_to(folder.resolve()) and not file.is_symlink():
            raise ValueError(f"{one} is no file of {folder}")
        if file_exists(file):
            return folder, file
    raise FileNotFoundError(
        f"there is no {names[0]} in {folder}: write one with "
        "minibert.export(model, folder)"
    )


@lru_cache(maxsize=4)
def open_exported(
    folder: Path, file: Path, seen: tuple[Any, ...], threads: int | None = None
) -> tuple["ExportedModel", Tokenizer]:
    """Open a file; what was `seen` there makes a new reading of a new file."""
    config = read_config(folder)
    return ExportedModel(file, config, threads), Tokenizer.from_pretrained(folder)


class ExportedModel:
    """A file of ONNX, called as the model it was exported from.

    `load(folder, backend="onnx")` makes one. What it takes is made
    by `tokenizer(texts, return_tensors="np")`: `model(*batch)`.

    Attributes:
        kind: the name of the model's class.
        inputs: names of what the graph takes.
        outputs: names of what it gives.

    Args:
        file: the graph, its weights inside or beside it.
        config: of the model it was made from.
        threads: how many compute; None for ONNX Runtime's choice,
            one for each core, whatever OMP_NUM_THREADS or
            `torch.set_num_threads` says.

    Raises:
        ModuleNotFoundError: ONNX Runtime is not installed.
        ValueError: a file that is broken, or no BERT's.
    """

    training, device = False, "cpu"

    def __init__(
        self, file: Path, config: BertConfig, threads: int | None = None
    ) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                f'{file} needs ONNX Runtime: pip install "minibert-book[onnx]"'
            ) from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what is wrong is raised, too
        options.intra_op_num_threads = threads or 0  # 0: its own choice
        try:
            self.session = onnxruntime.InferenceSession(
                str(file), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its own classes have no common one
            raise ValueError(f"{file} is no graph that runs: {brief(error)}") from None
        self.file, self.config = file, config
        self.kind = named_class(config) or "BertModel"
        self.inputs = [one.name for one in self.session.get_inputs()]
        self.outputs = [one.name for one in self.session.get_outputs()]
        if "input_ids" not in self.inputs or not {*self.inputs} <= {*INPUTS}:
            raise ValueError(
                f"{file} takes {self.inputs}, and BERT takes {[*INPUTS]}: "
                "it is another model's"
            )
        needed = OUTPUTS.get(self.kind, set())
        if not needed <= {*self.outputs}:
            raise ValueError(
                f"{file} gives {', '.join(self.outputs)}, and its config is a {self.kind}'s, "
                f"which gives {', '.join(sorted(needed))}: one of the two is another model's"
            )
        self.output = namedtuple("Output", self.outputs)  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"ExportedModel({str(self.file)!r}, kind={self.kind!r})"

    def __call__(
        self,
        input_ids: NDArray[Any],
        attention_mask: NDArray[Any] | None = None,
        token_type_ids: NDArray[Any] | None = None,
        **options: bool,
    ) -> Any:
        """Run it.

        Args:
            input_ids: (B, S); of choices (B, N, S).
            attention_mask: (B, S), 1 for real tokens; all if absent.
            token_type_ids: (B, S), segments; 0 where absent.
            **options: what a graph cannot give, as
                `output_hidden_states`: refused where True.

        Returns:
            A named tuple of arrays, with the names of the model's
            own outputs.

        Raises:
            IndexError: ids that the vocabulary has not.
            ValueError: a row longer than the model, arrays that do
                not fit together, or an option that is True.
        """
        if any(options.values()):
            raise ValueError(
                f"{self.file} gives {', '.join(self.outputs)} alone, and "
                f"{', '.join(options)} was asked for: use the model in torch"
            )
        ids = np.asarray(input_ids)
        if ids.ndim < 2 or not ids.size:
            raise ValueError(f"input_ids must be (B, S), with a token, not {ids.shape}")
        mask = np.ones_like(ids) if attention_mask is None else attention_mask
        types = np.zeros_like(ids) if token_type_ids is None else token_type_ids
        given: dict[str, Any] = dict(zip(INPUTS, (ids, mask, types), strict=True))
        for name, array in given.items():
            if np.shape(array) != ids.shape:
                raise ValueError(
                    f"{name} is {np.shape(array)}, but input_ids {ids.shape}"
                )
        config = self.config
        if ids.shape[-1] > config.max_position_embeddings:
            raise ValueError(
                f"the rows have {ids.shape[-1]} tokens, and the model "
                f"{config.max_position_embeddings} positions: cut them"
            )
        for name, rows in [(INPUTS[0], config.vocab_size), (INPUTS[2], config.type_vocab_size)]:
            low, high = given[name].min(), given[name].max()
            if low < 0 or high >= rows:
                raise IndexError(f"{name} holds {low} to {high}, not 0 to {rows - 1}")
        feed = {
            name: np.ascontiguousarray(given[name], np.int64) for name in self.inputs
        }
        return self.output(*self.session.run(None, feed))
