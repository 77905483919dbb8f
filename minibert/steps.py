# Written by tools/tangle.py from
# book/source/training.md
# Edit that, not this.
"""What one training step is made of: pieces, precision, optimiser.

Everything random in step t is drawn from (seed, t), never from what
came before.
"""

import contextlib
import os
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from minibert.device import best_device, best_dtype, slowdown

if TYPE_CHECKING:  # which uses this module
    from minibert.training import TrainingConfig

__all__ = ["Microbatch", "processes"]


class Microbatch(NamedTuple):
    """A part of a step's batch.

    Attributes:
        inputs: what the model is called with. `input_ids` must be
            among them: by it, or by `attention_mask`, tokens are
            counted.
        counts: which fields of the model's output are losses, and
            of how many things (masked words, pairs) each is the
            mean. The sum of these losses is learned from.
    """

    inputs: dict[str, Tensor]
    counts: dict[str, int]


class Processes(NamedTuple):
    """Who computes: process `rank`, from 0, of `world`, on `device`."""

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
    """Make a `Precision` from a config's setting; None is `best_dtype`."""
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
    model: nn.Module, config: "TrainingConfig"
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


def total_counts(
    pieces: list[Microbatch], world: int
) -> dict[str, int]:
    """Count what each loss of the whole step is a mean of."""
    names = list(pieces[0].counts)
    table = [[p.counts[n] for n in names] for p in pieces]
    sums = torch.tensor(table).sum(0)
    if world > 1:
        device = processes().device
        sums = sums.to(device)
        dist.all_reduce(sums)
    return dict(zip(names, sums.tolist(), strict=True))


def split_step(
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


def to_device(
    inputs: dict[str, Tensor], device: torch.device
) -> dict[str, Tensor]:
    """Send a model's inputs to where it is."""
    return {k: v.to(device, non_blocking=True) for k, v in inputs.items()}


def sending(
    model: nn.Module, last: bool
) -> contextlib.AbstractContextManager[None]:
    """Let processes exchange gradients after the last piece alone."""
    if last or not isinstance(model, DistributedDataParallel):
        return contextlib.nullcontext()
    return model.no_sync()


def backward(
    model: nn.Module,
    pieces: list[Microbatch],
    world: int,
    precision: Precision,
) -> dict[str, Tensor]:
    """Add up the gradients of a step, piece by piece.

    Each loss is the mean over all pieces of the step, on all
    processes: a piece's mean is weighted by its share of the count.

    Args:
        model: in training mode.
        pieces: this process's.
        world: how many processes there are.
        precision: of the products.

    Returns:
        This process's share of each loss; the shares of all
        processes add up to the loss.
    """
    device = next(model.parameters()).device
    totals = total_counts(pieces, world)
    shares: dict[str, Tensor] = {}
    for number, piece in enumerate(pieces):
        inputs = to_device(piece.inputs, device)
        with sending(model, number == len(pieces) - 1):
            with precision.cast:
                output = model(**inputs)
            parts = {
                name: getattr(output, name)
                * (count / max(totals[name], 1))
                for name, count in piece.counts.items()
            }
            # PyTorch averages gradients over the processes; with
            # the loss multiplied by world, the average is a sum
            loss = torch.stack([*parts.values()]).sum() * world
            precision.scaler.scale(loss).backward()
        for name, part in parts.items():
            shares[name] = shares.get(name, 0.0) + part.detach()
    return shares
