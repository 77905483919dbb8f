"""What a user writes to load, train and go on: every value with its type."""

from pathlib import Path

import torch
from torch import Tensor, nn

from minibert import (
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertForSequenceClassification,
    BertModel,
    Encoding,
    PretrainingConfig,
    Tokenizer,
    TrainingConfig,
    collate,
    fine_tune,
    open_corpus,
    pack,
    predict,
    pretrain,
    text_row,
    train,
    train_vocabulary,
    unpack,
    write_corpus,
)
from minibert.steps import Microbatch

SMALL = BertConfig(vocab_size=4096, hidden_size=64, num_hidden_layers=2, num_attention_heads=2)


def load(folder: Path) -> tuple[BertModel, Tokenizer]:
    """A model and its tokenizer; the class that is asked is the class that comes."""
    model: BertModel = BertModel.from_pretrained(folder, dtype=torch.float32)
    return model, Tokenizer.from_pretrained(folder)


def vectors(model: BertModel, tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    """Hidden states, (B, S, H)."""
    rows = [{"input_ids": tokenizer.encode(text).ids} for text in texts]
    batch = collate(rows, tokenizer.pad_id)
    hidden: Tensor = model(**batch).last_hidden_state
    return hidden


def vectors_without_padding(model: BertModel, batch: dict[str, Tensor]) -> Tensor:
    """The same hidden states, (B, S, H)."""
    hidden: Tensor = unpack(model(**pack(batch)).last_hidden_state, batch["attention_mask"])
    return hidden


def pieces(tokenizer: Tokenizer, text: str) -> list[tuple[str, int]]:
    """Each piece and its id."""
    encoding: Encoding = tokenizer.encode(text)
    return list(zip(encoding.tokens, encoding.ids, strict=True))


def teach(texts: list[str], labels: list[int], folder: Path) -> list[dict[str, float]]:
    """Fine-tune on labelled texts, and give the log."""
    tokenizer = Tokenizer.from_pretrained("leads-4096")
    model = BertForSequenceClassification.from_pretrained("leads-small", num_labels=2)
    pairs = zip(texts, labels, strict=True)
    rows = [text_row(text, tokenizer, label) for text, label in pairs]

    def evaluate(module: nn.Module) -> dict[str, float]:
        return {"rows": float(len(rows))}

    log = fine_tune(model, tokenizer, rows, TrainingConfig(steps=10), folder, evaluate=evaluate)
    logits: list[Tensor] = predict(model, rows, tokenizer.pad_id)
    log[-1]["right"] = sum(float(one.argmax() == y) for one, y in zip(logits, labels, strict=True))
    return log


def own_loop(model: nn.Module, tokenizer: Tokenizer, texts: list[str]) -> float:
    """Any module, any batches: `train` takes a function that gives a step's."""
    rows = [text_row(text, tokenizer, 0) for text in texts]

    def batches(step: int, rank: int, world: int) -> list[Microbatch]:
        return [Microbatch(collate(rows, tokenizer.pad_id), {"loss": len(rows)})]

    log = train(model, batches, TrainingConfig(steps=2, batch_size=len(rows)))
    return log[-1]["loss"]


def from_nothing(documents: list[list[str]], folder: Path) -> BertForPreTraining:
    """A vocabulary, a corpus and a model of one's own."""
    words = train_vocabulary([" ".join(one) for one in documents], 4096)
    tokenizer = Tokenizer(words)
    write_corpus(documents, tokenizer, folder / "corpus", 64)
    corpus = open_corpus(folder / "corpus", tokenizer, 64)
    model = BertForPreTraining(SMALL)
    pretrain(model, tokenizer, corpus, PretrainingConfig(steps=10, max_length=64), folder / "run")
    model.save_pretrained(folder / "model")
    again = BertForMaskedLM.from_pretrained(folder / "model")
    assert again.config.hidden_size == model.config.hidden_size
    return model
