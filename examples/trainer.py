"""Train the package's classifier in `transformers.Trainer`.

python examples/trainer.py
"""

import tempfile

import torch
import transformers

from minibert import (
    BertForSequenceClassification,
    Tokenizer,
    classify,
    collate,
    for_trainer,
    labelled_rows,
    leads,
)

TOPICS = ["Geography", "Mathematics", "People"]  # three of the leads' twelve


def some(split: str, each: int) -> tuple[list[str], list[str]]:
    """Give the texts and topics of `each` leads of every topic."""
    found = [[one for one in leads(split) if one.topic == topic][:each] for topic in TOPICS]
    chosen = [one for of_topic in found for one in of_topic]
    return [one.text for one in chosen], [one.topic for one in chosen]


def main() -> None:
    """Train for 24 steps, and score on texts that were not trained on."""
    tokenizer = Tokenizer.from_pretrained("minilm")
    rows, names = labelled_rows(*some("train", 24), tokenizer, TOPICS, max_length=32)
    unseen, _ = labelled_rows(*some("dev", 12), tokenizer, TOPICS, max_length=32)
    torch.manual_seed(0)  # the new head is drawn from it
    model = BertForSequenceClassification.from_pretrained("minilm", labels=names)
    with tempfile.TemporaryDirectory() as folder:
        trainer = transformers.Trainer(
            model=for_trainer(model),  # it trains `model` itself
            args=transformers.TrainingArguments(
                output_dir=folder,
                max_steps=24,
                learning_rate=3e-4,
                per_device_train_batch_size=8,
                warmup_steps=3,
                seed=0,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=rows,
            eval_dataset=unseen,
            data_collator=lambda batch: collate(batch, tokenizer.pad_id),
            compute_metrics=lambda given: {
                "accuracy": float((given.predictions.argmax(-1) == given.label_ids).mean())
            },
        )
        trainer.train()
        accuracy = trainer.evaluate()["eval_accuracy"]
    print(f"right: {accuracy:.0%} of {len(unseen)} unseen texts; by chance {1 / len(names):.0%}")
    print(classify("A river in Europe.", model=(model.eval(), tokenizer)))


if __name__ == "__main__":
    main()
