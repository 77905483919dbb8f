"""Measure approximate search against exact: what it finds, how long it builds and asks.

    python experiments/ann.py                    100,000, 300,000 and a million vectors
    python experiments/ann.py --sizes 20000      fewer; printed only

The vectors are those of the dev leads, then copies of them that are turned aside at
random until their cosine with the first is 0.7 on average: clusters, as in a real folder.
The questions are LeadQA's on these leads. Recall is the share of the exact ten nearest that
are among the ten found; the milliseconds are the median of the questions. Times are those
of one thread on the processor. results/ann.json is written after each row. hnswlib is in no
extra: pip install hnswlib compiles it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import faiss
import hnswlib
import numpy as np
import torch
from numpy.typing import NDArray
from record import RESULTS, circumstances

from minibert.data import leads
from minibert.search import approximate, closest
from minibert.sentences import embed
from minibert.squad import load_leadqa

RECORD = RESULTS / "ann.json"
COUNT, WIDTH, COSINE = 10, 384, 0.7
HNSW_MOST = 100_000  # a graph of more takes many minutes to build
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


def candidates(vectors: Vectors) -> Iterator[tuple[str, float, Ask]]:
    """Build each index; give its name and setting, the seconds it took, and how to ask it."""
    yield "exact", 0.0, lambda query: closest(query, vectors, COUNT)[0]
    start = time.process_time()
    index = approximate(vectors)
    built = time.process_time() - start
    for probes in (8, 16, 32, 64):
        name = f"faiss IVF{index.nlist}"

        def by_lists(query: Vectors, probes: int = probes) -> NDArray[np.int64]:
            index.nprobe = probes
            return index.search(query, COUNT)[1]

        yield f"{name}, {probes} lists read", built, by_lists
    if len(vectors) > HNSW_MOST:
        return
    start = time.process_time()
    graph = faiss.index_factory(WIDTH, "HNSW16,Flat", faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = 100
    graph.add(vectors)
    built = time.process_time() - start
    for wide in (32, 128):

        def by_graph(query: Vectors, wide: int = wide) -> NDArray[np.int64]:
            graph.hnsw.efSearch = wide
            return graph.search(query, COUNT)[1]

        yield f"faiss HNSW16, {wide} wide", built, by_graph
    start = time.process_time()
    other = hnswlib.Index("ip", WIDTH)
    other.init_index(len(vectors), M=16, ef_construction=100, random_seed=0)
    other.set_num_threads(1)
    other.add_items(vectors, num_threads=1)
    built = time.process_time() - start
    for wide in (32, 128):

        def by_other(query: Vectors, wide: int = wide) -> NDArray[np.int64]:
            other.set_ef(wide)
            return other.knn_query(query, COUNT, num_threads=1)[0].astype(np.int64)

        yield f"hnswlib HNSW16, {wide} wide", built, by_other


def measure(vectors: Vectors, queries: Vectors) -> Iterator[dict[str, Any]]:
    """Ask every index one question at a time, as a reader does."""
    truth: list[set[int]] = []
    for name, built, ask in candidates(vectors):
        found, seconds = [], []
        for query in queries:
            start = time.process_time()
            found.append(set(ask(query[None])[0].tolist()))
            seconds.append(time.process_time() - start)
        truth = truth or found
        hits = sum(len(a & b) for a, b in zip(found, truth, strict=True))
        yield {
            "rows": len(vectors), "index": name, "build_seconds": round(built, 1),
            "milliseconds": round(1000 * float(np.median(seconds)), 2),
            "recall": round(hits / COUNT / len(truth), 4),
        }  # fmt: skip


def main() -> int:
    """Measure each size, and record it if all were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = [100_000, 300_000, 1_000_000]
    parser.add_argument("--sizes", type=int, nargs="+", default=sizes)
    parser.add_argument("--queries", type=int, default=100)
    args = parser.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    queries = embed([one.question for one in load_leadqa("dev")[: args.queries]])
    centres = embed([one.text for one in leads("dev")])
    rows = []
    for size in args.sizes:
        for row in measure(clustered(centres, size), queries):
            rows.append(row)
            print(row, flush=True)
            if args.sizes != sizes:
                continue
            kept = {"command": "python experiments/ann.py", "queries": len(queries)}
            kept |= {"found": COUNT, "cosine_in_a_cluster": COSINE, "rows": rows}
            kept["gigabytes"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1)
            kept |= circumstances("faiss-cpu", "hnswlib", "numpy")
            text = json.dumps(kept).replace("}, {", "},\n {")
            RECORD.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
