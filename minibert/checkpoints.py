# Written by tools/tangle.py from
# book/source/weights.md
# Edit that, not this.
"""A run's folder: its settings, its log, its newest checkpoints.

A checkpoint is written whole or not at all, and a run goes on only
from one that began with the same settings. A branch starts from
another run's checkpoint, with other numbers, in its own folder.
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

from minibert.checks import brief
from minibert.files import read_json
from minibert.weights import own_memory

__all__: list[str] = []


class Run:
    """A folder with a run's config, its log, its newest checkpoints.

    A checkpoint is a folder `step-00000500` that is written under
    another name and then renamed, so that it is there whole or not
    at all.

    Args:
        folder: where they are.
        settings: what a checkpoint must agree with.
        keep: how many checkpoints stay.
        branch_from: another run's checkpoint, which this one starts
            from while it has none; `BRANCHED` settings may differ.
        data: where the rows come from; where it has a `state_dict`,
            as a stream does, that is saved too.
    """

    def __init__(
        self,
        folder: str | Path,
        settings: Mapping[str, Any],
        keep: int = 2,
        branch_from: str | Path | None = None,
        data: Any = None,
    ) -> None:
        self.folder, self.keep, self.data = Path(folder), keep, data
        self.log = self.folder / LOG
        text = json.dumps(dict(settings), default=lambda x: x.item())  # numpy's
        self.settings = json.loads(text)
        self.origin = None
        if branch_from is not None:
            self.origin = Path(branch_from).resolve()
            self.settings[ORIGIN] = "/".join(self.origin.parts[-2:])

    def checkpoints(self) -> list[Path]:
        """List what may be gone on from, the newest first."""
        return list_checkpoints(self.folder)[::-1]

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
                broken.append(f"{path}: {brief(error)}")
                continue
            self.check_settings(state["config"])
            try:
                put_state(tensors, state, model, optimiser, scaler)
                self.put_data(state)
            except ValueError as error:
                broken.append(f"{path} {brief(error)}")
                continue
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
        if self.origin is not None:
            return self.begin_branch(self.origin, model, optimiser, scaler)
        return 0, self.read_log(0)

    def begin_branch(
        self,
        origin: Path,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
    ) -> tuple[int, list[dict[str, float]]]:
        """Start from another run's checkpoint, which stays as it is.

        Returns:
            The steps done, and the other run's log up to there.
        """
        try:
            tensors, state = read_checkpoint(find_checkpoint(origin))
        except (SafetensorError, ValueError) as error:
            there = [x.name for x in list_checkpoints(origin.parent)]
            raise ValueError(
                f"{origin} cannot be read ({brief(error)}); checkpoints there: "
                f"{', '.join(there)}"
            ) from error
        step = state["step"]
        check_branch(origin, step, state["config"], self.settings)
        try:
            put_state(tensors, state, model, optimiser, scaler)
            self.put_data(state)
        except ValueError as error:
            raise ValueError(f"{origin} {error}") from None
        lines = read_lines(origin.parent / LOG, step)
        log = only_numbers(lines)
        if int(os.environ.get("RANK", "0")) == 0:
            lines = lines or [{"step": step}]
            lines[-1][ORIGIN] = self.settings[ORIGIN]
            self.write_log(lines)
            self.save(step, model, optimiser, scaler)
        return step, log

    def put_data(self, state: dict[str, Any]) -> None:
        """Let a stream go on where a checkpoint says."""
        if hasattr(self.data, "load_state_dict"):
            if not isinstance(state.get("data"), dict):
                raise ValueError("does not say where its stream was")
            self.data.load_state_dict(state["data"])

    def check_settings(self, saved: dict[str, Any]) -> None:
        """Refuse to go on with a run of other settings."""
        own, hint = self.settings, ""
        differ = find_differences(saved, own)
        if self.origin is not None:
            hint = ": a branch starts in a new one"
        elif saved.get("steps") != own["steps"]:
            hint = (
                ". A run whose rate has fallen to 0 is not made longer: "
                f"begin in another folder, from {self.folder / 'model'}, "
                "or branch_from a checkpoint before its end"
            )
        elif saved.get("starting weights") != own["starting weights"]:
            hint = (
                ". A model that was trained since is another one, and so is "
                "one with a new head, unless torch.manual_seed went before: "
                "make or load it as at first"
            )
        elif {text.split()[0] for text in differ} <= set(BRANCHED):
            hint = ", which branch_from lets start at one of its checkpoints"
        if differ:
            raise ValueError(
                f"{self.folder} holds another run: {brief('; '.join(differ), 1500)}. "
                f"Use what it began with, or another folder{hint}"
            )

    def read_log(self, step: int) -> list[dict[str, float]]:
        """Read the log up to a step, and cut off what comes after."""
        lines = read_lines(self.log, step)
        if int(os.environ.get("RANK", "0")) == 0:
            self.write_log(lines)
        return only_numbers(lines)

    def write_log(self, lines: list[dict[str, Any]]) -> None:
        """Write the log anew."""
        self.folder.mkdir(parents=True, exist_ok=True)
        aside = self.log.with_suffix(".new")
        text = "".join(json.dumps(x) + "\n" for x in lines)
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, self.log)

    def write(self, line: dict[str, float]) -> None:
        """Add a line to the log, unless it is empty."""
        if line:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def save(
        self,
        step: int,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
    ) -> None:
        """Write a checkpoint; then drop all but the newest `keep`.

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
            if hasattr(self.data, "state_dict"):
                state["data"] = self.data.state_dict()
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
        for old in self.checkpoints()[self.keep :]:
            shutil.rmtree(old)


TENSORS, STATE, LOG = "tensors.safetensors", "state.json", "log.jsonl"
ORIGIN = "branched from"  # a setting, and in the log's line of that step
BRANCHED = (
    "steps", "learning_rate", "warmup", "weight_decay", "clip", "seed",
    "log_every", "evaluate_every", "save_every",
)  # fmt: skip


def list_checkpoints(folder: Path) -> list[Path]:
    """List a run's checkpoints, the oldest first."""
    return sorted(folder.glob("step-*"))


def find_checkpoint(path: str | Path) -> Path:
    """Give a checkpoint's folder, if it is one.

    Raises:
        FileNotFoundError: it is none; with those that are there.
    """
    path = Path(path)
    if (path / STATE).is_file():
        return path
    folder = path if list_checkpoints(path) else path.parent
    names = ", ".join(x.name for x in list_checkpoints(folder)) or "none"
    raise FileNotFoundError(f"{path} is no checkpoint; {folder} has {names}")


def find_differences(
    saved: Mapping[str, Any], own: Mapping[str, Any]
) -> list[str]:
    """Say in which settings two runs differ."""
    differ = []
    for name in sorted(saved.keys() | own.keys()):
        old, new = saved.get(name), own.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            differ += [f"{name}.{text}" for text in find_differences(old, new)]
        elif name not in saved and new is False:
            continue  # a switch that is younger than the run, and off
        elif old != new:
            old, new = brief(repr(old)), brief(repr(new))
            differ.append(f"{name} was {old} and is {new}")
    return differ


def check_branch(
    origin: Path, step: int, saved: dict[str, Any], own: dict[str, Any]
) -> None:
    """Refuse a branch that is of another run, or has nothing to do."""
    free = (*BRANCHED, ORIGIN, "starting weights")
    fixed = [{k: v for k, v in x.items() if k not in free} for x in (saved, own)]
    if differ := find_differences(*fixed):
        raise ValueError(
            f"{origin} is of another run: {brief('; '.join(differ), 1500)}. A branch "
            f"changes {', '.join(BRANCHED)}; for more, begin with its weights"
        )
    if step >= own["steps"]:
        raise ValueError(
            f"{origin} has done {step} steps, and steps is {own['steps']}: "
            "a branch counts from the other run's first"
        )


def read_lines(log: Path, step: int) -> list[dict[str, Any]]:
    """Read a log up to a step; what is no line of one is dropped."""
    lines = []
    if log.exists():
        for text in log.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                lines.append(json.loads(text))
    return [
        line for line in lines
        if isinstance(line, dict)
        and isinstance(line.get("step"), int)
        and line["step"] <= step
    ]  # fmt: skip


def only_numbers(lines: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Leave out where a line says that a branch starts."""
    return [{k: v for k, v in x.items() if k != ORIGIN} for x in lines]


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
    """Read a checkpoint's tensors and its `state.json`.

    Raises:
        SafetensorError, OSError, ValueError: it is broken.
    """
    state = read_json(path / STATE)
    step, config = state.get("step"), state.get("config")
    if not isinstance(step, int) or not isinstance(config, dict):
        raise ValueError(f"{path / STATE} has no step and no config")
    return load_file(path / TENSORS), state


def put_state(
    tensors: dict[str, Tensor],
    state: dict[str, Any],
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> None:
    """Put a checkpoint into what is trained, if all of it fits.

    Raises:
        ValueError: it is of another model, or damaged.
    """
    saved = {k: tuple(v.shape) for k, v in tensors.items() if k.startswith("model.")}
    own = {f"model.{k}": tuple(v.shape) for k, v in model.state_dict().items()}
    if differ := find_differences(saved, own):
        raise ValueError(f"is of another model: {brief('; '.join(differ), 1500)}")
    for name, parameter in model.named_parameters():
        for kind in ("exp_avg", "exp_avg_sq"):
            mean = tensors.get(f"optimiser.{kind}.{name}", parameter)
            if mean.shape != parameter.shape:
                raise ValueError(f"has a mean {tuple(mean.shape)} for {name}")
    scale = state.get("scaler")
    if scale and scaler.is_enabled():
        names = scaler.state_dict().keys()
        right = isinstance(scale, dict) and scale.keys() == names
        if not right or not all(type(x) in (int, float) for x in scale.values()):
            raise ValueError(f"has the loss scale {brief(scale)}, not numbers for {[*names]}")
        scaler.load_state_dict(scale)
    put_tensors(tensors, model, optimiser)
