"""Damage every file that the package reads, many times over: each is read, or refused by name.

    python experiments/broken_files.py                20,000 files, into results/broken-files.json
    python experiments/broken_files.py --count 500    fewer, printed only

A file is damaged as bytes (some changed, cut off, doubled, put in) or, where it is JSON, as
what it holds (a value replaced by one of another kind or size, left out, put elsewhere).
What is refused must be an error of ours that names the file, within ten seconds and within
a gigabyte: `damage` and `attempt` are what tests/test_broken_files.py uses too.
"""

from __future__ import annotations

import argparse
import collections
import copy
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from record import RESULTS, circumstances

from minibert.bert import BertModel
from minibert.checkpoints import Run
from minibert.config import BertConfig
from minibert.corpus import open_corpus, write_corpus
from minibert.rouge import read_summaries
from minibert.squad import Question, read_squad, write_squad
from minibert.tokens import Tokenizer
from minibert.training import TrainingConfig

RECORD = RESULTS / "broken-files.json"
OURS = (ValueError, TypeError, OSError)  # and nothing else may come out
SECONDS, MEMORY = 10, 1 << 30


class Target(NamedTuple):
    """A folder, one of its files, and what reads it."""

    name: str
    file: str
    make: Callable[[Path], None]
    read: Callable[[Path], object]


PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", "##a", "##b"]
SIZES = BertConfig(
    vocab_size=len(PIECES), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=16, max_position_embeddings=16,
)  # fmt: skip


def make_model(folder: Path) -> None:
    """Write a model with its tokenizer."""
    torch.manual_seed(0)
    BertModel(SIZES).save_pretrained(folder)
    Tokenizer(PIECES).save_pretrained(folder)


def make_shards(folder: Path) -> None:
    """Write a model whose weights lie in two pieces."""
    from safetensors.torch import load_file, save_file

    make_model(folder)
    whole = load_file(folder / "model.safetensors")
    state = {name: tensor.clone() for name, tensor in whole.items()}
    del whole  # the file is open until then
    (folder / "model.safetensors").unlink()
    parts = {f"model-{i + 1:05}-of-00002.safetensors": list(state)[i::2] for i in range(2)}
    for file, names in parts.items():
        save_file({name: state[name] for name in names}, folder / file)
    where = {name: file for file, names in parts.items() for name in names}
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def make_tokenizer_json(folder: Path) -> None:
    """Write a tokenizer as `transformers` does."""
    from transformers import BertTokenizerFast

    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("".join(f"{piece}\n" for piece in PIECES), encoding="utf-8")
    BertTokenizerFast(vocab=str(vocabulary)).save_pretrained(folder)
    vocabulary.unlink()


def begin_run() -> tuple[dict[str, Any], Any, Any, Any]:
    """Give what a run with checkpoints is opened with."""
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 2)
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 4)).sum().backward()
    optimiser.step()
    settings = asdict(TrainingConfig(steps=4, batch_size=1, learning_rate=0.1))
    return settings | {"starting weights": "x"}, model, optimiser, torch.amp.GradScaler("cpu")


def make_checkpoint(folder: Path) -> None:
    """Write a run with one checkpoint."""
    settings, *parts = begin_run()
    run = Run(folder, settings)
    run.write({"step": 1, "loss": 1.0})
    run.save(1, *parts)


def read_checkpoint(folder: Path) -> object:
    """Go on with the run."""
    settings, *parts = begin_run()
    return Run(folder, settings).resume(*parts)


def make_questions(folder: Path) -> None:
    """Write questions as SQuAD's files have them."""
    question = Question("1", "T", "Who bit?", "The dog bit the man.", ("The dog",), (0,))
    write_squad([question], folder / "questions.json")


def make_summaries(folder: Path) -> None:
    """Write texts, each with a summary."""
    line = json.dumps({"article": "A dog bit. A man ran.", "summary": "A dog bit."})
    (folder / "summaries.jsonl").write_text(f"{line}\n" * 3, encoding="utf-8")


def make_corpus(folder: Path) -> None:
    """Write a corpus for pre-training."""
    write_corpus([["a b c", "d e f"], ["g h", "a a"]], Tokenizer(PIECES), folder, 16)


def read_corpus(folder: Path) -> object:
    """Open it. (What its arrays hold is not looked at: they may be of any size.)"""
    return open_corpus(folder, Tokenizer(PIECES), 16)


SHARD = "model-00001-of-00002.safetensors"
TARGETS = [
    Target("weights", "model.safetensors", make_model, BertModel.from_pretrained),
    Target("config", "config.json", make_model, BertModel.from_pretrained),
    Target("index", "model.safetensors.index.json", make_shards, BertModel.from_pretrained),
    Target("piece of the weights", SHARD, make_shards, BertModel.from_pretrained),
    Target("vocabulary", "vocab.txt", make_model, Tokenizer.from_pretrained),
    Target("tokenizer settings", "tokenizer_config.json", make_model, Tokenizer.from_pretrained),
    Target("tokenizer.json", "tokenizer.json", make_tokenizer_json, Tokenizer.from_pretrained),
    Target("checkpoint's tensors", "step-00000001/tensors.safetensors", make_checkpoint,
           read_checkpoint),
    Target("checkpoint's state", "step-00000001/state.json", make_checkpoint, read_checkpoint),
    Target("run's log", "log.jsonl", make_checkpoint, read_checkpoint),
    Target("questions", "questions.json", make_questions,
           lambda folder: read_squad(folder / "questions.json")),
    Target("summaries", "summaries.jsonl", make_summaries,
           lambda folder: read_summaries(folder / "summaries.jsonl")),
    Target("corpus", "corpus.json", make_corpus, read_corpus),
]  # fmt: skip

ODD = [None, True, -1, 0, 2**31, 10**30, 0.5, 1e308, "", "x" * 5000, "../../etc/passwd", "\ud800",
       [], {}, [[]], {"a": None}, [1, "2", None]]  # fmt: skip


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Give every place in a JSON value: what holds it, and its key."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)


def damage_value(data: bytes, chance: random.Random) -> bytes:
    """Change something in what a JSON file, or one of its lines, holds."""
    lines = data.decode().splitlines()
    number = chance.randrange(len(lines)) if len(lines) > 1 and lines[0][:1] == "{" else None
    try:
        value = json.loads(data if number is None else lines[number])
    except ValueError:
        number, value = None, json.loads(data)
    if not isinstance(value, dict | list) or not value or chance.random() < 0.05:
        value = chance.choice(ODD)
    else:
        for _ in range(chance.choice([1, 1, 1, 3])):
            holder, key = chance.choice(list(places(value)) or [({}, None)])
            what = chance.randrange(4)
            if what == 0 and isinstance(holder, dict):
                holder.pop(key, None)
            elif what == 1 and isinstance(holder, dict):
                holder[f"{key}s"] = holder.pop(key, None)
            elif key is not None:
                holder[key] = copy.deepcopy(chance.choice(ODD))
    text = json.dumps(value)
    if number is None:
        return text.encode()
    lines[number] = text
    return "\n".join(lines).encode()


def damage_bytes(data: bytes, chance: random.Random) -> bytes:
    """Change, cut, double or put in some bytes; mostly near the beginning."""
    new = bytearray(data)
    reach = len(new) if chance.random() < 0.3 else min(len(new), 400)
    for _ in range(chance.choice([1, 1, 2, 8])):
        at = chance.randrange(max(1, reach))
        what = chance.randrange(5)
        if what == 0:
            new[at : at + 1] = bytes([chance.randrange(256)])
        elif what == 1:
            del new[at:]
        elif what == 2:
            new[at:at] = new[at : at + chance.randrange(1, 64)]
        elif what == 3:
            new[at:at] = chance.randbytes(chance.randrange(1, 16))
        else:
            del new[at : at + chance.randrange(1, 16)]
    return bytes(new)


def damage(data: bytes, file: str, chance: random.Random) -> bytes:
    """Damage a file; one of JSON half of the time in what it holds."""
    if file.endswith((".json", ".jsonl")) and chance.random() < 0.5:
        return damage_value(data, chance)
    if file.endswith(".safetensors") and chance.random() < 0.5:  # in its header
        size = int.from_bytes(data[:8], "little")
        header = damage_value(data[8 : 8 + size], chance)
        return len(header).to_bytes(8, "little") + header + data[8 + size :]
    return damage_bytes(data, chance)


def too_slow(*_: object) -> None:
    """Stop what hangs."""
    raise TimeoutError


def attempt(target: Target, whole: Path, folder: Path, seed: int) -> str:
    """Damage one file in a copy of a whole folder, and read it.

    Returns:
        "read", or "refused".

    Raises:
        AssertionError: something else happened.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    file = folder / target.file
    broken = damage(file.read_bytes(), target.file, random.Random(seed))
    file.write_bytes(broken)
    old = signal.signal(signal.SIGVTALRM, too_slow)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = f"{target.name}, seed {seed}, {broken[:300]!r}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.read(folder)
        result = "read"
    except TimeoutError as error:
        raise AssertionError(f"{told}: no end after {SECONDS} s") from error
    except OURS as error:
        text = str(error)
        assert folder.name in text, f"{told}: the error names no file: {text[:300]}"
        assert len(text) < 3000, f"{told}: {len(text)} letters of error"
        result = "refused"
    except Exception as error:
        raise AssertionError(f"{told}: {type(error).__name__}: {str(error)[:300]}") from error
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, old)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    assert grown * 1024 < MEMORY, f"{told}: took {grown // 1024} MiB"
    return result


def main() -> int:
    """Damage files of every kind in turn; record what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, collections.Counter[str]] = {}
    faults = []
    with tempfile.TemporaryDirectory() as name:
        for target in TARGETS:
            make_whole(target, Path(name) / target.name)
        for seed in range(args.count):
            target = TARGETS[seed % len(TARGETS)]
            try:
                outcome = attempt(target, Path(name) / target.name, Path(name) / "broken", seed)
            except AssertionError as error:
                outcome = "fault"
                faults.append(str(error))
                print(error, flush=True)
            results.setdefault(target.name, collections.Counter())[outcome] += 1
    for kind, counts in results.items():
        print(f"{kind:22}", dict(counts))
    if args.count >= 20_000:
        command = f"python experiments/broken_files.py --count {args.count}"
        record = {"command": command, "count": args.count, "files": results, "faults": faults}
        record |= circumstances("safetensors", "tokenizers")
        RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return len(faults) > 0


def make_whole(target: Target, folder: Path) -> None:
    """Make a target's folder, and see that it is read."""
    folder.mkdir()
    target.make(folder)
    target.read(folder)


if __name__ == "__main__":
    sys.exit(main())
