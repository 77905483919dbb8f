# Written by tools/tangle.py from
# book/source/smaller.md
# Edit that, not this.
"""Distillation: a small model learns from what a large one says.

Shapes: `N` masked places, `V` vocabulary.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minibert.mlm import BertForMaskedLM, MaskedLMOutput

__all__ = ["Distillation", "distillation_loss", "every_nth_layer"]


def distillation_loss(
    logits: Tensor, wanted: Tensor, temperature: float = 2.0
) -> Tensor:
    """Compare all that two models say of the same places.

    Both are softened: logits are divided by the temperature before
    the softmax. The loss is the divergence of the student from the
    teacher, in nats a place, times the temperature squared, which
    keeps its gradients as large as without one.

    Args:
        logits: (N, V), the student's.
        wanted: (N, V), the teacher's.
        temperature: above 0.

    Raises:
        ValueError: other shapes, or a temperature of 0 or below.

    Source: Hinton, Vinyals and Dean 2015, Distilling the knowledge
    in a neural network, section 2.

    >>> logits = torch.tensor([[1.0, 2.0, 3.0]])
    >>> distillation_loss(logits, logits).item()
    0.0
    """
    if logits.shape != wanted.shape:
        raise ValueError(
            f"the student scores {tuple(logits.shape)}, the "
            f"teacher {tuple(wanted.shape)}: they need one "
            "vocabulary"
        )
    if temperature <= 0:
        raise ValueError(
            f"temperature must be above 0, not {temperature}"
        )
    ours = F.log_softmax(logits / temperature, -1)
    theirs = F.log_softmax(wanted / temperature, -1)
    apart = F.kl_div(ours, theirs, reduction="sum", log_target=True)
    return apart * temperature**2 / max(len(logits), 1)


class Distillation(nn.Module):
    """A student and its teacher, to be given to `train`.

    Args:
        student: is trained.
        teacher: is not; of the same vocabulary.
        weight: the teacher's part of the loss, from 0 to 1; the
            words that were really there have the rest.
        temperature: see `distillation_loss`.

    Raises:
        ValueError: a weight outside 0 to 1, or two vocabularies.

    Source: Sanh et al. 2019, DistilBERT, section 2; without the
    third part of their loss, a cosine between hidden states.
    """

    def __init__(
        self,
        student: BertForMaskedLM,
        teacher: BertForMaskedLM,
        weight: float = 0.5,
        temperature: float = 2.0,
    ) -> None:
        super().__init__()
        sizes = student.config.vocab_size, teacher.config.vocab_size
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"the student knows {sizes[0]:,} pieces and the "
                f"teacher {sizes[1]:,}: they need one vocabulary"
            )
        if not 0 <= weight <= 1:
            raise ValueError(
                f"weight must be from 0 to 1, not {weight}"
            )
        self.student = student
        self.teacher = teacher.eval().requires_grad_(False)
        self.weight, self.temperature = weight, temperature

    def train(self, mode: bool = True) -> "Distillation":
        """Switch the student; the teacher never drops anything."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(
        self, *, labels: Tensor, **inputs: Any
    ) -> MaskedLMOutput:
        """Score the labelled places, and give the mixed loss."""
        ours = self.student(labels=labels, **inputs)
        with torch.no_grad():
            theirs = self.teacher(labels=labels, **inputs)
        told = distillation_loss(
            ours.logits, theirs.logits, self.temperature
        )
        loss = self.weight * told + (1 - self.weight) * ours.loss
        return MaskedLMOutput(loss, ours.logits)


def every_nth_layer(
    teacher: BertForMaskedLM, layers: int
) -> BertForMaskedLM:
    """Make a student of some of a teacher's layers, evenly chosen.

    Its embeddings and its head are the teacher's, too; nothing is
    shared afterwards. It is where the teacher is, in its type.

    Args:
        teacher: of L layers.
        layers: how many are kept, a divisor of L.

    Raises:
        ValueError: `layers` does not divide L.

    Source: Sanh et al. 2019, DistilBERT, section 3.
    """
    config = teacher.config
    step, rest = divmod(config.num_hidden_layers, max(layers, 1))
    if layers < 1 or rest:
        raise ValueError(
            f"{layers} layers cannot be chosen evenly from "
            f"{config.num_hidden_layers}"
        )
    student = BertForMaskedLM(
        replace(config, num_hidden_layers=layers)
    ).to(teacher.device, teacher.dtype)
    pairs = [
        (student.bert.embeddings, teacher.bert.embeddings),
        (student.predictions, teacher.predictions),
    ]
    chosen = teacher.bert.encoder.layers[::step]
    pairs += zip(student.bert.encoder.layers, chosen, strict=True)
    for own, source in pairs:
        own.load_state_dict(source.state_dict())
    return student
