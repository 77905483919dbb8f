"""How long the page Ask the page takes, and what rounding its model costs; results/ask.json.

    make html; python experiments/ask.py

A Chromium of its own, without anything kept, loads the site from this machine: from the click
to the first answer, three times; then questions of LeadQA's dev part are typed in one after
the other, and each answer is compared with the one that the model gives without rounding.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import threading
import time
from functools import partial
from http.server import ThreadingHTTPServer

import numpy as np
from playwright.sync_api import Browser, Page
from record import RESULTS, ROOT, circumstances

from minibert import answer
from minibert.squad import load_leadqa

sys.path.append(str(ROOT / "tests" / "site"))
from test_site import SITE, Quiet, start_browser

QUESTIONS, FIRST = 50, 3
PHONE = 4  # how much slower than this machine's is a phone's processor taken to be


def submit(page: Page) -> float:
    """Ask what stands in the fields; give the seconds until the answer stands there."""
    begun = time.perf_counter()
    page.get_by_label("A question").press("Enter")
    page.wait_for_function(
        "!document.querySelector('[data-live=ask] form > p > button').disabled", timeout=300_000
    )
    return time.perf_counter() - begun


def first_answer(chromium: Browser, address: str, slower: int) -> tuple[Page, float]:
    """Open the page as somebody does who was never there, and ask."""
    page = chromium.new_context().new_page()
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": slower})
    page.goto(address)
    page.locator("[data-live=ask] form").wait_for()
    return page, submit(page)


def read_answer(page: Page) -> tuple[str, float, float]:
    """The best answer, its probability, and the milliseconds that it took."""
    figure = page.locator("[data-live=ask]")
    row = figure.locator(".answers li").first.inner_text()
    share = float(re.search(r"([\d.]+) %$", row.strip())[1]) / 100
    took = float(re.search(r"([\d.]+) ms", figure.locator("form > p[role=status]").inner_text())[1])
    return figure.locator("mark").inner_text(), share, took


def measure(address: str) -> dict[str, object]:
    """All that the record says."""
    manifest = json.loads((SITE / "live" / "files.json").read_text(encoding="utf-8"))
    sizes = {name: file["bytes"] for name, file in manifest["files"].items()}
    needed = [*manifest["runtime"], *manifest["parts"]["ask"]]
    times: dict[int, list[float]] = {1: [], PHONE: []}
    with start_browser() as chromium:
        for _ in range(FIRST):
            for slower, seconds in times.items():
                page, took = first_answer(chromium, address, slower)
                seconds.append(round(took, 2))
                page.context.close()
        page, _ = first_answer(chromium, address, 1)
        same, gaps, again = 0, [], []
        for question in load_leadqa("dev")[:QUESTIONS]:
            page.get_by_label("A paragraph", exact=True).fill(question.context)
            page.get_by_label("A question").fill(question.question)
            submit(page)
            text, share, took = read_answer(page)
            exact = answer(question.question, question.context)
            same += text == exact.text
            if text == exact.text:
                gaps.append(abs(share - exact.probability))
            again.append(took)
        version = chromium.version
    return {
        "command": "python experiments/ask.py",
        "machine": "2 cores that others used too; the site came from the same machine",
        "browser": f"Chromium {version}",
        "bytes": {"answering": sum(sizes[name] for name in needed), "all": sum(sizes.values())},
        "first_answer_seconds": {"as it is": times[1], f"slowed {PHONE} times": times[PHONE]},
        "next_answers": {
            "questions": QUESTIONS,
            "median_milliseconds": statistics.median(again),
            "most_milliseconds": max(again),
        },
        "against_no_rounding": {
            "same_answer": same,
            "mean_difference_of_probability": round(float(np.mean(gaps)), 4),
            "largest": round(float(np.max(gaps)), 4),
        },
    } | circumstances("onnxruntime", "playwright")


def main() -> None:
    """Measure, and write the record."""
    handler = partial(Quiet, directory=str(SITE))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        record = measure(f"http://127.0.0.1:{http.server_port}/book/ask.html")
        http.shutdown()
    file = RESULTS / "ask.json"
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
