"""Train `classify` on your own labels: a list, a frame or a data set; strings or numbers.

python examples/own_labels.py
"""

import pandas as pd
import torch
from datasets import ClassLabel, Dataset

from minibert import (
    BertForSequenceClassification,
    Tokenizer,
    TrainingConfig,
    classify,
    fine_tune,
    leads,
)
from minibert.labels import labelled_rows

TOPICS = ["Geography", "Mathematics", "People"]  # three of the leads' twelve


def learn(texts, labels, names=None):
    """Train a classifier: the seven lines that are yours to change."""
    torch.manual_seed(0)  # the new head is drawn from it
    tokenizer = Tokenizer.from_pretrained("minilm")
    rows, names = labelled_rows(texts, labels, tokenizer, names, max_length=32)
    model = BertForSequenceClassification.from_pretrained("minilm", labels=names)
    numbers = TrainingConfig(steps=16, batch_size=8, learning_rate=3e-4, warmup=2)
    fine_tune(model, tokenizer, rows, numbers, progress=False)
    return model.eval(), tokenizer


def main() -> None:
    """Train three times, on the same texts in three forms, and ask each model."""
    found = [[one for one in leads("train") if one.topic == topic][:16] for topic in TOPICS]
    chosen = [one for of_topic in found for one in of_topic]
    texts, labels = [one.text for one in chosen], [one.topic for one in chosen]
    numbers = [TOPICS.index(label) for label in labels]

    # a list, and labels that are strings
    print("list:", classify("A prime number has no divisors.", model=learn(texts, labels)))

    # a frame, as a filter leaves it, and labels that are numbers: the classes are "0" to "2"
    frame = pd.DataFrame({"text": texts, "label": numbers}).sample(frac=1, random_state=0)
    model = learn(frame["text"], frame["label"])
    print("frame:", classify("A city on the coast of Chile.", model=model))

    # a data set whose labels are numbers with names
    data = Dataset.from_dict({"text": texts, "label": numbers})
    data = data.cast_column("label", ClassLabel(names=TOPICS))
    model = learn(data["text"], data["label"], data.features["label"].names)
    print("datasets:", classify("She was an American singer and actress.", model=model))


if __name__ == "__main__":
    main()
