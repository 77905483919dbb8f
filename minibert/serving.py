"""Models behind HTTP: requests that come within a moment are computed together.

`Batcher` needs no web; the rest needs the extra `serve`.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from threading import Condition, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

import minibert
from minibert.checks import brief, check_whole
from minibert.files import require
from minibert.qa import answer_all
from minibert.sentences import embed
from minibert.spans import Answer
from minibert.squad import Question
from minibert.summaries import Summary, summarize

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse
    from prometheus_client import CollectorRegistry
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Batcher", "Full", "Limits", "Stopped", "make_app"]


Group = tuple[Any, ...]  # what is asked, and its options
Compute = Callable[[Group, list[Any]], Sequence[Any]]


class Full(Exception):
    """As many wait as may."""


class Stopped(Exception):
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
        """Add an item, which `cancel` takes out again; raises `Full` or `Stopped`."""
        with self.changed:
            self.jobs = [job for job in self.jobs if not job.result.cancelled()]
            if not self.open or len(self.jobs) >= self.room:
                raise Full if self.open else Stopped
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


Model = str | Path | tuple[Any, Any]  # as `answer` and `embed` take it


def answer_texts(
    asked: list[tuple[str, str]], threshold: float | None, model: Model
) -> list[Answer | ValueError]:
    """Answer questions, each beside its text, as `answer` would one by one."""
    questions = [Question("", "", *one) for one in asked]
    found = answer_all(questions, model=model, threshold=threshold)
    nothing = ValueError("question and context need a word each")
    return [nothing if math.isinf(one.no_answer) else one for one in found]


def embed_texts(lists: list[list[str]], model: Model) -> list[Any]:
    """Embed lists of texts, all in one call: (n, H) for each list of n."""
    vectors = embed([text for texts in lists for text in texts], model=model)
    ends = [*accumulate(map(len, lists))]
    return np.split(vectors, ends[:-1])


def summarize_texts(texts: list[str], count: int, model: Model) -> list[Summary | ValueError]:
    """Summarise texts one by one: the sentences of one are a batch."""
    found: list[Summary | ValueError] = []
    for text in texts:
        try:
            found.append(summarize(text, count, model=model))
        except ValueError as error:
            found.append(error)
    return found


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


class Service:
    """What the endpoints share: the models, the queue, the limits."""

    def __init__(
        self, model: Model, embed_model: Model, limits: Limits, counters: Counters
    ) -> None:
        self.model, self.embed_model = model, embed_model
        self.limits, self.counters = limits, counters
        self.queue: Batcher | None = None

    def compute(self, group: Group, items: list[Any]) -> Sequence[Any]:
        """Compute items of the same kind with the same options."""
        self.counters.batch.labels(f"/{group[0]}").observe(len(items))
        if group[0] == "answer":
            return answer_texts(items, group[1], self.model)
        if group[0] == "summarize":
            return summarize_texts(items, group[1], self.embed_model)
        return embed_texts(items, self.embed_model)

    @asynccontextmanager
    async def lifespan(self, app: "FastAPI") -> AsyncIterator[None]:
        """Take requests, all of which a server has answered when it gets to the end.

        `app.state.idle` is False where nevertheless something is computed
        then, for which nobody waits any more.
        """
        limits = self.limits
        queue = Batcher(self.compute, limits.batch, limits.wait, limits.queue)
        self.counters.waiting.set_function(lambda: len(queue.jobs))
        self.queue = queue
        yield
        self.queue = None
        app.state.idle = await asyncio.to_thread(queue.close, 1.0)

    def ready(self) -> bool:
        """Whether requests are taken."""
        return self.queue is not None and self.queue.thread.is_alive()

    async def submit(self, request: "Request", group: Group, item: Any, rows: int) -> Any:
        """Wait for a result; who has gone, or is out of time, waits no more."""
        from fastapi import HTTPException
        from starlette.requests import ClientDisconnect

        async def leave() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        try:
            if self.queue is None:
                raise Stopped
            future = self.queue.put(group, item, rows)
        except Stopped:
            raise HTTPException(503, "not ready") from None
        except Full:
            reason = f"{self.limits.queue} requests wait already"
            raise HTTPException(503, reason) from None
        result, gone = asyncio.wrap_future(future), asyncio.ensure_future(leave())
        try:
            await asyncio.wait({result, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not result.done():
                raise ClientDisconnect
            return result.result()
        except ValueError as error:
            raise HTTPException(422, brief(error)) from None
        finally:
            for one in (future, result, gone):
                one.cancel()


def refusals() -> dict[int | str, dict[str, Any]]:
    """Describe, for OpenAPI, what may come instead of an answer."""
    from pydantic import BaseModel

    class Refused(BaseModel):
        detail: str

    reasons = {
        408: "the body came too slowly",
        413: "the body is too long",
        422: "something in it is wrong; `detail` names it",
        503: "too many wait already: try again after `Retry-After` seconds",
        504: "it took too long",
    }
    return {k: {"model": Refused, "description": text} for k, text in reasons.items()}


def add_answer(app: "FastAPI", service: Service) -> None:
    """Add POST /answer."""
    from fastapi import Request
    from pydantic import BaseModel, Field

    most = service.limits.characters

    class Question(BaseModel, extra="forbid", strict=True):
        question: str = Field(max_length=most, examples=["Where does the Danube end?"])
        context: str = Field(max_length=most, examples=["The Danube ends in the Black Sea."])
        threshold: float | None = Field(default=None, allow_inf_nan=False)

    class Found(BaseModel):
        text: str
        start: int
        end: int
        score: float
        probability: float
        no_answer: float

    @app.post("/answer", responses=refusals())
    async def answer(asked: Question, request: Request) -> Found:
        """Answer a question with a span of a text: `context[start:end]`.

        With a threshold, `text` is empty where no answer scores more
        than that above the best span.
        """
        item, rows = (asked.question, asked.context), 1 + len(asked.context) // 500
        found: Answer = await service.submit(request, ("answer", asked.threshold), item, rows)
        return Found(**{name: getattr(found, name) for name in Found.model_fields})


def add_embed(app: "FastAPI", service: Service) -> None:
    """Add POST /embed."""
    from typing import Annotated

    from fastapi import Request
    from pydantic import BaseModel, Field

    limits = service.limits
    class Texts(BaseModel, extra="forbid", strict=True):
        texts: list[Annotated[str, Field(max_length=limits.characters)]] = Field(
            min_length=1, max_length=limits.texts, examples=[["The Danube is a river."]]
        )

    class Vectors(BaseModel):
        vectors: list[list[float]]

    @app.post("/embed", responses=refusals())
    async def embed(given: Texts, request: Request) -> Vectors:
        """Turn each text into a vector of length 1."""
        rows = len(given.texts)
        vectors = await service.submit(request, ("embed",), given.texts, rows)
        return Vectors(vectors=vectors.tolist())


def add_summarize(app: "FastAPI", service: Service) -> None:
    """Add POST /summarize."""
    from fastapi import Request
    from pydantic import BaseModel, Field

    class Text(BaseModel, extra="forbid", strict=True):
        text: str = Field(
            max_length=service.limits.characters, examples=["The dog bit. The man ran. It sat."]
        )
        count: int = Field(default=3, ge=1, le=1000)

    class Sentence(BaseModel):
        sentence: int
        weight: float
        text: str

    class Chosen(BaseModel):
        sentences: list[Sentence]

    @app.post("/summarize", responses=refusals())
    async def summarize(given: Text, request: Request) -> Chosen:
        """Choose the sentences that stand for a text, in their order."""
        group, rows = ("summarize", given.count), 1 + len(given.text) // 100
        found: Summary = await service.submit(request, group, given.text, rows)
        parts = [
            Sentence(sentence=i, weight=float(found.weights[i]), text=found.sentences[i])
            for i in found.chosen
        ]
        return Chosen(sentences=parts)


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Ask a paragraph</title>
<link rel="icon" href="data:,">
<style>
  :root { color-scheme: light dark; }
  body { font: 1.1em/1.5 system-ui, sans-serif; max-width: 42em;
         margin: 2em auto; padding: 0 1em; }
  label, textarea, input { display: block; width: 100%;
                           box-sizing: border-box; font: inherit; }
  button { font: inherit; margin-top: 1em; }
  mark { background: #F7D774; color: #222; }
  #answer { white-space: pre-wrap; }
</style>
<h1>Ask a paragraph</h1>
<form>
  <label for="context">A paragraph</label>
  <textarea id="context" rows="6" required>
The Danube is the second-longest river in Europe. It rises in \
Germany and ends in the Black Sea.</textarea>
  <label for="question">A question that it answers</label>
  <input id="question" required value="Where does the Danube end?">
  <button>Answer</button>
</form>
<p id="answer" role="status"></p>
<script>
const by = id => document.getElementById(id)
const out = by("answer")
const mark = (context, found) => {
  const letters = Array.from(context)  // counted as Python does
  const lit = document.createElement("mark")
  lit.textContent = found.text
  lit.title = Math.round(100 * found.probability) + " %"
  out.replaceChildren(letters.slice(0, found.start).join(""),
                      lit, letters.slice(found.end).join(""))
}
document.forms[0].onsubmit = async event => {
  event.preventDefault()
  const context = by("context").value
  const body = JSON.stringify({question: by("question").value, context})
  const headers = {"Content-Type": "application/json"}
  out.textContent = "\\u2026"
  try {
    const reply = await fetch("answer", {method: "POST", headers, body})
    const found = await reply.json()
    if (reply.ok) mark(context, found)
    else out.textContent = found.detail
  } catch (error) {
    out.textContent = "The server does not answer: " + error.message
  }
}
</script>
</html>
"""
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def add_pages(app: "FastAPI", service: Service) -> None:
    """Add GET /, /health and /metrics."""
    from fastapi import HTTPException
    from fastapi.responses import HTMLResponse, Response
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})

    @app.get("/health", responses={503: {"description": "not ready"}})
    async def health() -> dict[str, str]:
        """Say whether requests are taken: the models are loaded."""
        if not service.ready():
            raise HTTPException(503, "not ready")
        return {"status": "ready", "version": minibert.__version__}

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Count requests, seconds and batches, as Prometheus reads them."""
        told = generate_latest(service.counters.registry)
        return Response(told, media_type=CONTENT_TYPE_LATEST)


def say_wrong(error: dict[str, Any]) -> str:
    """Put what pydantic found wrong into words, without what was sent."""
    if error["type"] == "json_invalid":
        return f"no JSON from character {error['loc'][-1]} on"
    if len(error["loc"]) == 1:  # the body as a whole
        return "the body must be a JSON object, with Content-Type: application/json"
    return f"{'.'.join(map(str, error['loc'][1:]))}: {error['msg']}"


def add_errors(app: "FastAPI") -> None:
    """Refuse in one line."""
    from fastapi import Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException

    @app.exception_handler(RequestValidationError)
    async def wrong(request: Request, error: RequestValidationError) -> JSONResponse:
        return refuse(422, "; ".join(map(say_wrong, error.errors()[:5])))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 400:  # FastAPI's, of JSON that Python does not read
            reason = "not UTF-8, nested too deep, or with too long a number"
            return refuse(422, f"the body is no JSON that can be read: {reason}")
        found = refuse(error.status_code, error.detail)
        found.headers.update(error.headers or {})
        return found

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return refuse(500, "something failed here; the server's log says what")


def make_app(
    model: Model = "minilm-qa",
    embed_model: Model = "minilm",
    limits: Limits = Limits(),
) -> "FastAPI":
    """Make the web application, for `uvicorn` or any other ASGI server.

    All is tried once, so that no request waits for a model, and what
    is missing is known at once.

    Args:
        model: for `/answer`, as `answer` takes it.
        embed_model: for `/embed` and `/summarize`, as `embed` does.
        limits: what is taken.

    Raises:
        ModuleNotFoundError: the extra `serve` is not installed.
        FileNotFoundError, TypeError, ValueError: as `answer`, `embed`.
    """
    require("serve", "fastapi", "prometheus_client")
    from fastapi import FastAPI
    from prometheus_client import CollectorRegistry

    counters = Counters(CollectorRegistry())
    service = Service(model, embed_model, limits, counters)
    service.compute(("answer", None), [("Who ran?", "Ann ran.")])
    service.compute(("embed",), [["Ann ran."]])
    service.compute(("summarize", 1), ["Ann ran."])
    app = FastAPI(
        title="minibert", version=minibert.__version__, lifespan=service.lifespan,
        docs_url=None, redoc_url=None,  # pages that load scripts from elsewhere
    )  # fmt: skip
    for add in (add_answer, add_embed, add_summarize, add_pages):
        add(app, service)
    add_errors(app)
    paths = frozenset(app.openapi()["paths"]) | {"/", "/openapi.json"}
    app.add_middleware(Guard, limits=limits, counters=counters, paths=paths)
    return app
