"""What is no speed: memory at the peak of a step, and the time that an import takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
import transformers

from minibert.pretraining import BertForPreTraining, PretrainingConfig, PretrainingData
from speed.models import Step, body, their_config
from speed.pretraining import LONGEST, corpus, their_batches
from speed.timing import EXPERIMENTS, Row, Size, missing, row

IMPORT = """
import time
import torch
start = time.process_time()
import minibert.bert
print(time.process_time() - start)
"""


def printed(*command: str) -> float:
    """Run Python in a process of its own, and read the number that it prints last."""
    process = subprocess.run(
        [sys.executable, *command], cwd=EXPERIMENTS, check=True, capture_output=True,
        encoding="utf-8",
    )
    return float(process.stdout.split()[-1])


def peak() -> float:
    """Most memory that this process had, in MB.

    Linux counts what the process had that started this one into `ru_maxrss`, and the bench has
    gigabytes; `VmHWM` is this program's own.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="utf-8").splitlines()
        (line,) = (line for line in lines if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def step_memory(whose: str, layers: int, hidden: int, vocabulary: int, batch: int) -> float:
    """Peak of three steps over what the process had before its model was made, in MB."""
    torch.set_num_threads(1)
    size = Size(batch=batch)
    tokenizer, text = corpus(vocabulary, 50)
    config = PretrainingConfig(steps=1, batch_size=batch, max_length=LONGEST)
    data = PretrainingData(text, tokenizer, config)
    batches = (
        (piece.inputs for step in range(32) for piece in data(step)) if whose == "ours"
        else their_batches(data, tokenizer, size)
    )  # fmt: skip
    largest = sorted(
        (batch for batch, _ in zip(batches, range(32), strict=False)),
        key=lambda inputs: inputs["input_ids"].numel(),
    )[-3:]  # the largest: the peak is theirs
    config_of_body = body(layers, hidden, len(tokenizer))
    before = peak()
    if whose == "ours":
        model = BertForPreTraining(config_of_body).train()
    else:
        model = transformers.BertForPreTraining(their_config(config_of_body)).train()
    step = Step(model, config)
    for batch_ in largest:
        step(model(**batch_).loss)
    return peak() - before


def memory(size: Size) -> list[Row]:
    """Peak of a pre-training step on leads, each side in processes of its own."""
    layers, hidden = size.bodies[-1 if len(size.bodies) < 3 else 1]
    vocabulary = size.vocabularies[0]
    name = (
        f"memory at the peak of the pre-training step, {layers} layers of {hidden},"
        f" V {vocabulary:,}, {size.batch} leads, against transformers padded to the longest"
    )
    if sys.platform == "win32":
        return [missing(name, 2.0, "Windows has no resource.getrusage")]
    megabytes: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(min(size.rounds, 3)):  # it is memory: the same each time
        for whose, values in megabytes.items():
            code = f"from speed.footprint import step_memory as f; print(f({whose!r}, {layers},"
            values.append(printed("-c", f"{code} {hidden}, {vocabulary}, {size.batch}))"))
    measured = row(name, 2.0, megabytes["ours"], megabytes["theirs"])
    measured["ours_megabytes"], measured["theirs_megabytes"] = (
        measured.pop(f"{whose}_seconds") for whose in megabytes
    )
    return [measured]


def imports(size: Size) -> list[Row]:
    """CPU time of the import over that of torch, against what it may take."""
    most = 0.3
    times = [printed("-c", IMPORT) for _ in range(size.rounds + 1)][1:]
    name = f"import minibert.bert after torch, against {most} s"
    return [row(name, 1.0, times, [most] * len(times))]


def rows(size: Size) -> list[Row]:
    """Both."""
    return [*memory(size), *imports(size)]
