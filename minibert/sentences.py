# Written by tools/tangle.py from
# book/source/sentences.md
# Edit that, not this.
"""Sentence vectors, and their nearest neighbours.

Shapes: `B` batch, `S` sequence, `H` hidden, `n` texts.
"""

from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from minibert.checks import as_texts, check_whole
from minibert.loading import (
    compute,
    load,
    row_length,
    stream,
    to_numpy,
)
from minibert.moved import moved
from minibert.sentence_layout import (
    Layout,
    find_layout,
    max_pool,
    sqrt_pool,
)
from minibert.tokens import Tokenizer

if TYPE_CHECKING:  # it takes a second to import
    from minibert.device import Device
else:  # names of 0.2
    __getattr__ = moved(__name__)

__all__ = [
    "embed",
    "first_token",
    "mean_pool",
    "nearest",
    "whiten",
]

Array = Any  # a tensor of torch, or an array of NumPy


def mean_pool(states: Array, mask: Array) -> Array:
    """Average the vectors of real tokens: (B, S, H) -> (B, H).

    Args:
        states: what a layer gives for each token.
        mask: (B, S), 1 for real tokens, [CLS] and [SEP] among them.
            A row with none gives zeros.

    Source: Reimers and Gurevych 2019, Sentence-BERT, section 3.
    """
    weight = mask[:, :, None]  # (B, S, 1)
    return (states * weight).sum(1) / weight.sum(1).clip(min=1)


def first_token(states: Array, mask: Array) -> Array:
    """Take the vector of [CLS]: (B, S, H) -> (B, H)."""
    return states[:, 0]


Vectors = NDArray[np.float32]
Pool = Callable[[Array, Array], Array]
POOLS: dict[str, Pool] = {
    "cls": first_token,
    "mean": mean_pool,
    "max": max_pool,
    "mean_sqrt_len_tokens": sqrt_pool,
}


def with_prompt(prompt: str, texts: Sequence[str]) -> Sequence[str]:
    """Put a layout's prompt before each text, where it has one."""
    if not prompt:
        return texts
    return [prompt + text for text in as_texts(texts, "text", empty=True)]


def to_unit(vectors: NDArray[Any]) -> NDArray[Any]:
    """Divide vectors by their lengths; zeros stay."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1).astype(vectors.dtype)


@overload
def embed(
    texts: Sequence[str],
    *,
    model: str | Path | tuple[Any, Tokenizer] = "minilm",
    device: "Device | None" = None,
    pool: Pool | None = None,
    layer: int | None = -1,
    unit: bool | None = None,
    max_length: int | None = None,
    batch_size: int = 32,
    packed: bool = False,
    progress: bool = False,
) -> Vectors: ...


@overload
def embed(
    texts: Iterator[str],
    *,
    model: str | Path | tuple[Any, Tokenizer] = "minilm",
    device: "Device | None" = None,
    pool: Pool | None = None,
    layer: int | None = -1,
    unit: bool | None = None,
    max_length: int | None = None,
    batch_size: int = 32,
    packed: bool = False,
    progress: bool = False,
) -> Iterator[Vectors]: ...


def embed(
    texts: Sequence[str] | Iterator[str],
    *,
    model: str | Path | tuple[Any, Tokenizer] = "minilm",
    device: "Device | None" = None,
    pool: Pool | None = None,
    layer: int | None = -1,
    unit: bool | None = None,
    max_length: int | None = None,
    batch_size: int = 32,
    packed: bool = False,
    progress: bool = False,
) -> Vectors | Iterator[Vectors]:
    """Turn each text into one vector.

    Texts of like length are computed together; the company a text
    keeps does not change its vector.

    Args:
        texts: what is beyond `max_length` tokens is cut off. Of an
            iterator, texts are read as they are needed.
        model: a shipped name, a folder, a hub id, or a BertModel
            and its tokenizer, for which no `modules.json` is read.
            Where a folder with one names a default prompt, that is
            put before each text.
        device: where to put a model that is named; None for the
            best.
        pool: a function of states (B, S, H) and mask (B, S) that
            gives (B, H), as `mean_pool`; they are tensors, or
            arrays where the model was exported. None does as the
            model's `modules.json` says; without one, the mean.
        layer: after how many layers to pool: 0 takes the
            embeddings, -1 the last layer; None pools after each.
        unit: whether to divide each vector by its length, so that a
            product of two is their cosine. None does as the
            `modules.json` says; without one, it divides.
        max_length: tokens of a text; more than the model has
            positions counts as those. None takes what a folder with
            a `modules.json` says; without one, 256, what MiniLM was
            tuned with.
        batch_size: texts at a time.
        packed: compute no padding, as `minibert.batching.pack` does:
            the same vectors to 1e-5, and on a GPU less work. Not of
            an exported model.
        progress: whether to draw a bar, on a terminal.

    Returns:
        (n, H), in the order of `texts`; (L + 1, n, H) of all layers.
        For an iterator, one (H,) after the other, or (L + 1, H).

    Raises:
        TypeError: one string, or something that is none; a number
            of another type.
        ValueError: no such layer, no room for [CLS] and [SEP],
            or a `batch_size` below 1; of an exported model,
            `packed` or another layer than the last; a folder's
            `modules.json` that asks for what is not computed here.
        FileNotFoundError, TypeError, ValueError: as `load`.

    >>> embed(["The Danube is a river.", ""]).shape
    (2, 384)
    """
    if isinstance(texts, str):
        raise TypeError("texts must be a list of strings; for one text, give [text]")
    if isinstance(texts, bytes) or not hasattr(texts, "__iter__"):
        raise TypeError(f"texts must be a list of strings, not {texts!r}")
    batch_size = check_whole("batch_size", batch_size, 1)
    layout = None
    if isinstance(model, (str, PathLike)):
        model, layout = find_layout(model)
    layout = layout or Layout(Path(), "mean", True, 256, "")
    pool = POOLS[layout.pool] if pool is None else pool
    unit = layout.normalize if unit is None else unit
    max_length = layout.max_length if max_length is None else max_length
    max_length = check_whole("max_length", max_length, 2)  # [CLS] and [SEP]
    bert, tokenizer = load(model, "BertModel", device)
    max_length = row_length(bert, max_length)
    if isinstance(texts, Iterator):
        kwargs: dict[str, Any] = {"max_length": max_length, "batch_size": batch_size}
        kwargs["packed"] = packed
        kwargs |= {"pool": pool, "layer": layer, "unit": unit}
        axis = 1 if layer is None else 0  # the texts'

        def embed_chunk(chunk: list[str]) -> Iterator[Vectors]:
            whole = with_prompt(layout.prompt, chunk)
            return iter(np.moveaxis(embed(whole, model=(bert, tokenizer), **kwargs), axis, 0))

        return stream(texts, embed_chunk)
    last = bert.config.num_hidden_layers
    if layer is not None:
        layer = check_whole("layer", layer, -last - 1, last)
    layers = range(last + 1) if layer is None else [layer]
    options = {} if layer in (-1, last) else {"output_hidden_states": True}
    size = len(layers), len(texts), bert.config.hidden_size
    vectors = np.empty(size, np.float32)
    texts = with_prompt(layout.prompt, texts)
    ids = tokenizer.ids(texts, max_length=max_length)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    starts = range(0, len(order), batch_size)
    for at in tqdm(starts, unit="batch", disable=None if progress else True):
        rows = order[at : at + batch_size]
        inputs = [{"input_ids": ids[i]} for i in rows]
        output, mask = compute(bert, inputs, tokenizer.pad_id, packed, **options)
        for i, index in enumerate(layers):
            states = output.hidden_states[index] if options else output.last_hidden_state
            vectors[i, rows] = to_numpy(pool(states, mask))  # (B, H)
    if unit:
        vectors = to_unit(vectors)
    return vectors if layer is None else vectors[0]


def nearest(query: Vectors, vectors: Vectors, count: int) -> tuple[NDArray[np.int64], Vectors]:
    """Find the vectors with the highest product: exactly, all are looked at.

    Args:
        query: (n, H), or one, (H,).
        vectors: (m, H), of length 1 for cosines.
        count: how many; all m where there are fewer.

    Returns:
        Which, and their products, (n, count) or (count,), the highest
        first, of equal ones the earlier.

    Raises:
        TypeError: a count that is no whole number.
        ValueError: widths that differ, or `count` below 1.

    >>> rows = np.eye(3, dtype=np.float32)
    >>> which, products = nearest(rows[1], rows, 1)
    >>> which.tolist(), products.tolist()
    ([1], [1.0])
    """
    count = check_whole("count", count, 1)
    if query.shape[-1] != vectors.shape[-1]:
        raise ValueError(
            f"query {query.shape} and vectors {vectors.shape} must agree in width"
        )
    products = query @ vectors.T  # (n, m)
    best = np.argsort(-products, axis=-1, kind="stable")[..., :count]
    return best, np.take_along_axis(products, best, -1)


def whiten(vectors: Vectors, others: Vectors | None = None, keep: int | None = None) -> Vectors:
    """Shift and turn vectors so that all directions vary alike.

    Args:
        vectors: (n, H), whose mean and covariance are taken.
        others: (m, H), which are changed in their place; None
            changes `vectors`.
        keep: how many directions, those that vary most; None keeps
            all H, and needs more than H vectors.

    Returns:
        (m, keep), or (n, keep) without `others`; not of length 1.

    Raises:
        ValueError: `keep` is below 1, or above H or n - 1, the most
            directions that n vectors vary in; vectors that are not
            (n, H), or others of another width.

    Source: Su, Cao, Liu and Ou 2021, Whitening sentence representations.
    """
    others = vectors if others is None else others
    if vectors.ndim != 2 or others.shape[-1] != vectors.shape[1]:
        raise ValueError(
            f"vectors {vectors.shape} must be (n, H), and others {others.shape} as wide"
        )
    count, width = vectors.shape
    kept: int = width if keep is None else keep
    most = min(count - 1, width)
    if not 1 <= kept <= most:
        raise ValueError(
            f"{kept} directions were asked for, and {count} vectors vary in {most} at "
            "most: give more vectors, or another keep"
        )
    mean = vectors.mean(0)
    values, turn = np.linalg.eigh(np.cov(vectors.astype(np.float64), rowvar=False))
    chosen = np.argsort(-values)[:kept]
    matrix = turn[:, chosen] / np.sqrt(np.maximum(values[chosen], 1e-9))
    return (others - mean) @ matrix.astype(np.float32)
