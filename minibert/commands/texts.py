"""The work of the commands on texts. What computes is imported where it is needed."""

import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import click

from minibert.commands.flags import check_file, load_trained, refuse, show
from minibert.files import read_text

if TYPE_CHECKING:
    from minibert.search import Cited, Passage

__all__: list[str] = []


def read_file(name: str) -> str:
    """Read a file of UTF-8, or standard input for "-".

    Raises:
        OSError: there is none.
        ValueError: it is not UTF-8.
    """
    if name != "-":
        return read_text(Path(name))
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"standard input is not UTF-8: {error.reason}") from None


def read_lines(name: str) -> list[str]:
    """Read the lines that hold a word.

    Raises:
        OSError, ValueError: as `read_file`; or there is none.
    """
    lines = [line.strip() for line in read_file(name).splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{'standard input' if name == '-' else name} has no line with a word")
    return lines


def given_text(text: str) -> str:
    """Give a text, or what standard input holds for "-"."""
    return read_file("-").strip() if text == "-" else text


def answer_question(args: SimpleNamespace) -> None:
    """Do `minibert answer`."""
    from minibert.qa import answer

    text = read_file(args.file)
    without = f"{args.model} has no question-answering head: train one with minibert qa train"
    model = load_trained("BertForQuestionAnswering", args.model, without)
    one = answer(args.question, text, model=model, threshold=args.threshold, others=0)
    show(one.text, args.as_json, **one._replace(others=())._asdict())


def summarize_text(args: SimpleNamespace) -> None:
    """Do `minibert summarize`."""
    from minibert.summaries import METHODS, summarize

    if args.method not in METHODS:
        refuse(f"--method: {args.method!r} is none of {', '.join(METHODS)}")
    text = read_file(args.file)
    found = summarize(text, args.count, method=args.method, model=args.model)
    for at in found.chosen:
        weight = float(found.weights[at])
        show(found.sentences[at], args.as_json,
             sentence=at, weight=weight, text=found.sentences[at])  # fmt: skip


def embed_lines(args: SimpleNamespace) -> None:
    """Do `minibert embed`."""
    from minibert.sentences import embed

    lines = read_lines(args.file)
    for line, vector in zip(lines, embed(lines, model=args.model), strict=True):
        numbers = [round(float(one), 6) for one in vector]
        show("\t".join(map(str, numbers)), args.as_json, text=line, vector=numbers)


def search_folder(args: SimpleNamespace) -> None:
    """Do `minibert search`."""
    from minibert.search import open_index

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            index = open_index(
                args.folder, model=args.model, keep=args.keep, rebuild=args.rebuild,
                progress=True, exact_up_to=sys.maxsize,  # one question is no reason to sort
            )  # fmt: skip
        finally:
            for one in caught:
                print(f"minibert: {one.message}", file=sys.stderr)
    print(f"{index.embedded:,} of {len(index):,} passages were embedded now", file=sys.stderr)
    found: list[tuple[Passage, Cited | None]]
    if args.answer:
        cited = index.ask(args.question, args.count, reader=args.reader)
        found = [(one.passage, one) for one in cited]
    else:
        found = [(one, None) for one in index.find(args.question, args.count)]
    for passage, answer in found:
        show_passage(passage, answer, args.as_json)


def show_passage(passage: "Passage", answer: "Cited | None", as_json: bool) -> None:
    """Print what a search found: with an answer, it first, and it bold in its passage."""
    text, near = " ".join(passage.text.split()), round(passage.similarity, 4)
    fields = passage._asdict() | {"file": str(passage.file), "text": text, "similarity": near}
    line = f"{near:.2f}  {passage.file}:{passage.line}: {text}"
    if answer:
        fields["answer"] = {k: v for k, v in answer._asdict().items() if k != "passage"}
        start, end = answer.start - passage.start, answer.end - passage.start
        lit = click.style(answer.text, bold=True) if sys.stdout.isatty() else answer.text
        text = " ".join(f"{passage.text[:start]}{lit}{passage.text[end:]}".split())
        words = " ".join(answer.text.split())
        line = f"{answer.probability:.2f}  {passage.file}:{answer.line}: {words}\n      {text}"
    show(line, as_json, **fields)


def fill_blanks(args: SimpleNamespace) -> None:
    """Do `minibert fill`."""
    from minibert.mlm import fill_mask

    without = f"{args.model} has no masked-word head: take minilm-mlm, or pre-train one"
    model = load_trained("BertForMaskedLM", args.model, without)
    blanks = fill_mask(given_text(args.text), args.count, model=model)
    for at, blank in enumerate(blanks):
        if at and not args.as_json:
            print()
        for word, chance in zip(blank.words, blank.probabilities, strict=True):
            show(f"{chance:.3f}  {word}", args.as_json,
                 blank=at, word=word, probability=round(chance, 6))  # fmt: skip


def classify_lines(args: SimpleNamespace) -> None:
    """Do `minibert classify`."""
    from minibert.classification import classify

    without = f"{args.model} has no trained classification head: fine-tune one first"
    try:
        loaded = load_trained("BertForSequenceClassification", args.model, without)
    except ValueError as error:
        if "names no classes" not in str(error):
            raise
        refuse(without)
    for line in read_lines(args.file):
        classes = classify(line, model=loaded)
        best = max(classes, key=lambda name: classes[name])
        show(f"{classes[best]:.3f}  {best}", args.as_json, text=line, classes=classes)


def draw_attention(args: SimpleNamespace) -> None:
    """Do `minibert attention`."""
    from minibert.inside import attend, attention_view

    text = given_text(args.text)
    check_file(args.page)
    view = attention_view(attend(text, model=args.model))
    page = '<!doctype html><meta charset="utf-8"><title>Attention</title>\n' + view
    args.page.write_text(page, encoding="utf-8")
    print(f"The page is {args.page}")


def list_models(as_json: bool) -> None:
    """Do `minibert models`."""
    from minibert.cards import models

    found = models()
    if not as_json:
        print(found)
        return
    for one in found:
        figures = [figure._asdict() for figure in one.figures]
        show("", True, **one._replace(figures=())._asdict() | {"figures": figures})
