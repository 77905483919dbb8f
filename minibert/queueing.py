"""What waits is computed together: one thread, a list, and batches of what came in a moment."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import accumulate
from threading import Condition, Thread
from time import monotonic
from typing import Any

__all__ = ["Batcher", "Closed", "Full"]


Group = tuple[Any, ...]  # what is asked, and its options
Compute = Callable[[Group, list[Any]], Sequence[Any]]


class Full(Exception):
    """As many wait as may."""


class Closed(Exception):
    """Nothing more is taken."""


@dataclass(eq=False)
class Job:
    """What waits to be computed."""

    group: Group
    item: Any
    rows: int
    result: "Future[Any]" = field(default_factory=Future)
    came: float = field(default_factory=monotonic)


class Batcher:
    """One thread, which computes together what came within a moment.

    Args:
        compute: gives a result for each item of a group; what is an
            exception is raised, for its item alone.
        most: rows in one computation; an item with more is alone.
        wait: seconds in which the first item waits for others.
        room: items that may wait.
    """

    def __init__(self, compute: Compute, most: int, wait: float, room: int) -> None:
        self.compute, self.most, self.wait, self.room = compute, most, wait, room
        self.jobs, self.open, self.changed = list[Job](), True, Condition()
        self.thread = Thread(target=self.run, daemon=True)
        self.thread.start()

    def put(self, group: Group, item: Any, rows: int = 1) -> "Future[Any]":
        """Add an item, which `cancel` takes out again; raises `Full` or `Closed`."""
        with self.changed:
            self.jobs = [job for job in self.jobs if not job.result.cancelled()]
            if not self.open or len(self.jobs) >= self.room:
                raise Full if self.open else Closed
            self.jobs.append(Job(group, item, rows))
            self.changed.notify()
            return self.jobs[-1].result

    def take(self) -> list[Job]:
        """Wait for the first item; give it with those of its group that fit beside it."""
        with self.changed:
            self.changed.wait_for(lambda: self.jobs or not self.open)
            until = self.jobs[0].came + self.wait if self.jobs else 0.0
            self.changed.wait_for(lambda: not self.open or self.fill()[1], until - monotonic())
            batch, _ = self.fill()
            self.jobs = [job for job in self.jobs if job not in batch]
        return [job for job in batch if job.result.set_running_or_notify_cancel()]

    def fill(self) -> tuple[list[Job], bool]:
        """Choose the next batch; say whether it is full."""
        same = [job for job in self.jobs if job.group == self.jobs[0].group]
        rows = list(accumulate(job.rows for job in same))
        fit = sum(sofar <= self.most for sofar in rows) or 1
        return same[:fit], sum(rows[-1:]) >= self.most

    def run(self) -> None:
        """Compute batch after batch, until `close` and nothing waits."""
        while self.open or self.jobs:
            if batch := self.take():
                self.finish(batch)

    def finish(self, batch: list[Job]) -> None:
        """Compute a batch; where that fails, each item alone."""
        try:
            results = self.compute(batch[0].group, [job.item for job in batch])
            pairs = list(zip(batch, results, strict=True))
        except Exception as error:
            pairs = [(batch[0], error)] if len(batch) == 1 else []
            for job in batch if len(batch) > 1 else []:
                self.finish([job])
        for job, result in pairs:
            failed = isinstance(result, Exception)
            (job.result.set_exception if failed else job.result.set_result)(result)

    def close(self, seconds: float | None = None) -> bool:
        """Take no more, and wait for what was taken; False where that lasts longer."""
        with self.changed:
            self.open = False
            self.changed.notify()
        self.thread.join(seconds)
        return not self.thread.is_alive()
