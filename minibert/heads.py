# Written by tools/tangle.py from
# book/source/finetuning.md
# book/source/tagging.md
# book/source/qa.md
# Edit that, not this.
"""What a task puts on top of BERT.

Shapes: `B` batch, `S` sequence, `H` hidden, `C` classes, `N`
choices.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from minibert.attention import find_packing
from minibert.bert import BertModel, BertPreTrainedModel
from minibert.classification import (
    SINGLE,
    choose_labels,
    label_names,
    problem_of,
)
from minibert.config import BertConfig
from minibert.device import can_look
from minibert.losses import at_labels, class_loss, position_loss

__all__ = [
    "BertForMultipleChoice",
    "BertForQuestionAnswering",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "ClassificationOutput",
    "QuestionAnsweringOutput",
]


class ClassificationOutput(NamedTuple):
    """What the heads return; `None` where not asked for.

    Attributes:
        loss: the mean cross-entropy in nats, or, of a regression,
            the mean squared error; None without labels.
        logits: (B, C); of tokens (B, S, C), of choices (B, N).
        hidden_states: as in `BertOutput`.
        attentions: as in `BertOutput`.
    """

    loss: Tensor | None
    logits: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class BertForSequenceClassification(BertPreTrainedModel):
    """BERT with a score for each class on its pooled [CLS].

    Args:
        config: its numbers; its labels name the classes.
        labels: names to use instead of the config's, which stand in
            `config.extra["id2label"]`.
        num_labels: how many there are; given without `labels`, they
            are called LABEL_0, LABEL_1, ...
        problem_type: "single_label_classification", one class of
            several; "multi_label_classification", any of them; or
            "regression", numbers. None for the config's own; where
            it has none, a regression if there is one label, else
            one class of several.

    Raises:
        TypeError: `labels` is no list of strings.
        ValueError: no labels here nor in the config, one twice, not
            `num_labels` of them, another problem, or one class of
            one.

    Source: Devlin et al. 2019, section 4.1.

    >>> import torch
    >>> sizes = BertConfig(vocab_size=9, num_hidden_layers=1)
    >>> model = BertForSequenceClassification(sizes, labels=["no", "yes"])
    >>> model(torch.tensor([[2, 4, 3]])).logits.shape
    torch.Size([1, 2])
    """

    def __init__(
        self,
        config: BertConfig,
        labels: Sequence[str] | None = None,
        *,
        num_labels: int | None = None,
        problem_type: str | None = None,
    ) -> None:
        config = choose_labels(
            config, labels, num_labels, problem_type
        )
        super().__init__(config)
        problem_of(config)
        count = len(label_names(config))
        self.bert = BertModel(config)
        self.dropout = nn.Dropout(head_dropout(config))
        self.classifier = nn.Linear(config.hidden_size, count)
        self.initialise()

    @property
    def float_labels(self) -> bool:
        """Whether labels are numbers, and not a class each."""
        return problem_of(self.config) != SINGLE

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> ClassificationOutput:
        """Score the classes of each text.

        Args:
            input_ids: (B, S); the next three as in `BertModel`.
            attention_mask: (B, S) or (B, S, S).
            token_type_ids: (B, S).
            position_ids: (B, S).
            labels: for one class of several, (B,) int64, the number
                of each text's class. For several classes at once,
                (B, C) from 0.0 to 1.0. For a regression, (B, C), or
                (B,) where C is 1.
            output_hidden_states: as in `BertModel`.
            output_attentions: as in `BertModel`.

        Raises:
            TypeError, ValueError, IndexError: as in `BertModel`;
                labels of another type, shape or range.
        """
        output = self.bert(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        pooled = self.dropout(output.pooler_output)  # (B, H)
        logits = self.classifier(pooled)  # (B, C)
        loss = None
        if labels is not None:
            loss = problem_loss(self.config, logits, labels)
        return ClassificationOutput(loss, logits, *output[2:])


def head_dropout(config: BertConfig) -> float:
    """Give the dropout before the head: the config's own, or the body's."""
    own = config.extra.get("classifier_dropout")
    if own is None:
        return config.hidden_dropout_prob
    if type(own) not in (int, float) or not 0 <= own < 1:
        raise ValueError(f"classifier_dropout is {own!r}, not in [0, 1)")
    return float(own)


def problem_loss(config: BertConfig, logits: Tensor, labels: Tensor) -> Tensor:
    """Give the loss of `logits` (B, C) that a config's problem asks for.

    Cross-entropy in nats, of one class or, averaged, of each; or the mean
    squared error.

    Raises:
        TypeError, ValueError, IndexError: labels that do not fit.
    """
    kind = problem_of(config)
    if kind == SINGLE:
        return class_loss(logits, labels)
    if logits.shape[1] == 1 and labels.ndim == 1:
        labels = labels[:, None]
    if labels.shape != logits.shape:
        raise ValueError(
            f"labels is {tuple(labels.shape)}, but for {kind} it must be "
            f"{tuple(logits.shape)}: a float for each score"
        )
    if kind == "regression":
        return F.mse_loss(logits, labels.to(logits.dtype))
    if can_look(labels) and ((labels < 0) | (labels > 1)).any():
        raise ValueError(f"labels of {kind} must be 0.0 to 1.0")
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


class BertForTokenClassification(BertPreTrainedModel):
    """BERT with a score for each class on every token.

    Args:
        config: its numbers; its labels name the classes.
        labels: names to use instead of the config's, which stand
            in `config.extra["id2label"]`.
        num_labels: how many there are; given without `labels`, they
            are called LABEL_0, LABEL_1, ...

    Raises:
        TypeError: `labels` is no list of strings.
        ValueError: no labels here nor in the config, one twice, not
            `num_labels` of them, or one alone.

    Source: Devlin et al. 2019, section 5.3.

    >>> import torch
    >>> sizes = BertConfig(vocab_size=9, num_hidden_layers=1)
    >>> model = BertForTokenClassification(sizes, labels=["O", "B-X"])
    >>> model(torch.tensor([[2, 4, 3]])).logits.shape
    torch.Size([1, 3, 2])
    """

    def __init__(
        self,
        config: BertConfig,
        labels: Sequence[str] | None = None,
        *,
        num_labels: int | None = None,
    ) -> None:
        config = choose_labels(config, labels, num_labels)
        super().__init__(config)
        count = len(label_names(config))
        if count < 2:
            raise ValueError("tags need two labels or more")
        self.bert = BertModel(config, add_pooling_layer=False)
        self.dropout = nn.Dropout(head_dropout(config))
        self.classifier = nn.Linear(config.hidden_size, count)
        self.initialise()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> ClassificationOutput:
        """Score the classes of each token.

        Args:
            input_ids: (B, S); the next three as in `BertModel`.
            attention_mask: (B, S) or (B, S, S).
            token_type_ids: (B, S).
            position_ids: (B, S).
            labels: (B, S) the number of each token's class, IGNORE
                (-100) where none is asked for.
            output_hidden_states: as in `BertModel`.
            output_attentions: as in `BertModel`.

        Raises:
            TypeError, ValueError, IndexError: as in `BertModel`;
                labels of another type, shape or range.
        """
        output = self.bert(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        x = self.dropout(output.last_hidden_state)  # (B, S, H)
        logits = self.classifier(x)  # (B, S, C)
        loss = None
        if labels is not None:
            asked, wanted = at_labels(logits, labels)  # (N, C), (N,)
            loss = class_loss(asked, wanted)
        return ClassificationOutput(loss, logits, *output[2:])


class BertForMultipleChoice(BertPreTrainedModel):
    """BERT with one score on the pooled [CLS] of each choice.

    Args:
        config: its numbers.

    Source: Devlin et al. 2019, section 4.4.

    >>> import torch
    >>> model = BertForMultipleChoice(BertConfig(vocab_size=9, num_hidden_layers=1))
    >>> model(torch.tensor([[[2, 4, 3], [2, 5, 3]]])).logits.shape
    torch.Size([1, 2])
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config)
        self.dropout = nn.Dropout(head_dropout(config))
        self.classifier = nn.Linear(config.hidden_size, 1)
        self.initialise()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> ClassificationOutput:
        """Score N choices for each of B questions.

        Args:
            input_ids: (B, N, S), a row for each choice; the next
                three likewise. What `pack` made of them: (1, P), and
                a mask (B, N, S).
            attention_mask: (B, N, S).
            token_type_ids: (B, N, S).
            position_ids: (B, N, S).
            labels: (B,) the number of the right choice.
            output_hidden_states: as in `BertModel`, of B N rows.
            output_attentions: as in `BertModel`, of B N rows.

        Raises:
            TypeError, ValueError, IndexError: as in `BertModel`;
                ids that are not (B, N, S); labels of another type,
                shape or range.
        """
        given = input_ids, attention_mask, token_type_ids, position_ids
        ranks = {x.ndim for x in given if x is not None}
        whole = input_ids if attention_mask is None else attention_mask
        packed = whole.ndim == 3 and input_ids.ndim == 2
        if ranks != {3} and not packed:
            shapes = [x if x is None else tuple(x.shape) for x in given]
            raise ValueError(
                f"ids and mask must be (B, N, S), not {shapes}: one "
                "question is ids[None]"
            )
        rows = [
            x if x is None or x.ndim == 2 else x.flatten(0, 1)
            for x in given
        ]
        output = self.bert(
            *rows,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        pooled = self.dropout(output.pooler_output)  # (B N, H)
        scores = self.classifier(pooled)  # (B N, 1)
        logits = scores.view(whole.shape[:2])  # (B, N)
        loss = None
        if labels is not None:
            loss = class_loss(logits, labels)
        return ClassificationOutput(loss, logits, *output[2:])


class QuestionAnsweringOutput(NamedTuple):
    """What `BertForQuestionAnswering` returns.

    Attributes:
        loss: in nats, the mean of start's and end's; None without
            positions.
        start_logits: (B, S), of each token as the first.
        end_logits: (B, S), of each token as the last.
        hidden_states: as in `BertOutput`.
        attentions: as in `BertOutput`.
    """

    loss: Tensor | None
    start_logits: Tensor
    end_logits: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class BertForQuestionAnswering(BertPreTrainedModel):
    """BERT with two scores on each token: begins here, ends here.

    Args:
        config: its numbers.

    Source: Devlin et al. 2019, section 4.2.

    >>> import torch
    >>> sizes = BertConfig(vocab_size=9, num_hidden_layers=1)
    >>> model = BertForQuestionAnswering(sizes)
    >>> model(torch.tensor([[2, 4, 3]])).start_logits.shape
    torch.Size([1, 3])
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)
        self.initialise()

    def forward(
        self, input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None, *,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> QuestionAnsweringOutput:  # fmt: skip
        """Score each token as first and as last of the answer.

        Args:
            input_ids: (B, S); the next three as in `BertModel`.
            attention_mask: (B, S) or (B, S, S).
            token_type_ids: (B, S), 1 in the text.
            position_ids: (B, S).
            start_positions: (B,) the column of the answer's first
                token; 0, that of [CLS], where there is none.
            end_positions: (B,) the column of its last token; both
                int64. Of packed texts a column counts from the
                start of its text.
            output_hidden_states: as in `BertModel`.
            output_attentions: as in `BertModel`.

        Returns:
            A `QuestionAnsweringOutput`. As in `transformers`, the
            loss also sees the scores of padding; that of packed
            texts has none to see. A column past the end, which
            `transformers` ignores, is an error.

        Raises:
            TypeError, ValueError, IndexError: as in `BertModel`;
                also if positions have the wrong type, shape or
                range, or if only one of the two is given.
        """
        output = self.bert(
            input_ids, attention_mask, token_type_ids, position_ids,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )  # fmt: skip
        scores = self.qa_outputs(output[0])  # (B, S, 2)
        start, end = scores.unbind(-1)  # (B, S) each
        loss = None
        if start_positions is not None or end_positions is not None:
            packing = find_packing(attention_mask, input_ids)
            first = position_loss(
                start, start_positions, "start", packing
            )
            last = position_loss(end, end_positions, "end", packing)
            loss = (first + last) / 2
        return QuestionAnsweringOutput(
            loss, start, end, *output[2:]
        )
