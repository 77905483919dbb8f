"""The rendered site in a real browser, served from this machine and from no other.

`_build/html` must have been built (make html), and Chromium be installed; otherwise
these tests skip with a reason, or fail where CI is set.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

import numpy as np
import pytest
import yaml
from browser import CHROMIUM, start

from minibert.highlight import highlight, highlight_summary
from minibert.inside import Attention, attention_view
from minibert.spans import Answer
from minibert.summaries import Summary

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(os.environ.get("MINIBERT_SITE", ROOT / "_build" / "html"))
FIRST = "book/attention.html"
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]
REDIRECTS = CONFIG["redirects"]  # old page -> new
PAGES = sorted(
    name
    for p in SITE.glob("book/*.html")
    if (name := p.relative_to(SITE).as_posix()).removesuffix(".html") not in REDIRECTS
)

# What a page shows of itself, asked at one width.
LOOK = """() => ({
    formulas: document.querySelectorAll('.math').length,
    drawn: document.querySelectorAll('mjx-container').length,
    wrong: document.querySelectorAll('mjx-merror, [data-mjx-error]').length,
    alts: [...document.querySelectorAll('.bd-article img')].map(i => i.alt),
    broken: [...document.images].filter(i => !i.naturalWidth).map(i => i.src),
    links: [...document.querySelectorAll('a[href]')].map(a => a.href),
    over: document.documentElement.scrollWidth - innerWidth,
    dark: document.documentElement.dataset.theme,
})"""


def need(condition: object, reason: str) -> None:
    if not condition and os.environ.get("CI"):
        pytest.fail(reason)
    if not condition:
        pytest.skip(reason)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    need(PAGES, "the site is not built: make html")
    handler = partial(Quiet, directory=str(SITE))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def start_browser() -> contextlib.AbstractContextManager[Any]:
    """A Chromium of its own; skips, or fails in the CI, where there is none."""
    need(CHROMIUM, "there is no Chromium: apt-get install chromium")
    return start()


@pytest.fixture(scope="module")
def browser(server):
    with start_browser() as one:
        yield one


@pytest.fixture
def page(browser):
    """A fresh page that remembers its console errors and what it asked for."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.errors, page.asked = [], []
    page.on("console", lambda m: m.type == "error" and page.errors.append(m.text))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    yield page
    context.close()


def formulas_settle(page) -> None:
    page.wait_for_load_state("load")
    page.evaluate("() => window.MathJax?.startup?.promise?.then(() => 0)")


def dead(url: str) -> bool:
    """Whether an address inside the site leads nowhere."""
    address, anchor = urldefrag(url)
    target = SITE / unquote(urlsplit(address).path).lstrip("/")
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return True
    return bool(anchor) and f'id="{unquote(anchor)}"' not in target.read_text(encoding="utf-8")


def test_the_site_is_built():
    need(PAGES, "the site is not built: make html")
    assert (SITE / "index.html").is_file() and (SITE / "searchindex.js").is_file()


@pytest.mark.parametrize("name", PAGES)
def test_page(page, server, name):
    page.goto(f"{server}/{name}")
    formulas_settle(page)
    wide = page.evaluate(LOOK)
    page.set_viewport_size({"width": 390, "height": 844})
    phone = page.evaluate(LOOK)
    assert page.errors == []
    assert [url for url in page.asked if not url.startswith((server, "data:"))] == []
    assert wide["drawn"] >= wide["formulas"] and wide["wrong"] == 0
    assert all(alt.strip() and not alt.startswith("../") for alt in wide["alts"])
    assert wide["broken"] == []
    tables = "[...document.querySelectorAll('article p')].map(p => p.textContent.trim())"
    assert [x for x in page.evaluate(tables) if x.startswith("|")] == []  # a table that is none
    inside = {url for url in wide["links"] if url.startswith(server)}
    assert sorted(filter(dead, inside)) == []
    assert wide["over"] <= 0 and phone["over"] <= 0


@pytest.mark.parametrize("old, new", REDIRECTS.items())
def test_an_old_address_leads_to_the_page(page, server, old, new):
    page.goto(f"{server}/{old}.html")
    page.wait_for_url(f"{server}/book/{new}")
    assert page.locator("article h1").count() == 1


def test_formulas_are_drawn_somewhere(page, server):
    page.goto(f"{server}/{FIRST}")
    formulas_settle(page)
    assert page.evaluate(LOOK)["drawn"] > 0


@pytest.mark.parametrize("word, found", [("attention", True), ("qwertyuiop", False)])
def test_search(page, server, word, found):
    page.goto(f"{server}/search.html?q={word}")
    summary = page.locator("#search-results p.search-summary")
    summary.wait_for()
    assert (page.locator("#search-results ul.search li").count() > 0) == found
    assert page.errors == []


def test_colab_opens_the_notebook(page, server):
    page.goto(f"{server}/{FIRST}")
    colab = [u for u in page.evaluate(LOOK)["links"] if "colab.research" in u]
    assert colab and all(u.endswith(FIRST.replace(".html", ".ipynb")) for u in colab)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(page, server, scheme):
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{server}/{PAGES[0]}")
    assert page.evaluate(LOOK)["dark"] == scheme


def test_the_folder_opens_without_a_server(page, server):
    page.goto((SITE / FIRST).as_uri())
    formulas_settle(page)
    assert page.evaluate(LOOK)["drawn"] > 0
    assert [url for url in page.asked if not url.startswith(("file:", "data:"))] == []
    assert page.errors == []
    page.goto((SITE / "search.html").as_uri() + "?q=attention")
    page.locator("#search-results ul.search li").first.wait_for()


# A page with MathJax set to take dollars too, as JupyterLab sets it.
DOLLARS = """<script>window.MathJax = {tex: {inlineMath: [["$", "$"], ["\\\\(", "\\\\)"]]}}</script>
<script src="mathjax/tex-mml-chtml.js"></script><div id="plain">%s</div><div id="ours">%s%s</div>"""


@pytest.mark.parametrize(
    "text",
    [
        "The lamp cost $5 in May, and not $10 in June.", r"It is \(x\) here.",
        "$$ twice $$ and more", r"It is \[ y \] here.", r"a \begin{align} b \end{align} c",
        r"as \ref{a} has it", "one $a$ line\nand $b$ more",
    ],
)  # fmt: skip
def test_text_of_users_is_no_formula(page, server, text):
    summary = Summary([text, "b"], np.array([1.0, 0.0]), (0,))
    shown = highlight(text, Answer(text[4:8], 4, 8, 1.0, 0.5, 0.0)), highlight_summary(summary)
    body = DOLLARS % (f"<p>{text}</p>", *shown)
    page.route("**/dollars.html", lambda route: route.fulfill(body=body, content_type="text/html"))
    page.goto(f"{server}/dollars.html")
    formulas_settle(page)
    assert page.locator("#plain mjx-container").count() > 0
    assert page.locator("#ours mjx-container").count() == 0
    assert " ".join(text.split()) in " ".join(page.locator("#ours").inner_text().split())


def test_attention_answers_the_pointer(page, server):
    page.goto(f"{server}/book/inside.html")
    view = page.locator('[id^="attention-"]')

    def shades() -> list[str]:
        return view.locator(".t span").evaluate_all("all => all.map(w => w.style.background)")

    seen = [shades()]
    view.locator(".t span").nth(2).hover()
    seen.append(shades())
    view.locator("select.l").select_option("0")
    seen.append(shades())
    view.locator("select.h").select_option("2")
    seen.append(shades())
    assert all(one != other for one, other in pairwise(seen))
    assert seen[-1][1] == "rgb(230, 159, 0)"  # all of it on the token before
    assert page.errors == []


def test_attention_shows_a_row_where_scripts_do_not_run(browser, server):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{server}/book/inside.html")
    assert page.locator('[id^="attention-"] .t span').count() > 10
    context.close()


def test_two_figures_of_one_text_answer_each_for_itself(page):
    one = Attention(["a", "b"], [0, 0], np.eye(2, dtype=np.float32)[None, None])
    page.set_content(2 * attention_view(one, query=0))
    views = page.locator('[id^="attention-"]')
    assert views.count() == 2
    for i in range(2):
        assert views.nth(i).locator("select.l option").count() == 1
        views.nth(i).locator(".t span").nth(1).hover()
        assert views.nth(i).locator(".t span").nth(1).get_attribute("title") == "1.00"
    assert page.errors == []
