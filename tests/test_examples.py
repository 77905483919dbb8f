"""The programs of examples/, each run as a reader runs it."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from launching import accelerate
from source import ROOT

from minibert import embed, leads, nearest

EXAMPLES = ROOT / "examples"


def run(name: str, *arguments: object, folder: Path, processes: int = 1, code: int = 0) -> str:
    """Run an example in an empty folder; give what it printed."""
    start = [sys.executable] if processes == 1 else accelerate(processes)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    settings = {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*start, EXAMPLES / f"{name}.py", *map(str, arguments)],
        cwd=folder, env=os.environ | settings, capture_output=True, encoding="utf-8",
        timeout=900,
    )  # fmt: skip
    assert done.returncode == code, done.stderr[-3000:]
    return done.stdout + (done.stderr if code else "")


def test_labels_of_a_list_a_frame_and_a_data_set(tmp_path):
    lines = run("own_labels", folder=tmp_path).splitlines()
    found = {name: ast.literal_eval(said) for name, said in (x.split(": ", 1) for x in lines)}
    topics = {"Geography", "Mathematics", "People"}
    assert set(found["list"]) == topics == set(found["datasets"])
    assert set(found["frame"]) == {"0", "1", "2"}
    best = {name: max(by_class, key=by_class.get) for name, by_class in found.items()}
    assert best == {"list": "Mathematics", "frame": "0", "datasets": "People"}
    assert all(abs(sum(by_class.values()) - 1) < 1e-4 for by_class in found.values())


@pytest.mark.parametrize(
    ("name", "processes"),
    [("trainer", 1), ("lightning_module", 1), ("accelerate_loop", 1), ("accelerate_loop", 2)],
)
def test_somebody_elses_loop_trains_the_classifier(name, processes, tmp_path):
    said = run(name, folder=tmp_path, processes=processes)
    found = re.search(r"right: (\d+)% of (\d+) unseen texts; by chance (\d+)%", said)
    right, texts, chance = map(int, found.groups())
    assert (texts, chance) == (36, 33) and right >= 70
    by_class = ast.literal_eval(said.splitlines()[-1])
    assert max(by_class, key=by_class.get) == "Geography" and len(by_class) == 3
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


def test_shards_are_embedded_once_by_one_process_or_two(tmp_path):
    texts = [one.text for one in leads("dev")[:14]]
    said = run("embed_dataset", "two", "--count", 14, folder=tmp_path, processes=2)
    shares = re.findall(r"process (\d): shard (\d), ", said)
    assert {(int(i) % 2, int(i)) for i in range(6)} == {(int(p), int(i)) for p, i in shares}
    assert "all.npy: (14, 384) in 2 process(es)" in said
    run("embed_dataset", "one", "--count", 14, folder=tmp_path)
    one, two = (np.load(tmp_path / name / "all.npy") for name in ("one", "two"))
    assert one.shape == (14, 384)
    np.testing.assert_allclose(two, one, atol=1e-5)
    np.testing.assert_allclose(one, embed(texts, max_length=64), atol=1e-5)

    files = sorted((tmp_path / "two").glob("shard-*.npy"))
    assert [len(np.load(file)) for file in files] == [3, 3, 2, 2, 2, 2]
    files[3].unlink()  # it was stopped here, half of this one written
    files[3].with_suffix(".part").write_bytes(b"half")
    times = {file: file.stat().st_mtime_ns for file in files if file.exists()}
    said = run("embed_dataset", "two", "--count", 14, folder=tmp_path, processes=2)
    assert re.findall(r"shard (\d), 2 vectors", said) == ["3"] and said.count("was there") == 5
    assert {file: file.stat().st_mtime_ns for file in times} == times
    np.testing.assert_allclose(np.load(tmp_path / "two" / "all.npy"), one, atol=1e-5)
    assert not list((tmp_path / "two").glob("*.part"))

    said = run("embed_dataset", "one", "--count", 13, folder=tmp_path, code=1)
    assert "holds vectors of something else: name another folder" in said
    assert np.array_equal(np.load(tmp_path / "one" / "all.npy"), one)


def test_the_database_finds_what_the_exact_product_finds(tmp_path):
    duckdb = pytest.importorskip("duckdb", reason="the database of examples/vector_db.py")
    first = run("vector_db", "v.duckdb", "--every", 10, folder=tmp_path).splitlines()
    again = run("vector_db", "v.duckdb", folder=tmp_path).splitlines()
    assert first == ["v.duckdb was filled", *again]
    chosen = leads("dev")[::10]
    vectors, asked = embed([one.text for one in chosen], max_length=64), "a town on a large river"
    best, cosines = nearest(embed([asked])[0], vectors, 3)
    wanted = [
        f"{'%':10} {cosine:.3f} {chosen[i].topic}: {chosen[i].title}"
        for i, cosine in zip(best, cosines, strict=True)
    ]
    assert again[:3] == wanted
    assert len(again) == 6 and all("Geography: " in line for line in again[3:])
    with duckdb.connect(tmp_path / "v.duckdb", read_only=True) as database:
        kept = database.execute("SELECT title, vector FROM leads").fetchall()
    assert [title for title, _ in kept] == [one.title for one in chosen]
    np.testing.assert_allclose(np.array([vector for _, vector in kept]), vectors, atol=1e-5)


def test_the_table_lists_every_example_and_how_it_is_run():
    table = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert set(re.findall(r"\[`(\w+\.py)`\]\(\1\)", table)) == names
    for name in names:
        text = (EXAMPLES / name).read_text(encoding="utf-8")
        assert f"python examples/{name}" in ast.get_docstring(ast.parse(text)), name
        assert f"`python examples/{name}" in table and len(text.splitlines()) <= 76, name


def test_the_table_of_databases_is_the_record():
    record = json.loads((ROOT / "results" / "vector-databases.json").read_text(encoding="utf-8"))
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    packages = {"duckdb": "duckdb", "lancedb": "lancedb", "qdrant": "qdrant-client"}
    for name, package in packages.items():
        one = record["databases"][name]
        cells = [
            f"`{package}` {one['versions'][package]}", one["brings"], f"{one['brings_mb']:.0f} MB",
            f"{one['import_cpu']:.1f} s", f"{one['fill_cpu']:.1f} s",
            f"{one['query_cpu_ms']:.0f} ms", f"{one['query_filtered_cpu_ms']:.0f} ms",
            f"{one['recall']:.3f}", f"{one['disk_mb']:.0f} MB",
        ]  # fmt: skip
        assert f"| {' | '.join(map(str, cells))} |" in text, (name, cells)
        assert one["recall"] == one["recall_filtered"] == 1 and one["rows"] == len(leads())
    assert record["date"] in text
