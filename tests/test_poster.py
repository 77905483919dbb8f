"""The poster: one page of A3, in vectors, whose numbers are counted."""

import re

import poster
import pytest

from minibert.config import BertConfig
from minibert.counting import parameters, total

SAID = poster.Readings(
    pair=["[CLS]", "it", "[MASK]", ".", "[SEP]", "it", "is", "[MASK]", ".", "[SEP]"],
    words={2: {"is": 0.75, "was": 0.125}, 7: {"new": 0.5, "old": 0.25}},
    follows=0.875,
    question=["[CLS]", "who", "bit", "?", "[SEP]", "the", "dog", "bit", ".", "[SEP]"],
    starts=[0, 0, 0, 0, 0, 1, 0, 0, 0, 0],
    ends=[0, 0, 0, 0, 0, 0, 1, 0, 0, 0],
)


@pytest.fixture(scope="module")
def fig():
    return poster.draw(SAID)


@pytest.fixture(scope="module")
def files(fig, tmp_path_factory):
    return poster.write(fig, tmp_path_factory.mktemp("poster"))


def test_it_says_what_is_counted_and_what_the_models_said(fig):
    texts = " ".join(text.get_text() for ax in [fig, *fig.axes] for text in ax.texts)
    assert f"{total(parameters(BertConfig())):,} parameters" in texts
    for words in "30,522 × 768", "12 heads of 64", "335,141,888", "is 75%", "is next 88%":
        assert words in texts


def test_nothing_stands_beyond_the_paper_or_is_too_small(fig):
    fig.canvas.draw()
    page = fig.bbox
    for text in [t for ax in [fig, *fig.axes] for t in ax.texts if t.get_text()]:
        box = text.get_window_extent()
        assert page.x0 <= box.x0 and box.x1 <= page.x1, text.get_text()
        assert page.y0 <= box.y0 and box.y1 <= page.y1, text.get_text()
        assert text.get_fontsize() >= 7, text.get_text()


def test_it_is_one_page_of_a3_without_pixels(files):
    pdf, svg = (path.read_bytes() for path in files)
    assert pdf.startswith(b"%PDF") and len(re.findall(rb"/Type /Page\b", pdf)) == 1
    box = re.search(rb"/MediaBox \[ *0 0 ([\d.]+) ([\d.]+) *\]", pdf)
    width, height = (float(x) / 72 * 25.4 for x in box.groups())  # millimetres
    assert (width, height) == pytest.approx((420, 297), abs=1)
    assert b"/Subtype /Image" not in pdf and b"<image" not in svg
    assert poster.ALT.encode() in svg
