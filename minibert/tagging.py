# Written by tools/tangle.py from
# book/source/tagging.md
# Edit that, not this.
"""A tag for every word: spans to tags, tags to spans.

Shapes: `S` sequence.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from minibert.batching import IGNORE
from minibert.classification import label_names
from minibert.loading import load, row_length, score_rows
from minibert.moved import moved
from minibert.tokens import Encoding, Tokenizer

if TYPE_CHECKING:  # it takes a second to import
    from minibert.device import Device
else:  # names of 0.2
    __getattr__ = moved(__name__)

__all__ = ["Span", "read_tags", "span_f1", "tag", "tag_row"]


class Span(NamedTuple):
    """A tagged part of a text: `text[start:end]`."""

    label: str
    start: int
    end: int


def first_pieces(encoding: Encoding) -> list[int]:
    """Give the place of each word's first piece."""
    words = encoding.words
    return [
        i for i, word in enumerate(words)
        if word is not None and word != words[i - 1]
    ]  # fmt: skip


def word_end(encoding: Encoding, place: int) -> int:
    """Give the end of the word that begins at `place`."""
    word, end = encoding.words[place], place
    while encoding.words[end + 1] == word:
        end += 1
    return encoding.offsets[end][1]


def tag_row(
    text: str,
    tokenizer: Tokenizer,
    spans: Iterable[Span],
    labels: Sequence[str],
    max_length: int = 128,
) -> dict[str, Any]:
    """Turn a text, and what is tagged in it, into a row.

    A word that overlaps a span gets the span's tag: B-... for the
    first word, I-... for the others. Words outside get O. The
    label stands on a word's first piece; other pieces have IGNORE.

    Args:
        text: what is beyond `max_length` tokens is cut off.
        tokenizer: the model's.
        spans: what is tagged; not overlapping.
        labels: the names, "O" among them.
        max_length: tokens, [CLS] and [SEP] included.

    Raises:
        ValueError: a span outside of the text, or a tag that is
            not in `labels`.
    """
    encoding = tokenizer.encode(text, max_length=max_length)
    tags = [IGNORE] * len(encoding.ids)
    firsts = first_pieces(encoding)
    for i in firsts:
        tags[i] = label_number("O", labels)
    for span in spans:
        check_span(span, text)
        prefix = "B-"
        for i in firsts:
            start = encoding.offsets[i][0]
            end = word_end(encoding, i)
            if start < span.end and end > span.start:
                tags[i] = label_number(prefix + span.label, labels)
                prefix = "I-"
    return {"input_ids": encoding.ids, "labels": tags}


def check_span(span: Span, text: str) -> None:
    """Refuse a span that lies outside of its text."""
    if not 0 <= span.start < span.end <= len(text):
        raise ValueError(f"{span} lies outside of a text of {len(text)}")


def label_number(name: str, labels: Sequence[str]) -> int:
    """Give the number of a tag's name."""
    if name not in labels:
        raise ValueError(f"{name!r} is none of {labels}")
    return labels.index(name)


def read_tags(
    encoding: Encoding, tags: Sequence[str]
) -> list[Span]:
    """Turn a tag for each token, (S,), back into spans of the text.

    Only the tags of first pieces count. An I-... that continues
    nothing begins a span.
    """
    spans: list[Span] = []
    before = "O"
    for i in first_pieces(encoding):
        kind, _, label = tags[i].partition("-")
        end = word_end(encoding, i)
        if kind == "I" and before == label:
            spans[-1] = spans[-1]._replace(end=end)
        elif label:
            spans.append(Span(label, encoding.offsets[i][0], end))
        before = label
    return spans


def span_f1(
    found: Sequence[Iterable[Span]],
    wanted: Sequence[Iterable[Span]],
) -> float:
    """Score spans, text by text: F1, from 0 to 1.

    A span counts when label, start and end are right.
    """
    pairs = [
        (set(a), set(b)) for a, b in zip(found, wanted, strict=True)
    ]
    both = sum(len(a & b) for a, b in pairs)
    total = sum(len(a) + len(b) for a, b in pairs)
    return 2 * both / total if total else 1.0


def tag(
    text: str,
    *,
    model: str | Path | tuple[Any, Tokenizer],
    device: "Device | None" = None,
) -> list[Span]:
    """Give the tagged spans of a text, in their order.

    Args:
        text: one that the model can read whole.
        model: a folder, a hub id, or a model and its tokenizer.
        device: where to put a model that is named; None for the
            best.

    Raises:
        ValueError: too long: tag it sentence by sentence.
    """
    bert, tokenizer = load(model, "BertForTokenClassification", device)
    limit, encoding = row_length(bert), tokenizer.encode(text)
    if len(encoding.ids) > limit:
        raise ValueError(
            f"the text has {len(encoding.ids)} tokens, but the model ends at "
            f"{limit}: tag its sentences, one by one"
        )
    (logits,) = score_rows(bert, [{"input_ids": encoding.ids}], tokenizer.pad_id)
    names = label_names(bert.config)
    return read_tags(encoding, [names[i] for i in logits.argmax(-1).tolist()])
