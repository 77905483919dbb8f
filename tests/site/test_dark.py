"""On a dark page each picture keeps its white card and its colours."""

import pytest
from test_site import browser, page, server  # noqa: F401, fixtures

LOOK = """() => [...document.querySelectorAll('.bd-article img')].map(image => {
    const style = getComputedStyle(image);
    return [style.backgroundColor, style.filter];
})"""


@pytest.mark.parametrize("name", ["attention", "qa", "teaching"])
def test_pictures_keep_their_white(page, server, name):  # noqa: F811
    page.emulate_media(color_scheme="dark")
    page.goto(f"{server}/book/{name}.html")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    seen = page.evaluate(LOOK)
    assert seen and {tuple(one) for one in seen} == {("rgb(255, 255, 255)", "none")}
