# Written by tools/tangle.py from
# book/source/texts.md
# Edit that, not this.
"""Text of any size on disk: cut into pieces once, then read in place.

Folders of text files in, memory-mapped arrays out.
"""

import codecs
import contextlib
import json
import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minibert.checkpoints import digest
from minibert.checks import brief
from minibert.data import sentences
from minibert.files import find_texts, read_json
from minibert.nsp import (
    Corpus,
    cut_documents,
    token_type,
    without_duplicates,
)
from minibert.tokens import Tokenizer

__all__ = ["open_corpus", "text_files", "write_corpus"]


def write_corpus(
    documents: Iterable[Sequence[str]],
    tokenizer: Tokenizer,
    folder: str | Path,
    max_length: int,
    pairs: bool = True,
) -> Corpus:
    """Do as `build_corpus`, in a folder: for text of any size.

    A thousand documents at a time are cut, and appended to three
    files, which get their names when all is written. In memory
    stay 8 bytes for each document, to know it again.

    Args:
        documents: each a list of its sentences.
        tokenizer: whose ids to use.
        folder: where the files go.
        max_length: as in `build_corpus`.
        pairs: as in `build_corpus`.

    Returns:
        The corpus, on disk.

    Raises:
        ValueError: as in `build_corpus`; no document with two
            sentences, or with one where `pairs` is False.

    >>> from tempfile import mkdtemp
    >>> folder, tokenizer = mkdtemp(), Tokenizer.from_pretrained("minilm")
    >>> documents = [["One river.", "It is long."], ["Two.", "Three."]]
    >>> corpus = write_corpus(documents, tokenizer, folder, max_length=16)
    >>> corpus.chunks.tolist()
    [[0, 2, 0], [2, 4, 1]]
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    try:
        count = append_documents(documents, tokenizer, aside, max_length, pairs)
        if not count["chunks"]:
            least = "two sentences" if pairs else "a sentence"
            raise ValueError(
                f"none of {count['documents']} documents has {least}: "
                "there is nothing to train on"
            )
        header = count | {
            "max_length": max_length,
            "vocabulary": vocabulary_digest(tokenizer),
            "dtype": str(token_type(tokenizer)),
            "pairs": pairs,
        }
        text = json.dumps(header, indent=1) + "\n"
        (aside / "corpus.json").write_text(text, encoding="utf-8")
        for file in [*(f"{name}.bin" for name in Corpus._fields), "corpus.json"]:
            os.replace(aside / file, folder / file)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return open_corpus(folder, tokenizer, max_length)


def append_documents(
    documents: Iterable[Sequence[str]],
    tokenizer: Tokenizer,
    folder: Path,
    max_length: int,
    pairs: bool,
) -> dict[str, int]:
    """Write the three files, and count what is in them."""
    count = {"documents": 0, "tokens": 0, "sentences": 0, "chunks": 0}
    source, hashes = iter(documents), [np.empty(0, np.int64)]
    with contextlib.ExitStack() as stack:
        tokens, starts, chunks = (
            stack.enter_context((folder / f"{name}.bin").open("wb"))
            for name in Corpus._fields
        )
        starts.write(np.zeros(1, np.int64).tobytes())
        while batch := list(islice(source, 1000)):
            part, known = cut_documents(batch, tokenizer, max_length, pairs)
            hashes.append(known)
            shift = [count["sentences"], count["sentences"], count["documents"]]
            tokens.write(part.tokens.tobytes())
            starts.write((part.sentences[1:] + count["tokens"]).tobytes())
            chunks.write((part.chunks + shift).tobytes())
            count["documents"] += len(batch)
            count["tokens"] += len(part.tokens)
            count["sentences"] += len(part.sentences) - 1
            count["chunks"] += len(part.chunks)
    first = without_duplicates(np.concatenate(hashes))
    if pairs and not first.all():
        count["chunks"] = keep_chunks(folder / "chunks.bin", first)
    return count


def keep_chunks(file: Path, first: NDArray[np.bool_]) -> int:
    """Rewrite a file of chunks without those of doubles; count the rest."""
    aside, count = file.with_suffix(".new"), 0
    with file.open("rb") as old, aside.open("wb") as new:
        while block := old.read(24 << 16):
            chunks = np.frombuffer(block, np.int64).reshape(-1, 3)
            kept = chunks[first[chunks[:, 2]]]
            count += len(kept)
            new.write(kept.tobytes())
    os.replace(aside, file)
    return count


def vocabulary_digest(tokenizer: Tokenizer) -> str:
    """Tell one vocabulary from another."""
    return digest(["\n".join(tokenizer.vocabulary).encode()])


def read_header(file: Path) -> dict[str, Any]:
    """Read a corpus's `corpus.json`, or say that it is none."""
    recorded = read_json(file)
    sizes = [recorded.get(k) for k in ("tokens", "sentences", "chunks")]
    whole = all(type(n) is int and 0 <= n < 2**63 for n in sizes)
    if not whole or recorded.get("dtype") not in ("uint16", "uint32"):
        raise ValueError(f"{file} is no header of a corpus: write the corpus again")
    return recorded


def open_corpus(
    folder: str | Path, tokenizer: Tokenizer, max_length: int
) -> Corpus:
    """Open what `write_corpus` wrote, without reading it.

    Args:
        folder: where it was written.
        tokenizer: the one that it was written with.
        max_length: as it was written with.

    Returns:
        The corpus, its arrays mapped from disk and read-only.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it was written with another vocabulary or
            another length, or a file is cut short.

    >>> from tempfile import mkdtemp
    >>> folder, tokenizer = mkdtemp(), Tokenizer.from_pretrained("minilm")
    >>> written = write_corpus([["One.", "Two."]], tokenizer, folder, max_length=16)
    >>> open_corpus(folder, tokenizer, max_length=16).chunks.tolist()
    [[0, 2, 0]]
    """
    folder = Path(folder)
    recorded = read_header(folder / "corpus.json")
    wanted = {"vocabulary": vocabulary_digest(tokenizer), "max_length": max_length}
    for name, value in wanted.items():
        if recorded.get(name) != value:
            raise ValueError(
                f"{folder} was written with {name} {brief(recorded.get(name))}, not "
                f"{value}: write it again"
            )
    shapes = {
        "tokens": (np.dtype(recorded["dtype"]), (recorded["tokens"],)),
        "sentences": (np.dtype(np.int64), (recorded["sentences"] + 1,)),
        "chunks": (np.dtype(np.int64), (recorded["chunks"], 3)),
    }
    parts = []
    for name, (dtype, shape) in shapes.items():
        file = folder / f"{name}.bin"
        size, want = file.stat().st_size, dtype.itemsize * math.prod(shape)
        if size != want:
            raise ValueError(
                f"{file} has {size:,} bytes, not {want:,}: write it again"
            )
        parts.append(np.asarray(np.memmap(file, dtype, "r", shape=shape)))
    return Corpus(*parts)


def text_files(
    folder: str | Path, *, whole_lines: bool = False
) -> Iterator[list[str]]:
    """Read every `.txt` file under a folder: the sentences of each.

    A file is one document, or several with blank lines between them.
    The lines of a paragraph are joined before it is cut into
    sentences, so text may be wrapped at any width. Files are read a
    line at a time, and a line without an end in parts of 10,000
    characters, so that no file is too big. For the same reason a
    document ends with the paragraph in which it reaches 1,000
    sentences. An empty file is passed over, and so is a folder with
    a tokenizer in it.

    Args:
        folder: searched with the folders in it; `.TXT` is as good.
        whole_lines: take each line as one sentence and cut nothing:
            for titles, log files, one sentence a line.

    Warns:
        UserWarning: a file that is not UTF-8, with the place, or
            that cannot be opened; it is left out.

    Raises:
        FileNotFoundError: no folder, or no `.txt` file in it; when
            the first document is asked for.
        ModuleNotFoundError: the extra `[data]`, which cuts
            sentences, is not installed; not with `whole_lines`.
    """
    files = find_texts(folder)
    if not files:
        raise FileNotFoundError(f"there is no .txt file in {folder}")
    for file in files:
        try:
            check_utf8(file)
        except UnicodeDecodeError as error:
            warnings.warn(
                f"{file} is left out, it is not UTF-8 ({error.reason} at "
                f"byte {error.start:,}): save it as UTF-8, for instance "
                "with iconv -f latin1 -t utf8",
                stacklevel=2,
            )
            continue
        except OSError as error:
            warnings.warn(
                f"{file} is left out: {error.strerror}", stacklevel=2
            )
            continue
        document: list[str] = []
        for part in (read_lines if whole_lines else join_paragraphs)(file):
            text = part.strip()
            found = [text] if whole_lines else sentences(text)
            document += [one for one in found if one]
            if document and (not text or len(document) >= 1000):
                yield document
                document = []
        if document:
            yield document


def join_paragraphs(file: Path, longest: int = 10_000) -> Iterator[str]:
    """Give a file's paragraphs on one line each, and its blank lines.

    A paragraph above `longest` comes in parts that end with a
    sentence, or where a line ends if no sentence does.
    """
    held = ""
    for line in read_lines(file, longest):
        text = line.strip()
        if text and held and len(held) + len(text) > longest:
            *whole, rest = sentences(held)
            yield " ".join(whole) or held
            held = rest if whole else ""  # its end goes on in text
        if text:  # "well-" and "known" are one word
            hyphen = held.endswith("-") and held[-2:-1].isalnum()
            held = (held + ("" if hyphen else " ") + text).strip()
        else:
            yield held
            yield ""
            held = ""
    yield held


def check_utf8(file: Path) -> None:
    """Read a file through, a block at a time, as UTF-8."""
    decode = codecs.getincrementaldecoder("utf-8")().decode
    done = 0
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            try:
                decode(block)
            except UnicodeDecodeError as error:
                error.start += done
                raise
            done += len(block)
    decode(b"", True)


def read_lines(file: Path, longest: int = 10_000) -> Iterator[str]:
    """Give a file's lines; what is longer is cut at a space."""
    rest = ""
    with file.open(encoding="utf-8-sig") as opened:
        while part := opened.readline(longest):
            part, rest = rest + part, ""
            space = part.rfind(" ")
            if not part.endswith("\n") and len(part) >= longest and space > 0:
                part, rest = part[:space], part[space + 1 :]
            yield part
    if rest:
        yield rest
