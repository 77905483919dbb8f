"""The rendered site in a real browser, served from this machine and from no other.

`_build/html` must have been built (make html), and Chromium be installed; otherwise
these tests skip with a reason, or fail where CI is set.
"""

import contextlib
import gzip
import io
import os
import re
import threading
import xml.etree.ElementTree as ET
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
from axe_playwright_python.sync_playwright import Axe
from browser import CHROMIUM, start
from PIL import Image
from source import ROOT, SITE

from minibert.highlight import highlight, highlight_summary
from minibert.inside import Attention, attention_view
from minibert.spans import Answer
from minibert.summaries import Summary

FIRST = "book/attention.html"
BOOK = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
CONFIG, PUBLIC = BOOK["sphinx"]["config"], BOOK["html"]["baseurl"]
BASE = CONFIG["notfound_urls_prefix"]  # the site's path on the host that publishes it
REDIRECTS = CONFIG["redirects"]  # old page -> new
PAGES = sorted(
    name
    for p in SITE.glob("book/*.html")
    if (name := p.relative_to(SITE).as_posix()).removesuffix(".html") not in REDIRECTS
)
OTHERS = ["genindex.html", "py-modindex.html", "search.html", "404.html"]
WEIGHT = 1_500_000  # bytes that a page may take on the wire, with all that it loads

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
    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # a browser that went to another page
            super().handle()

    def log_message(self, *args: object) -> None:
        pass


class Host(Quiet):
    """As a static host does it: text goes packed, and 404.html stands for what is not there.

    The site lies below BASE, as where it is published, and at the top.
    """

    protocol_version = "HTTP/1.1"
    extensions_map = Quiet.extensions_map | {".mjs": "text/javascript"}

    def send_head(self) -> io.BytesIO:
        address = urlsplit(self.path).path
        path = Path(self.translate_path("/" + address.removeprefix(BASE).lstrip("/")))
        if path.is_dir():
            path /= "index.html"
        found = path.is_file()
        path = path if found else SITE / "404.html"
        content, kind = path.read_bytes(), self.guess_type(path)
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", kind)
        if re.search(r"text|javascript|json|xml", kind) and path.suffix != ".gz":
            content = gzip.compress(content, 6)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return io.BytesIO(content)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    need(PAGES, "the site is not built: make html")
    handler = partial(Host, directory=str(SITE))
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


def weigh(page) -> list[int]:
    """The bytes of each thing that a page gets from now on, as they come over the wire."""
    found: list[int] = []
    client = page.context.new_cdp_session(page)
    client.send("Network.enable")
    client.on("Network.loadingFinished", lambda event: found.append(event["encodedDataLength"]))
    return found


def settle(page) -> None:
    """Wait until all formulas and pictures are there, also those that come when they are near."""
    page.wait_for_load_state("load")
    page.evaluate("""() => Promise.all([...document.images].map((one) => {
        one.loading = "eager";
        return one.decode().catch(() => 0);  // what is broken is found later
    })).then(() => 0)""")
    page.evaluate("() => window.drawFormulas?.().then(() => 0)")


# No colour is on its way, and nothing waits to be laid out until it is near.
SETTLED = """*, ::before, ::after { transition: none !important }
    .bd-article section { content-visibility: visible !important }"""


def barriers(page, only: list[str] | None = None) -> list[str]:
    """What axe finds to be serious or critical for readers with a handicap, and where."""
    page.add_style_tag(content=SETTLED)
    size = page.viewport_size
    tall = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size(size | {"height": tall})  # what waits until it is near has come
    page.evaluate("() => new Promise(requestAnimationFrame)")
    page.set_viewport_size(size)
    options: dict[str, Any] = {"resultTypes": ["violations"], "preload": False}
    if only:
        options["runOnly"] = only
    return [
        f"{fault['id']}: {node['target']}: {node['html'][:200]}"
        for fault in Axe().run(page, options=options).response["violations"]
        if fault["impact"] in ("serious", "critical") for node in fault["nodes"]
    ]  # fmt: skip


def dead(url: str) -> bool:
    """Whether an address inside the site leads nowhere."""
    address, anchor = urldefrag(url)
    target = SITE / unquote(urlsplit(address).path).removeprefix(BASE).lstrip("/")
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return True
    return bool(anchor) and f'id="{unquote(anchor)}"' not in target.read_text(encoding="utf-8")


def test_the_site_is_built():
    need(PAGES, "the site is not built: make html")
    assert (SITE / "index.html").is_file() and (SITE / "searchindex.js").is_file()


@pytest.mark.parametrize("name", [*PAGES, *OTHERS])
def test_page(page, server, name):
    weight = weigh(page)
    page.emulate_media(color_scheme="light")
    page.goto(f"{server}/{name}")
    page.wait_for_load_state("load")
    found = {"light": barriers(page)}
    page.emulate_media(color_scheme="dark")  # which changes nothing but the colours
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    found["dark"] = barriers(page, ["color-contrast", "link-in-text-block"])
    settle(page)
    wide = page.evaluate(LOOK)
    page.set_viewport_size({"width": 390, "height": 844})
    phone = page.evaluate(LOOK)
    assert page.errors == []
    assert [url for url in page.asked if not url.startswith((server, "data:"))] == []
    assert found == {"light": [], "dark": []}
    assert 10_000 < sum(weight) < WEIGHT
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
    settle(page)
    assert page.evaluate(LOOK)["drawn"] > 0


@pytest.mark.parametrize("word, found", [("attention", True), ("qwertyuiop", False)])
def test_search(page, server, word, found):
    page.goto(f"{server}/search.html?q={word}")
    summary = page.locator("#search-results p.search-summary")
    summary.wait_for()
    assert (page.locator("#search-results ul.search li").count() > 0) == found
    assert page.errors == []


@pytest.mark.parametrize(
    "words, chapter",
    [
        ("doc stride", "qa"), ("pooler", "bert"), ("109482240", "counting"),
        ("109,482,240", "counting"), ("LayerNorm", "transformer"), ("weight decay", "training"),
    ],
)  # fmt: skip
def test_the_search_puts_the_chapter_that_explains_it_first(page, server, words, chapter):
    page.goto(f"{server}/book/welcome.html")
    page.keyboard.press("Control+K")
    page.locator("#pst-search-dialog input").fill(words)
    page.keyboard.press("Enter")
    first = page.locator("#search-results ul.search li a").first
    assert urlsplit(first.get_attribute("href")).path.endswith(f"book/{chapter}.html")
    assert page.errors == []


def test_the_search_knows_which_pages_are_no_chapters():
    need(PAGES, "the site is not built: make html")
    order = (ROOT / CONFIG["html_search_scorer"]).read_text(encoding="utf-8")
    names = re.findall(r'"([\w-]+)",', order.split("new Set")[1])
    assert {f"book/{name}.html" for name in names} <= set(PAGES)
    chapters = {path.stem for path in (ROOT / "book" / "source").glob("*.md")}
    assert set(names) & chapters == {"records", "welcome"}


@pytest.mark.parametrize("name", ["ask", "attention", "qa"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_no_barriers(page, server, name, scheme):
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{server}/book/{name}.html")
    assert barriers(page) == []


@pytest.mark.parametrize("address", ["nothing", "book/nothing.html", "a/b/c/d/nothing"])
def test_what_is_not_there_has_a_page_at_any_depth(page, server, address):
    replies = []
    page.on("response", lambda reply: replies.append(reply))
    page.goto(server + BASE + address)
    page.wait_for_load_state("load")
    assert page.inner_text("article h1") == "No such page"
    bad = [reply.url for reply in replies if reply.status != 200]
    assert bad == [server + BASE + address]
    look = page.evaluate(LOOK)
    inside = {url for url in look["links"] if url.startswith(server)}
    assert len(inside) > len(PAGES) and not look["broken"]
    assert sorted(url for url in inside if "#" not in url and dead(url)) == []
    page.locator("article a").first.click()
    page.wait_for_url(f"{server}{BASE}book/welcome.html")


def test_the_map_holds_each_page_once_and_robots_find_it():
    need(PAGES, "the site is not built: make html")
    root = ET.parse(SITE / "sitemap.xml").getroot()
    found = [place.text for place in root.iter() if place.tag.endswith("loc")]
    assert sorted(found) == [PUBLIC + name for name in PAGES]
    robots = (SITE / "robots.txt").read_text(encoding="utf-8")
    assert f"\nSitemap: {PUBLIC}sitemap.xml\n" in robots and "Disallow" not in robots
    assert urlsplit(PUBLIC).path == BASE


def test_each_page_says_what_it_is_where_a_link_to_it_is_shared(browser):
    page, said = browser.new_page(java_script_enabled=False), set()
    for name in PAGES:
        page.goto((SITE / name).as_uri(), wait_until="commit")
        page.wait_for_selector("article h1", state="attached")
        tags = dict(page.evaluate("""() => [...document.querySelectorAll('meta[content]')]
            .map(tag => [tag.getAttribute('property') || tag.name, tag.content])"""))
        assert tags["og:url"] == PUBLIC + name
        assert tags["og:image"] == f"{PUBLIC}_static/preview.png"
        assert tags["twitter:card"] == "summary_large_image" and tags["og:image:alt"]
        assert tags["og:title"] in page.text_content("article h1")
        assert len(tags["description"]) > 40 and tags["description"] == tags["og:description"]
        said.add(tags["description"])
    assert len(said) == len(PAGES)  # none says what another says
    page.close()
    size = Image.open(SITE / "_static" / "preview.png").size
    asked = "".join(CONFIG["ogp_custom_meta_tags"])
    assert size == tuple(map(int, re.findall(r'(?:width|height)" content="(\d+)"', asked)))


def test_the_sites_address_leads_to_the_first_page_and_says_what_it_says(page, server):
    first = (SITE / "book" / "welcome.html").read_text(encoding="utf-8")
    index = (SITE / "index.html").read_text(encoding="utf-8")
    tags = re.findall(r'<meta (?:name="description"|property="og:)[^>]*>', first)
    assert len(tags) > 5 and all(tag in index for tag in tags)
    page.goto(server + BASE)
    page.wait_for_url(f"{server}{BASE}book/welcome.html")
    assert page.errors == []


def test_how_to_cite_is_what_the_citation_file_says(page, server):
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    page.goto(f"{server}/book/data.html")
    entry = page.locator("#how-to-cite pre").text_content().strip()
    assert entry.startswith("@software{") and entry.count("{") == entry.count("}")
    for wanted in (cited["title"], cited["version"], cited["url"], cited["authors"][0]["name"]):
        assert wanted in entry


def test_the_icons_that_the_pages_use_are_there_and_few_others(page, server):
    assert (SITE / "_static" / "scripts" / "fontawesome.js").stat().st_size < 200_000
    page.goto(f"{server}/{FIRST}")
    page.locator("svg.fa-magnifying-glass").first.wait_for(state="attached")
    assert page.locator("i[class*='fa-'], svg.fa-circle-question").count() == 0
    empty = "all => all.filter(icon => !icon.querySelector('path')).length"
    assert page.locator("svg[class*='fa-']").evaluate_all(empty) == 0


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
    settle(page)
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
    settle(page)
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
