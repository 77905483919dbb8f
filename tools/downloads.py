"""The whole book to take along, from the site that was built: a PDF, an EPUB and a zip.

    python tools/downloads.py      after make html or make book

They lie in the site's folder downloads/, and the page Take it along offers them. What the site
folds because it answers something (solutions, and outputs on which there is a bet) stands in
the last chapter, *Answers*. Folded code is left out, but for what belongs to the package.
"""

from __future__ import annotations

import copy
import datetime
import functools
import os
import re
import subprocess
import sys
import tomllib
import uuid
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Callable, Iterable, Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urldefrag, urljoin

import browser
import yaml
from bs4 import BeautifulSoup, Tag
from docutils.utils.math.latex2mathml import tex2mathml
from source import ROOT, SITE

from minibert import __version__

STYLE = Path(__file__).with_suffix(".css")
PAPER = STYLE.with_stem("paper")
TITLE = "BERT, from one matrix product up"
NAME = "bert-from-one-matrix-product-up"
AUTHORS = "The minibert-book authors"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ONLINE = PROJECT["urls"]["Homepage"]
ONLINE_ONLY = ("ask", "downloads")  # pages that are of no use on paper
# What the zip leaves out: it is large, and works from a server alone.
SERVED = ("live/*.gz", "live/files.json", "onnxruntime/*", "downloads/*")
NUMBER = re.compile(r"^\d+\.$")  # of an exercise
COLOURED = {"c1", "k", "kc", "kn", "nc", "nf", "s1", "s2", "sd"}  # each tag weighs in the PDF
SAYS = {
    "pdf": "to print, or for a tablet",
    "epub": "for an e-reader",
    "zip": "this site: unpack it and open index.html, no network needed",
}


class Chapter(NamedTuple):
    """One page of the site, without what paper cannot do."""

    name: str
    part: str  # the caption under which the menu has it
    title: str
    body: Tag


class Answers:
    """What was folded, in order, and where it was asked."""

    def __init__(self) -> None:
        self.soup = BeautifulSoup('<section id="answers"><h1>Answers</h1></section>', "html.parser")
        self.section: Tag = self.soup.section
        self.chapter, self.count = "", 0

    def take(self, folded: Tag, chapter: str, title: str) -> None:
        """Move what is folded here, and leave a link in its place."""
        if chapter != self.chapter:
            self.chapter = chapter
            self.section.append(new("h2", title))
        self.count += 1
        solves = "hide" not in folded.get("class", [])
        asks = words(folded.find_previous(["h1", "h2", "h3", "h4"]))
        if solves:
            asks = f"Exercise {folded.find_previous('strong', string=NUMBER).string[:-1]}"
        asked, answer = f"asked-{self.count}", f"answer-{self.count}"
        link = new("a", "Solution" if solves else "What it shows", href=f"answers.html#{answer}")
        place = new("p", id=asked, **{"class": "folded"})
        place.append(link)
        place.append(new("span", **{"class": "page", "data-to": answer}))
        folded.summary.decompose()
        folded.replace_with(place)
        back = new("h3", id=answer)
        back.append(new("a", asks, href=f"{chapter}.html#{asked}"))
        self.section.append(back)
        for one in folded.select("[id]"):
            del one["id"]  # two chapters may have the same
        for one in [*folded.contents]:
            self.section.append(one.extract())


def new(name: str, text: str = "", **attributes: str) -> Tag:
    """A tag that stands nowhere yet."""
    tag = BeautifulSoup("", "html.parser").new_tag(name, attrs=attributes)
    tag.string = text
    return tag


def words(heading: Tag) -> str:
    """What a heading says, without its link."""
    return " ".join(heading.get_text().rstrip("#\n ").split())


@functools.cache
def day() -> datetime.datetime:
    """The date of the files: SOURCE_DATE_EPOCH, or the last commit's."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        command = ["git", "log", "-1", "--format=%ct"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
        epoch = done.stdout.strip() if done.returncode == 0 else "0"
    moment = datetime.datetime.fromtimestamp(int(epoch), datetime.UTC)
    return max(moment, datetime.datetime(1980, 1, 1, tzinfo=datetime.UTC))  # a zip's first day


def contents() -> Iterator[tuple[str, str]]:
    """Each page of the book, as the menu has them, with the caption above it."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    yield Path(toc["root"]).stem, ""
    for part in toc["parts"]:
        for one in part["chapters"]:
            name = Path(one["file"]).stem
            if name not in ONLINE_ONLY:
                yield name, part["caption"]


def clean(body: Tag, name: str, title: str, answers: Answers) -> None:
    """Take away what needs a screen, and move what is folded."""
    for one in body.select("script, link, style, .headerlink, p:has(select)"):
        one.decompose()
    for image in body.select("img[loading]"):
        del image["loading"]  # on paper nothing comes near
    for token in body.select(".highlight span, code span, .sig span"):
        if not COLOURED & {*token.get("class", [])} and "id" not in token.attrs:
            token.unwrap()
    for folded in body.select("details"):
        code = folded.select_one(".cell_input")
        if code is None:
            answers.take(folded, name, title)
        elif code.get_text().lstrip().startswith("# minibert/"):
            folded.summary.decompose()
            folded.replace_with(code.extract())
            code["class"] += ["small"]
        else:
            folded.decompose()
    for output in body.select(".cell_output"):
        if output.get_text().strip() == "not yet":
            output.decompose()
    for cell in body.select(".cell"):
        if not cell.get_text().strip() and not cell.find("img"):
            cell.decompose()


def chapters() -> list[Chapter]:
    """All of the book: the answers come last."""
    found, answers = [], Answers()
    for name, part in contents():
        page = (SITE / "book" / f"{name}.html").read_text(encoding="utf-8")
        article = page[page.index("<article") : page.index("</article>")]  # a third of the page
        body = BeautifulSoup(article, "html.parser").section
        title = words(body.h1)
        clean(body, name, title, answers)
        found.append(Chapter(name, part, title, body))
    return [*found, Chapter("answers", "", "Answers", answers.section)]


def relink(body: Tag, names: set[str], inside: Callable[[str, str], str]) -> None:
    """Let links to pages of the book lead to `inside(page, anchor)`, others to the site."""
    for link in body.select("a[href]"):
        address, anchor = urldefrag(link["href"])
        name = address.removesuffix(".html")
        if name in names or not address:
            link["href"] = inside(name, anchor)
        else:
            link["href"] = urljoin(f"{ONLINE}/book/", link["href"])


# The PDF: one page for Chromium to print.


def cover() -> str:
    """The first page, also a picture for the EPUB."""
    logo = (ROOT / "book" / "static" / "logo.svg").read_text(encoding="utf-8")
    start, _, rest = TITLE.partition(", ")
    return (
        f'<div class="cover">{logo}<p class="title">{start},<br/>{rest}</p>'
        "<p>A book that is also a library</p>"
        f"<p>{AUTHORS}<br/>version {__version__}, {day().day} {day():%B %Y}</p>"
        f"<p>{ONLINE}</p></div>"
    )


COLOPHON = (
    "The text and pictures are under CC BY-SA 4.0, the code under the MIT licence; "
    "<em>Data and licences</em> says more. What the site folds because it answers a question "
    "stands in the last chapter. Code that draws pictures, prints tables or checks an answer is "
    "left out, as on the site before a click; all code of the package is here."
)


def colours() -> str:
    """The site's colours of code, by day."""
    lines = (SITE / "_static" / "pygments.css").read_text(encoding="utf-8").splitlines()
    light = 'html[data-theme="light"] '
    return "\n".join(one.removeprefix(light) for one in lines if one.startswith(light))


def styles() -> str:
    """What the book looks like on paper."""
    return colours() + STYLE.read_text(encoding="utf-8") + PAPER.read_text(encoding="utf-8")


def listed(book: list[Chapter]) -> str:
    """The table of contents; the browser puts the numbers in."""
    lines, part = [], ""
    for one in book:
        if one.part != part:
            part = one.part
            lines.append(f'<li class="part">{escape(part)}</li>' * bool(part))
        lines.append(
            f'<li><a href="#{one.name}">{escape(one.title)}</a>'
            f'<span class="page" data-to="{one.name}"></span></li>'
        )
    return f'<ul class="toc">{"".join(lines)}</ul>'


def printed(book: list[Chapter]) -> str:
    """The whole book as one page."""
    names = {one.name for one in book}
    sections, pages = [], []
    for one in book:
        body = copy.copy(one.body)
        for tag in body.select("[id]"):
            tag["id"] = f"{one.name}--{tag['id']}"
        for tag in body.select("[data-to]"):
            tag["data-to"] = f"answers--{tag['data-to']}"
        for image in body.select("img[src]"):
            image["src"] = urljoin(f"{(SITE / 'book').resolve().as_uri()}/", image["src"])
        relink(
            body, names,
            lambda name, anchor, own=one.name: f"#{name or own}{anchor and f'--{anchor}'}",
        )  # fmt: skip
        body["id"], body["class"] = one.name, "chapter"
        body["style"] = f"page: {one.name}"
        title = one.title.replace('"', "”")
        pages.append(f'@page {one.name} {{ @top-right {{ content: "{title}" }} }}')
        sections.append(str(body))
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{TITLE}</title>
<meta name="author" content="{AUTHORS}">
<style>{styles()}{"".join(pages)}</style>
<script>MathJax = {{options: {{ignoreHtmlClass: "chapter", processHtmlClass: "math"}}}}</script>
<script src="{(SITE / "mathjax" / "tex-mml-chtml.js").resolve().as_uri()}"></script></head>
<body>{cover()}
<div class="contents"><p class="title">Contents</p>{listed(book)}<p>{COLOPHON}</p></div>
{"".join(sections)}</body></html>"""


def paint(chromium: browser.Browser) -> bytes:
    """The cover as a picture."""
    page = chromium.new_page(viewport={"width": 794, "height": 1123})  # A4 in CSS's pixels
    page.set_content(f"<style>{styles()}</style>{cover()}")
    picture = page.screenshot()
    page.close()
    return picture


FILL = """numbers => document.querySelectorAll(".page").forEach(
    one => one.textContent = numbers[one.dataset.to] ?? "")"""


def write_pdf(book: list[Chapter], file: Path, chromium: browser.Browser) -> None:
    """Print the book twice: the second time with the numbers of its pages."""
    import pypdf

    page = chromium.new_page()
    source = file.with_suffix(".html")
    source.write_text(printed(book), encoding="utf-8")
    page.goto(source.as_uri())
    page.evaluate("() => MathJax.startup.promise.then(() => document.fonts.ready).then(() => 0)")
    wanted = {
        "path": file, "prefer_css_page_size": True, "print_background": True,
        "tagged": True, "outline": True,
    }  # fmt: skip
    page.pdf(**wanted)
    with pypdf.PdfReader(file) as pdf:
        where = {
            name.removeprefix("/"): pdf.get_destination_page_number(target) + 1
            for name, target in pdf.named_destinations.items()
        }
    page.evaluate(FILL, where)
    page.pdf(**wanted)
    page.close()
    source.unlink()
    stamp = f"(D:{day():%Y%m%d%H%M%S}".encode()
    file.write_bytes(re.sub(rb"\(D:\d{14}", stamp, file.read_bytes()))


# The EPUB: a page for each chapter, in the XHTML that e-readers want.

XHTML = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops" \
lang="en" xml:lang="en">
<head><title>{title}</title><link rel="stylesheet" type="text/css" href="style.css"/></head>
<body>{body}</body></html>
"""
CONTAINER = """<?xml version="1.0" encoding="utf-8"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>
<rootfile full-path="book/package.opf" media-type="application/oebps-package+xml"/>
</rootfiles></container>
"""
PACKAGE = """<?xml version="1.0" encoding="utf-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id" xml:lang="en">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:identifier id="id">urn:uuid:{id}</dc:identifier>
<dc:title>{title}</dc:title><dc:language>en</dc:language><dc:creator>{authors}</dc:creator>
<dc:rights>CC BY-SA 4.0; code: MIT</dc:rights><dc:source>{online}</dc:source>
<meta property="dcterms:modified">{day:%Y-%m-%dT%H:%M:%SZ}</meta>
</metadata>
<manifest>
{manifest}
</manifest>
<spine>
{spine}
</spine></package>
"""
KINDS = {".xhtml": "application/xhtml+xml", ".css": "text/css", ".png": "image/png",
         ".svg": "image/svg+xml"}  # fmt: skip
OLD = ("align", "border", "cellpadding", "cellspacing", "valign")  # HTML of before 2014


def as_mathml(formula: Tag) -> None:
    """Put MathML in a formula's place."""
    tex = formula.get_text().strip()[2:-2].replace("{split}", "{aligned}")
    markup = tex2mathml(tex, as_block=formula.name == "div")
    formula.clear()
    formula.append(BeautifulSoup(markup, "html.parser"))


def tidy(drawing: bytes) -> bytes:
    """A drawing of matplotlib's without what EPUB forbids: a document type, and empty paths."""
    for prefix, name in (("", "2000/svg"), ("xlink", "1999/xlink")):
        ET.register_namespace(prefix, f"http://www.w3.org/{name}")
    root = ET.fromstring(drawing)
    for path in root.iter("{http://www.w3.org/2000/svg}path"):
        path.attrib.setdefault("d", "M0 0")
    return ET.tostring(root, encoding="utf-8", xml_declaration=True)


def navigation(book: list[Chapter]) -> str:
    """The table of contents, as e-readers want it."""
    parts: dict[str, list[str]] = {}
    for one in book:
        link = f'<li><a href="{one.name}.xhtml">{escape(one.title)}</a></li>'
        parts.setdefault(one.part or one.name, []).append(link)
    named = {one.part for one in book}
    lines = [
        f"<li><span>{escape(part)}</span><ol>{''.join(links)}</ol></li>"
        if part in named else "".join(links)
        for part, links in parts.items()
    ]  # fmt: skip
    return f'<nav epub:type="toc" id="toc"><h1>Contents</h1><ol>{"".join(lines)}</ol></nav>'


def packed(book: list[Chapter], picture: bytes) -> Iterator[tuple[str, bytes]]:
    """Each file of the EPUB, in order."""
    names = {one.name for one in book}
    files: dict[str, bytes] = {}
    for one in book:
        for formula in one.body.select(".math"):
            as_mathml(formula)
        for image in one.body.select("img[src]"):
            source = (SITE / "book" / image["src"]).resolve()
            image["src"] = f"images/{source.name}"
            content = source.read_bytes()
            files[image["src"]] = tidy(content) if source.suffix == ".svg" else content
        for tag in one.body.find_all(lambda tag: tag.attrs.keys() & set(OLD)):
            tag.attrs = {key: tag.attrs[key] for key in tag.attrs if key not in OLD}
        relink(
            one.body, names,
            lambda name, anchor: (name and f"{name}.xhtml") + (anchor and f"#{anchor}"),
        )  # fmt: skip
        page = XHTML.format(title=escape(one.title), body=one.body)
        files[f"{one.name}.xhtml"] = page.encode()
    cover_page = f'<p><img src="cover.png" alt="{TITLE}"/></p>'
    files["cover.xhtml"] = XHTML.format(title=TITLE, body=cover_page).encode()
    files["nav.xhtml"] = XHTML.format(title="Contents", body=navigation(book)).encode()
    files["cover.png"] = picture
    files["style.css"] = (colours() + STYLE.read_text(encoding="utf-8")).encode()

    properties = {"nav.xhtml": "nav", "cover.png": "cover-image"}
    properties |= {name: "mathml" for name, content in files.items() if b"<math" in content}
    manifest = [
        f'<item id="{re.sub(r"[^a-z0-9]", "-", "i-" + name.lower())}" href="{name}" '
        f'media-type="{KINDS[Path(name).suffix]}"'
        + (f' properties="{properties[name]}"' if name in properties else "") + "/>"
        for name in files
    ]  # fmt: skip
    order = ["cover", "nav", *(one.name for one in book)]
    package = PACKAGE.format(
        id=uuid.uuid5(uuid.NAMESPACE_URL, f"{ONLINE}#{__version__}"), title=TITLE,
        authors=AUTHORS, online=ONLINE, day=day(), manifest="\n".join(manifest),
        spine="\n".join(f'<itemref idref="i-{name}-xhtml"/>' for name in order),
    )  # fmt: skip
    yield "mimetype", b"application/epub+zip"
    yield "META-INF/container.xml", CONTAINER.encode()
    yield "book/package.opf", package.encode()
    yield from ((f"book/{name}", content) for name, content in files.items())


def pack(file: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write a zip: the same bytes from the same members on the same day."""
    with zipfile.ZipFile(file, "w") as out:
        for name, content in members:
            about = zipfile.ZipInfo(name, day().timetuple()[:6])
            about.external_attr = 0o644 << 16
            stored = name == "mimetype"  # so that its type stands at the file's beginning
            about.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            out.writestr(about, content)


# The zip, and the page that offers all three.

PLACE = re.compile(r'(<div id="downloads">).*?(</div>)', re.DOTALL)
ELSEWHERE = f'<p>They are on <a href="{ONLINE}/book/downloads.html">the book’s site</a>.</p>'


def site() -> Iterator[tuple[str, bytes]]:
    """The files of the site, less what works from a server alone."""
    for path in sorted(SITE.rglob("*")):
        name = path.relative_to(SITE)
        if path.is_file() and not any(name.match(pattern) for pattern in SERVED):
            content = path.read_bytes()
            if name.as_posix() == "book/downloads.html":
                content = offered(content.decode(), ELSEWHERE).encode()
            yield f"{NAME}/{name.as_posix()}", content


def offered(page: str, what: str) -> str:
    """The page Take it along with this in its place."""
    return PLACE.sub(lambda found: found[1] + what + found[2], page)


def offer(files: list[Path]) -> None:
    """Let the page Take it along offer the files, with their sizes."""
    rows = [
        f'<li><a href="../downloads/{file.name}">{kind.upper()}</a>, '
        f"{file.stat().st_size / 1e6:.1f} MB: {SAYS[kind]}</li>"
        for file in files
        for kind in [file.suffix[1:]]
    ]
    page = SITE / "book" / "downloads.html"
    text = offered(page.read_text(encoding="utf-8"), f"<ul>{''.join(rows)}</ul>")
    page.write_text(text, encoding="utf-8")


def main() -> int:
    """Write the three files, and offer them."""
    if not (SITE / "book" / "downloads.html").is_file():
        raise SystemExit("There is no site yet: make html")
    folder = SITE / "downloads"
    folder.mkdir(exist_ok=True)
    files = [folder / f"{NAME}.{kind}" for kind in SAYS]
    pdf, epub, whole = files
    book = chapters()
    with browser.start() as chromium:
        write_pdf(book, pdf, chromium)
        picture = paint(chromium)
    pack(epub, packed(book, picture))
    pack(whole, site())
    offer(files)
    for file in files:
        print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
