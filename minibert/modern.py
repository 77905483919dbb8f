# Written by tools/tangle.py from
# book/source/modern.md
# Edit that, not this.
"""From BERT to ModernBERT: one encoder, and what has changed since.

Shapes: `B` batch, `S` sequence, `H` hidden, `A` heads, `D` = H / A,
`L` layers, `I` the feed-forward's inner size.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minibert.attention import (
    Packing,
    SelfAttention,
    find_packing,
    padding_mask,
)
from minibert.bert import (
    BertOutput,
    BertPreTrainedModel,
    check_mask_shape,
)
from minibert.config import BertConfig
from minibert.embeddings import Embeddings, check_ids
from minibert.files import errors_naming, find_folder, read_text
from minibert.mlm import (
    MaskedLMHead,
    MaskedLMOutput,
    score_labelled,
)
from minibert.transformer import EncoderLayer, FeedForward
from minibert.weights import list_names, read_weights

__all__ = [
    "MODERN",
    "Changes",
    "GatedFeedForward",
    "ModernBertForMaskedLM",
    "ModernBertModel",
    "PreNormLayer",
    "RotaryAttention",
    "rotate",
    "window_mask",
]


class PreNormLayer(EncoderLayer):
    """An encoder layer that norms what each half reads.

    Source: Xiong et al. 2020, On layer normalization in the
    transformer architecture.
    """

    def forward(
        self, x: Tensor, mask: Tensor | Packing | None = None
    ) -> Tensor:
        """Encode `x` (B, S, H); True in `mask` may look."""
        x = x + self.dropout(self.attention(self.norm1(x), mask))
        return x + self.dropout(self.mlp(self.norm2(x)))


class GatedFeedForward(FeedForward):
    """A feed-forward whose inner numbers are gated: GeGLU.

    Args:
        hidden_size: H.
        intermediate_size: I, of what is gated, and of its gate.

    Source: Shazeer 2020, GLU variants improve transformer.
    """

    def __init__(
        self, hidden_size: int, intermediate_size: int
    ) -> None:
        super().__init__(hidden_size, intermediate_size)
        self.up = nn.Linear(hidden_size, 2 * intermediate_size)

    def forward(self, x: Tensor) -> Tensor:
        """Work on each position of `x` alone: (B, S, H) -> same."""
        x, gate = self.up(x).chunk(2, dim=-1)  # (B, S, I) each
        return self.down(F.gelu(x) * gate)


def rotate(
    x: Tensor, positions: Tensor, base: float = 10_000.0
) -> Tensor:
    """Turn pairs of numbers by an angle that grows with the place.

    Number i and number i + D / 2 are a pair, which is turned by
    p / base^(2i / D) at place p. Then the product of two vectors
    depends on how far apart they are, and not on where.

    Args:
        x: (B, A, S, D), D even.
        positions: (1 or B, S), 0, 1, 2, ...
        base: the longest pair turns once in 2 pi base places or so.

    Returns:
        (B, A, S, D), in the type of `x`.

    Raises:
        ValueError: an odd D.

    Source: Su et al. 2021, RoFormer, section 3.4.

    >>> x = torch.ones(1, 1, 3, 2)
    >>> places = torch.tensor([[0, 1, 2]])
    >>> rotate(x, places)[0, 0].round(decimals=2).tolist()
    [[1.0, 1.0], [-0.3, 1.38], [-1.33, 0.49]]
    """
    if x.shape[-1] % 2:
        raise ValueError(
            f"a head of {x.shape[-1]} numbers cannot be cut into "
            "pairs: D must be even"
        )
    half = torch.arange(0, x.shape[-1], 2, device=x.device)
    speed = 1.0 / base ** (half / x.shape[-1])  # (D / 2,)
    angle = positions[:, None, :, None] * speed  # (B, 1, S, D / 2)
    cos, sin = angle.cos(), angle.sin()
    left, right = x.float().chunk(2, dim=-1)
    turned = left * cos - right * sin, right * cos + left * sin
    return torch.cat(turned, dim=-1).to(x.dtype)


class RotaryAttention(SelfAttention):
    """Self-attention that sees how far apart two tokens are.

    Args:
        hidden_size: H.
        num_heads: A, a divisor of H.
        dropout: chance that a weight is dropped in training.
        base: of the angles, see `rotate`.

    Source: Su et al. 2021, RoFormer, section 3.2.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        dropout: float = 0.0,
        base: float = 10_000.0,
    ) -> None:
        super().__init__(hidden_size, num_heads, dropout)
        self.base = base

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key, value of `x` (B, S, H), the first two turned.

        The texts of a packed row need no places of their own: only
        the distance within a text is seen.
        """
        query, key, value = super().project(x)
        places = torch.arange(x.shape[1], device=x.device)[None]
        query = rotate(query, places, self.base)
        return query, rotate(key, places, self.base), value


def window_mask(
    size: int, window: int, device: torch.device | None = None
) -> Tensor:
    """Let each position see half a window to both sides.

    Args:
        size: S.
        window: places from the first seen to the last, but one.
        device: where the mask belongs.

    Returns:
        Boolean, (S, S).

    Source: Beltagy et al. 2020, Longformer, section 3.1.

    >>> window_mask(4, 2).int().tolist()
    [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]
    """
    places = torch.arange(size, device=device)
    return (places[:, None] - places).abs() <= window // 2


def drop_biases(model: nn.Module) -> None:
    """Take the bias from every linear layer and norm."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.LayerNorm):
            module.register_parameter("bias", None)


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What differs from BERT; by default, nothing.

    Attributes:
        pre_norm: norm what each half of a layer reads, and once
            more what the last layer gives.
        rotary: turn queries and keys. There are no segments then,
            no position table, and no limit to S.
        gated: gate the feed-forward's inner numbers.
        biases: whether linear layers and norms add one.
        window: of `window_mask`, in most layers; None sees all.
        every: layers 0, `every`, 2 `every`, ... have no window.
        base: of the angles where a layer sees all.
        local_base: of the angles in a window.

    Raises:
        ValueError: a window, a base or `every` below 1.
    """

    pre_norm: bool = False
    rotary: bool = False
    gated: bool = False
    biases: bool = True
    window: int | None = None
    every: int = 3
    base: float = 160_000.0
    local_base: float = 10_000.0

    def __post_init__(self) -> None:
        for name in ("window", "every", "base", "local_base"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(
                    f"{name} must be 1 or more, not {value}"
                )

    def is_local(self, layer: int) -> bool:
        """Say whether a layer sees its window alone."""
        return self.window is not None and layer % self.every != 0


MODERN = Changes(
    pre_norm=True, rotary=True, gated=True, biases=False, window=128
)


def make_layer(
    config: BertConfig, changes: Changes, number: int
) -> EncoderLayer:
    """Make layer `number`, counted from 0: BERT's, with changes."""
    size, heads = config.hidden_size, config.num_attention_heads
    dropped = config.attention_probs_dropout_prob
    kind = PreNormLayer if changes.pre_norm else EncoderLayer
    layer = kind(
        size, heads, config.intermediate_size,
        config.hidden_dropout_prob, dropped, config.layer_norm_eps,
    )  # fmt: skip
    if changes.rotary:
        local = changes.is_local(number)
        base = changes.local_base if local else changes.base
        layer.attention = RotaryAttention(
            size, heads, dropped, base
        )
    if changes.gated:
        layer.mlp = GatedFeedForward(size, config.intermediate_size)
    if changes.pre_norm and number == 0:
        layer.add_module("norm1", nn.Identity())  # x is normed
    return layer


class TokenEmbeddings(nn.Module):
    """The token table and its norm: no segments, no positions."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.token = nn.Embedding(config.vocab_size, size)
        self.norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Look up (B, S) ids: (B, S, H)."""
        check_ids("input_ids", input_ids, self.token.num_embeddings)
        x: Tensor = self.dropout(self.norm(self.token(input_ids)))
        return x


class ModernPreTrainedModel(BertPreTrainedModel):
    """What both classes below share: reading ModernBERT's files."""

    def __init__(
        self, config: BertConfig, changes: Changes
    ) -> None:
        super().__init__(config)
        self.changes = changes

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, name_or_path: str | Path, *, revision: str | None = None
    ) -> Self:
        """Load a ModernBERT's weights, in eval mode.

        Args:
            name_or_path: a folder or a hub id.
            revision: a hub id's branch, tag or commit.

        Raises:
            FileNotFoundError: no config or no weights there.
            ValueError: another model's folder, or one that asks for
                what this model does not compute.
        """
        wanted = ["*.safetensors", "config.json"]
        folder = find_folder(name_or_path, wanted, revision)
        model = cls(*read_modern_config(folder))
        load_modern(model, read_weights(folder), folder)
        return model.eval()

    def save_pretrained(self, path: str | Path) -> None:
        """Refuse to: this is for reading ModernBERT's files."""
        raise NotImplementedError(
            "ModernBERT is read here and not written: safetensors' "
            "save_file(model.state_dict(), file) keeps the weights"
        )


class ModernBertModel(ModernPreTrainedModel):
    """BERT's encoder with changes: none is BERT, all is ModernBERT.

    `from_pretrained(name_or_path, revision=None)` reads the files
    of a ModernBERT, from a folder or the hub, in eval mode; it has
    no other options. `save_pretrained` raises NotImplementedError.

    Args:
        config: its numbers. ModernBERT's differ from the defaults:
            `layer_norm_eps` is 1e-5, there is no dropout, and
            `intermediate_size`, 1152 in its base size, is that of
            what is gated.
        changes: what is done in another way; `MODERN` is all that
            ModernBERT does, with its window of 128.

    Source: Warner et al. 2024, Smarter, better, faster, longer,
    section 2.1.

    >>> config = BertConfig(vocab_size=99, num_hidden_layers=2)
    >>> model = ModernBertModel(config)
    >>> model(torch.tensor([[2, 7, 3]])).last_hidden_state.shape
    torch.Size([1, 3, 768])
    """

    def __init__(
        self, config: BertConfig, changes: Changes = MODERN
    ) -> None:
        super().__init__(config, changes)
        size, eps = config.hidden_size, config.layer_norm_eps
        self.embeddings: TokenEmbeddings | Embeddings = (
            TokenEmbeddings(config)
            if changes.rotary
            else Embeddings(
                config.vocab_size, size,
                config.max_position_embeddings,
                config.type_vocab_size,
                config.hidden_dropout_prob, eps,
            )
        )  # fmt: skip
        self.layers = nn.ModuleList(
            make_layer(config, changes, number)
            for number in range(config.num_hidden_layers)
        )
        norm = nn.LayerNorm(size, eps=eps)
        self.norm = norm if changes.pre_norm else nn.Identity()
        if not changes.biases:
            drop_biases(self)
        self.initialise()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> BertOutput:
        """Turn token ids into one vector each.

        Args:
            input_ids: (B, S); all of one segment.
            attention_mask: as in `BertModel`.
            output_hidden_states: keep the L + 1 states (B, S, H);
                the last comes before the last norm.
            output_attentions: keep the L maps (B, A, S, S).

        Returns:
            `last_hidden_state` (B, S, H), and what was asked for.
            There is no pooler: `pooler_output` is None.

        Raises:
            TypeError, ValueError, IndexError: as in `BertModel`.
        """
        packing = find_packing(attention_mask, input_ids)
        places = {}
        if not self.changes.rotary and packing is not None:
            places["position_ids"] = packing.positions
        x = self.embeddings(input_ids, **places)  # (B, S, H)
        mask: Tensor | Packing | None = packing
        if attention_mask is not None and packing is None:
            check_mask_shape(attention_mask, x)
            mask = padding_mask(attention_mask)  # (B, 1, 1 or S, S)
        near = mask
        if self.changes.window is not None:
            near = local_mask(mask, x, self.changes.window)
        states, maps = [x], []
        layer: Any
        for number, layer in enumerate(self.layers):
            seen = near if self.changes.is_local(number) else mask
            if output_attentions:
                pre = self.changes.pre_norm
                read = layer.norm1(x) if pre else x
                maps.append(layer.attention.weights(read, seen))
            x = self.run_layer(layer, x, seen)
            if output_hidden_states:
                states.append(x)
        return BertOutput(
            self.norm(x),
            None,
            tuple(states) if output_hidden_states else None,
            tuple(maps) if output_attentions else None,
        )


def local_mask(
    mask: Tensor | Packing | None, x: Tensor, window: int
) -> Tensor:
    """Let each token of `x` (B, S, H) see what `mask` shows nearby.

    Padding sees itself, so that no row of weights is empty.
    """
    near = window_mask(x.shape[1], window, x.device)  # (S, S)
    if isinstance(mask, Packing):
        text = mask.places // mask.mask.shape[1]  # (P,)
        return near & (text[:, None] == text)
    if mask is None:
        return near
    itself = torch.eye(len(near), device=x.device).bool()
    return near & mask | itself


class ModernBertForMaskedLM(ModernPreTrainedModel):
    """The same, with a head that scores the pieces at each place.

    Args:
        config: as in `ModernBertModel`.
        changes: as there.

    >>> config = BertConfig(vocab_size=99, num_hidden_layers=2)
    >>> model = ModernBertForMaskedLM(config)
    >>> model(torch.tensor([[2, 7, 3]])).logits.shape
    torch.Size([1, 3, 99])
    """

    def __init__(
        self, config: BertConfig, changes: Changes = MODERN
    ) -> None:
        super().__init__(config, changes)
        self.bert = ModernBertModel(config, changes)
        self.predictions = MaskedLMHead(config)
        if not changes.biases:
            drop_biases(self.predictions)  # the pieces' stays
        self.initialise()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        labels: Tensor | None = None,
    ) -> MaskedLMOutput:
        """Score every piece at every place, or where labelled.

        Args:
            input_ids: (B, S); all of one segment.
            attention_mask: as in `BertModel`.
            labels: (B, S), as in `BertForMaskedLM`.

        Raises:
            TypeError, ValueError, IndexError: as there.
        """
        x = self.bert(input_ids, attention_mask).last_hidden_state
        table = self.bert.embeddings.token.weight  # (V, H)
        if labels is None:
            return MaskedLMOutput(None, self.predictions(x, table))
        logits, loss = score_labelled(
            self.predictions, x, table, labels
        )
        return MaskedLMOutput(loss, logits)


# Our names of weights, and theirs; what is not here is the same.
NAMES = {
    "bert.": "model.",
    "predictions.bias": "decoder.bias",
    "predictions.": "head.",
    "embeddings.token.": "embeddings.tok_embeddings.",
    "attention.qkv.": "attn.Wqkv.",
    "attention.output.": "attn.Wo.",
    "norm1.": "attn_norm.",
    "norm2.": "mlp_norm.",
    "mlp.up.": "mlp.Wi.",
    "mlp.down.": "mlp.Wo.",
}
LAST = re.compile(r"(?:bert\.)?norm\.weight")


def to_modern(name: str) -> str:
    """Give the name that a weight has in ModernBERT's files."""
    if LAST.fullmatch(name):
        name = name.replace("norm.", "final_norm.")
    for ours, theirs in NAMES.items():
        name = name.replace(ours, theirs, 1)
    return name


# What the model computes. A file that says otherwise is refused.
FIXED: dict[str, Any] = {
    "model_type": "modernbert",
    "hidden_activation": "gelu",
    "classifier_activation": "gelu",
    "norm_bias": False,
    "attention_bias": False,
    "mlp_bias": False,
    "classifier_bias": False,
    "decoder_bias": True,
}


def read_modern_config(folder: Path) -> tuple[BertConfig, Changes]:
    """Read ModernBERT's `config.json`; defaults for what it lacks.

    Both forms are read: with `rope_parameters` and `layer_types`, as
    transformers 5 writes them, and the published one.

    Raises:
        ValueError: no JSON object, another model's, or one that asks
            for what this model does not compute.
    """
    file = folder / "config.json"
    with errors_naming(file):
        settings = json.loads(read_text(file))
        if not isinstance(settings, dict):
            raise ValueError(
                f"it must hold an object, not {settings!r}"
            )
        for name, value in FIXED.items():
            if settings.get(name, value) != value:
                raise ValueError(
                    f"{name} is {settings[name]!r}, and this model "
                    f"computes only {value!r}"
                )
        ropes = settings.get("rope_parameters") or {}
        for rope in ropes.values():
            if rope["rope_type"] != "default":
                raise ValueError(
                    f"rope_type is {rope['rope_type']!r}, not 'default'"
                )
        full, near = (
            ropes.get(kind, {}).get("rope_theta")
            for kind in ("full_attention", "sliding_attention")
        )
        layers = settings.get("num_hidden_layers", 22)
        every = settings.get("global_attn_every_n_layers", 3)
        changes = Changes(
            pre_norm=True, rotary=True, gated=True, biases=False,
            window=settings.get("local_attention", 128), every=every,
            base=full or settings.get("global_rope_theta", 160_000.0),
            local_base=near or settings.get("local_rope_theta", 10_000.0),
        )  # fmt: skip
        kinds = [
            ("full", "sliding")[changes.is_local(i)] + "_attention"
            for i in range(layers)
        ]
        if settings.get("layer_types", kinds) != kinds:
            raise ValueError(
                f"layer_types is {settings['layer_types']}, not one of "
                f"{every} that sees all"
            )
        config = BertConfig(
            vocab_size=settings.get("vocab_size", 50_368),
            hidden_size=settings.get("hidden_size", 768),
            num_hidden_layers=layers,
            num_attention_heads=settings.get("num_attention_heads", 12),
            intermediate_size=settings.get("intermediate_size", 1152),
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            max_position_embeddings=settings.get("max_position_embeddings", 8192),
            layer_norm_eps=settings.get("norm_eps", 1e-5),
            pad_token_id=settings.get("pad_token_id"),
        )
    return config, changes


def load_modern(
    model: ModernPreTrainedModel,
    state: dict[str, Tensor],
    folder: Path,
) -> None:
    """Put weights that go by ModernBERT's names into a model.

    Raises:
        ValueError: one is missing, too many, or of another shape.
    """
    state = dict(state)
    state.pop("decoder.weight", None)  # the token table once more
    if isinstance(model, ModernBertModel):
        state = {
            name.removeprefix("model."): tensor
            for name, tensor in state.items()
            if not name.startswith(("head.", "decoder.", "classifier."))
        }
    ours = {to_modern(name): name for name in model.state_dict()}
    for what, names in (
        ("lacks", ours.keys() - state.keys()),
        ("holds what this model has no place for:", state.keys() - ours.keys()),
    ):
        if names:
            raise ValueError(f"{folder} {what} {list_names(names)}")
    for name, tensor in state.items():
        set_to = model.get_parameter(ours[name])
        if set_to.shape != tensor.shape:
            raise ValueError(
                f"{folder}: {name} is {tuple(tensor.shape)}, but the config "
                f"makes it {tuple(set_to.shape)}"
            )
        with torch.no_grad():
            set_to.copy_(tensor)
