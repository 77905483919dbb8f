# Written by tools/tangle.py from
# book/source/qa.md
# book/source/sentences.md
# Edit that, not this.
"""Answers and summaries, lit up in their text as HTML."""

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # they use this module
    from minibert.spans import Answer
    from minibert.summaries import Summary

__all__ = ["highlight", "highlight_summary"]


PLAIN = "mathjax_ignore tex2jax_ignore"  # the class of text without formulas


def highlight(context: str, found: "Answer") -> str:
    """Mark an answer in its text, and underline the next best: HTML.

    Where spans overlap, the better one is kept; each shows its
    probability when pointed at. Of a long text 400 characters
    before the first span and after the last are shown; without a
    span, the first 800. MathJax leaves *$5 and $10* as they are.

    Args:
        context: the text that was asked.
        found: what `answer` found in it.

    Raises:
        ValueError: the answer is of another text.
    """
    kept: list[Answer] = []
    for span in (found, *found.others):
        if context[span.start : span.end] != span.text:
            raise ValueError(f"{span.text!r} is not at {span.start} of this text")
        if span.text and all(span.end <= x.start or span.start >= x.end for x in kept):
            kept.append(span)
    kept.sort(key=lambda span: span.start)
    begin = max(min((x.start for x in kept), default=0) - 400, 0)
    end = max((x.end for x in kept), default=400) + 400
    out, at = ["… " if begin else ""], begin
    for span in kept:
        mark = 'mark style="background: #F7D774; color: #222"'
        if span is not found:
            mark = 'span style="border-bottom: 2px solid #E69F00"'
        sure = f' title="{span.probability:.0%}"'
        out += [
            html.escape(context[at : span.start]),
            f"<{mark}{sure}>{html.escape(span.text)}</{mark.split()[0]}>",
        ]
        at = span.end
    out += [html.escape(context[at:end]), " …" if end < len(context) else ""]
    text = "".join(out).replace("\n", "<br>")
    return f'<span class="{PLAIN}">{text}</span>'


def highlight_summary(summary: "Summary") -> str:
    """Show a text with its summary marked and each weight beside it: HTML."""
    low, high = summary.weights.min(), summary.weights.max()
    rows = []
    for i, (part, weight) in enumerate(zip(summary.sentences, summary.weights, strict=True)):
        share = (weight - low) / (high - low) if high > low else 1.0
        bar = (
            f'<span style="display: inline-block; width: {4 * share:.2f}em; height: 0.7em; '
            f'background: #E69F00" title="{weight:.3f}"></span>'
        )
        text = html.escape(part)
        if i in summary.chosen:
            text = f'<mark style="background: #F7D774; color: #222">{text}</mark>'
        rows.append(
            f'<tr><td style="width: 4.5em; vertical-align: top; padding-top: 0.5em">{bar}</td>'
            f'<td style="text-align: left">{text}</td></tr>'
        )
    return f'<table class="{PLAIN}">{"".join(rows)}</table>'
