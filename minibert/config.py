# Written by tools/tangle.py from
# book/source/bert.md
# Edit that, not this.
"""The numbers that make one BERT differ from another."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from minibert.files import (
    errors_naming,
    file_exists,
    find_folder,
    read_text,
)

__all__ = ["BertConfig"]


@dataclass(frozen=True, kw_only=True)
class BertConfig:
    """The numbers that make one BERT differ from another.

    Names and defaults are those of BERT-base's `config.json`.
    A config does not change: `dataclasses.replace` makes another.

    Attributes:
        vocab_size: V, rows of the token table.
        hidden_size: H, a multiple of `num_attention_heads`.
        num_hidden_layers: L.
        num_attention_heads: A.
        intermediate_size: the width inside an MLP, 4H in BERT.
        hidden_dropout_prob: chance that a number is dropped in
            training, from 0 to below 1.
        attention_probs_dropout_prob: the same, of a weight of
            attention.
        max_position_embeddings: most tokens in a row.
        type_vocab_size: how many segments there are.
        initializer_range: standard deviation of new weights.
        layer_norm_eps: added to the variance in a LayerNorm.
        pad_token_id: the id of [PAD], None for none.
        extra: what else such a file says, as the names of the
            labels, `id2label`; written back on saving. What the
            model does not compute is refused.

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
        name_or_path: str | Path,
        *,
        revision: str | None = None,
        **changes: Any,
    ) -> "BertConfig":
        """Read the `config.json` of a folder, a name or a hub id.

        Args:
            name_or_path: as in `BertModel.from_pretrained`.
            revision: as there.
            **changes: fields that are to differ from the file's.

        Raises:
            FileNotFoundError: there is none.
            TypeError, ValueError: as `from_json`, naming the file.
        """
        wanted = ["config.json"]
        folder = find_folder(name_or_path, wanted, revision)
        return replace(read_config(folder), **changes)

    def to_json(self) -> str:
        """Write every field as the text of a `config.json`."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        extra = own.pop("extra")
        header = {"model_type": "bert", "hidden_act": "gelu"}
        return json.dumps(header | extra | own, indent=2) + "\n"


# What the model computes. A file that says otherwise is refused.
FIXED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("gelu", "gelu_python"),  # one formula, two names
    "position_embedding_type": ("absolute",),
    "is_decoder": (False,),
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "pruned_heads": ({},),
}
MOST = 1 << 28  # no field of a BERT is near it; products still fit
# What else is asked for, and the class that reads it.
ENCODER = "transformers.AutoModel"
DECODER = "transformers.AutoModelForCausalLM"
BOTH = "transformers.AutoModelForSeq2SeqLM"
OTHERS = {
    "albert": ("ALBERT", ENCODER),
    "bart": ("BART, an encoder and a decoder", BOTH),
    "camembert": ("CamemBERT, a RoBERTa", ENCODER),
    "deberta": ("DeBERTa", ENCODER),
    "deberta-v2": ("DeBERTa", ENCODER),
    "distilbert": ("DistilBERT", ENCODER),
    "electra": ("ELECTRA", ENCODER),
    "gemma": ("Gemma, a decoder", DECODER),
    "gpt2": ("GPT-2, a decoder", DECODER),
    "llama": ("Llama, a decoder", DECODER),
    "mistral": ("Mistral, a decoder", DECODER),
    "modernbert": ("ModernBERT", "minibert.modern.ModernBertModel"),
    "mpnet": ("MPNet", ENCODER),
    "nomic_bert": ("Nomic BERT", ENCODER),
    "qwen2": ("Qwen2, a decoder", DECODER),
    "qwen3": ("Qwen3, a decoder", DECODER),
    "roberta": ("RoBERTa", ENCODER),
    "t5": ("T5, an encoder and a decoder", BOTH),
    "xlm-roberta": ("XLM-RoBERTa", ENCODER),
}


def refuse_others(extra: Mapping[str, Any]) -> None:
    """Refuse what is no BERT, or is quantised; say what to use."""
    kind = extra.get("model_type", "bert")
    if kind != "bert":
        named = kind if isinstance(kind, str) else ""
        what, use = OTHERS.get(named, (f"a model of type {kind!r}", ENCODER))
        raise ValueError(
            f"this is {what} (model_type is {kind!r}), and this class "
            f"computes BERT alone: use {use}.from_pretrained"
        )
    how = extra.get("quantization_config")
    if how is not None:
        details = how if isinstance(how, dict) else {}
        method = details.get("quant_method", "an unnamed method")
        raise ValueError(
            f"these weights are quantised by {method} (quantization_config), "
            "and minibert reads float weights alone: take the model they "
            "were made from, or use transformers.AutoModel.from_pretrained"
        )


def check_config(config: BertConfig) -> None:
    """Refuse a config that makes no BERT, naming field and value."""
    refuse_others(config.extra)
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
        loaded = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"config.json is not JSON: {error}") from None
    if not isinstance(loaded, dict):
        raise ValueError(
            f"config.json must hold an object, not {type(loaded).__name__}"
        )
    own = {one.name for one in fields(BertConfig)} - {"extra"}
    arguments = {k: v for k, v in loaded.items() if k in own}
    extra = {k: v for k, v in loaded.items() if k not in own}
    return arguments | {"extra": extra}


def named_class(config: BertConfig) -> str | None:
    """Give the class that a config was saved with, if it says one."""
    name: str | None = next(iter(config.extra.get("architectures") or []), None)
    return name


def read_config(folder: Path) -> BertConfig:
    """Read `config.json` of a folder, and name it in every error."""
    file = folder / "config.json"
    if not file_exists(file):
        raise FileNotFoundError(f"there is no config.json in {folder}")
    text = read_text(file)
    with errors_naming(file):
        return BertConfig.from_json(text)
