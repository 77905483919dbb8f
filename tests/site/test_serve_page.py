"""The page of `minibert serve` in a real browser, from this machine and from no other."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from playwright.sync_api import Page
from test_site import start_browser

from minibert.serving import Limits, make_app


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        app = make_app(limits=Limits(characters=200))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [ours]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{ours.getsockname()[1]}/"
        server.should_exit = True
        thread.join()


@pytest.fixture
def page(address: str) -> Iterator[Page]:
    with start_browser() as chromium:
        page = chromium.new_page(viewport={"width": 320, "height": 700})
        page.errors, page.asked = [], []
        page.on("console", lambda m: m.type == "error" and page.errors.append(m.text))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(address)
        yield page


def test_the_page_lights_up_the_answer(page: Page, address: str) -> None:
    page.click("button")
    page.wait_for_selector("mark")
    assert page.inner_text("mark") == "the Black Sea"
    assert page.inner_text("#answer") == page.input_value("#context").strip()

    context = "\U0001f419\U0001f419 <b>An octopus</b> has three hearts."  # two of UTF-16 each
    page.fill("#context", context)
    page.fill("#question", "How many hearts has an octopus?")
    page.click("button")
    page.wait_for_selector("mark:text-is('three')")
    assert page.inner_text("#answer") == context and page.query_selector("#answer b") is None
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.errors == []
    assert {url for url in page.asked if not url.startswith("data:")} == {
        address, f"{address}answer",
    }  # fmt: skip


def test_the_page_tells_why_it_was_refused(page: Page) -> None:
    page.fill("#context", "a" * 201)
    page.click("button")
    page.wait_for_selector("#answer:has-text('200')")
    assert page.inner_text("#answer").startswith("context: String should have at most")
