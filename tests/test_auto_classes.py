"""Every head through `AutoModelFor...` and `AutoTokenizer`, in both directions, at 1e-5."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from torch.testing import assert_close

import minibert
from minibert import Tokenizer
from minibert.bert import BertConfig, BertPreTrainedModel
from minibert.sharing import HEADS

SMALL: dict[str, Any] = {
    "vocab_size": 15, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 24, "max_position_embeddings": 24, "initializer_range": 0.2,
}  # fmt: skip
TOKENIZER = Tokenizer(
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "text", "another", "this", "is", "it", "in",
     "where", ".", "?"]
)  # fmt: skip
TEXTS, SECOND = ["this is a text .", "where ?"], ["it is another", "Text it in a text ."]
ONE, MANY = "single_label_classification", "multi_label_classification"
CLASSES = "BertForSequenceClassification"
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("BertModel", {}, {}),
    ("BertForMaskedLM", {}, {}),
    ("BertForPreTraining", {}, {}),
    ("BertForNextSentencePrediction", {}, {}),
    (CLASSES, {"num_labels": 3, "problem_type": ONE}, {"labels": torch.tensor([0, 2])}),
    (CLASSES, {"num_labels": 3, "problem_type": MANY}, {"labels": torch.eye(3)[:2]}),
    (CLASSES, {"num_labels": 1, "problem_type": "regression"}, {"labels": torch.tensor([0.5, -1])}),
    ("BertForTokenClassification", {"num_labels": 4}, {}),
    ("BertForQuestionAnswering", {}, {"start_positions": torch.tensor([1, 2]),
                                      "end_positions": torch.tensor([3, 2])}),
    ("BertForMultipleChoice", {}, {"labels": torch.tensor([1])}),
]  # fmt: skip


def inputs(tokenizer: Any, name: str) -> dict[str, Tensor]:
    """Encode the pairs; of multiple choice as one question with two endings."""
    batch = tokenizer(TEXTS, SECOND, padding=True, truncation=True, return_tensors="pt")
    found = {k: batch[k] for k in ("input_ids", "attention_mask", "token_type_ids")}
    if name == "BertForMultipleChoice":
        found = {k: tensor[None] for k, tensor in found.items()}
    return found


def same(ours: BertPreTrainedModel, theirs: Any, folder: Path, targets: dict[str, Tensor]) -> None:
    """Compare the two tokenizers of a folder, then all that two models give."""
    name, tokenizer = type(ours).__name__, Tokenizer.from_pretrained(folder)
    batch = inputs(transformers.AutoTokenizer.from_pretrained(folder), name)
    own = tokenizer(TEXTS, SECOND)._asdict()
    for key, tensor in batch.items():
        assert tensor.flatten().tolist() == own[key].flatten().tolist(), key
    with torch.no_grad():
        made, wanted = ours(**batch, **targets), theirs(**batch, **targets)
    compared = 0
    for key in type(made)._fields:
        theirs_key = {"scores": "logits"}.get(key, key)
        value, other = made[key], getattr(wanted, theirs_key, None)
        if isinstance(value, Tensor):
            assert_close(value, other, atol=1e-5, rtol=0)
            compared += 1
    assert compared >= 1 + bool(targets)


@pytest.mark.parametrize(("name", "options", "targets"), CASES)
def test_both_ways(
    name: str, options: dict[str, Any], targets: dict[str, Tensor], tmp_path: Path
) -> None:
    kind, auto = getattr(minibert, name), getattr(transformers, HEADS[name].theirs)
    torch.manual_seed(0)
    ours = kind(BertConfig(**SMALL), **options).eval()
    ours.save_pretrained(tmp_path / "ours")
    TOKENIZER.save_pretrained(tmp_path / "ours")
    theirs, said = auto.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert type(theirs).__name__ == name
    assert not said["missing_keys"] and not said["unexpected_keys"]
    same(ours, theirs.eval(), tmp_path / "ours", targets)
    torch.manual_seed(1)
    theirs = auto.from_config(transformers.BertConfig(**SMALL, **options)).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    transformers.AutoTokenizer.from_pretrained(tmp_path / "ours").save_pretrained(
        tmp_path / "theirs"
    )
    same(kind.from_pretrained(tmp_path / "theirs"), theirs, tmp_path / "theirs", targets)


def test_no_head_is_left_out() -> None:
    assert {name for name, _, _ in CASES} == HEADS.keys()
    public = {name for name in minibert.__all__ if name.startswith("BertFor")}
    assert public < HEADS.keys()
