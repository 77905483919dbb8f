"""Train the package's classifier in Lightning.

python examples/lightning_module.py
"""

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from minibert import (
    BertForSequenceClassification,
    Tokenizer,
    classify,
    collate,
    labelled_rows,
    leads,
)

TOPICS = ["Geography", "Mathematics", "People"]  # three of the leads' twelve


class Classifier(pl.LightningModule):
    """A head and its loss; Lightning does the rest."""

    def __init__(self, model: BertForSequenceClassification, rate: float) -> None:
        super().__init__()
        self.model, self.rate = model, rate

    def training_step(self, batch, number):
        """Give the loss of a batch."""
        return self.model(**batch).loss

    def validation_step(self, batch, number):
        """Log the share of right classes."""
        right = self.model(**batch).logits.argmax(1) == batch["labels"]
        self.log("accuracy", right.float().mean(), batch_size=len(right))

    def configure_optimizers(self):
        """AdamW, its rate falling in a straight line."""
        optimiser = torch.optim.AdamW(self.parameters(), lr=self.rate)
        steps = self.trainer.estimated_stepping_batches
        falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.1, steps)
        return [optimiser], [{"scheduler": falling, "interval": "step"}]


def batches(split, each, tokenizer, shuffle):
    """Give `each` leads of every topic, in batches."""
    found = [[one for one in leads(split) if one.topic == topic][:each] for topic in TOPICS]
    texts, labels = zip(*[(one.text, one.topic) for some in found for one in some], strict=True)
    rows, _ = labelled_rows(texts, labels, tokenizer, TOPICS, max_length=32)
    return DataLoader(
        rows, 8, shuffle, collate_fn=lambda some: dict(collate(some, tokenizer.pad_id))
    )


def main() -> None:
    """Train for three epochs, and score on texts that were not trained on."""
    pl.seed_everything(0)  # the new head is drawn from it
    tokenizer = Tokenizer.from_pretrained("minilm")
    model = BertForSequenceClassification.from_pretrained("minilm", labels=TOPICS)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(
        max_epochs=3, accelerator="auto", devices=1, gradient_clip_val=1.0, **quiet
    )
    unseen = batches("dev", 12, tokenizer, False)
    module = Classifier(model, 3e-4).train()  # Lightning keeps the mode that it finds
    trainer.fit(module, batches("train", 24, tokenizer, True))
    accuracy = trainer.validate(module, unseen, verbose=False)[0]["accuracy"]
    print(f"right: {accuracy:.0%} of {len(unseen.dataset)} unseen texts; by chance {1 / 3:.0%}")
    print(classify("A river in Europe.", model=(model.eval(), tokenizer)))


if __name__ == "__main__":
    main()
