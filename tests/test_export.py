"""Every model exported and compiled whole, with a mask, at any size, with its loss."""

import pytest
import torch
from torch import Tensor, nn

from minibert.bert import BertModel
from minibert.config import BertConfig
from minibert.heads import (
    BertForMultipleChoice,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
)
from minibert.mlm import BertForMaskedLM
from minibert.nsp import BertForNextSentencePrediction
from minibert.pretraining import BertForPreTraining

CONFIG = BertConfig(
    vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=16, max_position_embeddings=16,
)  # fmt: skip
IDS = torch.arange(1, 17).reshape(2, 8)
MASK = torch.tensor([[1] * 8, [1] * 5 + [0] * 3])
TYPES = MASK * torch.tensor([0] * 4 + [1] * 4)
TWO = torch.tensor([0, 1])
WORDS = torch.full((2, 8), -100).index_fill(1, torch.tensor([2]), 1)
LOSSES: dict[type[nn.Module], dict[str, Tensor]] = {
    BertModel: {},
    BertForMaskedLM: {"labels": WORDS},
    BertForNextSentencePrediction: {"next_sentence_label": TWO},
    BertForPreTraining: {"labels": WORDS, "next_sentence_label": TWO},
    BertForQuestionAnswering: {"start_positions": TWO, "end_positions": TWO},
    BertForSequenceClassification: {"labels": TWO},
    BertForTokenClassification: {"labels": WORDS},
    BertForMultipleChoice: {"labels": TWO},
}
NAMED = (BertForSequenceClassification, BertForTokenClassification)
kinds = pytest.mark.parametrize("kind", LOSSES)


def model_and_inputs(kind: type[nn.Module]) -> tuple[nn.Module, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    model = kind(CONFIG, ["a", "b"]) if kind in NAMED else kind(CONFIG)
    inputs = (IDS, MASK, TYPES)
    if kind is BertForMultipleChoice:  # two questions, two choices each
        inputs = tuple(torch.stack([x, x.flip(0)]) for x in inputs)
    return model.eval(), inputs


@kinds
def test_exported_at_any_size(kind: type[nn.Module]) -> None:
    model, inputs = model_and_inputs(kind)
    last = inputs[0].ndim - 1
    sizes = {0: torch.export.Dim("rows", max=64), last: torch.export.Dim("size", max=16)}
    program = torch.export.export(model, inputs, dynamic_shapes=(sizes,) * 3)
    fewer = tuple(x[:1, ..., :7] for x in inputs)
    for given in (inputs, fewer):
        found, want = program.module()(*given), model(*given)
        assert len(found) == len(want)
        for a, b in zip(found, want, strict=True):
            assert (a is None) == (b is None)
            if b is not None:
                torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@kinds
@pytest.mark.parametrize("empty", [False, True], ids=["some", "none"])
def test_compiled_whole_with_its_loss(kind: type[nn.Module], empty: bool) -> None:
    """No break in the graph; and none where no word is asked for, whose loss is 0."""
    model, inputs = model_and_inputs(kind)
    labels = LOSSES[kind]
    if empty:
        if not any(x is WORDS for x in labels.values()):
            pytest.skip("it has no words to ask for")
        labels = {k: torch.full_like(x, -100) if x is WORDS else x for k, x in labels.items()}
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    found, want = compiled(*inputs, **labels), model(*inputs, **labels)
    torch.testing.assert_close(found[0], want[0], rtol=0, atol=1e-6)
    if labels:
        zero = empty and "next_sentence_label" not in labels
        assert found[0].isfinite() and (want[0] == 0) == zero
        found[0].backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
