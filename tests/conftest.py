"""What the tests share: where they run, and in which numbers.

MINIBERT_DEVICE (cpu, cuda) and MINIBERT_DTYPE (float32, bfloat16) choose; see
tools/gpu.py. On a machine without the data packages, a test that needs one skips
where MINIBERT_DEVICE is set.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where to put models and tensors."""
    return torch.device(os.environ.get("MINIBERT_DEVICE", "cpu"))


@pytest.fixture(scope="session")
def dtype() -> torch.dtype:
    """The numbers to compute in."""
    return getattr(torch, os.environ.get("MINIBERT_DTYPE", "float32"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    try:
        return (yield)
    except ModuleNotFoundError as error:
        if "MINIBERT_DEVICE" in os.environ:
            pytest.skip(str(error))
        raise
