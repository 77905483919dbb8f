"""Measure vector databases that run from a Python package, with no server.

    python experiments/vector_databases.py                 all that are installed here
    python experiments/vector_databases.py --only duckdb   this one

It puts MiniLM's vectors of all leads into each database, asks for the ten nearest of 100
descriptions, and compares them with those of the exact product. Each database is measured
in a process of its own and written into results/vector-databases.json at once. Beside the
seconds by the wall stand those of the process (all its threads), which say more where
others compute on the same cores.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from record import RESULTS, ROOT, circumstances

from minibert import embed, leads, nearest

RECORD = RESULTS / "vector-databases.json"
BUILD = ROOT / "_build" / "vector-databases"
PACKAGES = {"lancedb": "lancedb", "qdrant": "qdrant-client", "duckdb": "duckdb"}
TEN, QUERIES, TOPIC = 10, 100, "Geography"
Search = Callable[[np.ndarray, str | None], list[int]]  # vector, topic -> numbers of leads


def vectors() -> tuple[np.ndarray, np.ndarray]:
    """The leads' vectors and the queries', computed once."""
    articles = leads()
    queries = [lead.description for lead in leads("dev") if lead.description][:QUERIES]
    for name, texts in (("leads", [lead.text for lead in articles]), ("queries", queries)):
        if not (BUILD / f"{name}.npy").exists():
            BUILD.mkdir(parents=True, exist_ok=True)
            encoded = embed(texts, max_length=64, batch_size=64, progress=True)
            np.save(BUILD / f"{name}.npy", encoded)
    return np.load(BUILD / "leads.npy"), np.load(BUILD / "queries.npy")


def lancedb_write(folder: Path, stored: np.ndarray, topics: list[str]) -> None:
    """One table of Lance's files, searched exactly: no index."""
    import lancedb

    column = pa.FixedSizeListArray.from_arrays(pa.array(stored.ravel()), stored.shape[1])
    numbers = range(len(stored))
    table = pa.table({"id": pa.array(numbers, pa.int64()), "topic": topics, "vector": column})
    lancedb.connect(folder).create_table("leads", table)


def lancedb_read(folder: Path) -> Search:
    """Ask the table."""
    import lancedb

    table = lancedb.connect(folder).open_table("leads")

    def search(vector: np.ndarray, topic: str | None) -> list[int]:
        query = table.search(vector).distance_type("dot").limit(TEN).select(["id", "_distance"])
        if topic is not None:
            query = query.where(f"topic = '{topic}'", prefilter=True)
        return query.to_arrow()["id"].to_pylist()

    return search


def qdrant_write(folder: Path, stored: np.ndarray, topics: list[str]) -> None:
    """One collection in local mode."""
    from qdrant_client import QdrantClient, models

    client = QdrantClient(path=str(folder))
    size = models.VectorParams(size=stored.shape[1], distance=models.Distance.DOT)
    client.create_collection("leads", vectors_config=size)
    numbers, payload = list(range(len(stored))), [{"topic": topic} for topic in topics]
    client.upload_collection("leads", vectors=stored, payload=payload, ids=numbers)
    client.close()


def qdrant_read(folder: Path) -> Search:
    """Ask the collection."""
    from qdrant_client import QdrantClient, models

    client = QdrantClient(path=str(folder))

    def search(vector: np.ndarray, topic: str | None) -> list[int]:
        chosen = None
        if topic is not None:
            same = models.FieldCondition(key="topic", match=models.MatchValue(value=topic))
            chosen = models.Filter(must=[same])
        response = client.query_points(
            "leads", query=vector.tolist(), query_filter=chosen, limit=TEN, with_payload=False
        )
        return [int(point.id) for point in response.points]

    return search


def duckdb_write(folder: Path, stored: np.ndarray, topics: list[str]) -> None:
    """One table of one file: no extension."""
    import duckdb

    column = pa.FixedSizeListArray.from_arrays(pa.array(stored.ravel()), stored.shape[1])
    numbers = range(len(stored))
    table = pa.table({"id": pa.array(numbers, pa.int64()), "topic": topics, "vector": column})
    with duckdb.connect(folder / "leads.duckdb") as database:
        database.register("given", table)
        database.execute("CREATE TABLE leads AS SELECT * FROM given")


def duckdb_read(folder: Path) -> Search:
    """Ask the table, with `array_inner_product`."""
    import duckdb

    database = duckdb.connect(folder / "leads.duckdb", read_only=True)

    def search(vector: np.ndarray, topic: str | None) -> list[int]:
        product = f"array_inner_product(vector, ?::FLOAT[{len(vector)}])"
        where, more = ("", []) if topic is None else ("WHERE topic = ?", [topic])
        sql = f"SELECT id FROM leads {where} ORDER BY {product} DESC LIMIT {TEN}"
        return [row[0] for row in database.execute(sql, [*more, vector]).fetchall()]

    return search


def closure(package: str, known: set[str]) -> set[str]:
    """A package and all that it needs, as installed here."""
    name = re.sub(r"[-_.]+", "-", package).lower()
    if name not in known:
        known.add(name)
        for line in metadata.requires(name) or []:
            wanted = re.match(r"[\w.-]+", line)[0]
            if "extra ==" not in line:
                try:
                    closure(wanted, known)
                except metadata.PackageNotFoundError:  # of another system or Python
                    known.discard(re.sub(r"[-_.]+", "-", wanted).lower())
    return known


def megabytes(package: str) -> float:
    """What a package's own files weigh, less what Python compiles itself."""
    files = [f for f in metadata.files(package) or [] if f.suffix != ".pyc"]
    paths = [Path(str(f.locate())) for f in files]
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def weight(package: str) -> dict[str, Any]:
    """What a package brings over what minibert-book needs itself, and pyarrow apart."""
    ours = set().union(*(closure(name, set()) for name in ("torch", "huggingface-hub", "numpy")))
    brought = closure(package, set()) - ours
    return {
        "package_mb": round(megabytes(package), 1),
        "brings": len(brought),
        "brings_mb": round(sum(map(megabytes, brought)), 1),
        "brings_pyarrow": "pyarrow" in brought,
    }


class Clock:
    """Seconds since its making: by the wall, and of all threads of this process."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def __call__(self) -> tuple[float, float]:
        """Give both."""
        return time.perf_counter() - self.wall, time.process_time() - self.cpu


def measure(name: str) -> dict[str, Any]:
    """Fill a database, open it anew, ask it."""
    out: dict[str, Any] = {}

    def keep(what: str, clock: Clock) -> None:
        out[f"{what}_seconds"], out[f"{what}_cpu"] = (round(x, 3) for x in clock())

    write, read = globals()[f"{name}_write"], globals()[f"{name}_read"]
    clock = Clock()
    importlib.import_module(PACKAGES[name].replace("-", "_"))
    keep("import", clock)
    stored, queries = vectors()
    topics = [lead.topic for lead in leads()]
    of_topic = np.array([i for i, topic in enumerate(topics) if topic == TOPIC])
    exact = nearest(queries, stored, TEN)[0]
    exact_topic = of_topic[nearest(queries, stored[of_topic], TEN)[0]]
    out["rows"] = len(stored)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        folder = Path(home)
        clock = Clock()
        write(folder, stored, topics)
        keep("fill", clock)
        disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        out["disk_mb"] = round(disk / 1e6, 1)
        clock = Clock()
        search = read(folder)
        search(queries[0], None)
        keep("open_and_ask", clock)
        for label, topic, right in (("", None, exact), ("_filtered", TOPIC, exact_topic)):
            times, same = [], 0
            for vector, wanted in zip(queries, right, strict=True):
                clock = Clock()
                nearest_ids = search(vector, topic)
                times.append(clock())
                same += len(set(nearest_ids) & set(wanted.tolist()))
            wall, cpu = 1e3 * np.median(times, axis=0)
            out[f"query{label}_ms"], out[f"query{label}_cpu_ms"] = round(wall, 2), round(cpu, 2)
            out[f"recall{label}"] = round(same / right.size, 4)
    package = PACKAGES[name]
    out["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
    return out | weight(package) | circumstances(package, "numpy")


def main() -> int:
    """Measure those that are installed, each in its own process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PACKAGES)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        print(json.dumps(measure(args.only)))
        return 0
    vectors()
    for name, package in PACKAGES.items():
        if args.only not in (None, name):
            continue
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            print(f"{name}: left out; pip install {package}")
            continue
        command = [sys.executable, __file__, "--only", name, "--here"]
        output = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
        measured = json.loads(output.splitlines()[-1])
        record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
        record["command"] = "python experiments/vector_databases.py"
        record.setdefault("databases", {})[name] = measured
        record |= {"cores": os.cpu_count()} | circumstances("numpy")
        RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(name, measured, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
