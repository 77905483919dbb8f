"""Distillation: the divergence by torch's own, the teacher untouched, layers evenly taken."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from minibert.config import BertConfig
from minibert.distillation import Distillation, distillation_loss, every_nth_layer
from minibert.mlm import BertForMaskedLM

SIZES = {
    "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2,
    "intermediate_size": 64, "max_position_embeddings": 16,
}  # fmt: skip


def model(seed: int = 0, **more: int) -> BertForMaskedLM:
    torch.manual_seed(seed)
    return BertForMaskedLM(BertConfig(**SIZES | more))


def batch() -> dict[str, torch.Tensor]:
    ids = torch.randint(3, 50, (3, 9), generator=torch.Generator().manual_seed(1))
    labels = torch.full_like(ids, -100)
    labels[:, 2:4] = ids[:, 2:4]
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


@given(st.integers(1, 5), st.integers(2, 7), st.floats(0.5, 8), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_the_loss_is_the_divergence_of_the_softened(places, pieces, temperature, seed):
    chance = torch.Generator().manual_seed(seed)
    ours, theirs = torch.randn(2, places, pieces, generator=chance, dtype=torch.float64)
    p = (theirs / temperature).softmax(-1)
    q = (ours / temperature).softmax(-1)
    want = (p * (p.log() - q.log())).sum(-1).mean() * temperature**2
    found = distillation_loss(ours, theirs, temperature)
    assert found.item() == pytest.approx(want.item(), abs=1e-9)
    assert found >= -1e-12
    assert distillation_loss(theirs, theirs, temperature).abs() < 1e-12


def test_at_temperature_1_its_gradient_is_that_of_the_soft_cross_entropy():
    ours, theirs = torch.randn(2, 6, 10, generator=torch.Generator().manual_seed(0))
    ours.requires_grad_()
    (ours_grad,) = torch.autograd.grad(distillation_loss(ours, theirs, 1.0), ours)
    (want,) = torch.autograd.grad(F.cross_entropy(ours, theirs.softmax(-1)), ours)
    assert (ours_grad - want).abs().max() < 1e-7


def test_its_gradient_stays_as_large_at_a_high_temperature():
    ours, theirs = torch.randn(2, 64, 10, generator=torch.Generator().manual_seed(0))
    sizes = []
    for temperature in (8.0, 64.0):
        x = ours.clone().requires_grad_()
        distillation_loss(x, theirs, temperature).backward()
        sizes.append(x.grad.norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


@pytest.mark.parametrize(
    ("ours", "theirs", "temperature", "says"),
    [
        (torch.ones(2, 3), torch.ones(2, 4), 2.0, "one vocabulary"),
        (torch.ones(2, 3), torch.ones(2, 3), 0.0, "temperature must be above 0, not 0"),
        (torch.ones(2, 3), torch.ones(2, 3), -1.0, "not -1"),
    ],
)
def test_what_cannot_be_compared_is_refused(ours, theirs, temperature, says):
    with pytest.raises(ValueError, match=says):
        distillation_loss(ours, theirs, temperature)


def test_no_masked_place_gives_no_loss():
    assert distillation_loss(torch.ones(0, 5), torch.ones(0, 5)) == 0


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss_mixes_both_and_the_teacher_stays(weight):
    student, teacher = model(0, num_hidden_layers=2), model(1)
    whole = Distillation(student, teacher, weight, temperature=3.0).train()
    before = {name: x.clone() for name, x in teacher.state_dict().items()}
    student.eval()  # no dropout, to compare
    output = whole(**batch())
    hard = student(**batch())
    with torch.no_grad():
        soft = distillation_loss(hard.logits, teacher(**batch()).logits, 3.0)
    want = weight * soft + (1 - weight) * hard.loss
    assert output.loss.item() == pytest.approx(want.item(), rel=1e-5)
    assert output.logits.equal(hard.logits)
    assert not teacher.training
    output.loss.backward()
    assert all(x.grad is None for x in teacher.parameters())
    assert any(x.grad is not None for x in student.parameters())
    assert all(x.equal(before[name]) for name, x in teacher.state_dict().items())


def test_a_student_of_its_own_teacher_has_nothing_to_learn():
    teacher = model(0).eval()
    student = every_nth_layer(teacher, 4).eval()
    whole = Distillation(student, teacher, 1.0)
    student.eval()
    assert whole(**batch()).loss.abs() < 1e-6


@pytest.mark.parametrize(("layers", "taken"), [(1, [0]), (2, [0, 2]), (4, [0, 1, 2, 3])])
def test_layers_are_taken_evenly_and_shared_by_nobody(layers, taken):
    teacher = model(0)
    student = every_nth_layer(teacher, layers)
    for ours, number in zip(student.bert.encoder.layers, taken, strict=True):
        theirs = teacher.bert.encoder.layers[number]
        assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
    assert student.bert.embeddings.token.weight.equal(teacher.bert.embeddings.token.weight)
    assert student.predictions.dense.weight.equal(teacher.predictions.dense.weight)
    held = {x.data_ptr() for x in teacher.parameters()}
    assert not held & {x.data_ptr() for x in student.parameters()}


def test_a_student_is_where_its_teacher_is_and_in_its_type():
    student = every_nth_layer(model(0).to("meta", torch.bfloat16), 2)
    assert {(x.device.type, x.dtype) for x in student.parameters()} == {("meta", torch.bfloat16)}


@pytest.mark.parametrize("layers", [0, -2, 3, 8])
def test_layers_that_cannot_be_chosen_evenly_are_refused(layers):
    with pytest.raises(ValueError, match=f"{layers} layers cannot be chosen evenly from 4"):
        every_nth_layer(model(0), layers)


def test_two_vocabularies_and_a_wrong_weight_are_refused():
    with pytest.raises(ValueError, match="50 pieces and the teacher 60"):
        Distillation(model(0), model(1, vocab_size=60))
    for weight in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="weight must be from 0 to 1"):
            Distillation(model(0), model(1), weight)
