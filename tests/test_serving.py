"""Models behind HTTP: the queue alone, the application, and a process that is stopped."""

import asyncio
import inspect
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if "MINIBERT_DEVICE" in os.environ:  # a machine of others, which may lack the extra
    pytest.importorskip("fastapi")

from fastapi.testclient import TestClient
from serving import SERVERS, TEXTS, Client, is_right, load, questions, served

import minibert.files
import minibert.serving
from minibert import answer, embed, summarize
from minibert.__main__ import main
from minibert.commands.app import app as command
from minibert.limits import Limits
from minibert.queueing import Batcher, Closed, Full
from minibert.serving import make_app

ROOT = Path(__file__).resolve().parent.parent
SOON = 20  # seconds after which something is stuck, on a busy machine too


class Work:
    """Doubles numbers, once it may; remembers what came together."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, list[Any]]] = []
        self.begun, self.may = threading.Semaphore(0), threading.Event()

    def __call__(self, group: Any, items: list[Any]) -> list[Any]:
        self.calls.append((group, items))
        self.begun.release()
        assert self.may.wait(SOON)
        if "bad" in items:
            raise KeyError(f"{len(items)} items")
        return [ValueError(one) if one == "odd" else 2 * one for one in items]


@pytest.fixture
def work() -> Iterator[Work]:
    one = Work()
    yield one
    one.may.set()


def held(work: Work, most: int = 16, wait: float = 0.0, room: int = 100) -> Batcher:
    """A queue whose thread is busy with an item, so that what comes now waits."""
    queue = Batcher(work, most, wait, room)
    queue.put(("first",), 0, most)
    assert work.begun.acquire(timeout=SOON)
    return queue


def results(futures: list["Future[Any]"]) -> list[Any]:
    return [one.exception(SOON) or one.result(SOON) for one in futures]


def test_what_waits_is_computed_together_in_its_order(work: Work) -> None:
    queue = held(work)
    found = [queue.put(("a",), i) for i in range(9)]
    work.may.set()
    assert results(found) == [2 * i for i in range(9)]
    assert work.calls[1:] == [(("a",), list(range(9)))]


def test_only_the_same_options_go_together(work: Work) -> None:
    queue = held(work)
    found = [queue.put((i % 2,), i) for i in range(6)]
    work.may.set()
    assert results(found) == [0, 2, 4, 6, 8, 10]
    assert work.calls[1:] == [((0,), [0, 2, 4]), ((1,), [1, 3, 5])]


def test_a_batch_has_so_many_rows_and_a_large_item_is_alone(work: Work) -> None:
    queue = held(work, most=4)
    found = [queue.put(("a",), i, rows) for i, rows in enumerate([1, 2, 2, 9, 1, 1, 1, 1, 1])]
    work.may.set()
    assert results(found) == [2 * i for i in range(9)]
    assert [items for _, items in work.calls[1:]] == [[0, 1], [2], [3], [4, 5, 6, 7], [8]]


def test_a_bad_item_has_its_own_error_and_harms_no_other(work: Work) -> None:
    queue = held(work)
    found = [queue.put(("a",), one) for one in (1, "bad", 2, "odd", 3)]
    work.may.set()
    one, bad, two, odd, three = results(found)
    assert (one, two, three) == (2, 4, 6)
    assert isinstance(bad, KeyError) and bad.args == ("1 items",)
    assert isinstance(odd, ValueError) and odd.args == ("odd",)


def test_a_result_too_few_is_an_error_and_not_another_ones_result() -> None:
    queue = Batcher(lambda group, items: items[1:], 4, 0.0, 9)
    (error,) = results([queue.put(("a",), 1)])
    assert isinstance(error, ValueError)
    assert queue.close(SOON)


def test_a_cancelled_item_is_dropped_and_makes_room(work: Work) -> None:
    queue = held(work, room=2)
    gone, stays = queue.put(("a",), 1), queue.put(("a",), 2)
    with pytest.raises(Full):
        queue.put(("a",), 3)
    assert gone.cancel()
    new = queue.put(("a",), 4)
    new.cancel()  # and is found cancelled only when its turn comes
    work.may.set()
    assert results([stays]) == [4]
    assert queue.close(SOON) and work.calls[1:] == [(("a",), [2])]


def test_closing_computes_what_waits_and_takes_nothing_more(work: Work) -> None:
    queue = held(work, most=2, wait=1000.0)
    found = [queue.put(("a",), i) for i in range(5)]
    assert not queue.close(0.01)  # the thread is held
    with pytest.raises(Closed):
        queue.put(("a",), 9)
    work.may.set()
    assert queue.close(SOON)
    assert [one.result(0) for one in found] == [0, 2, 4, 6, 8]


def test_the_first_waits_for_others_until_the_batch_is_full_and_no_longer(work: Work) -> None:
    work.may.set()
    queue = Batcher(work, 2, 1000.0, 9)
    assert results([queue.put(("a",), 1), queue.put(("a",), 2)]) == [2, 4]
    assert work.calls == [(("a",), [1, 2])]
    queue = Batcher(work, 2, 0.05, 9)
    start = time.monotonic()
    assert results([queue.put(("a",), 3)]) == [6]
    assert time.monotonic() - start >= 0.05


def test_many_threads_each_get_their_own(work: Work) -> None:
    work.may.set()
    queue = Batcher(work, 5, 0.001, 1000)

    def ask(number: int) -> bool:
        return queue.put((number % 3,), number).result(SOON) == 2 * number

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(2000)))
    assert max(len(items) for _, items in work.calls) <= 5
    assert sum(len(items) for _, items in work.calls) == 2000


def test_the_queue_has_at_most_fifty_lines() -> None:
    lines = inspect.getsource(Batcher)
    code = re.sub(r'""".*?"""', "", lines, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 50


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(make_app(limits=Limits(wait=0.05))) as client:
        yield client


def test_answers_are_those_of_answer(client: TestClient) -> None:
    requests, wanted = questions()
    with ThreadPoolExecutor(len(requests)) as pool:
        found = list(pool.map(lambda one: client.post(one[0], json=one[1]), requests))
    assert [one.status_code for one in found] == [200] * len(requests)
    for one, right in zip(found, wanted, strict=True):
        for name in ("text", "start", "end"):
            assert one.json()[name] == right[name]
        for name in ("score", "probability", "no_answer"):
            assert one.json()[name] == pytest.approx(right[name], abs=1e-4)
        assert one.json()["probability"] == pytest.approx(right["probability"], abs=1e-5)
    counted = client.get("/metrics").text
    batches = re.search(r'batch_requests_count\{path="/answer"\} (.+)', counted)
    assert float(batches[1]) < len(requests)  # so some went together


def test_a_threshold_is_that_of_its_request(client: TestClient) -> None:
    context = "The Danube rises in Germany and ends in the Black Sea."
    asked = [("Where does the Danube end?", x) for x in (None, -100.0, 0.0, 100, -100.0, None)]
    with ThreadPoolExecutor(6) as pool:
        found = list(
            pool.map(
                lambda one: client.post(
                    "/answer", json={"question": one[0], "context": context, "threshold": one[1]}
                ).json(),
                asked,
            )
        )
    for (question, threshold), one in zip(asked, found, strict=True):
        right = answer(question, context, threshold=threshold)
        assert (one["text"], one["start"]) == (right.text, right.start)
    assert found[1]["text"] == "" and found[0]["text"]


def test_vectors_are_those_of_embed(client: TestClient) -> None:
    lists = [TEXTS[:1], TEXTS, ["", "a"], ["word " * 400]]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda texts: client.post("/embed", json={"texts": texts}), lists))
    for texts, one in zip(lists, found, strict=True):
        assert np.abs(np.array(one.json()["vectors"]) - embed(texts)).max() < 1e-5


def test_a_summary_is_that_of_summarize(client: TestClient) -> None:
    text = " ".join(TEXTS)
    right = summarize(text, 2)
    found = client.post("/summarize", json={"text": text, "count": 2}).json()["sentences"]
    assert [one["sentence"] for one in found] == list(right.chosen)
    assert [one["text"] for one in found] == [right.sentences[i] for i in right.chosen]
    weights = [right.weights[i] for i in right.chosen]
    assert [one["weight"] for one in found] == pytest.approx(weights, abs=1e-5)


ASKED = {"question": "Who?", "context": "Ann ran."}
BAD: dict[str, tuple[str, Any, int, str]] = {
    "no JSON": ("/answer", b'{"question": ', 422, "no JSON from character 13 on"),
    "nothing": ("/answer", b"", 422, "must be a JSON object"),
    "a list": ("/answer", [], 422, "must be a JSON object"),
    "null": ("/embed", b"null", 422, "must be a JSON object"),
    "deep": ("/answer", b"[" * 100_000, 422, "nested too deep"),
    "digits": ("/answer", b"1" * 10_000, 422, "too long a number"),
    "no UTF-8": ("/answer", b"\xff\xfe{}", 422, "no JSON"),
    "NaN": ("/answer", b'{"question": "a", "context": "b", "threshold": NaN}', 422, "threshold"),
    "1e400": ("/answer", b'{"question": "a", "context": "b", "threshold": 1e400}', 422, "finite"),
    "a missing field": ("/answer", {"question": "Who?"}, 422, "context: Field required"),
    "another type": ("/answer", ASKED | {"context": 3}, 422, "context: .* valid string"),
    "a number as text": ("/answer", ASKED | {"threshold": "3"}, 422, "threshold"),
    "an unknown field": ("/answer", ASKED | {"model": "/etc/passwd"}, 422, "model: Extra"),
    "no word": ("/answer", ASKED | {"question": " "}, 422, "need a word each"),
    "a long text": ("/answer", ASKED | {"context": "a" * 20_001}, 422, "context: .* 20000 char"),
    "half a letter": ("/answer", b'{"question": "\\ud800", "context": "b"}', 422, "question: "),
    "a long body": ("/answer", b" " * 1_000_001, 413, "more than 1,000,000 bytes"),
    "no texts": ("/embed", {"texts": []}, 422, "texts: .* at least 1"),
    "one text": ("/embed", {"texts": "a"}, 422, "texts: .* valid list"),
    "65 texts": ("/embed", {"texts": ["a"] * 65}, 422, "texts: .* at most 64"),
    "a long one of them": ("/embed", {"texts": ["a", "b" * 20_001]}, 422, r"texts\.1: "),
    "no sentence": ("/summarize", {"text": " "}, 422, "no sentence"),
    "count 0": ("/summarize", {"text": "A dog ran.", "count": 0}, 422, "count: "),
    "count true": ("/summarize", {"text": "A dog ran.", "count": True}, 422, "count: "),
    "another path": ("/nothing", {}, 404, "Not Found"),
    "another method": ("/health", {}, 405, "Not Allowed"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused_gets_a_4xx_with_a_reason(name: str, client: TestClient) -> None:
    path, body, status, reason = BAD[name]
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = client.post(path, content=data, headers={"Content-Type": "application/json"})
    said = found.json()["detail"]
    assert found.status_code == status and re.search(reason, said), said
    assert "\n" not in said and len(said) < 400 and "/etc/passwd" not in said
    assert client.post("/answer", json=ASKED).status_code == 200  # nobody else is harmed


def test_a_form_of_another_site_is_refused(client: TestClient) -> None:
    """A page elsewhere may send text/plain without being asked."""
    plain = {"Content-Type": "text/plain"}
    found = client.post("/answer", content=json.dumps(ASKED), headers=plain)
    assert found.status_code == 422 and "application/json" in found.json()["detail"]


def test_the_limits_are_those_that_were_set() -> None:
    limits = Limits(body=200, characters=10, texts=2)
    with TestClient(make_app(limits=limits)) as client:
        assert client.post("/embed", json={"texts": ["a" * 10] * 2}).status_code == 200
        assert client.post("/embed", json={"texts": ["a" * 11]}).status_code == 422
        assert client.post("/embed", json={"texts": ["a"] * 3}).status_code == 422
        assert client.post("/embed", json={"texts": ["a" * 200]}).status_code == 413
        schema = client.get("/openapi.json").json()["components"]["schemas"]
        assert schema["Text"]["properties"]["text"]["maxLength"] == 10
    for wrong in ({"queue": 0}, {"timeout": 0}, {"wait": -1}, {"timeout": 1.0, "wait": 2.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Limits(**wrong)


@pytest.fixture
def slow(work: Work, monkeypatch: pytest.MonkeyPatch) -> Work:
    """Vectors take as long as `work` is held."""

    def embed(texts: list[str], model: Any) -> Any:
        work("embed", [0])
        if "fail" in texts:
            raise RuntimeError("a secret of the server")
        return np.zeros((len(texts), 2))

    work.may.set()
    monkeypatch.setattr(minibert.serving, "embed", embed)
    return work


def test_a_full_queue_is_a_503_with_a_time_to_wait(slow: Work) -> None:
    app = make_app(limits=Limits(queue=1))
    slow.may.clear()
    slow.begun.acquire()  # when it was tried
    with TestClient(app) as client, ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.post, "/embed", json={"texts": ["a"]})
        assert slow.begun.acquire(timeout=SOON)
        second = pool.submit(client.post, "/embed", json={"texts": ["b"]})
        while "minibert_queue_requests 1.0" not in client.get("/metrics").text:
            time.sleep(0.01)
        third = client.post("/embed", json={"texts": ["c"]})
        assert third.status_code == 503 and third.headers["Retry-After"] == "1"
        assert third.json() == {"detail": "1 requests wait already"}
        slow.may.set()
        assert first.result(SOON).status_code == second.result(SOON).status_code == 200


def test_what_takes_too_long_is_a_504_and_leaves_the_queue(slow: Work) -> None:
    app = make_app(limits=Limits(timeout=0.3))
    slow.may.clear()
    slow.begun.acquire()
    with TestClient(app) as client:
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(
                lambda text: client.post("/embed", json={"texts": [text]}), "ab"
            ))  # fmt: skip
        assert [one.status_code for one in found] == [504, 504]
        assert found[0].json() == {"detail": "no answer within 0.3 seconds"}
        before = len(slow.calls)
        slow.may.set()
        assert client.post("/embed", json={"texts": ["c"]}).status_code == 200
        assert len(slow.calls) <= before + 1  # what was given up was not computed
        assert 'requests_total{path="/embed",status="504"} 2.0' in client.get("/metrics").text


def test_a_fault_of_ours_is_a_500_that_tells_no_secret(
    slow: Work, client: TestClient
) -> None:
    calm = TestClient(client.app, raise_server_exceptions=False)
    calm.portal = client.portal
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(
            lambda text: calm.post("/embed", json={"texts": [text]}), ["a", "fail", "b"]
        ))  # fmt: skip
    assert [one.status_code for one in found] == [200, 500, 200]
    assert "secret" not in found[1].text and "log" in found[1].json()["detail"]


def call(app: Any, messages: list[dict[str, Any]], body: bytes = b"") -> list[dict[str, Any]]:
    """Send a request as an ASGI server does; when no message is left, none comes."""
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "path": "/embed", "raw_path": b"/embed", "query_string": b"", "root_path": "",
        "scheme": "http", "server": ("x", 1), "client": ("y", 2),
        "headers": [(b"content-type", b"application/json")],
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def run() -> None:
        async with app.router.lifespan_context(app):
            await app(scope, receive, send)

    asyncio.run(run())
    return sent


def test_who_has_gone_waits_no_more(slow: Work) -> None:
    app = make_app(limits=Limits(wait=0.2, timeout=SOON))
    before = len(slow.calls)
    body = {"type": "http.request", "body": b'{"texts": ["a"]}', "more_body": False}
    assert call(app, [body, {"type": "http.disconnect"}]) == []
    assert len(slow.calls) == before  # and nothing was computed
    first = {"type": "http.request", "body": b"{", "more_body": True}
    assert call(app, [first, {"type": "http.disconnect"}]) == []
    with TestClient(app) as client:
        assert 'path="/embed",status="499"} 2.0' in client.get("/metrics").text


def test_a_body_that_does_not_come_is_a_408(slow: Work) -> None:
    app = make_app(limits=Limits(timeout=0.1))
    first = {"type": "http.request", "body": b'{"texts": [', "more_body": True}
    start, text = call(app, [first])
    assert start["status"] == 408 and b"was not there after 0.1 seconds" in text["body"]


def test_it_is_ready_only_while_it_takes_requests() -> None:
    app = make_app()
    idle = TestClient(app)
    for found in (idle.get("/health"), idle.post("/answer", json=ASKED)):
        assert found.status_code == 503 and found.json() == {"detail": "not ready"}
    with TestClient(app) as client:
        found = client.get("/health")
        assert found.status_code == 200
        assert found.json() == {"status": "ready", "version": minibert.__version__}
    assert idle.get("/health").status_code == 503


def test_what_programs_may_ask_is_described(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    assert set(schema["paths"]) == {"/answer", "/embed", "/summarize", "/health", "/metrics"}
    for path in ("/answer", "/embed", "/summarize"):
        said = schema["paths"][path]["post"]["responses"]
        assert set(said) == {"200", "408", "413", "422", "503", "504"}
    for name in ("Question", "Texts", "Text"):
        assert schema["components"]["schemas"][name]["additionalProperties"] is False
    assert client.get("/docs").status_code == 404  # its scripts would come from elsewhere


def test_the_page_needs_nothing_from_elsewhere(client: TestClient) -> None:
    found = client.get("/")
    assert found.headers["Content-Type"].startswith("text/html")
    assert found.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert not re.search(r"https?:|//\w|\bsrc=|@import|url\(", found.text)
    assert "innerHTML" not in found.text  # what comes back is text
    for name in re.findall(r'by\("(\w+)"\)', found.text):
        assert f'id="{name}"' in found.text
    assert set(re.findall(r'<label for="(\w+)"', found.text)) == {"context", "question"}


def test_the_counts_are_prometheus_s(client: TestClient) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    client.get("/a/path/that/is/made/up")
    found = client.get("/metrics")
    families = {one.name: one for one in text_string_to_metric_families(found.text)}
    assert {"minibert_requests", "minibert_request_seconds", "minibert_batch_requests",
            "minibert_queue_requests"} <= set(families)  # fmt: skip
    paths = {one.labels["path"] for one in families["minibert_requests"].samples}
    assert "other" in paths and not any("made" in path for path in paths)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to answer")
def test_killed_under_load_and_started_again_nothing_answered_is_wrong() -> None:
    """Then stopped under load: what was accepted is answered, new connections are refused."""
    requests, wanted = questions()
    with served() as first:
        port = first.port
        killer = threading.Timer(1.0, first.process.kill)
        killer.start()
        replies, _ = load(port, requests, 200, 8)
        killer.join()
    assert {one.status for _, one in replies} <= {0, 200}
    assert any(one.status == 0 for _, one in replies)  # it was killed under load
    assert all(is_right(one, wanted[i]) for i, one in replies if one.status)

    long = " ".join(TEXTS * 4)
    heavy = [("/answer", {"question": one["question"], "context": long})
             for _, one in requests[::5]]  # fmt: skip
    right = [answer(one["question"], long, others=0)._asdict() for _, one in heavy]
    with served("--max-batch", "1", port=port) as second:
        assert second.port == port
        with ThreadPoolExecutor(5) as pool:
            found = [pool.submit(Client(port).ask, *one) for one in heavy]
            while second.metric("minibert_queue_requests") < len(heavy) - 1:  # accepted
                time.sleep(0.01)
            second.process.send_signal(signal.SIGTERM)
            replies, _ = load(port, requests, 100, 8)
        assert second.process.wait(SOON) == 0
        assert second.process.stdout.read() == ""
        for one, span in zip(found, right, strict=True):
            assert one.result().status == 200 and is_right(one.result(), span)
        assert all(is_right(one, wanted[i]) for i, one in replies if one.status)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=SOON)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to answer")
def test_stopping_has_a_bound_where_something_is_computed_for_long() -> None:
    long = " ".join(TEXTS * 100)[:20_000]
    with served("--timeout", "0.5") as server, ThreadPoolExecutor(8) as pool:
        asked = [("/answer", {"question": f"Who {i}?", "context": long}) for i in range(8)]
        found = [pool.submit(Client(server.port).ask, *one) for one in asked]
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(SOON) == 0
        statuses = {one.result().status for one in found}
    assert 504 in statuses and statuses <= {0, 200, 504}  # 0: had not come in yet


def run(*words: str) -> int:
    """Run the command here, and leave the signals as they were."""
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        return main(["serve", *words])
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--port 65536", 2, "--port: '65536' is no port"),
        ("--port http", 2, "--port: 'http'"),
        ("--max-batch 0", 2, "--max-batch: '0' is no whole number of 1 or more"),
        ("--max-wait-ms -1", 2, "--max-wait-ms: '-1'"),
        ("--queue 0", 2, "--queue: '0'"),
        ("--timeout 0", 2, "--timeout: '0'"),
        ("--timeout 1 --max-wait-ms 1000", 2, "timeout is 1.0 and wait 1.0"),
        ("--max-characters 0", 2, "--max-characters: '0'"),
        ("--max-texts 1.5", 2, "--max-texts: '1.5'"),
        ("--host 256.0.0.1", 1, "cannot listen at 256.0.0.1, port 8000: "),
        ("--port 0 --model nowhere", 1, "cannot find 'nowhere'"),
        ("--port 0 --model minilm", 2, "minilm has no question-answering head.*qa train"),
        ("--port 0 --embed-model nowhere", 1, "cannot find 'nowhere'"),
    ],
)
def test_what_it_cannot_start_with_is_one_line(
    words: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words.split()) == code
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert line.startswith("minibert: ") and re.search(said, line) and out == ""


def test_a_port_that_is_taken_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run("--port", str(port)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"minibert: cannot listen at 127.0.0.1, port {port}: ")


@pytest.mark.parametrize("missing", ["fastapi", "uvicorn", "prometheus_client"])
def test_without_the_extra_it_is_named(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = minibert.files.find_spec
    monkeypatch.setattr(
        minibert.files, "find_spec", lambda name: None if name == missing else find(name)
    )
    assert run() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert missing in line and line.endswith('pip install "minibert-book[serve]"')


def test_the_module_needs_no_extra_to_be_imported() -> None:
    code = (
        "import sys; import minibert.serving; "
        "print({'fastapi', 'pydantic', 'uvicorn', 'prometheus_client'} & {*sys.modules})"
    )
    assert subprocess.check_output([sys.executable, "-c", code], encoding="utf-8") == "set()\n"


def test_the_container_asks_for_what_there_is() -> None:
    text = (ROOT / "Containerfile").read_text(encoding="utf-8").replace("\\\n", "")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line[:1].isalpha()]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    installed = [line for kind, line in lines if kind == "RUN" and "pip install" in line]
    assert installed[0].split('"')[1].startswith("torch>=")  # first, for the CPU
    assert installed[0].endswith("/whl/cpu")
    assert f'"{extras["models"][0]}"' in installed[1] and "--no-deps" in installed[1]
    asked = re.search(r'"\.\[([\w,]+)\]"', installed[2])[1].split(",")
    assert "serve" in asked and set(asked) <= set(extras)
    for line in (line for kind, line in lines if kind == "COPY"):
        assert all((ROOT / name).exists() for name in line.split()[:-1])
    last = dict(lines)
    *_, user = (line for kind, line in lines if kind == "USER")
    assert user not in ("root", "0")
    program, name, *words = json.loads(last["CMD"])
    assert program == "minibert"
    ctx = command.commands[name].make_context(name, words)
    assert ctx.params["host"] == "0.0.0.0" and str(ctx.params["port"]) == last["EXPOSE"]
    assert f":{last['EXPOSE']}/health" in last["HEALTHCHECK"]
    _, check = last["HEALTHCHECK"].split("CMD ")
    compile(json.loads(check)[-1], "the health check", "exec")


def test_the_record_shows_what_batches_bring() -> None:
    record = json.loads((ROOT / "results" / "serving.json").read_text(encoding="utf-8"))
    rows = {(row["server"], row["clients"]): row for row in record["rates"]}
    assert set(rows) == {(name, clients) for name in SERVERS for clients in (1, 16, 64)}
    for row in rows.values():
        assert 0 < row["p50"] <= row["p99"]
    for name in list(SERVERS)[1:]:  # side by side, on the same machine
        assert rows[name, 16]["times_one_at_a_time"] > 1.2
        assert rows[name, 64]["times_one_at_a_time"] > 1.2
    memory = record["memory"]
    assert memory["requests"] == 10_000
    held = memory["megabytes"]
    assert held["10000"] < 1.03 * held["2000"]
    refused = record["refused"]
    assert all(400 <= one["status"] < 500 and one["reason"] for one in refused["reasons"].values())
    assert set(refused["full_queue"]["statuses"]) == {"200", "503"}
