"""Replaced tokens: equal to transformers' ELECTRA, and a right guess replaces nothing."""

import pytest
import torch
import transformers

from minibert.config import BertConfig
from minibert.electra import BertForReplacedTokens, ReplacedTokens, replace_tokens
from minibert.mlm import BertForMaskedLM

SIZES = {
    "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 64, "max_position_embeddings": 16,
}  # fmt: skip


def batch() -> dict[str, torch.Tensor]:
    ids = torch.randint(4, 50, (3, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}


@torch.no_grad()
def test_logits_and_loss_equal_those_of_transformers():
    torch.manual_seed(0)
    theirs = transformers.ElectraForPreTraining(
        transformers.ElectraConfig(**SIZES, embedding_size=32, initializer_range=0.2)
    ).eval()
    ours = BertForReplacedTokens(BertConfig(**SIZES)).eval()
    names = {"discriminator_predictions.dense.": "dense.",
             "discriminator_predictions.dense_prediction.": "output."}  # fmt: skip
    state = {}
    for name, weight in theirs.state_dict().items():
        for old, new in {"electra.": "bert.", **names}.items():
            name = name.replace(old, new, 1) if name.startswith(old) else name
        state[name] = weight
    from minibert.huggingface import from_huggingface

    body = from_huggingface({k: v for k, v in state.items() if k.startswith("bert.")})
    heads = {k: v for k, v in state.items() if not k.startswith("bert.")}
    missing, extra = ours.load_state_dict(body | heads, strict=False)
    assert not missing and not extra
    replaced = torch.rand(3, 9, generator=torch.Generator().manual_seed(2)) < 0.3
    want = theirs(**batch(), labels=replaced.long())
    found = ours(**batch(), replaced=replaced)
    real = batch()["attention_mask"].bool()
    assert (found.logits - want.logits)[real].abs().max() < 1e-5
    assert found.loss.item() == pytest.approx(want.loss.item(), abs=1e-5)
    assert ours(**batch()).loss is None


def test_a_guess_that_is_right_replaces_nothing():
    masked = torch.tensor([[1, 3, 7, 3]])
    labels = torch.tensor([[-100, 5, -100, 6]])
    sure = torch.full((2, 9), -1e4)
    sure[0, 5] = sure[1, 8] = 1e4  # the first is what stood there
    ids, replaced = replace_tokens(masked, labels, sure)
    assert ids.tolist() == [[1, 5, 7, 8]]
    assert replaced.tolist() == [[False, False, False, True]]
    assert masked.tolist() == [[1, 3, 7, 3]]


def test_guesses_are_drawn_by_their_probability():
    torch.manual_seed(0)
    labels = torch.zeros(1, 6000, dtype=torch.long)
    odds = torch.tensor([0.2, 0.5, 0.3]).log().expand(6000, 3)
    ids, replaced = replace_tokens(torch.full_like(labels, 3), labels, odds)
    shares = torch.bincount(ids[0], minlength=3) / 6000
    assert (shares - torch.tensor([0.2, 0.5, 0.3])).abs().max() < 0.03
    assert replaced.float().mean().item() == pytest.approx(0.8, abs=0.03)


def test_both_learn_one_table_and_the_guess_gets_no_gradient_from_the_finder():
    torch.manual_seed(0)
    guesser = BertForMaskedLM(BertConfig(**SIZES | {"num_hidden_layers": 1}))
    finder = BertForReplacedTokens(BertConfig(**SIZES))
    whole = ReplacedTokens(guesser, finder, weight=50.0).eval()
    assert guesser.bert.embeddings is finder.bert.embeddings
    given = batch()
    labels = torch.full_like(given["input_ids"], -100)
    labels[:, 2:4] = given["input_ids"][:, 2:4]
    given["input_ids"][:, 2:4] = 3
    output = whole(**given, labels=labels)
    assert output.logits.shape == (3, 9)
    alone = guesser(given["input_ids"], given["attention_mask"], labels=labels).loss
    head = guesser.predictions.dense.weight
    (want,) = torch.autograd.grad(alone, head)
    (found,) = torch.autograd.grad(output.loss, head)
    assert (want - found).abs().max() < 1e-6
    assert output.loss > alone


@pytest.mark.parametrize(
    ("field", "value", "shape"),
    [("hidden_size", 64, r"\(50, 64\)"), ("vocab_size", 40, r"\(40, 32\)"),
     ("max_position_embeddings", 20, r"\(20, 32\)")],
)  # fmt: skip
def test_embeddings_that_cannot_be_shared_are_refused(field: str, value: int, shape: str):
    other = BertForMaskedLM(BertConfig(**SIZES | {field: value}))
    with pytest.raises(ValueError, match=rf"generator's embeddings are .*{shape}.* model's"):
        ReplacedTokens(other, BertForReplacedTokens(BertConfig(**SIZES)))


@pytest.mark.parametrize(
    ("mask", "replaced"),
    [((3, 9), (3, 8)), ((3, 9), (3,)), ((3, 9, 9), (3, 9)), ((3, 9, 9), (3, 9, 9))],
)
def test_a_loss_over_other_shapes_is_refused(mask: tuple[int, ...], replaced: tuple[int, ...]):
    model = BertForReplacedTokens(BertConfig(**SIZES))
    given = batch() | {"attention_mask": torch.ones(mask, dtype=torch.bool)}
    with pytest.raises(ValueError, match=r"replaced \(3,.* must be as the ids, \(3, 9\)"):
        model(**given, replaced=torch.ones(replaced, dtype=torch.bool))
