# Written by tools/tangle.py from
# book/source/day.md
# Edit that, not this.
"""Pre-training on a stream of documents, which is never on disk."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from minibert.data import sentences
from minibert.files import require
from minibert.nsp import Corpus, build_corpus
from minibert.pretraining import POOL, PretrainingConfig, PretrainingData
from minibert.steps import Microbatch
from minibert.tokens import Tokenizer

__all__ = ["StreamedData", "open_stream"]


class Stream(Protocol):
    """What `datasets.IterableDataset` is: rows, and where one stands."""

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """Give the rows of an epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch, from 0."""

    def state_dict(self) -> Any:
        """Say where the last row was."""

    def load_state_dict(self, state: Any) -> None:
        """Let the next iteration begin behind there."""


def join(parts: list[Corpus]) -> Corpus:
    """Put corpora one behind the other."""
    starts, chunks, tokens, texts = [np.zeros(1, np.int64)], [], 0, 0
    for part in parts:
        shift = sum(map(len, starts)) - 1
        chunks.append(part.chunks + np.array([shift, shift, texts]))
        starts.append(part.sentences[1:] + tokens)
        tokens += len(part.tokens)
        texts += READ
    return Corpus(
        np.concatenate([part.tokens for part in parts]),
        np.concatenate(starts),
        np.concatenate(chunks),
    )


READ = 100  # documents that are cut together
KINDS = {"parquet": "parquet", "jsonl": "json", "json": "json", "csv": "csv"}


def open_stream(names: Sequence[str]) -> Stream:
    """Open files, or a data set of the hub, with `datasets`.

    Args:
        names: files that end with `.parquet`, `.jsonl`, `.json` or
            `.csv`, packed (`.gz`) or not, or patterns of them; or
            one data set, `allenai/c4:en` with its part.

    Raises:
        ValueError: names that are neither, or of two kinds.
        FileNotFoundError: no such file.
        ModuleNotFoundError: the extra `[stream]` is not installed.
    """
    require("stream", "datasets")
    from datasets import load_dataset

    ends = [
        {one[1:] for one in Path(name).suffixes[-2:]} & KINDS.keys()
        for name in names
    ]
    kinds = {KINDS[end] for found in ends for end in found}
    how: dict[str, Any] = {"split": "train", "streaming": True}
    if len(kinds) == 1 and all(ends):
        files = [str(Path(name)) for name in names]
        return load_dataset(*kinds, data_files=files, **how)
    if kinds or len(names) != 1:
        raise ValueError(
            f"{', '.join(names)}: name files of one kind, "
            f"{', '.join(KINDS)}, or one data set"
        )
    name, _, part = names[0].partition(":")
    return load_dataset(name, part or None, **how)


class StreamedData:
    """Rows of a stream, masked: the pieces of any step.

    Documents are read until they fill 32 steps, shuffled as
    `PretrainingData` does, and forgotten. What is over is left out.
    Each process reads all of them, and takes its own rows. After
    the last document the next epoch begins.

    Args:
        stream: a `datasets.IterableDataset`, or what has its
            `__iter__`, `set_epoch`, `state_dict` and
            `load_state_dict`. Shuffle it by its files, if at all:
            what a buffer of its own held would be lost when the
            run goes on.
        tokenizer: whose ids to use.
        config: the run's numbers.
        field: of a row, that holds the text.

    Raises:
        ValueError: when it is read, a row without that field; a
            stream without documents, or with none long enough.
    """

    def __init__(
        self,
        stream: Stream,
        tokenizer: Tokenizer,
        config: PretrainingConfig,
        field: str = "text",
    ) -> None:
        self.stream, self.tokenizer = stream, tokenizer
        self.config, self.field = config, field
        first = {"step": 0, "epoch": 0, "stream": None}
        self.load_state_dict(first)

    def state_dict(self) -> dict[str, Any]:
        """Say where the block of the last step began."""
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was asked."""
        self.state, self.ahead = state, state
        self.data: PretrainingData | None = None
        self.stream.set_epoch(state["epoch"])
        if state["stream"] is not None:
            self.stream.load_state_dict(state["stream"])
        self.texts = self.read(state["epoch"])

    def read(self, epoch: int) -> Iterator[list[str]]:
        """Give the documents from here on, without an end."""
        while True:
            empty = True
            for row in self.stream:
                if self.field not in row:
                    raise ValueError(
                        f"a row has no {self.field!r}, but {[*row]}"
                    )
                self.epoch, empty = epoch, False
                yield sentences(row[self.field])
            if empty and epoch == self.state["epoch"] + 1:
                raise ValueError("the stream has no documents")
            epoch += 1
            self.stream.set_epoch(epoch)

    def read_block(self) -> None:
        """Read the next 32 steps."""
        self.state, parts, chunks = self.ahead, [], 0
        pairs = self.config.task is not None
        number = self.state["step"] // POOL
        while chunks < POOL * self.config.batch_size:
            texts = list(islice(self.texts, READ))
            parts.append(build_corpus(
                texts, self.tokenizer, self.config.max_length, pairs
            ))  # fmt: skip
            chunks += len(parts[-1].chunks)
            if not chunks and self.epoch > self.state["epoch"] + 1:
                raise ValueError("no document fills a row")
        seed = np.random.SeedSequence([self.config.seed, number])
        own = replace(
            self.config, seed=int(seed.generate_state(1)[0])
        )
        corpus = join(parts)
        self.data = PretrainingData(corpus, self.tokenizer, own)
        self.ahead = {
            "step": self.state["step"] + POOL,
            "epoch": self.epoch,
            "stream": self.stream.state_dict(),
        }

    def __call__(
        self, step: int, rank: int = 0, world: int = 1
    ) -> list[Microbatch]:
        """Give this process's pieces of a step, one after another.

        Raises:
            ValueError: a step that has gone by.
        """
        if step < self.state["step"]:
            raise ValueError(f"the stream is beyond step {step}")
        while self.data is None or step >= self.ahead["step"]:
            self.read_block()
        return self.data(step - self.state["step"], rank, world)
