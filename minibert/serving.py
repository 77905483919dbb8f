"""Models behind HTTP: requests that come within a moment are computed together.

What waits is in `queueing`, what is refused in `limits`. It needs the extra `serve`.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import minibert
from minibert.checks import brief
from minibert.files import require
from minibert.limits import Counters, Guard, Limits, refuse
from minibert.qa import answer_all
from minibert.queueing import Batcher, Closed, Full, Group
from minibert.sentences import embed
from minibert.spans import Answer
from minibert.squad import Question
from minibert.summaries import Summary, summarize

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

__all__ = ["make_app"]


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
                raise Closed
            future = self.queue.put(group, item, rows)
        except Closed:
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
    limits: Limits = Limits(),  # noqa: B008, it is frozen
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
