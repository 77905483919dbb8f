# Written by tools/tangle.py from
# book/source/finetuning.md
# Edit that, not this.
"""Fine-tuning: a model with a head, trained on labelled rows.

A row holds the arguments of a model's `forward`: a dict of
`input_ids` and what stands beside them. Shapes: `B` rows, `S`
sequence, `C` classes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from minibert.batching import IGNORE, Row, collate, pack
from minibert.bert import BertPreTrainedModel
from minibert.checkpoints import digest
from minibert.classification import to_python
from minibert.loading import score_rows
from minibert.moved import moved
from minibert.steps import Microbatch, processes, split_step
from minibert.tokens import Tokenizer
from minibert.training import TrainingConfig, train

__all__ = [
    "FineTuningData",
    "fine_tune",
    "for_trainer",
    "patience",
    "predict",
]

if not TYPE_CHECKING:  # names of 0.2
    __getattr__ = moved(__name__)


IDS = {"input_ids", "token_type_ids", "position_ids", "attention_mask"}


def check_rows(rows: Sequence[Row], floats: bool = False) -> list[Row]:
    """Give rows in Python's own numbers, all alike, or name one that is not.

    Labels may be of any library: what counts as a number is taken.

    Raises:
        TypeError: something that is no number.
        ValueError: no rows, no ids, no labels, or other fields than row 0's.
    """
    if len(rows) == 0:
        raise ValueError("there are no rows to train on")
    out: list[Row] = []
    first: list[tuple[str, str]] = []  # what row 0 holds
    for number, row in enumerate(rows):
        has = sorted(row) if isinstance(row, Mapping) else type(row).__name__
        if "input_ids" not in has:
            raise ValueError(
                f"row {number} has no input_ids, but {has}: make it with "
                "text_row(text, tokenizer, label)"
            )
        if not set(has) - IDS:
            raise ValueError(
                f"row {number} has no labels, but {has}: there is nothing "
                "to learn from it"
            )
        new = {
            k: to_python(x, f"{k} of row {number}", floats and k == "labels")
            for k, x in row.items()
        }
        kinds = [*map(field_type, new.items())]
        first = first or kinds
        if kinds != first:
            raise ValueError(
                f"row {number} holds {dict(kinds)}, but row 0 {dict(first)}: "
                "all must be alike"
            )
        out.append(new)
    return out


def field_type(one: tuple[str, Any]) -> tuple[str, str]:
    """Name what a field of a row is: a number, or a list, and of what."""
    name, value = one
    if not isinstance(value, list):
        return name, type(value).__name__
    if isinstance(value[0], float):
        return name, f"{len(value)} floats"
    return name, "list"


POOL = 32  # batches that are sorted by length together


class FineTuningData:
    """Labelled rows: the pieces of any step.

    An epoch takes every row once, in its own order, but for those
    that fill no batch at its end.

    Args:
        rows: as `collate` takes them, with labels.
        config: the run's numbers.
        pad_id: the id of [PAD].
        floats: whether labels are numbers, not classes.

    Raises:
        TypeError, ValueError: no rows, or one that is not like the
            first.

    >>> rows = [{"input_ids": [2, 7, 3], "labels": 1}] * 5
    >>> config = TrainingConfig(steps=9, batch_size=2)
    >>> data = FineTuningData(rows, config, pad_id=0)
    >>> data.steps, data.batches(epoch=0).shape
    (2, (2, 2))
    """

    def __init__(
        self,
        rows: Sequence[Row],
        config: TrainingConfig,
        pad_id: int,
        floats: bool = False,
    ) -> None:
        self.rows = check_rows(rows, floats)
        self.config, self.pad_id = config, pad_id
        self.size = min(config.batch_size, len(rows))
        self.steps = len(rows) // self.size  # of an epoch
        self.lengths = np.array([len(x["input_ids"]) for x in rows])
        self.epoch = -1, np.empty((0, self.size), np.int64)

    def batches(self, epoch: int) -> NDArray[np.int64]:
        """Give the numbers of an epoch's rows, a line for a step.

        Returns:
            (steps, batch_size), or (1, n) of n rows that are fewer
            than a batch.
        """
        if self.epoch[0] != epoch:
            seed = [self.config.seed, 1, epoch]
            chance = np.random.default_rng(seed)
            order = chance.permutation(len(self.rows))
            order = order[: self.steps * self.size]
            cut, pool = [], POOL * self.size
            borders = range(pool, len(order), pool)
            for part in np.split(order, borders):
                lengths = self.lengths[part]
                by_size = part[np.argsort(lengths, kind="stable")]
                batches = by_size.reshape(-1, self.size)
                cut.append(chance.permutation(batches))
            self.epoch = epoch, np.concatenate(cut)
        return self.epoch[1]

    def __call__(
        self, step: int, rank: int = 0, world: int = 1
    ) -> list[Microbatch]:
        """Give this process's pieces of a step."""
        epoch, place = divmod(step, self.steps)
        rows = [self.rows[i] for i in self.batches(epoch)[place]]
        pieces, accumulate = [], self.config.accumulate
        parts = split_step(self.size, rank, world, accumulate)
        for part, real in parts:
            batch = collate(rows[part], self.pad_id)
            count = len(batch["input_ids"])
            labels = batch.get("labels", torch.empty(0))
            if labels.ndim == 2 and not labels.is_floating_point():
                count = int((labels != IGNORE).sum())  # of tokens
            if self.config.packed:
                batch = pack(batch)
            pieces.append(Microbatch(batch, {"loss": count * real}))
        return pieces


def fine_tune(
    model: BertPreTrainedModel,
    tokenizer: Tokenizer,
    rows: Sequence[Row],
    config: TrainingConfig,
    folder: str | Path | None = None,
    *,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    enough: Callable[[list[dict[str, float]]], bool] | None = None,
    progress: bool = True,
) -> list[dict[str, float]]:
    """Train a model with a head on labelled rows, in place.

    Args:
        model: parameters that are frozen stay as they are. It ends
            in eval mode, where `train` puts it.
        tokenizer: the one that made the rows.
        rows: as `text_row`, `tag_row` or `question_rows` makes
            them, as the head needs.
        config: the run's numbers.
        folder: as in `train`; the trained model and its tokenizer
            are saved in its `model/`. To go on there, make the
            model as at first: before a new head is made, call
            `torch.manual_seed` with the same number.
        evaluate: as in `train`.
        enough: as in `train`; see `patience`.
        progress: whether to show a bar.

    Returns:
        The lines of the log, as `train`.

    Raises:
        TypeError, ValueError: no rows, one that is not like the
            first or too long for the model; see `train`.

    >>> from minibert import BertConfig, Tokenizer, text_row
    >>> from minibert.heads import BertForSequenceClassification
    >>> tokenizer = Tokenizer.from_pretrained("minilm")
    >>> rows = [text_row("good", tokenizer, 1), text_row("bad", tokenizer, 0)]
    >>> sizes = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    >>> model = BertForSequenceClassification(sizes, labels=["no", "yes"])
    >>> config = TrainingConfig(steps=2, batch_size=2)
    >>> fine_tune(model, tokenizer, rows, config, progress=False)[-1]["step"]
    2
    """
    floats = getattr(model, "float_labels", False)
    data = FineTuningData(rows, config, tokenizer.pad_id, floats)
    most = model.config.max_position_embeddings
    if data.lengths.max() > most:
        raise ValueError(
            f"row {data.lengths.argmax()} has {data.lengths.max()} "
            f"tokens, but the model ends at {most}: make the rows "
            "with a smaller max_length"
        )
    trained = [
        n for n, p in model.named_parameters() if p.requires_grad
    ]
    settings: dict[str, Any] = {
        "model": json.loads(model.config.to_json()),
        "trained": trained,
        "rows": [len(rows), int(data.lengths.sum())],
    }
    if folder is not None:
        settings["digest of the rows"] = digest(
            json.dumps(row, sort_keys=True).encode()
            for row in data.rows
        )
    log = train(
        model, data, config, folder, evaluate=evaluate,
        settings=settings, enough=enough, progress=progress,
    )  # fmt: skip
    if folder is not None and processes().rank == 0:
        model.save_pretrained(Path(folder) / "model")
        tokenizer.save_pretrained(Path(folder) / "model")
    return log


def predict(
    model: BertPreTrainedModel,
    rows: Sequence[Row],
    pad_id: int,
    batch_size: int = 32,
    packed: bool = False,
) -> list[Tensor]:
    """Give a head's logits for each row, in the rows' order.

    Rows of like length are computed together; without padding where
    `packed` is true.

    Args:
        model: with a head that gives `logits`, in eval mode, where
            `fine_tune` leaves it.
        rows: as `fine_tune` takes them; labels are passed over.
        pad_id: the id of [PAD].
        batch_size: rows that are computed together.
        packed: as in `TrainingConfig`.

    Returns:
        For each row (C,), or (S, C) where tokens are scored, in
        float32 on the CPU.

    >>> from minibert import BertConfig, BertForTokenClassification
    >>> sizes = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    >>> model = BertForTokenClassification(sizes, labels=["O", "B-PLACE"]).eval()
    >>> predict(model, [{"input_ids": [2, 7, 3]}], pad_id=0)[0].shape
    torch.Size([3, 2])
    """
    logits = score_rows(model, rows, pad_id, batch_size, packed)
    return [torch.from_numpy(scores) for scores in logits]


def patience(
    name: str, times: int = 2
) -> Callable[[list[dict[str, float]]], bool]:
    """Stop when a number has not fallen for so many evaluations.

    Args:
        name: of a loss in the log; for one that should rise, let
            `evaluate` give its negative.
        times: evaluations in a row without a new lowest one.

    Returns:
        The `enough` of `train`: it looks at the log alone, so a run
        that is resumed stops where the whole one does.

    Raises:
        ValueError: `times` below 1.
    """
    if times < 1:
        raise ValueError(f"times must be 1 or more, not {times}")

    def enough(log: list[dict[str, float]]) -> bool:
        values = [line[name] for line in log if name in line]
        lowest = values.index(min(values)) if values else 0
        return len(values) - 1 - lowest >= times

    return enough


def for_trainer(model: BertPreTrainedModel) -> nn.Module:
    """Wrap a model with a head for `transformers.Trainer`.

    Its `forward` takes what the model's takes, and returns a plain
    tuple of the outputs that are not None, the loss first. It has
    no config. The weights are the model's own: training the wrapper
    trains `model`.

    >>> from minibert import BertConfig, BertModel
    >>> sizes = BertConfig(vocab_size=99, num_hidden_layers=1)
    >>> states, pooled = for_trainer(BertModel(sizes))(torch.tensor([[2, 7, 3]]))
    >>> states.shape
    torch.Size([1, 3, 768])
    """
    kind = type(model)

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        @wraps(kind.forward)
        def forward(  # type: ignore[override]
            self, *given: Any, **named: Any
        ) -> Any:
            outputs = self.model(*given, **named)
            return tuple(x for x in outputs if x is not None)

    Wrapped.__name__ = kind.__name__
    return Wrapped()
