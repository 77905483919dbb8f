"""A user's own labels, texts and hub: rows, a search, an export, an upload."""

from pathlib import Path
from typing import Any

from minibert import (
    BertModel,
    Tokenizer,
    ask,
    export,
    labelled_rows,
    load,
    open_index,
    push_to_hub,
    save_sentence_model,
)


def rows_of(texts: list[str], labels: list[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Turn texts and labels into rows and names."""
    rows, names = labelled_rows(texts, labels, Tokenizer.from_pretrained("leads-small"))
    return [dict(row) for row in rows], names


def found_in(folder: Path, question: str) -> list[tuple[str, int, str]]:
    """Search a folder twice: for passages, and for answers in them."""
    passages = open_index(folder, keep=False).find(question, 2)
    answers = ask(question, folder, keep=False)
    return [(one.file.name, one.line, one.text) for one in passages] + [
        (one.passage.file.name, one.line, one.text) for one in answers
    ]


def without_torch(folder: Path) -> str:
    """Export a model and load what was written."""
    made = export("minilm", folder, int8=True)
    exported, tokenizer = load(folder, backend="onnx")
    return f"{made.kind}: {len(made.files)} files, {len(tokenizer)} entries, {exported}"


def to_others(folder: Path, name: str) -> str:
    """Save a model for sentence vectors, and send it to the hub."""
    model = BertModel.from_pretrained("minilm")
    save_sentence_model(model, Tokenizer.from_pretrained("minilm"), folder)
    return push_to_hub(folder, name, license="apache-2.0")
