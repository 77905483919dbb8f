# Written by tools/tangle.py from
# book/source/files.md
# Edit that, not this.
"""Which models need no network, and what their cards say of them."""

import html
import json
import re
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from minibert.config import read_config
from minibert.files import SHORT, find_folder, read_text, shipped_names

__all__ = ["Figure", "Model", "Models", "models"]


class Figure(NamedTuple):
    """One measurement that a card reports.

    Attributes:
        dataset: what was measured on.
        metric: what was measured.
        value: in percent.
    """

    dataset: str
    metric: str
    value: float


class Model(NamedTuple):
    """A model that needs no network.

    Attributes:
        name: what `load` takes.
        task: in the hub's words, "?" where no card says it.
        parameters: how many; with those of the model below, where
            this one was trained on top of another.
        size: bytes of its own `model.safetensors` alone.
        figures: what its card reports.
        licence: in the hub's words, "?" where no card says it.
        source: whose weights, and what brings them.
    """

    name: str
    task: str
    parameters: int
    size: int
    figures: tuple[Figure, ...]
    licence: str
    source: str


def read_card(folder: Path) -> dict[str, Any]:
    """Read the YAML before a model card's text; {} for none.

    Raises:
        ValueError: it is no mapping.
    """
    file = folder / "README.md"
    if not file.is_file():
        return {}
    found = re.match(r"---\n(.*?\n)---\n", read_text(file), re.DOTALL)
    try:
        entries = yaml.safe_load(found[1]) if found else {}
    except yaml.YAMLError as error:
        raise ValueError(f"{file} begins with no YAML: {error}") from None
    if not isinstance(entries, dict):
        raise ValueError(f"{file} must begin with fields, name: value")
    return entries


def shapes(folder: Path) -> dict[str, list[int]]:
    """Read the weights' names and shapes, and no number.

    Raises:
        FileNotFoundError: there are no weights.
    """
    header: dict[str, Any] = {}
    for piece in folder.glob("model*.safetensors"):
        with piece.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header |= json.loads(file.read(size))
    if not header:
        raise FileNotFoundError(f"{folder} has no model.safetensors")
    return {
        name.removeprefix("bert."): part["shape"]
        for name, part in header.items()
        if part.get("dtype") in ("F32", "F16", "BF16")
    }


def count_numbers(folder: Path) -> int:
    """Count a model's parameters, with those of what it was trained on."""
    config, found = read_config(folder), shapes(folder)
    if base := config.extra.get("base_model"):
        below = shapes(find_folder(base, ["config.json"]))
        for name, shape in below.items():
            layer = re.match(r"encoder\.layer\.(\d+)\.", name)
            if layer and int(layer[1]) >= config.num_hidden_layers:
                continue
            if layer or name.startswith("embeddings."):
                found.setdefault(name, shape)
    return sum(map(prod, found.values()))


def read_model(name: str) -> Model:
    """Say of a name that ships, or is packaged, what its files say.

    Raises:
        ModuleNotFoundError: what it was trained on is not installed.
    """
    folder = find_folder(name, ["config.json"])  # its weights unread
    card = read_card(folder)
    source = "comes with minibert"
    if name in SHORT:
        source = f"{SHORT[name]}, by a package"
    elif "base_model" in card:
        source += f", trained on {card['base_model']}"
    figures = [
        Figure(result["dataset"]["name"], one["name"], one["value"])
        for index in card.get("model-index", [])
        for result in index["results"]
        for one in result["metrics"]
    ]
    return Model(
        name,
        card.get("pipeline_tag", "?"),
        count_numbers(folder),
        (folder / "model.safetensors").stat().st_size,
        tuple(figures),
        card.get("license", "?"),
        source,
    )


class Models(list[Model]):
    """A list of models that prints as a table."""

    def rows(self) -> list[list[str]]:
        """The table's cells: a head, then a row for each model."""
        head = ["name", "task", "parameters", "MB", "licence", "from"]
        return [head] + [
            [
                one.name,
                one.task,
                f"{one.parameters:,}",
                f"{one.size / 1e6:.1f}",
                one.licence,
                one.source,
            ]
            for one in self
        ]

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(*self.rows(), strict=True)]
        lines = []
        for i, row in enumerate(self.rows()):
            cells = [
                text.rjust(width) if at in (2, 3) else text.ljust(width)
                for at, (text, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(cells).rstrip())
            for f in self[i - 1].figures if i else ():
                lines.append(f"    {f.dataset}: {f.metric} {f.value} %")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, *rows = self.rows()
        text = "".join(f"<th>{one}</th>" for one in [*head, "figures"])
        for row, model in zip(rows, self, strict=True):
            cells = [html.escape(one) for one in row]
            lines = [f"{f.dataset}: {f.metric} {f.value} %" for f in model.figures]
            cells.append("<br>".join(map(html.escape, lines)))
            text += "<tr>" + "".join(f"<td>{one}</td>" for one in cells)
        return f"<table><tr>{text}</table>"


def models() -> Models:
    """List the models that load without a network.

    Those that ship with the package, and those of packages that are
    installed. The figures are what a model's card reports.

    Returns:
        A list of named tuples, which prints as a table.

    Raises:
        ValueError: a file of a model is damaged.

    >>> [one.name for one in models() if one.task == "question-answering"]
    ['minilm-qa']
    """
    found = Models()
    for name in shipped_names(["*.safetensors"]):
        try:
            found.append(read_model(name))
        except ModuleNotFoundError:  # the extra [models] is not here
            continue
    return found
