"""Which instructions the processor has, and which of them a run may use."""

from __future__ import annotations

import torch
from quantisation import flags

NOT_HELD = "ONNX Runtime and OpenVINO take what the processor has: no variable holds them to AVX2"


def held_to_avx2() -> bool:
    """Whether torch was told to leave out what the processor has beyond AVX2."""
    return "avx512f" in flags() and torch.backends.cpu.get_cpu_capability() != "AVX512"


def instruction_set() -> str:
    """Name what sentence-transformers' int8 is made for, of the sets that it knows."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return "avx2"
    return "avx512_vnni" if "avx512_vnni" in flags() else "avx512"
