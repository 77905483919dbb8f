"""The files to take along: whole, and with links that lead somewhere.

They must have been made (make downloads); otherwise these tests skip, or fail in the CI.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator
from pathlib import Path
from posixpath import join, normpath
from urllib.parse import unquote, urldefrag

import downloads
import pypdf
import pytest
from test_site import SITE, need, start_browser

PDF, EPUB, ZIP = (SITE / "downloads" / f"{downloads.NAME}.{kind}" for kind in downloads.SAYS)
NAMES = [name for name, _ in downloads.contents()]
HTML = "{http://www.w3.org/1999/xhtml}"
MATHML = "{http://www.w3.org/1998/Math/MathML}"
OPF = "{http://www.idpf.org/2007/opf}"


@pytest.fixture(scope="module", autouse=True)
def made() -> None:
    need(all(file.is_file() for file in (PDF, EPUB, ZIP)), "no files yet: make downloads")


def title(name: str) -> str:
    """The title of a page of the site, with its number."""
    page = (SITE / "book" / f"{name}.html").read_text(encoding="utf-8")
    heading = re.search(r"<article.*?<h1>(.*?)<a class=\"headerlink\"", page, re.DOTALL)[1]
    return re.sub(r"<[^>]+>", "", heading).strip()


@pytest.fixture(scope="module")
def pdf() -> Iterator[pypdf.PdfReader]:
    with pypdf.PdfReader(PDF) as one:
        yield one


def test_the_pdf_has_each_chapter_in_its_outline(pdf: pypdf.PdfReader):
    top = [one for one in pdf.outline if not isinstance(one, list)]
    assert [" ".join(one.title.split()) for one in top] == [*map(title, NAMES), "Answers"]
    places = [pdf.get_destination_page_number(one) for one in top]
    assert places == sorted(set(places)) and places[0] >= 2  # after the cover and the contents
    below = [len(one) for one in pdf.outline if isinstance(one, list)]
    assert len(below) >= 20 and min(below) >= 1  # sections
    for name, place in zip(NAMES, places, strict=False):
        assert title(name).split()[-1] in pdf.pages[place].extract_text()
    contents = "\n".join(page.extract_text() for page in pdf.pages[1 : places[0]])
    for name, place in zip(NAMES, places, strict=False):
        assert re.search(rf"{re.escape(title(name))}\s*{place + 1}\b", contents), name


def test_no_page_of_the_pdf_is_blank_and_it_is_small(pdf: pypdf.PdfReader):
    assert {tuple(map(round, page.mediabox[2:])) for page in pdf.pages} == {(595, 842)}  # A4
    marks = [len(page.get_contents().get_data()) for page in pdf.pages]
    assert len(marks) > 200 and min(marks) > 1000, marks.index(min(marks))
    assert PDF.stat().st_size < 25e6


def test_the_pdf_has_each_picture_of_the_site(pdf: pypdf.PdfReader):
    shown = {
        name for page in SITE.glob("book/*.html") if page.stem in NAMES
        for name in re.findall(r'src="\.\./_images/([^"]+\.png)"', page.read_text(encoding="utf-8"))
    }  # fmt: skip
    drawn = set()
    for page in pdf.pages:
        for one in (page["/Resources"].get("/XObject") or {}).values():
            if one.get_object()["/Subtype"] == "/Image":
                drawn.add(one.idnum)
    assert len(shown) > 80 and len(drawn) >= len(shown)


def test_links_inside_the_pdf_lead_somewhere(pdf: pypdf.PdfReader):
    names, count = set(pdf.named_destinations), 0
    for page in pdf.pages:
        for one in page.get("/Annots") or []:
            note = one.get_object()
            goal = note.get("/Dest", note.get("/A", {}).get("/D"))
            if goal is not None:
                assert not isinstance(goal, str) or goal in names, goal
                count += 1
            else:
                assert note["/A"]["/URI"].startswith(("http", "mailto:")), note["/A"]
    assert count > 500


@pytest.fixture(scope="module")
def epub() -> dict[str, bytes]:
    with zipfile.ZipFile(EPUB) as packed:
        first = packed.infolist()[0]
        assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
        assert packed.read("mimetype") == b"application/epub+zip"
        assert len(set(packed.namelist())) == len(packed.namelist())
        return {name: packed.read(name) for name in packed.namelist()}


@pytest.fixture(scope="module")
def pages(epub: dict[str, bytes]) -> dict[str, ET.Element]:
    """The pages of the EPUB, each well-formed."""
    return {name: ET.fromstring(text) for name, text in epub.items() if name.endswith(".xhtml")}


def test_the_epub_lists_what_it_holds(epub: dict[str, bytes], pages: dict[str, ET.Element]):
    package = ET.fromstring(epub["book/package.opf"])
    items = {one.get("id"): one for one in package.iter(f"{OPF}item")}
    listed = {f"book/{one.get('href')}" for one in items.values()}
    apart = {"mimetype", "META-INF/container.xml", "book/package.opf"}
    assert listed == epub.keys() - apart and len(items) == len(listed)
    order = [items[one.get("idref")].get("href") for one in package.iter(f"{OPF}itemref")]
    assert order == [f"{name}.xhtml" for name in ("cover", "nav", *NAMES, "answers")]
    links = [one.get("href") for one in pages["book/nav.xhtml"].iter(f"{HTML}a")]
    assert links == order[2:]
    kinds = {one.get("properties") for one in items.values()}
    assert kinds == {None, "nav", "cover-image", "mathml"}
    assert EPUB.stat().st_size < 20e6


def test_links_inside_the_epub_lead_somewhere(
    epub: dict[str, bytes], pages: dict[str, ET.Element]
):
    ids = {name: [x.get("id") for x in page.iter() if x.get("id")] for name, page in pages.items()}
    assert all(len(set(some)) == len(some) for some in ids.values())
    for name, page in pages.items():
        for one in page.iter():
            target = one.get("href", one.get("src"))
            if target is None or re.match(r"https?:|mailto:", target):
                continue
            address, anchor = urldefrag(target)
            file = normpath(join("book", unquote(address))) if address else name
            assert file in epub, (name, target)
            assert not anchor or unquote(anchor) in ids[file], (name, target)


def test_what_is_folded_on_the_site_stands_at_the_end(pages: dict[str, ET.Element]):
    answers = {
        one.get("href").split("#")[1]: one for one in pages["book/answers.xhtml"].iter(f"{HTML}a")
        if "#asked-" in one.get("href", "")
    }  # fmt: skip
    asked, solutions = [], 0
    for name in NAMES:
        page = pages[f"book/{name}.xhtml"]
        assert [x.tag for x in page.iter() if x.tag in (f"{HTML}details", f"{HTML}script")] == []
        for one in page.iter(f"{HTML}p"):
            if one.get("class") == "folded":
                asked.append(one.get("id"))
                assert answers[asked[-1]].get("href") == f"{name}.xhtml#{asked[-1]}"
                solutions += one.find(f"{HTML}a").text == "Solution"
    assert asked == [*answers]
    site = [(SITE / "book" / f"{name}.html").read_text(encoding="utf-8") for name in NAMES]
    assert solutions == sum(text.count("<summary><b>Solution</b></summary>") for text in site) > 100
    blocks = [
        "".join(block.itertext()).strip()
        for name in NAMES for block in pages[f"book/{name}.xhtml"].iter(f"{HTML}pre")
    ]  # fmt: skip
    assert len(blocks) > 900 and "not yet" not in blocks  # what a check says of no answer
    plain = "\n".join(blocks)
    for module in ("attention", "bert", "qa"):  # also where the site folds it
        assert f"# minibert/{module}.py" in plain


def test_formulas_of_the_epub_are_mathml(pages: dict[str, ET.Element]):
    count = sum(1 for page in pages.values() for _ in page.iter(f"{MATHML}math"))
    assert count > 100
    for name, page in pages.items():
        for one in page.iter():
            if "math" in one.get("class", "").split():
                assert one.find(f"{MATHML}math") is not None, name


def test_the_zip_opens_without_a_server_or_a_network(tmp_path: Path):
    with zipfile.ZipFile(ZIP) as packed:
        packed.extractall(tmp_path)
    (folder,) = tmp_path.iterdir()
    assert ZIP.stat().st_size < 20e6
    for page in folder.glob("book/*.html"):
        for target in re.findall(r'(?:href|src)="([^"]*)"', page.read_text(encoding="utf-8")):
            address = unquote(urldefrag(target)[0].split("?")[0])
            if address and not re.match(r"[a-z]+:", address):
                assert (page.parent / address).exists(), (page.name, target)
    with start_browser() as browser:
        page = browser.new_page()
        asked, errors = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((folder / "index.html").as_uri())
        page.wait_for_url("**/book/welcome.html")
        page.goto((folder / "search.html").as_uri() + "?q=attention")
        page.locator("#search-results ul.search li a").first.wait_for()
        page.locator("#search-results p.search-summary", has_text="finished").wait_for()
        assert {*errors} <= {"Failed to fetch"}  # the excerpts below what was found
        errors.clear()
        page.locator("#search-results ul.search li a").first.click()
        page.wait_for_url("**/book/*.html*")
        page.goto((folder / "book" / "downloads.html").as_uri())
        assert page.locator("#downloads a").get_attribute("href").startswith("https://")
        page.goto((folder / "book" / "ask.html").as_uri())
        assert page.locator("[data-live=ask] img").is_visible()
        assert errors == [] and all(url.startswith(("file:", "data:")) for url in asked)


def test_the_site_offers_them_with_their_sizes():
    text = (SITE / "book" / "downloads.html").read_text(encoding="utf-8")
    found = re.findall(r'<a href="\.\./downloads/([^"]+)">(\w+)</a>, ([\d.]+) MB', text)
    assert [(one, kind) for one, kind, _ in found] == [
        (file.name, file.suffix[1:].upper()) for file in (PDF, EPUB, ZIP)
    ]
    for name, _, size in found:
        megabytes = (SITE / "downloads" / name).stat().st_size / 1e6
        assert float(size) == pytest.approx(megabytes, abs=0.051)


def test_the_same_book_gives_the_same_bytes(tmp_path: Path):
    one, two = tmp_path / "one.zip", tmp_path / "two.zip"
    for file in (one, two):
        downloads.pack(file, [("mimetype", b"x"), ("a", b"y")])
    assert one.read_bytes() == two.read_bytes()
