"""What the flags of the commands are made of, and how a command is run.

Nothing here needs torch: `minibert --help` must not wait for it.
"""

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, fields, replace
from inspect import cleandoc
from io import TextIOWrapper
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from minibert.tokens import Tokenizer
    from minibert.training import TrainingConfig

__all__: list[str] = []

NEW: dict[str, Any] = {  # a model from nothing; another has its own
    "layers": 2,
    "hidden_size": 128,
    "heads": 2,
    "vocabulary": "leads-4096",
    "initializer_range": None,  # 1 / sqrt(hidden size)
    "dropout": 0.1,
}
STARTED = time.monotonic()  # of the command, but for reading Python
DATA = ("leadqa", "squad", "squad-all")


def refuse(message: str) -> NoReturn:
    """Refuse flags that each are right, but not together."""
    raise click.UsageError(message)


def flag(name: str) -> str:
    """Write a name as a flag."""
    return "--" + name.replace("_", "-")


class Read(click.ParamType):  # type: ignore[type-arg] # generic from Click 8.5 on
    """The type of a flag: a function that reads its text."""

    name = "value"

    def __init__(self, how: Callable[[str], object]) -> None:
        self.how = how

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        """Read it, or refuse it."""
        try:
            return self.how(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


def yes_no(text: str) -> bool:
    """Read "yes" or "no"."""
    if text not in ("yes", "no"):
        raise ValueError(f"{text!r} is neither yes nor no")
    return text == "yes"


def task(text: str) -> str | None:
    """Read what is trained beside masked words."""
    if text not in ("next", "order", "words"):
        raise ValueError(f"{text!r} is none of next, order, words")
    return None if text == "words" else text


def number(
    kind: type[int] | type[float], words: str, fits: Callable[[float], bool]
) -> Callable[[str], float]:
    """Make a function that reads a number, and refuses what does not fit."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")  # does not fit
        if not fits(value):
            raise ValueError(f"{text!r} is no {words}")
        return value

    return read


MOST = 2**63  # of a whole number: more, and numpy or torch cannot count it
positive_int = number(int, "whole number of 1 or more, below 2**63", lambda x: 1 <= x < MOST)
row = number(int, "whole number of 5 or more, below 2**63", lambda x: 5 <= x < MOST)
natural = number(int, "whole number of 0 or more, below 2**63", lambda x: 0 <= x < MOST)
port = number(int, "port, 0 to 65535", lambda x: 0 <= x <= 65535)
threads = number(int, "whole number of 1 or more, at most 1024", lambda x: 1 <= x <= 1024)
positive = number(float, "number above 0, below 1e12", lambda x: 0 < x < 1e12)
not_negative = number(float, "number of 0 or more, below 1e12", lambda x: 0 <= x < 1e12)
finite = number(float, "number between -1e12 and 1e12", lambda x: -1e12 < x < 1e12)
share = number(float, "number from 0 to 1", lambda x: 0 <= x <= 1)
positive_share = number(float, "number above 0, at most 1", lambda x: 0 < x <= 1)
not_all = number(float, "number of 0 or more, below 1", lambda x: 0 <= x < 1)

def duration(text: str) -> float:
    """Read "23:30:00", or "1-12:00:00" with days, as seconds."""
    found = re.fullmatch(r"(?:(\d{1,3})-)?(\d{1,4}):([0-5]\d):([0-5]\d)", text)
    days, hours, minutes, seconds = (int(x or 0) for x in found.groups()) if found else [0] * 4
    whole = ((24 * days + hours) * 60 + minutes) * 60 + seconds
    if not whole:
        raise ValueError(f"{text!r} is no time: write hours, minutes and seconds, 23:30:00")
    return float(whole)


READ: dict[object, Callable[[str], object]] = {  # by a field's type
    int: positive_int,
    float: positive,
    bool: yes_no,
    bool | None: yes_no,
}
READ |= {  # or, where that is not enough, by its name
    "warmup": natural,
    "seed": natural,
    "weight_decay": not_negative,
    "mask_probability": positive_share,
    "max_length": row,  # [CLS] a [SEP] b [SEP]
    "task": task,
    "time_limit": duration,
}
SAID = {  # what a docstring says in Python's words
    "bfloat16": "yes or no: compute products in it (default: as the hardware does best)",
    "time_limit": "stop after so long, 23:30:00, with a checkpoint to go on from, and end "
    "with 75 (default: no limit)",
    "task": "next, order, or words for masked words alone (default: next)",
}


def meanings(kind: "type[TrainingConfig]") -> dict[str, str]:
    """Find what each number of a config means, in its docstring."""
    text = "\n".join(cleandoc(one.__doc__ or "") for one in kind.__mro__)
    found = re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", text, re.MULTILINE)
    return {name: " ".join(what.split()).rstrip(".") for name, what in found}


def options(kind: "type[TrainingConfig]", *without: str) -> Iterator[click.Option]:
    """Make a flag of every number of a run's config."""
    told = meanings(kind)
    for one in fields(kind):
        if one.name in without:
            continue
        how = READ[one.name if one.name in READ else one.type]
        needed = one.default is MISSING
        default: object = one.default
        text = told.get(one.name, "")
        if how is yes_no:
            default, text = "yes" if default else "no", f"yes or no: {text}"
        text += " (needed)" if needed else f" (default: {default})"
        yield click.Option(
            [flag(one.name)], type=Read(how), required=needed, help=SAID.get(one.name, text)
        )


Config = TypeVar("Config", bound="TrainingConfig")


def make_config(kind: type[Config], args: SimpleNamespace, **more: Any) -> Config:
    """Make a run's config of the flags that were given."""
    names = [one.name for one in fields(kind)]
    given = {name: getattr(args, name) for name in names if name in args.given}
    try:
        return kind(**(given | more))
    except (TypeError, ValueError) as error:
        refuse(str(error))


def from_start(config: Config) -> Config:
    """Count a run's time limit from the start of the command, not from now."""
    if config.time_limit is None:
        return config
    left = config.time_limit - (time.monotonic() - STARTED)
    return replace(config, time_limit=max(left, 1e-9))  # to stop after one step


def check_folder(folder: Path) -> None:
    """Refuse a run's folder that cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        refuse(f"{folder} cannot be written to: {error.strerror}")


def check_file(file: Path) -> None:
    """Refuse a file that cannot be written."""
    try:
        new = not file.exists()
        with file.open("a", encoding="utf-8"):
            pass
        if new:
            file.unlink()
    except OSError as error:
        refuse(f"{file} cannot be written: {error.strerror}")


def load_trained(kind: str, name: str, without: str) -> "tuple[Any, Tokenizer]":
    """Load a model, and say for a command what its file lacks.

    Args:
        kind: the name of the class with that head.
        name: the model's.
        without: what to refuse it with if the file has no such head.
    """
    from minibert.loading import Untrained, load

    try:
        return load(name, kind)
    except Untrained:
        refuse(without)


def threads_option() -> click.Option:
    """Make the flag of all commands that compute."""
    text = "threads of this process (default: torch's choice)"
    return click.Option(["--threads"], type=Read(threads), help=text)


class Command(click.Command):
    """A command that computes: with `--threads`, and one line for what goes wrong.

    Args:
        numbers: of a command that trains, gives the flags of its run. It is called when the
            command is asked for them, since it reads the modules that compute.
        several: a flag that takes all words up to the next flag.
    """

    def __init__(
        self,
        *args: Any,
        numbers: Callable[[], Iterable[click.Option]] | None = None,
        several: str | None = None,
        **more: Any,
    ) -> None:
        super().__init__(*args, **more)
        self.params.append(threads_option())
        self.numbers, self.several = numbers, several
        self.trains = numbers is not None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Give all flags."""
        if self.numbers is not None:
            numbers, self.numbers = self.numbers, None
            self.params.extend(numbers())
        return super().get_params(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words; repeat the flag that takes several."""
        words: list[str] = []
        repeat = False
        for word in args:
            if word.startswith("-"):
                repeat = False
            elif repeat and words[-1] != self.several:
                words.append(str(self.several))
            words.append(word)
            repeat = repeat or word == self.several
        return super().parse_args(ctx, words)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        # Rows differ in length from step to step, and torch would keep a kernel for every
        # shape it ever met: gigabytes after an hour on a CPU.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "1")
        if self.trains and isinstance(ctx.obj, SimpleNamespace):  # to say where it stopped
            ctx.obj.folder = ctx.params["folder"]
        number = ctx.params.get("threads")
        if number:
            import torch

            torch.set_num_threads(number)
        if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
            # A folder's name that the terminal cannot show must not cost an hour's scores.
            sys.stdout.reconfigure(errors="backslashreplace")
        return super().invoke(ctx)


def arguments(ctx: click.Context) -> SimpleNamespace:
    """Give a command's arguments by name; `given` names those that were not left out."""
    left = (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)
    given = {name for name in ctx.params if ctx.get_parameter_source(name) not in left}
    return SimpleNamespace(**ctx.params, given=given)


def show(text: str, as_json: bool, /, **fields: Any) -> None:
    """Print a result: its text, or its fields as a line of JSON."""
    print(json.dumps(fields, ensure_ascii=False) if as_json else text, flush=True)
