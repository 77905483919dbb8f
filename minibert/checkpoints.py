# Written by tools/tangle.py from
# book/source/weights.md
# Edit that, not this.
"""A run's folder: its settings, its log, its two checkpoints.

A checkpoint is written whole or not at all, and a run goes on only
from one that began with the same settings.
"""

import contextlib
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from minibert.weights import own_memory

__all__: list[str] = []


class Run:
    """A folder with a run's config, its log, and two checkpoints.

    A checkpoint is a folder `step-00000500` that is written under
    another name and then renamed, so that it is there whole or not
    at all.
    """

    def __init__(
        self,
        folder: str | Path,
        settings: Mapping[str, Any],
    ) -> None:
        self.folder = Path(folder)
        self.log = self.folder / "log.jsonl"
        text = json.dumps(dict(settings), default=lambda x: x.item())  # numpy's
        self.settings = json.loads(text)

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
                tensors, state = read_checkpoint(path)
            except (SafetensorError, OSError, ValueError) as error:
                broken.append(f"{path}: {error}")
                continue
            self.check_settings(state["config"])
            put_tensors(tensors, model, optimiser)
            if scale := state.get("scaler"):
                scaler.load_state_dict(scale)
            if broken:
                warnings.warn(
                    f"{'; '.join(broken)}. Going on from {path.name}",
                    stacklevel=3,
                )
            return state["step"], self.read_log(state["step"])
        if broken:
            raise ValueError(
                f"no checkpoint can be read ({'; '.join(broken)}): to "
                f"begin again, delete {self.folder}"
            )
        return 0, self.read_log(0)

    def check_settings(self, saved: dict[str, Any]) -> None:
        """Refuse to go on with a run of other settings."""
        own = self.settings
        differ = [
            f"{name} was {saved.get(name)!r} and is {own.get(name)!r}"
            for name in sorted(saved.keys() | own.keys())
            if saved.get(name) != own.get(name)
        ]
        hint = ""
        if saved.get("steps") != own["steps"]:
            hint = (
                ". A run whose rate has fallen to 0 is not made longer: "
                f"begin in another folder, from {self.folder / 'model'}"
            )
        elif saved.get("starting weights") != own["starting weights"]:
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
            state = {
                "step": step, "config": self.settings,
                "scaler": scaler.state_dict(),
            }  # fmt: skip
            text = json.dumps(state, indent=1) + "\n"
            (aside / STATE).write_text(text, encoding="utf-8")
            for file in (aside / TENSORS, aside / STATE, aside):
                flush_to_disk(file)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(aside, ignore_errors=True)
            last = next((one.name for one in self.checkpoints()), "none")
            raise OSError(
                f"{path} could not be written ({error}); the last "
                f"checkpoint is {last}. Make room, then start again"
            ) from error
        shutil.rmtree(path, ignore_errors=True)  # a broken one
        os.replace(aside, path)
        flush_to_disk(self.folder)
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


def flush_to_disk(path: Path) -> None:
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
    """Read a checkpoint's tensors and its `state.json`."""
    state = json.loads((path / STATE).read_text(encoding="utf-8"))
    return load_file(path / TENSORS), state
