"""What the tests share: where they run, and in which numbers.

MINIBERT_DEVICE (cpu, cuda) and MINIBERT_DTYPE (float32, bfloat16) choose; see
experiments/gpu.py. On a machine without the data packages, a test that needs one skips
where MINIBERT_DEVICE is set. MINIBERT_WHEEL insists on an installed package. On Linux,
tests meet Windows's rule about files in use.
"""

import contextlib
import functools
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import minibert

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "experiments")]


def pytest_configure() -> None:
    """Refuse to test these files where the installed package is meant."""
    if "MINIBERT_WHEEL" in os.environ and Path(minibert.__file__).parent.parent == ROOT:
        raise pytest.UsageError("minibert comes from here, not from its wheel: run pytest itself")


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


def in_use() -> set[str]:
    """The files that this process has open or mapped into its memory (on Linux)."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    found = {line.split(maxsplit=5)[-1] for line in maps}
    for one in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            found.add(os.readlink(one))
    return found


def strict(what: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that replaces or removes files refuse one that is in use."""

    @functools.wraps(what)
    def careful(*paths: Any, **more: Any) -> Any:
        if more.get("dir_fd") is None:
            for path in paths[:2]:
                if isinstance(path, (str, os.PathLike)):
                    whole = os.path.realpath(path)
                    for held in in_use():
                        if held == whole or held.startswith(whole + os.sep):
                            raise PermissionError(13, "Windows refuses what is open", held)
        return what(*paths, **more)

    return careful


@pytest.fixture(autouse=True)
def as_strict_as_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows replaces, removes and writes over no file in use; let no test rely on it."""
    if Path("/proc/self/maps").exists():
        for name in ("replace", "rename", "remove", "unlink"):
            monkeypatch.setattr(os, name, strict(getattr(os, name)))
        for module, name in ((shutil, "rmtree"), (safetensors.torch, "serialize_file")):
            monkeypatch.setattr(module, name, strict(getattr(module, name)))
