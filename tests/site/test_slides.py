"""The slides of two chapters in a browser: each fits, and nothing comes from elsewhere."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import slides
from test_site import start_browser

# How far the shown slide goes beyond the window, and what of it is not there.
LOOK = """() => {
    const slide = Reveal.getCurrentSlide();
    const over = [...slide.querySelectorAll('*')].map(e => e.getBoundingClientRect())
        .filter(r => r.width && r.height)
        .map(r => Math.max(r.right - innerWidth, r.bottom - innerHeight, -r.left, -r.top));
    const images = [...slide.querySelectorAll('img')];
    return {over: Math.max(...over), broken: images.filter(i => !i.naturalWidth).length,
            alts: images.map(i => i.alt), text: slide.innerText};
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with start_browser() as one:
        yield one


@pytest.mark.parametrize("name", ["attention", "counting"])
def test_each_slide_fits(browser: Any, tmp_path: Path, name: str):
    (page_file,) = slides.build([name], tmp_path)
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(page_file.as_uri())
    page.wait_for_function("() => window.MathJax?.startup?.promise")
    page.evaluate("() => MathJax.startup.promise.then(() => 0)")
    page.evaluate("() => Reveal.configure({transition: 'none'})")
    count = page.evaluate("() => Reveal.getTotalSlides()")
    assert 15 <= count <= 80
    pictures = 0
    for number in range(count):
        page.evaluate(f"() => Reveal.slide({number})")
        seen = page.evaluate(LOOK)
        assert seen["over"] <= 0, f"slide {number}: {seen['text']}"
        assert not seen["broken"] and all(len(alt) > 20 for alt in seen["alts"])
        assert seen["text"].strip()
        pictures += len(seen["alts"])
    assert pictures >= 3
    assert page.evaluate("() => document.querySelectorAll('mjx-container').length") > 0
    assert page.evaluate("() => document.querySelectorAll('mjx-merror').length") == 0
    assert errors == [] and all(url.startswith(("file:", "data:", "blob:")) for url in asked)
    page.close()
