"""Train the package's classifier in a plain loop of `torch`, with `accelerate`.

python examples/accelerate_loop.py
accelerate launch --multi_gpu --num_processes 2 examples/accelerate_loop.py
"""

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader

from minibert import (
    BertForSequenceClassification,
    Tokenizer,
    classify,
    collate,
    labelled_rows,
    leads,
)
from minibert.device import best_device

TOPICS = ["Geography", "Mathematics", "People"]  # three of the leads' twelve


def batches(split, each, size, tokenizer):
    """Give `each` leads of every topic, in batches."""
    found = [[one for one in leads(split) if one.topic == topic][:each] for topic in TOPICS]
    texts, labels = zip(*[(one.text, one.topic) for some in found for one in some], strict=True)
    rows, _ = labelled_rows(texts, labels, tokenizer, TOPICS, max_length=32)
    return DataLoader(
        rows, size, split == "train", collate_fn=lambda some: dict(collate(some, tokenizer.pad_id))
    )


def main() -> None:
    """Train for three epochs, and score on texts that were not trained on."""
    accelerator = Accelerator(cpu=best_device().type == "cpu")
    set_seed(0)  # the new head is drawn from it: the same in each process
    tokenizer = Tokenizer.from_pretrained("minilm")
    model = BertForSequenceClassification.from_pretrained("minilm", labels=TOPICS)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-4)
    training = batches("train", 24, 8 // accelerator.num_processes, tokenizer)
    unseen = batches("dev", 12, 8, tokenizer)
    wrapped, optimiser, training, unseen = accelerator.prepare(model, optimiser, training, unseen)
    rates = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.1, 3 * len(training))
    wrapped.train()
    for _ in range(3):
        for batch in training:
            optimiser.zero_grad()
            accelerator.backward(wrapped(**batch).loss)
            accelerator.clip_grad_norm_(wrapped.parameters(), 1.0)
            optimiser.step()
            rates.step()

    model = accelerator.unwrap_model(wrapped).eval()
    right = []
    with torch.no_grad():
        for batch in unseen:
            found = model(batch["input_ids"], batch["attention_mask"]).logits.argmax(1)
            right += accelerator.gather_for_metrics(found == batch["labels"]).tolist()
    if accelerator.is_main_process:
        share = sum(right) / len(right)
        print(f"right: {share:.0%} of {len(right)} unseen texts; by chance {1 / 3:.0%}")
        print(classify("A river in Europe.", model=(model, tokenizer)))


if __name__ == "__main__":
    main()
