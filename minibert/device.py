# Written by tools/tangle.py from
# book/source/attention.md
# book/source/embeddings.md
# book/source/training.md
# Edit that, not this.
"""Where to compute, and in which numbers: decided here alone."""

import os
import platform
import time

import torch
from torch import Tensor

__all__ = ["Device", "best_device", "best_dtype", "can_look", "slowdown"]

Device = str | torch.device


def find_device(
    name: Device, said_by: str = "device"
) -> torch.device:
    """Give a device by name; an error names what said it.

    Raises:
        ValueError: it is not there.
    """
    try:
        return torch.empty(0, device=name).device  # cuda is cuda:0
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(
            f"{said_by} is {name!r}, which cannot be used here: "
            f"{str(error).splitlines()[0]}. Name another, such as cpu, "
            "or none for the best that is here"
        ) from None


def best_device() -> torch.device:
    """Choose where to compute: CUDA, else Apple's MPS, else the CPU.

    The variable MINIBERT_DEVICE overrules it (`cpu`, `cuda:1`, ...).

    Raises:
        ValueError: it names a device that is not there.
    """
    found = "cpu"
    if torch.backends.mps.is_available():
        found = "mps"
    if torch.cuda.is_available():
        found = "cuda"
    name = os.environ.get("MINIBERT_DEVICE") or found
    return find_device(name, "MINIBERT_DEVICE")


def can_look(tensor: Tensor) -> bool:
    """Whether a check may look at values.

    False on the meta device and while `torch.compile` traces: no
    values there. False on a GPU while gradients are recorded: the
    program would have to wait for the GPU.
    """
    if tensor.is_meta or torch.compiler.is_compiling():
        return False
    waits = tensor.device.type != "cpu"
    return not (waits and torch.is_grad_enabled())


def best_dtype(device: torch.device) -> torch.dtype:
    """Choose what the matrix products of training are computed in.

    bfloat16 where the hardware multiplies it: CUDA of capability
    8.0 and above, an x86 CPU with AVX-512 BF16, an ARM CPU with
    BF16. float16 on CUDA 7.0 and 7.5 (V100, T4), which
    multiply that. float32 elsewhere. The variable MINIBERT_DTYPE
    overrules it: `float32`, `bfloat16` or `float16`.

    Args:
        device: where the training is to run.

    Raises:
        ValueError: the variable names no such type.
    """
    kinds = (torch.float32, torch.bfloat16, torch.float16)
    known = {str(kind).removeprefix("torch."): kind for kind in kinds}
    if name := os.environ.get("MINIBERT_DTYPE"):
        if name not in known:
            raise ValueError(
                f"MINIBERT_DTYPE is {name!r}, not one of "
                f"{', '.join(known)}"
            )
        return known[name]
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability >= (8, 0):
            return torch.bfloat16
        tensor_cores = capability >= (7, 0)
        return torch.float16 if tensor_cores else torch.float32
    native = (
        device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
    if platform.machine() in ("x86_64", "AMD64"):
        # oneDNN says yes to any AVX-512, and converts where it must
        has = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)
        used = torch.backends.cpu.get_cpu_capability()
        native = native and has() and used == "AVX512"
    return torch.bfloat16 if native else torch.float32


def slowdown(device: torch.device, dtype: torch.dtype) -> float:
    """Measure how many times as long a product takes as in float32.

    The product is (512, 384) @ (384, 1536), a layer of MiniLM; the
    fastest of three.
    """
    times = []
    for kind in (torch.float32, dtype):
        a = torch.ones(512, 384, device=device, dtype=kind)
        b = torch.ones(384, 1536, device=device, dtype=kind)
        runs = []
        for _ in range(4):  # the first warms up
            start = time.perf_counter()
            (a @ b)[0, 0].item()  # waits for a GPU
            runs.append(time.perf_counter() - start)
        times.append(min(runs[1:]))
    return times[1] / times[0]
