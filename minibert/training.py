# Written by tools/tangle.py from
# book/source/pretraining.md
# Edit that, not this.
"""The training loop: one step at a time, and a run that survives.

Everything random in step t is drawn from (seed, t), never from what
came before. So a run that stops goes on exactly by starting at the
next step with the same weights and optimiser.
"""

import contextlib
import hashlib
import json
import math
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from minibert.bert import own_memory
from minibert.device import best_device, best_dtype, slowdown

__all__ = ["Piece", "TrainingConfig", "processes", "train"]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The numbers of a run.

    Attributes:
        steps: optimiser steps.
        batch_size: rows in a step, over all processes and pieces.
        accumulate: pieces that a process cuts its share into.
        learning_rate: the highest one.
        warmup: steps in which it rises from 0 to there; then it
            falls in a straight line, to 0 after the last step.
        weight_decay: not on biases and norms.
        clip: largest norm of all gradients together.
        seed: where everything random comes from.
        bfloat16: compute products in it; False in float32, None in
            what the hardware is made for, `best_dtype`.
        compile: compile the model first.
        log_every: steps between two lines of the log.
        evaluate_every: steps between two evaluations.
        save_every: steps between two checkpoints.

    Raises:
        ValueError: a number that makes no run.
    """

    steps: int
    batch_size: int = 64
    accumulate: int = 1
    learning_rate: float = 1e-3
    warmup: int = 0
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0
    bfloat16: bool | None = None
    compile: bool = False
    log_every: int = 50
    evaluate_every: int = 500
    save_every: int = 500

    def __post_init__(self) -> None:
        """Refuse what makes no run."""
        whole = ("steps", "batch_size", "accumulate", "log_every")
        for name in (*whole, "evaluate_every", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must be 1 or more, not {getattr(self, name)}"
                )
        if not 0 <= self.warmup <= self.steps:
            raise ValueError(
                f"warmup is {self.warmup}, not 0 to {self.steps} steps"
            )
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} must be positive, not {getattr(self, name)}"
                )
        for name in ("weight_decay", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} must be 0 or more, not {getattr(self, name)}"
                )

    def rate(self, step: int) -> float:
        """Give the learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        left = self.steps - step
        return self.learning_rate * left / max(self.steps - self.warmup, 1)


class Piece(NamedTuple):
    """A part of a step's batch.

    Attributes:
        inputs: what the model is called with.
        counts: for each loss of the model's output, by field name,
            over how many things it is a mean.
    """

    inputs: dict[str, Tensor]
    counts: dict[str, int]


class Processes(NamedTuple):
    """Who computes: this one, of how many, and on what."""

    rank: int
    world: int
    device: torch.device


def processes() -> Processes:
    """Join the processes that `torchrun` or `accelerate` started.

    Alone, it is rank 0 of 1, on the best device; of several, each
    has a CUDA device of its own, or all share the CPU.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    device = best_device()
    if world == 1:
        return Processes(0, 1, device)
    cuda = device.type == "cuda"
    if not cuda:
        device = torch.device("cpu")
    else:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo")
    return Processes(dist.get_rank(), world, device)


class Precision(NamedTuple):
    """What products are computed in.

    Attributes:
        cast: the context of a forward pass.
        scaler: scales the loss of float16; of others, does nothing.
    """

    cast: torch.autocast
    scaler: torch.amp.GradScaler


def choose_precision(
    bfloat16: bool | None, device: torch.device
) -> Precision:
    """Make it of what a config says; None is `best_dtype`."""
    dtype = best_dtype(device)
    if bfloat16 and dtype != torch.bfloat16:
        dtype = torch.bfloat16
        warnings.warn(
            f"bfloat16 is not what this {device.type} is made for: a "
            f"product takes {slowdown(device, dtype):.1f} times as long "
            "as in float32. Leave bfloat16 out, and the best is chosen",
            stacklevel=3,
        )
    if bfloat16 is False:
        dtype = torch.float32
    cast = torch.autocast(device.type, dtype, dtype != torch.float32)
    half = dtype == torch.float16
    return Precision(cast, torch.amp.GradScaler(device.type, enabled=half))


def make_optimiser(
    model: nn.Module, config: TrainingConfig
) -> torch.optim.AdamW:
    """AdamW; matrices and tables decay, biases and norms do not."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim > 1]},
        {
            "params": [p for p in trained if p.ndim < 2],
            "weight_decay": 0.0,
        },
    ]
    return torch.optim.AdamW(
        groups,
        lr=config.learning_rate,
        betas=(0.9, 0.999),
        eps=1e-6,
        weight_decay=config.weight_decay,
        fused=True,
    )


def seed_step(*numbers: int) -> None:
    """Make torch's chance depend on these numbers alone."""
    state = np.random.SeedSequence(numbers)
    torch.manual_seed(int(state.generate_state(1, np.uint64)[0]))


def total_counts(pieces: list[Piece], world: int) -> dict[str, int]:
    """Count what each loss of the whole step is a mean of."""
    names = list(pieces[0].counts)
    table = [[p.counts[n] for n in names] for p in pieces]
    sums = torch.tensor(table).sum(0)
    if world > 1:
        device = processes().device
        sums = sums.to(device)
        dist.all_reduce(sums)
    return dict(zip(names, sums.tolist(), strict=True))


def cut_step(
    rows: int, rank: int, world: int, accumulate: int
) -> list[tuple[slice, bool]]:
    """Give a process its pieces of a step's rows.

    Returns:
        For each piece, which rows it has, and whether they count. A
        process for which none is left takes row 0, to keep step
        with the others, and it counts as nothing.
    """
    parts = world * accumulate
    own = range(rank, min(parts, rows), world)
    pieces = [(slice(part, None, parts), True) for part in own]
    return pieces or [(slice(0, 1), False)]


def backward(
    model: nn.Module,
    pieces: list[Piece],
    world: int,
    precision: Precision,
) -> dict[str, Tensor]:
    """Add up the gradients of a step, piece by piece.

    Each loss is the mean over the whole step, wherever its pieces
    lie: a piece's own mean counts by its share.

    Args:
        model: in training mode.
        pieces: this process's.
        world: how many processes there are.
        precision: of the products.

    Returns:
        This process's share of each loss; over all processes they
        add up to it.
    """
    device = next(model.parameters()).device
    totals = total_counts(pieces, world)
    shares: dict[str, Tensor] = {}
    spread = isinstance(model, DistributedDataParallel)
    for number, piece in enumerate(pieces):
        wait: contextlib.AbstractContextManager[None]
        wait = contextlib.nullcontext()
        if spread and number < len(pieces) - 1:
            wait = model.no_sync()  # type: ignore[operator]
        inputs = {
            name: tensor.to(device, non_blocking=True)
            for name, tensor in piece.inputs.items()
        }
        with wait:
            with precision.cast:
                output = model(**inputs)
            parts = {
                name: getattr(output, name)
                * (count / max(totals[name], 1))
                for name, count in piece.counts.items()
            }
            # processes are averaged, and a sum is wanted
            loss = sum(parts.values()) * world
            precision.scaler.scale(loss).backward()
        for name, part in parts.items():
            shares[name] = shares.get(name, 0.0) + part.detach()
    return shares


class Meter:
    """Losses and tokens since it was last read."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin again, now."""
        self.losses: dict[str, Tensor] = {}
        self.tokens = self.steps = 0
        self.start = time.perf_counter()

    def add(self, losses: dict[str, Tensor], pieces: list[Piece]) -> None:
        """Take in one step."""
        for name, loss in losses.items():
            self.losses[name] = self.losses.get(name, 0.0) + loss
        for piece in pieces:
            real = piece.inputs.get("attention_mask", piece.inputs["input_ids"])
            self.tokens += int((real != 0).sum())
        self.steps += 1

    def read(self, world: int) -> dict[str, float]:
        """Give the mean losses and the speed of all processes."""
        names = list(self.losses)
        values = [self.losses[name].float() / self.steps for name in names]
        sums = torch.stack([*values, values[0].new_full((), self.tokens)])
        if world > 1:
            dist.all_reduce(sums)
        *means, tokens = sums.tolist()  # a GPU is waited for
        seconds = time.perf_counter() - self.start
        self.clear()
        line = dict(zip(names, means, strict=True))
        return line | {"tokens_per_second": round(tokens / seconds)}


Batches = Callable[[int, int, int], list[Piece]]
Evaluate = Callable[[nn.Module], dict[str, float]]
Enough = Callable[[list[dict[str, float]]], bool]


def train(
    model: nn.Module,
    batches: Batches,
    config: TrainingConfig,
    folder: str | Path | None = None,
    *,
    evaluate: Evaluate | None = None,
    facts: Mapping[str, Any] | None = None,
    enough: Enough | None = None,
    progress: bool = True,
) -> list[dict[str, float]]:
    """Train in place; go on where a run in `folder` stopped.

    Args:
        model: gives an output with its losses as fields.
        batches: called with step, rank and world, gives this
            process's pieces of the step; the same ones each time.
        config: the run's numbers.
        folder: for the log (`log.jsonl`) and checkpoints; None
            keeps nothing.
        evaluate: called with the model in eval mode, gives numbers.
        facts: more that a checkpoint must agree with, beside the
            starting weights, such as a `digest` of the rows.
        enough: called with the log before each step; true ends the
            run there.
        progress: whether to show a bar.

    Returns:
        The lines of the log: `step`, the losses, `rate`,
        `tokens_per_second`, and what `evaluate` gave.

    Raises:
        ValueError: `folder` holds a run of another config, of other
            facts, or from other starting weights.
        OSError: a checkpoint could not be written; the one before
            is whole.
        FloatingPointError: the loss is not a number.
    """
    rank, world, device = processes()
    model.to(device).train()
    optimiser = make_optimiser(model, config)
    run = None
    if folder is not None:
        begun = {"starting weights": weights_digest(model)}
        run = Run(folder, config, dict(facts or {}) | begun)
    precision = choose_precision(config.bfloat16, device)
    scaler = precision.scaler
    start = 0
    log: list[dict[str, float]] = []
    if run:
        start, log = run.resume(model, optimiser, scaler)
    wrapped: Any = torch.compile(model) if config.compile else model
    if world > 1:
        wrapped = DistributedDataParallel(wrapped)
    meter = Meter()
    shown = bar(config, start, progress and rank == 0)
    with torch.random.fork_rng(), shown:
        for step in range(start, config.steps):
            if enough and enough(log):
                break
            seed_step(config.seed, step, rank)
            for group in optimiser.param_groups:
                group["lr"] = config.rate(step)
            pieces = batches(step, rank, world)
            losses = backward(wrapped, pieces, world, precision)
            meter.add(losses, pieces)
            scaler.unscale_(optimiser)
            clip_grad_norm_(model.parameters(), config.clip)
            scaler.step(optimiser)
            scaler.update()
            optimiser.zero_grad(set_to_none=True)
            shown.update()
            done, line = step + 1, {}
            save = due(done, config.save_every, config)
            if save or due(done, config.log_every, config):
                line = meter.read(world)
                line["rate"] = config.rate(step)
                if not math.isfinite(sum(line.values())):
                    text = f"after step {done}: {line}"
                    raise FloatingPointError(text)
            measured = due(done, config.evaluate_every, config)
            if evaluate and measured:
                line |= evaluated(model, evaluate)
                meter.start = time.perf_counter()
            if line:
                log.append({"step": done} | line)
                short = {k: f"{v:.3g}" for k, v in line.items()}
                shown.set_postfix(short)
            if run and rank == 0:
                if line:
                    run.write(log[-1])
                if save:
                    run.save(done, model, optimiser, scaler)
    model.eval()
    return log


def bar(config: TrainingConfig, start: int, shown: bool) -> tqdm:
    """Make a progress bar, or one that shows nothing."""
    return tqdm(total=config.steps, initial=start, unit="step", disable=not shown)


def due(done: int, every: int, config: TrainingConfig) -> bool:
    """Whether something that comes `every` so often comes now."""
    return done % every == 0 or done == config.steps


def evaluated(model: nn.Module, evaluate: Evaluate) -> dict[str, float]:
    """Measure the model without dropout or gradients."""
    model.eval()
    with torch.no_grad():
        numbers = evaluate(model)
    model.train()
    return {name: float(value) for name, value in numbers.items()}


class Run:
    """A folder with a run's config, its log, and two checkpoints.

    A checkpoint is a folder `step-00000500` that is written under
    another name and then renamed, so that it is there whole or not
    at all.
    """

    def __init__(
        self,
        folder: str | Path,
        config: TrainingConfig,
        facts: Mapping[str, Any] | None,
    ) -> None:
        self.folder = Path(folder)
        self.log = self.folder / "log.jsonl"
        said = asdict(config) | dict(facts or {})
        plain = json.dumps(said, default=lambda x: x.item())  # numpy's numbers
        self.said = json.loads(plain)

    def checkpoints(self) -> list[Path]:
        """List what may be gone on from, the newest first."""
        return sorted(self.folder.glob("step-*"), reverse=True)

    def resume(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
    ) -> tuple[int, list[dict[str, float]]]:
        """Load the newest whole checkpoint, if there is one.

        Returns:
            The steps done, and the log up to there.
        """
        broken = []
        for path in self.checkpoints():
            try:
                tensors, said = read_checkpoint(path)
            except (SafetensorError, OSError, ValueError) as error:
                broken.append(f"{path}: {error}")
                continue
            self.agree(said["config"])
            put_tensors(tensors, model, optimiser)
            if scale := said.get("scaler"):
                scaler.load_state_dict(scale)
            if broken:
                warnings.warn(
                    f"{'; '.join(broken)}. Going on from {path.name}",
                    stacklevel=3,
                )
            return said["step"], self.read_log(said["step"])
        if broken:
            raise ValueError(
                f"no checkpoint can be read ({'; '.join(broken)}): to "
                f"begin again, delete {self.folder}"
            )
        return 0, self.read_log(0)

    def agree(self, said: dict[str, Any]) -> None:
        """Refuse to go on with a run of other numbers."""
        differ = [
            f"{name} was {said.get(name)!r} and is {self.said.get(name)!r}"
            for name in sorted(said.keys() | self.said.keys())
            if said.get(name) != self.said.get(name)
        ]
        hint = ""
        if said.get("steps") != self.said["steps"]:
            hint = (
                ". A run whose rate has fallen to 0 is not made longer: "
                f"begin in another folder, from {self.folder / 'model'}"
            )
        elif said.get("starting weights") != self.said["starting weights"]:
            hint = (
                ". A model that was trained since is another one, and so is "
                "one with a new head, unless torch.manual_seed went before: "
                "make or load it as at first"
            )
        if differ:
            raise ValueError(
                f"{self.folder} holds another run: {'; '.join(differ)}. "
                f"Use what it began with, or another folder{hint}"
            )

    def read_log(self, step: int) -> list[dict[str, float]]:
        """Read the log up to a step, and cut off what comes after."""
        lines = []
        if self.log.exists():
            for text in self.log.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(json.JSONDecodeError):  # cut short
                    lines.append(json.loads(text))
        lines = [line for line in lines if line["step"] <= step]
        if int(os.environ.get("RANK", "0")) == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            aside = self.log.with_suffix(".new")
            text = "".join(json.dumps(x) + "\n" for x in lines)
            aside.write_text(text, encoding="utf-8")
            os.replace(aside, self.log)
        return lines

    def write(self, line: dict[str, float]) -> None:
        """Add a line to the log."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def save(
        self,
        step: int,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
    ) -> None:
        """Write a checkpoint; then drop all but it and the last.

        Raises:
            OSError: it could not be written; the last is whole.
        """
        path = self.folder / f"step-{step:08d}"
        aside = self.folder / f".saving-{path.name}"
        shutil.rmtree(aside, ignore_errors=True)
        try:
            aside.mkdir(parents=True)
            save_file(get_tensors(model, optimiser), aside / TENSORS)
            said = {
                "step": step, "config": self.said,
                "scaler": scaler.state_dict(),
            }  # fmt: skip
            text = json.dumps(said, indent=1) + "\n"
            (aside / STATE).write_text(text, encoding="utf-8")
            for file in (aside / TENSORS, aside / STATE, aside):
                sync(file)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(aside, ignore_errors=True)
            last = next((one.name for one in self.checkpoints()), "none")
            raise OSError(
                f"{path} could not be written ({error}); the last "
                f"checkpoint is {last}. Make room, then start again"
            ) from error
        shutil.rmtree(path, ignore_errors=True)  # a broken one
        os.replace(aside, path)
        sync(self.folder)
        for old in self.checkpoints()[2:]:
            shutil.rmtree(old)


TENSORS, STATE = "tensors.safetensors", "state.json"


def digest(parts: Iterable[bytes | memoryview]) -> str:
    """Tell one content from another: 16 digits of its SHA-256."""
    made = hashlib.sha256()
    for part in parts:
        made.update(part)
    return made.hexdigest()[:16]


def weights_digest(model: nn.Module) -> str:
    """Tell one set of weights from another, wherever they are."""
    parts: list[bytes | memoryview] = []
    for name, tensor in model.state_dict().items():
        flat = tensor.detach().cpu().contiguous().flatten()
        parts += [name.encode(), flat.view(torch.uint8).numpy().data]
    return digest(parts)


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    folder = path.is_dir()
    if folder and os.name == "nt":
        return  # Windows opens no folder, and keeps its list by itself
    # It waits for a file only where one may write to it.
    handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def get_tensors(
    model: nn.Module, optimiser: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Name everything that a run carries from step to step."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for kind, value in optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser.{kind}.{name}"] = value
    return own_memory(tensors)


def put_tensors(
    tensors: dict[str, Tensor],
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
) -> None:
    """Undo `get_tensors`."""
    model.load_state_dict(
        {
            name.removeprefix("model."): tensor
            for name, tensor in tensors.items()
            if name.startswith("model.")
        }
    )
    for name, parameter in model.named_parameters():
        state = {}
        for kind in ("step", "exp_avg", "exp_avg_sq"):
            tensor = tensors.get(f"optimiser.{kind}.{name}")
            if tensor is not None:
                # a copy, since a tensor that was read holds its file open
                state[kind] = tensor.to(parameter.device, copy=True)
        if state:
            optimiser.state[parameter] = state


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint's tensors and what it says of itself."""
    said = json.loads((path / STATE).read_text(encoding="utf-8"))
    return load_file(path / TENSORS), said
