"""The figures that compute in the page: the same numbers as in Python."""

# ruff: noqa: F811 (a fixture is imported, and then an argument)

import gzip
import json
import random
import re
import threading
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from playwright.sync_api import Page, expect
from test_site import SITE, Quiet, barriers, need, page, server, start_browser  # noqa: F401

from minibert import answer, embed
from minibert.attention import attention, causal_mask
from minibert.config import BertConfig
from minibert.data import leads
from minibert.exported import ExportedModel
from minibert.spans import choose_answer, read_windows
from minibert.squad import load_leadqa
from minibert.tokens import Tokenizer
from minibert.windows import cut_windows

LIVE = SITE / "live"
ASK = "book/ask.html"
WAIT = 120_000  # ms; the machine may be busy

FEATURES = {"an": [1, 0, 0, 0], "old": [0, 1, 0, 0], "king": [0, 1, 0, 1], "saw": [0, 0, 1, 0]}


@pytest.fixture
def browser():
    """A new one for each test: a model takes hundreds of megabytes of a browser."""
    with start_browser() as one:
        yield one


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
def test_the_toy_shows_what_attention_computes(page, server, scaled, back):
    page.goto(f"{server}/book/attention.html")
    assert page.locator("[data-name=weights] td[data-i='2']").all_inner_texts() == [
        "0.03", "0.46", "0.03", "0.03", "0.46",
    ]  # fmt: skip
    page.get_by_label("A sentence").fill("an old king saw an old")
    slide(page, "W query, noun, for a verb", -1.75)
    slide(page, "W key, human, for a verb", 3.25)
    page.get_by_label("divide").set_checked(scaled)
    page.get_by_label("look only back").set_checked(back)

    x = torch.tensor([*map(FEATURES.get, ["an", "old", "king", "saw", "an", "old"])]).float()
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


def test_the_toy_works_by_keyboard_and_explains(page, server):
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"{server}/book/attention.html")
    said = page.locator("[data-live=attention] .said")
    assert said.inner_text().endswith("0.46 of the mixed row of bit is dog.")
    page.get_by_label("W query, verb, for a noun").focus()
    page.keyboard.press("Home")  # -4
    sums = r"bit looks at dog: −4 × 2 \+ 0 × 0 = −8, divided by √2: −5\.66"
    assert re.search(sums, said.inner_text())
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
    check_barriers(page)
    assert page.errors == []


def test_the_toy_needs_no_server(page, server):
    page.goto((SITE / "book" / "attention.html").as_uri())
    assert page.locator("[data-name=mix] td[data-i]").count() == 20
    assert page.errors == []


def unpack(name: str) -> bytes:
    need((LIVE / "files.json").is_file(), "the site is not built: make html")
    return gzip.decompress((LIVE / f"{name}.gz").read_bytes())


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """The files that the page computes with, as they are read in Python."""
    folder = tmp_path_factory.mktemp("live")
    for name in ("words.bin", "qa.onnx", "minilm.onnx", "small.onnx"):
        (folder / name).write_bytes(unpack(name))
    return folder


def open_session(file: Path) -> onnxruntime.InferenceSession:
    """Run a file as it is written: on x86 products would be rounded to 8 bits, too."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(file, options)


def in_python(folder: Path, file: str, name: str) -> tuple[Any, Tokenizer]:
    model = ExportedModel(folder / file, BertConfig.from_pretrained(name))
    model.session = open_session(folder / file)
    return model, Tokenizer.from_pretrained(name)


def strange_texts() -> list[str]:
    """Texts of many alphabets, and of any characters at all; the same every time."""
    draw = random.Random(0)
    alphabets = [
        (0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700),
        (0x900, 0xE00), (0x1100, 0x1200), (0x1E00, 0x2000), (0x2000, 0x2100), (0x3040, 0x3100),
        (0x4E00, 0x5000), (0xAC00, 0xAC80), (0xFB00, 0xFB50), (0x1F300, 0x1F700),
        (0x20000, 0x20010), (0x20, 0xD800), (0xE000, 0x30000),
    ]  # fmt: skip
    texts = []
    for _ in range(4000):
        chosen = draw.choices(alphabets, k=3)
        letters = (chr(draw.randrange(*draw.choice(chosen))) for _ in range(draw.randrange(1, 40)))
        texts.append("".join(" " if draw.random() < 0.15 else c for c in letters))
    return texts


TEXTS = [
    "", "  ", "[MASK] x[SEP]y [mask]", "a" * 100, "a" * 101, "e\u0301te\u0301 \u200d x",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 family", "\0a\ufffdb\u200bc\u0085d",
]  # fmt: skip


@pytest.mark.parametrize("file, name", [("minilm", "minilm-qa"), ("small", "leads-small")])
def test_the_page_cuts_texts_as_python_does(page, server, file, name):
    texts = [*TEXTS, *strange_texts()]
    for lead in [*leads("dev"), *leads("test")]:
        texts += [lead.title, lead.description, lead.text]
    assert len(texts) > 6000
    tokenizer = Tokenizer.from_pretrained(name)
    described = json.loads(unpack(f"{file}.json"))
    page.goto(f"{server}/{ASK}")
    found = page.evaluate(
        """async given => {
            const { Tokenizer } = await import("../live/tokenizer.js");
            const [described, texts] = JSON.parse(given);
            const tokenizer = new Tokenizer(described);
            return JSON.stringify(texts.map(text => {
                const { ids, offsets } = tokenizer.encode(text);
                return [ids, offsets];
            }));
        }""",
        json.dumps([described, texts]),
    )
    for text, (ids, offsets) in zip(texts, json.loads(found), strict=True):
        wanted = tokenizer.encode(text, add_special_tokens=False)
        assert ids == wanted.ids, text
        assert [*map(tuple, offsets)] == wanted.offsets, text


def test_the_page_reads_scores_as_python_does(page, server):
    """Texts of one to ten windows, with scores drawn by chance."""
    tokenizer = Tokenizer.from_pretrained("minilm-qa")
    draw = np.random.default_rng(0)
    questions, cases, wanted = load_leadqa("dev")[:40], [], []
    for i, one in enumerate(questions):
        size = [384, 64, 96][i % 3]
        longest, others = [30, 1, 7][i % 3], i % 5
        windows = cut_windows(one.question, one.context, tokenizer, size)
        scores = []

        def score(rows, scores=scores):
            arrays = [draw.normal(0, 4, (2, len(row["input_ids"]))).round(1) for row in rows]
            scores += [x.tolist() for x in arrays]
            return arrays[0][:1], arrays[0][1:]

        (merged,) = read_windows(
            [windows], score, longest=longest, count=others + 1, batch_size=1
        )
        # The shortest windows come first there: the last one.
        order = sorted(range(len(scores)), key=lambda k: (len(windows.rows[k]["input_ids"]), k))
        by_window = [scores[order.index(k)] for k in range(len(scores))]
        wanted.append(choose_answer(one.context, windows.offsets, merged, others=others))
        cases.append([one.question, one.context, size, by_window, others, longest])
    page.goto(f"{server}/{ASK}")
    found = page.evaluate(
        """async given => {
            const { Tokenizer } = await import("../live/tokenizer.js");
            const { cutWindows, chooseAnswers } = await import("../live/answers.js");
            const [described, cases] = JSON.parse(given);
            const tokenizer = new Tokenizer(described);
            return cases.map(([question, context, size, scores, others, longest]) => {
                const windows = cutWindows(question, context, tokenizer, size);
                const given = scores.map(([start, end]) => ({ start, end }));
                return chooseAnswers(context, windows, given, { others, longest }).answers;
            });
        }""",
        json.dumps([json.loads(unpack("minilm.json")), cases]),
    )
    assert max(len(case[3]) for case in cases) > 5
    for case, ours in zip(found, wanted, strict=True):
        for got, want in zip(case, (ours, *ours.others), strict=True):
            assert (got["text"], got["start"], got["end"]) == want[:3]
            assert got["probability"] == pytest.approx(want.probability, rel=1e-9)
            assert got["noAnswer"] == pytest.approx(want.no_answer)


def test_what_is_loaded_is_small_and_comes_on_a_click(page, server):
    page.goto(f"{server}/{ASK}")
    button = page.locator("[data-live=ask] form button").first
    button.wait_for()
    size = float(re.search(r"Load ([\d.]+) MB, then answer", button.inner_text())[1])
    assert not [url for url in page.asked if url.endswith((".gz", ".mjs")) or ".gz?" in url]
    said = json.loads((LIVE / "files.json").read_text(encoding="utf-8"))
    sizes = {name: one["bytes"] for name, one in said["files"].items()}
    for name, one in said["files"].items():
        assert (LIVE / one["address"]).stat().st_size == sizes[name]
    assert sum(sizes.values()) <= 45e6
    assert sizes["qa.onnx"] + sizes["words.bin"] <= 30e6
    asked = {*said["runtime"], *said["parts"]["ask"]}
    assert size == pytest.approx(sum(sizes[name] for name in asked) / 1e6, abs=0.06)
    assert sum((LIVE / name).stat().st_size for name in ("attention.js", "live.css")) < 1e6


def answers(page: Page) -> list[tuple[str, float]]:
    """The answers that stand in the page, with their probabilities."""
    rows = page.locator("[data-live=ask] .answers li").all_inner_texts()
    found = [re.fullmatch(r"(.+) ([\d.]+) %", row.strip(), re.S).groups() for row in rows]
    return [(text, float(share) / 100) for text, share in found]


def submit(page: Page, part: str, result: str) -> None:
    """Press Enter in the last field, and wait for what comes."""
    figure = page.locator(f"[data-live={part}]")
    figure.locator("input").last.press("Enter")
    expect(figure.locator("form > p > button")).to_be_enabled(timeout=WAIT)
    assert figure.locator("p.error").count() == 0, figure.locator("p.error").inner_text()
    figure.locator(result).first.wait_for()


def check_barriers(page: Page) -> None:
    """With what the page shows now, in both colours."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
        assert barriers(page) == []


def test_a_typed_question_gets_the_answer_that_python_gives(page, server, models):
    reader = in_python(models, "qa.onnx", "minilm-qa")
    page.set_viewport_size({"width": 375, "height": 740})
    page.goto(f"{server}/{ASK}")
    assert page.evaluate("crossOriginIsolated") is False
    context = page.get_by_label("A paragraph", exact=True)
    long = " ".join(lead.text for lead in leads("dev")[:6])
    cases = [
        (context.input_value(), "Where does the Danube end?", "the Black Sea"),
        ("\U0001f419 An octopus has three hearts.", "How many hearts has an octopus?", "three"),
        *((one.context, one.question, None) for one in load_leadqa("dev")[:8]),
        (long, f"What is {leads('dev')[3].title}?", None),
    ]
    for text, question, right in cases:
        context.fill(text)
        page.get_by_label("A question").fill(question)
        submit(page, "ask", "mark")
        want = answer(question, text, model=reader)
        found = answers(page)
        assert found[0][0] == want.text
        assert right in (None, want.text)
        assert page.locator("[data-live=ask] mark").inner_text() == want.text
        assert page.locator("[data-live=ask] .text").inner_text().strip() == text.strip()
        for (_, share), other in zip(found, (want, *want.others), strict=True):
            assert share == pytest.approx(other.probability, abs=1e-2)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator("[data-live=ask] .answers button").nth(1).press("Enter")
    assert page.locator("[data-live=ask] mark").inner_text() == found[1][0]
    check_barriers(page)
    context.fill(" ")
    page.get_by_label("A question").press("Enter")
    page.locator("[data-live=ask] p.error").wait_for()
    assert page.errors == []


def test_a_blank_is_filled_and_attention_drawn(page, server, models):
    page.goto(f"{server}/{ASK}")
    page.get_by_label("A sentence").fill("The capital of france is ___.")
    submit(page, "fill", ".words li")
    tokenizer = Tokenizer.from_pretrained("leads-small")
    encoded = tokenizer.encode("The capital of france is [MASK].")
    session = open_session(models / "small.onnx")
    ids = np.array([encoded.ids])
    logits, *maps = session.run(
        None,
        {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": 0 * ids},
    )
    shares = torch.tensor(logits[0, encoded.ids.index(tokenizer.mask_id)]).softmax(-1)
    best = shares.topk(5)
    rows = page.locator("[data-live=fill] .words li").all_inner_texts()
    for row, share, i in zip(rows, best.values.tolist(), best.indices.tolist(), strict=True):
        word, said, _ = row.split()
        assert word == tokenizer.tokens([i])[0]
        assert float(said) / 100 == pytest.approx(share, abs=1e-2)

    assert [one.shape for one in maps] == 4 * [(1, 3, len(encoded.ids), len(encoded.ids))]
    page.get_by_label("layer").select_option("2")
    page.get_by_label("head").select_option("1")
    tokens = page.locator("[data-live=fill] .token")
    tokens.nth(3).press("Enter")
    assert tokens.all_inner_texts() == encoded.tokens
    shown = tokens.evaluate_all("all => all.map(one => one.style.getPropertyValue('--share'))")
    np.testing.assert_allclose([*map(float, shown)], maps[2][0, 1, 3], atol=1e-2)
    most = encoded.tokens[maps[2][0, 1, 3].argmax()]
    said = page.locator("[data-live=fill] .said").inner_text()
    assert said.startswith(f"{encoded.tokens[3]} (3) looks most at: {most} (")
    check_barriers(page)
    assert page.errors == []


def test_leads_are_found_by_their_meaning(page, server, models):
    page.goto(f"{server}/{ASK}")
    query = "a clever creature with eight arms that lives in the sea"
    page.get_by_label("What are you").fill(query)
    submit(page, "search", ".leads li")
    texts = json.loads(unpack("leads.json"))
    vectors = np.frombuffer(unpack("vectors.bin"), np.int8).reshape(len(texts), -1)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    (wanted,) = embed([query], model=in_python(models, "minilm.onnx", "minilm"))
    cosines = vectors @ wanted
    rows = page.locator("[data-live=search] .leads li").all_inner_texts()
    assert len(texts) == 10_033 and "ctopus" in "".join(rows)
    for row, i in zip(rows, np.argsort(-cosines)[:5], strict=True):
        first, sentence = row.split("\n")
        title, cosine = first.rsplit(" ", 1)
        assert [title, sentence] == texts[i]
        assert float(cosine) == pytest.approx(cosines[i], abs=1e-2)
    # as the model itself sees them, which was not rounded
    exact = embed([texts[i][1] for i in np.argsort(-cosines)[:5]]) @ embed([query])[0]
    np.testing.assert_allclose(np.sort(cosines)[:-6:-1], exact, atol=0.08)
    check_barriers(page)
    assert page.errors == []


def test_the_page_works_without_a_network(browser):
    need((LIVE / "files.json").is_file(), "the site is not built: make html")
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE)))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{http.server_port}/{ASK}")
    submit(page, "ask", "mark")
    page.wait_for_selector("html[data-offline=ask]", state="attached", timeout=WAIT)
    http.shutdown()
    http.server_close()
    page.reload()
    page.get_by_label("A question").fill("Where does the Danube rise?")
    submit(page, "ask", "mark")
    assert "Germany" in page.locator("[data-live=ask] mark").inner_text()
    context.close()


def test_without_webassembly_there_are_pictures(page, server):
    page.add_init_script("delete globalThis.WebAssembly")
    page.goto(f"{server}/{ASK}")
    pictures = page.locator("[data-live] img")
    assert pictures.count() == 3
    for i in range(3):
        pictures.nth(i).scroll_into_view_if_needed()
        assert len(pictures.nth(i).get_attribute("alt")) > 60
    page.wait_for_function("[...document.images].every(one => one.naturalWidth)")
    assert page.errors == []
