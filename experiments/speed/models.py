"""Two models with the same weights, ours and that of `transformers`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import transformers

from minibert.bert import BertPreTrainedModel
from minibert.config import BertConfig
from minibert.huggingface import to_huggingface
from minibert.steps import make_optimiser
from minibert.training import TrainingConfig


def body(layers: int, hidden: int, vocabulary: int = 30522, heads: int | None = None) -> BertConfig:
    """Make a config: heads of 64 where nothing else is said, and no dropout."""
    return BertConfig(
        vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=layers,
        num_attention_heads=heads or hidden // 64, intermediate_size=4 * hidden,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip


def their_config(config: BertConfig, attention: str = "sdpa") -> Any:
    """Make their config of ours."""
    theirs = transformers.BertConfig(**json.loads(config.to_json()))
    theirs._attn_implementation = attention
    return theirs


def twin(ours: BertPreTrainedModel, kind: type[Any], attention: str = "sdpa") -> Any:
    """Make their model of ours, with the same weights and in the same mode."""
    theirs = kind(their_config(ours.config, attention)).train(ours.training)
    lost = theirs.load_state_dict(to_huggingface(ours.state_dict()), strict=False)
    tied = ("position_ids", "predictions.decoder")  # of no numbers of their own
    if lost.unexpected_keys or any(all(x not in n for x in tied) for n in lost.missing_keys):
        raise ValueError(f"the weights do not fit: {lost}")
    theirs.tie_weights()
    return theirs


class Step:
    """What follows the loss in a step, alike for all: backward, clipping, AdamW."""

    def __init__(self, model: torch.nn.Module, config: TrainingConfig) -> None:
        self.model, self.clip = model, config.clip
        self.optimiser = make_optimiser(model, config)

    def __call__(self, loss: torch.Tensor) -> float:
        """Give the loss as a number."""
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return float(loss.detach())


def steps_over(
    model: torch.nn.Module, config: TrainingConfig, batches: Iterator[Mapping[str, Any]]
) -> Callable[[], int]:
    """A step on the next of some batches at each call, which gives its real tokens."""
    step = Step(model, config)

    def work() -> int:
        batch = next(batches)
        step(model(**batch).loss)
        return int(batch["attention_mask"].sum())

    return work


def same(mine: torch.Tensor, other: torch.Tensor, most: float = 1e-4) -> None:
    """Refuse to time two things that do not compute the same."""
    gap = float((mine - other).abs().max())
    if not gap < most:
        raise ValueError(f"they do not compute the same: {gap} apart")
