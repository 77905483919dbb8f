# Written by tools/tangle.py from
# book/source/day.md
# Edit that, not this.
"""A model over several processes: a copy for each, or a share."""

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from minibert.device import best_dtype
from minibert.steps import make_optimiser, processes

if TYPE_CHECKING:  # which uses this module
    from minibert.training import TrainingConfig

__all__ = ["Spread", "spread"]


class Spread(NamedTuple):
    """What a process trains.

    Attributes:
        model: what a step calls.
        inner: the same without a wrapper, to be measured.
        optimiser: of its parameters.
        collect: brings the whole model and its optimiser up to
            date; all processes call it together.
    """

    model: nn.Module
    inner: nn.Module
    optimiser: torch.optim.Optimizer
    collect: Callable[[], None]


def spread(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    config: "TrainingConfig",
    world: int,
) -> Spread:
    """Give each of `world` processes a copy of a model, or a share.

    Args:
        model: whole, on this process's device.
        optimiser: of its parameters, and where it stands.
        config: says whether to compile and whether to `shard`.
        world: how many processes there are.

    Raises:
        ValueError: shares in float16, or of a torch without FSDP2.
    """
    inner, collect = model, nothing
    if config.shard and world > 1:
        inner, optimiser, collect = share_out(
            model, optimiser, config, world
        )
    wrapped: Any = torch.compile(inner) if config.compile else inner
    if world > 1 and not config.shard:
        wrapped = DistributedDataParallel(wrapped)
    return Spread(wrapped, inner, optimiser, collect)


def nothing() -> None:
    """Collect what is whole already."""


def share_out(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    config: "TrainingConfig",
    world: int,
) -> tuple[nn.Module, torch.optim.Optimizer, Callable[[], None]]:
    """Cut each tensor over the processes; the CPU has the whole.

    A layer is put together when it is computed, and dropped then.

    Returns:
        The model in shares, its optimiser, and what brings the
        whole ones up to date.

    Source: Zhao et al. 2023, PyTorch FSDP.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor, distribute_tensor

    device = processes().device
    half = best_dtype(device) == torch.float16
    if config.bfloat16 is None and half:
        raise ValueError(
            "shard does not go with float16: pass bfloat16=False"
        )
    shares = copy.deepcopy(model)
    mesh = init_device_mesh(device.type, (world,))
    for part in [*shares.modules()]:
        if isinstance(part, nn.ModuleList):
            for layer in part:
                fully_shard(layer, mesh=mesh)
    fully_shard(shares, mesh=mesh)
    own = make_optimiser(shares, config)
    news, olds = shares.parameters(), model.parameters()
    pairs = [*zip(news, olds, strict=True)]
    for new, old in pairs:
        for name, mean in optimiser.state.get(old, {}).items():
            if mean.shape == old.shape and isinstance(new, DTensor):
                mean = distribute_tensor(
                    mean, new.device_mesh, new.placements
                )
            own.state[new][name] = mean
    model.cpu()

    @torch.no_grad()
    def collect() -> None:
        for new, old in pairs:
            old.copy_(whole(new))
            for name, mean in own.state.get(new, {}).items():
                optimiser.state[old][name] = whole(mean).cpu()

    def whole(tensor: torch.Tensor) -> torch.Tensor:
        if isinstance(tensor, DTensor):
            return tensor.full_tensor()
        return tensor

    return shares, own, collect
