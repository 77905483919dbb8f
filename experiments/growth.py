"""How cost grows, into results/growth.json: with the size, with the text, with the processes.

    python experiments/growth.py [--threads 1|all] [curves] [data] [scaling]

- curves: seconds of a forward pass by length, batch, width, depth and threads, beside the
  operations of minibert.counting; `exponent` is the slope of the straight line through the
  logarithms, that of the formula beside it;
- data: tokens a second of the pipeline (pairs, masks, batches) at 1, 8 and 64 times the leads,
  each in a process of its own, with its memory, and of the training that eats them;
- scaling: steps on 1, 2 and 4 processes (gloo), with all rows shared out (strong) and with as
  many for each (weak), against a model of the communication that was fitted to two. What the
  model says of GPUs is a formula, and stands in the chapter BERT in a day.

The record holds a block for each processor, instruction set and number of threads.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from bench import HERE, block_key, set_threads

RECORD = HERE.parent / "results" / "growth.json"
Point = dict[str, Any]
# What a block of rows is, unless it is what is varied.
BASE = {"layers": 4, "hidden": 256, "batch": 8, "length": 128}
VARIED = {
    "length": (32, 64, 128, 256, 512),
    "batch": (1, 4, 16, 64, 256),
    "hidden": (128, 256, 512, 768),
    "layers": (1, 2, 4, 8, 12),
}
COPIES = (1, 8, 64)
WORLDS = (1, 2, 4)
LONGEST = 128
ROWS = 32  # of a step on one process, and of one that is shared out


def slope(xs: list[float], ys: list[float]) -> float:
    """Fit y = a x^b, and give b."""
    return round(float(np.polyfit(np.log(xs), np.log(ys), 1)[0]), 3)


def curves(rounds: int) -> dict[str, Any]:
    """Time a forward pass while one size varies, all points in turn."""
    import torch
    from speed.models import body

    from minibert.bert import BertModel
    from minibert.counting import flops, total

    works: dict[tuple[str, int], tuple[Callable[[], Any], float, int]] = {}
    all_threads = torch.get_num_threads()
    for name, values in VARIED.items():
        for value in values:
            size = BASE | {name: value}
            config = body(size["layers"], size["hidden"])
            model = BertModel(config, add_pooling_layer=False).eval()
            ids = torch.randint(1000, 30000, (size["batch"], size["length"]))
            count = total(flops(config, size["length"])) * ids.numel()
            works[name, value] = (lambda m=model, x=ids: m(x)), count, all_threads
    work, count, _ = works["batch", 16]
    for threads in range(1, (os.cpu_count() or 1) + 1):
        works["threads", threads] = work, count, threads
    times: dict[tuple[str, int], list[float]] = {key: [] for key in works}
    with torch.inference_mode():
        for turn in range(rounds + 1):
            for key, (work, _, threads) in works.items():
                torch.set_num_threads(threads)
                start = time.perf_counter()
                work()
                if turn:  # the first call warms up
                    times[key].append(time.perf_counter() - start)
    torch.set_num_threads(all_threads)
    out: dict[str, Any] = {"base": BASE, "rounds": rounds}
    for name in [*VARIED, "threads"]:
        points = [
            {"value": value, "seconds": round(median(measured), 6), "operations": works[key][1]}
            for key, measured in times.items() if (value := key[1]) and key[0] == name
        ]  # fmt: skip
        out[name] = {"points": points}
        if len(points) > 1:
            xs, seconds, counts = (
                [point[part] for point in points] for part in ("value", "seconds", "operations")
            )
            if name == "threads":  # of work that could be shared out wholly
                counts = [point["operations"] / point["value"] for point in points]
            out[name] |= {"exponent": slope(xs, seconds), "by_formula": slope(xs, counts)}
    return out


def write_copies(corpus: Any, tokenizer: Any, folder: Path, copies: int) -> None:
    """Write a corpus so many times over, as `write_corpus` would lay it out."""
    from minibert.corpus import vocabulary_digest

    folder.mkdir()
    documents = int(corpus.chunks[:, 2].max()) + 1
    sentences, tokens = len(corpus.sentences) - 1, len(corpus.tokens)
    with (
        (folder / "tokens.bin").open("wb") as tokens_file,
        (folder / "sentences.bin").open("wb") as sentences_file,
        (folder / "chunks.bin").open("wb") as chunks_file,
    ):  # fmt: skip
        sentences_file.write(np.zeros(1, np.int64).tobytes())
        for number in range(copies):
            tokens_file.write(corpus.tokens.tobytes())
            sentences_file.write((corpus.sentences[1:] + number * tokens).tobytes())
            shift = number * np.array([sentences, sentences, documents])
            chunks_file.write((corpus.chunks + shift).tobytes())
    header = {
        "tokens": copies * tokens, "sentences": copies * sentences,
        "chunks": copies * len(corpus.chunks), "dtype": str(corpus.tokens.dtype),
        "vocabulary": vocabulary_digest(tokenizer), "max_length": LONGEST,
    }  # fmt: skip
    (folder / "corpus.json").write_text(json.dumps(header), encoding="utf-8")


def own_memory() -> float:
    """Memory of this process in MB, without what only mirrors a file."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    lines = status.read_text(encoding="utf-8").splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith("RssAnon")) / 1024


def draw(folder: str, steps: int) -> Point:
    """Draw steps from a corpus on disk: tokens a second, and memory (in its own process)."""
    from minibert.corpus import open_corpus
    from minibert.pretraining import PretrainingConfig, PretrainingData
    from minibert.tokens import Tokenizer

    tokenizer = Tokenizer.from_pretrained("leads-4096")
    corpus = open_corpus(folder, tokenizer, LONGEST)
    config = PretrainingConfig(steps=steps, batch_size=ROWS, max_length=LONGEST)
    data = PretrainingData(corpus, tokenizer, config)
    data(0)
    before, tokens, start = own_memory(), 0, time.perf_counter()
    for step in range(1, steps + 1):
        (piece,) = data(step)
        tokens += int(piece.inputs["attention_mask"].sum())
    seconds = time.perf_counter() - start
    after = own_memory()
    return {
        "corpus_tokens": len(corpus.tokens), "tokens_per_second": round(tokens / seconds),
        "megabytes_at_first": round(before, 1), "megabytes_at_last": round(after, 1),
    }  # fmt: skip


def child(function: str, *arguments: Any, **more: str) -> subprocess.Popen[str]:
    """Start a function of this file in a process of its own."""
    command = f"import json, growth; print(json.dumps(growth.{function}(*{arguments!r})))"
    return subprocess.Popen(
        [sys.executable, "-c", command], cwd=HERE, env=os.environ | more,
        stdout=subprocess.PIPE, encoding="utf-8",
    )  # fmt: skip


def answer(process: subprocess.Popen[str]) -> Any:
    """Wait for what it says."""
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"a process ended with {process.returncode}")
    return json.loads(output.splitlines()[-1])


def leads_corpus(share: int) -> tuple[Any, Any]:
    """Every `share`th lead, and the vocabulary that it is in."""
    from minibert.data import leads, sentences
    from minibert.nsp import build_corpus
    from minibert.tokens import Tokenizer

    tokenizer = Tokenizer.from_pretrained("leads-4096")
    documents = [sentences(lead.text) for lead in leads("train")[::share]]
    return tokenizer, build_corpus(documents, tokenizer, LONGEST)


def data(rounds: int, share: int = 1) -> dict[str, Any]:
    """Measure the pipeline at each size in turn, and the training that it feeds."""
    tokenizer, corpus = leads_corpus(share)
    measured: dict[int, list[Point]] = {copies: [] for copies in COPIES}
    with tempfile.TemporaryDirectory() as aside:
        for copies in COPIES:
            write_copies(corpus, tokenizer, Path(aside) / str(copies), copies)
        for _ in range(rounds):
            for copies in COPIES:
                measured[copies].append(answer(child("draw", str(Path(aside) / str(copies)), 128)))
    points = []
    for copies, repeats in measured.items():
        middle = {key: median(point[key] for point in repeats) for key in repeats[0]}
        points.append({"copies": copies} | middle)
    trained = [answer(child("steps", ROWS, 24, share)) for _ in range(rounds)]
    speed = median(run["tokens_per_second"] for run in trained)
    return {"points": points, "training_tokens_per_second": speed, "rounds": rounds}


def steps(rows: int, count: int, share: int) -> Point:
    """Train, perhaps with other processes: seconds of a step, tokens a second of all."""
    import torch
    import torch.distributed as dist
    from speed.models import body

    from minibert.pretraining import BertForPreTraining, PretrainingConfig, PretrainingData
    from minibert.steps import processes
    from minibert.training import train

    torch.set_num_threads(1)
    tokenizer, corpus = leads_corpus(share)
    model = BertForPreTraining(body(2, 128, len(tokenizer)))
    config = PretrainingConfig(
        steps=count, batch_size=rows, max_length=LONGEST, log_every=count // 3
    )
    world = processes().world
    log = train(model, PretrainingData(corpus, tokenizer, config), config, progress=False)
    speed = median(line["tokens_per_second"] for line in log[1:])
    out = {"tokens_per_second": speed, "parameters": model.num_parameters()}
    if world > 1:
        for name, size in (("gradients", out["parameters"]), ("nothing", 1)):
            numbers, taken = torch.zeros(size), []
            for _ in range(12):
                dist.barrier()
                start = time.perf_counter()
                dist.all_reduce(numbers)
                taken.append(time.perf_counter() - start)
            out[f"seconds_to_add_{name}"] = median(taken[2:])
        dist.destroy_process_group()
    return out


def together(world: int, rows: int, count: int, share: int) -> Point:
    """Do `steps` on so many processes; give what the first says."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(world)}
    started = [
        child("steps", rows, count, share, **where, RANK=str(rank), LOCAL_RANK=str(rank))
        for rank in range(world)
    ]
    first, *_ = [answer(process) for process in started]  # all are waited for
    return first


def ring(world: int, size: float, latency: float, bandwidth: float) -> float:
    """Seconds to add up `size` bytes over a ring: 2 (P - 1) messages of size / P each."""
    return 2 * (world - 1) * (latency + size / world / bandwidth)


def scaling(rounds: int, share: int = 1) -> dict[str, Any]:
    """Measure 1, 2 and 4 processes; fit the ring to two, and compare it with four."""
    cores = os.cpu_count() or 1
    measured: dict[tuple[str, int], list[Point]] = {}
    for _ in range(rounds):
        for world in WORLDS:
            for kind, rows in (("strong", ROWS), ("weak", ROWS * world)):
                repeats = measured.setdefault((kind, world), [])
                if world == 1 and kind == "weak":
                    repeats.append(measured["strong", 1][-1])
                else:
                    repeats.append(together(world, rows, 24, share))
    middle = {
        key: {name: median(point[name] for point in repeats) for name in repeats[0]}
        for key, repeats in measured.items()
    }
    size = 4.0 * middle["strong", 1]["parameters"]
    two = middle["strong", 2]
    latency = two["seconds_to_add_nothing"] / 2
    bandwidth = size / 2 / max(two["seconds_to_add_gradients"] / 2 - latency, 1e-9)
    alone = middle["strong", 1]["tokens_per_second"]
    tokens = ROWS * tokens_a_row(share)
    points = []
    for (kind, world), point in middle.items():
        per_step = tokens if kind == "strong" else tokens * world
        compute = per_step / alone / min(world, cores)
        adds = ring(world, size, latency, bandwidth)
        points.append({
            "kind": kind, "processes": world,
            "tokens_per_second": point["tokens_per_second"],
            "efficiency": round(point["tokens_per_second"] / alone / world, 3),
            "of_the_cores": round(point["tokens_per_second"] / alone / min(world, cores), 3),
            "by_model": round(compute / (compute + adds), 3),
            "seconds_to_add": round(point.get("seconds_to_add_gradients", 0.0), 6),
            "seconds_to_add_by_model": round(adds, 6),
        })  # fmt: skip
    return {
        "points": points, "cores": cores, "rounds": rounds, "gradient_bytes": size,
        "latency": round(latency, 7), "bandwidth": round(bandwidth),
    }  # fmt: skip


def tokens_a_row(share: int) -> float:
    """Real tokens of a row of the leads, on average."""
    from minibert.pretraining import PretrainingConfig, PretrainingData

    tokenizer, corpus = leads_corpus(share)
    config = PretrainingConfig(steps=1, batch_size=ROWS, max_length=LONGEST)
    batches = PretrainingData(corpus, tokenizer, config)
    sizes = [int(batches(step)[0].inputs["attention_mask"].sum()) for step in range(32)]
    return float(np.mean(sizes)) / ROWS


PARTS = {"curves": curves, "data": data, "scaling": scaling}


def main() -> int:
    """Measure, and write the parts into this machine's block."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", default="all", choices=["all", *PARTS], metavar="PART")
    parser.add_argument("--threads", default="1", help="of the curves: a number, or all")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--busy", action="store_true", help="say that the machine was busy")
    args = parser.parse_args()
    set_threads(os.cpu_count() or 1 if args.threads == "all" else int(args.threads))
    from record import circumstances

    for name in PARTS if "all" in args.parts else args.parts:
        rounds = args.rounds if name == "curves" else min(args.rounds, 3)
        measured = PARTS[name](rounds)
        file = args.record
        record = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        blocks = record.get("blocks", {})
        block = blocks.get(block_key(), {}) | circumstances() | {name: measured}
        block.pop("busy", None)
        if args.busy:
            block["busy"] = "other work ran on this machine meanwhile"
        blocks[block_key()] = block
        record = {"command": "python experiments/growth.py", "blocks": blocks}
        file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(name, "is recorded", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
