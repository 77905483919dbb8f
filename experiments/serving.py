"""Load `minibert serve` on this machine; into results/serving.json.

    python experiments/serving.py               all of it, some minutes
    python experiments/serving.py --share 0.05  so much of it, printed only

Three servers run, loaded in turns by clients that each wait for an answer before they ask
again: one that computes one request at a time, one that computes together what waits
anyway, and one that waits 5 ms for more. Before, 10,000 requests go to one of them, whose
memory is looked at, and what is refused is counted. `served`, `Client` and `load` are what
tests/test_serving.py uses too.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import itertools
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median, quantiles
from typing import Any, NamedTuple

import numpy as np
from record import RESULTS, ROOT, circumstances

RECORD = RESULTS / "serving.json"
JSON = {"Content-Type": "application/json"}
SERVERS = {
    "one at a time": ("--max-batch", "1", "--max-wait-ms", "0"),
    "batches of what waits": ("--max-batch", "16", "--max-wait-ms", "0"),
    "batches, 5 ms for more": ("--max-batch", "16", "--max-wait-ms", "5"),
}
CLIENTS = {1: 20, 16: 96, 64: 192}  # requests of a round
ROUNDS = 3
TEXTS = [
    "The Danube rises in Germany and ends in the Black Sea.",
    "An octopus has eight arms and three hearts.",
    "Marie Curie was born in Warsaw and worked in Paris.",
    "Mercury is the smallest planet of the Solar System.",
    "Mercury is the only metal that is liquid at room temperature.",
]
QUESTIONS = ["Where does the Danube end?", "How many hearts has an octopus?",
             "Where was Marie Curie born?", "What is the smallest planet?",
             "Which metal is liquid?"]  # fmt: skip


class Reply(NamedTuple):
    """What came back; status 0 is no answer."""

    status: int
    body: Any
    seconds: float


class Client:
    """A connection that is kept, and opened again where it broke."""

    def __init__(self, port: int, timeout: float = 60) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def ask(self, path: str, body: Any = None) -> Reply:
        """Send an object as JSON, or bytes as they are; nothing is a GET."""
        start = time.perf_counter()
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        try:
            self.connection.request("GET" if data is None else "POST", path, data, JSON)
            response = self.connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            return Reply(0, None, time.perf_counter() - start)
        seconds = time.perf_counter() - start
        is_json = response.headers.get_content_subtype() == "json"
        return Reply(response.status, json.loads(text) if is_json else text.decode(), seconds)


class Server(NamedTuple):
    """A process that serves."""

    process: subprocess.Popen[str]
    port: int

    def memory(self) -> float:
        """Megabytes that it holds."""
        return round(self.metric("process_resident_memory_bytes") / 1e6, 1)

    def metric(self, name: str) -> float:
        """Read one number of its metrics."""
        text = Client(self.port).ask("/metrics").body
        return float(re.search(rf"^{re.escape(name)} (.+)$", text, re.MULTILINE)[1])


@contextmanager
def served(*flags: str, port: int = 0) -> Iterator[Server]:
    """Start a server, one thread wide, and end it if it has not ended."""
    command = [sys.executable, "-m", "minibert", "serve", "--threads", "1", "--port", str(port)]
    process = subprocess.Popen(
        [*command, *flags], stdout=subprocess.PIPE, encoding="utf-8", cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = re.search(r":(\d+)/", line)
        if not address:
            raise RuntimeError(f"the server said {line!r}")
        yield Server(process, int(address[1]))
    finally:
        process.kill()
        process.wait()


def load(
    port: int, requests: Sequence[tuple[str, Any]], count: int, clients: int
) -> tuple[list[tuple[int, Reply]], float]:
    """Send `count` requests, round and round, from so many clients at once.

    Returns:
        Which request each reply is to, and the reply; and the seconds
        that all took.
    """
    numbers, replies = iter(range(count)), list[tuple[int, Reply]]()
    lock = threading.Lock()

    def work() -> None:
        client = Client(port)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            which = number % len(requests)
            replies.append((which, client.ask(*requests[which])))

    threads = [threading.Thread(target=work) for _ in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return replies, time.perf_counter() - start


def questions() -> tuple[list[tuple[str, Any]], list[dict[str, Any]]]:
    """Give every question beside every text, and what `answer` says to it."""
    from minibert import answer

    pairs = list(itertools.product(QUESTIONS, TEXTS))
    wanted = [answer(*pair, others=0)._asdict() for pair in pairs]
    return [("/answer", {"question": q, "context": c}) for q, c in pairs], wanted


def is_right(reply: Reply, wanted: dict[str, Any]) -> bool:
    """Whether a reply is the span that was found without a server."""
    same = all(reply.body[name] == wanted[name] for name in ("text", "start", "end"))
    return same and abs(reply.body["probability"] - wanted["probability"]) < 1e-5


def check(replies: list[tuple[int, Reply]], wanted: list[dict[str, Any]]) -> None:
    """Stop where a reply is missing or wrong."""
    wrong = [x for i, x in replies if x.status != 200 or not is_right(x, wanted[i])]
    if wrong:
        raise SystemExit(f"{len(wrong)} of {len(replies)} replies are wrong: {wrong[0]}")


def milliseconds(replies: list[Reply]) -> dict[str, float]:
    """Give p50 and p99 of the time to an answer."""
    cuts = quantiles([1000 * reply.seconds for reply in replies], n=100, method="inclusive")
    return {"p50": round(cuts[49], 1), "p99": round(cuts[98], 1)}


def measure_rates(share: float) -> list[dict[str, Any]]:
    """Load the servers in turns."""
    requests, wanted = questions()
    measured = collections.defaultdict[tuple[str, int], list[tuple[list[Reply], float]]](list)
    with ExitStack() as stack:
        servers = {k: stack.enter_context(served(*flags)) for k, flags in SERVERS.items()}
        for server in servers.values():
            load(server.port, requests, max(16, int(64 * share)), 16)  # the first are slower
        for number in range(ROUNDS):
            for clients, count in CLIENTS.items():
                total = max(clients, int(count * share))
                for name, server in servers.items():
                    replies, seconds = load(server.port, requests, total, clients)
                    check(replies, wanted)
                    measured[name, clients].append(([x for _, x in replies], total / seconds))
            print(f"round {number + 1} of {ROUNDS}", flush=True)
    rows = []
    for (name, clients), rounds in measured.items():
        single = measured["one at a time", clients]
        ratios = [rate / base for (_, rate), (_, base) in zip(rounds, single, strict=True)]
        row = {
            "server": name, "flags": " ".join(SERVERS[name]), "clients": clients,
            "requests": sum(len(replies) for replies, _ in rounds),
            "per_second": round(median(rate for _, rate in rounds), 1),
            "times_one_at_a_time": round(median(ratios), 2),
            **milliseconds([reply for replies, _ in rounds for reply in replies]),
        }  # fmt: skip
        print(row, flush=True)
        rows.append(row)
    return rows


def measure_memory(count: int) -> dict[str, Any]:
    """Look at a server's memory while it embeds texts of many lengths."""
    from minibert import embed

    chance = random.Random(0)
    words = " ".join(TEXTS).split()
    texts = [" ".join(chance.choices(words, k=chance.randint(1, 12))) for _ in range(997)]
    requests = [("/embed", {"texts": [text]}) for text in texts]
    wanted = embed(texts)
    with served(*SERVERS["batches, 5 ms for more"]) as server:
        seconds, megabytes = 0.0, {"0": server.memory()}
        for part in range(1, 11):
            replies, more = load(server.port, requests, count // 10, 16)
            seconds += more
            for i, reply in replies:
                if reply.status != 200 or np.abs(reply.body["vectors"][0] - wanted[i]).max() > 1e-5:
                    raise SystemExit(f"{requests[i]}: {reply}")
            megabytes[str(part * count // 10)] = server.memory()
            print(f"{part * count // 10:,} requests, {server.memory()} MB", flush=True)
    return {
        "what": "one text of 1 to 12 words, /embed", "requests": count, "clients": 16,
        "seconds": round(seconds), "megabytes": megabytes,
    }  # fmt: skip


def measure_refusals(share: float) -> dict[str, Any]:
    """Ask a server with a short queue too much, and what it does not take."""
    requests, wanted = questions()
    bad = {
        "no JSON": b"{", "NaN": b'{"question": "Who?", "context": "Ann.", "threshold": NaN}',
        "a body too long": b" " * 2_000_000,
        "a text too long": {"question": "Who?", "context": "a" * 20_001},
        "another type": {"question": "Who?", "context": 1},
        "an unknown field": {"question": "Who?", "context": "Ann.", "model": "mine"},
        "no word": {"question": "Who?", "context": " "},
    }  # fmt: skip
    with served("--queue", "8", "--max-batch", "4") as server:
        client = Client(server.port)
        reasons = {}
        for name, body in bad.items():
            reply = client.ask("/answer", body)
            reasons[name] = {"status": reply.status, "reason": reply.body["detail"]}
        replies, _ = load(server.port, requests, max(64, int(640 * share)), 64)
    right = [(i, reply) for i, reply in replies if reply.status == 200]
    check(right, wanted)
    counts = collections.Counter(reply.status for _, reply in replies)
    full = {
        "queue": 8, "clients": 64, "statuses": {str(k): n for k, n in sorted(counts.items())},
        **milliseconds([reply for _, reply in right]),
    }  # fmt: skip
    print(reasons, full, sep="\n", flush=True)
    return {"reasons": reasons, "full_queue": full}


def main() -> int:
    """Measure all, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="of the requests (default: 1)")
    share = parser.parse_args().share
    import torch

    torch.set_num_threads(1)  # as in the servers
    record: dict[str, Any] = {"command": "python experiments/serving.py"}
    record["machine"] = (
        f"{os.cpu_count()} cores that others used too; clients and servers share them: "
        "compare rows, not seconds"
    )
    record["what"] = "a question beside a text of 7 to 11 words, /answer; every reply is checked"
    record["memory"] = measure_memory(int(10_000 * share))
    record["refused"] = measure_refusals(share)
    record["rates"] = measure_rates(share)
    record |= circumstances("fastapi", "uvicorn", "tokenizers")
    if share >= 1:
        RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
