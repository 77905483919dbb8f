# Written by tools/tangle.py from
# book/source/training.md
# Edit that, not this.
"""The training loop: one step at a time, and a run that survives.

Everything random in step t is drawn from (seed, t), never from what
came before. So a run that stops goes on exactly by starting at the
next step with the same weights and optimiser.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from minibert.checkpoints import Run, weights_digest
from minibert.moved import moved
from minibert.spreading import spread
from minibert.steps import (
    Microbatch,
    backward,
    choose_precision,
    make_optimiser,
    processes,
    seed_step,
)
from minibert.stopping import Stop

__all__ = ["TrainingConfig", "train"]

if not TYPE_CHECKING:  # names of 0.2
    __getattr__ = moved(__name__)


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
        packed: leave out the padding, as `minibert.batching.pack`:
            of batches of unlike lengths, less is computed.
        log_every: steps between two lines of the log.
        evaluate_every: steps between two evaluations.
        save_every: steps between two checkpoints.
        keep: how many checkpoints stay, the newest.
        time_limit: seconds after which the run saves a checkpoint
            and stops; None for no limit. It needs a folder.
        shard: give each of several processes a part of all weights,
            gradients and Adam's means, not a copy (FSDP). Not in
            float16.

    Raises:
        ValueError: a number that makes no run.

    >>> TrainingConfig(steps=100, warmup=10).learning_rate
    0.001
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
    packed: bool = False
    log_every: int = 50
    evaluate_every: int = 500
    save_every: int = 500
    keep: int = 2
    time_limit: float | None = None
    shard: bool = False

    def __post_init__(self) -> None:
        """Refuse what makes no run."""
        whole = ("steps", "batch_size", "accumulate", "log_every")
        for name in (*whole, "evaluate_every", "save_every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must be 1 or more, not {getattr(self, name)}"
                )
        if not 0 <= self.warmup <= self.steps:
            raise ValueError(
                f"warmup is {self.warmup}, not 0 to {self.steps} steps"
            )
        for name in ("learning_rate", "clip", "time_limit"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive, not {value}")
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


Batches = Callable[[int, int, int], list[Microbatch]]
Evaluate = Callable[[nn.Module], dict[str, float]]
Enough = Callable[[list[dict[str, float]]], bool]


class Meter:
    """Losses and tokens since it was last read."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin again, now."""
        self.losses: dict[str, Tensor] = {}
        self.tokens = self.steps = 0
        self.start = time.perf_counter()

    def add(self, losses: dict[str, Tensor], pieces: list[Microbatch]) -> None:
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


def train(
    model: nn.Module,
    batches: Batches,
    config: TrainingConfig,
    folder: str | Path | None = None,
    *,
    evaluate: Evaluate | None = None,
    settings: Mapping[str, Any] | None = None,
    enough: Enough | None = None,
    branch_from: str | Path | None = None,
    progress: bool = True,
) -> list[dict[str, float]]:
    """Train in place; go on where a run in `folder` stopped.

    Args:
        model: gives an output with its losses as fields. It is
            moved to the best device and stays there, in the end in
            eval mode; with `shard`, on the CPU.
        batches: called with step (from 0), rank and world, gives
            this process's `Microbatch`es of the step; the same ones
            each time.
            If it has a `state_dict`, checkpoints hold that too.
        config: the run's numbers.
        folder: for the log (`log.jsonl`) and checkpoints; None
            keeps nothing.
        evaluate: called with the model in eval mode, gives numbers.
        settings: further facts that must be the same when a run is
            resumed, such as a checksum of the rows. The starting
            weights must be, too, and all of `config` but `keep`,
            `time_limit` and `shard`.
        enough: called with the log before each step; true ends the
            run there.
        branch_from: another run's checkpoint, `RUN/step-00000500`,
            to go on from at its step, in a folder of one's own.
            Besides what may always differ, `steps`,
            `learning_rate`, `warmup`, `weight_decay`, `clip`,
            `seed` and what ends with `_every` may be others.
        progress: whether to show a bar.

    Returns:
        The lines of the log, those from before a stop included.
        Each has its `step`. Every `log_every` and `save_every`
        steps and at the end come the losses, as means since they
        last came, `rate` and `tokens_per_second`; every
        `evaluate_every` and at the end what `evaluate` gave.

    Raises:
        ValueError: `folder` holds a run of another config, of other
            settings, or from other starting weights, or none of its
            checkpoints can be read; a branch that changes more than
            it may, has no folder, or no step left; a time limit
            without a folder; see `spread`.
        FileNotFoundError: no such checkpoint to branch from.
        OSError: a checkpoint could not be written; the one before
            is whole.
        FloatingPointError: a loss is infinite or no number. This
            is seen where a line of the log is due.
        Stopped: with a folder, after SIGTERM, SIGUSR1 or the time
            limit, and a checkpoint to go on from.

    >>> from minibert import BertConfig, BertForMaskedLM
    >>> sizes = BertConfig(vocab_size=99, num_hidden_layers=1)
    >>> model = BertForMaskedLM(sizes)
    >>> row = torch.tensor([[2, 7, 3]])
    >>> inputs = {"input_ids": row, "labels": row}
    >>> def batches(step, rank, world):
    ...     return [Microbatch(inputs, {"loss": 3})]
    >>> config = TrainingConfig(steps=3)
    >>> log = train(model, batches, config, progress=False)
    >>> log[-1]["step"]
    3
    """
    rank, world, device = processes()
    model.to(device).train()
    optimiser = make_optimiser(model, config)
    precision = choose_precision(config.bfloat16, device)
    scaler = precision.scaler
    run = open_run(
        folder, model, config, settings, branch_from, batches
    )
    start, log = 0, list[dict[str, float]]()
    if run:
        start, log = run.resume(model, optimiser, scaler)
    own = spread(model, optimiser, config, world)
    meter = Meter()
    stop = Stop(config.time_limit, run is not None, world)
    shown = progress_bar(config, start, progress and rank == 0)
    with torch.random.fork_rng(), shown, stop:
        for step in range(start, config.steps):
            if enough and enough(log):
                break
            seed_step(config.seed, step, rank)
            for group in own.optimiser.param_groups:
                group["lr"] = config.rate(step)
            pieces = batches(step, rank, world)
            losses = backward(own.model, pieces, world, precision)
            scaler.unscale_(own.optimiser)
            clip_grad_norm_(own.model.parameters(), config.clip)
            scaler.step(own.optimiser)
            scaler.update()
            own.optimiser.zero_grad(set_to_none=True)
            meter.add(losses, pieces)
            done = step + 1
            told = stop.told() and done < config.steps
            line = read_line(
                done, config, meter, own.inner, evaluate, told
            )
            log += [line] if line else []
            show(shown, line)
            if run and rank == 0:
                run.write(line)
            save = told or is_due(done, config.save_every, config)
            if run and save:
                own.collect()
                if rank == 0:
                    run.save(done, model, optimiser, scaler)
            if told:
                stop.leave(done)
    own.collect()
    model.eval()
    return log


def progress_bar(config: TrainingConfig, start: int, shown: bool) -> tqdm:
    """Make a progress bar, or one that shows nothing."""
    return tqdm(total=config.steps, initial=start, unit="step", disable=not shown)


def is_due(done: int, every: int, config: TrainingConfig) -> bool:
    """Whether something that comes `every` so often comes now."""
    return done % every == 0 or done == config.steps


def open_run(
    folder: str | Path | None,
    model: nn.Module,
    config: TrainingConfig,
    settings: Mapping[str, Any] | None,
    branch_from: str | Path | None,
    batches: Batches,
) -> Run | None:
    """Open a run's folder, if there is to be one."""
    if folder is None:
        if branch_from is not None:
            raise ValueError("a branch needs a folder of its own")
        return None
    begun: dict[str, Any] = {"starting weights": weights_digest(model)}
    own = asdict(config) | dict(settings or {}) | begun
    for name in ("time_limit", "shard"):  # may differ when it goes on
        del own[name]
    return Run(folder, own, own.pop("keep"), branch_from, batches)


def read_line(
    done: int,
    config: TrainingConfig,
    meter: Meter,
    model: nn.Module,
    evaluate: Evaluate | None,
    last: bool,
) -> dict[str, float]:
    """Make the log's line of a step; empty where none is due.

    It is due after the last step before a stop, too.

    Raises:
        FloatingPointError: a loss that is not a number.
    """
    line: dict[str, float] = {}
    every = (config.save_every, config.log_every)
    if last or any(is_due(done, number, config) for number in every):
        line = meter.read(processes().world) | {"rate": config.rate(done - 1)}
        if not math.isfinite(sum(line.values())):
            raise FloatingPointError(f"after step {done}: {line}")
    if evaluate and is_due(done, config.evaluate_every, config):
        line |= run_evaluation(model, evaluate)
        meter.start = time.perf_counter()
    return {"step": done} | line if line else {}


def show(bar: tqdm, line: dict[str, float]) -> None:
    """Move the progress bar by a step; show the log's line."""
    bar.update()
    if line:
        bar.set_postfix({k: f"{v:.3g}" for k, v in line.items() if k != "step"})


def run_evaluation(model: nn.Module, evaluate: Evaluate) -> dict[str, float]:
    """Measure the model without dropout or gradients."""
    model.eval()
    with torch.no_grad():
        numbers = evaluate(model)
    model.train()
    return {name: float(value) for name, value in numbers.items()}
