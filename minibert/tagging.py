# Written by tools/tangle.py from
# book/source/tagging.md
# Edit that, not this.
"""A tag for every word: spans to tags, tags to spans.

Shapes: `S` sequence.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from minibert.batching import IGNORE
from minibert.checks import as_texts
from minibert.classification import label_names
from minibert.loading import load, row_length, score_rows, stream
from minibert.moved import moved
from minibert.tokens import Encoding, Tokenizer

if TYPE_CHECKING:  # it takes a second to import
    from minibert.device import Device
else:  # names of 0.2
    __getattr__ = moved(__name__)

__all__ = ["Span", "read_tags", "span_f1", "tag", "tag_row"]


class Span(NamedTuple):
    """A tagged part of a text: `text[start:end]`.

    >>> Span("NAME", 4, 10).label
    'NAME'
    """

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
        labels: the names of the tags in the model's order: "O", and
            those with their "B-" and "I-".
        max_length: tokens, [CLS] and [SEP] included.

    Returns:
        `input_ids`, and `labels`, one number for each token: a
        place in `labels`, or IGNORE, -100, which [CLS] and [SEP]
        have, too.

    Raises:
        ValueError: a span that is empty or outside of the text, or
            a tag that is not in `labels`.

    >>> tokenizer = Tokenizer.from_pretrained("minilm")
    >>> spans, names = [Span("PLACE", 0, 6)], ["O", "B-PLACE"]
    >>> tag_row("Vienna grows", tokenizer, spans, names)["labels"]
    [-100, 1, 0, -100]
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
    nothing begins a span. A tag without a hyphen counts as O.

    Args:
        encoding: of the text, by `Tokenizer.encode`.
        tags: the name of each token's tag, those of [CLS] and [SEP]
            included.
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
    """Score the spans of all texts together: F1, from 0 to 1.

    A span counts when label, start and end are right. Where nothing
    is found and nothing wanted, it is 1.

    Args:
        found: of each text its spans, as `tag` gives them.
        wanted: of each text the right ones, in the same order.

    Raises:
        ValueError: not as many texts in one as in the other.
    """
    pairs = [
        (set(a), set(b)) for a, b in zip(found, wanted, strict=True)
    ]
    both = sum(len(a & b) for a, b in pairs)
    total = sum(len(a) + len(b) for a, b in pairs)
    return 2 * both / total if total else 1.0


@overload
def tag(
    text: str,
    *,
    model: str | Path | tuple[Any, Tokenizer],
    device: "Device | None" = None,
) -> list[Span]: ...


@overload
def tag(
    text: list[str] | tuple[str, ...],
    *,
    model: str | Path | tuple[Any, Tokenizer],
    device: "Device | None" = None,
) -> list[list[Span]]: ...


@overload
def tag(
    text: Iterator[str],
    *,
    model: str | Path | tuple[Any, Tokenizer],
    device: "Device | None" = None,
) -> Iterator[list[Span]]: ...


def tag(
    text: str | list[str] | tuple[str, ...] | Iterator[str],
    *,
    model: str | Path | tuple[Any, Tokenizer],
    device: "Device | None" = None,
) -> list[Span] | list[list[Span]] | Iterator[list[Span]]:
    """Give the tagged spans of a text, in their order.

    Args:
        text: one that the model can read whole. A list of texts
            gives a list; an iterator is read as it is needed, and
            gives an iterator.
        model: a folder, a hub id, or a model and its tokenizer.
        device: where to put a model that is named; None for the
            best.

    Raises:
        TypeError: a text that is no string.
        ValueError: a text of more tokens than the model has
            positions: tag it sentence by sentence; a config that
            names no tags.
        FileNotFoundError, TypeError, ValueError: as `load`: among
            others a model in training mode.

    >>> from minibert import BertConfig, BertForTokenClassification
    >>> from minibert import TrainingConfig, fine_tune
    >>> tokenizer, names = Tokenizer.from_pretrained("minilm"), ["O", "B-PLACE"]
    >>> rows = [tag_row("Vienna grows", tokenizer, [Span("PLACE", 0, 6)], names)]
    >>> sizes = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    >>> bert = BertForTokenClassification(sizes, labels=names)
    >>> config = TrainingConfig(steps=30, batch_size=1, learning_rate=0.01)
    >>> log = fine_tune(bert, tokenizer, rows, config, progress=False)
    >>> tag("Vienna grows", model=(bert.eval(), tokenizer))
    [Span(label='PLACE', start=0, end=6)]
    """
    bert, tokenizer = load(model, "BertForTokenClassification", device)
    if isinstance(text, Iterator):
        return stream(text, lambda chunk: tag(chunk, model=(bert, tokenizer)))
    texts = [text] if isinstance(text, str) else as_texts(text, "text", empty=True)
    limit, names = row_length(bert), label_names(bert.config)
    encodings = [tokenizer.encode(one) for one in texts]
    for i, encoding in enumerate(encodings):
        if len(encoding.ids) > limit:
            which = "the text" if isinstance(text, str) else f"text {i}"
            raise ValueError(
                f"{which} has {len(encoding.ids)} tokens, but the model ends at "
                f"{limit}: tag its sentences, one by one"
            )
    rows = [{"input_ids": encoding.ids} for encoding in encodings]
    found = [
        read_tags(encoding, [names[i] for i in logits.argmax(-1).tolist()])
        for encoding, logits in zip(
            encodings, score_rows(bert, rows, tokenizer.pad_id), strict=True
        )
    ]
    return found[0] if isinstance(text, str) else found
