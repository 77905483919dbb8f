"""Each chapter's page says when it was last run, as its run wrote it down."""

import html
import json
import re

import badge
import pytest
from test_site import ROOT, SITE, need

RUNS = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))["metadata"].get("run")
    for path in sorted((ROOT / "book").glob("*.ipynb"))
}


def shown(name: str) -> list[str]:
    page = SITE / "book" / f"{name}.html"
    need(page.is_file(), "the site is not built: make html")
    text = html.unescape(page.read_text(encoding="utf-8"))
    found = re.findall(r'</h1>\s*<div class="last-run[^>]*>\s*<span>([^<]*)</span>', text)
    assert len(found) == text.count("last-run")
    return found


def test_some_chapters_have_a_stamp():
    assert any(RUNS.values())


@pytest.mark.parametrize("name", RUNS)
def test_the_page_shows_the_stamp_of_the_run(name):
    found = shown(name)
    if (SITE.parent / "run").is_dir():  # make book has run it since
        assert all(one.startswith("Last run on ") for one in found)
    else:
        assert found == [badge.say(run) for run in [RUNS[name]] if run]


def test_pages_that_are_never_run_have_none():
    assert shown("glossary") == []
