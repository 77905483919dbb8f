# Written by tools/tangle.py from
# book/source/bert.md
# Edit that, not this.
"""BERT: the model, loaded and saved.

Shapes: `B` batch, `S` sequence, `H` hidden, `A` heads, `L` layers.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    NamedTuple,
    Self,
    TypeVar,
)

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from minibert.attention import Packing, find_packing, padding_mask
from minibert.batching import by_name
from minibert.config import BertConfig, read_config
from minibert.embeddings import Embeddings
from minibert.files import find_folder
from minibert.moved import moved
from minibert.transformer import Encoder, EncoderLayer
from minibert.weights import (
    base_weights,
    check_depth,
    load_state,
    make_empty,
    named_base,
    read_weights,
    set_parameter,
    write_folder,
)

__all__ = [
    "BertConfig",
    "BertModel",
    "BertOutput",
    "BertPreTrainedModel",
]

if not TYPE_CHECKING:  # names of 0.2
    __getattr__ = moved(__name__)


TABLE = "embeddings.token.weight"  # how the table's name ends


class BertPreTrainedModel(nn.Module):
    """Loading and saving: what `BertModel` and its heads share.

    What `forward` returns, a named tuple, is asked by name as well:
    `output["logits"]`.

    Args:
        config: the model's numbers, kept as `model.config`.

    Raises:
        TypeError: `config` is no `BertConfig`.

    >>> model = BertModel(BertConfig(vocab_size=99, num_hidden_layers=1))
    >>> isinstance(model, BertPreTrainedModel), model.dtype
    (True, torch.float32)
    >>> model.num_parameters()
    8150784
    """

    # A file's name for a weight -> the weight it must be equal to.
    tied: ClassVar[Mapping[str, str]] = {}
    # What torch's checkpoint() is given; None: keep what layers computed.
    checkpointing: dict[str, Any] | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        output: Any = cls.forward.__annotations__.get("return")
        if hasattr(output, "_fields"):
            output.__getitem__ = by_name

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

    @property
    def dtype(self) -> torch.dtype:
        """In which numbers the weights are."""
        return next(self.parameters()).dtype

    def num_parameters(self, only_trainable: bool = False) -> int:
        """Count the weights; frozen ones too, unless told not to."""
        return sum(
            p.numel() for p in self.parameters()
            if p.requires_grad or not only_trainable
        )  # fmt: skip

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether layers are computed again in the backward pass."""
        return self.checkpointing is not None

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: Mapping[str, Any] | None = None
    ) -> None:
        """Keep only what goes into each layer while training.

        The backward pass computes the rest again: same gradients,
        about a third more time, less memory.

        Args:
            gradient_checkpointing_kwargs: for
                `torch.utils.checkpoint.checkpoint`.

        Source: Chen et al. 2016, Training deep nets with sublinear
        memory cost.
        """
        kwargs = {"use_reentrant": False} | dict(gradient_checkpointing_kwargs or {})
        for module in self.modules():
            if isinstance(module, BertPreTrainedModel):
                module.checkpointing = kwargs

    def gradient_checkpointing_disable(self) -> None:
        """Undo `gradient_checkpointing_enable`."""
        for module in self.modules():
            if isinstance(module, BertPreTrainedModel):
                module.checkpointing = None

    def run_layer(
        self, layer: nn.Module, x: Tensor, mask: Tensor | Packing | None
    ) -> Tensor:
        """Run a layer on `x` (B, S, H), for gradients in either way."""
        if self.checkpointing is None or not self.training:
            out: Tensor = layer(x, mask)
        else:
            out = checkpoint(layer, x, mask, **self.checkpointing)
        return out

    def initialise(self, only: Collection[str] | None = None) -> None:
        """Draw the weights anew, in place.

        Matrices and tables come from a normal distribution of mean
        0 and standard deviation `config.initializer_range`, 0.02
        in BERT; a norm's weight is 1, biases are 0, and so is
        [PAD]'s row, if `config.pad_token_id` says which it is.

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
            size: V, the tokenizer's `len(tokenizer)`.

        Raises:
            TypeError: it is no whole number.
            ValueError: it is below 1, or cuts off [PAD]'s row.

        Source: Hewitt 2021, Initializing new word embeddings for
        pretrained language models.
        """
        config = replace(self.config, vocab_size=size)
        for name, old in list(self.named_parameters()):
            tied = name.endswith((TABLE, "predictions.bias"))
            if tied and len(old) == self.config.vocab_size:
                mean = old.detach().mean(0, keepdim=True)
                more = mean.expand(max(size - len(old), 0), *old.shape[1:])
                set_parameter(self, name, torch.cat([old.detach()[:size], more]))
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
        """Load published weights, in eval mode, on the CPU.

        `model.to(best_device())` moves them; only where torch's
        default device is another are they on that at once.
        Nothing random is drawn but for weights that the file lacks.

        Args:
            name_or_path: a folder, a packaged name such as
                "minilm", or a hub id; see `minibert.files.resolve`.
            config: used in place of the folder's `config.json`.
            dtype: what the weights become.
            base: where the rest is, of a folder that holds only what
                was trained; None for what its config names, if that
                ships.
            revision: a hub id's branch, tag or commit; None for the
                one that is pinned here, else what the hub's cache
                holds, else the newest.
            ignore_mismatched_sizes: start a head anew that has
                another size in the file.
            **options: for the class, as `add_pooling_layer=False`,
                `labels=[...]` or `num_labels=5`.

        Raises:
            FileNotFoundError: no config or no weights there.
            ModuleNotFoundError: "minilm", or what was trained on
                top of it, without the extra `[models]`.
            TypeError: a `dtype` that is no floating-point type, or
                a field of `config.json` of a wrong type.
            ValueError: a file that is broken, a pickle, another
                model's, or does not fit its config; a head that
                needs `labels`, and gets none.

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
        new = load_state(
            model, state, folder, dtype, cls.tied,
            ignore_mismatched_sizes,
        )  # fmt: skip
        if new:
            model.initialise(new)
        return model.eval()

    def save_pretrained(self, path: str | Path) -> None:
        """Write `config.json` and `model.safetensors` to a folder.

        `transformers` reads it, too: the weights have its names.
        They keep their dtype. The tokenizer is saved by its own
        `save_pretrained`. Both files are written beside their
        places and then moved in, so that a failure leaves what was
        there before.

        Raises:
            ValueError: the model is on the meta device.
        """
        write_folder(Path(path), self, self.config)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Send the model to the hub; give the commit's address.

        Args:
            repo_id: `owner/name`.
            **options: as `minibert.push_to_hub` takes them;
                `license="apache-2.0"`, or another, must be there.

        Raises:
            ValueError, PermissionError, ConnectionError: see there.
        """
        sharing: Any = import_module("minibert.sharing")
        url: str = sharing.push_to_hub(self, repo_id, **options)
        return url


Kind = TypeVar("Kind", bound=BertPreTrainedModel)


class BertOutput(NamedTuple):
    """What `BertModel` returns; `None` where not asked for.

    Attributes:
        last_hidden_state: (B, S, H).
        pooler_output: (B, H), of [CLS]; None without a pooler.
        hidden_states: L + 1 of (B, S, H): what the embeddings give,
            then what each layer gives.
        attentions: L of (B, A, S, S): for each query, a row, its
            weights on all keys.
    """

    last_hidden_state: Tensor
    pooler_output: Tensor | None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


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
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> BertOutput:
        """Turn token ids into one vector each, and one for all.

        Args:
            input_ids: (B, S); of packed texts (1, P).
            attention_mask: 1 where a token is real, (B, S); or
                (B, S, S), what each query may see. Of packed
                texts it stays (B, S), as `pack` leaves it. All
                tokens are real where it is absent.
            token_type_ids: as the ids, segments; 0 where absent.
            position_ids: as the ids; 0, 1, 2, ... where absent,
                from 0 in each packed text.
            inputs_embeds: (B, S, H) in place of `input_ids`.
            output_hidden_states: keep the L + 1 states (B, S, H).
            output_attentions: keep the L maps (B, A, S, S). The
                layers do not store them, so they are computed
                once more, without dropout.

        Returns:
            A `BertOutput`. Of B packed texts the states are
            (1, P, H); the pooled vectors and the maps are those
            of B texts.

        Raises:
            TypeError: ids or a mask that are no tensors, or ids
                that are no integers.
            ValueError: shapes that do not fit, more tokens than
                positions, or a mask of other values than 0 and 1.
            IndexError: an id without a row in its table. In
                training on a GPU no values are looked at.
        """
        ids = input_ids if inputs_embeds is None else inputs_embeds
        packing = find_packing(attention_mask, ids)
        if packing is not None and position_ids is None:
            position_ids = packing.positions  # from 0 in each text
        x = self.embeddings(
            input_ids, token_type_ids, position_ids, inputs_embeds
        )  # (B, S, H)
        mask: Tensor | Packing | None = packing
        if attention_mask is not None and packing is None:
            check_mask_shape(attention_mask, x)
            mask = padding_mask(attention_mask)  # (B, 1, 1 or S, S)
        states, maps = [x], []
        for layer in self.encoder.layers:
            assert isinstance(layer, EncoderLayer)
            if output_attentions:
                maps.append(layer.attention.weights(x, mask))
            x = self.run_layer(layer, x, mask)
            if output_hidden_states:
                states.append(x)
        pooled = None
        if self.pooler is not None:
            first = packing.first(x) if packing else x[:, 0]
            pooled = torch.tanh(self.pooler(first))  # (B, H)
        return BertOutput(
            x,
            pooled,
            tuple(states) if output_hidden_states else None,
            tuple(maps) if output_attentions else None,
        )


def check_mask_shape(mask: Tensor, x: Tensor) -> None:
    """Refuse an attention mask that is not (B, S) or (B, S, S)."""
    if not isinstance(mask, Tensor):
        raise TypeError(
            f"attention_mask must be a tensor, not {type(mask).__name__}"
        )
    batch, size = x.shape[:2]
    if mask.shape not in ((batch, size), (batch, size, size)):
        raise ValueError(
            f"attention_mask is {tuple(mask.shape)}, but for input_ids "
            f"of {batch, size} it must be {batch, size} or "
            f"{batch, size, size}"
        )
