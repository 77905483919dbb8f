"""Every picture has a text that says what is seen, and its colours are told apart."""

import io
import itertools
import json
import re
from base64 import b64decode
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt
from matplotlib import pyplot as plt
from PIL import Image

from minibert import diagrams, figures
from minibert.config import BertConfig

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
if not NOTEBOOKS:
    pytest.skip("the book is not here", allow_module_level=True)
PAGES = [path for folder in ("", "book", "book/source") for path in (ROOT / folder).glob("*.md")]


# Texts


class Pictures(HTMLParser):
    """Gather the texts of the pictures in some HTML: None or empty for one without."""

    def __init__(self, html):
        super().__init__()
        self.texts, self.svg, self.titled = [], None, False
        self.feed(html)
        self.close()
        self.handle_endtag("svg")  # one that was left open

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "img":
            # the site takes the text, like the picture, from a chapter (tools/askpage.py)
            self.texts.append(given.get("alt") or written(given.get("data-from")))
        elif tag == "svg" and given.get("aria-hidden") != "true":
            self.svg = given.get("aria-label") or ""
        self.titled = tag == "title"

    def handle_data(self, data):
        if self.titled and self.svg is not None:
            self.svg += data

    def handle_endtag(self, tag):
        self.titled = False
        if tag == "svg" and self.svg is not None:
            self.texts.append(self.svg)
            self.svg = None


def in_notebook(path):
    """Give the text of each picture among a notebook's outputs."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        pictures = 0
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if any(kind.startswith("image/") for kind in data):
                pictures += 1
                # where the site looks for it; a second picture would have none
                said = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt")
                yield said if pictures == 1 else None
            elif "text/html" in data:
                yield from Pictures("".join(data["text/html"])).texts


def in_markdown(text):
    """Give the text of each picture that a page's Markdown or HTML shows."""
    html = ""
    for token in MarkdownIt().parse(text):
        for part in token.children or [token]:
            if part.type == "image":
                yield part.content
            elif part.type in ("html_block", "html_inline"):
                html += part.content
            elif part.type == "text":
                html += escape(part.content)
    yield from Pictures(html).texts


def written(source):
    """Give the text of the chapter's picture that `data-from="CHAPTER: TEXT"` names."""
    name, _, begins = (source or "").partition(": ")
    path = ROOT / "book" / f"{name}.ipynb"
    texts = in_notebook(path) if path.is_file() else ()
    return next((text for text in texts if text and text.startswith(begins)), None)


def says_something(text):
    """Whether a text is more than empty, a file's name, or a word or two."""
    words = re.findall(r"[^\W\d_]{2,}", text or "")
    return len(words) >= 4 and not re.search(r"\.(png|svg|jpe?g|gif)$", text.strip())


def test_the_book_has_pictures():
    assert sum(len(list(in_notebook(path))) for path in NOTEBOOKS) > 80
    texts = (path.read_text(encoding="utf-8") for path in PAGES)
    assert sum(len(list(in_markdown(text))) for text in texts) > 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_pictures_in_a_notebook_have_a_text(path):
    assert [text for text in in_notebook(path) if not says_something(text)] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_pictures_on_a_page_have_a_text(path):
    texts = in_markdown(path.read_text(encoding="utf-8"))
    assert [text for text in texts if not says_something(text)] == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("book/static/*.svg")), ids=lambda path: path.stem)
def test_drawings_in_files_have_a_text(path):
    texts = Pictures(path.read_text(encoding="utf-8")).texts
    assert texts and all(map(says_something, texts))


@pytest.mark.parametrize(
    "page",
    [
        "![](map.png)", "![map.png](map.png)", "![the map](map.png)", '<img src="map.png">',
        '<p>a map: <img alt="" src="map.png"></p>', "<svg><path d='M0 0'/></svg>",
        "<div><svg><g></g></svg></div>", '<img data-from="qa: No such picture.">',
    ],
)  # fmt: skip
def test_a_picture_without_a_text_is_found(page):
    texts = list(in_markdown(page))
    assert len(texts) == 1 and not says_something(texts[0])


@pytest.mark.parametrize(
    "page",
    [
        "![Five words, each looking at the others](map.png)",
        '<img src="map.png" alt="Five words, each looking at the others">',
        "<svg><title>Five words, each looking at the others</title></svg>",
        '<svg aria-label="Five words, each looking at the others"></svg>',
        '<img data-from="qa: BERT answering a question.">',
    ],
)
def test_a_picture_with_a_text_is_not_blamed(page):
    assert [says_something(text) for text in in_markdown(page)] == [True]


def test_code_that_shows_a_picture_is_none():
    assert list(in_markdown("```html\n<img src=x>\n```\nand `![](y.png)`")) == []


def test_a_second_picture_in_a_cell_has_no_text(tmp_path):
    cell = {"metadata": {"mystnb": {"image": {"alt": "one two three four"}}}}
    cell["outputs"] = [{"data": {"image/png": ""}}, {"data": {"image/png": ""}}]
    path = tmp_path / "two.ipynb"
    path.write_text(json.dumps({"cells": [cell]}), encoding="utf-8")
    assert list(in_notebook(path)) == ["one two three four", None]


# Colours

# Linear RGB as an eye sees it that lacks one kind of cone: Machado et al. 2009, severity 1.
SEEN = {
    "all cones": np.eye(3),
    "no green cones": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "no red cones": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "no blue cones": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
# What one picture holds against each other by colour.
TOGETHER = [
    ("token", "segment", "position", "special"),
    ("query", "key", "value"),
    ("token", "segment", "special", "masked"),
]
PAIRS = sorted({pair for group in TOGETHER for pair in itertools.combinations(group, 2)})
FILLED = [name for name in figures.COLOURS if name not in ("padding", "card", "faint")]


def linear(colour):
    """Give the linear RGB of `#RRGGBB`, 0 to 1."""
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def luminance(colour):
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


def contrast(one, other):
    """The contrast of WCAG 2, from 1 to 21."""
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def lab(rgb):
    """Give CIE L*a*b* (D65) of linear RGB."""
    to_xyz = np.array(
        [[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]]
    )
    ratio = (to_xyz @ np.clip(rgb, 0, 1)) / to_xyz.sum(1)
    x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def apart(one, other, eye):
    """The distance of two colours in L*a*b*, as an eye sees them; 2.3 is just noticeable."""
    seen = [lab(np.array(SEEN[eye]) @ linear(colour)) for colour in (one, other)]
    return float(np.linalg.norm(seen[0] - seen[1]))


def test_these_measures_agree_with_published_values():
    assert contrast("#FFFFFF", "#000000") == pytest.approx(21)
    assert contrast("#767676", "#FFFFFF") == pytest.approx(4.54, abs=0.01)  # WCAG's own example
    assert lab(linear("#0000FF")) == pytest.approx([32.3, 79.2, -107.9], abs=0.3)
    red, green = "#FF0000", "#00A000"
    assert apart(red, green, "no green cones") < apart(red, green, "all cones") / 2


@pytest.mark.parametrize("name", [*FILLED, "faint"])
def test_each_colour_stands_out_from_the_card(name):
    assert contrast(figures.COLOURS[name], figures.COLOURS["card"]) >= 3


@pytest.mark.parametrize("name", FILLED)
def test_text_in_a_box_is_legible(name):
    colour = figures.COLOURS[name]
    ink = figures.ink_on(colour)
    assert contrast("#FFFFFF" if ink == "white" else ink, colour) >= 4.5


@pytest.mark.parametrize("eye", SEEN)
@pytest.mark.parametrize("one, other", PAIRS)
def test_colours_of_one_picture_are_told_apart(one, other, eye):
    assert apart(figures.COLOURS[one], figures.COLOURS[other], eye) >= 11


@pytest.mark.parametrize("one, other", PAIRS)
def test_colours_of_one_picture_are_told_apart_in_grey(one, other):
    grey = [lab(linear(figures.COLOURS[name]))[0] for name in (one, other)]
    assert abs(grey[0] - grey[1]) >= 7


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_pictures_bring_their_own_white(path):
    """On a dark page, too, a picture is seen on the card that its colours were chosen for."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                picture = Image.open(io.BytesIO(b64decode(output["data"]["image/png"])))
                assert "transparency" not in picture.info and picture.mode in ("P", "RGB")
                assert min(picture.convert("RGB").getpixel((0, 0))) >= 250


# The drawings

PAIR = ["[CLS]", "who", "bit", "?", "[SEP]", "the", "dog", "[MASK]", "[SEP]"]
DRAWN = {
    "map": lambda: diagrams.bert_map("mlm"),
    "anatomy": lambda: diagrams.bert_map(sizes=BertConfig()),
    "arrows": lambda: diagrams.attention_arrows(PAIR[1:4], [0.25, 0.25, 0.5], 1),
    "rows": lambda: diagrams.embedding_rows(PAIR, range(100, 109), [0] * 5 + [1] * 4),
    "heads": lambda: diagrams.heads_map(PAIR, {7: {"bit": 0.75, "ran": 0.125}}, 0.875),
    "answer": lambda: diagrams.qa_map(PAIR, [0] * 6 + [1, 0, 0], [0] * 7 + [1, 0]),
    "transformer": diagrams.transformer_map,
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_drawing_is_legible_on_a_phone(name):
    fig, alt = DRAWN[name]()
    column = 358  # CSS pixels of a page's column on a phone of 390
    scale = column / (fig.get_figwidth() * 72)
    sizes = [text.get_fontsize() * scale for text in fig.axes[0].texts if text.get_text()]
    plt.close(fig)
    assert min(sizes) >= 6.9
    assert says_something(alt)


@pytest.mark.parametrize(
    "name, told",
    [
        ("map", ["Lit up here: the masked-word head"]),
        ("anatomy", ["30,522 × 768", "12 heads of 64", "768 × 3,072"]),
        ("arrows", ["from 'bit'", "who 25%, bit 25%, ? 50%"]),
        ("rows", ["100, 101", "0, 0, 0, 0, 0, 1, 1, 1, 1", "0 to 8"]),
        ("heads", ["follows: 88%", "at place 7 bit 75%, ran 12%"]),
        ("answer", ["begin is at 'dog'", "end at '[MASK]'"]),
    ],
)
def test_a_drawings_text_says_what_is_drawn(name, told):
    fig, alt = DRAWN[name]()
    plt.close(fig)
    assert all(words in alt for words in told)


def test_a_picture_is_not_shown_without_a_text():
    fig, _ = figures.new()
    with pytest.raises(ValueError, match="alternative text"):
        figures.show(fig, " ")
    plt.close(fig)
