# Written by tools/tangle.py from
# book/source/day.md
# Edit that, not this.
"""Stopping a run so that it can go on: by a signal, or after a time."""

import math
import signal
import threading
import time
from types import FrameType
from typing import Any, NoReturn

import torch
import torch.distributed as dist

__all__ = ["Stop", "Stopped"]

SIGNALS = ("SIGTERM", "SIGUSR1")  # Windows has the first alone


class Stopped(InterruptedError):
    """A run was told to stop; its checkpoint is there to go on from."""


class Stop:
    """Whether a run shall stop: the cluster said so, or the clock.

    As a context it notes the signals SIGTERM and SIGUSR1, which
    would end the program; outside of it they do as before. Of
    several threads only the main one can listen.

    Args:
        time_limit: seconds from now; None for no limit.
        listen: False to leave the signals alone, for a run that
            has no checkpoint to stop at.
        world: how many processes there are, all of which make one.

    Raises:
        ValueError: a time limit with `listen=False`: a stop would
            lose everything.

    >>> with Stop(3600.0) as stop:
    ...     stop.told()
    False
    """

    def __init__(
        self,
        time_limit: float | None = None,
        listen: bool = True,
        world: int = 1,
    ) -> None:
        if time_limit is not None and not listen:
            raise ValueError(
                "a run with a time limit needs a folder to go on in"
            )
        self.end = time.monotonic() + (time_limit or math.inf)
        main = threading.current_thread() is threading.main_thread()
        self.signals = SIGNALS if listen and main else ()
        self.before: dict[int, Any] = {}
        self.why, self.group = "", None
        if world > 1:  # by the processors: no GPU is waited for
            self.group = dist.new_group(backend="gloo")

    def note(self, number: int, frame: FrameType | None) -> None:
        """Note a signal: a step is not interrupted."""
        self.why = signal.Signals(number).name

    def __enter__(self) -> "Stop":
        """Listen."""
        for name in self.signals:
            if number := getattr(signal, name, None):
                old = signal.signal(number, self.note)
                self.before[number] = old
        return self

    def __exit__(self, *error: object) -> None:
        """Put back what listened before."""
        for number, handler in self.before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if self.group is not None:
            dist.destroy_process_group(self.group)

    def told(self) -> bool:
        """Whether any of the processes was told; all must ask."""
        if not self.why and time.monotonic() >= self.end:
            self.why = "the time limit"
        flag = torch.tensor(int(bool(self.why)))
        if self.group is not None:
            dist.all_reduce(flag, dist.ReduceOp.MAX, self.group)
        return bool(flag)

    def leave(self, done: int) -> NoReturn:
        """Wait for the other processes, and end the run.

        Args:
            done: how many steps are, for the message.

        Raises:
            Stopped: always.
        """
        if self.group is not None:  # a launcher kills the others
            dist.barrier(self.group)  # when one has ended
        why = self.why or "another process"
        raise Stopped(f"stopped by {why} after step {done}")
