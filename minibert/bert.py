# Written by tools/tangle.py from
# book/source/bert.md
# Edit that, not this.
"""BERT: its config, the model, and its weights in and out.

Shapes: `B` batch, `S` sequence, `H` hidden, `A` heads, `L` layers,
`V` vocabulary. Files are in Hugging Face's layout: `config.json`
beside `model.safetensors`, which may be cut into several.
"""

import contextlib
import json
import os
import re
import tempfile
import threading
import warnings
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache, partial
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from minibert.data import (
    check_link,
    holds_model,
    read_json,
    read_text,
    resolve,
    shipped,
)
from minibert.device import Device, best_device
from minibert.embeddings import Embeddings
from minibert.tokens import Tokenizer
from minibert.transformer import Encoder, EncoderLayer, padding_mask

__all__ = [
    "BertConfig",
    "BertModel",
    "BertOutput",
    "BertPreTrainedModel",
    "from_huggingface",
    "load",
    "to_huggingface",
]


@dataclass(frozen=True, kw_only=True)
class BertConfig:
    """The numbers that make one BERT differ from another.

    Names and defaults are those of BERT-base's `config.json`.
    `extra` holds what such a file says beyond them and what
    changes no number; it is written back on saving.

    Raises:
        TypeError: a field that does not exist, or of a wrong type.
        ValueError: a value that makes no BERT.

    Source: Devlin et al. 2019, section 3 and appendix A.2.

    >>> BertConfig(hidden_size=128, num_attention_heads=2).head_size
    64
    """

    vocab_size: int = 30522  # V
    hidden_size: int = 768  # H
    num_hidden_layers: int = 12  # L
    num_attention_heads: int = 12  # A
    intermediate_size: int = 3072  # 4H
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    extra: Mapping[str, Any] = field(
        default_factory=dict, hash=False
    )

    def __post_init__(self) -> None:
        check_config(self)

    @property
    def head_size(self) -> int:
        """D = H / A, the width of one head."""
        return self.hidden_size // self.num_attention_heads

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what a `config.json` says; defaults for the rest.

        Raises:
            TypeError: a field of a wrong type.
            ValueError: no JSON object, or a field that asks for
                numbers which this model does not compute.
        """
        return cls(**split_fields(text))

    @staticmethod
    def from_pretrained(
        name_or_path: str | Path, **changes: Any
    ) -> "BertConfig":
        """Read the `config.json` of a folder, a name or a hub id.

        Args:
            name_or_path: as in `BertModel.from_pretrained`.
            **changes: fields that are to differ from the file's.

        Raises:
            FileNotFoundError: there is none.
            TypeError, ValueError: as `from_json`, naming the file.
        """
        folder = find_folder(name_or_path, ["config.json"])
        return replace(read_config(folder), **changes)

    def to_json(self) -> str:
        """Write every field as the text of a `config.json`."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        extra = own.pop("extra")
        said = {"model_type": "bert", "hidden_act": "gelu"}
        return json.dumps(said | extra | own, indent=2) + "\n"


TABLE = "embeddings.token.weight"  # how the table's name ends
# What the model computes. A file that says otherwise is refused.
FIXED: dict[str, tuple[Any, ...]] = {
    "model_type": ("bert",),
    "hidden_act": ("gelu", "gelu_python"),  # one formula, two names
    "position_embedding_type": ("absolute",),
    "is_decoder": (False,),
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "pruned_heads": ({},),
    "quantization_config": (None,),
}
MOST = 1 << 28  # no field of a BERT is near it; products still fit


def check_config(config: BertConfig) -> None:
    """Refuse a config that makes no BERT, naming field and value."""
    for one in fields(config):
        name, value = one.name, getattr(config, one.name)
        if name == "extra" or (name == "pad_token_id" and value is None):
            continue
        whole = one.type is not float
        kind = "a whole number" if whole else "a number"
        right = isinstance(value, int if whole else (int, float))
        if not right or isinstance(value, bool):
            raise TypeError(f"{name} must be {kind}, not {value!r}")
        if name.endswith("_prob"):
            if not 0 <= value < 1:
                raise ValueError(f"{name} is {value}, not in [0, 1)")
        elif name == "pad_token_id":
            if not 0 <= value < config.vocab_size:
                raise ValueError(
                    f"pad_token_id {value} is no row of a vocabulary "
                    f"of {config.vocab_size}"
                )
        elif not 0 < value < MOST:
            raise ValueError(
                f"{name} must be positive and below {MOST:,}, not {value}"
            )
    if config.hidden_size % config.num_attention_heads:
        raise ValueError(
            f"hidden_size {config.hidden_size} cannot be cut into "
            f"num_attention_heads {config.num_attention_heads} equal parts"
        )
    known = {one.name for one in fields(config)}
    for name, value in config.extra.items():
        if name in known:
            raise ValueError(f"{name} is a field: give it outside of extra")
        if name in FIXED and value not in FIXED[name]:
            raise ValueError(
                f"{name} is {value!r}, but this model computes only "
                f"{FIXED[name][0]!r}: with other weights than BERT's own, "
                "use the transformers library"
            )
    base = config.extra.get("base_model")
    if base is not None and not isinstance(base, str):
        raise TypeError(f"base_model must be a name, not {base!r}")


def split_fields(text: str) -> dict[str, Any]:
    """Sort a `config.json` into arguments for `BertConfig`."""
    try:
        said = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"config.json is not JSON: {error}") from None
    if not isinstance(said, dict):
        raise ValueError(
            f"config.json must hold an object, not {type(said).__name__}"
        )
    own = {one.name for one in fields(BertConfig)} - {"extra"}
    arguments = {k: v for k, v in said.items() if k in own}
    extra = {k: v for k, v in said.items() if k not in own}
    return arguments | {"extra": extra}


class BertPreTrainedModel(nn.Module):
    """Loading and saving: what `BertModel` and its heads share.

    Args:
        config: the model's numbers, kept as `model.config`.

    Raises:
        TypeError: `config` is no `BertConfig`.
    """

    # A file's name for a weight -> the weight it must be equal to.
    tied: ClassVar[Mapping[str, str]] = {}

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        if not isinstance(config, BertConfig):
            raise TypeError(
                f"config must be a BertConfig, not {type(config).__name__}"
            )
        self.config = config

    @property
    def device(self) -> torch.device:
        """Where the weights are; what they are given belongs there."""
        return next(self.parameters()).device

    def initialise(self, only: Collection[str] | None = None) -> None:
        """Start as BERT starts: N(0, 0.02), biases and [PAD] zero.

        Args:
            only: names of parameters; None for all of them.
        """
        std = self.config.initializer_range
        pad = self.config.pad_token_id
        for name, parameter in self.named_parameters():
            if only is not None and name not in only:
                continue
            if parameter.ndim > 1:  # a matrix or a table
                nn.init.normal_(parameter, std=std)
            else:  # 1 for the weight of a norm
                nn.init.constant_(parameter, name.endswith(".weight"))
            if name.endswith(TABLE) and pad is not None:
                nn.init.zeros_(parameter.data[pad])

    def resize_token_embeddings(self, size: int) -> None:
        """Give the token table, and what is tied to it, `size` rows.

        A new row is the mean of the old ones, so that it begins as
        no piece in particular. What is beyond `size` is cut off. An
        optimiser that was made before holds the old table: make it
        again.

        Args:
            size: V, the number of pieces that the tokenizer has.

        Raises:
            ValueError: no size for this config, as in `BertConfig`.

        Source: Hewitt 2021, Initializing new word embeddings for
        pretrained language models.
        """
        config = replace(self.config, vocab_size=size)
        for name, old in list(self.named_parameters()):
            tied = name.endswith((TABLE, "predictions.bias"))
            if tied and len(old) == self.config.vocab_size:
                mean = old.detach().mean(0, keepdim=True)
                more = mean.expand(max(size - len(old), 0), *old.shape[1:])
                put(self, name, torch.cat([old.detach()[:size], more]))
        for module in self.modules():
            if isinstance(module, BertPreTrainedModel):
                module.config = config
            if isinstance(module, Embeddings):
                module.token.num_embeddings = size

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        config: BertConfig | None = None,
        dtype: torch.dtype = torch.float32,
        base: str | Path | None = None,
        revision: str | None = None,
        ignore_mismatched_sizes: bool = False,
        **options: Any,
    ) -> Self:
        """Load published weights, in eval mode.

        Nothing random is drawn but for weights that the file lacks.

        Args:
            name_or_path: a folder, a packaged name such as
                "minilm", or a hub id; see `minibert.data.resolve`.
            config: used in place of the folder's `config.json`.
            dtype: what the weights become.
            base: where the rest is, of a folder that holds only what
                was trained; None for what its config names, if that
                ships.
            revision: a hub id's branch, tag or commit; None for the
                one that is pinned here, else the newest.
            ignore_mismatched_sizes: start a head anew that has
                another size in the file.
            **options: for the class, as `add_pooling_layer=False`,
                `labels=[...]` or `num_labels=5`.

        Raises:
            FileNotFoundError: no config or no weights there.
            TypeError: a `dtype` that is no floating-point type.
            ValueError: a file that is broken, a pickle, another
                model's, or does not fit its config.

        Warns:
            UserWarning: weights in the file that this model has no
                use for, and its own weights that the file lacks
                (they stay random); never for the encoder's, whose
                absence is an error, nor for an unused pooler.
        """
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise TypeError(f"dtype must be a float type of torch, not {dtype!r}")
        wanted = ["*.safetensors"]  # a tokenizer's cache has none
        if config is None:
            wanted.append("config.json")
        folder = find_folder(name_or_path, wanted, revision)
        if config is None:
            config = read_config(folder)
        state = read_weights(folder)
        if base is None:
            base = named_base(config, folder)
        if base is not None:
            state = base_weights(base, config) | state
        check_depth(config, state, folder)
        make = partial(cls, config, **options)
        model = make_empty(make, cls, folder).to(dtype)
        fill(model, state, folder, dtype, ignore_mismatched_sizes)
        return model.eval()

    def save_pretrained(self, path: str | Path) -> None:
        """Write `config.json` and `model.safetensors` into a folder.

        Both are written beside their places and then moved in, so
        that a failure leaves what was there before.

        Raises:
            ValueError: the model is on the meta device.
        """
        write_folder(Path(path), self)


Kind = TypeVar("Kind", bound=BertPreTrainedModel)


class BertOutput(NamedTuple):
    """What `BertModel` returns; `None` where not asked for."""

    last_hidden_state: Tensor  # (B, S, H)
    pooler_output: Tensor | None  # (B, H)
    hidden_states: tuple[Tensor, ...] | None = None  # L + 1 of them
    attentions: tuple[Tensor, ...] | None = None  # L, (B, A, S, S)


class BertModel(BertPreTrainedModel):
    """Embeddings, encoder, and a pooler on top of [CLS].

    Args:
        config: its numbers.
        add_pooling_layer: False leaves the pooler away.

    Source: Devlin et al. 2019, section 3.

    >>> config = BertConfig(vocab_size=99, num_hidden_layers=2)
    >>> output = BertModel(config)(torch.tensor([[2, 7, 3]]))
    >>> output.last_hidden_state.shape
    torch.Size([1, 3, 768])
    """

    def __init__(
        self, config: BertConfig, add_pooling_layer: bool = True
    ) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(
            config.vocab_size,
            config.hidden_size,
            config.max_position_embeddings,
            config.type_vocab_size,
            config.hidden_dropout_prob,
            config.layer_norm_eps,
        )
        self.encoder = Encoder(
            config.num_hidden_layers,
            config.hidden_size,
            config.num_attention_heads,
            config.intermediate_size,
            config.hidden_dropout_prob,
            config.attention_probs_dropout_prob,
            config.layer_norm_eps,
        )
        self.pooler = None
        if add_pooling_layer:
            size = config.hidden_size
            self.pooler = nn.Linear(size, size)
        self.initialise()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> BertOutput:
        """Turn token ids into one vector each, and one for all.

        Args:
            input_ids: (B, S).
            attention_mask: 1 where a token is real, (B, S); or
                (B, S, S), a row for each query, for packed rows.
            token_type_ids: (B, S) segments; 0 where absent.
            position_ids: (B, S); 0, 1, 2, ... where absent.
            output_hidden_states: keep the L + 1 states (B, S, H).
            output_attentions: keep the L maps (B, A, S, S), by a
                second, explicit sum.

        Raises:
            TypeError, ValueError, IndexError: see `Embeddings`
                and `padding_mask`; a mask that does not fit.
        """
        check_mask_shape(attention_mask, input_ids)
        mask = None
        if attention_mask is not None:
            mask = padding_mask(attention_mask)  # (B, 1, 1 or S, S)
        x = self.embeddings(input_ids, token_type_ids, position_ids)
        states, maps = [x], []
        for layer in self.encoder.layers:
            assert isinstance(layer, EncoderLayer)
            if output_attentions:
                maps.append(layer.attention.weights(x, mask))
            x = layer(x, mask)  # (B, S, H)
            if output_hidden_states:
                states.append(x)
        pooled = None
        if self.pooler is not None:
            pooled = torch.tanh(self.pooler(x[:, 0]))  # (B, H)
        return BertOutput(
            x,
            pooled,
            tuple(states) if output_hidden_states else None,
            tuple(maps) if output_attentions else None,
        )


def check_mask_shape(mask: Tensor | None, input_ids: Tensor) -> None:
    """Refuse an attention mask that is not (B, S) or (B, S, S)."""
    if mask is None or not isinstance(input_ids, Tensor):
        return
    if not isinstance(mask, Tensor):
        raise TypeError(
            f"attention_mask must be a tensor, not {type(mask).__name__}"
        )
    if input_ids.ndim != 2:
        return  # the embeddings say what is wrong with it
    batch, size = input_ids.shape
    if mask.shape not in ((batch, size), (batch, size, size)):
        raise ValueError(
            f"attention_mask is {tuple(mask.shape)}, but for input_ids "
            f"of {batch, size} it must be {batch, size} or "
            f"{batch, size, size}"
        )


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
            name that is in no table (a head's) stays as it is.

    Returns:
        The same numbers under Hugging Face's names.

    Raises:
        ValueError: a (3H, H) projection whose rows are not 3H.
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
    for name, tensor in modern(state).items():
        match = PATTERN.fullmatch(name)
        if match is None:
            out[name] = tensor
            continue
        bert, number, part, kind = match.groups(default="")
        stem = f"{bert}encoder.layers.{number}." if number else bert
        if number and part.startswith("attention.self."):
            whole = f"{stem}attention.qkv.{kind}"
            if whole not in out:
                out[whole] = join(state, name)
        else:
            out[f"{stem}{THEIRS.get(part, part)}.{kind}"] = tensor
    return out


BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")
OLD = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


def modern(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
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


def join(state: Mapping[str, Tensor], name: str) -> Tensor:
    """Stack query, key and value of the layer that `name` is in."""
    head, _, kind = name.rpartition(".")
    stem = head.rpartition(".")[0]
    names = [f"{stem}.{one}.{kind}" for one in QKV]
    missing = [one for one in names if one not in state]
    if missing:
        raise ValueError(f"query, key and value go together: no {missing}")
    return torch.cat([state[one] for one in names])


def find_folder(
    name_or_path: str | Path, wanted: Sequence[str], revision: str | None = None
) -> Path:
    """Find the folder of a name that holds what is wanted."""
    path = Path(name_or_path)
    if path.is_file():
        refuse_pickle(path)
        raise ValueError(
            f"{path} is a file: give the folder that holds it, beside "
            "its config.json"
        )
    if holds_model(path):
        return path  # what it lacks is told apart later
    return resolve(name_or_path, wanted, revision)


def read_config(folder: Path) -> BertConfig:
    """Read `config.json` of a folder, and name it in every error."""
    file = folder / "config.json"
    if not is_there(file):
        raise FileNotFoundError(f"there is no config.json in {folder}")
    text = read_text(file)
    with naming(file):
        return BertConfig.from_json(text)


@contextlib.contextmanager
def naming(file: Path) -> Iterator[None]:
    """Put a file's name before what an error says of its content."""
    try:
        yield
    except RecursionError:
        raise ValueError(f"{file} is nested too deep to be read") from None
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{file}: {error}") from None


def is_there(file: Path) -> bool:
    """Whether there is a file; refuse a link that leads to none."""
    check_link(file)
    return file.is_file()


def refuse_pickle(file: Path) -> None:
    """Refuse weights that are a pickle, by name or by content."""
    with file.open("rb") as opened:
        start = opened.read(8)
    # safetensors begins with a length of 8 bytes, the last ones 0
    length = len(start) < 8 or start[5:] == b"\0\0\0"
    pickled = start[:2] == b"PK" or (start[:1] == b"\x80" and not length)
    if pickled or file.suffix in (".bin", ".pt", ".pth", ".pkl"):
        raise ValueError(
            f"{file} is a pickle, which can run any code when it is "
            "opened. If you trust it, convert it once:\n"
            f"    state = torch.load({file.name!r}, weights_only=True)\n"
            "    state = {k: v.clone() for k, v in state.items()}\n"
            "    safetensors.torch.save_file(state, 'model.safetensors')"
        )


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read `model.safetensors`, or the pieces its index names."""
    whole = folder / "model.safetensors"
    index = folder / "model.safetensors.index.json"
    if is_there(whole):
        return modern(read_safetensors(whole))
    if is_there(index):
        return modern(read_pieces(index))
    for file in sorted(folder.iterdir()):
        if file.suffix in (".bin", ".pt", ".pth", ".pkl"):
            refuse_pickle(file)
    raise FileNotFoundError(
        f"there is no model.safetensors in {folder}, nor its index; "
        f"there are {sorted(file.name for file in folder.iterdir())}"
    )


def named_base(config: BertConfig, folder: Path) -> str | None:
    """Give the `base_model` of a config, if it ships.

    Raises:
        ValueError: it is elsewhere: a file is not followed there.
    """
    name: str | None = config.extra.get("base_model")
    if not name:
        return None
    known = shipped(["*.safetensors"])
    if name not in known:
        raise ValueError(
            f"{folder} holds only what was trained, on top of {name!r}, which "
            f"does not ship with this package ({', '.join(known)} do): if you "
            f"trust it, give base={name!r}"
        )
    return name


def base_weights(name: str | Path, config: BertConfig) -> dict[str, Tensor]:
    """Read the encoder that a folder's weights were trained on."""
    folder = find_folder(name, ["*.safetensors"])
    state = read_weights(folder)
    if is_there(folder / "config.json"):  # it may have a base of its own
        further = named_base(read_config(folder), folder)
        if further is not None:
            state = base_weights(further, config) | state
    kept = {}
    for key, tensor in state.items():
        if in_encoder(key) and layer_of(key) < config.num_hidden_layers:
            kept["bert." + key.removeprefix("bert.")] = tensor
    return kept


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """Read one file whole, or say that it is broken."""
    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        refuse_pickle(file)
        size = file.stat().st_size
        raise ValueError(
            f"{file} ({size:,} bytes) is cut short or no safetensors "
            f"file: fetch it again ({error})"
        ) from None


def read_pieces(index: Path) -> dict[str, Tensor]:
    """Read every piece that an index names, and miss none."""
    try:
        pieces = read_json(index)["weight_map"]
        files = sorted(set(pieces.values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(
            f"{index} is no index: it needs a weight_map from names to files"
        ) from None
    state: dict[str, Tensor] = {}
    for name in files:
        file = index.parent / str(name)
        if file.name != name or file.suffix != ".safetensors":
            raise ValueError(f"{index} names {name!r}, no file beside it")
        if not is_there(file):
            raise FileNotFoundError(f"{index} names {name}, which is missing")
        state |= read_safetensors(file)
    lost = [name for name in pieces if name not in state]
    if lost:
        raise ValueError(f"{index} promises {some(lost)}; no piece holds it")
    return state


# What a weight outside of the encoder is for, by how its name begins.
MEANING = {
    "pooler.": "the pooler",
    "cls.predictions.": "a masked-word head",
    "cls.seq_relationship.": "a next-sentence head",
    "qa_outputs.": "a question-answering head",
    "classifier.": "a classification head",
}


def some(names: Iterable[str]) -> str:
    """List names in order, the first four in full."""
    ordered = sorted(names)
    more = f" and {len(ordered) - 4} more" if len(ordered) > 4 else ""
    return ", ".join(ordered[:4]) + more


def in_encoder(name: str) -> bool:
    """Whether a name of theirs is of the embeddings or a layer."""
    bare = name.removeprefix("bert.")
    return bare.startswith(("embeddings.", "encoder."))


def layer_of(name: str) -> int:
    """Give the layer that a name of theirs is of, from 0; -1 for none."""
    found = re.search(r"encoder\.layer\.(\d+)\.", name)
    return int(found[1]) if found else -1


def same_prefix(
    found: dict[str, Tensor], wanted: Iterable[str]
) -> dict[str, Tensor]:
    """Add or strip `bert.` where file and model differ in it."""
    ours = any(name.startswith("bert.") for name in wanted)
    if not ours:
        return {k.removeprefix("bert."): v for k, v in found.items()}
    parts = ("embeddings.", "encoder.", "pooler.")
    return {
        f"bert.{k}" if k.startswith(parts) else k: v
        for k, v in found.items()
    }


def drop_tied(
    model: BertPreTrainedModel, found: dict[str, Tensor], folder: Path
) -> None:
    """Take out copies of a tied weight; refuse one that differs."""
    for name, original in model.tied.items():
        copy, kept = found.pop(name, None), found.get(original)
        if copy is not None and kept is None:
            found[original] = copy  # under the other of its two names
        elif copy is not None and kept is not None and not copy.equal(kept):
            raise ValueError(
                f"{folder}: {name} differs from {original}, but in this "
                "model they are one"
            )


def check_depth(
    config: BertConfig, state: Mapping[str, Tensor], folder: Path
) -> None:
    """Compare the numbers of layers before so many are made."""
    deep = 1 + max(map(layer_of, state), default=-1)
    if not deep:
        raise ValueError(
            f"{folder} lacks weights of the encoder. It holds {some(state)}"
        )
    if deep != config.num_hidden_layers:
        raise ValueError(
            f"{folder}: the file has {deep} layers, but num_hidden_layers "
            f"is {config.num_hidden_layers}"
        )


def make_empty(make: Callable[[], Kind], kind: type, folder: Path) -> Kind:
    """Make a model without numbers, on meta; name the folder in its errors.

    That is for the classes of this package, which hold parameters that
    `initialise` draws, and nothing else. Another is made as it says.
    """
    ours = kind.__module__.partition(".")[0] == __name__.partition(".")[0]
    where = "meta" if ours else torch.get_default_device()
    with naming(folder), torch.device(where):
        return make()


def put(model: nn.Module, name: str, tensor: Tensor) -> None:
    """Put a tensor in the place of a parameter."""
    place, _, last = name.rpartition(".")
    module, old = model.get_submodule(place), model.get_parameter(name)
    setattr(module, last, nn.Parameter(tensor, old.requires_grad))


def fill(
    model: BertPreTrainedModel,
    state: dict[str, Tensor],
    folder: Path,
    dtype: torch.dtype,
    ignore_mismatched_sizes: bool = False,
) -> None:
    """Put a file's weights into a model; say by name what is off."""
    wanted = to_huggingface(model.state_dict())
    found = same_prefix(state, wanted)
    drop_tied(model, found, folder)
    resized = {
        name
        for name in wanted.keys() & found.keys()
        if ignore_mismatched_sizes
        and not in_encoder(name)
        and found[name].shape != wanted[name].shape
    }
    found = {k: v for k, v in found.items() if k not in resized}
    missing, left = wanted.keys() - found.keys(), found.keys() - wanted.keys()
    lost = [name for name in missing if in_encoder(name)]
    if lost:
        raise ValueError(
            f"{folder} lacks weights of the encoder: {some(lost)}. "
            f"It holds {some(found)}"
        )
    over = [name for name in left if in_encoder(name)]
    if over:
        raise ValueError(
            f"{folder} holds weights that this model has no place for: "
            f"{some(over)}"
        )
    for name in sorted(wanted.keys() & found.keys()):
        check_tensor(name, found[name], wanted[name], folder)
    warn_names(model, missing, left, resized, folder)
    device = torch.get_default_device()
    kept = from_huggingface({k: v for k, v in found.items() if k in wanted})
    own = {  # what was joined is new already
        name: owned(x, device, dtype, copy=".qkv." not in name)
        for name, x in kept.items()
    }
    empty = any(one.is_meta for one in model.parameters())
    model.load_state_dict(own, strict=False, assign=empty)
    new = {name for name, one in model.named_parameters() if one.is_meta}
    if not new:
        return
    for name in new:
        like = model.get_parameter(name)
        put(model, name, torch.empty_like(like, dtype=dtype, device=device))
    model.initialise(new)


def owned(
    tensor: Tensor, device: torch.device, dtype: torch.dtype, copy: bool
) -> Tensor:
    """Bring a tensor to its place, and its numbers to a type.

    One that was read hangs on its file, and holds it open: `copy` it,
    where that has not been done on the way.
    """
    to = dtype if tensor.is_floating_point() else tensor.dtype
    moved = tensor.to(device, to)
    if moved is not tensor or not copy:
        return moved
    if to == torch.float32:  # numpy takes large pages: 4 times as fast
        return torch.from_numpy(tensor.numpy().copy())
    return tensor.clone()


def check_tensor(
    name: str, tensor: Tensor, wanted: Tensor, folder: Path
) -> None:
    """Refuse a weight of another shape, or one that is quantised."""
    hint = ""
    if not in_encoder(name):
        hint = ": to start it anew, give ignore_mismatched_sizes=True"
    if tensor.shape != wanted.shape:
        raise ValueError(
            f"{folder}: {name} is {tuple(tensor.shape)}, but the config "
            f"makes it {tuple(wanted.shape)}{hint}"
        )
    if wanted.is_floating_point() and not tensor.is_floating_point():
        raise ValueError(
            f"{folder}: {name} is {tensor.dtype}: a quantised file, which "
            "this model does not read"
        )


def meaning(name: str) -> str:
    """Say what a weight outside of the encoder is for."""
    bare = name.removeprefix("bert.")
    for begin, what in MEANING.items():
        if bare.startswith(begin):
            return what
    return "unknown to BERT"


def warn_names(
    model: BertPreTrainedModel,
    missing: Iterable[str],
    left: Iterable[str],
    resized: Collection[str],
    folder: Path,
) -> None:
    """Say what each name outside of the encoder means for the user."""
    said = []
    for what in dict.fromkeys(map(meaning, sorted(missing))):
        names = some(n for n in missing if meaning(n) == what)
        mend = "train it before use"
        if what == MEANING["pooler."]:
            mend += ", or go without: add_pooling_layer=False"
        found = "another size" if names.split(",")[0] in resized else "not"
        said.append(f"{names} ({what}): {found} in the file, so random; {mend}")
    for what in dict.fromkeys(map(meaning, sorted(left))):
        names = some(n for n in left if meaning(n) == what)
        if what != MEANING["pooler."]:  # left away on purpose
            user = type(model).__name__
            said.append(f"{names} ({what}): {user} has no use for it")
    if said:
        warnings.warn("; ".join([f"{folder}", *said]), stacklevel=4)


def own_memory(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give each tensor memory of its own on the CPU, as safetensors wants it."""
    out: dict[str, Tensor] = {}
    seen = set()
    for name, tensor in state.items():
        one = tensor.detach().contiguous().cpu()
        place = one.untyped_storage().data_ptr()
        out[name] = one.clone() if place in seen else one
        seen.add(place)
    return out


def write_folder(folder: Path, model: BertPreTrainedModel) -> None:
    """Write a model's files aside, then move them into place."""
    state = to_huggingface(model.state_dict())
    if any(tensor.is_meta for tensor in state.values()):
        raise ValueError("a model on the meta device has no numbers to save")
    dtype = next(iter(state.values())).dtype
    # said by dtype; the file is whole; what is tied here stays tied
    gone = ("torch_dtype", "base_model", "tie_word_embeddings")
    extra = {k: v for k, v in model.config.extra.items() if k not in gone}
    extra["architectures"] = [type(model).__name__]
    extra["dtype"] = str(dtype).removeprefix("torch.")
    config = replace(model.config, extra=extra)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as aside:
        new = Path(aside)
        (new / "config.json").write_text(config.to_json(), encoding="utf-8")
        save_file(own_memory(state), new / "model.safetensors", metadata={"format": "pt"})
        # safetensors lets only the owner read; let whom config.json lets
        mode = (new / "config.json").stat().st_mode & 0o777
        os.chmod(new / "model.safetensors", mode)
        for name in ("model.safetensors", "config.json"):
            os.replace(new / name, folder / name)


def load(
    kind: type[Kind],
    model: str | Path | tuple[Kind, Tokenizer],
    device: Device | None = None,
) -> tuple[Kind, Tokenizer]:
    """Get a model and its tokenizer, for a function on strings.

    Args:
        kind: the class, such as `BertModel`.
        model: a shipped name, a folder or a hub id; read once for
            all who ask, and again when its files change. Or the two,
            already loaded, which stay on the device they are on.
        device: where to put what is named; None for the best.

    Raises:
        TypeError: something else.
        ValueError: a model in training mode, or a device for one
            that is loaded.
        FileNotFoundError, ValueError: see `from_pretrained`.
    """
    if isinstance(model, tuple):
        ours, tokenizer = model
        if device is not None:
            raise ValueError(
                f"the model is loaded, on {ours.device}, and used there: "
                "leave device out, or call model.to(device) first"
            )
        if not isinstance(ours, kind):
            raise TypeError(
                f"the model must be a {kind.__name__}, not a "
                f"{type(ours).__name__}"
            )
    elif isinstance(model, (str, PathLike)):
        folder = find_folder(model, ["*.safetensors", "config.json"])
        files = [(one.name, one.stat()) for one in folder.iterdir() if one.exists()]
        seen = tuple(sorted((n, s.st_mtime_ns, s.st_size, s.st_ino) for n, s in files))
        where = best_device() if device is None else torch.empty(0, device=device).device
        ours, tokenizer = load_once(kind, folder.resolve(), seen, where)  # type: ignore[arg-type]
    else:
        raise TypeError(
            "model must be a name, a folder, or a model and its "
            f"tokenizer, (model, tokenizer), not a {type(model).__name__}"
        )
    if ours.training:
        raise ValueError(
            "the model is in training mode, where dropout makes every "
            "answer another: call model.eval() first"
        )
    return ours, tokenizer


LOADING = threading.Lock()


@lru_cache(maxsize=4)
def load_once(
    kind: type[Kind], folder: Path, seen: tuple[Any, ...], device: torch.device
) -> tuple[Kind, Tokenizer]:
    """Read a folder; what was `seen` there makes a new reading of a new file."""
    # Kept for all who ask: no tensors of one caller's inference mode. One at a
    # time, since what warnings are shown is a matter of the whole process.
    with LOADING, torch.inference_mode(False), warnings.catch_warnings():
        # of other heads in the file
        only = r"(?s)(?!.*not in the file).*has no use for it"
        warnings.filterwarnings("ignore", only)
        model = kind.from_pretrained(folder).to(device)
    return model, Tokenizer.from_pretrained(folder)
