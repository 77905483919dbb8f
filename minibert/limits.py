"""What a server takes: the limits of a request, held and counted before anything is computed.

It needs the extra `serve`, but for `Limits` itself.
"""

import asyncio
import math
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from minibert.checks import check_whole

if TYPE_CHECKING:
    from fastapi.responses import JSONResponse
    from prometheus_client import CollectorRegistry
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Counters", "Guard", "Limits", "refuse"]


@dataclass(frozen=True)
class Limits:
    """What is taken, and how much at once.

    Attributes:
        body: bytes of a request.
        characters: in each of its texts.
        texts: in a request to embed.
        queue: requests that may wait.
        timeout: seconds for a request, from its first line to its
            answer's end.
        batch: rows that are computed together, about.
        wait: seconds that a request waits for others to join it.

    Raises:
        ValueError: a number below its least.
    """

    body: int = 1_000_000
    characters: int = 20_000
    texts: int = 64
    queue: int = 128
    timeout: float = 30.0
    batch: int = 16
    wait: float = 0.005

    def __post_init__(self) -> None:
        for name in ("body", "characters", "texts", "queue", "batch"):
            check_whole(name, getattr(self, name), 1)
        if not 0 < self.timeout < math.inf or not 0 <= self.wait < self.timeout:
            raise ValueError(
                f"timeout is {self.timeout} and wait {self.wait}, not "
                "a time above 0 and one of 0 or more that is shorter"
            )


class Counters:
    """What `/metrics` tells."""

    def __init__(self, registry: "CollectorRegistry") -> None:
        from prometheus_client import Counter, Gauge, Histogram, ProcessCollector

        self.registry = registry
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "minibert_requests", "answered requests, by status",
            ["path", "status"], registry=registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "minibert_request_seconds", "from a request's first line to its answer's end",
            ["path"], registry=registry,
        )  # fmt: skip
        self.batch = Histogram(
            "minibert_batch_requests", "requests computed together",
            ["path"], registry=registry, buckets=[1, 2, 4, 8, 16, 32, 64],
        )  # fmt: skip
        self.waiting = Gauge(
            "minibert_queue_requests", "requests that wait", registry=registry
        )  # fmt: skip


async def read_body(receive: "Receive", most: int) -> bytes | None:
    """Read a request's body; None where it is longer than `most` bytes.

    Of one that is, up to eight times as much is read and dropped:
    who still sends does not hear why it is refused.
    """
    from starlette.requests import ClientDisconnect

    parts, size, more = list[bytes](), 0, True
    while more and size <= 8 * most:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        size += len(message.get("body", b""))
        if size <= most:
            parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts) if size <= most else None


def read_again(body: bytes, receive: "Receive") -> "Receive":
    """Give a body that was read, then what comes after it."""
    told: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> "Message":
        return told.pop() if told else await receive()

    return again


class Guard:
    """Bounds the body and the time of each request, and counts it.

    Args:
        app: what answers (ASGI), and is given the whole body at once.
        limits: of which `body` and `timeout` hold here.
        counters: where it is counted.
        paths: those that are counted by name.
    """

    def __init__(
        self, app: "ASGIApp", limits: Limits, counters: Counters, paths: frozenset[str]
    ) -> None:
        self.app, self.limits, self.counters, self.paths = app, limits, counters, paths

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Let a request through, or refuse it."""
        from starlette.requests import ClientDisconnect

        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = monotonic(), 0

        async def sending(message: "Message") -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            why = await self.attempt(scope, receive, sending)
            if why and not status:
                await refuse(*why)(scope, receive, sending)
        except ClientDisconnect:
            status = 499  # as nginx counts it: nobody hears the answer
        finally:
            path = scope["path"] if scope["path"] in self.paths else "other"
            self.counters.requests.labels(path, status or 500).inc()
            self.counters.seconds.labels(path).observe(monotonic() - begun)

    async def attempt(
        self, scope: "Scope", receive: "Receive", send: "Send"
    ) -> tuple[int, str] | None:
        """Answer in time; if that fails, give the status and the reason."""
        body, seconds = None, f"{self.limits.timeout:g} seconds"
        try:
            async with asyncio.timeout(self.limits.timeout):
                body = await read_body(receive, self.limits.body)
                if body is None:
                    return 413, f"the body has more than {self.limits.body:,} bytes"
                await self.app(scope, read_again(body, receive), send)
        except TimeoutError:
            if body is None:
                return 408, f"the body was not there after {seconds}"
            return 504, f"no answer within {seconds}"
        return None


def refuse(status: int, reason: str) -> "JSONResponse":
    """Make the answer to what is refused."""
    from fastapi.responses import JSONResponse

    again = {"Retry-After": "1"} if status == 503 else None
    return JSONResponse({"detail": reason}, status, again)
