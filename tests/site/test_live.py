"""The figures that compute in the page: the same numbers as in Python."""

import re

import pytest
import torch
from playwright.sync_api import Page
from test_site import browser, page, server  # noqa: F401

from minibert.attention import attention, causal_mask

FEATURES = {"an": [1, 0, 0, 0], "old": [0, 1, 0, 0], "king": [0, 1, 0, 1], "saw": [0, 0, 1, 0]}


def table(page: Page, name: str) -> torch.Tensor:
    """The numbers that one of the toy's tables shows."""
    rows = page.locator(f"[data-name={name}] tbody tr").all()
    shown = [row.locator("td").all_inner_texts() for row in rows]
    return torch.tensor([[float(x.strip().replace("\u2212", "-")) for x in row] for row in shown])


def slide(page: Page, label: str, value: float) -> None:
    page.get_by_label(label, exact=True).evaluate(
        "(one, value) => { one.value = value; one.dispatchEvent(new Event('input')) }", value
    )


@pytest.mark.parametrize("scaled, back", [(True, False), (False, True)])
def test_the_toy_shows_what_attention_computes(page, server, scaled, back):  # noqa: F811
    page.goto(f"{server}/book/attention.html")
    assert page.locator("[data-name=weights] td[data-i='2']").all_inner_texts() == [
        "0.03", "0.46", "0.03", "0.03", "0.46",
    ]  # fmt: skip
    page.get_by_label("A sentence").fill("an old king saw an old")
    slide(page, "W query, noun, for a verb", -1.75)
    slide(page, "W key, human, for a verb", 3.25)
    page.get_by_label("divide").set_checked(scaled)
    page.get_by_label("look only back").set_checked(back)

    x = torch.tensor([FEATURES[word] for word in "an old king saw an old".split()]).float()
    w_query = torch.tensor([[2, 0], [0, -1.75], [2, 0], [0, 0]])
    w_key = torch.tensor([[0, 0], [2, 0], [0, 2], [0, 3.25]])
    query, key = x @ w_query, x @ w_key
    for name, wanted in [("query", query), ("key", key), ("scores", query @ key.T)]:
        torch.testing.assert_close(table(page, name), wanted, atol=0.0051, rtol=0)
    unscaled = 1 if scaled else 2**0.5
    mixed, weights = attention(query * unscaled, key, x, causal_mask(6) if back else None)
    torch.testing.assert_close(table(page, "weights"), weights, atol=0.0051, rtol=0)
    torch.testing.assert_close(table(page, "mix"), mixed, atol=0.0051, rtol=0)
    assert page.errors == []


def test_the_toy_works_by_keyboard_and_explains(page, server):  # noqa: F811
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"{server}/book/attention.html")
    said = page.locator("[data-live=attention] .said")
    assert said.inner_text().endswith("0.46 of the mixed row of bit is dog.")
    page.get_by_label("W query, verb, for a noun").focus()
    page.keyboard.press("Home")  # -4
    assert re.search(r"bit looks at dog: −4 × 2 \+ 0 × 0 = −8, divided by √2: −5\.66", said.inner_text())
    page.get_by_label("dog, human").press("Enter")
    assert page.get_by_label("dog, human").inner_text() == "1"
    page.get_by_label("looks at").select_option("0")
    assert said.inner_text().startswith("bit looks at the:")
    page.get_by_label("A sentence").fill("a zebra saw nine old red cows eat grass")
    note = page.locator("[data-live=attention] .note").inner_text()
    assert "first 8 words" in note and "zebra" in note
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="As it was").click()
    assert said.inner_text().endswith("0.46 of the mixed row of bit is dog.")
    assert page.errors == []


def test_the_toy_needs_no_server(page, server):  # noqa: F811
    from test_site import SITE

    page.goto((SITE / "book" / "attention.html").as_uri())
    assert page.locator("[data-name=mix] td[data-i]").count() == 20
    assert page.errors == []
