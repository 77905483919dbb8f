"""A search in a folder: what is embedded, what is kept, what is found, what is cited."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import minibert
from minibert import search, sentences
from minibert.__main__ import main
from minibert.files import find_texts
from minibert.search import PROBE, closest, cut_passages, open_index

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "a.txt": "A dog bit\nhim.\n\nRivers flow to the sea.\n",
    "deep/er/b.txt": "Mercury is a metal.\n \n\nThe Danube ends in the Black Sea.",
    "Füße 東京.TXT": "Été à 東京.",
    "empty.txt": "",
    "blank.txt": " \n\n\t\n",
}
QUESTION = "Where does the Danube end?"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        file = tmp_path / "notes" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return tmp_path / "notes"


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let words stand for meaning, and list what is embedded, the probe left out."""
    seen: list[str] = []

    def by_words(texts: list[str], *, model: Any = "", **_: Any) -> np.ndarray:
        seen.extend(texts if texts != PROBE else [])
        vectors = np.zeros((len(texts), 64), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()):
                chance = np.random.default_rng(list(f"{model} {word}".encode()))
                row += chance.standard_normal(64, np.float32)
            row /= np.linalg.norm(row) or 1
        return vectors

    monkeypatch.setattr(sentences, "embed", by_words)
    return seen


def found(index: search.Index, question: str = QUESTION) -> list[tuple[str, int, str, float]]:
    """What a search finds, file for file."""
    return [
        (one.file.name, one.start, one.text, round(one.similarity, 5))
        for one in index.find(question, 99)
    ]


def tokens(text: str) -> int:
    return len(minibert.Tokenizer.from_pretrained("minilm").encode(text).ids)


def test_as_embed_and_nearest(folder: Path) -> None:
    index = open_index(folder)
    texts = ["A dog bit\nhim.", "Rivers flow to the sea.", "Mercury is a metal.",
             "The Danube ends in the Black Sea.", "Été à 東京."]  # fmt: skip
    assert sorted(index.passage(row).text for row in range(len(index))) == sorted(texts)
    which, near = minibert.nearest(minibert.embed([QUESTION])[0], minibert.embed(texts), 3)
    for again in (index, open_index(folder)):
        best = again.find(QUESTION)
        assert [one.text for one in best] == [texts[i] for i in which]
        assert np.allclose([one.similarity for one in best], near, atol=1e-5)
        assert all(one.file.read_text("utf-8")[one.start : one.end] == one.text for one in best)
    assert (index.embedded, again.embedded) == (5, 0)
    best = index.ask(QUESTION, 2)
    assert best[0].text in "the Black Sea" and best[0].passage.file.name == "b.txt"
    assert best[0].line == best[0].passage.line == 4 and len(best) == 2
    for one in best:
        assert one.passage.file.read_text("utf-8")[one.start : one.end] == one.text
    assert [one.passage for one in best] == again.find(QUESTION, 2)
    assert search.ask(QUESTION, folder, 1) == best[:1]


def test_only_what_changed_is_embedded(folder: Path, embedded: list[str]) -> None:
    index = open_index(folder)
    assert index.embedded == len(embedded) == len(index) == 5
    first = found(index)
    embedded.clear()
    assert found(open_index(folder)) == first and embedded == [QUESTION]

    embedded.clear()
    (folder / "a.txt").write_text("A dog bit\nhim.\n\nRivers end.\n", encoding="utf-8")
    (folder / "deep/er/b.txt").rename(folder / "c.txt")  # a digest knows a text, not a name
    (folder / "twice.txt").write_text(FILES["deep/er/b.txt"], encoding="utf-8")
    index = open_index(folder)
    assert embedded == ["A dog bit\nhim.", "Rivers end."]
    assert [one[0] for one in found(index)[:2]] == ["c.txt", "twice.txt"] and len(index) == 7

    embedded.clear()
    (folder / "a.txt").unlink()
    assert len(open_index(folder)) == 5 and embedded == []
    assert len(load_file(folder / search.KEPT)["vectors"]) == 3  # what is gone is dropped
    assert open_index(folder, rebuild=True).embedded == 3 and len(embedded) == 3
    assert sorted(one.name for one in (folder / ".minibert").iterdir()) == [search.KEPT.name]


def test_another_model_another_length(folder: Path, embedded: list[str]) -> None:
    open_index(folder)
    for more in ({"model": "minilm-qa"}, {"model": "minilm-qa", "max_length": 8}):
        for count in (len(open_index(folder, keep=False, **more)), 0):
            embedded.clear()
            index = open_index(folder, **more)
            assert index.embedded == len(embedded) == count
    assert all(tokens(index.passage(row).text) <= 8 for row in range(len(index)))


def test_no_passage_is_longer_than_a_loaded_model_reads(folder: Path, embedded: list[str]) -> None:
    config = minibert.BertConfig.from_pretrained("minilm", max_position_embeddings=8)
    pair = SimpleNamespace(config=config), minibert.Tokenizer.from_pretrained("minilm")
    assert len(open_index(folder, model=pair)) > 5
    assert max(map(tokens, embedded)) == 8
    assert open_index(folder, model=pair).embedded == 0


@pytest.mark.parametrize("line", ["\n", "\r\n"])
def test_passages_lie_where_they_are_said_to(
    tmp_path: Path, embedded: list[str], line: str
) -> None:
    text = "\ufeffOne.\n\n\n  Two, 2.\nMore of\ttwo. \n \t \nThree\n".replace("\n", line)
    (tmp_path / "a.txt").write_bytes(text.encode())
    index = open_index(tmp_path)
    passages = [index.passage(row) for row in range(len(index))]
    assert [one.text for one in passages] == ["One.", "Two, 2.\nMore of\ttwo.", "Three"]
    assert [one.line for one in passages] == [1, 4, 7]
    whole = (tmp_path / "a.txt").read_text(encoding="utf-8")
    assert all(whole[one.start : one.end] == one.text for one in passages)


@pytest.mark.parametrize(("text", "ends"), [
    ("The dog bit him. " * 90 + "And he said, “Why?” He fell. " * 30, r"him\.|“Why\?”|fell\."),
    ("no end " * 200 + "An end. " * 200, r"no|end\.?"),
    ("word " * 700, "word"),
    ("a line\n" * 200, "line"),
    ("東京は日本の首都です。" * 60, ".*。"),
    ("東京" * 400, "[東京]*"),
    ("a-" * 400, "[a-]*"),
    ("x" * 2000, "x*"),
])  # fmt: skip
def test_a_long_paragraph_is_cut_where_a_sentence_ends(text: str, ends: str) -> None:
    tokenizer = minibert.Tokenizer.from_pretrained("minilm")
    parts = [text[a:b] for a, b in cut_passages(text, tokenizer)]
    assert "".join("".join(parts).split()) == "".join(text.split())  # all, and none twice
    counts = [tokens(part) for part in parts]
    assert max(counts) <= 256 and (len(parts) == 1 or min(counts[:-1]) > 190)
    assert all(re.fullmatch(ends, part.split()[-1]) for part in parts)
    assert cut_passages("", tokenizer) == cut_passages(" \n\n \t", tokenizer) == []


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran",)


def pickled(file: Path) -> None:
    with file.open("wb") as opened:
        np.savez(opened, vectors=np.array([Bomb()], object))


def change_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], Any]] = {
    f"cut at {share}": lambda file, share=share: os.truncate(
        file, int(file.stat().st_size * share)
    ) for share in (0, 0.01, 0.3, 0.9, 0.999)
} | {
    "a byte": change_byte,
    "a pickle": lambda file: file.write_bytes(pickle.dumps(Bomb())),
    "pickled arrays": pickled,
    "weights": lambda file: save_file({"x": np.ones(3)}, file),
    "no texts": lambda file: save_file(load_file(file), file, {"minibert": "[]"}),
    "half texts": lambda file: save_file(
        load_file(file), file, {"minibert": '{"version": 1, "texts": [["x", 0.5]]}'}
    ),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
}  # fmt: skip


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_index_is_told_and_made_again(
    folder: Path, embedded: list[str], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    first = found(open_index(folder))
    DAMAGE[how](folder / search.KEPT)
    with pytest.warns(UserWarning, match="vectors.safetensors is damaged or foreign") as said:
        assert found(open_index(folder)) == first
    assert all("\n" not in str(one.message) for one in said) and not Path("ran").exists()
    if how == "a folder":
        (folder / search.KEPT).rmdir()
    else:
        embedded.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert found(open_index(folder)) == first and embedded == [QUESTION]
    for name, text in FILES.items():
        assert (folder / name).read_text(encoding="utf-8") == text


def test_what_cannot_be_read_is_left_out(folder: Path, embedded: list[str]) -> None:
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    (folder / "page.html").write_text("Not this.", encoding="utf-8")
    names = ["latin.txt"]
    if os.name != "nt":
        for name, goal in {"loop": ".", "deep/up": "..", "nowhere.txt": "gone.txt",
                           "itself.txt": "itself.txt"}.items():  # fmt: skip
            (folder / name).symlink_to(goal)
        names += ["nowhere.txt", "itself.txt"]
    with pytest.warns(UserWarning, match="is left out") as said:
        assert len(open_index(folder)) == len(embedded) == 5
    assert all(sum(name in str(one.message) for one in said) == 1 for name in names)
    assert len(said) == len(names)


def test_a_file_that_changes_meanwhile(
    folder: Path, embedded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sentences.embed

    def slow(texts: list[str], **more: Any) -> np.ndarray:
        if texts != PROBE:
            (folder / "a.txt").write_text("It is another.", encoding="utf-8")
        return real(texts, **more)

    monkeypatch.setattr(sentences, "embed", slow)
    assert open_index(folder).find("A dog bit him.", 1)[0].text == "A dog bit\nhim."
    monkeypatch.setattr(sentences, "embed", real)
    embedded.clear()
    assert open_index(folder).find("Is it another?", 1)[0].text == "It is another."
    assert embedded == ["It is another.", "Is it another?"]


def test_where_nothing_can_be_written(
    folder: Path, embedded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(open_index(folder, keep=False)) == 5 and not (folder / ".minibert").exists()
    (folder / ".minibert").write_text("mine", encoding="utf-8")
    with pytest.warns(UserWarning, match="^the vectors are not kept: ") as said:
        assert len(open_index(folder)) == 5
    assert len(said) == 1 and (folder / ".minibert").read_text("utf-8") == "mine"
    (folder / ".minibert").unlink()
    first, full = found(open_index(folder)), OSError(28, "No space left on device")
    (folder / "new.txt").write_text("New.", encoding="utf-8")
    monkeypatch.setattr(search, "save_file", lambda *_: (_ for _ in ()).throw(full))
    with pytest.warns(UserWarning, match="No space left"):
        assert len(open_index(folder)) == 6
    (folder / "new.txt").unlink()
    embedded.clear()
    assert found(open_index(folder)) == first and embedded == [QUESTION]  # what was is whole


def test_an_interruption_keeps_what_was_done(
    folder: Path, embedded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sentences.embed

    def stopped(texts: list[str], **more: Any) -> np.ndarray:
        if len(embedded) > 1:
            raise KeyboardInterrupt
        return real(texts, **more)

    monkeypatch.setattr(sentences, "embed", stopped)
    monkeypatch.setattr(search, "GROUP", 2)
    with pytest.raises(KeyboardInterrupt):
        open_index(folder)
    assert len(embedded) == 3
    monkeypatch.setattr(sentences, "embed", real)
    assert open_index(folder).embedded == 2


def test_several_at_once(folder: Path, embedded: list[str]) -> None:
    first, results = found(open_index(folder)), []

    def often(rebuild: bool) -> None:
        for _ in range(8):
            results.append(found(open_index(folder, rebuild=rebuild)))

    with warnings.catch_warnings():
        warnings.simplefilter("error" if os.name != "nt" else "default")
        threads = [threading.Thread(target=often, args=(one % 2 == 0,)) for one in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert results == [first] * 32
        assert open_index(folder).embedded == 0
    assert [one.name for one in (folder / ".minibert").iterdir()] == [search.KEPT.name]


def test_a_folder_that_goes_away_meanwhile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, wanted = folder / ".saving", find_texts(folder)
    here.mkdir()
    look = os.scandir

    def scan(place: Path) -> Any:
        if Path(place) == here:
            here.rmdir()  # what wrote there is done
        return look(place)

    monkeypatch.setattr(os, "scandir", scan)
    assert wanted and find_texts(folder) == wanted
    assert not here.exists()


def test_a_folder_without_words(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="is no folder"):
        open_index(tmp_path / "gone")
    for text in ("", " \n", "\ufeff"):
        (tmp_path / "a.txt").write_text(text, encoding="utf-8")
        with pytest.raises(FileNotFoundError, match=r"no \.txt file with a word"):
            open_index(tmp_path)
        assert not (tmp_path / ".minibert").exists()


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (3, 7), (10, 64), (200, 30)])
def test_blocks_find_what_one_product_finds(count: int, rows: int) -> None:
    chance = np.random.default_rng(0)
    vectors = chance.integers(-2, 3, (100, 8)).astype(np.float32)  # many ties
    queries = chance.integers(-2, 3, (5, 8)).astype(np.float32)
    for ours, theirs in zip(
        closest(queries, vectors, count, rows), minibert.nearest(queries, vectors, count),
        strict=True,
    ):  # fmt: skip
        assert (ours == theirs).all()


def clustered(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors in 100 clusters, and some questions beside the clusters' centres."""
    chance = np.random.default_rng(0)
    centres = chance.standard_normal((100, 64))
    vectors = np.concatenate([centres, np.repeat(centres, rows // 100, axis=0)])
    vectors += 0.8 * chance.standard_normal(vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors[100:].astype(np.float32), vectors[:100].astype(np.float32)


def big_index(exact_up_to: int) -> search.Index:
    vectors, _ = clustered(20_000)
    places = np.zeros((len(vectors), 3), np.int64)
    return search.Index([Path("a")], [""], places, vectors, 0, {}, exact_up_to)


def test_very_many_are_searched_in_part() -> None:
    pytest.importorskip("faiss")
    index, (vectors, queries) = big_index(10_000), clustered(20_000)
    exact, near = closest(queries, vectors, 10)
    which, products = index.search(queries, 10)
    hits = [len({*a} & {*b}) for a, b in zip(which.tolist(), exact.tolist(), strict=True)]
    assert sum(hits) / exact.size >= 0.95 and index.lists is not None
    same = which == exact
    assert np.allclose(products[same], near[same], atol=1e-5)
    index = big_index(20_000)
    assert (index.search(queries, 10)[0] == exact).all() and index.lists is None
    for rows in (1, 2, 50):  # and a bound that makes no sense does no harm
        few = search.Index([], [], index.places[:rows], vectors[:rows], 0, {}, 0)
        assert few.search(queries[:1], 1)[0].tolist() == closest(queries[:1], vectors[:rows], 1)[0]


def test_without_the_extra_all_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "find_spec", lambda _: None)
    index, (vectors, queries) = big_index(10_000), clustered(20_000)
    with pytest.warns(UserWarning, match=r"20,000 passages .* in \d.* s; .*book\[search\]"):
        which, _ = index.search(queries, 10)
    assert (which == closest(queries, vectors, 10)[0]).all()


def test_the_record_says_what_the_default_finds() -> None:
    rows = json.loads((ROOT / "results" / "ann.json").read_text(encoding="utf-8"))["rows"]
    assert {row["job"] for row in rows} >= {"lists:100000", "lists:300000", "lists:1000000"}
    for row in rows:
        if re.fullmatch(r"faiss IVF\d+, 32 lists read", row["index"]):
            assert row["recall"] >= 0.95, row
        if row["index"] == "exact":
            assert row["recall"] == 1


def test_the_command(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert main(["search", "notes", QUESTION, "--count", "2"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    place = re.escape(str(Path("notes/deep/er/b.txt")))
    assert re.fullmatch(rf"0\.\d\d  {place}:4: (the )?Black Sea", lines[0]) and len(lines) == 4
    assert lines[1].strip() == "The Danube ends in the Black Sea."
    assert err.splitlines()[-1] == "5 of 5 passages were embedded now"

    assert main(["search", "notes", QUESTION, "--json", "--count", "1"]) == 0
    out, err = capsys.readouterr()
    one = json.loads(out)
    assert one["answer"]["text"] in "the Black Sea" and one["text"] == lines[1].strip()
    whole = Path(one["file"]).read_text(encoding="utf-8")
    assert whole[one["answer"]["start"] : one["answer"]["end"]] == one["answer"]["text"]
    assert err.splitlines()[-1] == "0 of 5 passages were embedded now"

    shutil.rmtree(folder / ".minibert")
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    words = ["search", "notes", "Who was bitten?", "--no-answer", "--no-keep"]
    assert main([*words, "--rebuild", "--count", "1"]) == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(
        rf"0\.\d\d  {re.escape(str(Path('notes/a.txt')))}:1: A dog bit him\.\n", out
    )
    told = [line for line in err.splitlines() if line.startswith("minibert: ")]
    assert len(told) == 1 and "latin.txt is left out" in told[0]
    assert not (folder / ".minibert").exists()
    (folder.parent / "empty").mkdir()
    for words, what in [
        (["notes/a.txt", "Who?"], "is no folder"),
        (["empty", "Who?"], "no .txt file with a word"),
        (["notes", "Who?", "--model", "no-such"], "cannot find 'no-such'"),
        (["notes", " "], "no word"),
    ]:  # fmt: skip
        assert main(["search", *words]) == 1
        assert what in capsys.readouterr().err
    assert main(["search", "notes", "Who?", "--count", "0"]) == 2


def test_it_needs_no_torch_by_itself() -> None:
    code = "import sys, minibert.search; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
