"""One way of timing: all sides in turn, round after round, and what a row says of it.

A side is a piece of work that can be done again and again: here, or in a process of its own,
which waits while the others work. Who goes first changes from round to round.
"""

from __future__ import annotations

import cProfile
import json
import os
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import comb
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any

import numpy as np

EXPERIMENTS = Path(__file__).resolve().parents[1]
Array = np.ndarray[Any, Any]
Row = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        rounds: how often each side works, the first call left out, which warms up.
        batch: rows of a batch of training, and of the forward pass.
        length: their tokens, where all are equal.
        sentences: to be embedded and tokenised, a part of them in each round.
        questions: to be answered, a part of them in each round.
        bodies: layers and width of what is pre-trained.
        vocabularies: its pieces.
    """

    rounds: int = 7
    batch: int = 16
    length: int = 128
    sentences: int = 10_000
    questions: int = 500
    bodies: tuple[tuple[int, int], ...] = ((2, 128), (4, 256), (6, 384))
    vocabularies: tuple[int, ...] = (30522, 4096)


FULL = Size()
QUICK = Size(batch=8, sentences=1050, questions=35, bodies=((2, 128),), vocabularies=(4096,))
TINY = Size(2, 2, 16, 12, 4, ((1, 64),), (1000,))  # to see that all runs, in the tests


class Here:
    """A side in this process.

    Args:
        work: is timed. Where it gives a number, that is how much it did, and the time is
            divided by it.
        check: gives what the side computes, to be compared with the others.
    """

    def __init__(
        self, work: Callable[[], float | None], check: Callable[[], Array] | None = None
    ) -> None:
        self.work, self.compute = work, check

    def seconds(self) -> float:
        """Do the work once."""
        start = time.perf_counter()
        units = self.work()
        return (time.perf_counter() - start) / (1.0 if units is None else float(units))

    def check(self) -> Array:
        """Give what the side computes."""
        assert self.compute is not None
        return self.compute()

    def profile(self) -> dict[str, float]:
        """Say where the time of a call goes: shares of it, the largest first.

        Of torch's work by operation, of the rest by function; each by a call of its own.
        """
        import torch
        from torch.profiler import ProfilerActivity, profile

        torch.autograd.set_multithreading_enabled(False)  # backward, too, where it is seen
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            whole = self.seconds_of_one_call()
        shares = {x.key: x.self_cpu_time_total / 1e6 / whole for x in seen.key_averages()}
        python = cProfile.Profile()
        whole = python.runcall(self.seconds_of_one_call)
        for (file, _, name), (_, _, own, _, _) in pstats.Stats(python).stats.items():  # type: ignore[attr-defined]
            if "torch" not in f"{file}{name}":
                shares[f"{Path(file).stem}: {name}" if file != "~" else name] = own / whole
        largest = sorted(((share, name) for name, share in shares.items()), reverse=True)[:8]
        return {name: round(share, 3) for share, name in largest if share >= 0.02}

    def seconds_of_one_call(self) -> float:
        """Time one call, whatever it did."""
        start = time.perf_counter()
        self.work()
        return time.perf_counter() - start

    def close(self) -> None:
        """Nothing is to be ended."""


class There:
    """A side in a process of its own: the same questions, asked through a pipe.

    Args:
        made_by: "module:function" of this folder; the function gives a `Here`.
        python: another environment's, or this one's.
        **arguments: for the function; of JSON.

    Raises:
        RuntimeError: the process ended, with the last line that it said.
    """

    def __init__(self, made_by: str, python: Path | None = None, **arguments: Any) -> None:
        self.said = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115, of close()
        paths = [str(EXPERIMENTS)]
        if python is None:  # minibert is where it is for this process
            paths += filter(None, [os.environ.get("PYTHONPATH")])
        self.process = subprocess.Popen(
            [str(python or sys.executable), "-m", "speed.timing", made_by, json.dumps(arguments)],
            cwd=EXPERIMENTS, env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said, encoding="utf-8",
        )  # fmt: skip
        self.versions: dict[str, str] = json.loads(self.ask("versions"))

    def ask(self, what: str) -> str:
        """Ask, and wait for the answer."""
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(what + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.process.wait()
            self.said.seek(0)
            lines = self.said.read().strip().splitlines() or ["nothing"]
            raise RuntimeError(lines[-1])
        return line

    def seconds(self) -> float:
        """Do the work once, there."""
        return float(self.ask("seconds"))

    def check(self) -> Array:
        """Give what the side computes."""
        file = Path(json.loads(self.ask("check")))
        outputs: Array = np.load(file)
        file.unlink()
        return outputs

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.said.close()


Side = Here | There


class Sides(dict[str, Side]):
    """Sides by name, which end with the block."""

    def __enter__(self) -> Sides:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        for side in self.values():
            side.close()


def in_turn(sides: Mapping[str, Side], rounds: int) -> dict[str, list[float]]:
    """Time all sides, round after round: name -> seconds of each round."""
    names = list(sides)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        first = turn % len(names)
        for name in [*names[first:], *names[:first]]:
            times[name].append(sides[name].seconds())
    return {name: seconds[1:] for name, seconds in times.items()}  # the first call warms up


def row(name: str, floor: float, ours: list[float], theirs: list[float], **fields: Any) -> Row:
    """Sum up two sides: `ratio` is theirs over ours, the median of the rounds'.

    Above 1 ours is faster. `spread` is the middle half, `below` counts the rounds below the
    floor.
    """
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    fourth = len(ratios) // 4
    return {
        "name": name,
        "floor": floor,
        "ratio": significant(median(ratios)),
        "spread": [significant(ratios[fourth]), significant(ratios[-1 - fourth])],
        "rounds": len(ratios),
        "below": sum(ratio < floor for ratio in ratios),
        "ours_seconds": significant(median(ours)),
        "theirs_seconds": significant(median(theirs)),
        **fields,
    }


def missing(name: str, floor: float, reason: str) -> Row:
    """Make the row of something that cannot be measured here."""
    return {"name": name, "floor": floor, "missing": reason}


def significant(number: float) -> float:
    """Round to four figures."""
    return float(f"{number:.4g}")


def fails(row: Row) -> bool:
    """Whether a row misses its floor by more than noise.

    The rule is the sign test at 5 %: if the true ratio were the floor, each round would fall
    below it as a coin falls; it fails when so many did as a coin does in 5 of 100 such runs, or
    fewer. Of seven rounds that is all seven, of nine eight, of eleven nine.

    What finds less than before is no gain: it fails, too, where rounding loses more than half a
    point of retrieval.
    """
    if "missing" in row:
        return False
    if row.get("retrieval_lost", 0.0) > 0.5:
        return True
    count, below = row["rounds"], row["below"]
    chance = sum(comb(count, k) for k in range(below, count + 1)) / 2**count
    return bool(chance <= 0.05)


def compared(
    size: Size, sides: Sides, peers: Mapping[str, tuple[str, float]], **fields: Any
) -> list[Row]:
    """Time "ours" and its peers in turn.

    Args:
        size: how many rounds.
        sides: "ours" and the peers, by a short name.
        peers: short name -> the row's name and its floor.
        **fields: for each row.

    Returns:
        A row for each peer; one below its floor, be it by noise, says where our time goes.
    """
    times = in_turn(sides, size.rounds)
    rows = []
    for short, (name, floor) in peers.items():
        result = row(name, floor, times["ours"], times[short], **fields)
        other = sides[short]
        if isinstance(other, There) and other.versions:
            result["peer_versions"] = other.versions
        rows.append(result)
    ours = sides["ours"]
    low = [result["ratio"] < result["floor"] or fails(result) for result in rows]
    if any(low) and isinstance(ours, Here):
        shares = ours.profile()
        rows = [
            result | {"where": shares} if is_low else result
            for result, is_low in zip(rows, low, strict=True)
        ]
    return rows


def serve(made_by: str, arguments: str) -> None:
    """Be a side: answer what is asked on stdin."""
    from importlib import import_module

    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    module, function = made_by.split(":")
    made = getattr(import_module(module), function)(**json.loads(arguments))
    side, versions = made if isinstance(made, tuple) else (made, {})
    for line in sys.stdin:
        what = line.strip()
        if what == "versions":
            reply = json.dumps(versions)
        elif what == "seconds":
            reply = str(side.seconds())
        else:
            handle, file = tempfile.mkstemp(suffix=".npy")
            os.close(handle)
            np.save(file, side.check())
            reply = json.dumps(file)
        print(reply, file=out, flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
