"""A step of fine-tuning: ours, and what `Trainer` makes of rows grouped by length."""

from __future__ import annotations

import itertools
import tempfile

import torch
import transformers

from minibert.files import resolve
from minibert.finetuning import FineTuningData
from minibert.heads import BertForQuestionAnswering
from minibert.loading import load
from minibert.qa import question_rows
from minibert.squad import load_leadqa
from minibert.training import TrainingConfig
from speed.answering import INPUTS, features
from speed.models import steps_over, twin
from speed.timing import Here, Row, Sides, Size, compared


def rows(size: Size) -> list[Row]:
    """Questions, 16 windows of at most 384 tokens a step; seconds are those of a real token."""
    trained, tokenizer = load("minilm-qa", BertForQuestionAnswering, "cpu")
    ours = BertForQuestionAnswering(trained.config)  # of our own, to be changed
    ours.load_state_dict(trained.state_dict())
    theirs = twin(ours, transformers.BertForQuestionAnswering)
    count = 512 if size.batch > 4 else 16
    questions = [x for x in load_leadqa("train") if x.answers][:count]
    config = TrainingConfig(steps=1, batch_size=min(16, size.batch), learning_rate=1e-4)
    data = FineTuningData(question_rows(questions, tokenizer), config, tokenizer.pad_id)
    batches = iter(their_batches(questions, config.batch_size))
    (piece,) = data(0)
    with torch.no_grad():
        our_loss, their_loss = (float(x.eval()(**piece.inputs).loss) for x in (ours, theirs))
    if abs(our_loss - their_loss) > 1e-3:
        raise ValueError(f"the losses part: {our_loss}, {their_loss}")
    pieces = (data(turn)[0].inputs for turn in itertools.count())
    name = (
        f"fine-tuning step on {config.batch_size} questions, against Trainer with"
        " group_by_length and dynamic padding"
    )
    sides = Sides(
        ours=Here(steps_over(ours.train(), config, pieces)),
        theirs=Here(steps_over(theirs.train(), config, batches)),
    )
    return compared(size, sides, {"theirs": (name, 1.5)}, seconds_of="a real token")


def their_batches(questions: list[object], batch_size: int) -> itertools.cycle[dict[str, object]]:
    """The batches of their Trainer, from its own loader."""
    fast = transformers.AutoTokenizer.from_pretrained(resolve("minilm"))
    made = features(questions, fast, False, answers=True)  # type: ignore[arg-type]
    names = (*INPUTS, "start_positions", "end_positions")
    rows = [
        {name: made[name][i] for name in names} for i in range(len(made["input_ids"]))
    ]
    with tempfile.TemporaryDirectory() as aside:
        args = transformers.TrainingArguments(
            aside, per_device_train_batch_size=batch_size, seed=0, report_to=[], use_cpu=True,
            train_sampling_strategy="group_by_length", dataloader_drop_last=True,
        )  # fmt: skip
        trainer = transformers.Trainer(
            torch.nn.Linear(1, 1), args, train_dataset=rows,
            data_collator=transformers.DataCollatorWithPadding(fast),
        )  # fmt: skip
        trainer._signature_columns = list(names)  # of the model that is trained
        return itertools.cycle(trainer.get_train_dataloader())
