"""Measure approximate search against exact: what it finds, how long it builds and asks.

    python experiments/ann.py
    python experiments/ann.py --jobs lists:20000 hnswlib:20000

A job is a kind of index and a number of vectors: lists are what minibert.search uses, graph
and hnswlib the HNSW of faiss and of hnswlib (in no extra: pip install hnswlib compiles it).
A job that results/ann.json holds is not repeated.

The vectors are those of the dev leads, then copies of them that are turned aside at
random until their cosine with the first is 0.7 on average: clusters, as in a real folder.
The questions are LeadQA's on these leads. Recall is the share of the exact ten nearest that
are among the ten found; the milliseconds are the median of the questions. Times are those
of one thread on the processor.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from record import RESULTS, circumstances, write_rows

from minibert.data import leads
from minibert.search import approximate, closest
from minibert.sentences import embed
from minibert.squad import load_leadqa

RECORD = RESULTS / "ann.json"
COUNT, QUERIES, WIDTH, COSINE = 10, 100, 384, 0.7
JOBS = ("lists:100000", "lists:300000", "lists:1000000", "graph:100000", "hnswlib:100000")
Vectors = NDArray[np.float32]
Ask = Callable[[Vectors], NDArray[np.int64]]


def clustered(centres: Vectors, count: int) -> Vectors:
    """Give `count` vectors of length 1: the centres, then copies of them, turned aside."""
    chance = np.random.default_rng(0)
    parts = [centres[:count]]
    aside = np.sqrt(1 / COSINE**2 - 1) / np.sqrt(WIDTH)
    for at in range(len(centres), count, len(centres)):
        part = centres[: count - at]
        part = part + aside * chance.standard_normal(part.shape, np.float32)
        parts.append(part / np.linalg.norm(part, axis=1, keepdims=True))
    return np.concatenate(parts).astype(np.float32)


def lists(vectors: Vectors) -> Iterator[tuple[str, float, Ask]]:
    """Compare all, then read a part; give name, the seconds to build it, and how to ask."""
    yield "exact", 0.0, lambda query: closest(query, vectors, COUNT)[0]
    start = time.process_time()
    index = approximate(vectors)
    built = time.process_time() - start
    for probes in (8, 16, 32, 64):

        def ask(query: Vectors, probes: int = probes) -> NDArray[np.int64]:
            index.nprobe = probes
            return index.search(query, COUNT)[1]

        yield f"faiss IVF{index.nlist}, {probes} lists read", built, ask


def graph(vectors: Vectors) -> Iterator[tuple[str, float, Ask]]:
    """Do as `lists`, with a graph of neighbours."""
    start = time.process_time()
    index = faiss.index_factory(WIDTH, "HNSW16,Flat", faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 100
    index.add(vectors)
    built = time.process_time() - start
    for wide in (32, 128):

        def ask(query: Vectors, wide: int = wide) -> NDArray[np.int64]:
            index.hnsw.efSearch = wide
            return index.search(query, COUNT)[1]

        yield f"faiss HNSW16, {wide} wide", built, ask


def other_graph(vectors: Vectors) -> Iterator[tuple[str, float, Ask]]:
    """Do as `graph`, with the library that has nothing else."""
    import hnswlib

    start = time.process_time()
    index = hnswlib.Index("ip", WIDTH)
    index.init_index(len(vectors), M=16, ef_construction=100, random_seed=0)
    index.set_num_threads(1)
    index.add_items(vectors, num_threads=1)
    built = time.process_time() - start
    for wide in (32, 128):

        def ask(query: Vectors, wide: int = wide) -> NDArray[np.int64]:
            index.set_ef(wide)
            return index.knn_query(query, COUNT, num_threads=1)[0].astype(np.int64)

        yield f"hnswlib HNSW16, {wide} wide", built, ask


KINDS = {"lists": lists, "graph": graph, "hnswlib": other_graph}


def measure(job: str, centres: Vectors, queries: Vectors) -> Iterator[dict[str, Any]]:
    """Ask every index of a job one question at a time, as a reader does."""
    kind, _, rows = job.partition(":")
    vectors = clustered(centres, int(rows))
    truth = closest(queries, vectors, COUNT)[0].tolist()
    for name, built, ask in KINDS[kind](vectors):
        hits, seconds = 0, []
        for query, right in zip(queries, truth, strict=True):
            start = time.process_time()
            nearest_ids = ask(query[None])[0].tolist()
            seconds.append(time.process_time() - start)
            hits += len({*nearest_ids} & {*right})
        yield {
            "job": job, "index": name, "build_seconds": round(built, 1),
            "milliseconds": round(1000 * float(np.median(seconds)), 2),
            "recall": round(hits / COUNT / len(queries), 4),
        }  # fmt: skip


def main() -> int:
    """Do and record the jobs that are not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", nargs="+", default=JOBS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {"rows": []}
    queries = embed([question.question for question in load_leadqa("dev")[:QUERIES]])
    centres = embed([lead.text for lead in leads("dev")])
    for job in args.jobs:
        if any(row["job"] == job for row in record["rows"]):
            continue
        rows = []
        for row in measure(job, centres, queries):
            rows.append(row)
            print(row, flush=True)
        if job in JOBS:
            record["rows"] += rows
            record |= {"command": "python experiments/ann.py", "queries": QUERIES}
            record |= {"found": COUNT, "cosine_in_a_cluster": COSINE}
            record |= circumstances("faiss-cpu", "numpy")
            write_rows(RECORD, record)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
