# Written by tools/tangle.py from
# book/source/pretraining.md
# Edit that, not this.
"""What starts from another model: frozen, made deeper, saved apart."""

import re
from dataclasses import replace
from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from minibert.bert import BertModel, BertPreTrainedModel, Kind
from minibert.huggingface import to_huggingface
from minibert.weights import base_weights

__all__ = ["save_trained", "stack_layers", "train_last"]


def train_last(model: nn.Module, layers: int) -> None:
    """Freeze the body but for its last `layers`; heads stay free.

    The embeddings and the pooler are of the body, and are frozen.

    Args:
        model: with a head, its body in `model.bert`; it is changed
            in place.
        layers: how many stay free; 0 for the head alone.

    Raises:
        ValueError: more layers than there are.
    """
    body: BertModel = model.bert  # type: ignore[assignment]
    stack = body.encoder.layers
    if not 0 <= layers <= len(stack):
        raise ValueError(f"there are {len(stack)} layers, not {layers}")
    body.requires_grad_(False)
    for layer in stack[len(stack) - layers :]:
        layer.requires_grad_(True)


def stack_layers(model: Kind, layers: int) -> Kind:
    """Make a deeper model: its layers over again, the rest as is.

    Args:
        model: of L layers; it stays as it is.
        layers: of the new one, a multiple of L.

    Returns:
        A new model of the same class, on the same device and in the
        same type, in training mode.

    Raises:
        ValueError: `layers` is no multiple of what there is.

    Source: Gong, He, Li, Qin, Wang and Liu 2019, Efficient training
    of BERT by progressively stacking.
    """
    old = model.config.num_hidden_layers
    if layers < old or layers % old:
        raise ValueError(f"{layers} layers are no multiple of {old}")
    deeper = type(model)(replace(model.config, num_hidden_layers=layers))
    state, place = model.state_dict(), re.compile(r"(?<=\.layers\.)\d+")
    deeper.load_state_dict(
        {
            name: state[place.sub(lambda m: str(int(m[0]) % old), name)]
            for name in deeper.state_dict()
        }
    )
    return deeper.to(next(model.parameters()))  # and its dtype


def save_trained(
    model: BertPreTrainedModel, folder: str | Path, base: str
) -> None:
    """Write what `base` does not hold, in bfloat16: what was trained.

    `from_pretrained(folder)` takes the rest from `base`; where that
    does not ship, it must be named there, `base=...`.

    Args:
        model: some of its parameters as they are in `base`.
        folder: where `config.json` and `model.safetensors` go.
        base: the name of the model that it began as.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    known, half = base_weights(base, model.config), {}
    for name, tensor in to_huggingface(model.state_dict()).items():
        old = known.get(name)
        if old is None or not old.float().equal(tensor.float().cpu()):
            half[name] = tensor.bfloat16().contiguous()
    extra = {"base_model": base, "architectures": [type(model).__name__]}
    config = replace(model.config, extra=extra)
    save_file(half, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(config.to_json(), encoding="utf-8")
