"""A search in a folder's texts: its passages, their vectors kept beside the files, answers.

Shapes: `n` passages, `m` questions, `H` hidden.
"""

import hashlib
import json
import os
import re
import tempfile
import time
import warnings
import zlib
from bisect import bisect_left
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from minibert.checks import brief, check_whole
from minibert.files import find_texts, read_text
from minibert.spans import Answer

if TYPE_CHECKING:  # they bring torch along
    from minibert.tokens import Tokenizer

__all__ = ["Cited", "Index", "Passage", "ask", "closest", "cut_passages", "open_index"]

Vectors = NDArray[np.float32]
Places = NDArray[np.int64]


GAP = re.compile(r"\n[^\S\n]*\n\s*")  # between two paragraphs
SENTENCE = re.compile(r"[.!?…]+[\"'”’»)\]]*\s+|[。！？]+[」』”]*")  # what ends one
BORDERS = SENTENCE, re.compile(r"\n\s*"), re.compile(r"\s+")  # else a line, else a word


def cut_passages(text: str, tokenizer: "Tokenizer", max_length: int = 256) -> list[tuple[int, int]]:
    """Cut a text into passages: its paragraphs, and long ones in parts.

    A part ends with a sentence or, where none ends in it, with a line or a word. Parts do
    not overlap: an answer lies within a sentence, so none is cut, and none is found twice.

    Args:
        text: paragraphs with blank lines between them.
        tokenizer: the model's.
        max_length: tokens in a passage, [CLS] and [SEP] among them.

    Returns:
        Of each passage its first character and the one after its last. What has no token
        is left out.
    """
    room, places, begin = max_length - 2, [], 0
    for end, after in [*(gap.span() for gap in GAP.finditer(text)), (len(text), len(text))]:
        offsets = tokenizer.encode(text[begin:end]).offsets[1:-1]
        starts, cuts = [begin + start for start, _ in offsets], [0]
        while len(offsets) - cuts[-1] > room:
            cuts.append(cut_before(text, starts, cuts[-1], cuts[-1] + room))
        for first, last in zip(cuts, [*cuts[1:], len(offsets)], strict=True):
            if first < last:
                places.append((starts[first], begin + offsets[last - 1][1]))
        begin = after
    return places


def cut_before(text: str, starts: list[int], first: int, most: int) -> int:
    """Choose the token that begins the next part: `most`, or one between `first` and it."""
    for border in BORDERS:
        found = [one.end() for one in border.finditer(text, starts[first], starts[most])]
        if found:
            return bisect_left(starts, found[-1])
    return most


def closest(
    queries: Vectors, vectors: Vectors, count: int, rows: int = 1 << 16
) -> tuple[Places, Vectors]:
    """Do as `nearest`, exactly, with products of so many `rows` at a time in memory.

    Args:
        queries: (m, H).
        vectors: (n, H).
        count: how many to find.
        rows: of `vectors` at a time.

    Returns:
        Which, and their products, (m, count) each, the highest first, of equal ones the
        earlier.
    """
    from minibert.sentences import nearest

    which, near = nearest(queries, vectors[:rows], count)
    for at in range(rows, len(vectors), rows):
        more, products = nearest(queries, vectors[at : at + rows], count)
        which, near = np.hstack([which, more + at]), np.hstack([near, products])
        best = np.argsort(-near, axis=-1, kind="stable")[:, :count]
        which = np.take_along_axis(which, best, -1)
        near = np.take_along_axis(near, best, -1)
    return which, near


def approximate(vectors: Vectors, probes: int = 32) -> Any:
    """Sort vectors into the lists of 2 sqrt(n) centres, of which a question reads `probes`.

    In `results/ann.json` it takes 31 s for a million and finds all of the ten nearest in 3 ms
    instead of 255 ms: for one question it would not pay.
    """
    import faiss

    cells = min(len(vectors), int(2 * len(vectors) ** 0.5))
    width = vectors.shape[1]
    index = faiss.index_factory(width, f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
    chosen = np.random.default_rng(0).permutation(len(vectors))[: 40 * cells]
    index.train(vectors[np.sort(chosen)])
    index.add(vectors)
    index.nprobe = min(probes, cells)  # type: ignore[attr-defined,unused-ignore]
    return index


class Passage(NamedTuple):
    """A passage that was found.

    Attributes:
        file: where it stands.
        line: the line where it begins, from 1.
        start: its first character in the file's text, as `Path.read_text` gives it.
        end: the one after its last.
        text: the characters between them.
        similarity: the cosine of its vector and the question's.
    """

    file: Path
    line: int
    start: int
    end: int
    text: str
    similarity: float


class Cited(NamedTuple):
    """An answer that was found in a passage.

    Attributes:
        text: the answer.
        line: where it begins, in the file of its passage; the next two too.
        start: its first character.
        end: the one after its last.
        probability: as of an `Answer`: that the passage says this, and not nothing.
        passage: what it was read in.
    """

    text: str
    line: int
    start: int
    end: int
    probability: float
    passage: Passage


@dataclass(eq=False)
class Index:
    """The passages of a folder and their vectors: see `open_index`.

    Attributes:
        files: all that were read.
        texts: of each file.
        places: (n, 3) of each passage its file, its first character and the one after its last.
        vectors: (n, H), of length 1.
        embedded: how many passages had to be embedded now; the others were kept.
        options: what `embed` was called with.
        exact_up_to: of more vectors than this, `faiss` looks at a part, where it is installed.
    """

    files: list[Path]
    texts: list[str]
    places: Places
    vectors: Vectors
    embedded: int
    options: dict[str, Any]
    exact_up_to: int
    lists: Any = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.places)

    def find(self, question: str, count: int = 3) -> list[Passage]:
        """Find the passages that are nearest to a question, the nearest first.

        Args:
            question: any text.
            count: how many; all where there are fewer.

        Raises:
            TypeError, ValueError: no string, or no whole number of 1 or more.

        Warns:
            UserWarning: there are more than `exact_up_to`, and no `faiss`.
        """
        from minibert.sentences import embed

        count = check_whole("count", count, 1)
        which, near = self.search(embed([question], **self.options), count)
        return [
            self.passage(int(row), float(product))
            for row, product in zip(which[0], near[0], strict=True)
            if row >= 0  # faiss says -1 where the lists that it read hold no more
        ]

    def search(self, queries: Vectors, count: int) -> tuple[Places, Vectors]:
        """Find the rows for vectors, (m, H): exactly, or in a part of very many."""
        many = len(self) > self.exact_up_to
        if many and find_spec("faiss"):
            self.lists = approximate(self.vectors) if self.lists is None else self.lists
            near, which = self.lists.search(queries, min(count, len(self)))
            return which, near
        began = time.perf_counter()
        which, near = closest(queries, self.vectors, count)
        if many:
            warnings.warn(
                f"{len(self):,} passages were all compared, in "
                f"{time.perf_counter() - began:.1f} s; where many questions are asked, "
                'pip install "minibert-book[search]" makes it faster',
                stacklevel=3,
            )
        return which, near

    def passage(self, row: int, similarity: float = 1.0) -> Passage:
        """Give one of the passages, 0 to n - 1."""
        file, start, end = self.places[row].tolist()
        text = self.texts[file]
        line = text.count("\n", 0, start) + 1
        return Passage(self.files[file], line, start, end, text[start:end], similarity)

    def ask(self, question: str, count: int = 3, *, reader: Any = "minilm-qa") -> list[Cited]:
        """Answer a question in each of the passages that are nearest to it.

        The answers stand in the order of their passages. A reader's scores of different
        passages say little: sorted by them, fewer first answers were right.

        Args:
            question: one sentence.
            count: in how many passages.
            reader: a model for `answer_all`.

        Raises:
            TypeError, ValueError: as `find`, and as `answer_all`; a question without a word.
        """
        from minibert.qa import answer_all
        from minibert.squad import Question

        found = self.find(question, count)
        asked = [Question("", "", question, one.text) for one in found]
        answers = answer_all(asked, model=reader, device=self.options["device"])
        pairs = zip(answers, found, strict=True)
        cited = [cite(one, passage) for one, passage in pairs if one.text]
        if not cited:
            raise ValueError(f"there is no word in the question {question!r}")
        return cited


def cite(answer: Answer, passage: Passage) -> Cited:
    """Say where in its file an answer lies."""
    line = passage.line + passage.text.count("\n", 0, answer.start)
    start, end = passage.start + answer.start, passage.start + answer.end
    return Cited(answer.text, line, start, end, answer.probability, passage)


KEPT = Path(".minibert", "vectors.safetensors")  # in the folder that is searched
PROBE = ["The Danube ends in the Black Sea.", "qui fut mordu à Été, en 1984 : 東京 ?"]
GROUP = 4096  # passages that an interruption costs, with those of the file at work
Part = tuple[Places, Vectors]  # a text's passages, (n, 2) start and end; their vectors


def checksum(vectors: Vectors, places: Places) -> int:
    """Tell whether a disk changed a number."""
    return zlib.crc32(places.tobytes(), zlib.crc32(np.ascontiguousarray(vectors).data))


def read_kept(file: Path, probe: Vectors, max_length: int) -> dict[str, Part]:
    """Read the vectors of before, by the digest of their text.

    There are none where the file is missing, of another model or of another `max_length`;
    nor, with a warning, where it is damaged or foreign.
    """
    try:
        if not file.exists():
            return {}
        with safe_open(file, "numpy") as opened:
            header = json.loads((opened.metadata() or {})["minibert"])
            vectors, places, before = (
                opened.get_tensor(name) for name in ("vectors", "places", "probe")
            )
        ends = np.cumsum([0, *(count for _, count in header["texts"])]).tolist()
        parts = {
            name: (places[a:b], vectors[a:b])
            for (name, _), a, b in zip(header["texts"], ends[:-1], ends[1:], strict=True)
        }
        fits = (places.shape, vectors.shape) == ((ends[-1], 2), (ends[-1], before.shape[1]))
        if not fits or header["check"] != checksum(vectors, places):
            raise ValueError("its numbers are not those that were written")
        same = header["version"] == 1 and header["max_length"] == max_length
    except Exception as error:  # a foreign file fails in many ways
        why = f"{type(error).__name__}: {brief(error, 100)}"
        warnings.warn(
            f"{file} is damaged or foreign ({why}): all passages are embedded anew", stacklevel=3
        )
        return {}
    same = same and before.shape == probe.shape and (before * probe).sum(1).min() > 0.9999
    return parts if same else {}


def write_kept(file: Path, parts: dict[str, Part], probe: Vectors, max_length: int) -> None:
    """Write the vectors aside, then move them into place; warn where that cannot be."""
    places, vectors = (np.concatenate(arrays) for arrays in zip(*parts.values(), strict=True))
    header = {
        "version": 1,
        "max_length": max_length,
        "texts": [[name, len(part[0])] for name, part in parts.items()],
        "check": checksum(vectors, places),
    }
    arrays = {"vectors": vectors, "places": places, "probe": probe}
    try:
        file.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=file.parent) as aside:
            new = Path(aside, file.name)
            save_file(arrays, new, {"minibert": json.dumps(header)})
            os.chmod(new, file.parent.stat().st_mode & 0o666)  # safetensors lets the owner alone
            os.replace(new, file)
    except (OSError, SafetensorError) as error:
        warnings.warn(f"the vectors are not kept: {error}", stacklevel=3)


def read_texts(folder: Path) -> dict[Path, str]:
    """Read a folder's .txt files; leave out, with a warning, what cannot be read."""
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder")
    texts = {}
    for file in find_texts(folder):
        try:
            texts[file] = read_text(file)
        except (OSError, ValueError) as error:
            warnings.warn(f"{file} is left out: {error}", stacklevel=3)
    return texts


def embed_texts(
    texts: dict[str, str], parts: dict[str, Part], options: dict[str, Any], progress: bool
) -> int:
    """Put the passages of texts and their vectors into `parts`; count the passages."""
    from minibert.loading import load, row_length
    from minibert.sentence_layout import find_layout
    from minibert.sentences import embed

    model, done = options["model"], 0
    if not isinstance(model, tuple):  # it was read for the probe, and is kept
        model = load(find_layout(model)[0], "BertModel", options["device"])
    bert, tokenizer = model
    longest = row_length(bert, options["max_length"])
    waiting: dict[str, list[tuple[int, int]]] = {}
    for number, (name, text) in enumerate(texts.items(), 1):
        waiting[name] = cut_passages(text, tokenizer, longest)
        count = sum(map(len, waiting.values()))
        if count < GROUP and number < len(texts):
            continue
        found = [texts[one][a:b] for one, places in waiting.items() for a, b in places]
        vectors = embed(found, **options, progress=progress)
        for one, places in waiting.items():
            own, vectors = vectors[: len(places)], vectors[len(places) :]
            parts[one] = (np.array(places, np.int64).reshape(-1, 2), own)
        done, waiting = done + count, {}
    return done


def open_index(
    folder: str | Path, *, model: Any = "minilm", device: Any = None, max_length: int = 256,
    keep: bool = True, rebuild: bool = False, progress: bool = False,
    exact_up_to: int = 1_000_000,
) -> Index:  # fmt: skip
    """Make a folder's .txt files ready for a search; embed what is new in them.

    The vectors are kept in `.minibert/vectors.safetensors` in the folder, with a digest of
    each text and with the vectors of two known sentences, by which the model is known again.

    Args:
        folder: searched with the folders in it.
        model: a model for `embed`.
        device: as in `embed`.
        max_length: tokens in a passage, at most the model's own.
        keep: whether to write the vectors beside the files when something has changed.
        rebuild: whether to embed all, whatever was kept.
        progress: whether to draw a bar, on a terminal.
        exact_up_to: see `Index`.

    Raises:
        NotADirectoryError: no folder.
        FileNotFoundError: no .txt file with a word in it; or the model is nowhere.
        TypeError, ValueError: as in `embed`.

    Warns:
        UserWarning: a file is left out, since it is not UTF-8 or cannot be read; what was
            kept is damaged; the vectors cannot be kept.

    >>> from tempfile import mkdtemp
    >>> folder = Path(mkdtemp())
    >>> _ = (folder / "a.txt").write_text("The Danube ends in the Black Sea.")
    >>> index = open_index(folder)
    >>> index.ask("Where does it end?")[0].text
    'the Black Sea'
    """
    from minibert.sentences import embed

    file = Path(folder, KEPT)
    texts = read_texts(Path(folder))
    if not any(re.search(r"[^\s\ufeff]", text) for text in texts.values()):
        raise FileNotFoundError(f"no .txt file with a word in {folder}")
    max_length = check_whole("max_length", max_length, 3)
    options = {"model": model, "device": device, "max_length": max_length}
    probe = embed(PROBE, **options)
    kept = {} if rebuild else read_kept(file, probe, max_length)
    digests = {one: hashlib.sha256(text.encode()).hexdigest() for one, text in texts.items()}
    parts = {name: kept[name] for name in digests.values() if name in kept}
    new = {name: texts[one] for one, name in digests.items() if name not in kept}
    try:
        embedded = embed_texts(new, parts, options, progress)
    finally:  # what was done before an interruption is kept, too
        if keep and parts and (rebuild or parts.keys() != kept.keys()):
            write_kept(file, parts, probe, max_length)
    places, vectors = zip(*(parts[name] for name in digests.values()), strict=True)
    numbered = [np.insert(one, 0, number, axis=1) for number, one in enumerate(places)]
    return Index(
        [*texts], [*texts.values()], np.concatenate(numbered), np.concatenate(vectors),
        embedded, options, exact_up_to,
    )  # fmt: skip


def ask(
    question: str, folder: str | Path, count: int = 3, *, reader: Any = "minilm-qa", **more: Any
) -> list[Cited]:
    """Open a folder's index, and ask it one question.

    Args:
        question: one sentence.
        folder: with .txt files.
        count: in how many passages.
        reader: as in `Index.ask`.
        **more: for `open_index`.

    >>> ask("Where does the Danube end?", "my-texts")[0].text  # doctest: +SKIP
    'the Black Sea'
    """
    return open_index(folder, **more).ask(question, count, reader=reader)
