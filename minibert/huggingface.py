# Written by tools/tangle.py from
# book/source/bert.md
# Edit that, not this.
"""Hugging Face's names for BERT's weights, and ours.

Two functions, each the other's inverse. Shapes: `H` hidden.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["from_huggingface", "to_huggingface"]


NAMES = {  # ours -> Hugging Face's
    "embeddings.token": "embeddings.word_embeddings",
    "embeddings.segment": "embeddings.token_type_embeddings",
    "embeddings.position": "embeddings.position_embeddings",
    "embeddings.norm": "embeddings.LayerNorm",
    "attention.output": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "mlp.up": "intermediate.dense",
    "mlp.down": "output.dense",
    "norm2": "output.LayerNorm",
    "pooler": "pooler.dense",
    "predictions": "cls.predictions",  # the heads of pre-training
    "predictions.dense": "cls.predictions.transform.dense",
    "predictions.norm": "cls.predictions.transform.LayerNorm",
    "seq_relationship": "cls.seq_relationship",
}
THEIRS = {theirs: ours for ours, theirs in NAMES.items()}
QKV = ("query", "key", "value")
# bert. or nothing; layer number or nothing; part; weight or bias
PATTERN = re.compile(
    r"(bert\.)?(?:encoder\.layers?\.(\d+)\.)?(.+)\.(weight|bias)"
)


def to_huggingface(
    state: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Rename a `state_dict` of ours, and cut query, key and value.

    Args:
        state: names of ours, with or without `bert.` in front; a
            name that both share, as `classifier.weight`, stays.

    Returns:
        The same numbers under Hugging Face's names. Each layer's
        `attention.qkv`, (3H, H) and its bias (3H,), becomes three.

    Raises:
        ValueError: an `attention.qkv` whose rows 3 does not divide.
    """
    out = {}
    for name, tensor in state.items():
        match = PATTERN.fullmatch(name)
        if match is None:
            out[name] = tensor
            continue
        bert, number, part, kind = match.groups(default="")
        stem = f"{bert}encoder.layer.{number}." if number else bert
        if number and part == "attention.qkv":
            if len(tensor) % 3:
                raise ValueError(
                    f"{name}: {len(tensor)} rows are no 3H"
                )
            for one, rows in zip(QKV, tensor.chunk(3), strict=True):
                place = f"{stem}attention.self.{one}.{kind}"
                out[place] = rows.clone()
        else:
            out[f"{stem}{NAMES.get(part, part)}.{kind}"] = tensor
    return out


def from_huggingface(
    state: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Undo `to_huggingface`, and understand older files too.

    Args:
        state: Hugging Face's names, with or without `bert.` in
            front; LayerNorms may be called `gamma` and `beta`,
            and buffers such as `position_ids` are dropped.

    Returns:
        The same numbers under our names.

    Raises:
        ValueError: a layer has one or two of query, key, value.
    """
    out = {}
    for name, tensor in current_names(state).items():
        match = PATTERN.fullmatch(name)
        if match is None:
            out[name] = tensor
            continue
        bert, number, part, kind = match.groups(default="")
        stem = f"{bert}encoder.layers.{number}." if number else bert
        if number and part.startswith("attention.self."):
            whole = f"{stem}attention.qkv.{kind}"
            if whole not in out:
                out[whole] = join_qkv(state, name)
        else:
            out[f"{stem}{THEIRS.get(part, part)}.{kind}"] = tensor
    return out


BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")
OLD = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


def current_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give an older file's weights today's names; drop its buffers."""
    out = {}
    for name, tensor in state.items():
        if name.endswith(BUFFERS):
            continue
        for old, new in OLD.items():
            if name.endswith(old):
                name = name.removesuffix(old) + new
        out[name] = tensor
    return out


def join_qkv(state: Mapping[str, Tensor], name: str) -> Tensor:
    """Stack query, key and value of the layer that `name` is in."""
    head, _, kind = name.rpartition(".")
    stem = head.rpartition(".")[0]
    names = [f"{stem}.{one}.{kind}" for one in QKV]
    missing = [one for one in names if one not in state]
    if missing:
        raise ValueError(f"query, key and value go together: no {missing}")
    return torch.cat([state[one] for one in names])
