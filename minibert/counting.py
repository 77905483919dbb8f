# Written by tools/tangle.py from
# book/source/counting.md
# Edit that, not this.
"""How many parameters, bytes and operations a BERT has.

Every count is an ordered mapping from a part to a number, made by
formula from a `BertConfig`; `total` adds one up. Only `saved_bytes`
measures.

`HEADS` says of each head whether it reads the pooler: "masked_lm",
"next_sentence", "pretraining", "question_answering",
"sequence_classification", "token_classification" and
"multiple_choice". `SIZES` maps the hub ids of Google's models to
their configs.
"""

from collections.abc import Callable, Mapping

import torch
from torch import nn

from minibert.config import BertConfig

__all__ = [
    "HEADS",
    "SIZES",
    "activations",
    "embedding_parameters",
    "flops",
    "head_parameters",
    "layer_parameters",
    "memory",
    "parameters",
    "saved_bytes",
    "total",
]


def linear(inputs: int, outputs: int) -> int:
    """Count a matrix and its bias."""
    return inputs * outputs + outputs


def norm(size: int) -> int:
    """Count a LayerNorm: a factor and a shift for each column."""
    return 2 * size


def total(parts: Mapping[str, int]) -> int:
    """Add up a count, whatever it counts."""
    return sum(parts.values())


def embedding_parameters(config: BertConfig) -> dict[str, int]:
    """Count the three tables and their norm.

    Source: Devlin et al. 2019, section 3 and figure 2.
    """
    hidden = config.hidden_size
    return {
        "token table": config.vocab_size * hidden,
        "segment table": config.type_vocab_size * hidden,
        "position table": config.max_position_embeddings * hidden,
        "embedding norm": norm(hidden),
    }


def layer_parameters(config: BertConfig) -> dict[str, int]:
    """Count one encoder layer: 12 H^2 + 13 H where I is 4 H.

    Source: Devlin et al. 2019, section 3; Vaswani et al. 2017,
    section 3.
    """
    hidden, inner = config.hidden_size, config.intermediate_size
    return {
        "query, key, value": 3 * linear(hidden, hidden),
        "attention output": linear(hidden, hidden),
        "attention norm": norm(hidden),
        "feed-forward up": linear(hidden, inner),
        "feed-forward down": linear(inner, hidden),
        "feed-forward norm": norm(hidden),
    }


# True where a head reads the pooler; the others read each token.
HEADS = {
    "masked_lm": False,
    "next_sentence": True,
    "pretraining": True,
    "question_answering": False,
    "sequence_classification": True,
    "token_classification": False,
    "multiple_choice": True,
}


def head_parameters(
    config: BertConfig, head: str, num_labels: int = 2
) -> dict[str, int]:
    """Count what a head adds, the pooler aside.

    The masked-word decoder is the token table: it counts 0 here.

    Args:
        config: the model's numbers.
        head: one of `HEADS`.
        num_labels: how many classes, where the head has classes.

    Raises:
        ValueError: no such head, or fewer than one label.

    Source: Devlin et al. 2019, sections 3.1 and 4; the transform
    before the decoder is in their code only.
    """
    if head not in HEADS:
        known = list(HEADS)
        raise ValueError(f"no head {head!r}; there are {known}")
    if num_labels < 1:
        raise ValueError(
            f"num_labels must be 1 or more, not {num_labels}"
        )
    hidden = config.hidden_size
    masked = {
        "masked-word transform": linear(hidden, hidden),
        "masked-word norm": norm(hidden),
        "masked-word bias": config.vocab_size,
    }
    pair = {"next-sentence head": linear(hidden, 2)}
    classes = {"classifier": linear(hidden, num_labels)}
    return {
        "masked_lm": masked,
        "next_sentence": pair,
        "pretraining": masked | pair,
        "question_answering": {"answer head": linear(hidden, 2)},
        "sequence_classification": classes,
        "token_classification": classes,
        "multiple_choice": {"choice head": linear(hidden, 1)},
    }[head]


def parameters(
    config: BertConfig,
    head: str | None = None,
    *,
    add_pooling_layer: bool | None = None,
    num_labels: int = 2,
) -> dict[str, int]:
    """Count the parameters of a BERT by part, tied ones once.

    Args:
        config: the model's numbers.
        head: one of `HEADS`, or None for the model alone.
        add_pooling_layer: for the model alone, True unless said
            otherwise; a head decides for itself.
        num_labels: how many classes, where the head has classes.

    Returns:
        From the input upwards; a layer's part is counted over all
        layers.

    Raises:
        ValueError: no such head, fewer than one label, or both a
            head and `add_pooling_layer`.

    >>> total(parameters(BertConfig()))
    109482240
    >>> total(parameters(BertConfig(), "masked_lm"))
    109514298
    """
    if head is not None and add_pooling_layer is not None:
        raise ValueError(
            f"add_pooling_layer={add_pooling_layer} is for the "
            f"model alone; the head {head!r} decides for itself"
        )
    parts = embedding_parameters(config)
    for part, count in layer_parameters(config).items():
        parts[part] = config.num_hidden_layers * count
    top: dict[str, int] = {}
    pooled = add_pooling_layer is not False
    if head is not None:
        top = head_parameters(config, head, num_labels)
        pooled = HEADS[head]
    if pooled:
        hidden = config.hidden_size
        parts["pooler"] = linear(hidden, hidden)
    return parts | top


def shape(
    layers: int, hidden: int, vocabulary: int = 30522
) -> BertConfig:
    """Make a config with A = H / 64 and I = 4 H, as published."""
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        intermediate_size=4 * hidden,
    )


# Hub ids of Google's models. Sources: Turc et al. 2019 (the 24
# small ones); Devlin et al. 2019; google-research/bert's readme.
HUB = "google-bert/bert-"
SIZES = {
    f"google/bert_uncased_L-{n}_H-{h}_A-{h // 64}": shape(n, h)
    for n in (2, 4, 6, 8, 10, 12)
    for h in (128, 256, 512, 768)
} | {
    HUB + "base-uncased": shape(12, 768),
    HUB + "large-uncased": shape(24, 1024),
    HUB + "base-multilingual-cased": shape(12, 768, 119547),
    HUB + "base-multilingual-uncased": shape(12, 768, 105879),
}


def saved_bytes(
    model: nn.Module, step: Callable[[], object]
) -> int:
    """Measure what autograd keeps of a forward pass.

    Args:
        model: whose parameters do not count.
        step: runs the forward pass, to the loss.

    Returns:
        Bytes in distinct storages. Works on `meta` too, where a
        model of any size costs nothing.
    """
    # _cdata is a storage's address.
    own = {p.untyped_storage()._cdata for p in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks
    with hooks(keep, lambda tensor: tensor):
        step()
    return sum(storage.nbytes() for storage in kept.values())


def activations(
    config: BertConfig,
    batch: int,
    length: int,
    *,
    device: str = "cuda",
    autocast: bool = False,
    fused: bool | None = None,
) -> dict[str, int]:
    """Count the bytes that a step keeps for its backward pass.

    Of this book's model with its pooler, in training. It is exact
    for PyTorch 2.13 on the CPU, but for a batch of one in the open
    path, which keeps up to an eighth more.

    Args:
        config: the model's numbers; its dropouts count.
        batch: B.
        length: S, with the padding.
        device: "cuda", where an entry of a dropout's mask takes a
            byte, or "cpu", where it takes as much as the number it
            falls on.
        autocast: matrix products in float16 or bfloat16.
        fused: whether attention goes without its (S, S) maps.
            None takes PyTorch's path: fused, except on the CPU
            with dropout on attention.

    Raises:
        ValueError: a size below 1, more tokens than positions, or
            another device.

    Source: derived from PyTorch's backward formulas; compare
    Korthikanti et al. 2022, section 4.1.
    """
    check_step(config, batch, length, device)
    hidden, inner = config.hidden_size, config.intermediate_size
    heads, tokens = config.num_attention_heads, batch * length
    dropout = config.hidden_dropout_prob > 0
    map_dropout = config.attention_probs_dropout_prob > 0
    if fused is None:
        fused = device == "cuda" or not map_dropout
    full = 4  # bytes of a number
    half = 2 if autocast else full  # where a matrix product reads it

    def drawn(size: int) -> int:  # bytes of what a dropout drew
        return 1 if device == "cuda" else size

    if fused:
        values = 4 * half * hidden  # query, key, value, mixture
        maps = full * heads  # one number a row, to make it again
    else:
        values = (3 * full + half) * hidden
        maps = full * heads * length  # the weights
        if map_dropout:  # also what it drew, and the product
            maps += (drawn(full) + full) * heads * length
    draws = 0
    rows = tokens * config.num_hidden_layers
    if dropout:  # one on the embeddings, two in each layer
        draws = hidden * (tokens * drawn(full) + rows * 2 * drawn(half))
    # The pooler's output and input: a copy under autocast, else a
    # view that keeps all tokens.
    kept_rows = batch if autocast else tokens
    output = (batch + kept_rows) * half * hidden
    norm_bytes = full * hidden + 2 * full  # input, mean, deviation
    return {
        "embeddings": tokens * (norm_bytes + 8),
        "attention": rows * (half * hidden + values),
        "attention maps": rows * maps,
        "feed-forward": rows * half * (hidden + 2 * inner),
        "norms": rows * 2 * norm_bytes,
        "dropout": draws,
        "output": output,
    }


def check_step(
    config: BertConfig, batch: int, length: int, device: str
) -> None:
    """Refuse a step that nobody can take."""
    if batch < 1 or length < 1:
        raise ValueError(
            f"batch and length must be 1 or more, not {batch} and {length}"
        )
    if length > config.max_position_embeddings:
        raise ValueError(
            f"length {length} is more than the position table's "
            f"{config.max_position_embeddings} rows"
        )
    if device not in ("cpu", "cuda"):
        raise ValueError(f'device is "cpu" or "cuda", not {device!r}')


def memory(
    config: BertConfig,
    batch: int,
    length: int,
    *,
    device: str = "cuda",
    autocast: bool = False,
    fused: bool | None = None,
) -> dict[str, int]:
    """Count the bytes of training with Adam, weights in float32.

    The arguments and errors are those of `activations`. Under
    autocast the matrices' half-precision copies are a part too.
    During the backward pass the peak stays below the sum, because
    gradients come while activations go. Not counted are what a
    head adds and the working memory of the optimizer's step.

    >>> memory(BertConfig(), 8, 128)["activations"] // 2**20
    601
    """
    kept = activations(
        config, batch, length,
        device=device, autocast=autocast, fused=fused,
    )  # fmt: skip
    count = total(parameters(config))
    parts = {
        "weights": 4 * count,
        "gradients": 4 * count,
        "Adam": 8 * count,
        "activations": total(kept),
    }
    if autocast:  # each matrix is copied, and the copy kept
        hidden, inner = config.hidden_size, config.intermediate_size
        layer = 4 * hidden**2 + 2 * hidden * inner
        matrices = config.num_hidden_layers * layer + hidden**2
        parts["half copies"] = 2 * matrices
    return parts


def flops(config: BertConfig, length: int) -> dict[str, int]:
    """Count the forward pass's operations for one token.

    A multiplication and an addition count as two. Norms, softmax,
    GELU and the lookups are left out. So are the pooler, which
    works once a text, and the heads; the masked-word head adds
    2 H (H + V) for each word it has to guess. Training takes three
    times as many.

    Args:
        config: the model's numbers.
        length: S. It may be longer than the position table.

    Raises:
        ValueError: a length below 1.

    >>> total(flops(BertConfig(), 128))
    174587904
    """
    if length < 1:
        raise ValueError(f"length must be 1 or more, not {length}")
    hidden, inner = config.hidden_size, config.intermediate_size
    layers = config.num_hidden_layers
    return {
        "query, key, value": layers * 6 * hidden**2,
        "scores": layers * 2 * length * hidden,
        "mixture": layers * 2 * length * hidden,
        "attention output": layers * 2 * hidden**2,
        "feed-forward": layers * 4 * hidden * inner,
    }
