"""Sentence vectors, neighbours and summaries: against their peers, and by properties."""

import copy
import json
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import networkx
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sentence_transformers import SentenceTransformer

from minibert import rouge as scoring
from minibert import sentences as module
from minibert import summaries
from minibert.__main__ import main
from minibert.bert import BertModel
from minibert.data import leads, sentences
from minibert.files import resolve
from minibert.highlight import highlight_summary
from minibert.loading import load
from minibert.rouge import Reference, evaluate_summaries, mixed_pages, read_summaries, rouge
from minibert.sentences import embed, first_token, mean_pool, nearest, to_unit, whiten
from minibert.summaries import METHODS, cut_words, is_label, pick, summarize, to_parts


def some_sentences(count: int) -> list[str]:
    parts = [part for one in leads("dev") for part in sentences(one.text)]
    return parts[:count]


def test_vectors_equal_sentence_transformers() -> None:
    texts = [*some_sentences(996), "", "é ☃ 東京", "x " * 600, "[CLS] [SEP]"]
    theirs = SentenceTransformer(str(resolve("minilm")), device="cpu")
    assert theirs.max_seq_length == 256
    other = theirs.encode(texts, show_progress_bar=False, normalize_embeddings=True)
    np.testing.assert_allclose(embed(texts), other, atol=1e-5)


def test_company_changes_nothing() -> None:
    texts = some_sentences(40)
    together = embed(texts, batch_size=40)
    alone = np.concatenate([embed([text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-6


def test_mean_over_real_tokens_only() -> None:
    states = torch.arange(24.0).view(2, 4, 3)
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    expected = torch.stack([states[0, :2].mean(0), states[1].mean(0)])
    torch.testing.assert_close(mean_pool(states, mask), expected)
    torch.testing.assert_close(first_token(states, mask), states[:, 0])


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("mask_kind", [torch.int64, torch.bool, torch.float32])
def test_mean_of_a_row_with_nothing_real(kind: torch.dtype, mask_kind: torch.dtype) -> None:
    states = torch.arange(24).view(2, 4, 3).to(kind)
    mask = torch.tensor([[0, 0, 0, 0], [0, 1, 0, 0]]).to(mask_kind)
    expected = torch.stack([torch.zeros(3, dtype=kind), states[1, 1]])
    assert torch.equal(mean_pool(states, mask), expected)
    assert mean_pool(states[:, :0], mask[:, :0]).tolist() == [[0, 0, 0]] * 2


def test_a_vector_of_zeros_has_no_direction() -> None:
    vectors = np.array([[3, 4], [0, 0]], np.float32)
    unit = to_unit(vectors)
    np.testing.assert_allclose(unit, [[0.6, 0.8], [0, 0]], rtol=1e-6)
    assert unit.dtype == np.float32
    opposed = np.array([[1, 0], [-1, 0], [0, 0]], np.float32)
    for method in METHODS:
        assert np.isfinite(pick(["aa", "bb", "cc"], opposed, 2, method).weights).all()


def test_layers_and_lengths() -> None:
    bert, tokenizer = load("minilm", BertModel)
    batch = tokenizer(["The Danube is a river."]).to(bert.device)
    with torch.no_grad():
        states = bert(*batch, output_hidden_states=True).hidden_states
    for layer in (0, 3, 6, -1):
        expected = mean_pool(states[layer], batch.attention_mask).cpu().numpy()
        found = embed(["The Danube is a river."], layer=layer, unit=False)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    texts = some_sentences(50)
    every = embed(texts, layer=None)
    assert every.shape == (7, 50, 384)
    for layer in range(7):
        np.testing.assert_array_equal(every[layer], embed(texts, layer=layer))
    assert embed([]).shape == (0, 384)


def test_a_model_with_few_positions() -> None:
    long = ["word " * 300]
    short = [long[0][: 5 * 94]]  # leads-small has 96 positions
    small = embed(long, model="leads-small")
    np.testing.assert_allclose(small, embed(short, model="leads-small"), atol=1e-6)
    assert summarize("One. Two. Three.", 2, model="leads-small").text


def test_a_model_that_is_still_in_training() -> None:
    bert, tokenizer = load("minilm", BertModel)
    bert = copy.deepcopy(bert).train()
    with pytest.raises(ValueError, match=r"training mode.*call model\.eval\(\)"):
        embed(["a"], model=(bert, tokenizer))
    assert bert.training


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (("one text",), TypeError, r"give \[text\]"),
        ((["a"], {"layer": 7}), ValueError, "layer is 7, not -7 to 6"),
        ((["a"], {"batch_size": 0}), ValueError, "batch_size is 0"),
        ((["a"], {"model": 7}), TypeError, "a name, a folder, or a model and its"),
        (([1],), TypeError, "string"),
        ((["a"], {"layer": 1.5}), TypeError, "layer must be a whole number, not 1.5"),
        ((["a"], {"batch_size": 2.0}), TypeError, "batch_size must be a whole number, not 2.0"),
        ((["a"], {"max_length": 1}), ValueError, "max_length is 1, not 2 or more"),
        ((["a"], {"max_length": "9"}), TypeError, "max_length must be a whole number, not '9'"),
    ],
)
def test_bad_texts(arguments: tuple, error: type[Exception], said: str) -> None:
    texts, more = arguments[0], (arguments[1] if len(arguments) > 1 else {})
    with pytest.raises(error, match=said):
        embed(texts, **more)


def test_nearest_is_exact_and_ordered() -> None:
    chance = np.random.default_rng(0)
    vectors = to_unit(chance.normal(size=(500, 16)).astype(np.float32))
    places, products = nearest(vectors[:7], vectors, 9)
    for row, (mine, said) in enumerate(zip(places, products, strict=True)):
        exact = sorted(range(500), key=lambda i: (-float(vectors[row] @ vectors[i]), i))[:9]
        assert mine[0] == row and set(mine) == set(exact)
        assert (np.diff(said) <= 0).all()
    assert nearest(vectors[0], vectors[:3], 9)[0].shape == (3,)
    with pytest.raises(ValueError, match="agree in width"):
        nearest(vectors[0, :3], vectors, 1)
    with pytest.raises(ValueError, match="count is 0, not 1 or more"):
        nearest(vectors[0], vectors, 0)
    with pytest.raises(TypeError, match=r"count must be a whole number, not 1\.5"):
        nearest(vectors[0], vectors, 1.5)


def test_whitened_vectors_vary_alike() -> None:
    chance = np.random.default_rng(0)
    vectors = (chance.normal(size=(4000, 8)) @ chance.normal(size=(8, 8)) + 5).astype(np.float32)
    white = whiten(vectors)
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(white, rowvar=False), np.eye(8), atol=1e-2)
    assert whiten(vectors, vectors[:3], keep=2).shape == (3, 2)
    np.testing.assert_allclose(whiten(vectors, vectors[:3]), white[:3], atol=1e-5)
    np.testing.assert_allclose(np.cov(whiten(vectors[:9]), rowvar=False), np.eye(8), atol=1e-2)
    with pytest.raises(ValueError, match="8 directions were asked for.*8 vectors vary in 7"):
        whiten(vectors[:8])
    with pytest.raises(ValueError, match="0 directions were asked for"):
        whiten(vectors, keep=0)
    with pytest.raises(ValueError, match="9 directions were asked for.*4000 vectors vary in 8"):
        whiten(vectors, keep=9)
    with pytest.raises(ValueError, match=r"vectors \(8,\) must be \(n, H\)"):
        whiten(vectors[0])
    with pytest.raises(ValueError, match=r"others \(4000, 7\) as wide"):
        whiten(vectors, vectors[:, 1:])


@settings(deadline=None)  # k-means, thirty times
@given(
    parts=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=12),
    count=st.integers(1, 14),
    method=st.sampled_from(sorted(METHODS)),
)
def test_as_many_as_asked_for_in_order_none_twice(
    parts: list[str], count: int, method: str
) -> None:
    vectors = to_unit(np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32))
    summary = pick(parts, vectors[["abcdefgh".index(p) for p in parts]], count, method)
    assert len(summary.chosen) == min(count, len(set(parts)))
    assert list(summary.chosen) == sorted(summary.chosen)
    texts = [parts[i] for i in summary.chosen]
    assert len(set(texts)) == len(texts)
    assert all(i == parts.index(parts[i]) for i in summary.chosen)  # a copy's first place
    assert len(summary.weights) == len(parts)
    weight = dict(zip(parts, summary.weights, strict=True))
    assert all(weight[p] == w for p, w in zip(parts, summary.weights, strict=True))
    outside = [weight[p] for p in set(parts) - set(texts)]
    assert not outside or min(weight[t] for t in texts) >= max(outside)


def test_clusters_give_one_sentence_each() -> None:
    chance = np.random.default_rng(0)
    centres = 5 * np.eye(3, 12)
    vectors = to_unit((np.repeat(centres, 5, 0) + chance.normal(size=(15, 12)) / 4).astype("f4"))
    summary = pick([str(i) for i in range(15)], vectors, 3, "clusters")
    assert sorted(i // 5 for i in summary.chosen) == [0, 1, 2]


def test_of_two_in_a_cluster_the_earlier() -> None:
    """Both are as near to their centre; rounding does not decide."""
    chance = np.random.default_rng(0)
    for _ in range(20):
        pairs = np.repeat(np.eye(3, 8), 2, 0) + chance.normal(size=(6, 8)) / 6
        vectors = to_unit(pairs + 1e-7 * chance.normal(size=(6, 8))).astype(np.float32)
        assert pick(list("abcdef"), vectors, 3, "clusters").chosen == (0, 2, 4)


@pytest.mark.filterwarnings("error")
def test_clusters_of_vectors_that_are_all_alike() -> None:
    vectors = np.repeat(np.eye(2, 6, dtype=np.float32), [4, 1], 0)
    summary = pick(list("abcde"), vectors, 3, "clusters")
    assert len(summary.chosen) == 3 and {0, 4} <= set(summary.chosen)
    assert np.isfinite(summary.weights).all()


def test_graph_is_pagerank_by_hand() -> None:
    """The power method, written out."""
    vectors = to_unit(np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32))
    alike = np.maximum(vectors @ vectors.T, 0).astype(np.float64)
    np.fill_diagonal(alike, 0)
    step, rank = alike / alike.sum(0), np.full(6, 1 / 6)
    for _ in range(500):
        rank = 0.15 / 6 + 0.85 * step @ rank
    np.testing.assert_allclose(METHODS["graph"](vectors, 2, 0), rank, atol=1e-4)


def by_networkx(vectors: np.ndarray, **more: float) -> np.ndarray:
    alike = np.maximum(vectors @ vectors.T, 0).astype(np.float64)
    np.fill_diagonal(alike, 0)
    ranks = networkx.pagerank(networkx.from_numpy_array(alike), **more)
    return np.array([ranks[i] for i in range(len(vectors))])


def vectors_of(count: int, shift: float = 0.0) -> np.ndarray:
    drawn = np.random.default_rng(count).normal(size=(count, 384)) + shift
    return to_unit(drawn.astype(np.float32))


@pytest.mark.parametrize("shift", [0.0, 0.05])
@pytest.mark.parametrize("count", [2, 5, 30, 400, 1100])
def test_graph_ranks_as_networkx(count: int, shift: float) -> None:
    vectors = vectors_of(count, shift)
    vectors[count // 2] = 0  # one that resembles no other, as networkx' dangling nodes
    ours = METHODS["graph"](vectors, 2, 0)
    theirs = by_networkx(vectors, tol=1e-14, max_iter=1000)
    assert ours.sum() == pytest.approx(1)
    np.testing.assert_allclose(ours, theirs, atol=1e-6 / count)
    assert (np.argsort(-ours) == np.argsort(-theirs)).all()


def test_graph_ranks_leads_as_networkx_does_by_default() -> None:
    for one in leads("dev")[:20]:
        vectors = embed(sentences(one.text))
        ours = METHODS["graph"](vectors, 2, 0)
        assert (np.argsort(-ours) == np.argsort(-by_networkx(vectors))).all()


def test_graph_in_blocks_kept_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = vectors_of(130, 0.05)
    whole = METHODS["graph"](vectors, 2, 0)
    for block, kept in [(50, 10_000), (50, 10), (64, 64), (130, 0), (1, 10_000)]:
        monkeypatch.setattr(summaries, "BLOCK", block)
        monkeypatch.setattr(summaries, "KEPT", kept)
        np.testing.assert_allclose(METHODS["graph"](vectors, 2, 0), whole, rtol=1e-5)


LARGE = """
import re, time
from pathlib import Path
import numpy as np
from minibert.sentences import to_unit
from minibert.summaries import pick
drawn = np.random.default_rng(0).normal(size=(10_000, 384)).astype(np.float32)
parts = [f"This is number {i}." for i in range(10_000)]
start = time.perf_counter()
assert len(pick(parts, to_unit(drawn), 3, "graph").chosen) == 3
most = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text("utf-8"))
print(time.perf_counter() - start, int(most[1]) / 1e6)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_ten_thousand_sentences_take_seconds_and_no_gigabyte() -> None:
    said = subprocess.run(
        [sys.executable, "-c", LARGE], capture_output=True, encoding="utf-8", check=True
    ).stdout
    seconds, gigabytes = map(float, said.split())
    assert seconds < 10 and gigabytes < 1


def test_summaries_of_texts() -> None:
    text = leads("dev")[0].text * 40  # far beyond 512 tokens, each sentence many times
    summary = summarize(text, 2)
    assert len(summary.chosen) == 2 and len(summary.sentences) > 40
    assert summary.text == " ".join(summary.sentences[i] for i in summary.chosen)
    assert summarize("One sentence.", 3).chosen == (0,)
    first = summarize(leads("dev")[0].text, 2, method="first")
    assert first.chosen == (0, 1)


@pytest.mark.parametrize(
    ("text", "more", "error", "said"),
    [
        ("", {}, ValueError, "no sentence"),
        ([], {}, ValueError, "no sentence"),
        ("A. B.", {"count": 0}, ValueError, "count is 0"),
        ("A. B.", {"count": 1.5}, TypeError, "count must be a whole number, not 1.5"),
        ("A. B.", {"seed": -1, "method": "random"}, ValueError, "seed is -1, not 0 to"),
        ("A. B.", {"seed": 2**32, "method": "clusters"}, ValueError, "seed is 4294967296"),
        ("A. B.", {"seed": 1.5}, TypeError, "seed must be a whole number, not 1.5"),
        ("A.", {"method": ["graph"]}, ValueError, r"not \['graph'\]"),
        ([1, 2], {"count": 1}, TypeError, "string"),
        (b"A. B.", {}, TypeError, "string"),
        ("A.", {"method": "best"}, ValueError, "'graph', 'centroid'.*not 'best'"),
        (None, {}, TypeError, "None"),
    ],
)
def test_bad_summaries(text: str, more: dict, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        summarize(text, **more)


def test_highlighted_page_escapes_and_marks() -> None:
    summary = pick(["a < b.", "c & d."], np.eye(2, dtype=np.float32), 1, "first")
    page = highlight_summary(summary)
    assert page.count("<mark") == 1 and "a &lt; b." in page and "c &amp; d." in page
    assert page.startswith('<table class="mathjax_ignore tex2jax_ignore">')


LABELLED = {
    "1. Open the lid. 2. Switch it on. 3. Wait for the lamp. 4. Take the cup.": 4,
    "1.1. Scope of work. 1.2. Terms of use. 1.1.1. What is in.": 3,
    "Step 1. Open the lid. Step 2. Switch it on. Step 3. Wait for it.": 3,
    "3.3.2024. It began. 4.4.2024. It ended.": 2,
    "Q1. Who are you? Q2. What is it? A1. I am here.": 3,
    "I like it. 😀😀😀\n\nShe does not. 🎉\n\nThe end.": 3,
    "I. Open it. II. Close it. III. Burn it. IV. Go home.": 4,
    "It began.\n\n* * *\n\nIt ended.\n\n***": 2,
    "Open the lid. [1] Switch it on. [2] Wait. [3]": 2,
    "i. Open it. ii. Close it. iii. Burn it.": 3,
    "12:30. Lunch. 14:00. Tea.": 2,
    "第一。打开盖子。第二。打开开关。": 2,
    "१. गुरु आया। २. वह गया।": 2,
    "II. 3. A man went home. § 4. He slept.": 2,
}


@pytest.mark.parametrize("text", LABELLED)
def test_a_number_belongs_to_what_follows(text: str) -> None:
    parts = to_parts(text)
    assert len(parts) == LABELLED[text] and not any(map(is_label, parts))
    assert "".join("".join(parts).split()) == "".join(text.split())  # nothing is lost
    vectors = vectors_of(len(parts))
    for method in METHODS:
        for seed in range(3):
            assert not is_label(pick(parts, vectors, 1, method, seed).text)


def test_a_summary_of_steps_has_steps() -> None:
    text = next(iter(LABELLED))
    for method in METHODS:
        chosen = summarize(text, 3, method=method).text
        assert sum(word in chosen for word in ("Open", "Switch", "Wait", "Take")) == 3


@pytest.mark.parametrize("method", METHODS)
def test_of_a_list_a_number_is_not_chosen(method: str) -> None:
    parts = ["1.", "Open the lid.", "2.", "Switch it on.", "❤️", "Step 3."]
    for seed in range(5):
        summary = pick(parts, vectors_of(6), 1, method, seed)
        assert summary.chosen[0] in (1, 3) and summary.sentences == parts
        assert summary.weights.max() == summary.weights[summary.chosen[0]]
    assert pick(parts, vectors_of(6), 5, method).chosen == (1, 3)
    assert len(pick(["1.", "2.", "3."], vectors_of(3), 2, method).chosen) == 2


SHORT = ["Yes.", "Mix.", "He came in 1990.", "10 km.", "1 Introduction", "好。", "गुरु।", "I do."]


@pytest.mark.parametrize("part", SHORT)
def test_a_short_sentence_is_one(part: str) -> None:
    assert not is_label(part)


def test_a_text_without_a_word_is_its_own_summary() -> None:
    assert to_parts("1. 2. 3.") == ["1. 2. 3."] and to_parts(" ") == []
    assert summarize("😀 🎉", 2).text == "😀 🎉"


def test_mixed_pages() -> None:
    pages = mixed_pages("dev", 30, seed=1)
    texts = {one.title: one.text for one in leads("dev")}
    assert len({page.title for page in pages}) == 30
    for page in pages:
        assert len(page.sentences) == 8 and len(page.wanted) == 4
        own = sentences(texts[page.title])
        assert all(page.sentences[i] in own for i in page.wanted)
    assert mixed_pages("dev", 30, seed=1) == pages
    with pytest.raises(ValueError, match=r"count is 0, not 1 to \d+"):
        mixed_pages("dev", 0)
    with pytest.raises(TypeError, match=r"count must be a whole number, not 1\.5"):
        mixed_pages("dev", 1.5)


def test_rouge_by_hand() -> None:
    found = rouge("the dog bit the man", "the dog bites a man")
    assert found["rouge1"] == pytest.approx(2 * 3 / (5 + 5))  # the, dog, man: bit is no bite
    assert found["rouge2"] == pytest.approx(2 * 1 / (4 + 4))
    assert rouge("", "a dog") == {"rouge1": 0, "rouge2": 0, "rougeL": 0}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("नदी जर्मनी में निकलती है", 5), ("多瑙河发源于德国。", 8),
        ("Дунай берёт начало в Германии", 5), ("Ο Δούναβης πηγάζει στη Γερμανία", 5),
        ("ينبع نهر الدانوب في ألمانيا", 5), ("แม่น้ำดานูบ", 8), ("ドナウ川はtowerです", 8),
        ("다뉴브 강은 독일에서", 3), ("נהר הדנובה", 2), ("L’œuvre façonnée à l'été", 6),
        ("தன்யூப் ஆறு", 2), ("ဒန်ညုမြစ်", 5), ("e\u0301te\u0301 ete", 2),
    ],
)  # fmt: skip
def test_rouge_of_any_script(text: str, count: int) -> None:
    assert len(cut_words(text)) == count
    assert rouge(text, text) == {"rouge1": 1, "rouge2": 1, "rougeL": 1}
    half = rouge(text, text + " " + "x " * count)["rouge1"]
    assert half == pytest.approx(2 * count / (count + 2 * count))
    assert rouge(text, "qqq") == {"rouge1": 0, "rouge2": 0, "rougeL": 0}
    assert rouge(text.upper(), unicodedata.normalize("NFD", text))["rouge1"] == 1


@settings(max_examples=200)
@given(st.text(st.characters(codec="ascii")), st.text(st.characters(codec="ascii")))
@example("The dogs' running_wild, 1,000 times!", "the DOG run wild 1000 time")
def test_rouge_of_ascii_is_rouge_scores(one: str, other: str) -> None:
    theirs = RougeScorer(scoring.ROUGE, use_stemmer=True).score(other, one)
    ours = rouge(one, other)
    assert ours == {name: score.fmeasure for name, score in theirs.items()}
    assert all(type(value) is float for value in ours.values())


@pytest.mark.parametrize(("texts", "said"), [((None, "a"), "summary"), (("a", 1), "reference")])
def test_rouge_of_no_string(texts: tuple, said: str) -> None:
    with pytest.raises(TypeError, match=f"{said} must be a string"):
        rouge(*texts)


def references(path: Path) -> list[Reference]:
    some = [Reference(one.text, one.description) for one in leads("dev")[:14] if one.description]
    some[3] = Reference(some[3].article + "\u2028", some[3].summary)
    lines = [json.dumps(one._asdict(), ensure_ascii=False) for one in some]
    path.write_text("\ufeff" + "\n".join(lines) + "\n\n", encoding="utf-8")
    return some


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "some.jsonl"
    some = references(file)
    assert read_summaries(file) == some
    assert main(["sentences", "evaluate", str(file), "--count", "1"]) == 0
    said = capsys.readouterr().out
    table = evaluate_summaries(some, 1)
    for method in METHODS:
        line = next(x for x in said.splitlines() if x.startswith(method))
        for mean, low, high in table[method].values():
            assert f"{mean:.1f} ({low:.1f} to {high:.1f})" in line
            assert low <= mean <= high
    first = [rouge(sentences(x.article)[0], x.summary)["rouge1"] for x in some]
    assert table["first"]["rouge1"][0] == pytest.approx(100 * np.mean(first))


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    references(tmp_path / "some.jsonl")
    command = [sys.executable, "-m", "minibert", "sentences", "evaluate", "some.jsonl"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_a_choice_is_checked_before_anything_is_embedded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "embed", lambda *args, **more: pytest.fail("embedded"))
    some = [Reference("One is odd. Two is even.", "One is odd.")]
    with pytest.raises(ValueError, match="method must be one of"):
        evaluate_summaries(some, methods=["graf"])
    with pytest.raises(ValueError, match="count is 0"):
        evaluate_summaries(some, 0)
    with pytest.raises(ValueError, match="draws is 0, not 1 or more"):
        evaluate_summaries(some, draws=0)
    with pytest.raises(TypeError, match="draws must be a whole number"):
        evaluate_summaries(some, draws=1.5)
    with pytest.raises(TypeError, match=r"for one, give \['graph'\]"):
        evaluate_summaries(some, methods="graph")
    for missing in ("sklearn", "rouge_score"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, missing, None)
            with pytest.raises(ModuleNotFoundError, match=rf"{missing} is .*\n.*\[book\]"):
                evaluate_summaries(some)
    with pytest.raises(ValueError, match="method must be one of"):
        summarize("One is odd. Two is even.", method="graf")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"article": "a", "summary": "b"}\n{"article": 1}', "line 2"),
        ('{"article": "a", "highlights": "b"}', r"line 1 must be.*\['article', 'highlights'\]"),
        ('["a", "b"]', "line 1 must be.*it has a list"),
        ('{"article": "a", "summary": 3}', "line 1.*must be strings"),
        ("not json", "line 1 is not one JSON object"),
        ("\n", "holds no text with a summary"),
        ('{"article": "", "summary": "b"}', "holds no text with a summary"),
        (b'{"article": "caf\xe9", "summary": "b"}', "not UTF-8"),
    ],
)
def test_bad_files(
    text: str | bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    assert main(["sentences", "evaluate", str(file)]) == 1
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    assert re.search(said, error)


def test_blank_lines_are_left_out_and_named(tmp_path: Path) -> None:
    file = tmp_path / "some.jsonl"
    rows = [("a b", "c"), (" ", "c"), ("d", "e"), ("f", "")]
    file.write_text(
        "\n".join(json.dumps({"article": x, "summary": y}) for x, y in rows), encoding="utf-8"
    )
    with pytest.warns(UserWarning, match=r"some.jsonl: left out.*lines \[2, 4\]"):
        assert read_summaries(file) == [Reference("a b", "c"), Reference("d", "e")]
    with pytest.raises(ValueError, match="text 2 of 2 has no sentence"):
        evaluate_summaries([Reference("One is odd.", "One."), Reference("", "c")])


@pytest.mark.parametrize("flag", ["--count", "--threads"])
@pytest.mark.parametrize("number", ["0", "-1", "two"])
def test_bad_numbers(flag: str, number: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sentences", "evaluate", "no such file", flag, number]) == 2
    assert "whole number of 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize("inside", [None, "notes.md"], ids=["empty", "of other things"])
def test_a_folder_of_a_shipped_name_is_no_model(inside, tmp_path, monkeypatch):
    """In the working directory; and given as a path, it says what it lacks."""
    (tmp_path / "minilm").mkdir()
    if inside:
        (tmp_path / "minilm" / inside).write_text("x", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert embed(["a"]).shape == (1, 384)
    with pytest.raises(FileNotFoundError, match="has no"):
        embed(["a"], model="./minilm")
